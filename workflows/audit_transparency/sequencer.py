"""Puts what was committed into the tree: the one place that gives entries their order.

Entries commit in any order and at any number of places; the leaf index says the one order that counts. An entry that
commits late, with a smaller number, comes later. Each batch is one transaction, and one leader at a time has it.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from workflows.audit_transparency import merkle
from workflows.audit_transparency.merkle import LENGTH
from workflows.audit_transparency.tree import WIDTH, Damaged

LEADER = 0x41434753_4F524452  # an advisory lock, "ACGSORDR"

_TREE = sa.text("SELECT size, root, frontier FROM audit.tree FOR UPDATE")
# One row of arrays and joined bytes: thousands of rows would cost more to carry than to hash. An array, not a join: a
# planner whose statistics are old would merge the two, and read all entries there ever were to find the newest.
_PENDING = sa.text("""
SELECT array_agg(number), string_agg(leaf_sha256, ''::bytea) FROM (
    SELECT number, leaf_sha256 FROM audit.entry
    WHERE number = ANY (ARRAY(SELECT number FROM audit.pending ORDER BY number LIMIT :limit))
    ORDER BY number) AS waiting
""")
_LEAVES_BEFORE = sa.text("""
SELECT string_agg(entry.leaf_sha256, ''::bytea ORDER BY leaf.index)
FROM audit.leaf JOIN audit.entry ON entry.number = leaf.entry WHERE leaf.index >= :first
""")
_ROOTS_BEFORE = sa.text("""
SELECT string_agg(root, ''::bytea ORDER BY position) FROM audit.tile WHERE level = :level AND position >= :first
""")
_ADD_LEAVES = sa.text("""
INSERT INTO audit.leaf (index, entry)
SELECT :size + place - 1, number FROM unnest(CAST(:numbers AS bigint[])) WITH ORDINALITY AS added (number, place)
""")
_ADD_TILES = sa.text("""
INSERT INTO audit.tile (level, position, hashes, root) SELECT * FROM unnest(
    CAST(:levels AS smallint[]), CAST(:positions AS bigint[]), CAST(:hashes AS bytea[]), CAST(:roots AS bytea[]))
""")
_GROW = sa.text(
    "UPDATE audit.tree SET size = :size, root = :root, frontier = :frontier WHERE id = 1 AND size = :old"
)
_DONE = sa.text("DELETE FROM audit.pending WHERE number = ANY(CAST(:numbers AS bigint[]))")


@dataclass(frozen=True)
class _Tile:
    level: int
    position: int
    hashes: bytes
    root: bytes


async def sequence(engine: AsyncEngine, limit: int = 8192) -> int:
    """Put up to `limit` waiting entries into the tree, in one transaction; how many.

    0 where nothing waits, or where somebody else is at it. The engine is one of role `acgs_sequencer`. Raises Damaged
    where the tree contradicts itself: nothing is built on it then.
    """
    async with engine.begin() as connection:
        if not (await connection.execute(sa.select(sa.func.pg_try_advisory_xact_lock(LEADER)))).scalar_one():
            return 0
        numbers, hashes = (await connection.execute(_PENDING, {"limit": limit})).one()
        if not numbers:
            return 0
        # The lock elects, this fences: whoever comes second waits here for the first's commit.
        size, root, frontier = (await connection.execute(_TREE)).one()
        await _append(connection, size, root, _split(frontier), numbers, _split(hashes))
        return len(numbers)


async def _append(
    connection: AsyncConnection,
    size: int,
    root: bytes,
    frontier: list[bytes],
    numbers: list[int],
    hashes: list[bytes],
) -> None:
    if len(frontier) != size.bit_count() or merkle.frontier_root(frontier) != root:
        raise Damaged("the tree's frontier does not lead to its root")
    tiles = await _completed(connection, size, frontier, hashes)
    grown = merkle.extend(frontier, size, hashes)
    await connection.execute(_ADD_LEAVES, {"size": size, "numbers": numbers})
    if tiles:
        added = {
            "levels": [tile.level for tile in tiles],
            "positions": [tile.position for tile in tiles],
            "hashes": [tile.hashes for tile in tiles],
            "roots": [tile.root for tile in tiles],
        }
        await connection.execute(_ADD_TILES, added)
    after = {
        "old": size,
        "size": size + len(hashes),
        "root": merkle.frontier_root(grown),
        "frontier": b"".join(grown),
    }
    if (await connection.execute(_GROW, after)).rowcount != 1:
        raise Damaged("the tree's row is gone")
    if (await connection.execute(_DONE, {"numbers": numbers})).rowcount != len(numbers):
        raise Damaged("what waited for the tree is gone")


async def _completed(
    connection: AsyncConnection, size: int, frontier: list[bytes], added: list[bytes]
) -> list[_Tile]:
    """The tiles of every level that fill up when `added` leaf hashes join a tree of `size`."""
    tiles: list[_Tile] = []
    level, count = 0, size  # hashes that this level has already
    while count % WIDTH + len(added) >= WIDTH:
        first = count - count % WIDTH
        row = _split(await _growing(connection, level, first, count)) + added
        if level == 0 and merkle.extend([], 0, row[: count % WIDTH]) != _last(frontier, count % WIDTH):
            raise Damaged(f"the leaves from {first} on are not those of the tree's frontier")
        whole = len(row) - len(row) % WIDTH
        full = [row[at : at + WIDTH] for at in range(0, whole, WIDTH)]
        made = [
            _Tile(level, first // WIDTH + place, b"".join(hashes), merkle.root_of(hashes))
            for place, hashes in enumerate(full)
        ]
        tiles += made
        added = [tile.root for tile in made]
        level, count = level + 1, first // WIDTH
    return tiles


async def _growing(connection: AsyncConnection, level: int, first: int, count: int) -> bytes:
    """The hashes of the level's tile that is not full yet."""
    if first == count:
        return b""
    if level == 0:
        found = await connection.execute(_LEAVES_BEFORE, {"first": first})
    else:
        found = await connection.execute(_ROOTS_BEFORE, {"level": level - 1, "first": first})
    hashes = found.scalar_one() or b""
    if len(hashes) != (count - first) * LENGTH:
        raise Damaged(f"tile {first // WIDTH} of level {level} lacks hashes")
    return hashes


def _last(frontier: list[bytes], leaves: int) -> list[bytes]:
    """The smallest subtrees of a frontier, which span its last `leaves` leaves."""
    return frontier[len(frontier) - leaves.bit_count() :]


def _split(hashes: bytes) -> list[bytes]:
    return [hashes[at : at + LENGTH] for at in range(0, len(hashes), LENGTH)]
