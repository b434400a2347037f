"""What can die while a record is on its way (worker, node, cluster, network), with nothing lost and nothing done twice."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from solders.keypair import Keypair

from chain import anchoring
from chain.config import ChainConfig
from chain.rpc import Node as Connection
from tests.chain.bridge import (
    anchors,
    audited,
    change,
    one_pass,
    open_alerts,
    policy_on_chain,
    rows,
    run_until_done,
    status,
    transactions_of,
)
from tests.chain.dying_worker import POINTS
from tests.chain.enacted import Assembly
from tests.chain.localnet.node import Node

ROOT = Path(__file__).parents[2]
TWICE_SIGNED = {"before the bytes are stored", "while the bytes are being stored"}


async def die_at(point: str, assembly: Assembly, config: ChainConfig) -> None:
    """Run a worker in a process of its own that kills itself at `point`."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.chain.dying_worker",
        point,
        assembly.engine.url.render_as_string(hide_password=False),
        config.rpc_url,
        cwd=ROOT,
        env={**os.environ, "ANCHOR_KEYPAIR": json.dumps(list(bytes(config.authority)))},
    )
    assert await asyncio.wait_for(process.wait(), 120) == -signal.SIGKILL


@pytest.fixture(scope="module")
def slow_config(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChainConfig]:
    """A localnet on which nothing becomes final before it was seen as confirmed, however busy the machine is."""
    node = Node(tmp_path_factory.mktemp("slow"), finality_slots=60)
    yield ChainConfig(rpc_url=node.url, authority=Keypair(), timeout=5)
    node.end()


@pytest.mark.reliability
@pytest.mark.parametrize("point", POINTS)
async def test_a_worker_killed_at_any_point_loses_nothing_and_does_nothing_twice(
    assembly: Assembly, slow_config: ChainConfig, point: str
) -> None:
    config = slow_config
    ref = await assembly.enact()
    await die_at(point, assembly, config)
    (left,) = await anchors(assembly)
    assert left["state"] != "finalized"
    assert (left["state"] == "queued") == (point in TWICE_SIGNED)
    await run_until_done(assembly, config)
    (row,) = await anchors(assembly)
    assert (row["state"], row["attempts"], row["error"]) == ("finalized", 1, None)
    if left["signature"]:
        assert row["signature"] == left["signature"]  # the very bytes that were stored before the kill
    assert await transactions_of(config, row["account"]) == [row["signature"]]
    assert await audited(assembly) == ["anchor.submitted", "anchor.finalized"]
    (workflow,) = await rows(assembly, "SELECT status FROM workflow WHERE subject = :ref", ref=ref)
    assert workflow["status"] == "completed"


@pytest.mark.reliability
@pytest.mark.parametrize("state", ["queued", "submitted", "confirmed"])
async def test_the_node_may_be_killed_in_any_state(
    assembly: Assembly, start_localnet: Callable[..., Node], state: str
) -> None:
    node = start_localnet(finality_slots=60)  # so long that the state is seen however busy the machine is
    config = ChainConfig(rpc_url=node.url, authority=Keypair(), timeout=3)
    await assembly.enact()
    async with asyncio.timeout(20):
        while (await anchors(assembly))[0]["state"] != state:
            await one_pass(assembly, config)
    node.end(signal.SIGKILL)
    assert await one_pass(assembly, config) >= 1
    seen = await status(assembly)
    assert (seen["reachable"], seen["may_anchor"], seen["reason_code"]) == (False, False, "unreachable")
    node.start()
    await run_until_done(assembly, config)
    (row,) = await anchors(assembly)
    assert row["state"] == "finalized"
    assert len(await transactions_of(config, row["account"])) == 1
    assert (await status(assembly))["reachable"]


async def test_a_node_that_is_away_blocks_nothing_and_is_told(
    assembly: Assembly, config: ChainConfig
) -> None:
    await anchoring.bootstrap_local(config, assembly.constitution)
    await anchoring.inspect(assembly.units, config, assembly.constitution)
    known = (await status(assembly))["seen"]
    away = ChainConfig(
        rpc_url="http://user:secret@127.0.0.1:9/key/abc", authority=config.authority, timeout=2
    )
    await assembly.enact()
    first = await one_pass(assembly, away)
    seen = await status(assembly)
    assert not seen["reachable"]
    assert seen["reason"] == "http://127.0.0.1:9 cannot be reached."
    assert {key: seen["seen"][key] for key in known} == known  # what was last seen stays to be shown
    assert await open_alerts(assembly) == []
    await assembly.pass_time(minutes=2)
    assert await one_pass(assembly, away) > first
    (alert,) = await open_alerts(assembly)
    assert (alert["code"], alert["severity"]) == ("chain.unreachable", "warning")
    await run_until_done(assembly, config)
    assert await open_alerts(assembly) == []
    assert await audited(assembly, "chain.") == []


async def test_something_that_is_no_solana_node_is_unreachable(assembly: Assembly) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        config = ChainConfig(rpc_url=f"http://127.0.0.1:{port}", authority=Keypair(), timeout=2)
        await one_pass(assembly, config)
    assert "did not answer as a Solana node does" in (await status(assembly))["reason"]


