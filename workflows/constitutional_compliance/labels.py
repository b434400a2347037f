"""What people say a clause does to a principle: kept as labels, from which classifiers learn."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy.dialects.postgresql import insert

from workflows.constitutional_compliance.findings import Result
from workflows.errors import FieldError, Invalid
from workflows.kinds import LabelKind
from workflows.storage.tables import compliance_label
from workflows.storage.unit import Unit, new_id


class Labelled(msgspec.Struct, frozen=True):
    """A person's word on one finding of a result: its place there, and what the clause does to the principle."""

    finding: int
    label: LabelKind


class Clause(msgspec.Struct, frozen=True):
    """A clause of a text, and what a person says it does to a principle."""

    principle: str
    text: str
    label: LabelKind

    @property
    def text_sha256(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


def read(result: dict[str, Any], labelled: Sequence[Labelled]) -> list[Clause]:
    """The clauses that are labelled; of one that is named twice the last word counts. Raises Invalid for what names none."""
    findings = msgspec.convert(result, Result, strict=False).findings
    errors = []
    found: dict[tuple[str, str], Clause] = {}
    for number, each in enumerate(labelled):
        finding = findings[each.finding] if 0 <= each.finding < len(findings) else None
        if finding is None or finding.span is None or each.label not in list(LabelKind):
            message = "Name a finding about a clause, and what the clause does."
            errors.append(FieldError(f"/labels/{number}", message))
        else:
            clause = Clause(finding.principle, finding.span.quote, LabelKind(each.label))
            found[clause.principle, clause.text] = clause
    if errors:
        raise Invalid("The labels cannot be kept.", errors=tuple(errors))
    return list(found.values())


async def keep(unit: Unit, validation_id: UUID, policy_ref: str, clauses: Sequence[Clause]) -> None:
    """Keep what the actor says of clauses. Who labels a clause again says otherwise from now on."""
    if not clauses:
        return
    rows = [
        {
            "id": new_id(),
            "principle": clause.principle,
            "text": clause.text,
            "text_sha256": clause.text_sha256,
            "label": clause.label,
            "policy_ref": policy_ref,
            "validation_id": validation_id,
            "labelled_by": unit.actor.id,
            "made_at": unit.now,
        }
        for clause in clauses
    ]
    statement = insert(compliance_label).values(rows)
    again = {name: statement.excluded[name] for name in ("label", "validation_id", "policy_ref", "made_at")}
    key = ["principle", "text_sha256", "labelled_by"]
    await unit.connection.execute(statement.on_conflict_do_update(index_elements=key, set_=again))
