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


async def keep(
    unit: Unit, validation_id: UUID, policy_ref: str, result: dict[str, Any], labelled: Sequence[Labelled]
) -> list[dict[str, str]]:
    """Keep what the actor says of findings; as the log names them. Raises Invalid for what names no clause."""
    findings = msgspec.convert(result, Result, strict=False).findings
    errors, rows = [], {}
    for number, each in enumerate(labelled):
        finding = findings[each.finding] if 0 <= each.finding < len(findings) else None
        if finding is None or finding.span is None or each.label not in list(LabelKind):
            errors.append(
                FieldError(f"/labels/{number}", "Name a finding about a clause, and what the clause does.")
            )
            continue
        digest = hashlib.sha256(finding.span.quote.encode()).hexdigest()
        rows[finding.principle, digest] = {
            "id": new_id(),
            "principle": finding.principle,
            "text": finding.span.quote,
            "text_sha256": digest,
            "label": LabelKind(each.label),
            "policy_ref": policy_ref,
            "validation_id": validation_id,
            "labelled_by": unit.actor.id,
            "made_at": unit.now,
        }
    if errors:
        raise Invalid("The labels cannot be kept.", errors=tuple(errors))
    if rows:
        statement = insert(compliance_label).values(list(rows.values()))
        again = {
            name: statement.excluded[name] for name in ("label", "validation_id", "policy_ref", "made_at")
        }
        key = ["principle", "text_sha256", "labelled_by"]
        await unit.connection.execute(statement.on_conflict_do_update(index_elements=key, set_=again))
    return [
        {"principle": row["principle"], "text_sha256": row["text_sha256"], "label": str(row["label"])}
        for row in rows.values()
    ]
