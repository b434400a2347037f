"""Whether a cluster was reset, or taken back to an earlier state: what it has lost is queued anew."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from solana.rpc.commitment import Finalized
from solders.pubkey import Pubkey

from chain import checkpointing, quantumagi, queue
from chain.checkpointing import Place
from chain.config import ChainConfig
from chain.ground import Ground, amendments_in
from chain.inspection import Verdict
from chain.rows import SENT, AnyRow, ConstitutionRow, finalized_amendments, finalized_policies
from chain.rpc import Node
from workflows.storage.unit import Unit

Units = Callable[[], AbstractAsyncContextManager[Unit]]

CHECKED_FOR_RESET = 100  # of the newest policies' anchors: a reset takes them all
DURABLE_CHECKED_FOR_RESET = 3  # of the newest durable checkpoints


async def find(
    units: Units, node: Node, config: ChainConfig, ground: Ground, rows: list[AnyRow], verdict: Verdict
) -> bool:
    """Queue anew what this cluster has lost. True when anything was.

    Lost is what was sent to another genesis, and a finalized account that a node past its slot does not have.
    """
    place = Place(config, verdict.seen["genesis_hash"])
    async with units() as unit:
        finals = await finalized_policies(unit, config, CHECKED_FOR_RESET)
        amended = await finalized_amendments(unit, config)
        expected = [
            (row.account, row.slot)
            for row in finals
            if row.genesis_hash == place.genesis_hash and row.account
        ]
        durable = await checkpointing.newest_durable(unit, place, DURABLE_CHECKED_FOR_RESET)
        since = await checkpointing.newest_slot(unit, place)
    audit = [(str(quantumagi.audit_address(config.program_id)), since)] if since is not None else []
    missing = await _missing(node, [*expected, *durable, *audit])
    lost = [row for row in rows if row.state in SENT and row.genesis_hash != place.genesis_hash]
    lost += [row for row in finals if row.genesis_hash != place.genesis_hash or row.account in missing]
    lost += _taken_back(ground, amended, verdict, amending=bool(amendments_in(rows)))
    for row in lost:
        async with units() as unit:
            await queue.reset(unit, row)
    # Nothing of the program's closes an account: where one is gone, the ledger was taken back to before its slot.
    gone = [slot for account, slot in durable if account in missing]
    gone += [0 for account, _ in audit if account in missing]
    async with units() as unit:
        marked = await checkpointing.mark_lost(unit, place, from_slot=min(gone, default=None))
    return bool(lost) or marked > 0


def _taken_back(
    ground: Ground, amended: list[ConstitutionRow], verdict: Verdict, *, amending: bool
) -> list[AnyRow]:
    """Amendments that stood on another genesis, or that the constitution account, back at an earlier one, has lost.

    While one is on its way (`amending`), the account is rightly at an earlier one.
    """
    genesis_hash, slot = verdict.seen["genesis_hash"], verdict.seen["slot"]
    held = verdict.seen["constitution"].get("hash")
    at = max((place for place, sha256 in enumerate(ground.earlier) if sha256 == held), default=None)
    back = at is not None and not amending and held != ground.constitution.sha256
    return [
        row
        for row in amended
        if row.genesis_hash != genesis_hash
        or (back and at is not None and row.number > at and (row.slot or 0) <= slot)
    ]


async def _missing(node: Node, expected: list[tuple[str, int | None]]) -> set[str]:
    """Those of the accounts, each with the slot since which it was there, that a node past that slot does not have."""
    if not expected:
        return set()
    at = await node.slot(Finalized)
    addresses = [Pubkey.from_string(account) for account, _ in expected]
    found = await node.accounts(addresses, Finalized, with_data=False)
    return {
        account
        for (account, slot), there in zip(expected, found, strict=True)
        if there is None and slot is not None and slot <= at
    }
