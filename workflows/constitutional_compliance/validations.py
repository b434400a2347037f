"""Holds against the constitution what waits for it, and keeps what was found with its entry and with what follows from it.

The judge is asked outside any transaction. Whoever asks it has taken the validation for a while: a worker that dies leaves
it to another, and of two that had the same judged the first to keep it does. A failure is tried again with back-off, and
then fails the workflow. That the worker died is such a failure, as it may have died of the text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

import msgspec
import rfc8785
import sqlalchemy as sa

from workflows.constitution.document import Constitution
from workflows.constitutional_compliance import outcome
from workflows.constitutional_compliance.analysis import Enacted, Judge, Problem
from workflows.constitutional_compliance.asking import JOB
from workflows.constitutional_compliance.findings import Result, Subject
from workflows.constitutional_compliance.outcome import Locked
from workflows.kinds import (
    ComplianceStage,
    PolicyState,
    StageStatus,
    Strategy,
    WorkflowStatus,
)
from workflows.orchestrator import stages
from workflows.policy_creation.records import sha256_hex
from workflows.storage.tables import policy, policy_version, validation, workflow, workflow_stage
from workflows.storage.unit import Unit

LEASE = timedelta(minutes=2)  # for which a validation is whose worker took it
ENDED = (WorkflowStatus.FAILED, WorkflowStatus.CANCELLED, WorkflowStatus.TIMEOUT)
# Judged at once; language models take their time for each.
AT_ONCE = {
    Strategy.STANDARD: 20,
    Strategy.ENHANCED_VALIDATION: 20,
    Strategy.MULTI_MODEL_CONSENSUS: 3,
    Strategy.HUMAN_REVIEW: 3,
}
Units = Callable[[], AbstractAsyncContextManager[Unit]]


class NotJudged(Exception):
    """Why a text was not judged."""


class Taken(msgspec.Struct, frozen=True):
    """A validation that this process judges, and nobody else for a while."""

    id: UUID
    workflow_id: UUID
    level: Strategy
    subject: Subject
    left: bool  # by who took it before, and did not come to an end in time


async def take(units: Units, ids: Sequence[UUID] | None = None) -> list[Taken]:
    """Take validations that wait, all of one tier, oldest first; with `ids` only of these. What others hold is left to them."""
    async with units() as unit:
        rows = await unit.rows(_waiting(unit, ids))
        if not rows:
            return []
        rows = _together(rows)
        level = Strategy(rows[0]["level"])
        for row in rows:
            if row["key"] == ComplianceStage.VALIDATION_INITIATION:
                await stages.enter(
                    unit,
                    row["workflow_id"],
                    ComplianceStage.CONSTITUTIONAL_ANALYSIS,
                    WorkflowStatus.EXECUTING,
                )
        analysed = [row["workflow_id"] for row in rows]
        await unit.connection.execute(
            workflow_stage.update()
            .where(
                workflow_stage.c.workflow_id.in_(analysed),
                workflow_stage.c.key == ComplianceStage.CONSTITUTIONAL_ANALYSIS,
            )
            .values(retry_at=unit.now + LEASE)
        )
        begun = [row["id"] for row in rows if not _was_left(row)]
        await unit.connection.execute(
            validation.update().where(validation.c.id.in_(begun)).values(taken=validation.c.taken + 1)
        )
        await unit.record(
            "validation.begun", "compliance", validations=[row["ref"] for row in rows], level=str(level)
        )
        return [Taken(row["id"], row["workflow_id"], level, _subject(row), _was_left(row)) for row in rows]


def _together(rows: Sequence[sa.RowMapping]) -> list[sa.RowMapping]:
    """The rows that are judged together with the first: of its tier, and alone where it failed before."""
    first = rows[0]
    if first["attempts"] or _was_left(first):
        return [first]
    fresh = [row for row in rows if not row["attempts"] and not _was_left(row)]
    return [row for row in fresh if row["level"] == first["level"]][: AT_ONCE[first["level"]]]


def _was_left(row: sa.RowMapping) -> bool:
    """Somebody began, and neither kept a judgement nor counted a failure."""
    return row["taken"] > row["attempts"]


def _waiting(unit: Unit, ids: Sequence[UUID] | None) -> sa.Select[Any]:
    v, s, version = validation.c, workflow_stage.c, policy_version.c
    query = (
        sa.select(
            v.id, v.ref, v.workflow_id, v.level, v.taken, s.key, s.attempts, v.text,
            policy.c.ref.label("policy_ref"), policy.c.emergency,
            version.title, version.summary, version.text.label("version_text"), version.constitution_text, version.category,
            version.version_sha256,
            version.rule_engine, version.rule_source, version.rule_examples,
        )
        .join(workflow, workflow.c.id == v.workflow_id)
        .join(workflow_stage, s.workflow_id == v.workflow_id)
        .outerjoin(policy, policy.c.id == v.policy_id)
        .outerjoin(policy_version, (version.policy_id == v.policy_id) & (version.number == v.version))
        .where(
            v.made_at.is_(None),
            sa.or_(v.policy_id.is_not(None), v.text.is_not(None)),  # or its text was erased
            workflow.c.status.not_in(ENDED),
            s.status == StageStatus.IN_PROGRESS,
            sa.or_(s.retry_at.is_(None), s.retry_at <= unit.now),
        )
        .order_by(v.created_at, v.id)
        .limit(max(AT_ONCE.values()))
        .with_for_update(of=validation, skip_locked=True)
    )  # fmt: skip
    return query if ids is None else query.where(v.id.in_(ids))


def _subject(row: sa.RowMapping) -> Subject:
    if row["policy_ref"] is None:
        return Subject(title="", text=row["text"] or "")
    return Subject(
        title=row["title"],
        text=row["version_text"],
        summary=row["summary"],
        amended=row["constitution_text"] or "",
        category=row["category"],
        emergency=row["emergency"],
        policy_ref=row["policy_ref"],
        version_sha256=row["version_sha256"],
        rule_engine=row["rule_engine"],
        rule_source=row["rule_source"] or "",
        rule_examples=row["rule_examples"] or [],
    )


async def assess_waiting(
    units: Units, judge: Judge, constitution: Constitution, ids: Sequence[UUID] | None = None
) -> int:
    """Judge what waits, until nothing does; how many were. Safe from several workers at once."""
    done = 0
    while taken := await take(units, ids):
        await _assess(units, judge, constitution, taken)
        done += len(taken)
    return done


async def _assess(units: Units, judge: Judge, constitution: Constitution, taken: list[Taken]) -> None:
    enacted = await in_force(units) if taken[0].level != Strategy.STANDARD else []
    for each, found in zip(taken, await _judged(judge, constitution, taken, enacted), strict=True):
        async with units() as unit:
            locked = await outcome.lock(unit, each.id)
            if locked is None:  # somebody else was quicker, or it is not wanted any more
                continue
            step = partial(_keep, unit, constitution, locked, found)
            analysis = ComplianceStage.CONSTITUTIONAL_ANALYSIS
            if not await stages.run_step(unit, each.workflow_id, analysis, step, job=JOB):
                await outcome.failed(unit, locked)


async def _judged(
    judge: Judge, constitution: Constitution, taken: list[Taken], enacted: Sequence[Enacted]
) -> list[Result | Exception]:
    """One each. Where all together could not be judged, one by one: a text that breaks the judge breaks no other's."""
    if taken[0].left:
        return [NotJudged("The process that judged it ended before it was done.")]

    async def of(some: list[Taken]) -> list[Result | Exception]:
        subjects = [each.subject for each in some]
        answers = await judge.judge(constitution, subjects, enacted=enacted, level=some[0].level)
        if len(answers) != len(some):
            raise NotJudged(f"The judge answered {len(answers)} of {len(some)} texts.")
        return [NotJudged(each.detail) if isinstance(each, Problem) else each for each in answers]

    try:
        return await of(taken)
    except Exception as error:
        if len(taken) == 1:
            return [error]
    return [found for each in taken for found in await _judged(judge, constitution, [each], enacted)]


