"""What people say a clause does to a principle: kept as labels, from which classifiers learn."""

from __future__ import annotations

import csv
import hashlib
import io
import zipfile
from collections import Counter
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy.dialects.postgresql import insert

from workflows.constitutional_compliance.findings import Result
from workflows.constitutional_compliance.views import LabelView
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


def consolidated(found: Sequence[LabelView]) -> list[LabelView]:
    """One label for each clause and principle, the one that most people gave it; none where as many say otherwise."""
    by_clause: dict[tuple[str, str, str], list[LabelView]] = {}
    for each in found:
        by_clause.setdefault((each.principle, each.policy_ref, each.text), []).append(each)
    chosen = []
    for several in by_clause.values():
        counts = Counter(each.label for each in several).most_common(2)
        if len(counts) == 1 or counts[0][1] > counts[1][1]:
            chosen.append(next(each for each in several if each.label == counts[0][0]))
    return chosen


def as_corpus(found: Sequence[LabelView]) -> bytes:
    """A ZIP of one CSV file for each principle, as the shipped corpus has them; the same labels give the same bytes."""
    one_each = consolidated(found)
    broken: dict[tuple[str, str], set[str]] = {}
    for each in one_each:
        if each.label == LabelKind.BREAKS:
            broken.setdefault((each.policy_ref, each.text), set()).add(each.principle)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for principle in sorted({each.principle for each in one_each}):
            rows = io.StringIO()
            writer = csv.writer(rows, lineterminator="\n")
            writer.writerow(["policy", "label", "kind", "also", "text"])
            for each in one_each:
                if each.principle == principle:
                    also = broken.get((each.policy_ref, each.text), set()) - {principle}
                    writer.writerow(
                        [each.policy_ref, each.label, "people", " ".join(sorted(also)), each.text]
                    )
            info = zipfile.ZipInfo(f"{principle}.csv", (1980, 1, 1, 0, 0, 0))
            archive.writestr(info, rows.getvalue())
    return packed.getvalue()
