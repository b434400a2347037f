"""The log's tree as it stands in the database: heads, proofs and tiles, from a few rows however large it is.

A full tile (C2SP tlog-tiles) is one row; what is newer than the last full one is read from leaves, or from the roots of
the tiles below. A proof takes two statements.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.audit_transparency import merkle
from workflows.audit_transparency.merkle import LENGTH, Node
from workflows.errors import Invalid, NotFound
from workflows.storage.tables import audit_tree

WIDTH = 256  # hashes of a full tile
HEIGHT = 8  # levels of the tree that a tile spans
LEVELS = 8  # no size below 2^63 has a tile above

# Hashes of tiles: full ones by (level, position); of those still growing, leaves and roots of full tiles below.
_TILES = sa.text("""
SELECT level::int, position, hashes FROM audit.tile
    WHERE (level, position) IN (SELECT * FROM unnest(CAST(:levels AS smallint[]), CAST(:positions AS bigint[])))
UNION ALL
SELECT 0, span.position, hashed.hashes
    FROM unnest(CAST(:leaf_positions AS bigint[]), CAST(:leaf_widths AS int[])) AS span (position, width)
    CROSS JOIN LATERAL (
        SELECT string_agg(entry.leaf_sha256, ''::bytea ORDER BY leaf.index) AS hashes
        FROM audit.leaf JOIN audit.entry ON entry.number = leaf.entry
        WHERE leaf.index >= span.position * 256 AND leaf.index < span.position * 256 + span.width) hashed
UNION ALL
SELECT span.level, span.position, hashed.hashes
    FROM unnest(CAST(:root_levels AS int[]), CAST(:root_positions AS bigint[]), CAST(:root_widths AS int[]))
        AS span (level, position, width)
    CROSS JOIN LATERAL (
        SELECT string_agg(tile.root, ''::bytea ORDER BY tile.position) AS hashes
        FROM audit.tile
        WHERE tile.level = span.level - 1 AND tile.position >= span.position * 256
            AND tile.position < span.position * 256 + span.width) hashed
""")
# A bundle has at most 256 entries. Told so, PostgreSQL looks each up by its key instead of reading a share of the table.
_BODIES = sa.text("""
SELECT entry.body FROM (
    SELECT index, entry FROM audit.leaf WHERE index >= :first AND index < :last ORDER BY index LIMIT 256) AS leaf
JOIN audit.entry ON entry.number = leaf.entry ORDER BY leaf.index
""")


class Damaged(RuntimeError):
    """The tables of the tree contradict one another; the message says where. `check` finds all of it."""


@dataclass(frozen=True)
class _Span:
    """A tile, as wide as it is needed or is."""

    level: int
    position: int
    width: int


async def head(connection: AsyncConnection) -> tuple[int, bytes]:
    """Size and root of the whole tree."""
    row = (await connection.execute(sa.select(audit_tree.c.size, audit_tree.c.root))).one()
    return row.size, bytes(row.root)


async def root_at(connection: AsyncConnection, size: int) -> bytes:
    """The root of the tree when it had `size` leaves, from its tiles. Raises NotFound where it has not grown so large."""
    current = await _insist_within(connection, size)
    return (await _heads(connection, [(0, size)], current))[0] if size else merkle.EMPTY


async def inclusion_proof(connection: AsyncConnection, index: int, size: int) -> list[bytes]:
    """RFC 6962 § 2.1.1: that leaf `index` is in the tree of `size`; the leaf's own neighbour first."""
    current = await _insist_within(connection, size)
    if not 0 <= index < size:
        raise NotFound(f"Entry {index} is not in the log's first {size}.", code="not_in_tree")
    return await _heads(connection, merkle.inclusion_ranges(index, size), current)


async def inclusion_proofs(
    connection: AsyncConnection, indexes: Sequence[int], size: int
) -> dict[int, list[bytes]]:
    """`inclusion_proof` of many leaves by index, in as many statements as of one."""
    current = await _insist_within(connection, size)
    for index in indexes:
        if not 0 <= index < size:
            raise NotFound(f"Entry {index} is not in the log's first {size}.", code="not_in_tree")
    ranges = {index: merkle.inclusion_ranges(index, size) for index in indexes}
    wanted = sorted({each for some in ranges.values() for each in some})
    heads = dict(zip(wanted, await _heads(connection, wanted, current), strict=True))
    return {index: [heads[each] for each in some] for index, some in ranges.items()}


async def consistency_proof(connection: AsyncConnection, old: int, new: int) -> list[bytes]:
    """RFC 6962 § 2.1.2: that the tree of `old` leaves is the beginning of the tree of `new`."""
    current = await _insist_within(connection, new)
    if not 0 <= old <= new:
        raise Invalid("The older size comes first, and is not larger than the newer one.", code="bad_sizes")
    return await _heads(connection, merkle.consistency_ranges(old, new), current)


