"""Amendments against a real localnet: the constitution account follows what was voted, before anything else is written."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest
from solders.pubkey import Pubkey

from chain import anchoring, quantumagi, rpc
from chain.config import ChainConfig
from tests.chain.bridge import (
    anchors,
    audited,
    change,
    one_pass,
    open_alerts,
    rows,
    run_until_done,
    send,
    status,
)
from tests.chain.enacted import Assembly
from tests.chain.localnet.node import Node
from workflows.constitution.document import Constitution

QUORUM = ("| quorum_percent | 10 |", "| quorum_percent | 15 |")
SEVEN = ("A ballot is open for seven days.", "A ballot is open for seven days, nights included.")


async def account(config: ChainConfig) -> quantumagi.ConstitutionAccount:
    async with rpc.connect(config) as node:
        found = await node.account(quantumagi.constitution_address(config.program_id))
    assert found is not None
    return quantumagi.constitution_account(found.data)


async def test_the_account_holds_the_amended_hash_and_what_waited_follows(
    assembly: Assembly, own: ChainConfig
) -> None:
    founded = assembly.constitution.sha256
    await assembly.enact()
    await run_until_done(assembly, own)
    assert ((await account(own)).hash.hex(), (await account(own)).version) == (founded, 1)
    ref = await assembly.amend(*QUORUM)
    amended = (await assembly.in_force()).sha256
    assert amended != founded
    await run_until_done(assembly, own)
    held = await account(own)
    assert (held.hash.hex(), held.version) == (amended, 2)
    (amending,) = [row for row in await anchors(assembly) if row["kind"] == "constitution"]
    (policy,) = await rows(
        assembly,
        "SELECT a.* FROM anchor a JOIN policy p ON p.id = a.policy_id WHERE a.kind = 'policy' AND p.ref = :ref",
        ref=ref,
    )
    assert (amending["state"], policy["state"]) == ("finalized", "finalized")
    assert amending["finalized_at"] <= policy["submitted_at"]  # § 6.3: nothing else while the hashes differ
    assert policy["constitution_sha256"] == founded  # it was decided under the document that it amends
    assert (await status(assembly))["may_anchor"]
    assert await open_alerts(assembly) == []
    async with rpc.connect(own) as node:
        landed = await node.transaction(amending["signature"])
    assert landed is not None
    assert amending["memo"].endswith(f"previous sha256:{founded}")


async def test_two_amendments_in_a_row_both_stand_in_the_accounts_history(
    assembly: Assembly, own: ChainConfig
) -> None:
    await assembly.amend(*QUORUM)
    first = (await assembly.in_force()).sha256
    await assembly.amend(*SEVEN)
    second = (await assembly.in_force()).sha256
    await run_until_done(assembly, own)
    held = await account(own)
    assert (held.hash.hex(), held.version) == (second, 3)
    kept = [row for row in await anchors(assembly) if row["kind"] == "constitution"]
    assert [row["state"] for row in kept] == ["finalized", "finalized"]
    assert kept[0]["slot"] < kept[1]["slot"]
    assert first in kept[0]["memo"] and second in kept[1]["memo"]


async def test_one_that_goes_back_to_an_earlier_text_is_written_too(
    assembly: Assembly, own: ChainConfig
) -> None:
    await assembly.amend(*QUORUM)
    await assembly.amend(*QUORUM[::-1])
    assert (await assembly.in_force()).sha256 == assembly.constitution.sha256
    await run_until_done(assembly, own)
    held = await account(own)
    assert (held.hash.hex(), held.version) == (assembly.constitution.sha256, 3)
    assert {row["state"] for row in await anchors(assembly)} == {"finalized"}


async def test_an_account_that_holds_it_already_is_done(assembly: Assembly, own: ChainConfig) -> None:
    await anchoring.bootstrap_local(own, assembly.constitution)
    await assembly.amend(*QUORUM)
    amended = (await assembly.in_force()).sha256
    assert own.authority is not None
    update = quantumagi.update_constitution(own.program_id, own.authority.pubkey(), amended)
    signature = await send(own, own.authority, update)
    await run_until_done(assembly, own)
    (amending,) = [row for row in await anchors(assembly) if row["kind"] == "constitution"]
    assert (amending["state"], amending["signature"]) == ("finalized", signature)
    assert (await account(own)).version == 2


async def test_an_account_that_holds_something_else_stops_everything(
    assembly: Assembly, own: ChainConfig
) -> None:
    await anchoring.bootstrap_local(own, "ab" * 32)
    await assembly.amend(*QUORUM)
    for _ in range(3):
        await one_pass(assembly, own)
    assert {row["state"] for row in await anchors(assembly)} == {"queued"}
    assert (await status(assembly))["reason_code"] == "constitution_hash_differs"
    assert [alert["code"] for alert in await open_alerts(assembly)] == ["chain.constitution_hash_differs"]


async def test_after_a_reset_the_account_goes_through_all_documents_again(
    assembly: Assembly, start_localnet: Callable[..., Node], own: ChainConfig
) -> None:
    await assembly.amend(*QUORUM)
    await run_until_done(assembly, own)
    elsewhere = ChainConfig(rpc_url=start_localnet("another").url, authority=own.authority, timeout=5)
    async with asyncio.timeout(60):
        while (await account_or_none(elsewhere)) != (await assembly.in_force()).sha256 or {
            row["state"] for row in await anchors(assembly)
        } != {"finalized"}:
            await one_pass(assembly, elsewhere)
            await asyncio.sleep(0.05)
    assert (await account(elsewhere)).version == 2  # founded anew on the founding document, and amended anew
    assert "anchor.reset" in await audited(assembly)


async def account_or_none(config: ChainConfig) -> str | None:
    async with rpc.connect(config) as node:
        found = await node.account(quantumagi.constitution_address(config.program_id))
    return quantumagi.constitution_account(found.data).hash.hex() if found else None


async def test_an_account_taken_back_to_the_founding_document_is_amended_again(
    assembly: Assembly, own: ChainConfig
) -> None:
    await assembly.amend(*QUORUM)
    await run_until_done(assembly, own)
    assert own.authority is not None
    back = quantumagi.update_constitution(
        own.program_id, own.authority.pubkey(), assembly.constitution.sha256
    )
    await send(own, own.authority, back)
    async with asyncio.timeout(60):
        while (await account_or_none(own)) != (await assembly.in_force()).sha256:
            await change(assembly, "UPDATE chain_status SET checked_at = checked_at - interval '1 minute'")
            await one_pass(assembly, own)
            await asyncio.sleep(0.05)
    await run_until_done(assembly, own)
    assert await open_alerts(assembly) == []


@pytest.mark.parametrize(
    "point",
    ["before sending", "after sending", "while the bytes are being stored", "before finalized is stored"],
)
async def test_a_worker_killed_between_the_close_and_the_account_loses_nothing(
    assembly: Assembly, own: ChainConfig, constitution: Constitution, point: str
) -> None:
    await anchoring.bootstrap_local(own, constitution)
    await assembly.amend(*QUORUM)
    worker = await asyncio.to_thread(
        subprocess.run,
        [
            sys.executable,
            "-m",
            "tests.chain.dying_worker",
            point,
            assembly.engine.url.render_as_string(hide_password=False),
            own.rpc_url,
        ],
        env={**os.environ, "ANCHOR_KEYPAIR": str(list(bytes(own.authority or b"")))},
        timeout=120,
        check=False,
    )
    assert worker.returncode == -signal.SIGKILL
    await run_until_done(assembly, own)
    held = await account(own)
    assert (held.hash.hex(), held.version) == ((await assembly.in_force()).sha256, 2)
    assert {row["state"] for row in await anchors(assembly)} == {"finalized"}
    async with rpc.connect(own) as node:
        address = Pubkey.from_string(str(quantumagi.constitution_address(own.program_id)))
        updates = [row["signature"] for row in await anchors(assembly) if row["kind"] == "constitution"]
        assert set(updates) <= set(await node.signatures_for(address))
