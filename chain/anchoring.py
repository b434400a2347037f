"""Takes anchors from the queue to finality, once, whatever dies in between.

- Nothing is signed unless the chain holds our constitution, active, under our key (`inspection`).
- Signed bytes are committed to the database before they are sent. After a crash the same bytes are sent again,
  until the cluster has them or can no longer take them: only then is anything signed anew.
- A policy's id follows from its record, so an account that is already there with our record is success.
- Only finality counts: the account itself is read at that commitment before anything is called anchored.
- No question is asked of the node while a transaction is open that has written anything.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa
import structlog
from solana.rpc.commitment import Confirmed, Finalized
from solders.instruction import Instruction
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction
from solders.transaction_status import TransactionErrorFieldless
from sqlalchemy.ext.asyncio import AsyncEngine

from chain import inspection, quantumagi, queue, rpc
from chain.config import AnchorPolicy, ChainConfig
from chain.explorer import decode_transaction
from chain.inspection import Verdict
from chain.quantumagi import NotQuantumagi, PolicyAccount, TooLarge
from chain.queue import Row, Signed
from chain.rpc import Account, Node, NodeRefused, Status, Unreachable
from workflows.constitution.document import Constitution
from workflows.kinds import AnchorKind, AnchorState
from workflows.storage.tables import chain_status
from workflows.storage.unit import Unit

Units = Callable[[], AbstractAsyncContextManager[Unit]]

log = structlog.get_logger(__name__)

LOCK = 0x41434753_414E4348  # "ACGSANCH": one worker at a time
PER_PASS = 25  # signed in one pass, so that a long queue does not outlive its blockhash
INSPECTION_LASTS = timedelta(seconds=10)  # where there is nothing to sign
CHECKED_FOR_RESET = 100  # of the newest anchors: a reset takes them all
BLOCKHASH_LIFE = 150  # blocks
BLOCKED_PAUSE = 5.0  # seconds
# Errors that say something of the constitution account, which the next inspection will put better.
CONSTITUTION_ERRORS = frozenset({6000, 6003})


async def run(
    units: Units, config: ChainConfig, constitution: Constitution, policy: AnchorPolicy | None = None
) -> float | None:
    """One pass over the queue. Seconds after which to come again; None when nothing is open.

    Safe to call from any number of workers at any time: one of them works, the others are told to come again.
    Writes `chain_status` at least every 10 s that it is called. Raises nothing for a node that is away or refuses.
    """
    async with units() as unit:
        engine = unit.connection.engine
        rows = await queue.open_rows(unit)
    async with _only_worker(engine) as alone:
        if not alone:
            return _pace(config) if rows else None
        try:
            async with rpc.connect(config) as node:
                return await _pass(units, node, config, constitution)
        except (Unreachable, NodeRefused) as error:
            async with units() as unit:
                away = await inspection.store_unreachable(unit, config, str(error))
            # The longer the node is away, the seldomer it is asked.
            return min(max(1.0, away.total_seconds() / 4), 30.0) if rows else None


async def inspect(units: Units, config: ChainConfig, constitution: Constitution) -> Verdict | None:
    """Look at the chain and store what was seen; None when the node is away (which is stored as well)."""
    try:
        async with rpc.connect(config) as node:
            return await _inspect(units, node, config, constitution)
    except (Unreachable, NodeRefused) as error:
        async with units() as unit:
            await inspection.store_unreachable(unit, config, str(error))
        return None


async def _inspect(units: Units, node: Node, config: ChainConfig, constitution: Constitution) -> Verdict:
    verdict = inspection.judge(config, constitution, await inspection.look(node, config))
    if config.is_local and verdict.code in ("constitution_missing", "authority_poor"):
        # A chain of one's own that is new, or was thrown away: found it (again).
        await bootstrap_local(config, constitution)
        verdict = inspection.judge(config, constitution, await inspection.look(node, config))
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


async def _pass(units: Units, node: Node, config: ChainConfig, constitution: Constitution) -> float | None:
    async with units() as unit:
        rows = await queue.open_rows(unit)
        known = await unit.row(sa.select(chain_status))
        fresh = known and known["reachable"] and unit.now - known["checked_at"] < INSPECTION_LASTS
        waiting = any(row.state == AnchorState.QUEUED and row.due(unit.now) for row in rows)
    verdict = None
    if waiting or not fresh:
        verdict = await _inspect(units, node, config, constitution)
        if await _find_reset(units, node, config, rows, verdict):
            return _pace(config)
    may_anchor = verdict.may_anchor if verdict else bool(known and known["may_anchor"])
    await _follow(units, node, [row for row in rows if row.state in queue.SENT], resend=may_anchor)
    if verdict and may_anchor:
        await _submit(units, node, config, constitution, verdict)
    return await _next_pass(units, config)


async def _next_pass(units: Units, config: ChainConfig) -> float | None:
    async with units() as unit:
        rows = await queue.open_rows(unit)
        if not rows:
            return None
        if any(row.state in queue.SENT for row in rows):
            return _pace(config)
        # What could have been signed and was not is blocked, or waits for something; no need to hurry.
        soonest = min(row.wait(unit.now).total_seconds() for row in rows)
        return max(_pace(config), soonest) if soonest > 0 else BLOCKED_PAUSE


async def _each(rows: Sequence[Row], step: Callable[[Row], Awaitable[None]]) -> None:
    """One row that cannot be dealt with must not hold up the others; it is tried again with the next pass."""
    for row in rows:
        try:
            await step(row)
        except (Unreachable, NodeRefused):
            raise
        except Exception as error:
            # As text: a log that prints the variables of each frame would print the authority's key.
            trace = "".join(traceback.format_exception(error))
            log.error("anchor_step_failed", anchor=str(row.id), ref=row.ref, state=row.state, trace=trace)


# Reset


async def _find_reset(
    units: Units, node: Node, config: ChainConfig, rows: list[Row], verdict: Verdict
) -> bool:
    """Requeue what this cluster has lost. True when anything was.

    Lost is what was sent to another genesis, and a finalized account that a node past its slot does not have.
    """
    genesis = verdict.seen["genesis_hash"]
    async with units() as unit:
        finals = await queue.finalized_rows(unit, config, CHECKED_FOR_RESET)
    lost = [row for row in rows if row.state in queue.SENT and row.genesis_hash != genesis]
    lost += [row for row in finals if row.genesis_hash != genesis]
    standing = [row for row in finals if row.genesis_hash == genesis and row.account]
    if standing:
        at = await node.slot(Finalized)
        addresses = [Pubkey.from_string(row.account or "") for row in standing]
        accounts = await node.accounts(addresses, Finalized, with_data=False)
        lost += [
            row
            for row, account in zip(standing, accounts, strict=True)
            if account is None and row.slot is not None and row.slot <= at
        ]
    for row in lost:
        async with units() as unit:
            await queue.reset(unit, row)
    return bool(lost)


# What was sent


async def _follow(units: Units, node: Node, rows: list[Row], *, resend: bool) -> None:
    """See how far the sent transactions have come; send again what the cluster has not seen."""
    if not rows:
        return
    # In this order: a transaction may land after its status was read, but not after this height has passed.
    height = await node.block_height(Finalized)
    statuses = dict(
        zip([row.id for row in rows], await node.statuses([row.signature or "" for row in rows]), strict=True)
    )

    async def step(row: Row) -> None:
        status = statuses[row.id]
        if status is not None:
            await _advance(units, node, row, status)
        elif height > (row.last_valid_block_height or 0):
            async with units() as unit:
                await queue.expired(unit, row)
        elif resend:
            await _send(units, node, row)

    await _each(rows, step)


async def _advance(units: Units, node: Node, row: Row, status: Status) -> None:
    if status.error is not None:
        await _refused(units, row, status.error)
    elif status.level == "finalized":
        await _finalize(units, node, row, status.slot)
    elif status.level == "confirmed" and row.state == AnchorState.SUBMITTED:
        async with units() as unit:
            await queue.confirmed(unit, row, status.slot)


async def _finalize(units: Units, node: Node, row: Row, slot: int) -> None:
    account = await node.account(Pubkey.from_string(row.account or ""), Finalized)
    if not _is_done(row, _policy_in(row, account)):
        return  # a node that knows the transaction and not yet the account; ask again
    try:
        block_time = await node.block_time(slot)
    except NodeRefused:
        block_time = None  # old blocks' times are pruned
    async with units() as unit:
        await queue.finalized(unit, row, slot, block_time)


async def _send(units: Units, node: Node, row: Row) -> None:
    try:
        await node.send(row.transaction or b"")
    except NodeRefused as refusal:
        if refusal.error is None:
            log.warning("node_refused", anchor=str(row.id), reason=str(refusal))
        else:
            await _refused(units, row, refusal.error)


async def _refused(units: Units, row: Row, error: rpc.TransactionErrorType) -> None:
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


@dataclass(frozen=True)
class Build:
    instructions: list[Instruction]


@dataclass(frozen=True)
class Done:
    """It is on chain already: find the transaction that did it."""


@dataclass(frozen=True)
class Wait:
    reason: str


@dataclass(frozen=True)
class Impossible:
    reason: str


Plan = Build | Done | Wait | Impossible


def plan(config: ChainConfig, constitution: Constitution, row: Row, account: Account | None) -> Plan:
    """What to do for a queued row, given the account at its address. Pure."""
    authority = config.authority_address
    if authority is None:
        raise ValueError("nothing is planned without an authority")
    if row.kind == AnchorKind.DEACTIVATION and not row.policy_finalized:
        return Wait("The policy itself is not finalized on chain yet.")
    if row.constitution_sha256 != constitution.sha256:
        return Wait(
            f"It was decided under the constitution {row.constitution_sha256}, which is not the one in force."
        )
    found = _policy_in(row, account)
    if isinstance(found, Impossible):
        return found
    if _is_done(row, found):
        return Done()
    address = quantumagi.policy_address(config.program_id, row.chain_policy_id)
    try:
        if row.kind == AnchorKind.DEACTIVATION:
            return Build(
                quantumagi.deactivation_instructions(config.program_id, authority, address, row.memo)
            )
        return Build(
            quantumagi.policy_anchor_instructions(
                config.program_id,
                authority,
                row.record,
                row.category,
                row.priority,
                row.memo,
                proposed=found is not None,
            )
        )
    except TooLarge as error:
        return Impossible(str(error))


def _policy_in(row: Row, account: Account | None) -> PolicyAccount | Impossible | None:
    """The policy at the row's address; None while there is none, even if somebody sent lamports there."""
    if account is None or not account.data:
        return None
    try:
        found = quantumagi.policy_account(account.data)
    except NotQuantumagi:
        return Impossible("The account at the policy's address holds no policy.")
    if row.kind == AnchorKind.DEACTIVATION:
        return found
    if found.rule.encode() != row.record:
        return Impossible("The policy's address on chain is taken by another record.")
    wanted = quantumagi.CATEGORIES[row.category], quantumagi.PRIORITIES[row.priority]
    if (found.category, found.priority) != wanted:
        # Anyone may propose our record before us; enacting it with a wrong category would misapply it.
        return Impossible(
            f"Somebody else proposed this record as {found.category}, {found.priority}; "
            f"it is {wanted[0]}, {wanted[1]}."
        )
    return found


