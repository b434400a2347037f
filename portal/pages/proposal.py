"""How a policy's standing is told on pages: its tabs, its stages and what comes next. Pure, in plain words."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from workflows.errors import Conflict
from workflows.kinds import AnchorState, PolicyState
from workflows.policy_creation.lifecycle import insist_takes
from workflows.policy_creation.tally import Why
from workflows.policy_creation.views import (
    Diff,
    DiffLine,
    PolicyView,
    Results,
    ReviewView,
    TimelineItem,
)
from workflows.roles import Actor, Reason, Verdict, may_comment, may_edit, may_review, may_suspend

WAS_ENACTED = {PolicyState.ENACTED, PolicyState.SUSPENDED}
COMPLYING = "if the text complies with the constitution"  # § 4.11
STOPPED = (
    "It was found not to comply with the constitution, so no ballot opens on this version (§ 4.11). Its author may amend or "
    "withdraw it, and the council may override the finding: the reasons stand under Compliance."
)
# This many unchanged lines stay around a change; longer runs are folded.
DIFF_CONTEXT = 3


@dataclass(frozen=True)
class Next:
    """What comes next, as sentences, and the moment it hangs on, with the verb that belongs to it."""

    text: str
    at: datetime | None = None
    verb: str = ""
    past: str = ""


def frame(policy: PolicyView, actor: Actor | None, current: str) -> dict[str, Any]:
    """What `pages/policies/layout.html` and the fragments below it need, for the tab `current`."""
    return {
        "policy": policy,
        "tabs": tabs(policy, current),
        "tab_url": _href(policy, current),
        "stages": stages,
        "what_next": what_next,
        "may": permissions(policy, actor),
    }


def permissions(policy: PolicyView, actor: Actor | None) -> dict[str, Verdict]:
    """Each thing one can do with a policy: True, or why not, because of the person or of where the policy stands."""
    author = policy.author.id
    return {
        "edit": may_edit(actor, author) and _takes(policy, "amend"),
        "submit": may_edit(actor, author) and _takes(policy, "submit"),
        "withdraw": may_edit(actor, author) and _takes(policy, "withdraw"),
        "review": may_review(actor, author) and _takes(policy, "review"),
        "comment": may_comment(actor) and _takes(policy, "comment"),
        "suspend": may_suspend(actor) and _takes(policy, "suspend"),
    }


def may_review_now(policy: PolicyView, actor: Actor | None, reviews: list[ReviewView]) -> Verdict:
    """As `permissions` says, and nobody decides twice about one version."""
    verdict = permissions(policy, actor)["review"]
    mine = [review for review in reviews if actor and review.reviewer.id == actor.id and not review.void]
    if verdict is True and mine:
        return Reason(
            "already_reviewed", "You have reviewed this version. A new version can be reviewed anew."
        )
    return verdict


def _takes(policy: PolicyView, command: str) -> Verdict:
    try:
        insist_takes(policy.state, command)
    except Conflict as refusal:
        return Reason(refusal.code, refusal.detail)
    return True


def tabs(policy: PolicyView, current: str) -> list[dict[str, Any]]:
    """The parts of a policy that there are by now; `current` is the last path segment, "" for the text."""
    after_vote = policy.state in WAS_ENACTED or bool(policy.ballot and policy.ballot.closed_at)
    parts = [
        ("", "Text", True),
        ("changes", "Changes", policy.versions > 1),
        ("discussion", "Discussion", policy.state != PolicyState.DRAFT),
        ("review", "Review", policy.state != PolicyState.DRAFT),
        ("compliance", "Compliance", policy.state != PolicyState.DRAFT),
        ("ballot", "Ballot", policy.ballot is not None),
        ("results", "Results", after_vote),
        ("impact", "Impact", policy.version.rule is not None),
        ("implementation", "In force", policy.state in WAS_ENACTED),
        ("enforcement", "Enforcement", policy.version.rule is not None),
        ("timeline", "Timeline", True),
        ("verify", "Verify", policy.state in WAS_ENACTED),
    ]
    return [
        {"href": _href(policy, key), "text": text, "current": key == current}
        for key, text, shown in parts
        if shown or key == current
    ]


def _href(policy: PolicyView, key: str) -> str:
    return f"/policies/{policy.ref}/{key}".rstrip("/")


def stages(policy: PolicyView, now: datetime) -> list[dict[str, Any]]:
    """The five steps of policy creation, as the stepper draws them. Comments run beside the review (§ 4.8)."""
    reached = _reached(policy)
    ended = policy.state in (PolicyState.REJECTED, PolicyState.WITHDRAWN)
    details = _stage_details(policy, now)
    times = [
        policy.submitted_at,
        None,
        policy.comment_ends_at,
        policy.ballot.closed_at if policy.ballot else None,
        policy.enacted_at,
    ]
    steps = []
    for position, title in enumerate(("Draft", "Review", "Comments", "Vote", "In force")):
        status = "done" if position < reached else "future" if position > reached else "current"
        if position == reached and ended:
            status = "failed"
        if policy.state == PolicyState.ENACTED:
            status = "done"
        step = {"title": title, "status": status, "detail": details[position]}
        if status == "done":
            step["at"] = times[position]
        steps.append(step)
    if policy.state == PolicyState.SUSPENDED:
        steps[-1] |= {"title": "Suspended", "status": "failed", "at": policy.suspended_at}
    return steps


def _reached(policy: PolicyView) -> int:
    """The position of the step that the policy is in, or ended in."""
    match policy.state:
        case PolicyState.DRAFT:
            return 0
        case PolicyState.IN_REVIEW | PolicyState.RETURNED:
            return 1
        case PolicyState.PUBLIC_COMMENT:
            return 2
        case PolicyState.VOTING:
            return 3
        case PolicyState.REJECTED | PolicyState.WITHDRAWN:
            if policy.ballot:
                return 3
            return 1 if policy.submitted_at else 0
    return 4


def _stage_details(policy: PolicyView, now: datetime) -> list[str | None]:
    review = f"{policy.review.approvals} of {policy.review.needed + policy.review.council_needed} approved"
    if policy.state == PolicyState.RETURNED:
        review = "Sent back to its author"
    days = policy.rules.comment_days.value
    comments = f"{days} day{'' if days == 1 else 's'}" if days else "None asked for"
    if days and policy.state == PolicyState.IN_REVIEW and policy.comment_ends_at:
        comments = "Open now" if policy.comment_ends_at > now else "Over"
    voting = f"{policy.rules.voting_days.value} days"
    return [
        None,
        review if policy.submitted_at else policy.rules.reviewers.text,
        comments,
        voting if policy.state != PolicyState.REJECTED else "Not passed" if policy.ballot else voting,
        None,
    ]


def what_next(policy: PolicyView, now: datetime) -> Next:
    """What happens next, and when: the sentence under the stages."""
    days = policy.rules.voting_days.value
    if policy.stopped and policy.state in (PolicyState.IN_REVIEW, PolicyState.PUBLIC_COMMENT):
        return Next(STOPPED)
    match policy.state:
        case PolicyState.DRAFT:
            return Next("This is a draft. Nothing happens until its author submits it for review.")
        case PolicyState.IN_REVIEW:
            return _while_reviewed(policy, now, days)
        case PolicyState.RETURNED:
            return Next(
                "A reviewer has sent it back to be mended; the review says why. "
                f"It goes on when {policy.author.name} submits a new version."
            )
        case PolicyState.PUBLIC_COMMENT:
            return Next(
                "The review is complete. When the comment period is over, the ballot opens by itself "
                f"for {days} days, {COMPLYING}.",
                policy.comment_ends_at,
                "Comments end",
                "Comments ended",
            )
        case PolicyState.VOTING:
            return Next(
                "Members are voting. When the ballot closes the votes are counted, and the outcome takes "
                "effect at once. Until then nobody sees a count.",
                policy.ballot.closes_at if policy.ballot else None,
                "The ballot closes",
                "The ballot closed",
            )
        case PolicyState.ENACTED:
            return Next(_on_chain(policy))
    return Next(_ended(policy))


def _while_reviewed(policy: PolicyView, now: datetime, days: int) -> Next:
    text = f"Reviewers are reading version {policy.version.number}. {policy.review.missing} ".replace(
        "  ", " "
    )
    if policy.comment_ends_at and policy.comment_ends_at > now:
        text += f"When the review is complete and the comments are over, a ballot opens by itself for {days} days, {COMPLYING}."
        return Next(text, policy.comment_ends_at, "Comments end", "Comments ended")
    return Next(text + f"When the review is complete, a ballot opens by itself for {days} days, {COMPLYING}.")


def _on_chain(policy: PolicyView) -> str:
    state = next((anchor.state for anchor in policy.anchors if anchor.kind == "policy"), None)
    match state:
        case AnchorState.FINALIZED:
            return "It is in force, and its record stands on Solana, where anyone can check it."
        case AnchorState.FAILED:
            return "It is in force, but its record could not be written to Solana. An operator has to look at it."
        case None:
            return "It is in force. It has no record for the chain."
    return "It is in force. Its record is on its way to Solana."


def _ended(policy: PolicyView) -> str:
    match policy.state:
        case PolicyState.SUSPENDED:
            return "The council has suspended it, so it does not apply any more."
        case PolicyState.WITHDRAWN:
            return "Its author has withdrawn it. It will not be voted on."
    if policy.ballot:
        return "The members did not pass it. Its author may propose anew."
    return "A reviewer rejected it, and one rejection ends a policy. Its author may propose anew."


def diff_rows(lines: list[DiffLine]) -> list[dict[str, Any]]:
    """A field's diff as the rows of the side-by-side table: changes paired, long unchanged runs folded."""
    rows: list[dict[str, Any]] = []
    removed: list[DiffLine] = []
    added: list[DiffLine] = []
    for line in lines:
        if line.kind == "same":
            rows += _paired(removed, added)
            removed, added = [], []
            pieces = [(False, part.text) for part in line.parts]
            rows.append(_row("same", line.old, line.new, pieces, pieces))
        else:
            (removed if line.kind == "removed" else added).append(line)
    return _folded(rows + _paired(removed, added))


