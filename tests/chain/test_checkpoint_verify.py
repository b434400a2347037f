"""A stranger checks an anchored checkpoint, and lists all that the authority wrote: what was changed, hidden or forked shows."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

from msgspec import structs
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from chain import anchoring, checkpoint_verify, listing, quantumagi, rpc
from chain.checkpoint_verify import CheckpointClaims
from chain.claims import Reading
from chain.config import ChainConfig
from chain.listing import Listing
from tests.chain.bridge import change, rich_key, send, until
from tests.chain.checkpointed import anchor_all, expected, of_log, sent
from tests.chain.enacted import Assembly
from tests.workflows.log.conftest import ORIGIN, TestLog
from workflows.audit_transparency.anchors import action
from workflows.audit_transparency.notes import Checkpoint, Signer
from workflows.kinds import AnchorState, Category, Priority


async def look(
    assembly: Assembly, config: ChainConfig, row: dict[str, Any]
) -> tuple[CheckpointClaims, Reading]:
    async with assembly.engine.connect() as connection:
        claimed = await checkpoint_verify.claims(connection, row["id"])
    return claimed, await checkpoint_verify.read(config, claimed)


async def list_all(config: ChainConfig, **how: Any) -> Listing:
    async with rpc.connect(config) as node:
        return await listing.list_all(node, config, config.authority_address, **how)


async def compared(assembly: Assembly, found: Listing) -> dict[str, list[str]]:
    """What disagrees, by signature."""
    async with assembly.engine.connect() as connection:
        told: dict[str, list[str]] = {}
        for item in await listing.compare(connection, found):
            told.setdefault(item.signature, []).append(item.what)
        return told


# One anchor


async def test_an_anchored_checkpoint_is_verified_and_any_change_shows(
    assembly: Assembly, log: TestLog, own: ChainConfig
) -> None:
    await log.grow(3)
    await anchor_all(assembly, own)
    await log.grow(2)
    await anchor_all(assembly, own)
    lasting, other = await of_log(assembly)
    claimed, reading = await look(assembly, own, lasting)
    for world in ((claimed, reading), await look(assembly, own, other)):
        found = checkpoint_verify.check(*world, assembly.constitution)
        assert [(item.key, item.explanation) for item in found.steps if item.state != "pass"] == []
        assert (found.overall, found.checkpoint_size) == ("verified", world[0].anchor.size)

    def broken(claims: CheckpointClaims = claimed, seen: Reading = reading) -> set[str]:
        verdict = checkpoint_verify.check(claims, seen, assembly.constitution)
        assert verdict.overall == "failed"
        return {item.key for item in verdict.steps if item.state == "fail"}

    def anchored(**fields: Any) -> CheckpointClaims:
        return structs.replace(claimed, anchor=replace(claimed.anchor, **fields))

    raw = bytearray(claimed.anchor.transaction)
    raw[-1] ^= 1
    assert broken(anchored(transaction=bytes(raw))) == {"transaction"}
    assert broken(anchored(memo=claimed.note.replace("\n", " ", 1))) == {"checkpoint", "transaction"}
    assert broken(anchored(size=claimed.anchor.size + 1)) == {"checkpoint", "action"}
    assert broken(anchored(root=bytes(32))) == {"checkpoint"}
    assert broken(anchored(action=claimed.anchor.action[:-1] + "0")) >= {"action", "transaction"}
    assert broken(anchored(genesis_hash="another")) == {"transaction"}
    assert broken(anchored(slot=claimed.anchor.slot + 1)) == {"transaction"}
    assert broken(anchored(account=str(Pubkey.default()))) == {"account"}
    assert broken(anchored(program_id="another")) == {"account"}
    assert broken(structs.replace(claimed, tree_root=bytes(32))) == {"checkpoint", "action"}
    assert "checkpoint" in broken(structs.replace(claimed, note=Signer(ORIGIN, bytes(32)).sign("x\n")))
    assert broken(seen=structs.replace(reading, audit=None)) == {"account"}
    assert broken(seen=structs.replace(reading, policy=None)) == {"account"}
    landed = replace(reading.transactions[lasting["signature"]], raw=bytes(raw))
    assert broken(seen=structs.replace(reading, transactions={lasting["signature"]: landed})) == {
        "transaction"
    }


async def test_what_cannot_be_checked_is_said_and_is_no_pass(
    assembly: Assembly, log: TestLog, own: ChainConfig
) -> None:
    await log.grow(1)
    row = await sent(assembly, own)
    claimed, reading = await look(assembly, own, row)
    found = checkpoint_verify.check(claimed, reading, assembly.constitution)
    assert (found.overall, found.step("transaction").state) == ("incomplete", "pending")
    await anchor_all(assembly, own)
    away = replace(own, rpc_url="http://127.0.0.1:9")
    claimed, reading = await look(assembly, away, row)
    assert claimed.anchor.state == AnchorState.FINALIZED
    found = checkpoint_verify.check(claimed, reading, assembly.constitution)
    assert (found.overall, found.step("account").state) == ("incomplete", "absent")
    assert found.step("checkpoint").state == "pass"
    await change(assembly, "UPDATE anchor SET lost_at = now()")
    found = checkpoint_verify.check(*await look(assembly, own, row), assembly.constitution)
    assert found.overall == "incomplete"
    assert "reset" in found.step("transaction").explanation


# All of them


async def test_the_chain_lists_what_we_list(assembly: Assembly, log: TestLog, own: ChainConfig) -> None:
    for _ in range(3):
        await log.grow(2)
        await anchor_all(assembly, own)
    rows = await of_log(assembly)
    found = await list_all(own)
    assert [item.signature for item in found.items] == [row["signature"] for row in reversed(rows)]
    assert [bytes(row["transaction"]) for row in reversed(rows)] == [item.raw for item in found.items]
    assert found.complete
    assert await compared(assembly, found) == {}
    async with assembly.engine.connect() as connection:
        assert await listing.unknown(connection, found) == set()
    first = await list_all(own, limit=2)
    assert (len(first.items), first.complete) == (2, False)
    assert await compared(assembly, first) == {}
    rest = await list_all(own, before=first.last)
    assert [item.signature for item in first.items + rest.items] == [item.signature for item in found.items]
    assert rest.complete
    assert await compared(assembly, rest) == {}


async def test_an_anchor_that_we_hide_or_invent_shows(
    assembly: Assembly, log: TestLog, own: ChainConfig
) -> None:
    for _ in range(2):
        await log.grow(1)
        await anchor_all(assembly, own)
    first, second = await of_log(assembly)
    await change(
        assembly, "UPDATE anchor SET signature = :other WHERE id = :id", other="1" * 64, id=first["id"]
    )
    found = await list_all(own)
    async with assembly.engine.connect() as connection:
        assert await listing.unknown(connection, found) == {first["signature"]}
    assert await compared(assembly, found) == {
        "1" * 64: ["We call it final, and the chain does not list it."]
    }
    assert second["signature"] in {item.signature for item in found.items}


async def test_a_fork_and_a_log_that_was_cut_short_show(
    assembly: Assembly, log: TestLog, own: ChainConfig
) -> None:
    """Whoever has our keys anchors another history; the chain keeps both."""
    signed = await log.grow(3)
    await anchor_all(assembly, own)

    async def anchor_by_hand(size: int, root: bytes, signer: Signer = log.signer) -> str:
        note = signer.sign(Checkpoint(signer.name, size, root).text())
        said = action(signer.name, size, root, assembly.constitution.sha256)
        instructions, _ = quantumagi.checkpoint_anchor_instructions(
            own.program_id, own.authority_address, said, note, proposed=True, enacted=True, durable=False
        )
        return await send(own, own.authority, *instructions)

    forked = await anchor_by_hand(signed.size, bytes(range(32)))
    beyond = await anchor_by_hand(signed.size + 100, bytes(32))
    others = await anchor_by_hand(signed.size, signed.root, Signer("elsewhere.example/log", bytes(range(32))))
    strangers = await anchor_by_hand(signed.size, signed.root, Signer(ORIGIN, bytes(32)))
    memo = quantumagi.memo(log.signer.sign(Checkpoint(ORIGIN, 1, bytes(32)).text()), own.authority_address)
    bare = await send(own, own.authority, memo)
    await finality(own, bare)
    told = await compared(assembly, await list_all(own))
    (ours,) = await of_log(assembly)
    assert set(told) - {ours["signature"]} == {forked, beyond, others, strangers, bare}
    assert any("another root than our log" in what for what in told[forked])
    assert any(
        "two different roots" in what for item in (forked, ours["signature"]) for what in told.get(item, [])
    )
    assert any("more than our log has" in what for what in told[beyond])
    assert any("another log" in what for what in told[others])
    assert any("did not sign" in what for what in told[strangers])
    assert any("not checked exactly once" in what for what in told[bare])
    assert any("another root than our log" in what for what in told[bare])


async def finality(config: ChainConfig, signature: str) -> None:
    async with rpc.connect(config) as node:

        async def final() -> bool:
            (status,) = await node.statuses([signature])
            return status is not None and status.level == "finalized"

        await until(final)


async def test_what_the_authority_did_not_sign_is_no_anchor(
    assembly: Assembly, log: TestLog, own: ChainConfig
) -> None:
    signed = await log.grow(1)
    await anchor_all(assembly, own)
    stranger = await rich_key(own)
    audit = quantumagi.audit_address(own.program_id)
    forged = action(ORIGIN, signed.size, bytes(32), assembly.constitution.sha256)
    note = log.signer.sign(Checkpoint(ORIGIN, signed.size, bytes(32)).text())
    theirs = await send(
        own,
        stranger,
        quantumagi.check_compliance(own.program_id, own.authority_address, audit, forged),
        quantumagi.memo(note, stranger.pubkey()),
    )
    await finality(own, theirs)
    (ours,) = await of_log(assembly)
    found = await list_all(own)
    assert [item.signature for item in found.items] == [ours["signature"]]
    assert await compared(assembly, found) == {}
    async with rpc.connect(own) as node:
        landed = await node.transaction(theirs)
    assert listing.of_transaction(own.program_id, own.authority_address, landed) is None
    assert listing.of_transaction(own.program_id, stranger.pubkey(), landed) is not None


async def test_another_programs_transaction_is_not_taken_for_an_anchor(
    assembly: Assembly, log: TestLog, own: ChainConfig
) -> None:
    signed = await log.grow(1)
    await anchor_all(assembly, own)
    (row,) = await of_log(assembly)
    elsewhere = Keypair().pubkey()
    said = listing.written(elsewhere, own.authority_address, bytes(row["transaction"]))
    assert (said.actions, said.rules) == ((), ())
    assert said.memos == (signed.note,)
    here = listing.written(own.program_id, own.authority_address, bytes(row["transaction"]))
    assert here.actions == here.rules == (expected(assembly, signed),)
    assert base64.b64encode(signed.root).decode() in here.actions[0]
    tampered = bytearray(row["transaction"])
    tampered[-1] ^= 1
    assert listing.written(own.program_id, own.authority_address, bytes(tampered)) is None


async def test_other_things_the_authority_does_are_left_out(assembly: Assembly, own: ChainConfig) -> None:
    await anchoring.bootstrap_local(own, assembly.constitution)
    done = await send(
        own,
        own.authority,
        quantumagi.propose_policy(
            own.program_id, own.authority_address, b"a rule", Category.SAFETY, Priority.LOW
        ),
        quantumagi.memo("no checkpoint", own.authority_address),
    )
    await finality(own, done)
    found = await list_all(own)
    assert (found.items, found.complete) == ([], True)
