"""What the bridge's tests ask the database and the chain."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import sqlalchemy as sa
from solders.pubkey import Pubkey

from chain import anchoring, quantumagi, rpc
from chain.config import ChainConfig
from tests.chain.enacted import Assembly
from tests.conftest import arranged
from workflows.storage.tables import anchor


async def rows(assembly: Assembly, statement: str | sa.Select, **values: Any) -> list[dict[str, Any]]:
    async with assembly.unit() as unit:
        found = sa.text(statement) if isinstance(statement, str) else statement
        return [dict(row) for row in (await unit.connection.execute(found, values)).mappings()]


async def change(assembly: Assembly, statement: str, **values: Any) -> None:
    async with assembly.unit() as unit:
        await arranged(unit.connection)
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


async def until(question: Callable[[], Awaitable[Any]], within: float = 60) -> Any:
    """Ask again and again; the first answer that is true."""
    async with asyncio.timeout(within):
        while True:
            if answer := await question():
                return answer
            await asyncio.sleep(0.05)


async def run_until_done(assembly: Assembly, config: ChainConfig) -> None:
    async def done() -> bool:
        return await one_pass(assembly, config) is None

    await until(done)


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

        async def landed() -> rpc.Status | None:
            (found,) = await node.statuses([signature])
            return found if found and found.level != "processed" else None

        assert (await until(landed)).error is None
        return signature


async def rich_key(config: ChainConfig, lamports: int = 10**9) -> quantumagi.Keypair:
    key = quantumagi.Keypair()
    await give(config, key.pubkey(), lamports)
    return key


async def give(config: ChainConfig, address: Pubkey, lamports: int) -> None:
    async with rpc.connect(config) as node:
        await node.airdrop(address, lamports)
        await until(lambda: node.account(address))
