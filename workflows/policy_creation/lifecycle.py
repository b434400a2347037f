"""Where a policy may go from where it stands: the one place that says so. Pure."""

from __future__ import annotations

from workflows.errors import Conflict, GovernanceError
from workflows.kinds import Decision, PolicyState
from workflows.policy_creation.views import ReviewProgress

_UNDER_WAY = frozenset({PolicyState.IN_REVIEW, PolicyState.RETURNED, PolicyState.PUBLIC_COMMENT})

TAKES: dict[str, frozenset[PolicyState]] = {
    "submit": frozenset({PolicyState.DRAFT}),
    "amend": _UNDER_WAY | {PolicyState.DRAFT},
    "withdraw": _UNDER_WAY | {PolicyState.DRAFT},
    "comment": _UNDER_WAY | {PolicyState.VOTING},
    "review": frozenset({PolicyState.IN_REVIEW}),
    "suspend": frozenset({PolicyState.ENACTED}),
    "raise_tier": frozenset({PolicyState.IN_REVIEW, PolicyState.PUBLIC_COMMENT}),
}
_DOING = {
    "submit": "be submitted",
    "amend": "be changed",
    "withdraw": "be withdrawn",
    "comment": "be commented on",
    "review": "be reviewed",
    "suspend": "be suspended",
    "raise_tier": "be given a stricter tier",
}
_STANDING = {
    PolicyState.DRAFT: "is a draft",
    PolicyState.IN_REVIEW: "is in review",
    PolicyState.RETURNED: "was returned to its author",
    PolicyState.PUBLIC_COMMENT: "has completed its review and is open for comments",
    PolicyState.VOTING: "is being voted on",
    PolicyState.REJECTED: "was rejected",
    PolicyState.ENACTED: "is in force",
    PolicyState.SUSPENDED: "is suspended",
    PolicyState.WITHDRAWN: "was withdrawn",
}


def insist_takes(
    state: PolicyState, command: str, refusal: type[GovernanceError] = Conflict, code: str = "wrong_state"
) -> None:
    """Raise `refusal` with the reason unless a policy in `state` takes `command` (a key of TAKES)."""
    if state not in TAKES[command]:
        raise refusal(f"This policy {_STANDING[state]}, so it cannot {_DOING[command]}.", code=code)


def after_amendment(state: PolicyState) -> PolicyState:
    """A draft stays one; any other new version starts its review anew (Constitution § 4.7)."""
    return PolicyState.DRAFT if state == PolicyState.DRAFT else PolicyState.IN_REVIEW


def after_review(decision: Decision, progress: ReviewProgress, *, comments_over: bool) -> PolicyState:
    """Where a decision leads from in_review. One rejection ends the policy (§ 4.6); a ballot opens only when
    the review is complete and the comment period over (§ 5.1)."""
    if decision == Decision.REJECT:
        return PolicyState.REJECTED
    if decision == Decision.RETURN:
        return PolicyState.RETURNED
    if not progress.complete:
        return PolicyState.IN_REVIEW
    return PolicyState.VOTING if comments_over else PolicyState.PUBLIC_COMMENT


def after_ballot(passed: bool) -> PolicyState:
    return PolicyState.ENACTED if passed else PolicyState.REJECTED
