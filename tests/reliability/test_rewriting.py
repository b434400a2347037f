"""A rewrite that fits itself, signed with the log's own key, and a restored backup: found by who holds an older checkpoint.

That is the second place, a witness, or the chain. From within, such a log is sound.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from portal.witness import Refused, Request, Witness
from tests.conftest import NOW, _administer
from tests.reliability.tampered import (
    FLIP,
    GUARDED,
    SIZES,
    a_person,
    changed,
    filled,
    speak,
    unguarded,
)
from tests.workflows.log.conftest import ORIGIN, TestLog, log_on
from workflows.audit_transparency import checkpoints, merkle, tree
from workflows.audit_transparency.check import check
from workflows.audit_transparency.checkpoints import Fork, SecondPlace
from workflows.audit_transparency.erasure import erase
from workflows.audit_transparency.notes import Checkpoint, Signer
from workflows.storage import tables as t
from workflows.storage.unit import Unit


@pytest.fixture(scope="module")
async def database(server_url: URL, template: str, tmp_path_factory: Any) -> AsyncIterator[TestLog]:
    """Of all tests here, which change nothing of it."""
    async with filled(server_url, template, tmp_path_factory.mktemp("place") / "checkpoint") as made:
        yield made


@pytest.fixture
def log(fresh_database: str, tmp_path: Path) -> TestLog:
    return log_on(fresh_database, SecondPlace(tmp_path / "place" / "checkpoint"))


async def rewrite(connection: AsyncConnection, signer: Signer, index: int) -> None:
    """Change an entry and everything that follows from it, with every right and the log's own key."""
    await unguarded(connection)
    await connection.exec_driver_sql(changed(index, "happened", "happenee"))
    query = "SELECT leaf_sha256 FROM audit.leaf JOIN audit.entry ON entry = number ORDER BY index"
    hashes = [bytes(item) for item in (await connection.exec_driver_sql(query)).scalars()]
    full = {"hashes": b"".join(hashes[:256]), "root": merkle.root_of(hashes[:256])}
    await connection.execute(sa.update(t.audit_tile).values(full))
    frontier = merkle.extend([], 0, hashes)
    head = {"root": merkle.frontier_root(frontier), "frontier": b"".join(frontier)}
    await connection.execute(sa.update(t.audit_tree).values(head))
    await connection.execute(sa.delete(t.audit_cosignature))
    for size in SIZES:
        root = merkle.root_of(hashes[:size])
        note = signer.sign(Checkpoint(ORIGIN, size, root).text())
        signed = sa.update(t.audit_checkpoint).where(t.audit_checkpoint.c.size == size)
        await connection.execute(signed.values(root=root, note=note))
        action = f"audit-checkpoint {ORIGIN} {size} {base64.b64encode(root).decode()} constitution {'0' * 64}"
        anchored = {
            "memo": note,
            "record": action.encode(),
            "record_sha256": hashlib.sha256(action.encode()).hexdigest(),
        }
        await connection.execute(
            sa.update(t.anchor).where(t.anchor.c.checkpoint_size == size).values(anchored)
        )


async def copied(server: URL, log: TestLog, place: SecondPlace) -> TestLog:
    """The same log on a copy of its database, as from a backup."""
    name = f"acgs_{uuid4().hex[:12]}"
    for engine in (log.app, log.sequencer, log.superuser):
        await engine.dispose()
    await _administer(server, f"CREATE DATABASE {name} TEMPLATE {log.app.url.database}")
    return log_on(server.set(database=name).render_as_string(hide_password=False), place)


async def drop(server: URL, log: TestLog) -> None:
    await _administer(server, f"DROP DATABASE {log.app.url.database} WITH (FORCE)")


@pytest.fixture
async def rewritten(database: TestLog, server_url: URL) -> AsyncIterator[TestLog]:
    """The log after a rewrite that fits itself; its second place is where it was."""
    copy = await copied(server_url, database, database.place)
    try:
        async with copy.superuser.begin() as connection:
            await rewrite(connection, copy.signer, 50)
            for table in GUARDED:
                await connection.exec_driver_sql(f"ALTER TABLE audit.{table} ENABLE TRIGGER ALL")
        yield copy
    finally:
        await drop(server_url, copy)


async def test_a_rewrite_that_fits_itself_is_not_found_from_within(rewritten: TestLog) -> None:
    async with rewritten.app.connect() as connection:
        assert await check(connection) == []


async def test_the_second_place_finds_a_rewrite(rewritten: TestLog) -> None:
    held = rewritten.place.read()
    await rewritten.sequence()
    with pytest.raises(Fork, match="another root at 300 entries than the database: history was rewritten"):
        await rewritten.sign()
    assert rewritten.place.read() == held
    async with rewritten.app.connect() as connection:
        newest = await checkpoints.latest(connection)
    assert newest is not None and newest.size == 300, "nothing new was signed"


