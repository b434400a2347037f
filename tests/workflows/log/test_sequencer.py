"""The one order: each committed entry gets one place, none twice, none never, whoever runs at once or dies."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import sqlalchemy as sa

from tests.conftest import NOW
from tests.workflows.log.conftest import TestLog
from workflows.audit_transparency import merkle, sequencer, tree
from workflows.audit_transparency.check import check
from workflows.audit_transparency.sequencer import sequence
from workflows.storage.tables import audit_entry, audit_leaf, audit_pending, audit_tile
from workflows.storage.unit import Unit


async def order(log: TestLog) -> list[tuple[int, int]]:
    query = sa.select(audit_leaf.c.index, audit_leaf.c.entry).order_by(audit_leaf.c.index)
    async with log.app.connect() as connection:
        return [tuple(row) for row in await connection.execute(query)]


async def waiting(log: TestLog) -> int:
    async with log.app.connect() as connection:
        query = sa.select(sa.func.count()).select_from(audit_pending)
        return (await connection.execute(query)).scalar_one()


async def sound(log: TestLog) -> bool:
    async with log.app.connect() as connection:
        return await check(connection) == []


async def test_entries_get_their_places_in_the_order_of_their_numbers(log: TestLog) -> None:
    await log.add(5)
    assert await sequence(log.sequencer) == 5
    assert await sequence(log.sequencer) == 0
    assert await waiting(log) == 0
    assert await order(log) == [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]


async def test_a_batch_is_no_larger_than_asked(log: TestLog) -> None:
    await log.add(5)
    assert [await sequence(log.sequencer, 2) for _ in range(4)] == [2, 2, 1, 0]
    assert [entry for _, entry in await order(log)] == [1, 2, 3, 4, 5]


async def test_what_commits_late_comes_later(log: TestLog) -> None:
    """Its number is smaller; its place is not."""
    async with log.app.connect() as slow:
        transaction = await slow.begin()
        body = Unit(slow, NOW, "0" * 64).entry("test.late", "test", {})
        await slow.execute(sa.insert(audit_entry).values(body=body))
        await log.add(2)
        assert await log.sequence() == 2
        await transaction.commit()
    assert await log.sequence() == 1
    assert await order(log) == [(0, 2), (1, 3), (2, 1)]
    assert await sound(log)


async def test_what_is_rolled_back_leaves_no_gap(log: TestLog) -> None:
    async with log.app.connect() as connection:
        await connection.begin()
        body = Unit(connection, NOW, "0" * 64).entry("test.never", "test", {})
        await connection.execute(sa.insert(audit_entry).values(body=body))
        await connection.rollback()
    await log.add(1)
    await log.sequence()
    assert await order(log) == [(0, 2)]


async def test_one_leads_and_others_find_nothing_to_do(log: TestLog) -> None:
    await log.add(3)
    async with log.sequencer.connect() as leader:
        await leader.begin()
        await leader.execute(sa.select(sa.func.pg_advisory_xact_lock(sequencer.LEADER)))
        assert await sequence(log.sequencer) == 0
        assert await waiting(log) == 3
    assert await sequence(log.sequencer) == 3


async def test_many_writers_and_many_sequencers(log: TestLog) -> None:
    """Every entry once, in a tree that fits."""

    async def write() -> None:
        for _ in range(12):
            await log.add(7)

    async def order_them() -> None:
        for _ in range(25):
            await sequence(log.sequencer, 40)

    await asyncio.gather(*(write() for _ in range(6)), *(order_them() for _ in range(3)))
    await log.sequence(100)
    places = await order(log)
    assert [index for index, _ in places] == list(range(504))
    assert len({entry for _, entry in places}) == 504
    assert await sound(log)


@pytest.mark.parametrize("step", ["_TREE", "_ADD_LEAVES", "_ADD_TILES", "_GROW", "_DONE"])
async def test_a_sequencer_that_dies_leaves_everything_as_it_was(
    log: TestLog, monkeypatch: Any, step: str
) -> None:
    await log.add(300)
    with monkeypatch.context() as patched:
        patched.setattr(sequencer, step, sa.text("SELECT 1 / 0"))
        with pytest.raises(sa.exc.DBAPIError):
            await sequence(log.sequencer)
    assert (await order(log), await waiting(log)) == ([], 300)
    assert await sequence(log.sequencer) == 300
    assert await sound(log)


@pytest.mark.parametrize("limit", [37, 255, 256, 257, 8192])
async def test_tiles_are_complete_whatever_the_batches(log: TestLog, limit: int) -> None:
    await log.add(520)
    await log.sequence(limit)
    hashes = await log.leaf_hashes()
    async with log.app.connect() as connection:
        rows = (await connection.execute(sa.select(audit_tile).order_by(audit_tile.c.position))).all()
    assert [(row.level, row.position) for row in rows] == [(0, 0), (0, 1)]
    for row in rows:
        under = hashes[row.position * 256 : row.position * 256 + 256]
        assert (row.hashes, row.root) == (b"".join(under), merkle.root_of(under))
    assert await sound(log)


LARGE = 65_536 + 700
BODIES = """
INSERT INTO audit.entry (body) SELECT convert_to(
    '{"actor":"system","at":"2026-03-02T09:00:00.000000Z","constitution_sha256":"","id":"' || gen_random_uuid() ||
    '","idempotency_key_sha256":"","payload":{"number":' || number || '},"personal":{},"request_id":"",' ||
    '"schema":"acgs.audit.entry/2","subject":"test","type":"test.happened"}', 'UTF8')
