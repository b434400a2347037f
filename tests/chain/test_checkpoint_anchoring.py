"""Checkpoints of the audit log on a real localnet: one at a time, always the newest, and what may go wrong on the way."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from chain import anchoring, quantumagi, rpc
from chain.config import AnchorPolicy, ChainConfig
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
)
from tests.chain.checkpointed import AT_ONCE, anchor_all, expected, named, of_log, said
from tests.chain.enacted import Assembly
from tests.workflows.log.conftest import TestLog
from workflows.audit_transparency.anchors import (
    checkpoint_anchors,
    newest_final,
    of_checkpoint,
    oldest_unanchored,
)
from workflows.kinds import Category, Priority

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
