"""What can be asked about ballots. Nothing here tells a count, or even how many voted, before the close (§ 5.8)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.errors import Conflict, NotFound
from workflows.kinds import BallotMode, BallotState, Choice
from workflows.policy_creation import ballots, records
from workflows.policy_creation.eligibility import eligibility
from workflows.policy_creation.receipts import read_code
from workflows.policy_creation.rows import build, item_statement, policy_item
from workflows.policy_creation.tally import Why
from workflows.policy_creation.views import (
    BallotView,
    Opening,
    OpeningName,
    PolicyItem,
    ReceiptView,
    Results,
    VoteLeaf,
)
from workflows.roles import Actor
from workflows.storage import tables as t
from workflows.storage.unit import governance_time


def _mine(actor: Actor | None) -> sa.Select:
    """Ballots with this actor's elector row and counting vote, both perhaps NULL: one row for each ballot."""
    me = actor.id if actor else None
    is_mine = (t.elector.c.ballot_id == t.ballot.c.id) & (t.elector.c.person_id == me)
    counting = (
        (t.vote.c.ballot_id == t.ballot.c.id) & (t.vote.c.voter_id == me) & t.vote.c.superseded_at.is_(None)
    )
    return (
        sa.select(
            *(column for column in t.ballot.c),
            t.policy.c.ref,
            t.policy.c.title,
            t.elector.c.person_id.is_not(None).label("is_elector"),
            t.vote.c.receipt_code.label("code"),
            t.vote.c.commitment,
            t.vote.c.cast_at,
        )
        .select_from(t.ballot)
        .join(t.policy, t.policy.c.id == t.ballot.c.policy_id)
        .outerjoin(t.elector, is_mine)
        .outerjoin(t.vote, counting)
    )


def _ballot_view(row: Mapping[Any, Any], actor: Actor | None, now: datetime) -> BallotView:
    state = BallotState(row["state"])
    has_voted = row["code"] is not None
    return build(
        BallotView,
        row,
        eligible=eligibility(
            actor, state, row["closes_at"], now, is_elector=row["is_elector"], has_voted=has_voted
        ),
        your_receipt=_receipt_view(row, mine=True) if has_voted else None,
    )


def _receipt_view(row: Mapping[Any, Any], *, mine: bool, **others: Any) -> ReceiptView:
    given = {"counting": True, "in_root": None, **others}
    return build(ReceiptView, row, ballot_state=row["state"], mine=mine, **given)


async def ballot(connection: AsyncConnection, ref: str, actor: Actor | None, now: datetime) -> BallotView:
    """The ballot on a policy, with whether `actor` may vote and why. Raises NotFound `no_ballot` before it opens."""
    statement = _mine(actor).where(t.policy.c.ref == ref, t.ballot.c.version == t.policy.c.current_version)
    row = (await connection.execute(statement)).mappings().one_or_none()
    if row is None:
        raise await _no_ballot(connection, ref)
    return _ballot_view(row, actor, now)


async def ballots_for(
    connection: AsyncConnection, actor: Actor | None, *, voted: bool = False
) -> list[tuple[PolicyItem, BallotView]]:
    """The open ballots with what `actor` may do in each, first to close first: two statements.

    With `voted` also those closed ones in which `actor` has a vote, with its receipt.
    """
    wanted = t.ballot.c.state == BallotState.OPEN
    if voted:
        wanted |= t.vote.c.id.is_not(None)
    statement = _mine(actor).where(wanted).add_columns(governance_time().label("now"))
    statement = statement.order_by(t.ballot.c.closes_at, t.policy.c.ref)
    found = (await connection.execute(statement)).mappings()
    views = {row["ref"]: _ballot_view(row, actor, row["now"]) for row in found}
    if not views:
        return []
    rows = await connection.execute(item_statement().where(t.policy.c.ref.in_(views)))
    items = {row["ref"]: policy_item(row) for row in rows.mappings()}
    return [(items[ref], view) for ref, view in views.items()]


async def _no_ballot(connection: AsyncConnection, ref: str) -> NotFound:
    statement = sa.select(t.policy.c.id).where(t.policy.c.ref == ref)
    if (await connection.execute(statement)).one_or_none() is None:
        return NotFound(f"There is no policy {ref}.", code="no_policy")
    return NotFound(f"No ballot on {ref} has opened.", code="no_ballot")


async def _closed(connection: AsyncConnection, ref: str) -> sa.RowMapping:
    statement = (
        sa.select(t.ballot)
        .join(t.policy, t.policy.c.id == t.ballot.c.policy_id)
        .where(t.policy.c.ref == ref, t.ballot.c.version == t.policy.c.current_version)
    )
    row = (await connection.execute(statement)).mappings().one_or_none()
    if row is None:
        raise await _no_ballot(connection, ref)
    if row["state"] != BallotState.CLOSED:
        raise Conflict("Counts are shown after the close of the ballot (§ 5.8).", code="ballot_open")
    return row


