"""Lets a handler show a form again after a refusal: nothing half done stays, and each fault stands at its field."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from workflows.errors import GovernanceError, Invalid
from workflows.storage.unit import Unit


@asynccontextmanager
async def attempt(unit: Unit) -> AsyncIterator[None]:
    """Undo what was begun inside when it is refused; the transaction stays usable, and commits what is left."""
    events = len(unit.events)
    try:
        async with unit.connection.begin_nested():
            yield
    except GovernanceError:
        del unit.events[events:]
        raise


def field_errors(refusal: Invalid, otherwise: str) -> dict[str, str]:
    """The first message for each field, by its name in the form: `/rule/examples/2` is `rule_examples`.

    A refusal that points at no field is shown at the field `otherwise`.
    """
    found: dict[str, str] = {}
    for error in refusal.errors:
        parts = [part for part in error.pointer.split("/") if part]
        line = next((f"Line {int(part) + 1}: " for part in parts if part.isdigit()), "")
        name = "_".join(part for part in parts if not part.isdigit()) or otherwise
        found.setdefault(name, line + error.message)
    return found or {otherwise: refusal.detail}