def _is_done(row: Row, found: PolicyAccount | Impossible | None) -> bool:
    if not isinstance(found, PolicyAccount):
        return False
    if row.kind == AnchorKind.DEACTIVATION:
        return found.deactivated_at is not None and not found.is_active
    return found.enacted_at is not None


async def _submit(
    units: Units, node: Node, config: ChainConfig, constitution: Constitution, verdict: Verdict
) -> None:
    """Sign what can be signed, store it, send it."""
    async with units() as unit:
        queued = [row for row in await queue.open_rows(unit) if row.state == AnchorState.QUEUED]
        # Those not known to wait for something come first, so that they cannot be crowded out.
        due = sorted((row for row in queued if row.due(unit.now)), key=lambda row: row.error is not None)
        rows = due[:PER_PASS]
    if not rows:
        return
    addresses = [quantumagi.policy_address(config.program_id, row.chain_policy_id) for row in rows]
    accounts = dict(zip([row.id for row in rows], await node.accounts(addresses, Confirmed), strict=True))

    async def step(row: Row) -> None:
        match plan(config, constitution, row, accounts[row.id]):
            case Build(instructions):
                await _sign_and_send(units, node, config, row, instructions, verdict)
            case Done():
                await _find_transaction(units, node, config, row, verdict)
            case Wait(reason):
                async with units() as unit:
                    await queue.wait(unit, row, reason)
            case Impossible(reason):
                async with units() as unit:
                    await queue.refused(unit, row, reason, final=True)

    await _each(rows, step)


