"""What requests ask of the database, without what the portal asks by itself meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Engine

_COUNTING: ContextVar[list[str] | None] = ContextVar("counting", default=None)


@contextmanager
def counted() -> Iterator[list[str]]:
    """The statements that the block's own requests send, whatever the engine, without their transactions' beginnings and ends.

    Background tasks share the portal's engine and look around every few seconds. They were begun in another context.
    """
    sent: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if _COUNTING.get() is sent:
            sent.append(statement)

    token = _COUNTING.set(sent)
    sa.event.listen(Engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        sa.event.remove(Engine, "before_cursor_execute", note)
        _COUNTING.reset(token)
