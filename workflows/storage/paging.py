"""Cursor pages over any statement: newest first, stable while rows are added."""

from __future__ import annotations

import base64
import binascii
import json
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.errors import FieldError, Invalid

LARGEST = 200


async def page_of(
    connection: AsyncConnection,
    statement: sa.Select,
    moment: sa.ColumnElement[datetime],
    identity: sa.ColumnElement[UUID],
    *,
    limit: int,
    cursor: str | None,
) -> tuple[list[sa.RowMapping], str | None, str | None]:
    """Rows of one page, newest first by (moment, identity), and the cursors of the next and previous page.

    Raises Invalid for a cursor this function did not give, or a limit outside 1…200.
    """
    if not 1 <= limit <= LARGEST:
        raise Invalid("The page size is out of range.", errors=(FieldError("/limit", f"1 to {LARGEST}."),))
    backwards, place = _read(cursor) if cursor else (False, None)
    here = sa.tuple_(moment, identity)
    if place is not None:
        edge = sa.tuple_(
            sa.literal(place[0], sa.DateTime(timezone=True)), sa.literal(place[1], identity.type)
        )
        statement = statement.where(here > edge if backwards else here < edge)
    order = (moment.asc(), identity.asc()) if backwards else (moment.desc(), identity.desc())
    keyed = statement.add_columns(moment.label("_moment"), identity.label("_identity"))
    rows = list((await connection.execute(keyed.order_by(*order).limit(limit + 1))).mappings())
    more, rows = len(rows) > limit, rows[:limit]
    if backwards:
        rows.reverse()
    before, after = (more, True) if backwards else (place is not None, more)
    return (
        rows,
        _write(False, rows[-1]) if rows and after else None,
        _write(True, rows[0]) if rows and before else None,
    )


def _write(backwards: bool, row: sa.RowMapping) -> str:
    place = [int(backwards), row["_moment"].isoformat(), str(row["_identity"])]
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")


def _read(cursor: str) -> tuple[bool, tuple[datetime, UUID]]:
    try:
        decoded: Any = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        backwards, moment, identity = decoded
        at = datetime.fromisoformat(moment)
        if at.tzinfo is None:
            raise ValueError("a naive time")
        return bool(backwards), (at, UUID(identity))
    except (ValueError, TypeError, AttributeError, OverflowError, binascii.Error) as error:
        refusal = FieldError("/cursor", "Use a cursor that a page gave you.")
        raise Invalid("This is not one of our cursors.", code="bad_cursor", errors=(refusal,)) from error