FROM generate_series(1, %d) AS number
"""


async def test_a_tree_of_three_levels(log: TestLog) -> None:
    """65,536 entries fill the first tile of the second level, and begin the third."""
    async with log.superuser.begin() as connection:
        await connection.exec_driver_sql(BODIES % LARGE)
    assert await log.sequence() == LARGE
    hashes = await log.leaf_hashes()
    roots = [merkle.root_of(hashes[at : at + 256]) for at in range(0, 65_536, 256)]
    async with log.app.connect() as connection:
        size, root = await tree.head(connection)
        assert (size, root) == (LARGE, merkle.root_of(hashes))
        assert await tree.tile(connection, 1, 0, 256) == b"".join(roots)
        assert await tree.tile(connection, 1, 1, 2) == b"".join(
            merkle.root_of(hashes[at : at + 256]) for at in (65_536, 65_792)
        )
        assert await tree.tile(connection, 1, 1, 3) is None
        assert await tree.tile(connection, 2, 0, 1) == merkle.root_of(roots)
        assert await tree.tile(connection, 2, 0, 2) is None
        for index in (0, 255, 256, 40_000, 65_535, 65_536, LARGE - 1):
            proof = await tree.inclusion_proof(connection, index, LARGE)
            merkle.verify_inclusion(hashes[index], index, LARGE, proof, root)
        for old in (1, 256, 257, 65_535, 65_536, 65_537, 66_000):
            proof = await tree.consistency_proof(connection, old, LARGE)
            merkle.verify_consistency(old, LARGE, merkle.root_of(hashes[:old]), root, proof)
    assert await sound(log)
    async with log.superuser.execution_options(isolation_level="REPEATABLE READ").begin() as connection:
        await connection.exec_driver_sql("SET LOCAL audit.migrating = 'on'")
        await connection.exec_driver_sql("ALTER TABLE audit.tile DISABLE TRIGGER ALL")
        for change, where, what in (
            (
                "hashes = set_byte(hashes, 300, get_byte(hashes, 300) # 1)",
                "tile 0 of level 1",
                "hash 9 is not the root of tile 9",
            ),
            (
                "root = set_byte(root, 0, get_byte(root, 0) # 1)",
                "tile 0 of level 1",
                "not the root of its hashes",
            ),
            ("level = 3", "tile 0 of level 1", "missing"),
        ):
            savepoint = await connection.begin_nested()
            await connection.exec_driver_sql(f"UPDATE audit.tile SET {change} WHERE level = 1")
            found = await check(connection)
            assert [item for item in found if item.where == where and what in item.what], found
            await savepoint.rollback()
