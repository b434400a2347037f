"""Judges anew what is on its way, voted on or in force when the constitution was amended or something else would judge now.

A ballot opens only after a judgement under the constitution in force (§ 4.9). What is in force stays so: that it comes out
worse is put to people (outcome).
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from workflows.constitution.document import Constitution
from workflows.constitutional_compliance import asking
from workflows.constitutional_compliance.analysis import Judge
from workflows.constitutional_compliance.validations import Units
from workflows.kinds import PolicyState, ValidationCause, WorkflowStatus
from workflows.policy_creation.loading import lock_policy
from workflows.storage.tables import compliance_question, policy, validation, workflow
from workflows.storage.unit import Unit

JUDGED = (PolicyState.IN_REVIEW, PolicyState.PUBLIC_COMMENT, PolicyState.VOTING, PolicyState.ENACTED)
AT_ONCE = 50  # policies of one transaction


async def look(units: Units, judge: Judge, constitution: Constitution) -> int:
    """Ask for judgements that are missing under the constitution in force, or that something else would make now; how many.

    Safe from several workers: whether one is missing is looked at again under the policy's lock.
    """
    async with units() as unit:
        bases = list((await unit.connection.execute(_bases(unit))).scalars())
    stale = [basis for basis in bases if not await judge.stands(constitution, basis)]
    asked = 0
    while True:
        async with units() as unit:
            done = await _ask_some(unit, stale)
        asked += done
        if done < AT_ONCE:
            return asked


async def amended(units: Units) -> int:
    """As `look`, only for judgements under another constitution: this asks no judge, and costs one statement if all are."""
    asked = 0
    while True:
        async with units() as unit:
            done = await _ask_some(unit, [])
        asked += done
        if done < AT_ONCE:
            return asked


def _newest() -> Any:
    """Of a policy: the newest validation of its standing version that counts."""
    v = validation.c
    return (
        sa.select(v.id, v.constitution_sha256, v.basis_sha256, v.made_at, v.workflow_id)
        .where(
            v.policy_id == policy.c.id,
            v.version == policy.c.current_version,
            v.cause != ValidationCause.REQUESTED,
        )
        .order_by(v.created_at.desc(), v.id.desc())
        .limit(1)
        .correlate(policy)
        .lateral("newest")
    )


def _bases(unit: Unit) -> sa.Select[Any]:
    """What the judgements rest on that stand now."""
    newest = _newest()
    return (
        sa.select(newest.c.basis_sha256)
        .distinct()
        .select_from(policy.join(newest, sa.true()))
        .where(
            policy.c.state.in_(JUDGED),
            newest.c.basis_sha256.is_not(None),
            newest.c.constitution_sha256 == unit.constitution_sha256,
        )
    )


def _due(unit: Unit, stale: list[str]) -> sa.Select[Any]:
    """Policies to be judged anew, and what about the judgement they have. One that waits or is with people is left alone,
    unless it is of another constitution.
    """
    newest = _newest()
    put = sa.exists().where(
        compliance_question.c.validation_id == newest.c.id, compliance_question.c.decided_at.is_(None)
    )
    failed = sa.exists().where(
        workflow.c.id == newest.c.workflow_id, workflow.c.status == WorkflowStatus.FAILED
    )
    other = newest.c.constitution_sha256.is_distinct_from(unit.constitution_sha256)
    outdated = sa.and_(newest.c.basis_sha256.in_(stale), ~put, ~failed)
    return (
        sa.select(policy.c.ref, newest.c.id, other.label("other"))
        .select_from(policy.outerjoin(newest, sa.true()))
        .where(policy.c.state.in_(JUDGED), sa.or_(other, outdated))
        .order_by(policy.c.updated_at, policy.c.id)
        .limit(AT_ONCE)
    )


async def _ask_some(unit: Unit, stale: list[str]) -> int:
    found = await unit.rows(_due(unit, stale))
    done = 0
    for each in found:
        row = await lock_policy(unit, each["ref"])
        again = await unit.row(_due(unit, stale).where(policy.c.ref == each["ref"]))
        if again is None:  # another worker asked meanwhile
            continue
        await asking.ask(unit, row, _cause(again))
        done += 1
    return done if done == len(found) else min(done, AT_ONCE - 1)


def _cause(found: sa.RowMapping) -> ValidationCause:
    if found["id"] is None:
        return ValidationCause.SUBMITTED
    return ValidationCause.CONSTITUTION_CHANGED if found["other"] else ValidationCause.MODELS_CHANGED