async def tile(connection: AsyncConnection, level: int, position: int, width: int) -> bytes | None:
    """`width` hashes of a tile, 256 for a full one; None where the tree does not reach that far.

    Raises Invalid for a width, level or position that no tile has.
    """
    if not 1 <= width <= WIDTH or not 0 <= level < 64 or position < 0:
        raise Invalid("No tile has this level, position or width.", code="bad_tile")
    size, _ = await head(connection)
    # The number of hashes at this level, which larger sizes than any have too: a shift costs nothing.
    if position * WIDTH + width > size >> HEIGHT * level:
        return None
    span = _Span(level, position, width)
    return (await _read(connection, [span], size))[span]


async def entry_bundle(connection: AsyncConnection, position: int, width: int) -> bytes | None:
    """`width` entries from 256·position on, each after its length in two bytes; None where there are not so many.

    Raises Invalid for a width or position that no bundle has.
    """
    if not 1 <= width <= WIDTH or position < 0:
        raise Invalid("No bundle has this position or width.", code="bad_tile")
    first = position * WIDTH
    size, _ = await head(connection)
    if first + width > size:
        return None
    bodies = (await connection.execute(_BODIES, {"first": first, "last": first + width})).scalars().all()
    if len(bodies) != width:
        raise Damaged(f"of the leaves {first} to {first + width - 1}, {width - len(bodies)} are missing")
    return b"".join(len(body).to_bytes(2, "big") + body for body in bodies)


async def _insist_within(connection: AsyncConnection, size: int) -> int:
    current, _ = await head(connection)
    if size < 0:
        raise Invalid("A tree's size is not negative.", code="bad_sizes")
    if size > current:
        raise NotFound(f"The log has {current} entries, not {size}.", code="not_in_tree")
    return current


async def _heads(connection: AsyncConnection, ranges: list[tuple[int, int]], size: int) -> list[bytes]:
    """The head over each range of leaves, of which each is a subtree of the tree, or begins it."""
    wanted = [merkle.perfect_subtrees(first, last) for first, last in ranges]
    nodes = await _nodes(connection, {node for some in wanted for node in some}, size)
    return [merkle.frontier_root([nodes[node] for node in some]) for some in wanted]


async def _nodes(connection: AsyncConnection, wanted: set[Node], size: int) -> dict[Node, bytes]:
    """The hashes of perfect subtrees within a tree of `size`."""
    spans = {node: _span_of(node, size) for node in wanted}
    tiles = await _read(connection, set(spans.values()), size)
    found = {}
    for node, span in spans.items():
        height, index = node
        count = 1 << height % HEIGHT
        first = (index * count - span.position * WIDTH) * LENGTH
        under = tiles[span][first : first + count * LENGTH]
        found[node] = merkle.root_of(_split(under))
    return found


def _span_of(node: Node, size: int) -> _Span:
    """The tile in which the node's hash stands, or the hashes under it."""
    height, index = node
    level, place = height // HEIGHT, index << height % HEIGHT
    position = place // WIDTH
    return _Span(level, position, min((size >> HEIGHT * level) - position * WIDTH, WIDTH))


async def _read(connection: AsyncConnection, spans: Iterable[_Span], size: int) -> dict[_Span, bytes]:
    """The hashes of tiles. Raises Damaged where some are missing."""
    spans = list(spans)
    if not spans:
        return {}
    # A part of a full tile is cut from it: one row instead of up to 255.
    full: list[_Span] = []
    growing: list[_Span] = []
    for span in spans:
        (full if (span.position + 1) * WIDTH <= size >> HEIGHT * span.level else growing).append(span)
    leaves = [span for span in growing if span.level == 0]
    roots = [span for span in growing if span.level > 0]
    rows = await connection.execute(
        _TILES,
        {
            "levels": [span.level for span in full],
            "positions": [span.position for span in full],
            "leaf_positions": [span.position for span in leaves],
            "leaf_widths": [span.width for span in leaves],
            "root_levels": [span.level for span in roots],
            "root_positions": [span.position for span in roots],
            "root_widths": [span.width for span in roots],
        },
    )
    stored = {(level, position): bytes(hashes or b"") for level, position, hashes in rows}
    found = {span: stored.get((span.level, span.position), b"")[: span.width * LENGTH] for span in spans}
    for span, hashes in found.items():
        if len(hashes) != span.width * LENGTH:
            raise Damaged(f"tile {span.position} of level {span.level} lacks hashes")
    return found


def _split(hashes: bytes) -> list[bytes]:
    return [hashes[at : at + LENGTH] for at in range(0, len(hashes), LENGTH)]
