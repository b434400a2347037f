"""Checkpoints of the audit log on a real localnet: one at a time, always the newest, and what may go wrong on the way."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from solders.keypair import Keypair
from solders.transaction import VersionedTransaction

from chain import anchoring, quantumagi, rpc
from chain.config import AnchorPolicy, ChainConfig
from chain.explorer import decode_transaction
from chain.rpc import Node as Connection
from tests.chain.bridge import (
    anchors,
    audited,
    change,
    one_pass,
    open_alerts,
    policy_on_chain,
    rich_key,
    rows,
    run_until_done,
    send,
    transactions_of,
    until,
)
from tests.chain.enacted import Assembly
from tests.chain.localnet.node import Node
from tests.chain.test_anchoring_failures import TWICE_SIGNED, die_at
from tests.workflows.log.conftest import ORIGIN, TestLog, log_on
from workflows.audit_transparency.anchors import (
    action,
    checkpoint_anchors,
    newest_final,
    of_checkpoint,
    oldest_unanchored,
)
from workflows.audit_transparency.checkpoints import SecondPlace, SignedCheckpoint
from workflows.kinds import Category, Priority

AT_ONCE = AnchorPolicy(interval=timedelta())


@pytest.fixture
def log(assembly: Assembly, tmp_path: Path) -> TestLog:
    url = assembly.engine.url.render_as_string(hide_password=False)
    return log_on(url, SecondPlace(tmp_path / "place" / "checkpoint"))


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


@pytest.fixture
def own(start_localnet: Callable[..., Node]) -> ChainConfig:
    """A chain on which nothing was anchored yet."""
    return ChainConfig(rpc_url=start_localnet().url, authority=Keypair(), timeout=5)


# Onto the chain


async def test_the_first_checkpoint_founds_the_audit_record_and_lasts(
    assembly: Assembly, log: TestLog, own: ChainConfig
) -> None:
    signed = await log.grow(5)
    before = await rows(assembly, "SELECT count(*) AS entries FROM audit.entry")
    await anchor_all(assembly, own)
    (row,) = await of_log(assembly)
    assert (row["state"], row["checkpoint_size"], row["durable"]) == ("finalized", signed.size, True)
    assert (bytes(row["record"]).decode(), row["memo"]) == (expected(assembly, signed), signed.note)
    assert int(row["chain_policy_id"]) == quantumagi.AUDIT_POLICY_ID
    assert named(row, own) == ["propose_policy", "enact_policy", "check_compliance", "memo", "propose_policy"]
    first, _, check, memo, last = said(row, own)
    assert first["args"]["rule"] == "ALLOW audit-checkpoint"
    assert (first["args"]["category"], last["args"]["category"]) == ("Governance", "Governance")
    assert check["args"]["action_to_check"] == last["args"]["rule"] == expected(assembly, signed)
    assert memo["text"].encode() == signed.note.encode()
    assert len(row["transaction"]) <= quantumagi.MAX_TRANSACTION
    lasting = await policy_on_chain(own, row["account"])
    assert (lasting.rule, lasting.priority) == (expected(assembly, signed), "Low")
    assert lasting.proposed_by == own.authority_address
    assert (await policy_on_chain(own, str(quantumagi.audit_address(own.program_id)))).is_active
    # It wrote nothing into the log that it anchors.
    assert await rows(assembly, "SELECT count(*) AS entries FROM audit.entry") == before
    assert await audited(assembly) == []
    assert {
        event.data["size"] for event in assembly.events if event.topic == "chain" and event.type == "anchor"
    } == {signed.size}


async def test_the_next_one_costs_a_fee_and_nothing_else(
    assembly: Assembly, log: TestLog, config: ChainConfig
) -> None:
    await log.grow(1)
    await anchor_all(assembly, config)
    signed = await log.grow(3)

    async def balance() -> int:
        async with rpc.connect(config) as node:
            return (await node.account(config.authority_address)).lamports

    before = await balance()
    await anchor_all(assembly, config)
    first, second = await of_log(assembly)
    assert (second["state"], second["checkpoint_size"], second["durable"]) == (
        "finalized",
        signed.size,
        False,
    )
    assert named(second, config) == ["check_compliance", "memo"]
    assert second["account"] == str(quantumagi.audit_address(config.program_id))
    assert before - await balance() == quantumagi.SIGNATURE_FEE
    assert await transactions_of(config, second["account"]) >= [second["signature"]]
    async with assembly.engine.connect() as connection:
        assert (await newest_final(connection)).id == second["id"]
        assert await newest_final(connection, signed.size + 1) is None
        assert await newest_final(connection, genesis_hash="another") is None
        (of_first,) = await of_checkpoint(connection, first["checkpoint_size"])
        assert (of_first.id, of_first.durable, of_first.memo) == (first["id"], True, first["memo"])
        page = await checkpoint_anchors(connection, limit=1)
        assert [item.id for item in page.items] == [second["id"]]
        assert (await checkpoint_anchors(connection, cursor=page.next)).items == [of_first]


async def test_an_idle_log_is_not_anchored_again(
    assembly: Assembly, log: TestLog, config: ChainConfig
) -> None:
    await log.grow(2)
    await anchor_all(assembly, config)
    await assembly.pass_time(hours=30)  # the governance clock's; the entry about it is not in the tree
    for _ in range(3):
        assert await anchoring.run(assembly.units, config, assembly.constitution, AT_ONCE) is None
    assert len(await of_log(assembly)) == 1


async def test_the_interval_is_kept(assembly: Assembly, log: TestLog, config: ChainConfig) -> None:
    policy = AnchorPolicy(interval=timedelta(seconds=3))
    await log.grow(2)
    await anchor_all(assembly, config, policy)
    await log.grow(2)
    pause = await anchoring.run(assembly.units, config, assembly.constitution, policy)
    assert 0 < pause <= 3
    assert len(await of_log(assembly)) == 1
    later = await log.grow(2)
    await anchor_all(assembly, config, policy)
    _, second = await of_log(assembly)
    assert second["checkpoint_size"] == later.size
    times = await rows(assembly, "SELECT signed_at FROM audit.checkpoint ORDER BY size")
    assert second["finalized_at"] - times[0]["signed_at"] >= policy.interval


async def test_at_most_one_is_open_and_what_waits_becomes_the_newest(
    assembly: Assembly, log: TestLog, config: ChainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    await anchoring.bootstrap_local(config, assembly.constitution)
    await log.grow(1)
    with monkeypatch.context() as patched:

        async def nothing(*_: object) -> None:
            """The pass ends before anything is signed."""

        patched.setattr(anchoring, "_submit", nothing)
        for _ in range(4):
            await one_pass(assembly, config)
            newest = await log.grow(1)
        (row,) = await of_log(assembly)
        assert (row["state"], row["checkpoint_size"] < newest.size) == ("queued", True)
    await anchor_all(assembly, config)
    (after,) = await of_log(assembly)
    assert (after["id"], after["state"], after["checkpoint_size"]) == (row["id"], "finalized", newest.size)
    assert (after["memo"], bytes(after["record"]).decode()) == (newest.note, expected(assembly, newest))
    again = (
        "INSERT INTO anchor SELECT (jsonb_populate_record(anchor, jsonb_build_object('id', gen_random_uuid(), "
        "'state', 'queued', 'record_sha256', repeat(:digit, 64)))).* FROM anchor"
    )
    await change(assembly, again, digit="a")
    with pytest.raises(sa.exc.IntegrityError, match="uq_anchor_open_checkpoint"):
        await change(assembly, again + " WHERE state = 'finalized'", digit="b")


# Lasting records


async def test_a_record_of_its_own_once_a_day_and_after_each_enacted_policy(
    assembly: Assembly, log: TestLog, config: ChainConfig
) -> None:
    await log.grow(1)
    await anchor_all(assembly, config)
    await assembly.enact()
    await log.sequence()
    await log.sign()
    await anchor_all(assembly, config)
    await log.grow(1)
    await anchor_all(assembly, config)
    assert [row["durable"] for row in await of_log(assembly)] == [True, True, False]
    await log.grow(1)
    await anchor_all(assembly, config, AnchorPolicy(timedelta(), durable_every=timedelta()))
    daily = (await of_log(assembly))[-1]
    assert daily["durable"]
    assert named(daily, config) == ["check_compliance", "memo", "propose_policy"]
    assert (await policy_on_chain(config, daily["account"])).rule == bytes(daily["record"]).decode()


async def test_what_does_not_fit_becomes_lasting_with_the_next(
    assembly: Assembly, log: TestLog, own: ChainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long origin leaves room for the audit record's founding or for a record of its own, not for both."""
    await anchoring.bootstrap_local(own, assembly.constitution)
    with monkeypatch.context() as patched:
        patched.setattr(quantumagi, "MAX_TRANSACTION", 1000)
        await log.grow(1)
        await anchor_all(assembly, own)
    (first,) = await of_log(assembly)
    assert (first["state"], first["durable"]) == ("finalized", False)
    assert named(first, own) == ["propose_policy", "enact_policy", "check_compliance", "memo"]
    await log.grow(1)
    await anchor_all(assembly, own)
    _, second = await of_log(assembly)
    assert second["durable"]
    assert named(second, own) == ["check_compliance", "memo", "propose_policy"]


