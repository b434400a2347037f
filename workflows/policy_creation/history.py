"""A policy's timeline: what happened, read from the audit trail, and what is to come."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.audit_transparency.personal import ERASED, reveal
from workflows.audit_transparency.sentences import sentence
from workflows.constitution.figures import Figures
from workflows.errors import NotFound
from workflows.kinds import AnchorKind, AnchorState, PolicyState, Strategy
from workflows.policy_creation.rules import Rules, applicable
from workflows.policy_creation.views import TimelineItem
from workflows.storage import tables as t

# Votes are left out: while a ballot is open, their number is nobody's to know (§ 5.8).
HIDDEN = {"vote.cast", "anchor.submitted", "anchor.confirmed"}

_Payload = dict[str, Any]


async def timeline(connection: AsyncConnection, figures: Figures, ref: str) -> list[TimelineItem]:
    """What happened, oldest first, each with its audit entry; then what is to come, with its due time if known."""
    state = await _state(connection, ref)
    rows = await _entries(connection, ref)
    bodies = [json.loads(bytes(row["body"])) for row in rows]
    words = await reveal(connection, bodies)
    past = [
        _item(row["number"], body, row["name"], words.get(body["id"], {}))
        for row, body in zip(rows, bodies, strict=True)
    ]
    return [*past, *upcoming(state, applicable(figures, Strategy(state["strategy"]), state["emergency"]))]


async def _entries(connection: AsyncConnection, ref: str) -> list[sa.RowMapping]:
    e = t.audit_entry.c
    s = t.audit_subject.c
    statement = (
        sa.select(e.number, e.body, t.person.c.name)
        .outerjoin(t.audit_subject, sa.cast(s.pseudonym, sa.Text) == e.actor)
        .outerjoin(t.person, t.person.c.id == s.person_id)
        .where(e.subject == ref, e.type.not_in(HIDDEN))
        .order_by(e.number)
    )
    return list((await connection.execute(statement)).mappings())


def _item(number: int, body: dict[str, Any], actor: str | None, words: dict[str, str | None]) -> TimelineItem:
    kind, payload = body["type"], body["payload"]
    return TimelineItem(
        key=kind,
        text=sentence(kind, payload),
        at=datetime.fromisoformat(body["at"]),
        actor=actor,
        detail=_detail(payload, words),
        entry=number,
    )


def _detail(payload: _Payload, words: dict[str, str | None]) -> str:
    """Why, in the words of whoever did it. Before they were kept outside the log, they stood in the payload."""
    if "reason" in words:
        return words["reason"] or ERASED
    return str(payload.get("reason", ""))


async def _state(connection: AsyncConnection, ref: str) -> sa.RowMapping:
    """What the future hangs on."""
    p = t.policy.c
    standing = (t.policy_version.c.policy_id == p.id) & (t.policy_version.c.number == p.current_version)
    voted = (t.ballot.c.policy_id == p.id) & (t.ballot.c.version == p.current_version)
    pending = sa.select(sa.func.min(t.anchor.c.kind)).where(
        t.anchor.c.policy_id == p.id,
        t.anchor.c.state.in_((AnchorState.QUEUED, AnchorState.SUBMITTED, AnchorState.CONFIRMED)),
    )
    statement = (
        sa.select(
            p.state,
            p.emergency,
            p.comment_ends_at,
            t.policy_version.c.strategy,
            t.ballot.c.closes_at,
            t.ballot.c.state.label("ballot_state"),
            pending.scalar_subquery().label("pending_anchor"),
        )
        .join(t.policy_version, standing)
        .outerjoin(t.ballot, voted)
        .where(p.ref == ref)
    )
    row = (await connection.execute(statement)).mappings().one_or_none()
    if row is None:
        raise NotFound(f"There is no policy {ref}.", code="no_policy")
    return row


def _future(key: str, text: str, due: datetime | None = None) -> TimelineItem:
    return TimelineItem(key=key, text=text, at=None, due=due)


def upcoming(state: sa.RowMapping | dict[str, Any], rules: Rules) -> list[TimelineItem]:
    """The steps a policy still has before it, if all goes well. Pure."""
    voting = timedelta(days=rules.voting_days.value)
    review = _future("review", f"Approval by {rules.reviewers.text}.")
    closing = _future("ballot_closes", f"The ballot closes after {rules.voting_days.value} days.")
    force = _future("in_force", "If it passes, it is in force, and its record goes to Solana.")
    comments_end = state["comment_ends_at"]
    match state["state"]:
        case PolicyState.DRAFT:
            opening = _future("ballot_opens", "The ballot opens by itself.")
            return [_future("submission", "Submission by its author."), review, opening, closing, force]
        case PolicyState.IN_REVIEW | PolicyState.RETURNED:
            steps = [review, _future("ballot_opens", "The ballot opens by itself."), closing, force]
            if rules.comment_days.value:
                steps.insert(0, _future("comments_end", "The comment period ends.", comments_end))
            if state["state"] == PolicyState.RETURNED:
                steps[:0] = [_future("amendment", "An amended version by its author.")]
            return steps
        case PolicyState.PUBLIC_COMMENT:
            return [
                _future("ballot_opens", "Comments end, and the ballot opens by itself.", comments_end),
                _future("ballot_closes", closing.text, comments_end + voting),
                force,
            ]
        case PolicyState.VOTING:
            return [_future("ballot_closes", "The ballot closes.", state["closes_at"]), force]
        case PolicyState.ENACTED | PolicyState.SUSPENDED if state["pending_anchor"]:
            what = {AnchorKind.POLICY: "record", AnchorKind.CONSTITUTION: "amended constitution"}.get(
                state["pending_anchor"], "suspension"
            )
            return [_future("anchored", f"The {what} becomes final on Solana.")]
    return []
