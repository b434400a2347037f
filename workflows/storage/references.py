"""Human references, as POL-2026-0007: gapless within a year of governance time."""

from __future__ import annotations

from sqlalchemy.dialects.postgresql import insert

from workflows.storage.tables import reference_counter
from workflows.storage.unit import Unit


async def next_reference(unit: Unit, kind: str) -> str:
    """The next of its kind (POL, REP); the counter's row is held until this transaction ends."""
    return (await next_references(unit, kind, 1))[0]


async def next_references(unit: Unit, kind: str, count: int) -> list[str]:
    """The next so many of a kind."""
    prefix = f"{kind}-{unit.now:%Y}"
    statement = insert(reference_counter).values(prefix=prefix, last=count)
    counted = statement.on_conflict_do_update(
        index_elements=["prefix"], set_={"last": reference_counter.c.last + count}
    ).returning(reference_counter.c.last)
    last = (await unit.connection.execute(counted)).scalar_one()
    return [f"{prefix}-{number:04d}" for number in range(last - count + 1, last + 1)]
