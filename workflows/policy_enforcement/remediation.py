"""Answers to a violation, graduated (Constitution § 8.2 to § 8.5): each expires, can be lifted and appealed against.

Machines go as far up the ladder as the constitution lets them. What it would take beyond that waits for people, who give
a reason. A restriction is applied where decisions are made, and nowhere else.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import sqlalchemy as sa

from workflows.constitution.figures import Figures
from workflows.errors import Conflict, FieldError, Invalid, NotFound
from workflows.kinds import (
    EnforcementStage,
    Ladder,
    Severity,
    ViolationState,
    WorkflowStatus,
)
from workflows.orchestrator import stages
from workflows.policy_creation.loading import check_reason
from workflows.policy_enforcement.bundle import TOPIC, Manifest
from workflows.roles import insist, may_appeal, may_judge_appeal, may_lock_down, may_remediate
from workflows.storage.tables import (
    appeal,
    bundle,
    restriction,
    violation,
    violation_decision,
    workflow,
)
from workflows.storage.unit import Unit, new_id

RUNGS = list(Ladder)
BY_SEVERITY = {
    Severity.NONE: Ladder.LOG_WARNING,
    Severity.LOW: Ladder.LOG_WARNING,
    Severity.MEDIUM: Ladder.LOG_WARNING,
    Severity.HIGH: Ladder.TEMPORARY_RESTRICTION,
    Severity.CRITICAL: Ladder.IMMEDIATE_BLOCK,
}
AGAIN = timedelta(days=30)  # within which a violation of the same subject counts as a repetition
GRAVE = (Severity.MEDIUM, Severity.HIGH, Severity.CRITICAL)
QUIET = timedelta(days=30)  # after which an answered violation is closed by itself


def asked_for(severity: Severity, repeated: bool) -> Ladder:
    """The rung that fits: by severity, one higher for a repetition; the lockdown is never asked for by machines."""
    rung = RUNGS.index(BY_SEVERITY[severity])
    if repeated and severity in GRAVE:
        rung += 1
    return RUNGS[min(rung, RUNGS.index(Ladder.IMMEDIATE_BLOCK))]


def hours(figures: Figures, level: Ladder) -> int:
    """How long a rung lasts. A warning stays on record as long as a restriction would."""
    return {
        Ladder.LOG_WARNING: figures.restriction_hours,
        Ladder.TEMPORARY_RESTRICTION: figures.restriction_hours,
        Ladder.IMMEDIATE_BLOCK: figures.block_hours,
        Ladder.EMERGENCY_LOCKDOWN: figures.lockdown_hours,
    }[level].value


async def answer(unit: Unit, figures: Figures, ref: str, *, again: bool = False) -> None:
    """Answer a violation that was just found, or found again, as far as machines may; the rest waits for people."""
    row = await _locked(unit, ref)
    repeated = again or await _is_repetition(unit, row)
    wanted = asked_for(Severity(row["severity"]), repeated) if row["subject"] else Ladder.LOG_WARNING
    cap = figures.automatic_remediation
    level = min(wanted, cap.value, key=RUNGS.index)
    why = f"{row['severity']} severity{', a repetition' if repeated else ''}; machines go up to {cap.value} (§ {cap.article})"
    await _impose(unit, figures, row, level, why=why, wanted=wanted)
    if level == wanted:
        await stages.complete(unit, row["workflow_id"])
    else:
        await unit.connection.execute(
            workflow.update()
            .where(workflow.c.id == row["workflow_id"])
            .values(status=WorkflowStatus.WAITING_APPROVAL, updated_at=unit.now)
        )


async def answer_again(unit: Unit, figures: Figures, ref: str, *, graver: bool) -> None:
    """Answer a violation that goes on: when it became graver, or its last answer ran out. What people lifted stays lifted."""
    r = restriction.c
    query = (
        sa.select(r.lifted_at, r.expires_at, violation.c.workflow_id)
        .join(violation, violation.c.id == r.violation_id)
        .where(violation.c.ref == ref)
        .order_by(r.imposed_at.desc(), r.id.desc())
        .limit(1)
    )
    last = await unit.row(query)
    assert last is not None, "each violation is answered when it is found"
    if last["lifted_at"] is not None or (last["expires_at"] > unit.now and not graver):
        return
    await stages.enter(
        unit, last["workflow_id"], EnforcementStage.REMEDIATION_ACTION, WorkflowStatus.EXECUTING
    )
    await answer(unit, figures, ref, again=True)


async def _is_repetition(unit: Unit, row: dict[str, Any]) -> bool:
    """Whether the same subject has another record of some gravity from the days before, and not of the same decisions."""
    if not row["subject"]:
        return False
    behind = violation_decision.c
    own = sa.select(behind.decision_id).where(behind.violation_id == row["id"])
    query = sa.select(sa.func.count()).where(
        sa.exists().where(behind.violation_id == violation.c.id, behind.decision_id.not_in(own)),
        violation.c.subject == row["subject"],
        violation.c.id != row["id"],
        violation.c.severity.in_(GRAVE),
        violation.c.last_at > unit.now - AGAIN,
    )
    return (await unit.connection.execute(query)).scalar_one() > 0


async def remediate(unit: Unit, figures: Figures, ref: str, action: str, reason: str) -> None:
    """People answer a violation, with a reason. Raises Refused, NotFound, Invalid, Conflict `closed`."""
    insist(may_remediate(unit.actor))
    if action not in RUNGS:
        raise Invalid(
            "Nothing was done.", errors=(FieldError("/action", f"Choose one of {', '.join(RUNGS)}."),)
        )
    level = Ladder(action)
    if level == Ladder.EMERGENCY_LOCKDOWN:
        insist(may_lock_down(unit.actor))
    row = await _locked(unit, ref)
    said = check_reason(reason)
    if level in (Ladder.TEMPORARY_RESTRICTION, Ladder.IMMEDIATE_BLOCK) and not row["subject"]:
        message = "This violation is about no single subject, so there is nobody to restrict."
        raise Invalid(message, errors=(FieldError("/action", message),))
    await _impose(unit, figures, row, level, said=said)
    await _finish(unit, row["workflow_id"])


async def _finish(unit: Unit, workflow_id: UUID) -> None:
    query = sa.select(workflow.c.status).where(workflow.c.id == workflow_id)
    if (await unit.connection.execute(query)).scalar_one() != WorkflowStatus.COMPLETED:
        await stages.complete(unit, workflow_id)


async def _impose(
    unit: Unit,
    figures: Figures,
    row: dict[str, Any],
    level: Ladder,
    *,
    why: str = "",
    wanted: Ladder | None = None,
    said: str | None = None,
) -> UUID:
    lockdown = level == Ladder.EMERGENCY_LOCKDOWN
    all_actions = level == Ladder.IMMEDIATE_BLOCK or not row["action_type"]
    expires_at = unit.now + timedelta(hours=hours(figures, level))
    values = {
        "id": new_id(),
        "violation_id": row["id"],
        "level": level,
        "subject": None if lockdown else row["subject"],
        "action_type": None if all_actions else row["action_type"],
        "imposed_by": unit.actor.id,
        "imposed_at": unit.now,
        "expires_at": expires_at,
    }
    await unit.connection.execute(restriction.insert().values(values))
    await unit.record(
        "violation.answered",
        row["ref"],
        level=str(level),
        automatic=unit.actor.id is None,
        why=why,
        wanted=str(wanted or level),
        restriction=str(values["id"]),
        action_type=values["action_type"] or "",
        expires_at=expires_at.isoformat(),
        personal={"reason": said} if said else None,
    )
    _tell(unit, row["ref"], "answered")
    return values["id"]


async def lift(unit: Unit, restriction_id: UUID, reason: str) -> None:
    """End a restriction before its time. Raises Refused, NotFound, Conflict `over`."""
    row = await _standing(unit, restriction_id)
    insist(
        may_lock_down(unit.actor) if row["level"] == Ladder.EMERGENCY_LOCKDOWN else may_remediate(unit.actor)
    )
    await _lift(unit, row, check_reason(reason))


async def _lift(unit: Unit, row: dict[str, Any], said: str) -> None:
    values = {"lifted_at": unit.now, "lifted_by": unit.actor.id}
    await unit.connection.execute(restriction.update().where(restriction.c.id == row["id"]).values(values))
    ref = await _ref_of(unit, row["violation_id"])
    await unit.record(
        "restriction.lifted", ref, restriction=str(row["id"]), level=row["level"], personal={"reason": said}
    )
    _tell(unit, ref, "lifted")


async def close(unit: Unit, ref: str, reason: str) -> None:
    """A violation is dealt with. Restrictions run on until they expire or are lifted. Raises Refused, Conflict `closed`."""
    insist(may_remediate(unit.actor))
    row = await _locked(unit, ref)
    await _close(unit, row, check_reason(reason))


async def _close(unit: Unit, row: dict[str, Any], said: str | None) -> None:
    values = {"state": ViolationState.CLOSED, "closed_at": unit.now}
    await unit.connection.execute(violation.update().where(violation.c.id == row["id"]).values(values))
    await unit.record("violation.closed", row["ref"], personal={"reason": said} if said else None)
    await _finish(unit, row["workflow_id"])
    _tell(unit, row["ref"], "closed")


async def make_appeal(unit: Unit, figures: Figures, restriction_id: UUID, reason: str) -> UUID:
    """Appeal against a restriction that stands; it is decided within the working days of § 7.3.

    Raises Refused, NotFound, Conflict `over`, `appealed`.
    """
    insist(may_appeal(unit.actor))
    row = await _standing(unit, restriction_id)
    said = check_reason(reason)
    open_ = sa.select(appeal.c.id).where(appeal.c.restriction_id == row["id"], appeal.c.decided_at.is_(None))
    if await unit.row(open_) is not None:
        raise Conflict("An appeal against this is under way.", code="appealed")
    id = new_id()
    due_at = after_working_days(unit.now, figures.appeal_decision_working_days.value)
    await unit.connection.execute(
        appeal.insert().values(
            id=id, restriction_id=row["id"], made_by=unit.actor.id, made_at=unit.now, due_at=due_at
        )
    )
    ref = await _ref_of(unit, row["violation_id"])
    await unit.record(
        "appeal.made", ref, appeal=str(id), restriction=str(row["id"]), due_at=due_at.isoformat(),
        personal={"reason": said},
    )  # fmt: skip
    _tell(unit, ref, "appealed")
    return id


async def judge_appeal(unit: Unit, appeal_id: UUID, granted: bool, reason: str) -> None:
    """Decide an appeal; granted, the restriction ends at once. Raises Refused, NotFound, Conflict `judged`."""
    row = await unit.row(sa.select(appeal).where(appeal.c.id == appeal_id).with_for_update())
    if row is None:
        raise NotFound("There is no such appeal.", code="no_appeal")
    query = sa.select(restriction).where(restriction.c.id == row["restriction_id"]).with_for_update()
    limited = await unit.row(query)
    assert limited is not None
    insist(may_judge_appeal(unit.actor, limited["imposed_by"], row["made_by"]))
    if row["decided_at"] is not None:
        raise Conflict("This appeal has been decided.", code="judged")
    said = check_reason(reason)
    values = {"decided_at": unit.now, "decided_by": unit.actor.id, "granted": granted}
    await unit.connection.execute(appeal.update().where(appeal.c.id == appeal_id).values(values))
    ref = await _ref_of(unit, limited["violation_id"])
    await unit.record("appeal.judged", ref, appeal=str(appeal_id), granted=granted, personal={"reason": said})
    if granted and limited["lifted_at"] is None and limited["expires_at"] > unit.now:
        await _lift(unit, dict(limited), said)
    _tell(unit, ref, "judged")


def after_working_days(start: datetime, days: int) -> datetime:
    """The moment that many working days later, Monday to Friday."""
    moment = start
    while days:
        moment += timedelta(days=1)
        days -= moment.weekday() < 5
    return moment


async def sweep(unit: Unit) -> int:
    """Enter the end of restrictions whose time is over, and close answered violations that stayed quiet."""
    r = restriction.c
    over = (
        sa.select(restriction)
        .where(r.lifted_at.is_(None), r.expiry_noted_at.is_(None), r.expires_at <= unit.now)
        .order_by(r.expires_at, r.id)
        .limit(500)
        .with_for_update(skip_locked=True)
    )
    rows = await unit.rows(over)
    for row in rows:
        await unit.connection.execute(
            restriction.update().where(r.id == row["id"]).values(expiry_noted_at=unit.now)
        )
        ref = await _ref_of(unit, row["violation_id"])
        await unit.record("restriction.expired", ref, restriction=str(row["id"]), level=row["level"])
        _tell(unit, ref, "expired")
    quiet = (
        sa.select(violation)
        .join(workflow, workflow.c.id == violation.c.workflow_id)
        .where(
            violation.c.state == ViolationState.OPEN,
            violation.c.last_at < unit.now - QUIET,
            workflow.c.status == WorkflowStatus.COMPLETED,
        )
        .limit(500)
        .with_for_update(of=violation, skip_locked=True)
    )
    closing = await unit.rows(quiet)
    for found in closing:
        await _close(unit, dict(found), None)
    return len(rows) + len(closing)


async def severity_of(unit: Unit, revision: str, policy_ref: str, code: str) -> Severity:
    """How grave a code is by the table of a policy's rule, as it stood in a bundle; medium where it says nothing."""
    body = (
        await unit.connection.execute(sa.select(bundle.c.manifest).where(bundle.c.revision == revision))
    ).scalar_one()
    for rule in msgspec.json.decode(body, type=Manifest).rules:
        if rule.policy == policy_ref and code in rule.declared.reasons:
            return Severity(rule.declared.reasons[code].severity)
    return Severity.MEDIUM


async def _locked(unit: Unit, ref: str) -> dict[str, Any]:
    """An open violation's row. Raises NotFound, Conflict `closed`."""
    row = await unit.row(sa.select(violation).where(violation.c.ref == ref).with_for_update())
    if row is None:
        raise NotFound(f"There is no violation {ref}.", code="no_violation")
    if row["state"] == ViolationState.CLOSED:
        raise Conflict(f"{ref} is closed.", code="closed")
    return dict(row)


async def _standing(unit: Unit, restriction_id: UUID) -> dict[str, Any]:
    row = await unit.row(sa.select(restriction).where(restriction.c.id == restriction_id).with_for_update())
    if row is None:
        raise NotFound("There is no such restriction.", code="no_restriction")
    if row["lifted_at"] is not None or row["expires_at"] <= unit.now:
        raise Conflict("This restriction is over.", code="over")
    return dict(row)


async def _ref_of(unit: Unit, violation_id: UUID | None) -> str:
    query = sa.select(violation.c.ref).where(violation.c.id == violation_id)
    return (await unit.connection.execute(query)).scalar_one()


def _tell(unit: Unit, ref: str, what: str) -> None:
    unit.publish(f"violation:{ref}", what)
    unit.publish(TOPIC, "restriction", ref=ref)
