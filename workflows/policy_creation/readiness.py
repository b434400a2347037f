"""Whether a reviewed policy may come to a ballot as the constitution in force asks now, which may be more than it asked before."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import sqlalchemy as sa

from workflows.constitution.figures import Figures
from workflows.kinds import CreationStage, Decision, PolicyState, WorkflowStatus
from workflows.orchestrator import stages
from workflows.policy_creation.loading import update_policy
from workflows.policy_creation.rules import ReviewGiven, comment_end, review_progress
from workflows.storage.tables import policy_version, review
from workflows.storage.unit import Unit


async def given(unit: Unit, policy_id: UUID, version: int) -> list[ReviewGiven]:
    """The decisions on a version so far."""
    columns = review.c.reviewer_id, review.c.capacity, review.c.decision
    statement = sa.select(*columns).where(review.c.policy_id == policy_id, review.c.version == version)
    return [
        ReviewGiven(row["reviewer_id"], tuple(row["capacity"]), Decision(row["decision"]))
        for row in await unit.rows(statement)
    ]


async def hold_back(unit: Unit, figures: Figures, row: dict[str, Any]) -> bool:
    """Keep a locked policy from its ballot where an amendment since asks for more approvals or comment days; whether it did."""
    begun = sa.select(policy_version.c.created_at).where(
        policy_version.c.policy_id == row["id"], policy_version.c.number == row["current_version"]
    )
    written = (await unit.connection.execute(begun)).scalar_one()
    ends_at = comment_end(max(row["submitted_at"], written), figures, row["strategy"], row["emergency"])
    reviews = await given(unit, row["id"], row["current_version"])
    progress = review_progress(figures.tier(row["strategy"]), row["author_id"], reviews)
    if ends_at <= unit.now and progress.complete:
        return False
    state = PolicyState.PUBLIC_COMMENT if progress.complete else PolicyState.IN_REVIEW
    await update_policy(unit, row, state=state, comment_ends_at=max(ends_at, row["comment_ends_at"]))
    if not progress.complete:
        await stages.enter(
            unit, row["workflow_id"], CreationStage.STAKEHOLDER_REVIEW, WorkflowStatus.WAITING_APPROVAL
        )
    why = progress.missing or "The comment period is longer now."
    await unit.record("policy.held_back", row["ref"], version=row["current_version"], why=why)
    await unit.enqueue("deadlines", {}, due=ends_at)
    unit.publish(f"policy:{row['ref']}", "held_back")
    return True