def _paired(removed: list[DiffLine], added: list[DiffLine]) -> list[dict[str, Any]]:
    """A removed line stands beside the added one that took its place."""
    both = min(len(removed), len(added))
    rows = [
        _row("changed", old.old, new.new, _pieces(old), _pieces(new))
        for old, new in zip(removed, added, strict=False)
    ]
    rows += [_row("removed", line.old, None, _pieces(line), None) for line in removed[both:]]
    rows += [_row("added", None, line.new, None, _pieces(line)) for line in added[both:]]
    return rows


def _row(kind: str, old_no: int | None, new_no: int | None, old: Any, new: Any) -> dict[str, Any]:
    return {"kind": kind, "old_no": old_no, "new_no": new_no, "old": old, "new": new}


def _pieces(line: DiffLine) -> list[tuple[bool, str]]:
    return [(part.kind != "same", part.text) for part in line.parts]


def _folded(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    changed = [position for position, row in enumerate(rows) if row["kind"] != "same"]
    near = {n for position in changed for n in range(position - DIFF_CONTEXT, position + DIFF_CONTEXT + 1)}
    folded: list[dict[str, Any]] = []
    for position, row in enumerate(rows):
        if position in near:
            folded.append(row)
        elif folded and folded[-1]["kind"] == "skip":
            folded[-1]["count"] += 1
        else:
            folded.append({"kind": "skip", "count": 1})
    return folded


def changes(diff: Diff) -> list[dict[str, Any]]:
    """The fields that changed, each with its rows."""
    return [{"field": field.field, "rows": diff_rows(field.lines)} for field in diff.fields if field.changed]


def events(items: list[TimelineItem]) -> list[dict[str, Any]]:
    """The timeline as it is drawn: what happened, what is being done now unless it waits for a date, and the rest."""
    current = next((n for n, item in enumerate(items) if item.at is None and item.due is None), None)
    if current is not None and any(item.at is None for item in items[:current]):
        current = None
    return [
        {
            "title": item.text,
            "status": "done" if item.at else "current" if position == current else "future",
            "at": item.at or item.due,
            "actor": item.actor,
            "detail": item.detail,
        }
        for position, item in enumerate(items)
    ]


def outcome(results: Results) -> tuple[str, str]:
    """The outcome's key for its badge (passed, no_quorum, failed) and its reason in a sentence."""
    missed = _missed(results.why)
    if not missed:
        return "passed", "It passed: every condition below is met."
    key = "no_quorum" if missed[0] in ("quorum", "not_empty") else "failed"
    reasons = {
        "not_empty": "nobody voted",
        "quorum": "too few members took part by voting for it or abstaining",
        "majority": "it did not get more votes for than against",
        "threshold": f"fewer than {results.threshold} % of the votes for or against were for it",
    }
    return key, f"It did not pass: {' and '.join(reasons[key] for key in missed)}."


def _missed(why: Why) -> list[str]:
    return [condition.key for condition in why.all_of if not condition.met]


def chart(results: Results) -> dict[str, Any]:
    """What the chart of a result is drawn from."""
    share = results.threshold
    return {
        "outcome": outcome(results),
        "quorum_needed": -(-results.quorum_percent * results.electorate // 100),
        "threshold_text": "more than half" if share == 50 else f"at least {share} %",
    }
