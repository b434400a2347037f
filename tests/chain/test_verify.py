"""A stranger's verification: all is well, the chain is away, and any changed byte turns red and says where."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace as with_fields
from typing import Any
from uuid import uuid4

import pytest
from msgspec.structs import replace
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from chain import quantumagi, verify
from chain.config import ChainConfig
from chain.verify import Claims, Reading, Verification
from tests.chain.bridge import one_pass, run_until_done
from tests.chain.enacted import Assembly
from workflows.constitution.document import Constitution
from workflows.errors import NotFound
from workflows.kinds import Category, Choice, Decision, PolicyState, Priority, Strategy
from workflows.policy_creation.views import RuleDraft
from workflows.policy_enforcement.engines.pool import EnginePool
from workflows.policy_enforcement.rulebook import Rulebook

World = tuple[Claims, Reading, Constitution]
RELEASES = RuleDraft(
    engine="rego",
    source='package policies.releases\n\nactions := {"release"}\n\n'
    "default allow := false\n\nallow if input.action.measured\n",
    examples=[{"input": {"action": {"type": "release", "measured": True}}, "expect": "allow"}],
)


async def look(assembly: Assembly, config: ChainConfig, ref: str) -> World:
    async with assembly.engine.connect() as connection:
        claimed = await verify.claims(connection, ref)
    return claimed, await verify.read(config, claimed), assembly.constitution


@pytest.fixture(scope="module")
async def worlds(
    server_url: URL, template: str, config: ChainConfig, constitution: Constitution
) -> AsyncIterator[dict[str, World]]:
    """One enacted and one suspended policy, both final on chain, with what the portal claims of them."""
    name = f"acgs_{uuid4().hex[:12]}"
    admin = create_async_engine(server_url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    async with admin.connect() as connection:
        await connection.exec_driver_sql(f"CREATE DATABASE {name} TEMPLATE {template}")
    assembly = Assembly(create_async_engine(server_url.set(database=name)), constitution)
    await assembly.gather()
    pool = EnginePool(size=1)
    assembly.rulebook = Rulebook(pool, assembly.units)
    enacted = await assembly.enact(rule=RELEASES)
    await pool.close()
    suspended = await assembly.enact(title="Ship at once", priority=Priority.HIGH)
    await run_until_done(assembly, config)
    await assembly.suspend(suspended)
    await run_until_done(assembly, config)
    yield {
        "enacted": await look(assembly, config, enacted),
        "suspended": await look(assembly, config, suspended),
    }
    await assembly.engine.dispose()
    async with admin.connect() as connection:
        await connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.parametrize("which", ["enacted", "suspended"])
def test_what_agrees_is_verified(worlds: dict[str, World], which: str) -> None:
    found = verify.check(*worlds[which])
    assert [(step.key, step.state) for step in found.steps if step.state != "pass"] == []
    assert found.overall == "verified"
    assert len(found.steps) == (9 if which == "suspended" else 8)
    for step in found.steps:
        assert step.checks
        assert step.repeat
        assert step.explanation.endswith(".") or step.explanation.endswith(").")
    for key in ("constitution", "account", "transaction"):
        (link,) = found.step(key).links
        assert link.href.startswith("https://explorer.solana.com/")
        assert "cluster=custom&customUrl=http%3A%2F%2F127.0.0.1" in link.href


def flip(data: bytes, at: int = -1) -> bytes:
    changed = bytearray(data)
    changed[at] ^= 1
    return bytes(changed)


def flip_hex(text: str, at: int = 10) -> str:
    """Change one hex digit."""
    return text[:at] + ("0" if text[at] != "0" else "1") + text[at + 1 :]


def version(**values: Any) -> Callable[[World], World]:
    return lambda world: (
        replace(world[0], version=replace(world[0].version, **values)),
        world[1],
        world[2],
    )


def claim(part: str, **how: Callable[[Any], Any]) -> Callable[[World], World]:
    """Change fields of one part of the claims (`""`: of the claims themselves) by functions of their values."""

    def tamper(world: World) -> World:
        whole = getattr(world[0], part) if part else world[0]
        changed = replace(whole, **{key: change(getattr(whole, key)) for key, change in how.items()})
        return (replace(world[0], **{part: changed}) if part else changed), world[1], world[2]

    return tamper


def opening(number: int, **how: Callable[[Any], Any]) -> Callable[[World], World]:
    def change(openings: tuple[Any, ...]) -> tuple[Any, ...]:
        old = openings[number]
        new = replace(old, **{key: value(getattr(old, key)) for key, value in how.items()})
        return (*openings[:number], new, *openings[number + 1 :])

    return claim("ballot", openings=change)


def account(which: str, at: int) -> Callable[[World], World]:
    def tamper(world: World) -> World:
        found = getattr(world[1], which)
        return world[0], replace(world[1], **{which: with_fields(found, data=flip(found.data, at))}), world[2]

    return tamper


def owner(which: str) -> Callable[[World], World]:
    def tamper(world: World) -> World:
        found = getattr(world[1], which)
        return (
            world[0],
            replace(world[1], **{which: with_fields(found, owner=quantumagi.SYSTEM_PROGRAM)}),
            world[2],
        )

    return tamper


def landed(how: Callable[[Any], Any]) -> Callable[[World], World]:
    def tamper(world: World) -> World:
        changed = {key: how(value) for key, value in world[1].transactions.items()}
        return world[0], replace(world[1], transactions=changed), world[2]

    return tamper


def other_choice(choice: Choice) -> Choice:
    return Choice.FOR if choice != Choice.FOR else Choice.AGAINST


def first_review(**values: Any) -> Callable[[World], World]:
    return claim("", reviews=lambda given: (replace(given[0], **values), *given[1:]))


RULE = 8 + 8 + 4  # where the rule's text begins in a Policy account: discriminator, id, length
HASH = 8 + 32  # where the hash begins in a Constitution account: discriminator, authority

# What is changed → the step that must fail, and what it must name.
TAMPERINGS: dict[str, tuple[Callable[[World], World], str, str]] = {
    "a letter of the text": (
        claim("version", text=lambda text: text.replace("measured", "Measured")),
        "text",
        "SHA-256 of the text",
    ),
    "the stored hash of the text": (claim("version", text_sha256=flip_hex), "text", "SHA-256 of the text"),
    "the title": (claim("version", title=lambda title: title + "."), "version", "SHA-256 of the version"),
    "the summary": (claim("version", summary=str.upper), "version", "SHA-256 of the version"),
    "the category": (version(category=Category.FINANCIAL), "version", "SHA-256 of the version"),
    "the rule": (
        claim("version", rule=lambda rule: {**rule, "source": rule["source"] + " "}),
        "version",
        "SHA-256 of the version",
    ),
    "an example of the rule": (
        claim("version", rule=lambda rule: {**rule, "examples": []}),
        "version",
        "SHA-256 of the version",
    ),
    "the version's number": (claim("version", number=lambda n: n + 1), "version", "SHA-256 of the version"),
    "the version's hash": (claim("version", version_sha256=flip_hex), "version", "SHA-256 of the version"),
    "what a review is bound to": (
        claim(
            "",
            reviews=lambda given: (
                replace(given[0], version_sha256=flip_hex(given[0].version_sha256)),
                *given[1:],
            ),
        ),
        "version",
        "Hash that review 1 is bound to",
    ),
    "who wrote it": (
        lambda world: (replace(world[0], author_id=world[0].reviews[0].reviewer_id), world[1], world[2]),
        "reviews",
        "Reviewers",
    ),
    "a decision": (first_review(decision=Decision.REJECT), "reviews", "Approvals"),
    "a reviewer's capacity": (first_review(capacity=()), "reviews", "Approvals"),
    "the tier": (version(strategy=Strategy.HUMAN_REVIEW), "reviews", "Approvals"),
    "what was voted on": (claim("ballot", version_sha256=flip_hex), "version", "Hash the ballot voted on"),
    "the salt of a vote": (opening(2, salt=flip_hex), "ballot", "Commitment of vote 3"),
    "the choice of a vote": (opening(0, choice=other_choice), "ballot", "Commitment of vote 1"),
    "the commitment of a vote": (opening(7, commitment=flip_hex), "ballot", "Commitment of vote 8"),
    "a vote left out": (
        claim("ballot", openings=lambda all_: all_[1:]),
        "ballot",
        "Votes for, against, abstaining",
    ),
    "the count": (
        claim("ballot", counts=lambda counts: (counts[0] + 1, *counts[1:])),
        "ballot",
        "Votes for, against, abstaining",
    ),
    "the ballot root": (claim("ballot", root=flip_hex), "ballot", "Ballot root"),
    "the electorate": (claim("ballot", electorate=lambda n: n + 1), "ballot", "Electorate"),
    "the roll": (claim("ballot", electors=lambda n: n - 1), "ballot", "Electorate"),
    "the quorum": (claim("ballot", quorum_percent=lambda _: 1), "ballot", "Quorum in percent"),
    "the threshold": (claim("ballot", threshold_percent=lambda _: 1), "ballot", "Threshold in percent"),
    "the outcome": (claim("ballot", passed=lambda _: False), "ballot", "Outcome"),
    "a byte of the constitution": (
        lambda world: (world[0], world[1], replace(world[2], body=flip(world[2].body, 100))),
        "constitution",
        "SHA-256 of the document",
    ),
    "the constitution it was decided under": (
        claim("anchor", constitution_sha256=flip_hex),
        "constitution",
        "Constitution it was decided under",
    ),
    "the expected hash": (
        lambda world: (world[0], world[1], replace(world[2], problem="CONSTITUTION_HASH is another.")),
        "constitution",
        "The document's hash",
    ),
    "the constitution's hash on chain": (
        account("constitution", HASH + 5),
        "constitution",
        "Hash in the constitution account",
    ),
    "whether the constitution is active": (
        account("constitution", HASH + 36),
        "constitution",
        "Constitution account",
    ),
    "whose the constitution account is": (owner("constitution"), "constitution", "Constitution account"),
    "the stored record": (
        claim("anchor", record=lambda record: flip(record, 30)),
        "record",
        "The stored record",
    ),
    "the stored record's hash": (
        claim("anchor", record_sha256=flip_hex),
        "record",
        "SHA-256 of the stored record",
    ),
    "a byte of the rule on chain": (account("policy", RULE + 300), "record", "The rule on chain"),
    "the id on chain": (account("policy", 8), "account", "Policy id in the account"),
    "the stored id": (claim("anchor", chain_policy_id=lambda n: n ^ 1), "account", "Policy id"),
    "the stored address": (
        claim("anchor", account=lambda _: str(quantumagi.SYSTEM_PROGRAM)),
        "account",
        "Address",
    ),
    "the stored program": (
        claim("anchor", program_id=lambda _: str(quantumagi.SYSTEM_PROGRAM)),
        "account",
        "Program",
    ),
    "the priority": (claim("", priority=lambda _: Priority.CRITICAL), "account", "Priority"),
    "the discriminator on chain": (account("policy", 0), "account", "The account"),
    "whose the account is": (owner("policy"), "account", "The account"),
    "the authority on chain": (account("constitution", 8), "account", "Enacted by"),
    "the state": (claim("", state=lambda _: PolicyState.SUSPENDED), "account", "Suspended"),
    "the memo": (claim("anchor", memo=lambda memo: memo[:-1] + "x"), "transaction", "The stored memo"),
    "the signature": (
        claim("anchor", signature=lambda text: ("2" if text[0] != "2" else "3") + text[1:]),
        "transaction",
        "Signature",
    ),
    "the stored transaction": (
        claim("anchor", transaction=lambda raw: flip(raw, -3)),
        "transaction",
        "The stored transaction",
    ),
    "the transaction on chain": (
        landed(lambda found: with_fields(found, raw=flip(found.raw, -3))),
        "transaction",
        "The transaction's bytes",
    ),
    "the slot": (claim("anchor", slot=lambda slot: slot + 1), "transaction", "Slot"),
    "the genesis": (
        claim("anchor", genesis_hash=lambda _: str(quantumagi.SYSTEM_PROGRAM)),
        "transaction",
        "Genesis",
    ),
    "the cluster": (claim("anchor", cluster=lambda _: "devnet"), "transaction", "Cluster"),
}


@pytest.mark.parametrize("changed", TAMPERINGS)
def test_a_changed_byte_turns_red_and_says_where(worlds: dict[str, World], changed: str) -> None:
    tamper, key, what = TAMPERINGS[changed]
    found = verify.check(*tamper(worlds["enacted"]))
    assert found.overall == "failed"
    step = found.step(key)
    assert step.state == "fail"
    failing = [check for check in step.checks if check.state == "fail"]
    assert what in [check.what for check in failing]
    for check in failing:
        if check.expected is not None:
            assert check.first_difference is not None
            assert check.expected != check.actual


SUSPENSION_TAMPERINGS: dict[str, tuple[Callable[[World], World], str, str]] = {
    "the reason": (
        claim("", state_reason=lambda reason: reason + "!"),
        "suspension",
        "The stored record",
    ),
    "the stored record": (
        claim("deactivation", record=lambda record: flip(record, 40)),
        "suspension",
        "The stored record",
    ),
    "the memo": (claim("deactivation", memo=lambda memo: memo + " "), "suspension", "The stored memo"),
    "the signature": (
        claim("deactivation", signature=lambda text: ("2" if text[0] != "2" else "3") + text[1:]),
        "suspension",
        "Signature",
    ),
    "that it is suspended": (claim("", state=lambda _: PolicyState.ENACTED), "account", "In force"),
    "that it was queued": (
        lambda world: (replace(world[0], deactivation=None), world[1], world[2]),
        "suspension",
        "The suspension",
    ),
}


@pytest.mark.parametrize("changed", SUSPENSION_TAMPERINGS)
def test_a_changed_byte_of_a_suspension_turns_red(worlds: dict[str, World], changed: str) -> None:
    tamper, key, what = SUSPENSION_TAMPERINGS[changed]
    found = verify.check(*tamper(worlds["suspended"]))
    assert found.overall == "failed"
    assert what in [check.what for check in found.step(key).checks if check.state == "fail"]


def field_of_the_rule(found: Verification) -> tuple[str, int]:
    (check,) = [check for check in found.step("record").checks if check.what == "The rule on chain"]
    assert check.first_difference is not None
    return check.first_difference.field, check.first_difference.byte


def test_a_difference_names_the_field_and_the_byte(worlds: dict[str, World]) -> None:
    claimed, reading, constitution = worlds["enacted"]
    record = claimed.anchor.record
    changed = TAMPERINGS["a letter of the text"][0](worlds["enacted"])
    field, byte = field_of_the_rule(verify.check(*changed))
    assert field == "text_sha256"
    assert record.index(b'"text_sha256"') < byte < record.index(b'"version"')
    at = record.index(b"tally") + 9
    found = verify.check(*account("policy", RULE + at)((claimed, reading, constitution)))
    assert field_of_the_rule(found) == ("tally", at)
    assert f"number {at + 1} in “tally”" in found.step("record").explanation
    step = verify.check(*account("constitution", HASH + 5)(worlds["enacted"])).step("constitution")
    assert step.first_difference.byte == 5
    assert f"{int(step.first_difference.expected, 16) ^ 1:02x}" == step.first_difference.actual


@pytest.mark.parametrize("which", ["enacted", "suspended"])
def test_an_unreachable_chain_is_absent_and_never_green(worlds: dict[str, World], which: str) -> None:
    claimed, reading, constitution = worlds[which]
    away = Reading(
        read_at=reading.read_at,
        cluster=reading.cluster,
        rpc_url=reading.rpc_url,
        program_id=reading.program_id,
        problem="http://127.0.0.1:9 cannot be reached.",
    )
    found = verify.check(claimed, away, constitution)
    assert found.overall == "incomplete"
    states = {step.key: step.state for step in found.steps}
    assert {key for key, state in states.items() if state == "pass"} == {
        "text",
        "version",
        "reviews",
        "ballot",
    }
    assert set(states.values()) == {"pass", "absent"}
    assert "cannot be reached" in found.summary
    tampered = TAMPERINGS["the salt of a vote"][0]((claimed, away, constitution))
    assert verify.check(*tampered).overall == "failed"


def test_a_node_that_lost_its_history_leaves_the_account(worlds: dict[str, World]) -> None:
    claimed, reading, constitution = worlds["enacted"]
    found = verify.check(claimed, replace(reading, transactions={}), constitution)
    assert found.overall == "incomplete"
    assert found.step("transaction").state == "absent"
    assert found.step("account").state == "pass"


async def test_what_is_on_its_way_is_pending(assembly: Assembly, config: ChainConfig) -> None:
    ref = await assembly.enact()
    found = verify.check(*await look(assembly, config, ref))
    assert found.overall == "incomplete"
    assert {step.key for step in found.steps if step.state == "pending"} == {
        "record",
        "account",
        "transaction",
    }
    await one_pass(assembly, config)
    found = verify.check(*await look(assembly, config, ref))
    assert found.step("transaction").state == "pending"
    assert "submitted" in found.step("transaction").explanation
    await run_until_done(assembly, config)
    await assembly.suspend(ref)
    found = verify.check(*await look(assembly, config, ref))
    assert found.overall == "incomplete"
    assert found.step("account").state == "pending"
    assert found.step("suspension").state == "pending"


async def test_an_open_ballot_stays_sealed(assembly: Assembly, config: ChainConfig) -> None:
    """Neither choices nor commitments leave the database before the close."""
    ref = await assembly.put_to_the_vote()
    claimed, reading, constitution = await look(assembly, config, ref)
    assert claimed.ballot.openings == ()
    assert claimed.ballot.counts is None
    found = verify.check(claimed, reading, constitution)
    assert found.overall == "incomplete"
    assert [step.state for step in found.steps[:4]] == ["pass", "pass", "pass", "pending"]


async def test_an_unknown_policy_is_not_found(assembly: Assembly) -> None:
    async with assembly.engine.connect() as connection:
        with pytest.raises(NotFound):
            await verify.claims(connection, "POL-1999-0001")
