"""Whether anything may be anchored: what the chain holds, held against our constitution and our key.

The constitution account is the root of trust (design: Quantumagi). Unless it is there, active, ours, and its
32 bytes are the hash of the document in force, nothing is signed; the reason is stored for every page, raised
as an alert, and noted in the audit trail once.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from solders.pubkey import Pubkey
from sqlalchemy.dialects.postgresql import insert

from chain import quantumagi
from chain.config import ChainConfig
from chain.quantumagi import NotQuantumagi
from chain.rpc import Account, Node
from workflows.alerts import raise_alert, resolve_alert
from workflows.constitution.document import Constitution
from workflows.storage.tables import alert, chain_status
from workflows.storage.unit import Unit, rfc3339

BEHIND = (
    "constitution_behind"  # an amendment is on its way to the constitution account, and all else waits for it
)
MAINNET_GENESIS = "5eykt4UsFv8P8NJdTREpY1vzqKqZKvdpKuc147dw2N9d"
UNREACHABLE = "unreachable"
UNREACHABLE_ALERT_AFTER = timedelta(seconds=15)  # a restart of the node is no news
LAMPORTS_PER_SOL = 1_000_000_000


@dataclass(frozen=True)
class Snapshot:
    """What the node said, at commitment confirmed."""

    genesis_hash: str
    version: str
    slot: int
    program: Account | None
    constitution: Account | None
    authority: Account | None  # the account of our own key


@dataclass(frozen=True)
class Verdict:
    """May anything be anchored? If not, `code` and `reason` say why. `seen` is what pages show of the chain."""

    code: str | None
    reason: str | None
    seen: dict[str, Any]

    @property
    def may_anchor(self) -> bool:
        return self.code is None

    @property
    def may_amend(self) -> bool:
        return self.code == BEHIND


async def look(node: Node, config: ChainConfig) -> Snapshot:
    """Raises Unreachable or NodeRefused."""
    asked = [config.program_id, quantumagi.constitution_address(config.program_id)]
    if config.authority_address:
        asked.append(config.authority_address)
    genesis_hash, version, slot = await node.genesis_hash(), await node.version(), await node.slot()
    program, constitution, *authority = await node.accounts(asked)
    return Snapshot(genesis_hash, version, slot, program, constitution, authority[0] if authority else None)


def judge(
    config: ChainConfig,
    constitution: Constitution,
    snapshot: Snapshot,
    earlier: Collection[str] = (),
    *,
    amending: bool = False,
) -> Verdict:
    """Hold the chain against the document in force and our key. Pure.

    While an amendment is on its way (`amending`), the account may hold the hash of one of the `earlier` documents.
    """
    account = _constitution_account(config, snapshot)
    allowed = {constitution.sha256, *(earlier if amending else ())}
    problem = (
        _document_problem(constitution)
        or _cluster_problem(config, snapshot)
        or _program_problem(config, snapshot)
        or _constitution_problem(config, constitution, snapshot, account, allowed)
        or _key_problem(config, snapshot, account)
        or (_behind(constitution, account) if amending else None)
    )
    code, reason = problem or (None, None)
    return Verdict(code, reason, _seen(config, constitution, snapshot, account))


def _constitution_account(config: ChainConfig, snapshot: Snapshot) -> quantumagi.ConstitutionAccount | None:
    if snapshot.constitution is None or snapshot.constitution.owner != config.program_id:
        return None
    try:
        return quantumagi.constitution_account(snapshot.constitution.data)
    except NotQuantumagi:
        return None


def _document_problem(constitution: Constitution) -> tuple[str, str] | None:
    return ("constitution_hash_unexpected", constitution.problem) if constitution.problem else None


def _cluster_problem(config: ChainConfig, snapshot: Snapshot) -> tuple[str, str] | None:
    is_mainnet = snapshot.genesis_hash == MAINNET_GENESIS
    if is_mainnet == (config.cluster == "mainnet-beta"):
        return None
    found = "mainnet-beta" if is_mainnet else "another cluster"
    return "cluster_differs", f"The portal is set to {config.cluster}, but the node belongs to {found}."


def _program_problem(config: ChainConfig, snapshot: Snapshot) -> tuple[str, str] | None:
    if snapshot.program is None:
        return "program_missing", f"There is no program at {config.program_id} on this cluster."
    if not snapshot.program.executable:
        return "program_not_executable", f"The account {config.program_id} is not a program."
    return None


def _constitution_problem(
    config: ChainConfig,
    constitution: Constitution,
    snapshot: Snapshot,
    account: quantumagi.ConstitutionAccount | None,
    allowed: Collection[str],
) -> tuple[str, str] | None:
    address = quantumagi.constitution_address(config.program_id)
    # Anyone can send lamports to any address: only what the program owns is a constitution.
    if snapshot.constitution is None or snapshot.constitution.owner != config.program_id:
        return "constitution_missing", f"The constitution account {address} is not on this cluster."
    if account is None:
        return "constitution_unreadable", f"The account {address} does not hold a constitution."
    if account.hash.hex() not in allowed:
        return "constitution_hash_differs", (
            f"The constitution on chain has the hash {account.hash.hex()}, "
            f"but the document in force hashes to {constitution.sha256}."
        )
    if not account.is_active:
        return "constitution_inactive", "The constitution on chain is not active."
    return None


def _behind(
    constitution: Constitution, account: quantumagi.ConstitutionAccount | None
) -> tuple[str, str] | None:
    held = account.hash.hex() if account else ""
    what = "is not final yet" if held == constitution.sha256 else f"still has to be written over {held}"
    return BEHIND, (
        f"The constitution was amended: the hash of the document in force, {constitution.sha256}, {what} in the "
        "constitution account. All else waits for that (§ 6.3)."
    )


def _key_problem(
    config: ChainConfig, snapshot: Snapshot, account: quantumagi.ConstitutionAccount | None
) -> tuple[str, str] | None:
    ours = config.authority_address
    if ours is None:
        return "no_authority_key", config.authority_problem or (
            "There is no authority key (ANCHOR_KEYPAIR is not set), so nothing can be signed."
        )
    if account is not None and account.authority != ours:
        return "authority_differs", (
            f"The constitution's authority is {account.authority}, but our key is {ours}."
        )
    needed = quantumagi.policy_cost(quantumagi.MAX_RULE)
    balance = snapshot.authority.lamports if snapshot.authority else 0
    if balance < needed:
        return "authority_poor", (
            f"The authority {ours} holds {balance / LAMPORTS_PER_SOL:.6f} SOL; "
            f"anchoring a policy can take {needed / LAMPORTS_PER_SOL:.6f} SOL."
        )
    return None


def _seen(
    config: ChainConfig,
    constitution: Constitution,
    snapshot: Snapshot,
    account: quantumagi.ConstitutionAccount | None,
) -> dict[str, Any]:
    ours = config.authority_address
    return {
        "rpc_url": config.public_rpc_url,
        "cluster": config.cluster,
        "genesis_hash": snapshot.genesis_hash,
        "version": snapshot.version,
        "slot": snapshot.slot,
        "program": {
            "address": str(config.program_id),
            "exists": snapshot.program is not None,
            "executable": snapshot.program is not None and snapshot.program.executable,
        },
        "constitution": _seen_constitution(quantumagi.constitution_address(config.program_id), account),
        "authority": str(ours) if ours else None,
        "balance_lamports": (snapshot.authority.lamports if snapshot.authority else 0) if ours else None,
        "expected_sha256": constitution.sha256,
    }


def _seen_constitution(address: Pubkey, account: quantumagi.ConstitutionAccount | None) -> dict[str, Any]:
    if account is None:
        return {"address": str(address), "exists": False}
    return {
        "address": str(address),
        "exists": True,
        "hash": account.hash.hex(),
        "version": account.version,
        "is_active": account.is_active,
        "authority": str(account.authority),
        "created_at": from_unix(account.created_at),
        "updated_at": from_unix(account.updated_at) if account.updated_at is not None else None,
    }


def from_unix(seconds: int) -> str:
    return rfc3339(datetime.fromtimestamp(seconds, UTC))


# What is stored


async def store(unit: Unit, verdict: Verdict) -> None:
    """Keep the verdict for pages; raise, resolve and record what has changed since the last one."""
    code = f"chain.{verdict.code}" if verdict.code else None
    await _write(unit, reachable=True, code=verdict.code, reason=verdict.reason, seen=verdict.seen)
    await resolve_alert(unit, f"chain.{UNREACHABLE}")
    for old in await _open_blocks(unit):
        if old != code and await resolve_alert(unit, old) and (code is None or verdict.may_amend):
            await unit.record("chain.unblocked", "chain", code=old.removeprefix("chain."))
    if verdict.may_amend:
        return  # it goes on by itself; what fails of it raises an alert of its own
    if code and await raise_alert(unit, code, "critical", f"Nothing is anchored: {verdict.reason}", "/chain"):
        await unit.record("chain.blocked", "chain", code=verdict.code, reason=verdict.reason)


async def store_unreachable(unit: Unit, config: ChainConfig, reason: str) -> timedelta:
    """Note that the node is away, and keep what it last said. How long it has been away."""
    before = await unit.row(sa.select(chain_status.c.reachable, chain_status.c.seen))
    seen = dict(before["seen"]) if before else {"rpc_url": config.public_rpc_url, "cluster": config.cluster}
    since = seen.setdefault("unreachable_since", rfc3339(unit.now))
    away = unit.now - datetime.fromisoformat(since)
    await _write(unit, reachable=False, code=UNREACHABLE, reason=reason, seen=seen)
    if away >= UNREACHABLE_ALERT_AFTER:
        message = f"The Solana node is away, so anchoring waits: {reason}"
        await raise_alert(unit, f"chain.{UNREACHABLE}", "warning", message, "/chain")
    return away


async def _write(
    unit: Unit, *, reachable: bool, code: str | None, reason: str | None, seen: dict[str, Any]
) -> None:
    before = await unit.row(sa.select(chain_status.c.reachable, chain_status.c.reason_code))
    values = {
        "reachable": reachable,
        "may_anchor": code is None,
        "reason_code": code,
        "reason": reason,
        "seen": seen,
        "checked_at": unit.now,
    }
    await unit.connection.execute(
        insert(chain_status).values(id=1, **values).on_conflict_do_update(index_elements=["id"], set_=values)
    )
    if before is None or (before["reachable"], before["reason_code"]) != (reachable, code):
        unit.publish("chain", "status", reachable=reachable, may_anchor=code is None, reason=reason)


async def _open_blocks(unit: Unit) -> list[str]:
    statement = sa.select(alert.c.code).where(
        alert.c.resolved_at.is_(None), alert.c.code.like("chain.%"), alert.c.severity == "critical"
    )
    return [row["code"] for row in await unit.rows(statement)]
