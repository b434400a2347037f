"""How many things wait for a person: the number on every page's frame."""

from __future__ import annotations

import sqlalchemy as sa

from workflows.kinds import BallotState, PolicyState
from workflows.roles import Actor, Role
from workflows.storage.tables import ballot, elector, policy, review, vote


def waiting_count(actor: Actor, now: sa.ColumnElement) -> sa.ColumnElement[int]:
    """Ballots they have not voted in, reviews they have not given, and policies returned to them, as one SQL value."""
    voted = sa.exists().where(
        vote.c.ballot_id == ballot.c.id, vote.c.voter_id == actor.id, vote.c.superseded_at.is_(None)
    )
    votes = (
        sa.select(sa.func.count())
        .select_from(ballot.join(elector, elector.c.ballot_id == ballot.c.id))
        .where(
            elector.c.person_id == actor.id,
            ballot.c.state == BallotState.OPEN,
            ballot.c.closes_at > now,
            ~voted,
        )
    )
    returned = sa.select(sa.func.count()).where(
        policy.c.author_id == actor.id, policy.c.state == PolicyState.RETURNED
    )
    total = votes.scalar_subquery() + returned.scalar_subquery()
    if actor.has(Role.REVIEWER, Role.COUNCIL):
        given = sa.exists().where(
            review.c.policy_id == policy.c.id,
            review.c.version == policy.c.current_version,
            review.c.reviewer_id == actor.id,
        )
        reviews = sa.select(sa.func.count()).where(
            policy.c.state == PolicyState.IN_REVIEW, policy.c.author_id != actor.id, ~given
        )
        total = total + reviews.scalar_subquery()
    return total
