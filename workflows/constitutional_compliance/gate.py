"""The gate before a ballot (Constitution § 4.9 to § 4.11): only a version that was found to comply passes it, or one of which people said so.

What people decided of a version under the constitution in force stands, whatever machines find later under the same one.
Without such a decision the newest judgement counts that was made at the tier the version has now. One that somebody asked
for by themselves never counts: it may have been made at a milder tier.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.kinds import Compliance, ValidationCause, WorkflowStatus
from workflows.policy_creation.views import View
from workflows.storage.tables import compliance_question, policy, policy_version, validation, workflow
from workflows.storage.unit import Unit

_v, _q = validation.c, compliance_question.c
_JUDGED = validation.outerjoin(compliance_question, _q.validation_id == _v.id)
Under = str | sa.ColumnElement[str]  # the hash of a constitution
_DECIDED_AT = sa.func.greatest(_v.overridden_at, _q.decided_at)


class Standing(View):
    """Whether a ballot may open on the version that stands, and the sentence that says why or why not.

    `state`: none, waiting, failed, compliant, asked, answered_compliant, answered_non_compliant, non_compliant, overridden.
    """

    state: str
    may_open: bool
    why: str
    validation: str | None = None  # the one that decides


SENTENCES = {
    "none": "It was not held against the constitution in force yet.",
    "waiting": "It is being held against the constitution.",
    "failed": "It could not be held against the constitution. Whoever runs the portal was told.",
    "compliant": "It was found to comply with the constitution.",
    "asked": "The analysis is not sure, so people who are named decide (§ 4.10).",
    "answered_compliant": "People read it, and say that it complies with the constitution.",
    "answered_non_compliant": "People read it, and say that it does not comply with the constitution (§ 4.11).",
    "non_compliant": "It was found not to comply with the constitution (§ 4.11).",
    "overridden": "The council overrode the finding that it does not comply (§ 4.11).",
}
OPEN = frozenset({"compliant", "answered_compliant", "overridden"})
BLOCKED = frozenset({"non_compliant", "answered_non_compliant"})


def may_open(constitution_sha256: str) -> sa.ColumnElement[bool]:
    """Of a policy: whether its standing version may come to a ballot."""
    return _stands(constitution_sha256) == Compliance.COMPLIANT


def is_stopped(constitution_sha256: Under) -> sa.ColumnElement[bool]:
    """Of a policy: whether its standing version was found not to comply, and the council did not override that."""
    return _stands(constitution_sha256) == Compliance.NON_COMPLIANT


def last_judged_under() -> sa.ColumnElement[str]:
    """Of a policy: the hash of the constitution that its standing version was last held against."""
    judged = validation.alias("last_judged").c
    query = (
        sa.select(judged.constitution_sha256)
        .where(
            judged.policy_id == policy.c.id,
            judged.version == policy.c.current_version,
            judged.cause != ValidationCause.REQUESTED,
        )
        .order_by(judged.created_at.desc(), judged.id.desc())
        .limit(1)
    )
    return query.correlate(policy).scalar_subquery()


def _stands(constitution_sha256: Under) -> sa.ColumnElement[Any]:
    said = sa.case((_v.overridden_at.is_not(None), Compliance.COMPLIANT), else_=_q.answer)
    people = _one(sa.select(said), constitution_sha256, by_people=True)
    machine = _one(sa.select(_v.verdict), constitution_sha256, by_people=False)
    return sa.func.coalesce(people.scalar_subquery(), machine.scalar_subquery())


def _one(query: sa.Select[Any], constitution_sha256: Under, *, by_people: bool) -> sa.Select[Any]:
    """The validation of a policy's standing version that counts, of those that people decided or of all at its tier."""
    tier = (
        sa.select(policy_version.c.strategy)
        .where(policy_version.c.policy_id == policy.c.id, policy_version.c.number == policy.c.current_version)
        .correlate(policy)
        .scalar_subquery()
    )
    query = query.select_from(_JUDGED).where(
        _v.policy_id == policy.c.id,
        _v.version == policy.c.current_version,
        _v.cause != ValidationCause.REQUESTED,
        _v.constitution_sha256 == constitution_sha256,
    )
    if by_people:
        query = query.where(_DECIDED_AT.is_not(None)).order_by(_DECIDED_AT.desc(), _v.id.desc())
    else:
        query = query.where(_v.level == tier).order_by(_v.created_at.desc(), _v.id.desc())
    return query.limit(1).correlate(policy)


async def standing(connection: AsyncConnection, ref: str, constitution_sha256: str) -> Standing:
    """How the standing version of a policy stands with the constitution."""
    columns = sa.select(_v.id)
    chosen = sa.func.coalesce(
        _one(columns, constitution_sha256, by_people=True).scalar_subquery(),
        _one(columns, constitution_sha256, by_people=False).scalar_subquery(),
    )
    query = (
        sa.select(_v.ref, _v.verdict, _q.answer, _v.overridden_at, workflow.c.status)
        .select_from(_JUDGED.join(workflow, workflow.c.id == _v.workflow_id))
        .where(_v.id == sa.select(chosen).where(policy.c.ref == ref).scalar_subquery())
    )
    row = (await connection.execute(query)).mappings().one_or_none()
    if row is None:
        return Standing(state="none", may_open=False, why=SENTENCES["none"])
    state = _state(row)
    return Standing(state=state, may_open=state in OPEN, why=SENTENCES[state], validation=row["ref"])


def _state(row: sa.RowMapping) -> str:
    if row["overridden_at"] is not None:
        return "overridden"
    if row["answer"] is not None:
        return f"answered_{row['answer']}"
    if row["verdict"] is None:
        return "failed" if row["status"] == WorkflowStatus.FAILED else "waiting"
    return "asked" if row["verdict"] == Compliance.REQUIRES_REVIEW else str(row["verdict"])


async def stands(unit: Unit, ref: str) -> Standing:
    """As `standing`, in a transaction that holds the policy: nothing that decides here changes before it ends."""
    return await standing(unit.connection, ref, unit.constitution_sha256)