async def _sign_and_send(
    units: Units, node: Node, config: ChainConfig, row: Row, instructions: list[Instruction], verdict: Verdict
) -> None:
    if config.authority is None:
        raise ValueError("nothing is signed without an authority")
    blockhash, last_valid = await node.latest_blockhash()
    transaction = quantumagi.sign(instructions, config.authority, blockhash)
    signed = Signed(
        signature=str(transaction.signatures[0]),
        transaction=bytes(transaction),
        last_valid_block_height=last_valid,
        account=str(quantumagi.policy_address(config.program_id, row.chain_policy_id)),
        genesis_hash=verdict.seen["genesis_hash"],
    )
    async with units() as unit:
        stored = await queue.submitted(unit, config, row, signed)
    if stored:
        await _send(units, node, stored)


async def _find_transaction(
    units: Units, node: Node, config: ChainConfig, row: Row, verdict: Verdict
) -> None:
    """Take over the transaction that did it already, and follow it to finality like one of our own."""
    address = quantumagi.policy_address(config.program_id, row.chain_policy_id)
    wanted = "enact_policy" if row.kind == AnchorKind.POLICY else "deactivate_policy"
    for signature in await node.signatures_for(address):
        landed = await node.transaction(signature)
        if landed is None or landed.error is not None:
            continue
        transaction = VersionedTransaction.from_bytes(landed.raw)
        if any(
            step["instruction"] == wanted and step["accounts"][0]["address"] == str(address)
            for step in decode_transaction(config.program_id, transaction)
        ):
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
    found = _policy_in(row, account)
    if not isinstance(found, PolicyAccount) or not _is_done(row, found):
        return  # not final yet; ask again
    at = found.enacted_at if row.kind == AnchorKind.POLICY else found.deactivated_at
    unsigned = Signed(account=str(address), genesis_hash=verdict.seen["genesis_hash"])
    async with units() as unit:
        stored = await queue.submitted(unit, config, row, unsigned, found_on_chain=True)
        if stored:
            await queue.finalized(unit, stored, None, at)


# A chain of one's own


async def bootstrap_local(config: ChainConfig, constitution: Constitution, *, within: float = 60.0) -> None:
    """On the local chain only: give the authority SOL and found the constitution account, where they are missing.

    Idempotent, and harmless to run several times at once. Raises Unreachable, NodeRefused, or TimeoutError.
    """
    if not config.is_local or config.authority is None:
        return
    key, address = config.authority, quantumagi.constitution_address(config.program_id)
    async with asyncio.timeout(within), rpc.connect(config) as node:
        while True:
            purse, account = await node.accounts([key.pubkey(), address])
            if purse is None or purse.lamports < inspection.LAMPORTS_PER_SOL:
                await node.airdrop(key.pubkey(), 10 * inspection.LAMPORTS_PER_SOL)
            elif account is None or account.owner != config.program_id:
                blockhash, _ = await node.latest_blockhash()
                found = quantumagi.initialize(config.program_id, key.pubkey(), constitution.sha256)
                try:
                    await node.send(bytes(quantumagi.sign([found], key, blockhash)))
                except NodeRefused as refusal:
                    log.info("constitution_not_founded_yet", reason=str(refusal))
            else:
                return
            await asyncio.sleep(0.4)