async def _keep(unit: Unit, constitution: Constitution, locked: Locked, found: Result | Exception) -> None:
    if isinstance(found, Exception):
        raise found
    body = msgspec.to_builtins(found)
    await unit.connection.execute(
        validation.update()
        .where(validation.c.id == locked.id)
        .values(
            verdict=found.verdict,
            score=found.score,
            confidence=found.confidence,
            result=body,
            basis_sha256=found.basis_sha256,
            constitution_sha256=found.constitution_sha256,
            made_at=unit.now,
        )
    )
    await unit.record(
        "validation.made",
        locked.subject,
        validation=locked.ref,
        version=locked.version or 0,
        verdict=str(found.verdict),
        # Verifiers take no number with a fraction: it has no one spelling.
        score=f"{found.score:.4f}",
        confidence=f"{found.confidence:.4f}",
        findings=len(found.findings),
        basis_sha256=found.basis_sha256,
        # Of a text that is not public, a hash of what quotes it would let anybody try what it says.
        **({"result_sha256": sha256_hex(rfc8785.dumps(body))} if locked.policy else {}),
    )
    await outcome.follow(unit, constitution, locked, found)


async def in_force(units: Units) -> list[Enacted]:
    """The policies in force, with which a text may clash."""
    v = policy_version.c
    query = (
        sa.select(policy.c.ref, v.title, v.text, v.category, v.rule_engine, v.rule_source)
        .join(policy_version, (v.policy_id == policy.c.id) & (v.number == policy.c.current_version))
        .where(policy.c.state == PolicyState.ENACTED)
        .order_by(policy.c.ref)
    )
    async with units() as unit:
        return [Enacted(**{**row, "rule_source": row["rule_source"] or ""}) for row in await unit.rows(query)]
