"""Review: a decision is about exactly one version, and the last one needed moves the policy on."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from workflows.constitution.figures import Figures
from workflows.constitutional_compliance import gate
from workflows.errors import Conflict, FieldError, Invalid
from workflows.kinds import CreationStage, Decision, PolicyState, WorkflowStatus
from workflows.orchestrator import stages
from workflows.policy_creation import ballots
from workflows.policy_creation.lifecycle import after_review, insist_takes
from workflows.policy_creation.loading import check_reason, lock_policy, update_policy
from workflows.policy_creation.readiness import given
from workflows.policy_creation.rules import ReviewGiven, capacity, review_progress
from workflows.policy_creation.views import ReviewProgress
from workflows.roles import insist, may_review
from workflows.storage.tables import policy_version, review
from workflows.storage.unit import Unit, new_id

_PAST = {Decision.APPROVE: "approved", Decision.RETURN: "returned", Decision.REJECT: "rejected"}


async def decide(
    unit: Unit, figures: Figures, ref: str, decision: Decision, reason: str, version_sha256: str
) -> ReviewProgress:
    """Approve, return or reject the version whose hash the reviewer read.

    Raises Refused (author, no reviewer), Conflict `stale_version` with a link to what changed since, Invalid
    `wrong_stage`, Conflict `already_reviewed`.
    """
    chosen = _decision(decision)
    row = await lock_policy(unit, ref)
    insist(may_review(unit.actor, row["author_id"]))
    if version_sha256 != row["version_sha256"]:
        raise await stale_version(unit, row, version_sha256)
    insist_takes(row["state"], "review", Invalid, "wrong_stage")
    said = check_reason(reason)
    before = await given(unit, row["id"], row["current_version"])
    if any(item.reviewer_id == unit.actor.id for item in before):
        raise Conflict("You have already decided on this version.", code="already_reviewed")
    mine = await _keep(unit, row, chosen, said)
    progress = review_progress(figures.tier(row["strategy"]), row["author_id"], [*before, mine])
    past = _PAST[mine.decision]
    await unit.record(
        f"review.{past}",
        ref,
        version=row["current_version"],
        version_sha256=version_sha256,
        capacity=list(mine.capacity),
        personal={"reason": said},
    )
    unit.publish(f"policy:{ref}", "reviewed", decision=mine.decision, complete=progress.complete)
    await _move_on(unit, figures, row, mine.decision, progress, said)
    return progress


def _decision(decision: str) -> Decision:
    try:
        return Decision(decision)
    except ValueError:
        error = FieldError("/decision", "Choose approve, return or reject.")
        raise Invalid("Nothing was decided.", errors=(error,)) from None


async def _keep(unit: Unit, row: dict[str, Any], decision: Decision, reason: str) -> ReviewGiven:
    assert unit.actor.id is not None
    mine = ReviewGiven(unit.actor.id, capacity(unit.actor), decision)
    await unit.connection.execute(
        review.insert().values(
            id=new_id(),
            policy_id=row["id"],
            version=row["current_version"],
            version_sha256=row["version_sha256"],
            reviewer_id=mine.reviewer_id,
            capacity=list(mine.capacity),
            decision=decision,
            reason=reason,
            created_at=unit.now,
        )
    )
    return mine


async def _move_on(
    unit: Unit,
    figures: Figures,
    row: dict[str, Any],
    decision: Decision,
    progress: ReviewProgress,
    reason: str,
) -> None:
    workflow_id = row["workflow_id"]
    # A rule is judged by the engine before the ballot, outside this transaction, and an amendment is held against the
    # document in force; the ballot opens with the job below. So it does where the text is still being held against the
    # constitution.
    waits = row["rule_engine"] or row["constitution_base_sha256"]
    comments_over = row["comment_ends_at"] <= unit.now and not waits
    if comments_over and decision == Decision.APPROVE and progress.complete:
        comments_over = (await gate.stands(unit, row["ref"])).may_open
    match after_review(decision, progress, comments_over=comments_over):
        case PolicyState.REJECTED:
            await update_policy(
                unit, row, state=PolicyState.REJECTED, state_reason=reason, decided_at=unit.now
            )
            await stages.complete(unit, workflow_id)
        case PolicyState.RETURNED:
            await update_policy(unit, row, state=PolicyState.RETURNED, state_reason=reason)
            await stages.enter(
                unit, workflow_id, CreationStage.STAKEHOLDER_REVIEW, WorkflowStatus.IN_PROGRESS
            )
        case PolicyState.PUBLIC_COMMENT:
            await update_policy(unit, row, state=PolicyState.PUBLIC_COMMENT)
            await stages.enter(unit, workflow_id, CreationStage.PUBLIC_COMMENT, WorkflowStatus.IN_PROGRESS)
            await unit.enqueue("deadlines", {}, due=row["comment_ends_at"])
        case PolicyState.VOTING:
            await ballots.open_ballot(unit, figures, row)
        case PolicyState.IN_REVIEW:
            await update_policy(unit, row)


async def stale_version(unit: Unit, row: dict[str, Any], version_sha256: str) -> Conflict:
    """The refusal for a hash that is not the standing version's, with a link to what changed in between."""
    statement = sa.select(policy_version.c.number).where(
        policy_version.c.policy_id == row["id"], policy_version.c.version_sha256 == version_sha256
    )
    known = await unit.row(statement)
    ref, current = row["ref"], row["current_version"]
    diff = f"/policies/{ref}/changes"
    if known is not None:
        diff += f"?from={known['number']}&to={current}"
    return Conflict(
        f"The text has changed: version {current} of {ref} stands now. Read what changed before you decide.",
        code="stale_version",
        links={"diff": diff},
    )