async def test_without_its_second_place_a_rewrite_is_signed_and_a_witness_finds_it(
    rewritten: TestLog, database: TestLog, tmp_path: Path
) -> None:
    """Whoever also destroys the second place gets a signature, but no cosignature."""
    witness = Witness(tmp_path / "witness", "witness.example/w1", [rewritten.signer.verifier_key])
    async with database.app.connect() as connection:
        seen = await checkpoints.at(connection, 280)
    witness.add(Request(0, [], seen.note))
    rewritten.place = SecondPlace(tmp_path / "elsewhere")
    await rewritten.sequence()
    forged = await rewritten.sign()
    assert forged is not None and forged.size == 304
    async with rewritten.app.connect() as connection:
        proof = await tree.consistency_proof(connection, 280, forged.size)
    with pytest.raises(Refused, match="another root of the older tree"):
        witness.add(Request(280, proof, forged.note))


async def test_an_anchored_checkpoint_finds_a_rewrite(rewritten: TestLog, database: TestLog) -> None:
    """What stands on the chain, the memo as it was sent, is no beginning of what the database now says."""
    async with database.app.connect() as connection:
        memo = (await connection.execute(sa.select(t.anchor.c.memo))).scalar_one()
    anchored = Checkpoint.parse(memo.partition("\n\n")[0] + "\n")
    async with rewritten.app.connect() as connection:
        size, root = await tree.head(connection)
        proof = await tree.consistency_proof(connection, anchored.size, size)
        with pytest.raises(merkle.ProofError, match="older tree"):
            merkle.verify_consistency(anchored.size, size, anchored.root, root, proof)
    async with database.app.connect() as connection:
        size, root = await tree.head(connection)
        proof = await tree.consistency_proof(connection, anchored.size, size)
    merkle.verify_consistency(anchored.size, size, anchored.root, root, proof)


# A restored backup


@pytest.mark.parametrize("since", [10, 60])
async def test_a_restored_backup_signs_no_fork(log: TestLog, server_url: URL, since: int) -> None:
    """Whether it has fewer entries by now than were signed, or more."""
    await log.grow(50)
    backup = await copied(server_url, log, log.place)
    try:
        await log.grow(30)
        held = log.place.read()
        await backup.add(since, type="test.after_restoring")
        await backup.sequence()
        why = "80 entries, the database only 60" if since == 10 else "another root at 80 entries"
        for _ in range(2):
            with pytest.raises(Fork, match=why):
                await backup.sign()
        assert log.place.read() == held
        async with backup.app.connect() as connection:
            newest = await checkpoints.latest(connection)
            assert newest is not None and newest.size == 50
        async with backup.app.connect() as connection:
            assert await check(connection) == [], "it fits itself, which is why the second place is needed"
        await log.grow(1)
    finally:
        await drop(server_url, backup)


async def test_a_backup_of_what_was_signed_last_goes_on(log: TestLog, server_url: URL) -> None:
    await log.grow(50)
    backup = await copied(server_url, log, log.place)
    try:
        assert (await backup.grow(5)).size == 55
    finally:
        await drop(server_url, backup)


async def test_the_sequencer_builds_nothing_on_a_damaged_tree(log: TestLog) -> None:
    await log.grow(300)
    await log.add(300)
    for change in (
        f"UPDATE audit.tree SET root = {FLIP.format('root', 0)}",
        f"UPDATE audit.tree SET frontier = {FLIP.format('frontier', 40)}",
        "UPDATE audit.tree SET frontier = substr(frontier, 1, 64)",
        "DELETE FROM audit.leaf WHERE index = 299",
        "UPDATE audit.leaf SET entry = 0 - entry WHERE index IN (290, 291)",
        "DELETE FROM audit.tree",
    ):
        async with log.superuser.begin() as connection:
            await unguarded(connection)
            await connection.exec_driver_sql("CREATE TABLE kept_tree AS SELECT * FROM audit.tree")
            await connection.exec_driver_sql("CREATE TABLE kept_leaf AS SELECT * FROM audit.leaf")
            await connection.exec_driver_sql(change)
        with pytest.raises((tree.Damaged, DBAPIError, sa.exc.NoResultFound)):
            await log.sequence()
        async with log.superuser.begin() as connection:
            await connection.exec_driver_sql("SET LOCAL audit.migrating = 'on'")
            for table in ("tree", "leaf"):
                await connection.exec_driver_sql(f"DELETE FROM audit.{table}")
                await connection.exec_driver_sql(f"INSERT INTO audit.{table} SELECT * FROM kept_{table}")
                await connection.exec_driver_sql(f"DROP TABLE kept_{table}")
    assert await log.sequence() == 300
    async with log.app.connect() as connection:
        assert await check(connection) == []


async def test_an_erasure_is_no_rewrite(log: TestLog) -> None:
    """The log stays sound, and what was proved stays proved."""
    dana = await a_person(log, "dana")
    await speak(log, dana, "Too many exceptions.")
    before = await log.grow(5)
    async with log.app.begin() as connection:
        counts = await erase(Unit(connection, NOW, "0" * 64, actor=dana), dana.id)
    assert counts["words"] == 1
    after = await log.grow(1)
    hashes = await log.leaf_hashes()
    async with log.app.connect() as connection:
        assert await tree.root_at(connection, before.size) == before.root
        proof = await tree.inclusion_proof(connection, 1, after.size)
        merkle.verify_inclusion(hashes[1], 1, after.size, proof, after.root)
    async with log.app.connect() as connection:
        assert await check(connection) == []
