"""The anchoring queue as rows: what is open, and each step a row can take, with its audit entry and live event.

Every step names the state, signature and attempt it starts from. A worker that was overtaken (its lock lost while
it hung) therefore changes nothing.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from chain.config import ChainConfig
from chain.inspection import raise_alert, resolve_alert
from workflows.errors import Conflict, NotFound
from workflows.kinds import AnchorKind, AnchorState, Category, CreationStage, Priority, WorkflowStatus
from workflows.orchestrator import stages
from workflows.policy_creation import implementation
from workflows.storage.tables import anchor, policy, policy_version, workflow
from workflows.storage.unit import Unit

OPEN = (AnchorState.QUEUED, AnchorState.SUBMITTED, AnchorState.CONFIRMED)
SENT = (AnchorState.SUBMITTED, AnchorState.CONFIRMED)
MAX_ATTEMPTS = 6  # refusals of something that may pass later; then a person has to look
RESET_NOTE = "the cluster was reset"
RESET_ALERT = "anchors.reset"

_target = anchor.alias("target")
_OWN = {
    "id", "kind", "state", "record", "record_sha256", "chain_policy_id", "memo", "constitution_sha256", "cluster",
    "genesis_hash", "program_id", "account", "signature", "transaction", "last_valid_block_height", "slot",
    "attempts", "error", "submitted_at",
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """An anchor with what is needed to take it further."""

    id: UUID
    kind: AnchorKind
    state: AnchorState
    ref: str
    category: Category
    priority: Priority
    workflow_id: UUID
    executing: bool  # whether the workflow stands at its implementation
    record: bytes
    record_sha256: str
    chain_policy_id: int  # of the account it is about, also for a deactivation
    policy_finalized: bool  # whether that policy's own anchor is finalized
    memo: str
    constitution_sha256: str
    cluster: str | None
    genesis_hash: str | None
    program_id: str | None
    account: str | None
    signature: str | None
    transaction: bytes | None
    last_valid_block_height: int | None
    slot: int | None
    attempts: int
    error: str | None
    submitted_at: datetime | None

    def due(self, now: datetime) -> bool:
        """Whether its back-off is over: 2, 4, 8, … seconds after the last attempt, at most 60."""
        return self.wait(now) <= timedelta()

    def wait(self, now: datetime) -> timedelta:
        if not self.attempts or self.submitted_at is None:
            return timedelta()
        return self.submitted_at + timedelta(seconds=min(2**self.attempts, 60)) - now


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


def _rows() -> sa.Select:
    """Anchors joined with their policy and with its own anchor, on which a deactivation waits."""
    about = (
        (_target.c.policy_id == anchor.c.policy_id)
        & (_target.c.version == anchor.c.version)
        & (_target.c.kind == AnchorKind.POLICY)
    )
    version = (policy_version.c.policy_id == anchor.c.policy_id) & (
        policy_version.c.number == anchor.c.version
    )
    joined = (
        anchor.join(policy, policy.c.id == anchor.c.policy_id)
        .join(workflow, workflow.c.id == policy.c.workflow_id)
        .join(policy_version, version)
        .outerjoin(_target, about)
    )
    return sa.select(
        *(anchor.c[name] for name in sorted(_OWN)),
        policy.c.ref,
        policy.c.priority,
        policy.c.workflow_id,
        policy_version.c.category,
        (workflow.c.status == WorkflowStatus.EXECUTING).label("executing"),
        sa.func.coalesce(_target.c.state == AnchorState.FINALIZED, False).label("policy_finalized"),
    ).select_from(joined)


def _row(found: sa.RowMapping) -> Row:
    values = dict(found)
    values["kind"], values["state"] = AnchorKind(values["kind"]), AnchorState(values["state"])
    values["category"], values["priority"] = Category(values["category"]), Priority(values["priority"])
    values["chain_policy_id"] = int(values["chain_policy_id"])
    values["record"] = bytes(values["record"])
    return Row(**values)


async def open_rows(unit: Unit) -> list[Row]:
    """Everything that is not at an end, oldest first."""
    statement = _rows().where(anchor.c.state.in_(OPEN)).order_by(anchor.c.queued_at, anchor.c.id)
    return [_row(found) for found in await unit.rows(statement)]


async def finalized_rows(unit: Unit, config: ChainConfig, limit: int) -> list[Row]:
    """The newest finalized anchors on this cluster and program."""
    statement = (
        _rows()
        .where(
            anchor.c.state == AnchorState.FINALIZED,
            anchor.c.cluster == config.cluster,
            anchor.c.program_id == str(config.program_id),
        )
        .order_by(anchor.c.finalized_at.desc())
        .limit(limit)
    )
    return [_row(found) for found in await unit.rows(statement)]


# Steps


async def _move(unit: Unit, row: Row, **values: Any) -> Row | None:
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
    return _row((await unit.rows(_rows().where(anchor.c.id == row.id)))[0])


def _publish(unit: Unit, row: Row, values: dict[str, Any]) -> None:
    state = str(values.get("state", row.state))
    unit.publish(f"anchor:{row.id}", state, ref=row.ref, kind=str(row.kind), state=state)
    unit.publish(f"policy:{row.ref}", "anchor", id=str(row.id), kind=str(row.kind), state=state)


async def submitted(
    unit: Unit, config: ChainConfig, row: Row, signed: Signed, *, found_on_chain: bool = False
) -> Row | None:
    """The bytes are stored and may now be sent, as often as needed."""
    moved = await _move(
        unit,
        row,
        state=AnchorState.SUBMITTED,
        cluster=config.cluster,
        program_id=str(config.program_id),
        genesis_hash=signed.genesis_hash,
        account=signed.account,
        signature=signed.signature,
        transaction=signed.transaction,
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


async def confirmed(unit: Unit, row: Row, slot: int) -> None:
    moved = await _move(unit, row, state=AnchorState.CONFIRMED, slot=slot, confirmed_at=unit.now)
    if moved:
        await _record(unit, moved, "confirmed", slot=slot)


async def finalized(unit: Unit, row: Row, slot: int | None, block_time: int | None) -> None:
    """On chain for good; the policy's implementation is complete."""
    moved = await _move(
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
    await implementation.anchored(unit, row.id)


async def expired(unit: Unit, row: Row) -> None:
    """The cluster will never take these bytes any more: sign anew."""
    moved = await _move(
        unit, row, state=AnchorState.QUEUED, error="The transaction expired before the cluster took it."
    )
    if moved:
        await _record(unit, moved, "expired", last_valid_block_height=row.last_valid_block_height)


async def refused(unit: Unit, row: Row, reason: str, *, final: bool) -> None:
    """The cluster said no: try again later, or give up and call for a person."""
    final = final or row.attempts >= MAX_ATTEMPTS
    state = AnchorState.FAILED if final else AnchorState.QUEUED
    moved = await _move(unit, row, state=state, error=reason)
    if moved and final:
        await _record(unit, moved, "failed", reason=reason, attempts=row.attempts)
        if row.kind == AnchorKind.POLICY and row.executing:
            await stages.fail(unit, row.workflow_id, reason)
        await raise_alert(
            unit,
            failure_alert(row),
            "critical",
            f"{row.ref} could not be written to the chain: {reason}",
            f"/policies/{row.ref}",
        )


async def wait(unit: Unit, row: Row, reason: str) -> None:
    """Note why a queued row does not move."""
    if row.error != reason:
        await _move(unit, row, error=reason)


async def reset(unit: Unit, row: Row) -> None:
    """The cluster no longer has it. What was there is archived in the audit trail; it is anchored anew."""
    moved = await _move(
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
    message = "The cluster was reset: what stood on it is being anchored anew."
    await raise_alert(unit, RESET_ALERT, "warning", message, "/chain")


async def retry(unit: Unit, anchor_id: UUID) -> None:
    """Take up a failed anchor again. Raises NotFound or Conflict. The caller checks `may_operate`."""
    found = await unit.row(_rows().where(anchor.c.id == anchor_id))
    if found is None:
        raise NotFound("There is no such anchor.")
    row = _row(found)
    moved = row.state == AnchorState.FAILED and await _move(
        unit, row, state=AnchorState.QUEUED, error=None, attempts=0, submitted_at=None
    )
    if not moved:
        raise Conflict("Only a failed anchor can be tried again.", code="not_failed")
    await _record(unit, moved, "retried")
    if row.kind == AnchorKind.POLICY:
        await stages.enter(unit, row.workflow_id, CreationStage.IMPLEMENTATION, WorkflowStatus.EXECUTING)
    await resolve_alert(unit, failure_alert(row))
    await unit.enqueue("anchoring", {})


def failure_alert(row: Row) -> str:
    return f"anchor.failed.{row.id}"


async def _record(unit: Unit, row: Row, step: str, **payload: Any) -> None:
    await unit.record(
        f"anchor.{step}",
        row.ref,
        anchor=str(row.id),
        kind=str(row.kind),
        signature=row.signature,
        **payload,
    )
