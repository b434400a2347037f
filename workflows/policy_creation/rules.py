"""Which figures of the constitution apply to a policy, and how far its review has come. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from workflows.constitution.figures import Figures, Tier
from workflows.kinds import Decision, Strategy
from workflows.policy_creation.views import Requirement, ReviewProgress, Rules
from workflows.roles import Actor, Role

REVIEWER, LEGAL, COUNCIL = "reviewer", "legal", "council"


@dataclass(frozen=True)
class ReviewGiven:
    """One decision on the version under review."""

    reviewer_id: UUID
    capacity: tuple[str, ...]  # of REVIEWER, LEGAL, COUNCIL, as they were when it was given
    decision: Decision


def capacity(actor: Actor) -> tuple[str, ...]:
    """In which capacities this person reviews."""
    found = []
    if actor.has(Role.REVIEWER):
        found.append(REVIEWER)
        if LEGAL in actor.expertise:
            found.append(LEGAL)
    if actor.has(Role.COUNCIL):
        found.append(COUNCIL)
    return tuple(found)


def plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _reviewers(tier: Tier) -> str:
    text = plural(tier.approvals, "reviewer")
    if tier.legal and tier.legal == tier.approvals:
        text += " with legal expertise"
    elif tier.legal:
        text += f", {tier.legal} of them with legal expertise"
    if tier.council:
        text += f", and {plural(tier.council, 'council member')}"
    return text


def applicable(figures: Figures, strategy: Strategy, emergency: bool) -> Rules:
    """What this tier asks for, each figure with the article of the constitution it stands in."""
    tier = figures.tier(strategy)
    voting = figures.emergency_voting_days if emergency else figures.voting_days
    comment_days = 0 if emergency else tier.comment_days
    return Rules(
        reviewers=Requirement(
            value=tier.approvals + tier.council, unit="reviewers", article=tier.article, text=_reviewers(tier)
        ),
        comment_days=Requirement(
            value=comment_days,
            unit="days",
            article=voting.article if emergency else tier.article,
            text=f"{plural(comment_days, 'day')} for public comments"
            if comment_days
            else "no comment period",
        ),
        voting_days=Requirement(
            value=voting.value,
            unit="days",
            article=voting.article,
            text=f"a ballot open for {plural(voting.value, 'day')}",
        ),
        quorum=Requirement(
            value=figures.quorum_percent.value,
            unit="percent",
            article=figures.quorum_percent.article,
            text=f"{figures.quorum_percent.value} % of those who may vote, by votes for and abstentions",
        ),
        threshold=_threshold(tier),
    )


def comment_end(begun: datetime, figures: Figures, strategy: Strategy, emergency: bool) -> datetime:
    """When the comment period ends that began with the submission of a version (§ 4.8)."""
    return begun + timedelta(days=applicable(figures, strategy, emergency).comment_days.value)


def _threshold(tier: Tier) -> Requirement:
    """More than half is asked of every policy (§ 5.5); what a stricter tier asks besides stands in § 5.7."""
    percent, text = tier.threshold_percent, "more votes for than against"
    article = "5.5"
    if percent > 50:
        text, article = f"{text}, and at least {percent} % of them for", "5.7"
    if tier.article == "programme":  # figures that stand in no document have no article
        article = tier.article
    return Requirement(value=percent, unit="percent", article=article, text=text)


def review_progress(tier: Tier, author_id: UUID, reviews: Sequence[ReviewGiven]) -> ReviewProgress:
    """How far the decisions on the current version carry.

    Nobody counts twice: a person who is reviewer and council member fills one of the two places. Council places
    nobody else can fill take such a person first, by preference one without legal expertise, so that whenever the
    approvals at hand can fill all places, they do.
    """
    approving = {
        item.reviewer_id: item
        for item in reviews
        if item.decision == Decision.APPROVE and item.reviewer_id != author_id
    }.values()
    reviewers = [item for item in approving if REVIEWER in item.capacity]
    council = [item for item in approving if COUNCIL in item.capacity and REVIEWER not in item.capacity]
    both = sorted(
        (item for item in reviewers if COUNCIL in item.capacity), key=lambda item: LEGAL in item.capacity
    )
    moved = both[: max(tier.council - len(council), 0)]
    seated = [item for item in reviewers if item not in moved]
    approvals, in_council = len(seated), len(council) + len(moved)
    legal = sum(LEGAL in item.capacity for item in seated)
    missing = _missing(tier, approvals, legal, in_council)
    return ReviewProgress(
        approvals=approvals,
        needed=tier.approvals,
        legal=legal,
        legal_needed=tier.legal,
        council=in_council,
        council_needed=tier.council,
        complete=not missing,
        missing=missing,
    )


def _missing(tier: Tier, approvals: int, legal: int, council: int) -> str:
    """What is still needed, as a sentence; empty when nothing is."""
    lacking = max(tier.approvals - approvals, 0)
    lacking_legal = max(tier.legal - legal, 0)
    parts = []
    if lacking > lacking_legal and lacking_legal:
        parts.append(f"{plural(lacking, 'reviewer')} ({lacking_legal} with legal expertise)")
    elif lacking_legal:
        parts.append(f"{plural(lacking_legal, 'reviewer')} with legal expertise")
    elif lacking:
        parts.append(plural(lacking, "reviewer"))
    if council < tier.council:
        parts.append(plural(tier.council - council, "council member"))
    return f"Still to approve: {' and '.join(parts)}." if parts else ""
