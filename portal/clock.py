"""Moving the governance clock forward, in the demonstration only: for all processes, as they read it in the database."""

from __future__ import annotations

import re
from datetime import timedelta

from sqlalchemy.dialects.postgresql import insert

from workflows.constitution.document import Constitution
from workflows.errors import FieldError, Invalid
from workflows.policy_creation import ballots
from workflows.storage.tables import governance_clock
from workflows.storage.unit import Unit, governance_now

DURATION = re.compile(
    r"P(?:(\d{1,3})W)?(?:(\d{1,3})D)?(?:T(?=\d)(?:(\d{1,4})H)?(?:(\d{1,5})M)?(?:(\d{1,6})S)?)?", re.ASCII
)
FURTHEST = timedelta(days=366)


def read_duration(text: str) -> timedelta:
    """An ISO 8601 duration of weeks, days, hours, minutes and seconds, as P7D or PT1H30M. Raises Invalid."""
    match = DURATION.fullmatch(text.strip())
    weeks, days, hours, minutes, seconds = (int(part or 0) for part in match.groups()) if match else (0,) * 5
    span = timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)
    if not timedelta() < span <= FURTHEST:
        message = "Give an ISO 8601 duration from PT1S to P366D, as P7D or PT1H."
        raise Invalid(message, errors=(FieldError("/advance", message),))
    return span


async def advance(unit: Unit, constitution: Constitution, span: timedelta) -> None:
    """Move the clock, and do at once what has fallen due, so that whoever moved it sees what came of it."""
    table = governance_clock
    await unit.connection.execute(
        insert(table)
        .values(id=1, ahead=span)
        .on_conflict_do_update(index_elements=[table.c.id], set_={"ahead": table.c.ahead + span})
    )
    unit.now = await governance_now(unit.connection)
    await unit.record("clock.moved", "clock", seconds=int(span.total_seconds()))
    unit.publish("clock", "moved")
    await ballots.open_due(unit, constitution.figures)
    await ballots.close_due(unit, constitution.figures)
    await unit.enqueue("deadlines", {})
