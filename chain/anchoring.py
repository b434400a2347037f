"""Takes anchors from the queue to finality, once, whatever dies in between.

- Nothing is signed unless the chain holds our constitution, active, under our key (`inspection`).
- Signed bytes are committed to the database before they are sent. After a crash the same bytes are sent again,
  until the cluster has them or can no longer take them: only then is anything signed anew.
- An amended constitution comes first: until its hash is final in the account, nothing else is written (§ 6.3).
- A policy's id follows from its record, so an account that is already there with our record is success.
- Of checkpoints at most one is on its way, always the newest (`checkpointing`).
- Only finality counts: the account itself is read at that commitment before anything is called anchored.
- No question is asked of the node while a transaction is open that has written anything.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
import structlog
from solana.rpc.commitment import Confirmed, Finalized
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction
from solders.transaction_status import TransactionErrorFieldless
from sqlalchemy.ext.asyncio import AsyncEngine

from chain import checkpointing, compliance, inspection, quantumagi, queue, resets, rpc
from chain.checkpointing import Place
from chain.config import AnchorPolicy, ChainConfig
from chain.explorer import decode_transaction
from chain.ground import Ground, amendments_in, ground_of
from chain.inspection import Verdict
from chain.planning import Build, Done, Impossible, Plan, Wait, is_done, plan, plan_amendment, plan_checkpoint
from chain.queue import Signed
from chain.rows import (
    SENT,
    AnyRow,
    CheckpointRow,
    ConstitutionRow,
    PolicyRow,
    open_rows,
)
from chain.rpc import Account, Node, NodeRefused, Status, Unreachable
from workflows.constitution.document import Constitution
from workflows.kinds import AnchorKind, AnchorState
from workflows.policy_creation.records import chain_policy_id
from workflows.storage.tables import chain_status
from workflows.storage.unit import Unit

Units = Callable[[], AbstractAsyncContextManager[Unit]]

log = structlog.get_logger(__name__)

LOCK = 0x41434753_414E4348  # "ACGSANCH": one worker at a time
PER_PASS = 25  # signed in one pass, so that a long queue does not outlive its blockhash
INSPECTION_LASTS = timedelta(seconds=10)  # where there is nothing to sign
BLOCKHASH_LIFE = 150  # blocks
BLOCKED_PAUSE = 5.0  # seconds
# Errors that say something of the constitution account, which the next inspection will put better.
CONSTITUTION_ERRORS = frozenset({6000, 6003})


async def run(
    units: Units, config: ChainConfig, constitution: Constitution, policy: AnchorPolicy | None = None
) -> float | None:
    """One pass over the queue. Seconds after which to come again; None when nothing is open or will be by itself.

    Safe to call from any number of workers at any time: one of them works, the others are told to come again.
    Writes `chain_status` at least every 10 s that it is called. Raises nothing for a node that is away or refuses.
    """
    policy = policy or AnchorPolicy()
    async with units() as unit:
        engine = unit.connection.engine
        ground = await ground_of(unit, constitution)
        rows = await open_rows(unit)
        await checkpointing.watch(unit, policy)
    async with _only_worker(engine) as alone:
        if not alone:
            return _pace(config) if rows else None
        try:
            async with rpc.connect(config) as node:
                return await _pass(units, node, config, ground, policy)
        except (Unreachable, NodeRefused) as error:
            async with units() as unit:
                away = await inspection.store_unreachable(unit, config, str(error))
            # The longer the node is away, the seldomer it is asked.
            return min(max(1.0, away.total_seconds() / 4), 30.0) if rows else None


async def inspect(units: Units, config: ChainConfig, constitution: Constitution) -> Verdict | None:
    """Look at the chain and store what was seen; None when the node is away (which is stored as well)."""
    async with units() as unit:
        ground = await ground_of(unit, constitution)
        rows = await open_rows(unit)
    try:
        async with rpc.connect(config) as node:
            return await _inspect(units, node, config, ground, rows)
    except (Unreachable, NodeRefused) as error:
        async with units() as unit:
            await inspection.store_unreachable(unit, config, str(error))
        return None


async def _inspect(
    units: Units, node: Node, config: ChainConfig, ground: Ground, rows: Sequence[AnyRow]
) -> Verdict:
    amending = bool(amendments_in(rows))

    async def judged() -> Verdict:
        seen = await inspection.look(node, config)
        return inspection.judge(config, ground.constitution, seen, ground.earlier, amending=amending)

    verdict = await judged()
    if config.is_local and verdict.code in ("constitution_missing", "authority_poor"):
        # A chain of one's own that is new, or was thrown away: found it (again), and have the amendments follow.
        await bootstrap_local(config, ground.documents[0])
        verdict = await judged()
    async with units() as unit:
        await inspection.store(unit, verdict)
    return verdict


@asynccontextmanager
async def _only_worker(engine: AsyncEngine) -> AsyncIterator[bool]:
    """Whether this is the one worker. PostgreSQL frees the lock when the connection ends, however it ends.

    The lock is a transaction's, so that a cancelled pass cannot put a locked connection back into the pool;
    that transaction does nothing else and holds nothing up.
    """
    async with engine.connect() as connection, connection.begin():
        yield (await connection.execute(sa.select(sa.func.pg_try_advisory_xact_lock(LOCK)))).scalar_one()


def _pace(config: ChainConfig) -> float:
    return 0.4 if config.is_local else 1.0


async def _pass(
    units: Units, node: Node, config: ChainConfig, ground: Ground, policy: AnchorPolicy
) -> float | None:
    async with units() as unit:
        rows = await open_rows(unit)
        known = await unit.row(sa.select(chain_status))
        fresh = bool(
            known
            and known["reachable"]
            and unit.now - known["checked_at"] < INSPECTION_LASTS
            and known["seen"].get("expected_sha256") == ground.constitution.sha256
        )
        waiting = any(row.state == AnchorState.QUEUED and row.due(unit.now) for row in rows)
        if not waiting and known and known["may_anchor"]:
            seen = Place(config, known["seen"].get("genesis_hash", ""))
            waiting = await checkpointing.due_in(unit, seen, policy) == timedelta()
    verdict = None
    if waiting or not fresh:
        verdict = await _inspect(units, node, config, ground, rows)
        if await resets.find(units, node, config, ground, rows, verdict):
            return _pace(config)
    may_anchor = verdict.may_anchor if verdict else bool(known and known["may_anchor"])
    may_amend = verdict.may_amend if verdict else bool(known and known["reason_code"] == inspection.BEHIND)

    def may_send(row: AnyRow) -> bool:
        return may_amend if isinstance(row, ConstitutionRow) else may_anchor

    await _follow(units, node, config, [row for row in rows if row.state in SENT], may_send)
    if verdict and may_amend:
        await _submit_amendment(units, node, config, ground, verdict)
    elif verdict and may_anchor:
        async with units() as unit:
            await checkpointing.queue_newest(unit, Place(config, verdict.seen["genesis_hash"]), policy)
        await _submit(units, node, config, ground, verdict, policy)
    seen = verdict.seen if verdict else known["seen"] if known else {}
    await compliance.look(units, node, config, seen.get("genesis_hash", ""))
    return await _next_pass(units, config, policy)


async def _next_pass(units: Units, config: ChainConfig, policy: AnchorPolicy) -> float | None:
    async with units() as unit:
        rows = await open_rows(unit)
        if any(row.state in SENT for row in rows):
            return _pace(config)
        if rows:
            # What could have been signed and was not is blocked, or waits for something; no need to hurry.
            soonest = min(row.wait(unit.now).total_seconds() for row in rows)
            return max(_pace(config), soonest) if soonest > 0 else BLOCKED_PAUSE
        known = await unit.row(sa.select(chain_status.c.may_anchor, chain_status.c.seen))
        if not known or not known["may_anchor"]:
            return None
        due = await checkpointing.due_in(unit, Place(config, known["seen"].get("genesis_hash", "")), policy)
        return max(_pace(config), due.total_seconds()) if due is not None else None


async def _each(rows: Sequence[AnyRow], step: Callable[[AnyRow], Awaitable[None]]) -> None:
    """One row that cannot be dealt with must not hold up the others; it is tried again with the next pass."""
    for row in rows:
        try:
            await step(row)
        except (Unreachable, NodeRefused):
            raise
        except Exception as error:
            # As text: a log that prints the variables of each frame would print the authority's key.
            trace = "".join(traceback.format_exception(error))
            log.error("anchor_step_failed", anchor=str(row.id), of=row.name, state=row.state, trace=trace)


# What was sent


async def _follow(
    units: Units, node: Node, config: ChainConfig, rows: list[AnyRow], may_send: Callable[[AnyRow], bool]
) -> None:
    """See how far the sent transactions have come; send again what the cluster has not seen."""
    if not rows:
        return
    # In this order: a transaction may land after its status was read, but not after this height has passed.
    height = await node.block_height(Finalized)
    statuses = dict(
        zip([row.id for row in rows], await node.statuses([row.signature or "" for row in rows]), strict=True)
    )

    async def step(row: AnyRow) -> None:
        status = statuses[row.id]
        if status is not None:
            await _advance(units, node, config, row, status)
        elif height > (row.last_valid_block_height or 0):
            async with units() as unit:
                await queue.expired(unit, row)
        elif may_send(row):
            await _send(units, node, row)

    await _each(rows, step)


async def _advance(units: Units, node: Node, config: ChainConfig, row: AnyRow, status: Status) -> None:
    if status.error is not None:
        await _refused(units, row, status.error)
    elif status.level == "finalized":
        await _finalize(units, node, config, row, status.slot)
    elif status.level == "confirmed" and row.state == AnchorState.SUBMITTED:
        async with units() as unit:
            await queue.confirmed(unit, row, status.slot)


async def _finalize(units: Units, node: Node, config: ChainConfig, row: AnyRow, slot: int) -> None:
    account = await node.account(Pubkey.from_string(row.account or ""), Finalized)
    if not is_done(config, row, account):
        return  # a node that knows the transaction and not yet the account; ask again
    try:
        block_time = await node.block_time(slot)
    except NodeRefused:
        block_time = None  # old blocks' times are pruned
    async with units() as unit:
        await queue.finalized(unit, row, slot, block_time)


async def _send(units: Units, node: Node, row: AnyRow) -> None:
    try:
        await node.send(row.transaction or b"")
    except NodeRefused as refusal:
        if refusal.error is None:
            log.warning("node_refused", anchor=str(row.id), reason=str(refusal))
        else:
            await _refused(units, row, refusal.error)


async def _refused(units: Units, row: AnyRow, error: rpc.TransactionErrorType) -> None:
    if error in (TransactionErrorFieldless.AlreadyProcessed, TransactionErrorFieldless.BlockhashNotFound):
        return  # it is there, or this node is not up to date, or it expires: following tells which
    failure = quantumagi.failure(error)
    # The program's word is final, once the account was read again: a transaction of ours that was taken for lost
    # may have come first. Anything else may pass: who paid, who was first, how busy the cluster is.
    by_program = failure.code is not None and failure.code >= 100 and failure.code not in CONSTITUTION_ERRORS
    final = by_program and row.attempts > 1
    async with units() as unit:
        await queue.refused(unit, row, str(failure), final=final)


# What is to be sent


async def _submit_amendment(
    units: Units, node: Node, config: ChainConfig, ground: Ground, verdict: Verdict
) -> None:
    """The oldest amendment that is not final; the next one follows when it is, so that the account has gone through all."""
    async with units() as unit:
        rows = amendments_in(await open_rows(unit))
        rows = [row for row in rows[:1] if row.state == AnchorState.QUEUED and row.due(unit.now)]
    account = await node.account(quantumagi.constitution_address(config.program_id), Confirmed)

    async def step(row: AnyRow) -> None:
        if isinstance(row, ConstitutionRow):
            await _carry_out(units, node, config, ground, row, plan_amendment(config, row, account), verdict)

    await _each(rows, step)


async def _submit(
    units: Units,
    node: Node,
    config: ChainConfig,
    ground: Ground,
    verdict: Verdict,
    policy: AnchorPolicy,
) -> None:
    """Sign what can be signed, store it, send it."""
    async with units() as unit:
        queued = [row for row in await open_rows(unit) if row.state == AnchorState.QUEUED]
        # Those not known to wait for something come first, so that they cannot be crowded out.
        due = sorted((row for row in queued if row.due(unit.now)), key=lambda row: row.error is not None)
        rows = due[:PER_PASS]
    policies = [row for row in rows if isinstance(row, PolicyRow)]
    addresses = [quantumagi.policy_address(config.program_id, row.chain_policy_id) for row in policies]
    accounts = dict(zip([row.id for row in policies], await node.accounts(addresses, Confirmed), strict=True))

    async def step(row: AnyRow) -> None:
        if isinstance(row, CheckpointRow):
            await _submit_checkpoint(units, node, config, ground, row, verdict, policy)
        elif isinstance(row, PolicyRow):
            planned = plan(config, ground.documents, row, accounts[row.id])
            await _carry_out(units, node, config, ground, row, planned, verdict)

    await _each(rows, step)


async def _carry_out(
    units: Units,
    node: Node,
    config: ChainConfig,
    ground: Ground,
    row: PolicyRow | ConstitutionRow,
    planned: Plan,
    verdict: Verdict,
) -> None:
    match planned:
        case Build() as build:
            await _sign_and_send(units, node, config, ground, row, build, verdict)
        case Done():
            await _find_transaction(units, node, config, row, verdict)
        case Wait(reason):
            async with units() as unit:
                await queue.wait(unit, row, reason)
        case Impossible(reason):
            async with units() as unit:
                await queue.refused(unit, row, reason, final=True)


async def _submit_checkpoint(
    units: Units,
    node: Node,
    config: ChainConfig,
    ground: Ground,
    row: CheckpointRow,
    verdict: Verdict,
    policy: AnchorPolicy,
) -> None:
    place = Place(config, verdict.seen["genesis_hash"])
    if row.signature is not None and row.genesis_hash == place.genesis_hash:
        # Taken for expired; a node that lags behind may have said so.
        (status,) = await node.statuses([row.signature])
        if status is not None and status.error is None:
            async with units() as unit:
                await queue.resumed(unit, row)
            return
    async with units() as unit:
        newest = await checkpointing.bring_up(unit, place, row, policy)
    if newest is None:
        return
    lasting = quantumagi.policy_address(config.program_id, chain_policy_id(newest.record))
    audit = quantumagi.audit_address(config.program_id)
    match plan_checkpoint(config, newest, *await node.accounts([audit, lasting], Confirmed)):
        case Build() as build:
            await _sign_and_send(units, node, config, ground, newest, build, verdict)
        case Wait(reason):
            async with units() as unit:
                await queue.wait(unit, newest, reason)


async def _sign_and_send(
    units: Units,
    node: Node,
    config: ChainConfig,
    ground: Ground,
    row: AnyRow,
    build: Build,
    verdict: Verdict,
) -> None:
    if config.authority is None:
        raise ValueError("nothing is signed without an authority")
    blockhash, last_valid = await node.latest_blockhash()
    transaction = quantumagi.sign(build.instructions, config.authority, blockhash)
    signed = Signed(
        signature=str(transaction.signatures[0]),
        transaction=bytes(transaction),
        last_valid_block_height=last_valid,
        account=str(build.account),
        durable=build.durable,
        genesis_hash=verdict.seen["genesis_hash"],
    )
    async with units() as unit:
        if unit.constitution_sha256 != ground.constitution.sha256:
            return  # amended since the chain was looked at: the next pass begins with that
        stored = await queue.submitted(unit, config, row, signed)
    if stored:
        await _send(units, node, stored)


async def _find_transaction(
    units: Units, node: Node, config: ChainConfig, row: PolicyRow | ConstitutionRow, verdict: Verdict
) -> None:
    """Take over the transaction that did it already, and follow it to finality like one of our own."""
    address = _address_of(config, row)
    for signature in await node.signatures_for(address):
        landed = await node.transaction(signature)
        if landed is None or landed.error is not None:
            continue
        transaction = VersionedTransaction.from_bytes(landed.raw)
        if any(_did(row, address, step) for step in decode_transaction(config.program_id, transaction)):
            signed = Signed(
                signature=signature,
                transaction=landed.raw,
                last_valid_block_height=await node.block_height(Confirmed) + BLOCKHASH_LIFE,
                account=str(address),
                genesis_hash=verdict.seen["genesis_hash"],
            )
            async with units() as unit:
                await queue.submitted(unit, config, row, signed, found_on_chain=True)
            return
    account = await node.account(address, Finalized)
    if account is None or not is_done(config, row, account):
        return  # not final yet; ask again
    unsigned = Signed(account=str(address), genesis_hash=verdict.seen["genesis_hash"])
    async with units() as unit:
        stored = await queue.submitted(unit, config, row, unsigned, found_on_chain=True)
        if stored:
            await queue.finalized(unit, stored, None, _when_done(row, account))


def _address_of(config: ChainConfig, row: PolicyRow | ConstitutionRow) -> Pubkey:
    if isinstance(row, ConstitutionRow):
        return quantumagi.constitution_address(config.program_id)
    return quantumagi.policy_address(config.program_id, row.chain_policy_id)


def _did(row: PolicyRow | ConstitutionRow, address: Pubkey, step: dict[str, Any]) -> bool:
    """Whether a decoded instruction did what the row is for."""
    wanted = {
        AnchorKind.POLICY: "enact_policy",
        AnchorKind.DEACTIVATION: "deactivate_policy",
        AnchorKind.CONSTITUTION: "update_constitution",
    }[row.kind]
    if step["instruction"] != wanted or step["accounts"][0]["address"] != str(address):
        return False
    return not isinstance(row, ConstitutionRow) or step["args"]["new_hash"] == row.sha256


def _when_done(row: PolicyRow | ConstitutionRow, account: Account) -> int | None:
    if isinstance(row, ConstitutionRow):
        return quantumagi.constitution_account(account.data).updated_at
    found = quantumagi.policy_account(account.data)
    return found.enacted_at if row.kind == AnchorKind.POLICY else found.deactivated_at


# A chain of one's own


async def bootstrap_local(
    config: ChainConfig, constitution: Constitution | str, *, within: float = 60.0
) -> None:
    """On the local chain only: give the authority SOL and found the constitution account, where they are missing.

    `constitution` is the document that is founded on, or its SHA-256. Idempotent, and harmless to run several times at once. Raises Unreachable, NodeRefused, or TimeoutError.
    """
    if not config.is_local or config.authority is None:
        return
    sha256 = constitution if isinstance(constitution, str) else constitution.sha256
    key, address = config.authority, quantumagi.constitution_address(config.program_id)
    async with asyncio.timeout(within), rpc.connect(config) as node:
        while True:
            purse, account = await node.accounts([key.pubkey(), address])
            if purse is None or purse.lamports < inspection.LAMPORTS_PER_SOL:
                await node.airdrop(key.pubkey(), 10 * inspection.LAMPORTS_PER_SOL)
            elif account is None or account.owner != config.program_id:
                blockhash, _ = await node.latest_blockhash()
                found = quantumagi.initialize(config.program_id, key.pubkey(), sha256)
                try:
                    await node.send(bytes(quantumagi.sign([found], key, blockhash)))
                except NodeRefused as refusal:
                    log.info("constitution_not_founded_yet", reason=str(refusal))
            else:
                return
            await asyncio.sleep(0.4)