async def results(connection: AsyncConnection, ref: str) -> Results:
    """The outcome of a closed ballot, with the tree of reasons that re-evaluates to it."""
    row = await _closed(connection, ref)
    why = msgspec.convert(row["why"], Why)
    counts = {"for": row["votes_for"], "against": row["votes_against"], "abstain": row["votes_abstain"]}
    base = row["electorate"]
    return build(
        Results,
        row,
        ref=ref,
        counts=counts,
        base=base,
        turnout=sum(counts.values()) / base if base else 0.0,
        quorum_met=next(condition.met for condition in why.all_of if condition.key == "quorum"),
        threshold=row["threshold_percent"],
        outcome="passed" if row["passed"] else "failed",
        why=why,
        opened_at=row["opens_at"],
    )


async def openings_document(connection: AsyncConnection, ref: str) -> bytes:
    """What is published of a closed ballot: the very bytes whose hash `ballot.closed` enters in the log."""
    row = await _closed(connection, ref)
    return await ballots.openings(connection, row["id"], row["mode"])


async def openings(connection: AsyncConnection, ref: str) -> list[Opening]:
    """Every counting vote without its voter, for a recount by anyone: sorted by commitment, thus in random order."""
    published = msgspec.json.decode(await openings_document(connection, ref))
    return msgspec.convert(published["openings"], list[Opening])


async def opening_names(connection: AsyncConnection, ref: str) -> list[OpeningName]:
    """Who cast which counting vote of a closed ballot that was open, sorted by name. Raises NotFound for a sealed one."""
    row = await _closed(connection, ref)
    if row["mode"] != BallotMode.OPEN:
        raise NotFound("This ballot is sealed: how a member voted is not published.", code="ballot_sealed")
    counting = (t.vote.c.ballot_id == row["id"]) & t.vote.c.superseded_at.is_(None)
    query = (
        sa.select(t.person.c.name, t.vote.c.choice, t.vote.c.commitment)
        .join(t.person, t.person.c.id == t.vote.c.voter_id)
        .where(counting)
        .order_by(t.person.c.name, t.vote.c.commitment)
    )
    return [
        OpeningName(name=name, choice=Choice(choice), commitment=commitment)
        for name, choice, commitment in await connection.execute(query)
    ]


async def leaves(connection: AsyncConnection, ref: str) -> list[VoteLeaf]:
    """Where each vote of a closed ballot stands in the log, and what stands there: counting and superseded ones."""
    row = await _closed(connection, ref)
    query = (
        sa.select(t.vote.c.commitment, t.audit_leaf.c.index, t.audit_entry.c.body)
        .outerjoin(t.audit_entry, t.audit_entry.c.number == t.vote.c.entry)
        .outerjoin(t.audit_leaf, t.audit_leaf.c.entry == t.vote.c.entry)
        .where(t.vote.c.ballot_id == row["id"])
        .order_by(t.vote.c.commitment)
    )
    return [
        VoteLeaf(commitment, index, bytes(body) if body is not None else None)
        for commitment, index, body in await connection.execute(query)
    ]


async def receipt(connection: AsyncConnection, code: str, actor: Actor | None = None) -> ReceiptView:
    """The vote behind a receipt, however the code was typed. Choice and salt only when `actor` is its voter.

    After the close, `in_root` says whether the commitments stored now give the ballot's root with this one among them.
    """
    written = read_code(code)
    statement = (
        sa.select(
            *(column for column in t.ballot.c if column.name != "id"),
            t.policy.c.ref,
            t.policy.c.title,
            *(column for column in t.vote.c),
            t.vote.c.receipt_code.label("code"),
            t.audit_leaf.c.index.label("log_index"),
        )
        .join(t.ballot, t.ballot.c.id == t.vote.c.ballot_id)
        .outerjoin(t.audit_leaf, t.audit_leaf.c.entry == t.vote.c.entry)
        .join(t.policy, t.policy.c.id == t.ballot.c.policy_id)
        .where(t.vote.c.receipt_code == (written or ""))
    )
    row = (await connection.execute(statement)).mappings().one_or_none()
    if row is None:
        raise NotFound("No vote has this receipt. Compare it with what you wrote down.", code="no_receipt")
    mine = actor is not None and actor.id == row["voter_id"]
    in_root, leaf_index = await _place_under_root(connection, row)
    shown = {"choice": row["choice"], "salt": row["salt"].hex()} if mine else {"choice": None, "salt": None}
    return _receipt_view(
        row,
        mine=mine,
        counting=row["superseded_at"] is None,
        in_root=in_root,
        leaf_index=leaf_index,
        **shown,
    )


async def _place_under_root(
    connection: AsyncConnection, row: Mapping[Any, Any]
) -> tuple[bool | None, int | None]:
    if row["state"] != BallotState.CLOSED:
        return None, None
    v = t.vote.c
    statement = sa.select(v.commitment).where(v.ballot_id == row["ballot_id"], v.superseded_at.is_(None))
    commitments = sorted((await connection.execute(statement)).scalars())
    if records.ballot_root(commitments) != row["ballot_root"] or row["commitment"] not in commitments:
        return False, None
    return True, commitments.index(row["commitment"])
