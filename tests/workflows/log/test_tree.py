"""The tree in the database is that of RFC 6962 over the entries, at every size, and its tiles are those of C2SP."""

from __future__ import annotations

import pytest

from tests.workflows.log.conftest import TestLog
from workflows.audit_transparency import merkle, tree
from workflows.errors import Invalid, NotFound


async def test_an_empty_log_has_the_root_of_nothing(log: TestLog) -> None:
    assert await log.sequence() == 0
    async with log.app.connect() as connection:
        assert await tree.head(connection) == (0, merkle.EMPTY)
        assert await tree.root_at(connection, 0) == merkle.EMPTY
        assert await tree.tile(connection, 0, 0, 1) is None
        assert await tree.entry_bundle(connection, 0, 1) is None


@pytest.mark.parametrize("batches", [[1] * 9, [255, 1, 1], [256], [300, 300], [700, 3, 90]])
async def test_head_and_tiles_do_not_depend_on_the_batches(log: TestLog, batches: list[int]) -> None:
    for count in batches:
        await log.add(count)
        assert await log.sequence() == count
    hashes = await log.leaf_hashes()
    assert len(hashes) == sum(batches)
    async with log.app.connect() as connection:
        assert await tree.head(connection) == (len(hashes), merkle.root_of(hashes))
        for size in range(0, len(hashes) + 1, 7):
            assert await tree.root_at(connection, size) == merkle.root_of(hashes[:size])


async def test_every_tile_at_every_width_is_that_of_the_entries(log: TestLog) -> None:
    await log.add(600)
    await log.sequence(limit=37)
    hashes = await log.leaf_hashes()
    async with log.app.connect() as connection:
        for position, widths in ((0, (1, 2, 255, 256)), (1, (1, 256)), (2, (1, 88))):
            for width in widths:
                found = await tree.tile(connection, 0, position, width)
                assert found == b"".join(hashes[position * 256 : position * 256 + width])
        assert await tree.tile(connection, 0, 2, 89) is None
        assert await tree.tile(connection, 0, 3, 1) is None
        roots = [merkle.root_of(hashes[:256]), merkle.root_of(hashes[256:512])]
        assert await tree.tile(connection, 1, 0, 1) == roots[0]
        assert await tree.tile(connection, 1, 0, 2) == b"".join(roots)
        assert await tree.tile(connection, 1, 0, 3) is None
        assert await tree.tile(connection, 2, 0, 1) is None
        assert await tree.tile(connection, 63, 0, 1) is None


@pytest.mark.parametrize(
    "level, position, width", [(0, 0, 0), (0, 0, 257), (-1, 0, 1), (64, 0, 1), (0, -1, 1)]
)
async def test_no_tile_has_that_place(log: TestLog, level: int, position: int, width: int) -> None:
    async with log.app.connect() as connection:
        with pytest.raises(Invalid):
            await tree.tile(connection, level, position, width)


async def test_proofs_of_all_leaves_and_between_all_sizes_hold(log: TestLog) -> None:
    await log.add(290)
    await log.sequence()
    hashes = await log.leaf_hashes()
    roots = [merkle.root_of(hashes[:size]) for size in range(len(hashes) + 1)]
    async with log.app.connect() as connection:
        for size in (1, 2, 7, 256, 257, 290):
            for index in {0, 1, size // 2, 255, size - 1}:
                if index < size:
                    proof = await tree.inclusion_proof(connection, index, size)
                    merkle.verify_inclusion(hashes[index], index, size, proof, roots[size])
        for old, new in (
            (0, 290),
            (1, 290),
            (6, 7),
            (128, 256),
            (255, 257),
            (256, 290),
            (289, 290),
            (290, 290),
        ):
            proof = await tree.consistency_proof(connection, old, new)
            merkle.verify_consistency(old, new, roots[old], roots[new], proof)


async def test_what_is_outside_the_tree_is_refused(log: TestLog) -> None:
    await log.add(5)
    await log.sequence()
    async with log.app.connect() as connection:
        for index, size in ((5, 5), (-1, 5), (0, 6), (0, 0)):
            with pytest.raises(NotFound):
                await tree.inclusion_proof(connection, index, size)
        with pytest.raises(NotFound):
            await tree.consistency_proof(connection, 3, 6)
        for old, new in ((4, 3), (-1, 3), (-2, -1)):
            with pytest.raises(Invalid):
                await tree.consistency_proof(connection, old, new)
        with pytest.raises(NotFound):
            await tree.root_at(connection, 6)


async def test_a_bundle_holds_the_bodies_that_hash_to_the_tile(log: TestLog) -> None:
    await log.add(260)
    await log.sequence()
    hashes = await log.leaf_hashes()
    async with log.app.connect() as connection:
        for position, width in ((0, 256), (0, 3), (1, 4)):
            bundle = await tree.entry_bundle(connection, position, width)
            assert bundle is not None
            bodies = []
            while bundle:
                length = int.from_bytes(bundle[:2], "big")
                bodies.append(bundle[2 : 2 + length])
                bundle = bundle[2 + length :]
            first = position * 256
            assert [merkle.leaf_hash(body) for body in bodies] == hashes[first : first + width]
        assert await tree.entry_bundle(connection, 1, 5) is None
