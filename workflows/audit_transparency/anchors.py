"""What of the log stands on Solana, and what does not yet: read from our own tables, no node is asked."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.errors import NotFound
from workflows.kinds import AnchorKind, AnchorState
from workflows.policy_creation.views import Page
from workflows.storage.paging import page_of
from workflows.storage.tables import anchor, audit_checkpoint


@dataclass(frozen=True)
class CheckpointAnchor:
    """A checkpoint on its way to the chain, or standing there. Which, `state` says; `lost_at`, that the cluster lost it."""

    id: UUID
    state: AnchorState
    size: int
    root: bytes
    action: str  # what `check_compliance` was asked, and the rule of the durable record
    memo: str  # the signed checkpoint, with the log's own signature only
    constitution_sha256: str
    durable: bool  # whether it is an account of its own as well
    cluster: str | None
    genesis_hash: str | None
    program_id: str | None
    account: str | None  # the durable record's address, or else that of `ALLOW audit-checkpoint`
    signature: str | None
    transaction: bytes | None
    slot: int | None
    block_time: datetime | None
    error: str | None
    queued_at: datetime
    finalized_at: datetime | None
    lost_at: datetime | None


@dataclass(frozen=True)
class Unanchored:
    """The entry that has waited longest for a finalized anchor.

    `index` is its leaf's, None while it has none. `at` is the entry's own (governance) time. `age` is told by the wall
    clock, so that a demo whose clock jumps ahead does not make an entry old.
    """

    number: int
    index: int | None
    at: datetime
    age: timedelta


def action(origin: str, size: int, root: bytes, constitution_sha256: str) -> str:
    """The text under which a checkpoint is checked, and of which its durable record is made (docs/audit.md)."""
    return f"audit-checkpoint {origin} {size} {base64.b64encode(root).decode()} constitution {constitution_sha256}"


_OF_CHECKPOINTS = anchor.c.kind == AnchorKind.CHECKPOINT
STANDING = (  # final, and as far as we know still there
    _OF_CHECKPOINTS,
    anchor.c.checkpoint_size.is_not(None),
    anchor.c.state == AnchorState.FINALIZED,
    anchor.c.lost_at.is_(None),
)


def _statement() -> sa.Select:
    return sa.select(anchor, audit_checkpoint.c.root).join(
        audit_checkpoint, audit_checkpoint.c.size == anchor.c.checkpoint_size
    )


def _view(row: Mapping[Any, Any]) -> CheckpointAnchor:
    own = {name: row[name] for name in CheckpointAnchor.__dataclass_fields__ if name in row}
    return CheckpointAnchor(
        **own
        | {
            "state": AnchorState(row["state"]),
            "size": row["checkpoint_size"],
            "root": bytes(row["root"]),
            "action": bytes(row["record"]).decode(),
            "transaction": bytes(row["transaction"]) if row["transaction"] is not None else None,
        }
    )


async def newest_final(
    connection: AsyncConnection, covering: int | None = None, *, genesis_hash: str | None = None
) -> CheckpointAnchor | None:
    """The newest finalized anchor that no reset took away; None while there is none.

    With `covering`, a number of entries: None unless its checkpoint has at least that many (to cover the leaf of index
    i, that is i + 1). With `genesis_hash`: of that cluster only.
    """
    statement = _statement().where(*STANDING)
    if genesis_hash is not None:
        statement = statement.where(anchor.c.genesis_hash == genesis_hash)
    statement = statement.order_by(anchor.c.checkpoint_size.desc(), anchor.c.finalized_at.desc()).limit(1)
    row = (await connection.execute(statement)).mappings().one_or_none()
    if row is None or (covering is not None and row["checkpoint_size"] < covering):
        return None
    return _view(row)


async def checkpoint_anchor(connection: AsyncConnection, anchor_id: UUID) -> CheckpointAnchor:
    """Raises NotFound."""
    row = (await connection.execute(_statement().where(anchor.c.id == anchor_id))).mappings().one_or_none()
    if row is None:
        raise NotFound("There is no such anchor of a checkpoint.", code="no_anchor")
    return _view(row)


async def of_checkpoint(connection: AsyncConnection, size: int) -> list[CheckpointAnchor]:
    """All anchors of the checkpoint of that size, newest first: more than one where a cluster was reset."""
    statement = _statement().where(anchor.c.checkpoint_size == size).order_by(anchor.c.queued_at.desc())
    return [_view(row) for row in (await connection.execute(statement)).mappings()]


async def checkpoint_anchors(
    connection: AsyncConnection, *, limit: int = 50, cursor: str | None = None
) -> Page[CheckpointAnchor]:
    """All anchors of checkpoints in any state, lost ones too, last queued first. Raises Invalid for a bad cursor."""
    rows, following, previous = await page_of(
        connection, _statement(), anchor.c.queued_at, anchor.c.id, limit=limit, cursor=cursor
    )
    return Page(
        items=[_view(row) for row in rows],
        next=following,
        prev=previous,
        limit=limit,
        has_more=following is not None,
    )


# Two look-ups by key, and one end of an index: a leaf of that index, or what waits for the tree longest.
_OLDEST = sa.text("""
WITH anchored AS (
    SELECT coalesce((
        SELECT checkpoint_size FROM anchor
        WHERE kind = 'checkpoint' AND state = 'finalized' AND lost_at IS NULL AND checkpoint_size IS NOT NULL
        ORDER BY checkpoint_size DESC LIMIT 1), 0) AS size
), oldest AS (
    SELECT leaf.entry AS number, leaf.index FROM audit.leaf, anchored WHERE leaf.index = anchored.size
    UNION ALL
    (SELECT number, NULL FROM audit.pending ORDER BY number LIMIT 1)
)
SELECT oldest.number, oldest.index, entry.at, audit.field(entry.body, 'id') AS id, clock_timestamp() AS now
FROM oldest JOIN audit.entry USING (number) ORDER BY oldest.index NULLS LAST LIMIT 1
""")


async def oldest_unanchored(connection: AsyncConnection) -> Unanchored | None:
    """The entry that has waited longest, in the tree or not yet; None when all are covered by a finalized anchor."""
    row = (await connection.execute(_OLDEST)).one_or_none()
    if row is None:
        return None
    return Unanchored(row.number, row.index, row.at, max(row.now - _written(row.id, row.at), timedelta()))


def _written(id: str, at: datetime) -> datetime:
    """When an entry was written by the wall clock: the first 48 bits of a UUIDv7, in milliseconds (RFC 9562 § 5.7)."""
    try:
        return datetime.fromtimestamp((UUID(id).int >> 80) / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return at  # not as we write it; checking the log says so, and the anchors must go on
