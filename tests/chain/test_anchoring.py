"""Anchoring against a real localnet and a real PostgreSQL: how a record gets on chain, and that it does so once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256

import msgspec
import pytest
from solders.keypair import Keypair
from solders.signature import Signature

from chain import anchoring, explorer, inspection, quantumagi, queue
from chain.config import ChainConfig
from chain.rows import open_rows
from tests.chain.bridge import (
    anchors,
    audited,
    change,
    give,
    one_pass,
    open_alerts,
    policy_on_chain,
    rich_key,
    rows,
    run_until_done,
    send,
    status,
    transactions_of,
)
from tests.chain.enacted import Assembly
from tests.chain.localnet.node import Node
from workflows.errors import Conflict, Invalid, NotFound, Unavailable
from workflows.kinds import Category, Priority
from workflows.policy_creation.records import chain_policy_id


async def test_a_policy_reaches_finality_with_its_record_as_rule(
    assembly: Assembly, config: ChainConfig
) -> None:
    ref = await assembly.enact()
    await run_until_done(assembly, config)
    (row,) = await anchors(assembly)
    assert (row["state"], row["error"], row["attempts"]) == ("finalized", None, 1)
    assert row["slot"] > 0
    assert row["block_time"] is not None
    found = await policy_on_chain(config, row["account"])
    assert found.rule.encode() == row["record"]
    assert (found.category, found.priority, found.is_active) == ("Safety", "Medium", True)
    assert found.proposed_by == found.enacted_by == config.authority_address
    assert await transactions_of(config, row["account"]) == [row["signature"]]
    assert await audited(assembly) == ["anchor.submitted", "anchor.finalized"]
    (workflow,) = await rows(assembly, "SELECT status FROM workflow WHERE subject = :ref", ref=ref)
    assert workflow["status"] == "completed"


async def test_pages_hear_of_every_state(assembly: Assembly, config: ChainConfig) -> None:
    ref = await assembly.enact()
    await run_until_done(assembly, config)
    (row,) = await anchors(assembly)
    heard = [event.type for event in assembly.events if event.topic == f"anchor:{row['id']}"]
    assert [heard[0], heard[1], heard[-1]] == ["queued", "submitted", "finalized"]
    assert any(event.topic == f"policy:{ref}" and event.type == "anchor" for event in assembly.events)


async def test_the_memo_and_the_record_are_what_an_explorer_shows(
    assembly: Assembly, config: ChainConfig
) -> None:
    await assembly.enact(category=Category.FINANCIAL, priority=Priority.CRITICAL)
    await run_until_done(assembly, config)
    (row,) = await anchors(assembly)
    view = await explorer.transaction_view(config, row["signature"])
    propose, enact, memo = view["instructions"]
    assert (propose["instruction"], enact["instruction"]) == ("propose_policy", "enact_policy")
    assert propose["args"] == {
        "policy_id": str(chain_policy_id(row["record"])),
        "rule": row["record"].decode(),
        "category": "Financial",
        "priority": "Critical",
    }
    assert propose["accounts"][0] == {
        "name": "policy",
        "address": row["account"],
        "signer": False,
        "writable": True,
    }
    assert (memo["program"], memo["text"]) == ("SPL Memo", row["memo"])
    assert (view["status"], view["error"], view["signatures_valid"]) == ("finalized", None, True)
    assert view["size"] <= quantumagi.MAX_TRANSACTION
    account = await explorer.account_view(config, row["account"])
    assert account["type"] == "Policy"
    assert account["fields"]["rule"] == row["record"].decode()
    assert account["fields"]["enacted_at"]["time"].endswith("Z")


async def test_the_decoded_views_say_plainly_what_they_cannot_show(config: ChainConfig) -> None:
    unknown, nowhere = str(Signature.new_unique()), str(Keypair().pubkey())
    for view, wrong, missing in (
        (explorer.transaction_view, "abc", unknown),
        (explorer.account_view, "abc", nowhere),
    ):
        with pytest.raises(Invalid):
            await view(config, wrong)
        with pytest.raises(NotFound):
            await view(config, missing)
        with pytest.raises(Unavailable, match="cannot be reached"):
            await view(replace(config, rpc_url="http://127.0.0.1:9"), missing)
    program = await explorer.account_view(config, str(config.program_id))
    assert (program["executable"], program["type"], program["fields"]) == (True, None, {})


async def test_many_policies_are_anchored_together(assembly: Assembly, config: ChainConfig) -> None:
    for number in range(3):
        await assembly.enact(title=f"Measure {number}")
    await run_until_done(assembly, config)
    found = await anchors(assembly)
    assert [row["state"] for row in found] == ["finalized"] * 3
    assert len({row["account"] for row in found}) == 3


async def test_two_workers_do_nothing_twice(assembly: Assembly, config: ChainConfig) -> None:
    await assembly.enact()
    await asyncio.gather(*(run_until_done(assembly, config) for _ in range(3)))
    (row,) = await anchors(assembly)
    assert row["state"] == "finalized"
    assert await audited(assembly) == ["anchor.submitted", "anchor.finalized"]
    assert len(await transactions_of(config, row["account"])) == 1


async def test_a_worker_that_was_overtaken_changes_nothing(assembly: Assembly, config: ChainConfig) -> None:
    await assembly.enact()
    async with assembly.unit() as unit:
        (stale,) = await open_rows(unit)
    await run_until_done(assembly, config)
    before = await anchors(assembly)
    async with assembly.unit() as unit:
        await queue.refused(unit, stale, "too late", final=True)
        assert await queue.submitted(unit, config, stale, queue.Signed("account", "genesis")) is None
    assert await anchors(assembly) == before
    assert await audited(assembly) == ["anchor.submitted", "anchor.finalized"]


# Suspension


async def test_a_suspended_policy_is_deactivated(assembly: Assembly, config: ChainConfig) -> None:
    ref = await assembly.enact()
    await run_until_done(assembly, config)
    await assembly.suspend(ref)
    await run_until_done(assembly, config)
    policy, deactivation = await anchors(assembly)
    assert (deactivation["kind"], deactivation["state"]) == ("deactivation", "finalized")
    assert deactivation["account"] == policy["account"]
    found = await policy_on_chain(config, policy["account"])
    assert not found.is_active
    assert found.deactivated_at is not None
    assert await transactions_of(config, policy["account"]) == [
        deactivation["signature"],
        policy["signature"],
    ]


async def test_a_deactivation_waits_for_the_policy_to_be_final(
    assembly: Assembly, config: ChainConfig
) -> None:
    ref = await assembly.enact()
    await assembly.suspend(ref)
    await one_pass(assembly, config)
    policy, deactivation = await anchors(assembly)
    assert (policy["state"], deactivation["state"]) == ("submitted", "queued")
    assert "not finalized" in deactivation["error"]
    await run_until_done(assembly, config)
    policy, deactivation = await anchors(assembly)
    assert (policy["state"], deactivation["state"]) == ("finalized", "finalized")
    assert deactivation["slot"] > policy["slot"]


async def test_a_suspended_policy_is_never_enacted_again(assembly: Assembly, config: ChainConfig) -> None:
    """A restored backup forgets the suspension; the account remembers it."""
    ref = await assembly.enact()
    await run_until_done(assembly, config)
    await assembly.suspend(ref)
    await run_until_done(assembly, config)
    await forget_anchoring(assembly)
    await run_until_done(assembly, config)
    policy, deactivation = await anchors(assembly)
    assert (policy["state"], deactivation["state"]) == ("finalized", "finalized")
    assert not (await policy_on_chain(config, policy["account"])).is_active
    assert len(await transactions_of(config, policy["account"])) == 2


# Idempotence


async def forget_anchoring(assembly: Assembly) -> None:
    await change(
        assembly,
        "UPDATE anchor SET state = 'queued', signature = NULL, transaction = NULL, account = NULL, attempts = 0, "
        "slot = NULL, submitted_at = NULL, confirmed_at = NULL, finalized_at = NULL",
    )


async def test_what_is_on_chain_already_is_found_and_not_sent_again(
    assembly: Assembly, config: ChainConfig
) -> None:
    await assembly.enact()
    await run_until_done(assembly, config)
    (before,) = await anchors(assembly)
    await forget_anchoring(assembly)
    await run_until_done(assembly, config)
    (row,) = await anchors(assembly)
    kept = ("state", "signature", "transaction", "account", "slot", "block_time")
    assert [row[key] for key in kept] == [before[key] for key in kept]
    assert await transactions_of(config, row["account"]) == [row["signature"]]


async def test_a_record_that_somebody_else_proposed_is_enacted(
    assembly: Assembly, config: ChainConfig
) -> None:
    await anchoring.bootstrap_local(config, assembly.constitution)
    await assembly.enact()
    (row,) = await anchors(assembly)
    stranger = await rich_key(config)
    proposal = quantumagi.propose_policy(
        config.program_id, stranger.pubkey(), row["record"], Category.SAFETY, Priority.NORMAL
    )
    await send(config, stranger, proposal)
    await run_until_done(assembly, config)
    (row,) = await anchors(assembly)
    assert row["state"] == "finalized"
    found = await policy_on_chain(config, row["account"])
    assert found.is_active
    assert found.proposed_by == stranger.pubkey()
    assert found.enacted_by == config.authority_address


async def test_a_record_proposed_with_a_wrong_category_is_not_enacted(
    assembly: Assembly, config: ChainConfig
) -> None:
    await anchoring.bootstrap_local(config, assembly.constitution)
    ref = await assembly.enact()
    (row,) = await anchors(assembly)
    stranger = await rich_key(config)
    await send(
        config,
        stranger,
        quantumagi.propose_policy(
            config.program_id, stranger.pubkey(), row["record"], Category.FINANCIAL, Priority.NORMAL
        ),
    )
    await run_until_done(assembly, config)
    (row,) = await anchors(assembly)
    assert row["state"] == "failed"
    assert "Financial" in row["error"]
    assert await audited(assembly) == ["anchor.failed"]
    (alert,) = await open_alerts(assembly)
    assert alert["severity"] == "critical"
    assert ref in alert["message"]
    (workflow,) = await rows(assembly, "SELECT status FROM workflow WHERE subject = :ref", ref=ref)
    assert workflow["status"] == "failed"


# Refusals


async def test_the_programs_refusal_is_final_when_it_is_repeated(
    assembly: Assembly, config: ChainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """…and a person can have it tried again once the cause is gone."""
    ref = await assembly.enact()

    def deactivate(*args: object, **_: object) -> list[quantumagi.Instruction]:
        program_id, authority, record = args[:3]
        address = quantumagi.policy_address(program_id, chain_policy_id(record))
        return [quantumagi.deactivate_policy(program_id, authority, address)]

    with monkeypatch.context() as patched:
        patched.setattr(quantumagi, "policy_anchor_instructions", deactivate)
        await one_pass(assembly, config)
        (row,) = await anchors(assembly)
        assert (row["state"], row["attempts"]) == ("queued", 1)
        assert row["error"].startswith("AccountNotInitialized (3012)")
        assert (await one_pass(assembly, config)) > 0.5  # it backs off
        await run_until_done(assembly, config)
    (row,) = await anchors(assembly)
    assert (row["state"], row["attempts"]) == ("failed", 2)
    assert [alert["code"] for alert in await open_alerts(assembly)] == [f"anchor.failed.{row['id']}"]
    async with assembly.unit() as unit:
        await queue.retry(unit, row["id"])
    await run_until_done(assembly, config)
    (row,) = await anchors(assembly)
    assert row["state"] == "finalized"
    assert await open_alerts(assembly) == []
    (workflow,) = await rows(assembly, "SELECT status FROM workflow WHERE subject = :ref", ref=ref)
    assert workflow["status"] == "completed"
    with pytest.raises(Conflict):
        async with assembly.unit() as unit:
            await queue.retry(unit, row["id"])


async def test_a_record_too_large_for_a_transaction_fails_before_anything_is_signed(
    assembly: Assembly, config: ChainConfig
) -> None:
    await assembly.enact()
    await change(assembly, "UPDATE anchor SET memo = repeat('m', 700)")
    await run_until_done(assembly, config)
    (row,) = await anchors(assembly)
    assert (row["state"], row["signature"]) == ("failed", None)
    assert "1232" in row["error"]


# What blocks


async def test_another_constitution_blocks_once_and_plainly(assembly: Assembly, config: ChainConfig) -> None:
    await anchoring.bootstrap_local(config, assembly.constitution)
    await assembly.enact()
    ours = assembly.constitution
    body = ours.body.replace(b"a", b"b", 1)
    assembly.constitution = msgspec.structs.replace(ours, body=body, sha256=sha256(body).hexdigest())
    for _ in range(3):
        assert await one_pass(assembly, config) == anchoring.BLOCKED_PAUSE
    (row,) = await anchors(assembly)
    assert (row["state"], row["signature"]) == ("queued", None)
    seen = await status(assembly)
    assert (seen["reachable"], seen["may_anchor"]) == (True, False)
    assert seen["reason_code"] == "constitution_hash_differs"
    assert ours.sha256 in seen["reason"]
    (alert,) = await open_alerts(assembly)
    assert (alert["code"], alert["severity"]) == ("chain.constitution_hash_differs", "critical")
    assembly.constitution = ours
    await run_until_done(assembly, config)
    assert (await status(assembly))["may_anchor"]
    assert await open_alerts(assembly) == []
    assert await audited(assembly, "chain.") == ["chain.blocked", "chain.unblocked"]
    assert (await anchors(assembly))[0]["state"] == "finalized"


async def test_an_unexpected_hash_of_the_document_blocks(assembly: Assembly, config: ChainConfig) -> None:
    await anchoring.bootstrap_local(config, assembly.constitution)
    await assembly.enact()
    problem = "CONSTITUTION_HASH is cdd01ef066bc6cf2, but the document hashes to something else."
    assembly.constitution = msgspec.structs.replace(assembly.constitution, problem=problem)
    await one_pass(assembly, config)
    seen = await status(assembly)
    assert (seen["reason_code"], seen["reason"]) == ("constitution_hash_unexpected", problem)
    assert (await anchors(assembly))[0]["state"] == "queued"


@pytest.mark.parametrize(
    ("change_of", "code"),
    [
        ({"authority": None}, "no_authority_key"),
        ({"authority": Keypair()}, "authority_differs"),
        ({"cluster": "mainnet-beta"}, "cluster_differs"),
        ({"program_id": Keypair().pubkey()}, "program_missing"),
        ({"program_id": quantumagi.SYSTEM_PROGRAM, "cluster": "private"}, "constitution_missing"),
    ],
)
async def test_what_else_blocks(
    assembly: Assembly, config: ChainConfig, change_of: dict[str, object], code: str
) -> None:
    await anchoring.bootstrap_local(config, assembly.constitution)
    await assembly.enact()
    await one_pass(assembly, replace(config, **change_of))
    seen = await status(assembly)
    assert seen["reason_code"] == code
    assert not seen["may_anchor"]
    assert [alert["code"] for alert in await open_alerts(assembly)] == [f"chain.{code}"]
    (row,) = await anchors(assembly)
    assert (row["state"], row["signature"]) == ("queued", None)


async def test_a_poor_authority_blocks(assembly: Assembly, start_localnet: Callable[..., Node]) -> None:
    """On a cluster that is not ours to fund."""
    node = start_localnet()
    config = ChainConfig(rpc_url=node.url, cluster="private", authority=Keypair())
    await assembly.enact()
    await give(config, config.authority_address, 4_000_000)
    await send(
        config,
        config.authority,
        quantumagi.initialize(config.program_id, config.authority_address, assembly.constitution.sha256),
    )
    await one_pass(assembly, config)
    seen = await status(assembly)
    assert seen["reason_code"] == "authority_poor"
    assert "SOL" in seen["reason"]


async def test_a_decision_under_another_constitution_waits(assembly: Assembly, config: ChainConfig) -> None:
    await assembly.enact()
    await change(assembly, "UPDATE anchor SET constitution_sha256 = :other", other="0" * 64)
    assert await one_pass(assembly, config) == anchoring.BLOCKED_PAUSE
    (row,) = await anchors(assembly)
    assert row["state"] == "queued"
    assert "not the one in force" in row["error"]


async def test_inspection_shows_what_pages_need(assembly: Assembly, config: ChainConfig) -> None:
    await anchoring.bootstrap_local(config, assembly.constitution)
    verdict = await anchoring.inspect(assembly.units, config, assembly.constitution)
    assert verdict.may_anchor
    seen = (await status(assembly))["seen"]
    assert seen == verdict.seen
    assert seen["program"] == {"address": str(config.program_id), "exists": True, "executable": True}
    assert seen["constitution"]["hash"] == seen["expected_sha256"] == assembly.constitution.sha256
    assert seen["constitution"]["authority"] == seen["authority"] == str(config.authority_address)
    assert seen["balance_lamports"] >= inspection.LAMPORTS_PER_SOL
    assert await one_pass(assembly, config) is None