async def test_a_transaction_too_large_waits_and_says_so(
    assembly: Assembly, log: TestLog, config: ChainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    await anchoring.bootstrap_local(config, assembly.constitution)
    with monkeypatch.context() as patched:
        patched.setattr(quantumagi, "MAX_TRANSACTION", 500)
        await log.grow(1)
        for _ in range(3):
            await anchoring.run(assembly.units, config, assembly.constitution, AT_ONCE)
        (row,) = await of_log(assembly)
        assert (row["state"], row["signature"]) == ("queued", None)
        assert "500" in row["error"]
    await anchor_all(assembly, config)
    assert [row["state"] for row in await of_log(assembly)] == ["finalized"]


# Others on the same chain


@pytest.mark.parametrize("category", list(Category))
async def test_whoever_proposed_the_audit_record_first_it_is_enacted(
    assembly: Assembly, log: TestLog, own: ChainConfig, category: Category
) -> None:
    await anchoring.bootstrap_local(own, assembly.constitution)
    stranger = await rich_key(own)
    squat = quantumagi.propose_policy(
        own.program_id, stranger.pubkey(), quantumagi.AUDIT_RULE, category, Priority.CRITICAL
    )
    await send(own, stranger, squat)
    await log.grow(1)
    await anchor_all(assembly, own)
    (row,) = await of_log(assembly)
    assert row["state"] == "finalized"
    assert named(row, own)[:2] == ["enact_policy", "check_compliance"]
    record = await policy_on_chain(own, str(quantumagi.audit_address(own.program_id)))
    assert (record.proposed_by, record.enacted_by) == (stranger.pubkey(), own.authority_address)
    assert record.category == quantumagi.CATEGORIES[category]


async def test_another_rule_at_the_audit_records_address_blocks_and_is_told(
    assembly: Assembly, log: TestLog, own: ChainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    await anchoring.bootstrap_local(own, assembly.constitution)
    stranger = await rich_key(own)
    monkeypatch.setattr(quantumagi, "chain_policy_id", lambda record: quantumagi.AUDIT_POLICY_ID)
    squat = quantumagi.propose_policy(
        own.program_id, stranger.pubkey(), b"mine", Category.SAFETY, Priority.LOW
    )
    monkeypatch.undo()
    await send(own, stranger, squat)
    await log.grow(1)
    for _ in range(3):
        await anchoring.run(assembly.units, own, assembly.constitution, AnchorPolicy(late=timedelta()))
    (row,) = await of_log(assembly)
    assert (row["state"], row["signature"]) == ("queued", None)
    assert "taken by another record" in row["error"]
    assert [alert["code"] for alert in await open_alerts(assembly)] == ["audit.unanchored"]


async def test_a_deactivated_audit_record_is_not_enacted_again(
    assembly: Assembly, log: TestLog, own: ChainConfig
) -> None:
    await log.grow(1)
    await anchor_all(assembly, own)
    address = quantumagi.audit_address(own.program_id)
    await send(
        own, own.authority, quantumagi.deactivate_policy(own.program_id, own.authority_address, address)
    )
    await log.grow(1)
    for _ in range(3):
        await anchoring.run(assembly.units, own, assembly.constitution, AT_ONCE)
    _, row = await of_log(assembly)
    assert (row["state"], row["error"]) == (
        "queued",
        "The record 'ALLOW audit-checkpoint' was deactivated on chain.",
    )


async def test_a_lasting_record_that_somebody_wrote_first_is_not_written_again(
    assembly: Assembly, log: TestLog, config: ChainConfig
) -> None:
    await anchoring.bootstrap_local(config, assembly.constitution)
    signed = await log.grow(1)
    stranger = await rich_key(config)
    record = expected(assembly, signed).encode()
    await send(
        config,
        stranger,
        quantumagi.propose_policy(
            config.program_id, stranger.pubkey(), record, Category.SAFETY, Priority.LOW
        ),
    )
    await anchor_all(assembly, config)
    (row,) = await of_log(assembly)
    assert (row["state"], row["durable"]) == ("finalized", True)
    assert named(row, config)[-2:] == ["check_compliance", "memo"]
    assert (await policy_on_chain(config, row["account"])).rule.encode() == record


# What dies on the way


async def test_what_was_stored_is_sent_as_it_was(
    assembly: Assembly, log: TestLog, config: ChainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker dies between storing and sending; the log grows meanwhile."""
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


# What waits


async def test_the_oldest_entry_that_is_not_on_chain(
    assembly: Assembly, log: TestLog, config: ChainConfig
) -> None:
    async def oldest() -> Any:
        async with assembly.engine.connect() as connection:
            return await oldest_unanchored(connection)

    (first,) = await rows(assembly, "SELECT min(number) AS number, min(at) AS at FROM audit.entry")
    found = await oldest()
    assert (found.number, found.index, found.at) == (first["number"], None, first["at"])
    assert timedelta() <= found.age < timedelta(seconds=30)
    signed = await log.grow(2)
    assert (await oldest()).index == 0
    await anchor_all(assembly, config)
    assert await oldest() is None
    await log.add(1)
    pending = await oldest()
    assert (pending.index, pending.number > found.number) == (None, True)
    await log.sequence()
    assert ((await oldest()).index, (await oldest()).number) == (signed.size, pending.number)
    await assembly.pass_time(days=8)  # the governance clock does not make it older
    assert (await oldest()).age < timedelta(seconds=60)


async def test_policies_and_checkpoints_go_on_chain_side_by_side(
    assembly: Assembly, log: TestLog, config: ChainConfig
) -> None:
    await assembly.enact()
    await log.sequence()
    await log.sign()
    await run_until_done(assembly, config)
    assert {(row["kind"], row["state"]) for row in await anchors(assembly)} == {
        ("policy", "finalized"),
        ("checkpoint", "finalized"),
    }
