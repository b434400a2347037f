"""The steps an anchor can take, each with its live event and, where it is a policy's, its audit entry.

Every step names the state, signature and attempt it starts from. A worker that was overtaken (its lock lost while
it hung) therefore changes nothing. A checkpoint's steps write no entries: they would make the log grow, which would
need another checkpoint, for ever.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from chain import rows
from chain.config import ChainConfig
from chain.rows import OPEN, AnyRow, CheckpointRow, PolicyRow
from workflows.alerts import raise_alert, resolve_alert
from workflows.errors import Conflict, NotFound
from workflows.kinds import AnchorKind, AnchorState, CreationStage, WorkflowStatus
from workflows.orchestrator import stages
from workflows.policy_creation import implementation
from workflows.storage.tables import anchor
from workflows.storage.unit import Unit

MAX_ATTEMPTS = 6  # refusals of something that may pass later; then a person has to look
RESET_NOTE = "the cluster was reset"
RESET_ALERT = "anchors.reset"


@dataclass(frozen=True)
class Signed:
    """Signed bytes and how long they are good for; stored before they are sent.

    Without signature and bytes: it is on chain, and the node no longer has the transaction that wrote it.
    """

    account: str
    genesis_hash: str
    signature: str | None = None
    transaction: bytes | None = None
    last_valid_block_height: int | None = None
    durable: bool = False  # of a checkpoint: whether the transaction makes it an account of its own


# Steps


async def move(unit: Unit, row: AnyRow, **values: Any) -> AnyRow | None:
    """Change the row if nobody else has; None when somebody has."""
    done = await unit.connection.execute(
        sa.update(anchor)
        .where(
            anchor.c.id == row.id,
            anchor.c.state == row.state,
            anchor.c.attempts == row.attempts,
            anchor.c.signature.is_not_distinct_from(row.signature),
        )
        .values(**values)
    )
    if done.rowcount == 0:
        return None
    _publish(unit, row, values)
    return rows.row((await unit.rows(rows.statement().where(anchor.c.id == row.id)))[0])


def _publish(unit: Unit, row: AnyRow, values: dict[str, Any]) -> None:
    state = str(values.get("state", row.state))
    shown = {"kind": str(row.kind), "state": state}
    if isinstance(row, CheckpointRow):
        size = values.get("checkpoint_size", row.checkpoint_size)
        unit.publish(f"anchor:{row.id}", state, size=size, **shown)
        unit.publish("chain", "anchor", id=str(row.id), size=size, **shown)
    else:
        unit.publish(f"anchor:{row.id}", state, ref=row.ref, **shown)
        unit.publish(f"policy:{row.ref}", "anchor", id=str(row.id), **shown)


async def submitted(
    unit: Unit, config: ChainConfig, row: AnyRow, signed: Signed, *, found_on_chain: bool = False
) -> AnyRow | None:
    """The bytes are stored and may now be sent, as often as needed."""
    moved = await move(
        unit,
        row,
        state=AnchorState.SUBMITTED,
        cluster=config.cluster,
        program_id=str(config.program_id),
        genesis_hash=signed.genesis_hash,
        account=signed.account,
        signature=signed.signature,
        transaction=signed.transaction,
        durable=signed.durable,
        last_valid_block_height=signed.last_valid_block_height,
        attempts=row.attempts + 1,
        submitted_at=unit.now,
        slot=None,
        block_time=None,
        confirmed_at=None,
        finalized_at=None,
        error=None,
    )
    if moved:
        await _record(
            unit,
            moved,
            "submitted",
            account=signed.account,
            cluster=config.cluster,
            genesis_hash=signed.genesis_hash,
            record_sha256=row.record_sha256,
            found_on_chain=found_on_chain,
        )
    return moved


async def confirmed(unit: Unit, row: AnyRow, slot: int) -> None:
    moved = await move(unit, row, state=AnchorState.CONFIRMED, slot=slot, confirmed_at=unit.now)
    if moved:
        await _record(unit, moved, "confirmed", slot=slot)


async def finalized(unit: Unit, row: AnyRow, slot: int | None, block_time: int | None) -> None:
    """On chain for good; the policy's implementation is complete."""
    moved = await move(
        unit,
        row,
        state=AnchorState.FINALIZED,
        slot=slot,
        block_time=datetime.fromtimestamp(block_time, UTC) if block_time is not None else None,
        confirmed_at=sa.func.coalesce(anchor.c.confirmed_at, unit.now),
        finalized_at=unit.now,
        error=None,
    )
    if not moved:
        return
    await _record(unit, moved, "finalized", slot=slot, block_time=block_time)
    await resolve_alert(unit, failure_alert(row))
    still = sa.select(anchor.c.id).where(anchor.c.error == RESET_NOTE, anchor.c.state.in_(OPEN)).limit(1)
    if not await unit.rows(still):
        await resolve_alert(unit, RESET_ALERT)
    if isinstance(row, PolicyRow):
        await implementation.anchored(unit, row.id)


