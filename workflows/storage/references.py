"""Human references, as POL-2026-0007: gapless within a year of governance time."""

from __future__ import annotations

from sqlalchemy.dialects.postgresql import insert

from workflows.storage.tables import reference_counter
from workflows.storage.unit import Unit


async def next_reference(unit: Unit, kind: str) -> str:
    """The next of its kind (POL, REP); the counter's row is held until this transaction ends."""
    prefix = f"{kind}-{unit.now:%Y}"
    statement = insert(reference_counter).values(prefix=prefix, last=1)
    counted = statement.on_conflict_do_update(
        index_elements=["prefix"], set_={"last": reference_counter.c.last + 1}
    ).returning(reference_counter.c.last)
    last = (await unit.connection.execute(counted)).scalar_one()
    return f"{prefix}-{last:04d}"
