"""Which checkpoint of the audit log goes on chain, and when: at most one at a time, always the newest.

Times are the wall clock's, at which checkpoints are signed: the governance clock may jump, in a demo, and would have
each jump pay for a record, or a jump back keep everything waiting.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from chain import queue, rows
from chain.config import AnchorPolicy, ChainConfig
from chain.quantumagi import AUDIT_POLICY_ID
from chain.rows import CheckpointRow
from workflows.alerts import raise_alert, resolve_alert
from workflows.audit_transparency.anchors import STANDING, action, oldest_unanchored
from workflows.audit_transparency.checkpoints import SignedCheckpoint, latest
from workflows.kinds import AnchorKind, AnchorState
from workflows.policy_creation.records import sha256_hex
from workflows.storage.tables import anchor, audit_checkpoint, audit_entry, audit_leaf
from workflows.storage.unit import Unit, new_id

UNANCHORED_ALERT = "audit.unanchored"


@dataclass(frozen=True)
class Place:
    """Which chain is meant: a cluster of the same name may be another one after a reset."""

    config: ChainConfig
    genesis_hash: str

    def here(self) -> list[sa.ColumnElement[bool]]:
        """Anchors of checkpoints that stand there for good."""
        return [
            *STANDING,
            anchor.c.genesis_hash == self.genesis_hash,
            anchor.c.program_id == str(self.config.program_id),
        ]


# When


async def due_in(unit: Unit, place: Place, policy: AnchorPolicy) -> timedelta | None:
    """How long until the newest checkpoint is to be queued; zero: now. None while it stands on chain or is on its way."""
    newest, size = audit_checkpoint.alias("newest"), audit_checkpoint.c.size
    standing = sa.select(sa.func.max(anchor.c.checkpoint_size)).where(*place.here()).scalar_subquery()
    under_way = sa.exists().where(anchor.c.kind == AnchorKind.CHECKPOINT, anchor.c.state.in_(rows.OPEN))
    signed = sa.select(audit_checkpoint.c.signed_at).where(size == standing).scalar_subquery()
    row = await unit.row(
        sa.select((sa.func.clock_timestamp() - signed).label("since"))
        .where(newest.c.size == sa.select(sa.func.max(size)).scalar_subquery())
        .where(newest.c.size > sa.func.coalesce(standing, 0), ~under_way)
    )
    if row is None:
        return None
    return max(policy.interval - row["since"], timedelta()) if row["since"] is not None else timedelta()


async def queue_newest(unit: Unit, place: Place, policy: AnchorPolicy) -> bool:
    """Queue the newest checkpoint if it is due. True when it was."""
    if await due_in(unit, place, policy) != timedelta():
        return False
    newest = await latest(unit.connection)
    if newest is None:
        return False
    values = {
        "id": new_id(),
        "kind": AnchorKind.CHECKPOINT,
        "state": AnchorState.QUEUED,
        "chain_policy_id": AUDIT_POLICY_ID,
        "queued_at": unit.now,
    }
    done = await unit.connection.execute(
        insert(anchor).values(**values, **_about(unit, newest)).on_conflict_do_nothing()
    )
    if done.rowcount:
        unit.publish("chain", "anchor", kind=str(AnchorKind.CHECKPOINT), size=newest.size, state="queued")
    return done.rowcount > 0


def _about(unit: Unit, signed: SignedCheckpoint) -> dict[str, object]:
    origin = signed.note.partition("\n")[0]
    record = action(origin, signed.size, signed.root, unit.constitution_sha256).encode()
    return {
        "checkpoint_size": signed.size,
        "record": record,
        "record_sha256": sha256_hex(record),
        "memo": signed.note,
        "constitution_sha256": unit.constitution_sha256,
    }


async def bring_up(
    unit: Unit, place: Place, row: CheckpointRow, policy: AnchorPolicy
) -> CheckpointRow | None:
    """The queued row, made to be of the newest checkpoint; None when somebody else was at it."""
    newest = await latest(unit.connection)
    if newest is None:
        return row
    wanted = _about(unit, newest) | {"durable": await _wants_durable(unit, place, newest.size, policy)}
    if all(getattr(row, name) == value for name, value in wanted.items()):
        return row
    moved = await queue.move(unit, row, **wanted)
    return moved if isinstance(moved, CheckpointRow) else None


async def _wants_durable(unit: Unit, place: Place, size: int, policy: AnchorPolicy) -> bool:
    """Once a day, and when a policy was enacted since the last durable one."""
    last = await unit.row(
        sa.select(
            anchor.c.checkpoint_size,
            (sa.func.clock_timestamp() - audit_checkpoint.c.signed_at > policy.durable_every).label("old"),
        )
        .join(audit_checkpoint, audit_checkpoint.c.size == anchor.c.checkpoint_size)
        .where(*place.here(), anchor.c.durable)
        .order_by(anchor.c.checkpoint_size.desc())
        .limit(1)
    )
    if last is None or last["old"]:
        return True
    enacted = (
        sa.select(audit_leaf.c.index)
        .join(audit_entry, audit_entry.c.number == audit_leaf.c.entry)
        .where(
            audit_entry.c.type == "policy.enacted",
            audit_leaf.c.index >= last["checkpoint_size"],
            audit_leaf.c.index < size,
        )
    )
    return (await unit.connection.execute(enacted.limit(1))).first() is not None


# What the cluster has lost


async def newest_durable(unit: Unit, place: Place, limit: int) -> list[tuple[str, int]]:
    """Account and slot of the newest durable records that ought to be there."""
    statement = (
        sa.select(anchor.c.account, anchor.c.slot)
        .where(*place.here(), anchor.c.durable, anchor.c.slot.is_not(None))
        .order_by(anchor.c.checkpoint_size.desc())
        .limit(limit)
    )
    return [(row["account"], row["slot"]) for row in await unit.rows(statement)]


async def newest_slot(unit: Unit, place: Place) -> int | None:
    """By when the audit record ought to be there; None while nothing stands on this chain."""
    statement = sa.select(anchor.c.slot).where(*place.here()).order_by(anchor.c.checkpoint_size.desc())
    return (await unit.connection.execute(statement.limit(1))).scalar_one_or_none()


async def mark_lost(unit: Unit, place: Place, *, from_slot: int | None = None) -> int:
    """Mark what stood on another genesis of this cluster and, with `from_slot`, on this one from there on; how many.

    Their bytes stay, and still verify. What is anchored anew is the newest checkpoint, which holds all of them.
    """
    standing = [
        *STANDING,
        anchor.c.cluster == place.config.cluster,
        anchor.c.program_id == str(place.config.program_id),
    ]
    newest = sa.select(anchor.c.genesis_hash).where(*standing).order_by(anchor.c.checkpoint_size.desc())
    genesis = (await unit.connection.execute(newest.limit(1))).scalar_one_or_none()
    if from_slot is None and genesis in (None, place.genesis_hash):
        return 0  # whatever stood on another was marked before anything was anchored on this one
    gone = anchor.c.genesis_hash != place.genesis_hash
    if from_slot is not None:
        gone = gone | (anchor.c.slot >= from_slot)
    done = await unit.connection.execute(sa.update(anchor).where(*standing, gone).values(lost_at=unit.now))
    if done.rowcount:
        await queue.raise_reset_alert(unit)
        unit.publish("chain", "reset", lost=done.rowcount)
    return done.rowcount


# What waits too long


async def watch(unit: Unit, policy: AnchorPolicy) -> None:
    """Raise an alert while an entry has waited too long for a finalized anchor, and resolve it when none has."""
    oldest = await oldest_unanchored(unit.connection)
    if oldest is None or oldest.age <= policy.late:
        await resolve_alert(unit, UNANCHORED_ALERT)
        return
    message = (
        f"The audit log is not anchored on chain since its entry number {oldest.number}, "
        f"although that should take at most {policy.late.total_seconds():.0f} seconds."
    )
    await raise_alert(unit, UNANCHORED_ALERT, "warning", message, "/audit/anchors")
