"""What the bridge's tests ask the database and the chain."""

from __future__ import annotations

import asyncio
from typing import Any

import sqlalchemy as sa
from solders.pubkey import Pubkey

from chain import anchoring, quantumagi, rpc
from chain.config import ChainConfig
from tests.chain.enacted import Assembly
from workflows.storage.tables import anchor


async def rows(assembly: Assembly, statement: str | sa.Select, **values: Any) -> list[dict[str, Any]]:
    async with assembly.unit() as unit:
        found = sa.text(statement) if isinstance(statement, str) else statement
        return [dict(row) for row in (await unit.connection.execute(found, values)).mappings()]


async def change(assembly: Assembly, statement: str, **values: Any) -> None:
    async with assembly.unit() as unit:
        await unit.connection.execute(sa.text(statement), values)


async def anchors(assembly: Assembly) -> list[dict[str, Any]]:
    return await rows(assembly, sa.select(anchor).order_by(anchor.c.queued_at))


async def audited(assembly: Assembly, prefix: str = "anchor.") -> list[str]:
    """Types of the audit entries, in order, without `confirmed`: that is skipped when finality comes first."""
    statement = "SELECT type FROM audit.entry WHERE type LIKE :like ORDER BY number"
    found = [row["type"] for row in await rows(assembly, statement, like=f"{prefix}%")]
    return [item for item in found if item != "anchor.confirmed"]


async def open_alerts(assembly: Assembly) -> list[dict[str, Any]]:
    return await rows(assembly, "SELECT * FROM alert WHERE resolved_at IS NULL ORDER BY raised_at")


async def status(assembly: Assembly) -> dict[str, Any]:
    return (await rows(assembly, "SELECT * FROM chain_status"))[0]


async def one_pass(assembly: Assembly, config: ChainConfig) -> float | None:
    return await anchoring.run(assembly.units, config, assembly.constitution)


async def run_until_done(assembly: Assembly, config: ChainConfig, within: float = 30) -> None:
    async with asyncio.timeout(within):
        while (pause := await one_pass(assembly, config)) is not None:
            await asyncio.sleep(min(pause, 0.1))


async def policy_on_chain(config: ChainConfig, address: str) -> quantumagi.PolicyAccount | None:
    async with rpc.connect(config) as node:
        account = await node.account(Pubkey.from_string(address))
    return quantumagi.policy_account(account.data) if account else None


async def transactions_of(config: ChainConfig, address: str) -> list[str]:
    """Signatures of successful transactions on an account, newest first."""
    async with rpc.connect(config) as node:
        return await node.signatures_for(Pubkey.from_string(address))


async def send(config: ChainConfig, key: quantumagi.Keypair, *instructions: quantumagi.Instruction) -> str:
    """Sign with `key` and wait until it is confirmed."""
    async with rpc.connect(config) as node:
        blockhash, _ = await node.latest_blockhash()
        signed = quantumagi.sign(list(instructions), key, blockhash)
        await node.send(bytes(signed))
        signature = str(signed.signatures[0])
        async with asyncio.timeout(10):
            while (found := (await node.statuses([signature]))[0]) is None or found.level == "processed":
                await asyncio.sleep(0.05)
        assert found.error is None
        return signature


async def rich_key(config: ChainConfig) -> quantumagi.Keypair:
    key = quantumagi.Keypair()
    async with rpc.connect(config) as node, asyncio.timeout(10):
        await node.airdrop(key.pubkey(), 10**9)
        while await node.account(key.pubkey()) is None:
            await asyncio.sleep(0.05)
    return key
