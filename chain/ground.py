"""What is governed by, for the chain: the document in force, and those that were in force before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chain.rows import AnyRow, ConstitutionRow
from workflows.constitution import amendments
from workflows.constitution.document import Constitution
from workflows.storage.unit import Unit


@dataclass(frozen=True)
class Ground:
    """What is governed by: the document in force, and the hashes of all, the one founded on first, the one in force last."""

    constitution: Constitution
    documents: tuple[str, ...]

    @property
    def earlier(self) -> tuple[str, ...]:
        return self.documents[:-1]


async def ground_of(unit: Unit, configured: Constitution) -> Ground:
    steps = await amendments.adopted(unit.connection)
    current = unit.constitution or configured
    documents = (steps[0].previous_sha256, *(step.sha256 for step in steps)) if steps else (current.sha256,)
    return Ground(current, documents)


def amendments_in(rows: Sequence[AnyRow]) -> list[ConstitutionRow]:
    """In the order in which they are to be written."""
    return sorted((row for row in rows if isinstance(row, ConstitutionRow)), key=lambda row: row.number)