async def test_a_node_that_hangs_is_not_waited_for(assembly: Assembly) -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    config = ChainConfig(rpc_url=f"http://127.0.0.1:{port}", authority=Keypair(), timeout=0.5)
    async with asyncio.timeout(10):
        await one_pass(assembly, config)
    server.close()
    assert "in time" in (await status(assembly))["reason"] or "within" in (await status(assembly))["reason"]


async def test_an_expired_transaction_is_signed_anew(
    assembly: Assembly, start_localnet: Callable[..., Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    node = start_localnet(slot_ms=20)
    config = ChainConfig(rpc_url=node.url, authority=Keypair(), timeout=5)
    await anchoring.bootstrap_local(config, assembly.constitution)
    await assembly.enact()
    with monkeypatch.context() as patched:

        async def lose(*_: object) -> None:
            """The network swallows what is sent."""

        patched.setattr(Connection, "send", lose)
        async with asyncio.timeout(30):
            while (await anchors(assembly))[0]["state"] != "submitted":
                await one_pass(assembly, config)
            (lost,) = await anchors(assembly)
            while (await anchors(assembly))[0]["state"] == "submitted":
                await one_pass(assembly, config)
                await asyncio.sleep(0.2)
    (row,) = await anchors(assembly)
    assert (row["state"], row["signature"]) == ("queued", lost["signature"])
    assert "expired" in row["error"]
    await run_until_done(assembly, config)
    (row,) = await anchors(assembly)
    assert (row["state"], row["attempts"]) == ("finalized", 2)
    assert row["signature"] != lost["signature"]
    assert await audited(assembly) == [
        "anchor.submitted",
        "anchor.expired",
        "anchor.submitted",
        "anchor.finalized",
    ]


async def test_a_transaction_wrongly_taken_for_expired_is_found_again(
    assembly: Assembly, config: ChainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pool of nodes may know the height and not yet the transaction."""
    await assembly.enact()
    async with asyncio.timeout(20):
        while (await anchors(assembly))[0]["state"] == "queued":
            await one_pass(assembly, config)
    (sent,) = await anchors(assembly)
    await change(assembly, "UPDATE anchor SET last_valid_block_height = 0")
    with monkeypatch.context() as patched:

        async def unknown(_: Connection, signatures: list[str]) -> list[None]:
            return [None] * len(signatures)

        patched.setattr(Connection, "statuses", unknown)
        await one_pass(assembly, config)
    assert (await anchors(assembly))[0]["state"] == "queued"
    await run_until_done(assembly, config)
    (row,) = await anchors(assembly)
    assert (row["state"], row["signature"]) == ("finalized", sent["signature"])
    assert len(await transactions_of(config, row["account"])) == 1


@pytest.mark.parametrize("suspended", [False, True])
async def test_a_cluster_that_was_reset_is_noticed_and_filled_again(
    assembly: Assembly, start_localnet: Callable[..., Node], suspended: bool
) -> None:
    old = start_localnet("old")
    key = Keypair()
    ref = await assembly.enact()
    await run_until_done(assembly, ChainConfig(rpc_url=old.url, authority=key, timeout=5))
    if suspended:
        await assembly.suspend(ref)
        await run_until_done(assembly, ChainConfig(rpc_url=old.url, authority=key, timeout=5))
    before = await anchors(assembly)
    old.end()
    config = ChainConfig(rpc_url=start_localnet("new").url, authority=key, timeout=5)
    assert await one_pass(assembly, config) is None  # the last inspection is fresh, so nothing is asked yet
    await assembly.pass_time(seconds=30)
    await one_pass(assembly, config)
    assert {row["state"] for row in await anchors(assembly)} <= {"queued"}
    assert {row["error"] for row in await anchors(assembly)} == {"the cluster was reset"}
    assert [alert["code"] for alert in await open_alerts(assembly)] == ["anchors.reset"]
    await run_until_done(assembly, config)
    after = await anchors(assembly)
    for row, was in zip(after, before, strict=True):
        assert row["state"] == "finalized"
        assert row["account"] == was["account"]
        assert row["genesis_hash"] != was["genesis_hash"]
    assert await open_alerts(assembly) == []
    found = await policy_on_chain(config, after[0]["account"])
    assert found.is_active is not suspended
    archived = await rows(
        assembly, "SELECT body FROM audit.entry WHERE type = 'anchor.reset' ORDER BY number"
    )
    kept = [json.loads(bytes(item["body"]))["payload"] for item in archived]
    assert {base64.b64decode(item["transaction"]) for item in kept} == {
        bytes(was["transaction"]) for was in before
    }
    assert {item["genesis_hash"] for item in kept} == {before[0]["genesis_hash"]}


async def test_a_row_that_cannot_be_dealt_with_holds_up_no_other(
    assembly: Assembly, config: ChainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    await assembly.enact(title="First")
    await assembly.enact(title="Second")
    first, _ = await anchors(assembly)
    plan = anchoring.plan

    def stumble(config: ChainConfig, constitution: object, row: object, account: object) -> object:
        if row.id == first["id"]:
            raise RuntimeError("a fault of ours")
        return plan(config, constitution, row, account)

    with monkeypatch.context() as patched:
        patched.setattr(anchoring, "plan", stumble)
        async with asyncio.timeout(20):
            while (await anchors(assembly))[1]["state"] != "finalized":
                await one_pass(assembly, config)
                await asyncio.sleep(0.05)
    await run_until_done(assembly, config)
    assert [row["state"] for row in await anchors(assembly)] == ["finalized", "finalized"]
