"""What the tests of checkpoints on chain share: a log that grows, passes of the worker, and reading what was signed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from solders.transaction import VersionedTransaction

from chain import anchoring
from chain.config import AnchorPolicy, ChainConfig
from chain.explorer import decode_transaction
from tests.chain.bridge import anchors, until
from tests.chain.enacted import Assembly
from tests.workflows.log.conftest import ORIGIN
from workflows.audit_transparency.anchors import action
from workflows.audit_transparency.checkpoints import SignedCheckpoint

AT_ONCE = AnchorPolicy(interval=timedelta())


async def of_log(assembly: Assembly) -> list[dict[str, Any]]:
    return [row for row in await anchors(assembly) if row["kind"] == "checkpoint"]


async def anchor_all(assembly: Assembly, config: ChainConfig, policy: AnchorPolicy = AT_ONCE) -> None:
    """Pass after pass, until nothing is open and nothing will be."""

    async def done() -> bool:
        return await anchoring.run(assembly.units, config, assembly.constitution, policy) is None

    await until(done)


async def sent(assembly: Assembly, config: ChainConfig, policy: AnchorPolicy = AT_ONCE) -> dict[str, Any]:
    """The checkpoint's anchor as soon as it was signed."""

    async def submitted() -> dict[str, Any] | None:
        await anchoring.run(assembly.units, config, assembly.constitution, policy)
        found = [row for row in await of_log(assembly) if row["state"] == "submitted"]
        return found[0] if found else None

    return await until(submitted)


def said(row: dict[str, Any], config: ChainConfig) -> list[dict[str, Any]]:
    return decode_transaction(config.program_id, VersionedTransaction.from_bytes(row["transaction"]))


def named(row: dict[str, Any], config: ChainConfig) -> list[str]:
    return [item["instruction"] for item in said(row, config)]


def expected(assembly: Assembly, signed: SignedCheckpoint) -> str:
    return action(ORIGIN, signed.size, signed.root, assembly.constitution.sha256)
