"""Violations: what was tried against the rules, promised and not done, or done too often, with the decisions behind it.

The same thing again goes on the same record while that is open. Each record is a workflow of its own: what was watched,
what was found, whom it touches, what was done about it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from workflows.constitution.figures import Figures
from workflows.kinds import (
    DecisionMode,
    EnforcementStage,
    Outcome,
    Priority,
    Severity,
    ViolationKind,
    ViolationState,
    WorkflowStatus,
    WorkflowType,
)
from workflows.orchestrator import stages
from workflows.policy_enforcement import remediation
from workflows.policy_enforcement.bundle import TOPIC
from workflows.policy_enforcement.combine import Decided, WhyOne
from workflows.policy_enforcement.patterns import (
    BURST_BASE,
    BURST_WINDOW,
    REPEATED,
    REPEATED_WINDOW,
    is_burst,
)
from workflows.storage.references import next_reference
from workflows.storage.tables import decision, obligation, restriction, violation, violation_decision
from workflows.storage.unit import Unit, new_id

# What these deny is no act against a rule: the restriction answers one already, or the fault is ours.
NO_VIOLATION = frozenset({"restricted", "rule_error", "engine_away"})
PRIORITIES = {
    Severity.LOW: Priority.LOW,
    Severity.MEDIUM: Priority.NORMAL,
    Severity.HIGH: Priority.HIGH,
    Severity.CRITICAL: Priority.CRITICAL,
}


class Finding(msgspec.Struct, frozen=True):
    """What was found, before it is put on a record."""

    kind: ViolationKind
    severity: Severity
    code: str
    summary: str  # one sentence without personal data
    subject: str
    action_type: str
    policy_ref: str | None
    decisions: list[UUID]
    at: datetime


async def notice(unit: Unit, figures: Figures, decision_ids: Sequence[UUID]) -> list[str]:
    """Put binding denials on record, and the patterns that they complete. Answers with the records' references.

    Harmless when it happens twice: a decision stands on one record of a kind once.
    """
    query = (
        sa.select(decision)
        .where(
            decision.c.id.in_(decision_ids),
            decision.c.mode == DecisionMode.ENFORCE,
            decision.c.outcome == Outcome.DENY,
        )
        .order_by(decision.c.made_at, decision.c.id)
    )
    found: list[str] = []
    for row in await unit.rows(query):
        finding = _denied(row)
        if finding is None:
            continue
        for each in [finding, *await _patterns(unit, row)]:
            ref = await put_on_record(unit, figures, each)
            if ref and ref not in found:
                found.append(ref)
    return found


def _denied(row: sa.RowMapping) -> Finding | None:
    decided = msgspec.convert(row["why"], Decided)
    reasons = [reason for reason in decided.reasons if reason.code not in NO_VIOLATION]
    if not reasons or any(reason.code == "restricted" for reason in decided.reasons):
        return None
    gravest: WhyOne = max(reasons, key=lambda reason: list(Severity).index(reason.severity))
    return Finding(
        kind=ViolationKind.DENIED_ATTEMPT,
        severity=gravest.severity,
        code=gravest.code[:200],
        summary=f"Tried “{row['action_type']}” and was denied: {gravest.text}",
        subject=row["subject"],
        action_type=row["action_type"],
        policy_ref=gravest.policy,
        decisions=[row["id"]],
        at=row["made_at"],
    )


async def _patterns(unit: Unit, row: sa.RowMapping) -> list[Finding]:
    """What this denial completes: the same subject again and again, or more of an action than usual."""
    found = []
    d = decision.c
    denied = (
        d.mode == DecisionMode.ENFORCE,
        d.outcome == Outcome.DENY,
        d.made_at <= row["made_at"],
        *(~d.why["reasons"].contains([{"code": code}]) for code in sorted(NO_VIOLATION)),
    )
    if row["subject"]:
        query = sa.select(d.id).where(
            *denied, d.subject == row["subject"], d.made_at > row["made_at"] - REPEATED_WINDOW
        )
        same = list((await unit.connection.execute(query)).scalars())
        if len(same) >= REPEATED:
            found.append(
                Finding(
                    kind=ViolationKind.REPEATED_DENIALS,
                    severity=Severity.HIGH,
                    code="repeated",
                    summary=f"The same subject was denied {REPEATED} times or more within an hour.",
                    subject=row["subject"],
                    action_type="",
                    policy_ref=None,
                    decisions=same,
                    at=row["made_at"],
                )
            )
    since = row["made_at"] - BURST_WINDOW
    of_type = d.action_type == row["action_type"]
    recent = sa.select(d.id).where(*denied, of_type, d.made_at > since)
    before = sa.select(sa.func.count()).where(
        *denied, of_type, d.made_at <= since, d.made_at > since - BURST_BASE
    )
    now = list((await unit.connection.execute(recent)).scalars())
    if is_burst(len(now), (await unit.connection.execute(before)).scalar_one()):
        found.append(
            Finding(
                kind=ViolationKind.BURST,
                severity=Severity.MEDIUM,
                code="burst",
                summary=f"“{row['action_type']}” was denied far more often than in the day before.",
                subject="",
                action_type=row["action_type"],
                policy_ref=None,
                decisions=now,
                at=row["made_at"],
            )
        )
    return found


async def put_on_record(unit: Unit, figures: Figures, finding: Finding) -> str | None:
    """Add a finding to its open record, or open one and answer it. None where it stands there already."""
    await unit.connection.execute(sa.text("SELECT pg_advisory_xact_lock(hashtext('acgs.violations'))"))
    v = violation.c
    query = sa.select(violation).where(
        v.state == ViolationState.OPEN,
        v.kind == finding.kind,
        v.subject == finding.subject,
        v.action_type == finding.action_type,
        v.policy_ref.is_not_distinct_from(finding.policy_ref),
        v.code == finding.code,
    )
    row = await unit.row(query.with_for_update())
    if row is None:
        if await _known(unit, finding):
            return None
        return await _open(unit, figures, finding)
    new = await _link(unit, row["id"], finding.decisions)
    if not new:
        return None
    severity = max(Severity(row["severity"]), finding.severity, key=list(Severity).index)
    await unit.connection.execute(
        violation.update()
        .where(v.id == row["id"])
        .values(count=v.count + new, last_at=sa.func.greatest(v.last_at, finding.at), severity=severity)
    )
    await unit.record("violation.repeated", row["ref"], count=row["count"] + new)
    _tell(unit, row["ref"], "repeated")
    await remediation.answer_again(unit, figures, row["ref"], graver=severity != row["severity"])
    return row["ref"]


async def _known(unit: Unit, finding: Finding) -> bool:
    """Whether these decisions stand on a closed record of the kind: what was dealt with does not come back."""
    query = (
        sa.select(sa.func.count(sa.distinct(violation_decision.c.decision_id)))
        .join(violation, violation.c.id == violation_decision.c.violation_id)
        .where(
            violation.c.kind == finding.kind,
            violation.c.code == finding.code,
            violation_decision.c.decision_id.in_(finding.decisions),
        )
    )
    known = (await unit.connection.execute(query)).scalar_one()
    return known >= len(finding.decisions) or (finding.kind in PATTERNS and known > 0)


PATTERNS = (ViolationKind.REPEATED_DENIALS, ViolationKind.BURST, ViolationKind.DRIFT)


async def _open(unit: Unit, figures: Figures, finding: Finding) -> str:
    ref = await next_reference(unit, "VIO")
    workflow_id = await stages.start(
        unit, WorkflowType.POLICY_ENFORCEMENT, PRIORITIES[finding.severity], ref, list(EnforcementStage)
    )
    id = new_id()
    await unit.connection.execute(
        violation.insert().values(
            id=id,
            ref=ref,
            kind=finding.kind,
            state=ViolationState.OPEN,
            severity=finding.severity,
            policy_ref=finding.policy_ref,
            code=finding.code,
            summary=finding.summary,
            subject=finding.subject,
            action_type=finding.action_type,
            count=len(finding.decisions),
            first_at=finding.at,
            last_at=finding.at,
            workflow_id=workflow_id,
        )
    )
    await _link(unit, id, finding.decisions)
    await unit.record(
        "violation.found",
        ref,
        kind=str(finding.kind),
        severity=str(finding.severity),
        code=finding.code,
        policy=finding.policy_ref or "",
        action_type=finding.action_type,
        decisions=[str(item) for item in finding.decisions],
    )
    await stages.enter(unit, workflow_id, EnforcementStage.IMPACT_ASSESSMENT, WorkflowStatus.IN_PROGRESS)
    touched = await assess(unit, id, finding)
    await unit.connection.execute(violation.update().where(violation.c.id == id).values(impact=touched))
    await stages.enter(unit, workflow_id, EnforcementStage.REMEDIATION_ACTION, WorkflowStatus.EXECUTING)
    _tell(unit, ref, "found")
    await remediation.answer(unit, figures, ref)
    return ref


async def _link(unit: Unit, violation_id: UUID, decisions: Sequence[UUID]) -> int:
    """Put decisions behind a record; how many were not there before."""
    if not decisions:
        return 0
    rows = [{"violation_id": violation_id, "decision_id": item} for item in decisions]
    statement = (
        insert(violation_decision).on_conflict_do_nothing().returning(violation_decision.c.decision_id)
    )
    return len((await unit.connection.execute(statement, rows)).all())


def _tell(unit: Unit, ref: str, what: str) -> None:
    unit.publish(f"violation:{ref}", what)
    unit.publish(TOPIC, "violation", ref=ref)


async def assess(unit: Unit, violation_id: UUID, finding: Finding) -> dict[str, Any]:
    """Who and what a violation touches, and since when: counted from the rows, so that it can be counted again."""
    d = decision.c
    behind = sa.select(violation_decision.c.decision_id).where(
        violation_decision.c.violation_id == violation_id
    )
    own = sa.select(
        sa.func.count(sa.distinct(d.subject)),
        sa.func.min(d.made_at),
        sa.func.array_agg(sa.distinct(d.action_type)),
    ).where(d.id.in_(behind))
    subjects, since, types = (await unit.connection.execute(own)).one()
    week = finding.at - timedelta(days=7)
    around = (
        sa.select(d.outcome, sa.func.count())
        .where(
            d.mode == DecisionMode.ENFORCE,
            d.made_at > week,
            d.made_at <= finding.at,
            d.subject == finding.subject if finding.subject else d.action_type == finding.action_type,
        )
        .group_by(d.outcome)
    )
    counts = {row[0]: row[1] for row in await unit.connection.execute(around)}
    others = sa.select(sa.func.count()).where(
        violation.c.state == ViolationState.OPEN,
        violation.c.subject == finding.subject,
        violation.c.id != violation_id,
    )
    limited = sa.select(sa.func.count()).where(
        restriction.c.lifted_at.is_(None),
        restriction.c.expires_at > unit.now,
        restriction.c.subject == finding.subject,
    )
    return {
        "subjects": subjects,
        "since": (since or finding.at).isoformat(),
        "action_types": sorted(types or []),
        "outcomes_in_seven_days": {str(item): counts.get(item, 0) for item in Outcome},
        "other_open_violations": (await unit.connection.execute(others)).scalar_one()
        if finding.subject
        else 0,
        "restrictions_in_force": (await unit.connection.execute(limited)).scalar_one()
        if finding.subject
        else 0,
    }


async def sweep(unit: Unit, figures: Figures) -> int:
    """Find obligations that are late and grants that lapsed by governance time; how many findings there were."""
    found = await _missed(unit) + await _lapsed(unit)
    for finding in found:
        await put_on_record(unit, figures, finding)
    return len(found)


async def _missed(unit: Unit) -> list[Finding]:
    o, d = obligation.c, decision.c
    due = (
        sa.select(
            o.id, o.key, o.text, o.policy_ref, o.due_at, o.decision_id, d.subject, d.action_type, d.revision
        )
        .join(decision, d.id == o.decision_id)
        .where(o.met_at.is_(None), o.missed_at.is_(None), o.due_at <= unit.now)
        .order_by(o.due_at, o.id)
        .limit(500)
        .with_for_update(of=obligation, skip_locked=True)
    )
    rows = await unit.rows(due)
    found = []
    for row in rows:
        await unit.connection.execute(obligation.update().where(o.id == row["id"]).values(missed_at=unit.now))
        severity = await remediation.severity_of(unit, row["revision"], row["policy_ref"], row["key"])
        await unit.record(
            "obligation.missed", f"decision:{row['decision_id']}", key=row["key"], policy=row["policy_ref"]
        )
        found.append(
            Finding(
                kind=ViolationKind.OBLIGATION_MISSED,
                severity=severity,
                code=row["key"],
                summary=f"An obligation was not met in time: {row['text']}",
                subject=row["subject"],
                action_type=row["action_type"],
                policy_ref=row["policy_ref"],
                decisions=[row["decision_id"]],
                at=unit.now,
            )
        )
    return found


async def _lapsed(unit: Unit) -> list[Finding]:
    """Grants whose last obligation was due and that have one unmet: as grave as the gravest of those."""
    d, o = decision.c, obligation.c
    query = (
        sa.select(
            d.id,
            d.subject,
            d.action_type,
            d.revision,
            sa.func.min(o.policy_ref).label("policy_ref"),
            sa.func.jsonb_agg(sa.func.jsonb_build_array(o.policy_ref, o.key)).label("unmet"),
        )
        .join(obligation, o.decision_id == d.id)
        .where(d.lapses_at <= unit.now, d.lapsed_at.is_(None), o.met_at.is_(None))
        .group_by(d.id)
        .order_by(d.id)
        .limit(500)
    )
    found = []
    for row in await unit.rows(query):
        lapse = decision.update().where(d.id == row["id"], d.lapsed_at.is_(None)).values(lapsed_at=unit.now)
        if (await unit.connection.execute(lapse)).rowcount == 0:
            continue  # another worker has just found it
        of_unmet = [await remediation.severity_of(unit, row["revision"], *each) for each in row["unmet"]]
        await unit.record("grant.lapsed", f"decision:{row['id']}", policy=row["policy_ref"])
        found.append(
            Finding(
                kind=ViolationKind.GRANT_LAPSED,
                severity=max(of_unmet, key=list(Severity).index),
                code="lapsed",
                summary=f"A grant of “{row['action_type']}” lapsed, because what it was given for was not done.",
                subject=row["subject"],
                action_type=row["action_type"],
                policy_ref=row["policy_ref"],
                decisions=[row["id"]],
                at=unit.now,
            )
        )
    return found
