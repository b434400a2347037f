"""What can die or be lost while a checkpoint is on its way: worker, node, cluster, network."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from solders.keypair import Keypair

from chain import anchoring, quantumagi
from chain.config import AnchorPolicy, ChainConfig
from chain.rpc import Node as Connection
from tests.chain.bridge import (
    change,
    one_pass,
    open_alerts,
    transactions_of,
)
from tests.chain.checkpointed import AT_ONCE, anchor_all, of_log, sent
from tests.chain.enacted import Assembly
from tests.chain.localnet.node import Node
from tests.chain.test_anchoring_failures import TWICE_SIGNED, die_at
from tests.workflows.log.conftest import TestLog
from workflows.audit_transparency.anchors import (
    newest_final,
)


async def test_what_was_stored_is_sent_as_it_was(
    assembly: Assembly, log: TestLog, config: ChainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker dies between storing and sending; the log grows meanwhile."""
    await anchoring.bootstrap_local(config, assembly.constitution)
    await log.grow(1)

    class Died(BaseException):
        pass

    with monkeypatch.context() as patched:

        async def die(*_: object) -> None:
            raise Died

        patched.setattr(Connection, "send", die)
        with pytest.raises(Died):
            await anchoring.run(assembly.units, config, assembly.constitution, AT_ONCE)
    (stored,) = await of_log(assembly)
    assert stored["state"] == "submitted"
    await log.grow(1)
    await anchor_all(assembly, config)
    first, second = await of_log(assembly)
    assert (first["state"], first["signature"]) == ("finalized", stored["signature"])
    assert bytes(first["transaction"]) == bytes(stored["transaction"])
    assert second["checkpoint_size"] == first["checkpoint_size"] + 1


@pytest.mark.reliability
@pytest.mark.parametrize(
    "point",
    ["while the bytes are being stored", "before sending", "after sending", "before finalized is stored"],
)
async def test_a_killed_worker_loses_nothing_and_does_nothing_twice(
    assembly: Assembly, log: TestLog, own: ChainConfig, point: str
) -> None:
    """SIGKILL, while the log goes on growing."""
    await anchoring.bootstrap_local(own, assembly.constitution)  # which sends something too
    await log.grow(1)
    await die_at(point, assembly, own)
    (left,) = await of_log(assembly)
    assert (left["state"] == "queued") == (point in TWICE_SIGNED)
    newest = await log.grow(1)
    await anchor_all(assembly, own)
    done = await of_log(assembly)
    assert {row["state"] for row in done} == {"finalized"}
    assert done[-1]["checkpoint_size"] == newest.size
    if left["signature"]:
        assert (done[0]["signature"], len(done)) == (left["signature"], 2)
    audit = str(quantumagi.audit_address(own.program_id))
    assert await transactions_of(own, audit) == [row["signature"] for row in reversed(done)]


