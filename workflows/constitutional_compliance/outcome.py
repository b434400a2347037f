"""What follows from a judgement: the ballot may open, people are asked, the tier becomes stricter, or somebody is alarmed."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec
import sqlalchemy as sa

from workflows.alerts import raise_alert, resolve_alert
from workflows.constitution.document import Constitution
from workflows.constitutional_compliance import gate, questions, tiers
from workflows.constitutional_compliance.asking import tell
from workflows.constitutional_compliance.findings import Result
from workflows.kinds import (
    Compliance,
    ComplianceStage,
    PolicyState,
    ValidationCause,
    WorkflowStatus,
)
from workflows.orchestrator import stages
from workflows.policy_creation.loading import lock_policy
from workflows.policy_creation.rows import build
from workflows.storage.tables import policy, validation, workflow
from workflows.storage.unit import Unit

WORSE = list(Compliance)
ON_ITS_WAY = (PolicyState.IN_REVIEW, PolicyState.PUBLIC_COMMENT)


class Locked(msgspec.Struct, frozen=True):
    """A validation that is not made yet, and the policy it decides about, if it does; both held by this transaction."""

    id: UUID
    ref: str
    workflow_id: UUID
    batch_id: UUID | None
    version: int | None
    cause: ValidationCause
    policy: dict[str, Any] | None

    @property
    def subject(self) -> str:
        """Under what the log enters it."""
        return self.policy["ref"] if self.policy else self.ref


async def lock(unit: Unit, id: UUID) -> Locked | None:
    """None where it was made, or called off. The policy is held first, as everywhere."""
    v = validation.c
    about = await unit.row(
        sa.select(v.cause, policy.c.ref).outerjoin(policy, policy.c.id == v.policy_id).where(v.id == id)
    )
    decides = about is not None and about["ref"] and about["cause"] != ValidationCause.REQUESTED
    row = await lock_policy(unit, about["ref"]) if about is not None and decides else None
    query = (
        sa.select(v.id, v.ref, v.workflow_id, v.batch_id, v.version, v.cause)
        .join(workflow, workflow.c.id == v.workflow_id)
        .where(
            v.id == id,
            v.made_at.is_(None),
            sa.or_(v.policy_id.is_not(None), v.text.is_not(None)),  # or its text was erased
            workflow.c.status.not_in((WorkflowStatus.FAILED, WorkflowStatus.CANCELLED)),
        )
        .with_for_update(of=validation)
    )
    found = await unit.row(query)
    return build(Locked, found, policy=row) if found is not None else None


async def follow(unit: Unit, constitution: Constitution, locked: Locked, result: Result) -> None:
    """Do what a judgement asks for, in the transaction that keeps it."""
    asked = False
    row = locked.policy
    if row is not None and row["current_version"] == locked.version:
        if row["state"] in ON_ITS_WAY:
            asked = await _before_the_ballot(unit, constitution, locked, row, result)
        elif row["state"] == PolicyState.ENACTED:
            asked = await _in_force(unit, constitution, locked, row, result)
        await resolve_alert(unit, f"compliance.failed.{row['ref']}")
    if asked:
        await stages.enter(
            unit,
            locked.workflow_id,
            ComplianceStage.COMPLIANCE_ASSESSMENT,
            WorkflowStatus.WAITING_APPROVAL,
        )
    else:
        await stages.enter(
            unit,
            locked.workflow_id,
            ComplianceStage.ENFORCEMENT_RECOMMENDATION,
            WorkflowStatus.EXECUTING,
        )
        await stages.complete(unit, locked.workflow_id)
    tell(unit, locked.ref, row["ref"] if row else None, "made", verdict=str(result.verdict))
    if locked.batch_id:
        unit.publish(f"batch:{locked.batch_id}", "made", validation=locked.ref)


async def _before_the_ballot(
    unit: Unit, constitution: Constitution, locked: Locked, row: dict[str, Any], result: Result
) -> bool:
    """Whether people were asked. A version whose tier became stricter is judged anew at that one first."""
    if await tiers.weigh(unit, constitution.figures, row, result):
        return False
    standing = await gate.stands(unit, row["ref"])
    if standing.may_open and row["state"] == PolicyState.PUBLIC_COMMENT:
        await unit.enqueue("deadlines", {})
    return (
        standing.state == "asked"
        and standing.validation == locked.ref
        and await questions.ask(unit, constitution.figures, locked.id, locked.ref, row)
    )


async def _in_force(
    unit: Unit, constitution: Constitution, locked: Locked, row: dict[str, Any], result: Result
) -> bool:
    """What is in force stays so whatever a machine finds; that it comes out worse than before is for people (§ 8.5)."""
    code = f"compliance.worse.{row['ref']}"
    if result.verdict == Compliance.COMPLIANT:
        await resolve_alert(unit, code)
        return False
    before = await _verdict_before(unit, locked)
    if before is not None and WORSE.index(result.verdict) <= WORSE.index(before):
        return False
    found = (
        "not to comply" if result.verdict == Compliance.NON_COMPLIANT else "in need of a decision by people"
    )
    message = (
        f"{row['ref']}, which is in force, was judged anew and found {found}. It stays in force meanwhile."
    )
    await raise_alert(unit, code, "warning", message, f"/policies/{row['ref']}/compliance")
    await unit.record(
        "compliance.worsened",
        row["ref"],
        validation=locked.ref,
        before=str(before or ""),
        verdict=str(result.verdict),
    )
    return await questions.ask(unit, constitution.figures, locked.id, locked.ref, row)


async def _verdict_before(unit: Unit, locked: Locked) -> Compliance | None:
    v = validation.c
    query = (
        sa.select(v.verdict)
        .where(
            v.policy_id == (locked.policy or {})["id"],
            v.version == locked.version,
            v.id != locked.id,
            v.verdict.is_not(None),
            v.cause != ValidationCause.REQUESTED,
        )
        .order_by(v.made_at.desc(), v.id.desc())
        .limit(1)
    )
    found = (await unit.connection.execute(query)).scalar_one_or_none()
    return Compliance(found) if found else None


async def failed(unit: Unit, locked: Locked) -> None:
    """A judgement could not be kept or made. When that was the last attempt, somebody has to look."""
    query = sa.select(workflow.c.status, workflow.c.error).where(workflow.c.id == locked.workflow_id)
    row = await unit.row(query)
    if row is None or row["status"] != WorkflowStatus.FAILED:
        return
    tell(unit, locked.ref, locked.policy["ref"] if locked.policy else None, "failed")
    if locked.batch_id:
        unit.publish(f"batch:{locked.batch_id}", "failed", validation=locked.ref)
    if locked.policy:
        message = (
            f"{locked.policy['ref']} could not be held against the constitution, so that its ballot does not open: "
            f"{row['error']}"
        )
        code = f"compliance.failed.{locked.policy['ref']}"
        await raise_alert(unit, code, "critical", message, f"/policies/{locked.policy['ref']}/compliance")
