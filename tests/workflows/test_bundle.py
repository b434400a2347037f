"""Bundles and the whole log with anchors of checkpoints: which one is taken, what stands of it, and what leads to it."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from portal.database import begin_read, enqueue_job
from tests.conftest import NOW, arranged, with_pseudonym
from tests.workflows.log.conftest import TestLog, log_on
from workflows.audit_transparency import anchors, archive, bundle, merkle
from workflows.audit_transparency.bundle import ChainIdentity
from workflows.audit_transparency.checkpoints import SecondPlace, SignedCheckpoint
from workflows.constitution.document import Constitution
from workflows.errors import NotFound
from workflows.kinds import AnchorKind, AnchorState, Category
from workflows.policy_creation import drafts
from workflows.policy_creation.views import PolicyDraft
from workflows.roles import Actor, Role
from workflows.storage.tables import anchor, audit_entry, person
from workflows.storage.unit import Unit, new_id

CHAIN = ChainIdentity("Prog1111111111111111111111111111", "Auth1111", "localnet", None)


@pytest.fixture
def log(fresh_database: str, tmp_path: Path) -> TestLog:
    return log_on(fresh_database, SecondPlace(tmp_path / "place" / "checkpoint"))


@pytest.fixture
async def ref(log: TestLog, constitution: Constitution) -> str:
    """A submitted policy."""
    author = Actor(new_id(), "chidi", "Chidi", frozenset({Role.MEMBER, Role.DRAFTER}), frozenset())
    async with log.app.begin() as connection:
        await arranged(connection)
        await connection.execute(
            person.insert().values(
                id=author.id,
                username="chidi",
                name="Chidi",
                roles=["member", "drafter"],
                expertise=[],
                created_at=NOW,
            )
        )
        who = await with_pseudonym(connection, author)
        unit = Unit(connection, NOW, constitution.sha256, actor=who, enqueue_job=enqueue_job)
        draft = PolicyDraft(
            title="Minutes", summary="Plain words.", text="Minutes.\n", category=Category.GOVERNANCE
        )
        return await drafts.create(unit, constitution.figures, draft, submit=True)


async def grow(log: TestLog, count: int) -> SignedCheckpoint:
    """That many more entries about something else, in the tree and signed."""
    async with log.app.begin() as connection:
        unit = Unit(connection, NOW, "0" * 64)
        bodies = [{"body": unit.entry("test.happened", "test", {"number": n})} for n in range(count)]
        await connection.execute(sa.insert(audit_entry), bodies)
    await log.sequence()
    signed = await log.sign()
    assert signed is not None
    return signed


async def anchored(log: TestLog, signed: SignedCheckpoint, **changes: Any) -> None:
    """An anchor of a checkpoint, final unless said otherwise."""
    action = anchors.action("assembly.example/audit", signed.size, signed.root, "c" * 64).encode()
    values = {
        "id": new_id(),
        "kind": AnchorKind.CHECKPOINT,
        "state": AnchorState.FINALIZED,
        "checkpoint_size": signed.size,
        "record": action,
        "record_sha256": merkle.leaf_hash(action).hex(),
        "chain_policy_id": 7,
        "memo": signed.note,
        "constitution_sha256": "c" * 64,
        "cluster": "localnet",
        "genesis_hash": "Gene",
        "program_id": CHAIN.program_id,
        "account": "Acc",
        "signature": f"Sig{signed.size}",
        "transaction": b"\x01\x02",
        "slot": 12,
        "block_time": NOW,
        "queued_at": NOW,
        "finalized_at": NOW,
        **changes,
    }
    async with log.app.begin() as connection:
        await connection.execute(sa.insert(anchor).values(values))


async def taken(log: TestLog, ref: str, constitution: Constitution) -> dict[str, bytes]:
    async with begin_read(log.app) as connection:
        raw = await bundle.policy_bundle(connection, ref, constitution, CHAIN)
    with zipfile.ZipFile(io.BytesIO(raw)) as file:
        return {name: file.read(name) for name in file.namelist()}


def hashes(lines: bytes) -> list[bytes]:
    return [base64.b64decode(line, validate=True) for line in lines.split(b"\n")[:-1]]


async def test_the_newest_final_anchor_that_covers_the_entries(
    log: TestLog, ref: str, constitution: Constitution
) -> None:
    with pytest.raises(NotFound):
        await taken(log, ref, constitution)
    first = await grow(log, 1)
    await anchored(log, first)
    second = await grow(log, 10)
    await anchored(log, second, lost_at=NOW)
    third = await grow(log, 10)
    await anchored(log, third, state=AnchorState.SUBMITTED, finalized_at=None)
    last = await grow(log, 300)
    files = await taken(log, ref, constitution)
    found = json.loads(files["log_anchor.json"])
    assert found == {
        "size": first.size,
        "root": base64.b64encode(first.root).decode(),
        "action": anchors.action("assembly.example/audit", first.size, first.root, "c" * 64),
        "memo": first.note,
        "signature": f"Sig{first.size}",
        "transaction": "AQI=",
        "slot": 12,
        "block_time": "2026-03-02T09:00:00.000000Z",
        "durable": False,
        "account": "Acc",
    }
    merkle.verify_consistency(first.size, last.size, first.root, last.root, hashes(files["consistency.txt"]))
    about = json.loads(files["bundle.json"])
    assert (about["checkpoint_size"], about["genesis_hash"]) == (last.size, "Gene")


async def test_an_anchor_that_does_not_reach_the_last_entry_is_none(
    log: TestLog, ref: str, constitution: Constitution
) -> None:
    await anchored(log, await grow(log, 1))
    async with log.app.begin() as connection:
        await Unit(connection, NOW, "0" * 64).record("test.happened", ref)
    await grow(log, 1)
    files = await taken(log, ref, constitution)
    assert len([name for name in files if name.startswith("entries/")]) == 4
    assert not {"log_anchor.json", "consistency.txt"} & set(files)
    assert json.loads(files["bundle.json"])["genesis_hash"] is None


async def test_the_whole_log_names_every_anchor_and_leads_to_each(
    log: TestLog, constitution: Constitution
) -> None:
    signed = []
    for _ in range(3):
        signed.append(await grow(log, 150))
        await anchored(log, signed[-1])
    await anchored(log, signed[0], lost_at=NOW, genesis_hash="Old")
    async with begin_read(log.app) as connection:
        outline = await archive.outline(connection, constitution, CHAIN)
    assert outline is not None
    later = await grow(log, 5)
    await anchored(log, later, state=AnchorState.QUEUED, signature=None, transaction=None, block_time=None)
    raw = b"".join([piece async for piece in archive.pieces(partial(begin_read, log.app), outline)])
    with zipfile.ZipFile(io.BytesIO(raw)) as file:
        assert file.testzip() is None
        files = {name: file.read(name) for name in file.namelist()}
    listed = json.loads(files["anchors.json"])
    assert {(each["size"], each["genesis_hash"]) for each in listed} == {
        (signed[0].size, "Old"),
        *((each.size, "Gene") for each in signed),
    }
    assert all(each["state"] == "finalized" for each in listed)
    consistency = {name for name in files if name.startswith("consistency/")}
    assert consistency == {f"consistency/{each.size}.txt" for each in signed}
    end = signed[-1]
    for each in signed:
        proof = hashes(files[f"consistency/{each.size}.txt"])
        merkle.verify_consistency(each.size, end.size, each.root, end.root, proof)
    bodies = b"".join(files[name] for name in sorted(n for n in files if n.startswith("entries/")))
    leaves = []
    while bodies:
        length = int.from_bytes(bodies[:2], "big")
        leaves.append(merkle.leaf_hash(bodies[2 : 2 + length]))
        bodies = bodies[2 + length :]
    assert merkle.root_of(leaves) == end.root


async def test_the_whole_log_is_written_in_pieces(log: TestLog, constitution: Constitution) -> None:
    await grow(log, 6000)
    async with begin_read(log.app) as connection:
        outline = await archive.outline(connection, constitution, CHAIN)
    assert outline is not None
    sizes = [len(piece) async for piece in archive.pieces(partial(begin_read, log.app), outline)]
    assert len(sizes) > 3 and max(sizes) < sum(sizes) / 2
