"""What the analysis is not sure of is put to people who are named, decide in time and say why (Constitution § 4.10)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from workflows.alerts import raise_alert, resolve_alert
from workflows.constitution.figures import Figures
from workflows.constitutional_compliance import labels
from workflows.constitutional_compliance.asking import TOPIC, tell
from workflows.constitutional_compliance.labels import Labelled
from workflows.errors import Conflict, FieldError, Invalid, NotFound
from workflows.kinds import Compliance, ComplianceStage, PolicyState, WorkflowStatus
from workflows.orchestrator import stages
from workflows.policy_creation.loading import check_reason, lock_policy
from workflows.roles import Role, insist, may_answer_compliance
from workflows.storage.tables import (
    audit_subject,
    compliance_asked,
    compliance_question,
    person,
    policy,
    validation,
    workflow,
)
from workflows.storage.unit import Unit, new_id

FEW = 2  # people who are asked at first
ANSWERS = (Compliance.COMPLIANT, Compliance.NON_COMPLIANT)
MATTERS = (PolicyState.IN_REVIEW, PolicyState.PUBLIC_COMMENT, PolicyState.ENACTED)
NOBODY = "compliance.nobody"


def open_ones() -> sa.ColumnElement[bool]:
    """Of a question with its validation and policy: whether an answer still decides something."""
    return sa.and_(
        compliance_question.c.decided_at.is_(None),
        policy.c.current_version == validation.c.version,
        policy.c.state.in_(MATTERS),
    )


async def ask(unit: Unit, figures: Figures, validation_id: UUID, ref: str, row: dict[str, Any]) -> bool:
    """Put a validation of a locked policy to two people; True. Where there is nobody but the author, an alert says so."""
    id = new_id()
    due_at = unit.now + timedelta(days=figures.compliance_decision_days.value)
    values = {"id": id, "validation_id": validation_id, "asked_at": unit.now, "due_at": due_at}
    await unit.connection.execute(compliance_question.insert().values(values))
    asked = await _put_to(unit, id, _suited(row["author_id"]).limit(FEW))
    await unit.record(
        "compliance.asked",
        row["ref"],
        validation=ref,
        question=str(id),
        version=row["current_version"],
        asked=asked,
        due_at=due_at.isoformat(),
    )
    if not asked:
        message = f"Nobody but its author could decide whether {row['ref']} complies. Name a reviewer."
        await raise_alert(unit, NOBODY, "critical", message, f"/policies/{row['ref']}/compliance")
    await unit.enqueue("deadlines", {}, due=due_at)
    tell(unit, ref, row["ref"], "put_to_people")
    return True


def _suited(author_id: UUID) -> sa.Select[Any]:
    """Reviewers and council but the author: legal expertise first, then who has the fewest open questions."""
    q, a = compliance_question.c, compliance_asked.c
    busy = (
        sa.select(sa.func.count())
        .select_from(compliance_asked.join(compliance_question, q.id == a.question_id))
        .where(a.person_id == person.c.id, q.decided_at.is_(None))
        .scalar_subquery()
    )
    return (
        sa.select(person.c.id)
        .where(
            person.c.active,
            person.c.id != author_id,
            person.c.roles.overlap([str(Role.REVIEWER), str(Role.COUNCIL)]),
        )
        .order_by(~person.c.expertise.contains(["legal"]), busy, person.c.id)
    )


def _council(author_id: UUID) -> sa.Select[Any]:
    return sa.select(person.c.id).where(
        person.c.active, person.c.id != author_id, person.c.roles.contains([str(Role.COUNCIL)])
    )


async def _put_to(unit: Unit, question_id: UUID, people: sa.Select[Any]) -> list[str]:
    """Name people for a question; as the log names those that are new to it."""
    chosen = [row["id"] for row in await unit.rows(people)]
    if not chosen:
        return []
    rows = [{"question_id": question_id, "person_id": each} for each in chosen]
    statement = insert(compliance_asked).values(rows).on_conflict_do_nothing()
    added = await unit.connection.execute(statement.returning(compliance_asked.c.person_id))
    new = list(added.scalars())
    names = sa.select(audit_subject.c.pseudonym).where(audit_subject.c.person_id.in_(new))
    return [f"person:{name}" for name in (await unit.connection.execute(names)).scalars()]


async def answer(
    unit: Unit, question_id: UUID, verdict: str, reason: str, labelled: Sequence[Labelled] = ()
) -> None:
    """Decide whether a version complies, and say why; what people say of single findings becomes labels.

    Raises NotFound, Refused (the author, who was not asked), Conflict `already_answered` or `superseded`, Invalid.
    """
    about = await unit.row(_about(question_id))
    if about is None:
        raise NotFound("There is no such question.", code="no_question")
    row = await lock_policy(unit, about["ref"])
    asked = sa.exists().where(
        compliance_asked.c.question_id == question_id, compliance_asked.c.person_id == unit.actor.id
    )
    is_asked = (await unit.connection.execute(sa.select(asked))).scalar_one()
    insist(may_answer_compliance(unit.actor, row["author_id"], is_asked=is_asked))
    chosen = _verdict(verdict)
    said = check_reason(reason)
    clauses = labels.read(about["result"], labelled)
    question = await unit.row(
        sa.select(compliance_question).where(compliance_question.c.id == question_id).with_for_update()
    )
    assert question is not None
    if question["decided_at"] is not None:
        raise Conflict("Somebody who was asked has decided already.", code="already_answered")
    if row["current_version"] != about["version"] or row["state"] not in MATTERS:
        raise Conflict("This version is not on its way any more.", code="superseded")
    await unit.connection.execute(
        compliance_question.update()
        .where(compliance_question.c.id == question_id)
        .values(decided_at=unit.now, decided_by=unit.actor.id, answer=chosen)
    )
    await labels.keep(unit, about["validation_id"], about["ref"], clauses)
    await _finish(unit, about["workflow_id"])
    await unit.record(
        "compliance.answered",
        row["ref"],
        validation=about["validation"],
        question=str(question_id),
        version=about["version"],
        answer=str(chosen),
        labels=[
            {"principle": each.principle, "text_sha256": each.text_sha256, "label": str(each.label)}
            for each in clauses
        ],
        personal={"reason": said},
    )
    await _settle_alerts(unit, row, chosen)
    await unit.enqueue("deadlines", {})
    tell(unit, about["validation"], row["ref"], "answered")


def _about(question_id: UUID) -> sa.Select[Any]:
    v = validation.c
    return (
        sa.select(
            policy.c.ref, v.id.label("validation_id"), v.ref.label("validation"), v.version, v.result, v.workflow_id
        )
        .join(validation, v.id == compliance_question.c.validation_id)
        .join(policy, policy.c.id == v.policy_id)
        .where(compliance_question.c.id == question_id)
    )  # fmt: skip


def _verdict(verdict: str) -> Compliance:
    if verdict not in ANSWERS:
        error = FieldError("/answer", "Say compliant or non_compliant: this is what you were asked.")
        raise Invalid("Nothing was decided.", errors=(error,))
    return Compliance(verdict)


async def _finish(unit: Unit, workflow_id: UUID) -> None:
    await stages.enter(
        unit, workflow_id, ComplianceStage.ENFORCEMENT_RECOMMENDATION, WorkflowStatus.EXECUTING
    )
    await stages.complete(unit, workflow_id)


async def _settle_alerts(unit: Unit, row: dict[str, Any], chosen: Compliance) -> None:
    await resolve_alert(unit, f"compliance.overdue.{row['ref']}")
    worse = f"compliance.worse.{row['ref']}"
    await resolve_alert(unit, worse)
    if row["state"] == PolicyState.ENACTED and chosen == Compliance.NON_COMPLIANT:
        message = f"People say that {row['ref']}, which is in force, does not comply. The council may suspend it (§ 6.4)."
        await raise_alert(unit, worse, "critical", message, f"/policies/{row['ref']}/compliance")


async def sweep(unit: Unit, figures: Figures) -> int:
    """Note questions that are overdue, and put them to the whole council; call off what decides nothing any more."""
    await _call_off(unit)
    q, v = compliance_question.c, validation.c
    late = (
        sa.select(q.id, v.ref.label("validation"), policy.c.ref, policy.c.author_id, v.version)
        .join(validation, v.id == q.validation_id)
        .join(policy, policy.c.id == v.policy_id)
        .where(open_ones(), q.due_at <= unit.now, q.overdue_noted_at.is_(None))
        .order_by(q.due_at, q.id)
        .limit(100)
        .with_for_update(of=compliance_question, skip_locked=True)
    )
    rows = await unit.rows(late)
    for row in rows:
        await unit.connection.execute(
            compliance_question.update().where(q.id == row["id"]).values(overdue_noted_at=unit.now)
        )
        asked = await _put_to(unit, row["id"], _council(row["author_id"]))
        await unit.record(
            "compliance.overdue",
            row["ref"],
            validation=row["validation"],
            question=str(row["id"]),
            version=row["version"],
            asked=asked,
        )
        days = figures.compliance_decision_days
        message = f"Nobody decided within {days.value} days whether {row['ref']} complies. The council is asked now."
        code = f"compliance.overdue.{row['ref']}"
        await raise_alert(unit, code, "warning", message, f"/policies/{row['ref']}/compliance")
        tell(unit, row["validation"], row["ref"], "overdue")
    return len(rows)


async def _call_off(unit: Unit) -> None:
    """Validations of versions that were amended, withdrawn or rejected while people were asked about them."""
    v = validation.c
    moot = (
        sa.select(v.ref, v.workflow_id, policy.c.ref.label("policy"))
        .join(policy, policy.c.id == v.policy_id)
        .join(workflow, workflow.c.id == v.workflow_id)
        .join(compliance_question, compliance_question.c.validation_id == v.id)
        .where(
            workflow.c.status == WorkflowStatus.WAITING_APPROVAL,
            compliance_question.c.decided_at.is_(None),
            ~open_ones(),
        )
        .order_by(v.id)
        .limit(100)
        .with_for_update(of=validation, skip_locked=True)
    )
    for row in await unit.rows(moot):
        await stages.cancel(unit, row["workflow_id"])
        await unit.record("validation.called_off", row["policy"], validation=row["ref"])
        await resolve_alert(unit, f"compliance.overdue.{row['policy']}")
        unit.publish(TOPIC, "called_off", validation=row["ref"])
