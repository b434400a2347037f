"""Whether a person may vote in a ballot now, and why or why not. Pure."""

from __future__ import annotations

from datetime import datetime

from workflows.kinds import BallotState
from workflows.policy_creation.views import Eligibility
from workflows.roles import Actor, Role, Scope


def _no(code: str, why: str) -> Eligibility:
    return Eligibility(can_vote=False, reason_code=code, why=why)


NOT_OPEN = _no("not_open", "The ballot is not open yet. It opens by itself when the review is complete.")
CLOSED = _no("ballot_closed", "The ballot is closed.")
COUNTING = _no("ballot_closed", "The time to vote is over; the votes are about to be counted.")
SIGN_IN = _no("sign_in", "Sign in to vote.")
NO_SCOPE = _no("scope_missing", "This token was not given the scope “vote”.")
NOT_MEMBER = _no("not_member", "Only members vote; no other role gives a vote (§ 2.4).")
JOINED_LATER = _no("joined_later", "You were not yet a member when this ballot opened (§ 5.1).")
MAY_VOTE = Eligibility(can_vote=True, reason_code="may_vote", why="You are a member and have not voted yet.")
MAY_CHANGE = Eligibility(
    can_vote=True, reason_code="may_change", why="You have voted. You may change your vote until the close."
)


def eligibility(
    actor: Actor | None,
    state: BallotState | None,
    closes_at: datetime | None,
    now: datetime,
    *,
    is_elector: bool,
    has_voted: bool,
) -> Eligibility:
    """`state` is None before the ballot opens. Electors stay electors whatever their roles become (§ 5.1)."""
    if state is None or closes_at is None:
        return NOT_OPEN
    if state == BallotState.CLOSED:
        return CLOSED
    if closes_at <= now:
        return COUNTING
    if actor is None or actor.id is None:
        return SIGN_IN
    if Scope.VOTE not in actor.scopes:
        return NO_SCOPE
    if not is_elector:
        return JOINED_LATER if actor.has(Role.MEMBER) else NOT_MEMBER
    return MAY_CHANGE if has_voted else MAY_VOTE