async def resumed(unit: Unit, row: CheckpointRow) -> None:
    """What was taken for expired is on chain after all: follow it again."""
    await move(unit, row, state=AnchorState.SUBMITTED, error=None)


async def expired(unit: Unit, row: AnyRow) -> None:
    """The cluster will never take these bytes any more: sign anew."""
    moved = await move(
        unit, row, state=AnchorState.QUEUED, error="The transaction expired before the cluster took it."
    )
    if moved:
        await _record(unit, moved, "expired", last_valid_block_height=row.last_valid_block_height)


async def refused(unit: Unit, row: AnyRow, reason: str, *, final: bool) -> None:
    """The cluster said no: try again later, or give up and call for a person.

    A checkpoint is never given up, as the next attempt is for a newer one; its age raises an alert of its own.
    """
    if isinstance(row, CheckpointRow):
        await move(unit, row, state=AnchorState.QUEUED, error=reason)
        return
    final = final or row.attempts >= MAX_ATTEMPTS
    state = AnchorState.FAILED if final else AnchorState.QUEUED
    moved = await move(unit, row, state=state, error=reason)
    if moved and not final:
        await _record(unit, moved, "refused", reason=reason, attempts=row.attempts)
    elif moved:
        await _record(unit, moved, "failed", reason=reason, attempts=row.attempts)
        if row.kind == AnchorKind.POLICY and row.executing:
            await stages.fail(unit, row.workflow_id, reason)
        await raise_alert(
            unit,
            failure_alert(row),
            "critical",
            f"{row.ref} could not be written to the chain: {reason}"
            if isinstance(row, PolicyRow)
            else f"The {row.name} could not be written to the chain, and nothing else is before it: {reason}",
            f"/policies/{row.ref}",
        )


async def wait(unit: Unit, row: AnyRow, reason: str) -> None:
    """Note why a queued row does not move."""
    if row.error != reason:
        await move(unit, row, error=reason)


async def reset(unit: Unit, row: AnyRow) -> None:
    """The cluster no longer has it. What was there is archived in the audit trail; it is anchored anew."""
    moved = await move(
        unit,
        row,
        state=AnchorState.QUEUED,
        error=RESET_NOTE,
        attempts=0,
        submitted_at=None,
        confirmed_at=None,
        finalized_at=None,
    )
    if not moved:
        return
    await _record(
        unit,
        moved,
        "reset",
        cluster=row.cluster,
        genesis_hash=row.genesis_hash,
        account=row.account,
        slot=row.slot,
        transaction=base64.b64encode(row.transaction or b"").decode(),
    )
    await raise_reset_alert(unit)


async def raise_reset_alert(unit: Unit) -> None:
    message = "The cluster was reset: what stood on it is being anchored anew."
    await raise_alert(unit, RESET_ALERT, "warning", message, "/chain")


async def retry(unit: Unit, anchor_id: UUID) -> None:
    """Take up a failed anchor again. Raises NotFound or Conflict. The caller checks `may_operate`."""
    found = await unit.row(rows.statement().where(anchor.c.id == anchor_id))
    if found is None:
        raise NotFound("There is no such anchor.")
    row = rows.row(found)
    moved = row.state == AnchorState.FAILED and await move(
        unit, row, state=AnchorState.QUEUED, error=None, attempts=0, submitted_at=None
    )
    if not moved:
        raise Conflict("Only a failed anchor can be tried again.", code="not_failed")
    await _record(unit, moved, "retried")
    if isinstance(row, PolicyRow) and row.kind == AnchorKind.POLICY:
        await stages.enter(unit, row.workflow_id, CreationStage.IMPLEMENTATION, WorkflowStatus.EXECUTING)
    await resolve_alert(unit, failure_alert(row))
    await unit.enqueue("anchoring", {})


def failure_alert(row: AnyRow) -> str:
    return f"anchor.failed.{row.id}"


async def _record(unit: Unit, row: AnyRow, step: str, **payload: Any) -> None:
    if isinstance(row, CheckpointRow):
        return
    await unit.record(
        f"anchor.{step}",
        row.ref,
        anchor=str(row.id),
        kind=str(row.kind),
        signature=row.signature,
        **payload,
    )