async def test_a_transaction_wrongly_taken_for_expired_is_followed_again(
    assembly: Assembly, log: TestLog, config: ChainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    await log.grow(1)
    row = await sent(assembly, config)
    await change(assembly, "UPDATE anchor SET last_valid_block_height = 0")
    with monkeypatch.context() as patched:

        async def unknown(_: Connection, signatures: list[str]) -> list[None]:
            return [None] * len(signatures)

        patched.setattr(Connection, "statuses", unknown)
        patched.setattr(anchoring, "_submit", unknown_submit)
        await one_pass(assembly, config)
    assert (await of_log(assembly))[0]["state"] == "queued"
    await log.grow(1)
    await anchor_all(assembly, config)
    first, second = await of_log(assembly)
    assert (first["state"], first["signature"]) == ("finalized", row["signature"])
    assert (second["state"], second["attempts"]) == ("finalized", 1)


async def unknown_submit(*_: object) -> None:
    """Nothing is signed in this pass."""


async def test_an_hour_without_chain_is_one_transaction_behind(
    assembly: Assembly, log: TestLog, start_localnet: Callable[..., Node]
) -> None:
    node = start_localnet()
    config = ChainConfig(rpc_url=node.url, authority=Keypair(), timeout=3)
    await log.grow(1)
    await anchor_all(assembly, config)
    node.end(signal.SIGKILL)
    for _ in range(60):
        newest = await log.grow(2)
    policy = AnchorPolicy(interval=timedelta(), late=timedelta(milliseconds=1))
    for _ in range(3):
        await anchoring.run(assembly.units, config, assembly.constitution, policy)
    assert len(await of_log(assembly)) == 1
    (alert,) = await open_alerts(assembly)
    assert (alert["code"], alert["severity"], alert["href"]) == (
        "audit.unanchored",
        "warning",
        "/audit/anchors",
    )
    node.start()
    await anchor_all(assembly, config)
    first, second = await of_log(assembly)
    assert (second["state"], second["checkpoint_size"]) == ("finalized", newest.size)
    audit = str(quantumagi.audit_address(config.program_id))
    assert await transactions_of(config, audit) == [second["signature"], first["signature"]]
    await one_pass(assembly, config)
    assert await open_alerts(assembly) == []


async def test_a_refusal_is_tried_again_and_never_given_up(
    assembly: Assembly, log: TestLog, own: ChainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    await log.grow(1)
    await anchor_all(assembly, own)

    def nowhere(*args: Any, **_: Any) -> tuple[list[quantumagi.Instruction], bool]:
        """Checked on an address at which there is no record."""
        address = quantumagi.policy_address(own.program_id, 7)
        return [quantumagi.check_compliance(own.program_id, args[1], address, args[2])], False

    with monkeypatch.context() as patched:
        patched.setattr(quantumagi, "checkpoint_anchor_instructions", nowhere)
        await log.grow(1)
        await anchoring.run(assembly.units, own, assembly.constitution, AT_ONCE)
    await change(assembly, "UPDATE anchor SET attempts = 9, submitted_at = now() WHERE state = 'queued'")
    _, row = await of_log(assembly)
    assert row["state"] == "queued"
    assert row["error"].startswith("AccountNotInitialized (3012)")
    await assembly.pass_time(minutes=2)
    await anchor_all(assembly, own)
    assert [row["state"] for row in await of_log(assembly)] == ["finalized", "finalized"]


@pytest.mark.parametrize("growing", [False, True])
async def test_a_cluster_that_was_reset_gets_the_newest_checkpoint(
    assembly: Assembly, log: TestLog, start_localnet: Callable[..., Node], growing: bool
) -> None:
    old = start_localnet("old")
    key = Keypair()
    config = ChainConfig(rpc_url=old.url, authority=key, timeout=5)
    for _ in range(3):
        newest = await log.grow(1)
        await anchor_all(assembly, config)
    before = await of_log(assembly)
    old.end()
    if growing:
        newest = await log.grow(1)
    config = ChainConfig(rpc_url=start_localnet("new").url, authority=key, timeout=5)
    await assembly.pass_time(seconds=30)  # so that the chain is looked at again
    await one_pass(assembly, config)
    assert [alert["code"] for alert in await open_alerts(assembly)] == ["anchors.reset"]
    await anchor_all(assembly, config)
    *lost, anew = await of_log(assembly)
    assert len(lost) == 3
    for row, was in zip(lost, before, strict=True):
        assert row["lost_at"] is not None
        assert row == was | {"lost_at": row["lost_at"]}
    assert (anew["state"], anew["checkpoint_size"], anew["lost_at"]) == ("finalized", newest.size, None)
    assert anew["genesis_hash"] != before[0]["genesis_hash"]
    assert anew["durable"]
    assert await open_alerts(assembly) == []
    async with assembly.engine.connect() as connection:
        assert (await newest_final(connection)).id == anew["id"]


async def test_a_ledger_taken_back_in_time_is_noticed(
    assembly: Assembly, log: TestLog, own: ChainConfig
) -> None:
    """The genesis is the same; what was written lately is gone."""
    await log.grow(1)
    await anchor_all(assembly, own)
    nowhere = str(Keypair().pubkey())
    await change(assembly, "UPDATE anchor SET account = :nowhere WHERE durable", nowhere=nowhere)
    await assembly.pass_time(seconds=30)
    await anchor_all(assembly, own)
    lost, anew = await of_log(assembly)
    assert (lost["lost_at"] is None, anew["lost_at"] is None) == (False, True)
    assert anew["record"] == lost["record"]
    assert anew["state"] == "finalized"


async def test_two_workers_anchor_nothing_twice(
    assembly: Assembly, log: TestLog, config: ChainConfig
) -> None:
    await log.grow(1)
    await anchor_all(assembly, config)
    await log.grow(1)
    await asyncio.gather(*(anchor_all(assembly, config) for _ in range(3)))
    assert [row["state"] for row in await of_log(assembly)] == ["finalized", "finalized"]
