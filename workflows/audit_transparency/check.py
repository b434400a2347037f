"""Recomputes the whole log from its entries, and finds whatever in the database does not fit them, and where.

Somebody who may do everything here, and has the log's key, can make another history that fits itself. Against that one
compares with what is held elsewhere: the second place, a witness, an anchored checkpoint.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.audit_transparency import merkle, personal
from workflows.audit_transparency.bodies import faults
from workflows.audit_transparency.merkle import LENGTH
from workflows.audit_transparency.notes import Checkpoint, NoteError, VerifierKey, open_note
from workflows.audit_transparency.tree import HEIGHT, LEVELS, WIDTH
from workflows.storage import tables as t

TILES = 4  # level 0 tiles looked at in one go: 1024 entries, so that nothing else waits long
BATCH = TILES * WIDTH
MOST = 1000  # findings; whoever has so many needs no more to know

_LEAVES = sa.text("""
SELECT leaf.index, leaf.entry, entry.body, entry.leaf_sha256, entry.type, entry.subject, entry.actor, entry.at,
    pending.number IS NOT NULL
FROM audit.leaf LEFT JOIN audit.entry ON entry.number = leaf.entry LEFT JOIN audit.pending ON pending.number = leaf.entry
WHERE leaf.index >= :first AND leaf.index < :last ORDER BY leaf.index
""")
_OUTSIDE = sa.text("""
SELECT entry.number, entry.body, entry.leaf_sha256, entry.type, entry.subject, entry.actor, entry.at,
    pending.number IS NOT NULL
FROM audit.entry LEFT JOIN audit.pending USING (number)
WHERE entry.number > :after AND NOT EXISTS (SELECT FROM audit.leaf WHERE leaf.entry = entry.number)
ORDER BY entry.number LIMIT :limit
""")
_NO_ENTRY = sa.text("""
SELECT number FROM audit.pending WHERE NOT EXISTS (SELECT FROM audit.entry WHERE entry.number = pending.number)
ORDER BY number LIMIT :limit
""")
_FOREIGN_WORDS = sa.text("""
SELECT entry_id, name FROM audit.personal WHERE NOT EXISTS (
    SELECT FROM audit.entry WHERE audit.field(body, 'id') = CAST(entry_id AS text)
        AND jsonb_exists(convert_from(body, 'UTF8')::jsonb -> 'personal', name)) LIMIT :limit
""")


@dataclass(frozen=True)
class Finding:
    """Something that does not fit: where (an entry, leaf, tile, checkpoint, anchor), and what about it, in plain words."""

    where: str
    what: str


@dataclass
class _Recomputed:
    """The tree as the entries make it, up to `size` leaves; `frontier` is None from where a leaf's hash is unknown."""

    size: int = 0
    frontier: list[bytes] | None = field(default_factory=list)
    words: int = 0  # personal words that entries commit to and that are still here
    actors: set[str] = field(default_factory=set)  # pseudonyms
    erased: set[str] = field(default_factory=set)
    signed_at: datetime | None = None  # of the last checkpoint
    last_fit: int = 0  # the size of the last checkpoint that fits
    misfits: list[int] = field(
        default_factory=list
    )  # first and last size of checkpoints in a row that do not

    def hear(self, body: dict[str, Any] | None, where: str) -> list[dict[str, Any]]:
        """Remember who acts in an entry, or was erased; the entry itself if it commits to words."""
        if body is None:
            return []
        if "-" in body["actor"] and not body["schema"].endswith(
            "/1"
        ):  # the first schema named persons otherwise
            self.actors.add(body["actor"])
        if body["type"] == "subject.erased":
            self.erased.add(body["subject"].removeprefix("person:"))
        return [{**body, "where": where}] if body["personal"] else []

    def grow(self, hashes: Sequence[bytes | None]) -> None:
        known = [item for item in hashes if item is not None]
        complete = self.frontier is not None and len(known) == len(hashes)
        self.frontier = merkle.extend(self.frontier or [], self.size, known) if complete else None
        self.size += len(hashes)


async def check(connection: AsyncConnection) -> list[Finding]:
    """Everything in the log's tables that does not fit the entries; an empty list is a sound log.

    Reads all of it once, in batches. The transaction must see one state throughout (`REPEATABLE READ`), and is made so
    where it has not read anything yet. After a thousand findings it stops and says so.
    """
    await connection.execute(sa.text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
    found: list[Finding] = []
    async with aclosing(_all(connection)) as made:
        async for finding in made:
            found.append(finding)
            if len(found) == MOST:
                found.append(Finding("log", "There is more; this list stops here."))
                break
    return found


async def _all(connection: AsyncConnection) -> AsyncGenerator[Finding, None]:
    log = (await connection.execute(sa.select(t.audit_log))).mappings().one_or_none()
    rows = (await connection.execute(sa.select(t.audit_tree))).all()
    if len(rows) != 1:
        yield Finding("tree", "The row with its size and root is missing.")
        return
    head = rows[0]
    recomputed = _Recomputed()
    for part in (
        _leaves(connection, head, log, recomputed),
        _outside(connection, recomputed),
        _people(connection, recomputed),
        _upper_tiles(connection, head.size),
        _checkpoints_beyond(connection, head.size, log),
        _cosignatures(connection),
        _anchors(connection),
    ):
        async for finding in part:
            yield finding


# Leaves, what they are hashed into, and the checkpoints over them


async def _leaves(
    connection: AsyncConnection, head: sa.Row, log: sa.RowMapping | None, recomputed: _Recomputed
) -> AsyncIterator[Finding]:
    newest = (await connection.execute(sa.select(sa.func.max(t.audit_leaf.c.index)))).scalar_one()
    end = max(head.size, -1 if newest is None else newest + 1)
    for first in range(0, end, BATCH):
        last = min(first + BATCH, end)
        hashes: list[bytes | None] = [None] * (last - first)
        gone = set(range(first, last))
        spoken: list[dict[str, Any]] = []
        for index, number, body, stored, *columns, waiting in await connection.execute(
            _LEAVES, {"first": first, "last": last}
        ):
            gone.discard(index)
            where = f"entry {number} (leaf {index})"
            if body is None:
                yield Finding(where, "The entry is gone; its leaf is still there.")
                continue
            hashes[index - first] = merkle.leaf_hash(body)
            decoded, wrong = faults(body, stored, *columns)
            for what in wrong:
                yield Finding(where, what)
            if waiting:
                yield Finding(where, "It is in the tree and waits for the tree at the same time.")
            if index >= head.size:
                yield Finding(where, f"It lies beyond the tree, which has {head.size} leaves.")
            spoken += recomputed.hear(decoded, where)
        for index in sorted(gone):
            yield Finding(f"leaf {index}", "The leaf is missing: no entry has this place any more.")
        async for finding in _words(connection, spoken, recomputed):
            yield finding
        async for finding in _lowest_tiles(connection, first, min(last, head.size), hashes):
            yield finding
        async for finding in _grow(connection, hashes[: max(head.size - first, 0)], log, recomputed):
            yield finding
    for finding in [*_misfits(recomputed), *_head(head, recomputed)]:
        yield finding


async def _lowest_tiles(
    connection: AsyncConnection, first: int, last: int, hashes: list[bytes | None]
) -> AsyncIterator[Finding]:
    """Full tiles of leaf hashes between two leaves. Where an entry is gone, its hash is taken from the tile."""
    stored = await _stored_tiles(connection, 0, first // WIDTH, last // WIDTH)
    for position in range(first // WIDTH, last // WIDTH):
        where = f"tile {position} of level 0"
        if position not in stored:
            yield Finding(where, "The tile is missing.")
            continue
        kept, root = stored[position]
        for place, item in enumerate(kept):
            index = position * WIDTH + place
            if hashes[index - first] is None:
                hashes[index - first] = item
            elif hashes[index - first] != item:
                yield Finding(f"{where}, leaf {index}", "The entry's hash is another than the tile's.")
        if merkle.root_of(kept) != root:
            yield Finding(where, "The tile's root is not the root of its hashes.")


async def _grow(
    connection: AsyncConnection,
    hashes: list[bytes | None],
    log: sa.RowMapping | None,
    recomputed: _Recomputed,
) -> AsyncIterator[Finding]:
    """Let the recomputed tree grow, and compare it with every checkpoint on the way."""
    start, size = recomputed.size, t.audit_checkpoint.c.size
    within = sa.select(t.audit_checkpoint).where(size > start, size <= start + len(hashes)).order_by(size)
    for row in await connection.execute(within):
        recomputed.grow(hashes[recomputed.size - start : row.size - start])
        for finding in _checkpoint(row, log):
            yield finding
        if recomputed.signed_at is not None and row.signed_at < recomputed.signed_at:
            yield Finding(f"checkpoint {row.size}", "Its row says it was signed before the one before it.")
        recomputed.signed_at = row.signed_at
        if recomputed.frontier is None or merkle.frontier_root(recomputed.frontier) == row.root:
            for finding in _misfits(recomputed):
                yield finding
            recomputed.last_fit, recomputed.misfits = row.size, []
        else:
            recomputed.misfits = [*recomputed.misfits[:1], row.size]
    recomputed.grow(hashes[recomputed.size - start :])


def _misfits(recomputed: _Recomputed) -> Iterator[Finding]:
    """Checkpoints in a row that do not fit the entries are one finding: the first of them says where it begins."""
    if recomputed.misfits:
        first, last = recomputed.misfits[0], recomputed.misfits[-1]
        which = f"checkpoint {first}" if first == last else f"checkpoints {first} to {last}"
        yield Finding(
            which,
            f"The entries give another root: one of the leaves {recomputed.last_fit} to {first - 1}, "
            "or the checkpoint, was changed.",
        )


def _head(head: sa.Row, recomputed: _Recomputed) -> Iterator[Finding]:
    frontier = [head.frontier[at : at + LENGTH] for at in range(0, len(head.frontier), LENGTH)]
    nodes = merkle.perfect_subtrees(0, head.size)
    if len(frontier) != len(nodes) or len(head.frontier) % LENGTH:
        yield Finding("tree", f"Its frontier is not that of {head.size} leaves.")
    elif merkle.frontier_root(frontier) != head.root:
        yield Finding("tree", "Its root is not the one its frontier leads to.")
    if recomputed.frontier is None:
        yield Finding("tree", "Its root cannot be recomputed: an entry outside every full tile is gone.")
        return
    if merkle.frontier_root(recomputed.frontier) != head.root:
        yield Finding("tree", "Its root is not the one that the entries lead to.")
    for (height, index), kept, made in zip(nodes, frontier, recomputed.frontier, strict=False):
        if kept != made:
            leaves = f"leaves {index << height} to {((index + 1) << height) - 1}"
            yield Finding(f"tree, {leaves}", "Its frontier has another hash over them than the entries.")


# Entries that wait, and words outside the log


async def _outside(connection: AsyncConnection, recomputed: _Recomputed) -> AsyncIterator[Finding]:
    after = -1
    while True:
        rows = (await connection.execute(_OUTSIDE, {"after": after, "limit": BATCH})).all()
        spoken: list[dict[str, Any]] = []
        for after, body, stored, *columns, waiting in rows:
            where = f"entry {after} (not in the tree)"
            decoded, wrong = faults(body, stored, *columns)
            for what in wrong:
                yield Finding(where, what)
            if not waiting:
                yield Finding(where, "It is neither in the tree nor waits for it.")
            spoken += recomputed.hear(decoded, where)
        async for finding in _words(connection, spoken, recomputed):
            yield finding
        if len(rows) < BATCH:
            break
    for number in (await connection.execute(_NO_ENTRY, {"limit": MOST})).scalars():
        yield Finding(f"entry {number}", "It waits for the tree, but is gone.")
    kept = sa.select(sa.func.count()).select_from(t.audit_personal)
    if (await connection.execute(kept)).scalar_one() != recomputed.words:
        for entry, name in await connection.execute(_FOREIGN_WORDS, {"limit": MOST}):
            yield Finding(f"words “{name}” of {entry}", "No entry commits to them.")


async def _words(
    connection: AsyncConnection, spoken: list[dict[str, Any]], recomputed: _Recomputed
) -> AsyncIterator[Finding]:
    """Whether the words that entries commit to are still those. Words of an erased person are gone by right."""
    if not spoken:
        return
    revealed = await personal.reveal(connection, spoken)
    ids = [UUID(body["id"]) for body in spoken]
    kept = (
        sa.select(t.audit_personal.c.entry_id, t.audit_personal.c.name, t.audit_subject.c.pseudonym)
        .join(t.audit_subject, t.audit_subject.c.person_id == t.audit_personal.c.person_id)
        .where(t.audit_personal.c.entry_id.in_(ids))
    )
    whose = {(str(id), name): str(actor) for id, name, actor in await connection.execute(kept)}
    not_erased = await _known(connection, {body["actor"] for body in spoken})
    for body in spoken:
        for name, words in revealed[body["id"]].items():
            owner = whose.get((body["id"], name))
            recomputed.words += owner is not None
            if owner is None and body["actor"] in not_erased:
                yield Finding(body["where"], f"The words “{name}” are gone, and nobody was erased.")
            elif owner is not None and (words is None or owner != body["actor"]):
                yield Finding(
                    body["where"], f"The words “{name}” are not those it commits to, or another person's."
                )


async def _people(connection: AsyncConnection, recomputed: _Recomputed) -> AsyncIterator[Finding]:
    """Whether every pseudonym leads to a person, or an entry says that it no longer does."""
    known = await _known(connection, recomputed.actors)
    for actor in sorted(recomputed.actors - known - recomputed.erased):
        yield Finding(f"person {actor}", "The pseudonym leads to nobody, and no entry says they were erased.")
    for actor in sorted(await _known(connection, recomputed.erased)):
        yield Finding(
            f"person {actor}", "An entry says they were erased, and the pseudonym still leads to them."
        )


async def _known(connection: AsyncConnection, pseudonyms: set[str]) -> set[str]:
    """Those that lead to a person."""
    asked = sa.literal([UUID(item) for item in pseudonyms], pg.ARRAY(pg.UUID(as_uuid=True)))
    pseudonym = t.audit_subject.c.pseudonym
    found = await connection.execute(sa.select(pseudonym).where(pseudonym == sa.any_(asked)))
    return {str(item) for item in found.scalars()}


# Tiles above the leaves, and checkpoints


async def _upper_tiles(connection: AsyncConnection, size: int) -> AsyncIterator[Finding]:
    for level in range(1, LEVELS):
        for first in range(0, size >> HEIGHT * (level + 1), TILES):
            last = min(first + TILES, size >> HEIGHT * (level + 1))
            stored = await _stored_tiles(connection, level, first, last)
            below = await _stored_roots(connection, level - 1, first * WIDTH, last * WIDTH)
            for position in range(first, last):
                where = f"tile {position} of level {level}"
                if position not in stored:
                    yield Finding(where, "The tile is missing.")
                    continue
                kept, root = stored[position]
                for place, item in enumerate(kept):
                    under = position * WIDTH + place
                    if below.get(under, item) != item:
                        yield Finding(where, f"Its hash {place} is not the root of tile {under} below it.")
                if merkle.root_of(kept) != root:
                    yield Finding(where, "The tile's root is not the root of its hashes.")
    tile = t.audit_tile.c
    # PostgreSQL's numeric has no size that is too large for a shift.
    full = sa.func.div(sa.cast(size, sa.Numeric), sa.func.power(sa.cast(WIDTH, sa.Numeric), tile.level + 1))
    beyond = sa.select(tile.level, tile.position).where((tile.position >= full) | (tile.level >= LEVELS))
    for level, position in await connection.execute(beyond.limit(MOST)):
        yield Finding(f"tile {position} of level {level}", f"No tree of {size} leaves has this tile.")


async def _stored_tiles(
    connection: AsyncConnection, level: int, first: int, last: int
) -> dict[int, tuple[list[bytes], bytes]]:
    tile = t.audit_tile.c
    query = sa.select(tile.position, tile.hashes, tile.root)
    query = query.where(tile.level == level, tile.position >= first, tile.position < last)
    return {
        position: ([hashes[at : at + LENGTH] for at in range(0, len(hashes), LENGTH)], root)
        for position, hashes, root in await connection.execute(query)
    }


async def _stored_roots(connection: AsyncConnection, level: int, first: int, last: int) -> dict[int, bytes]:
    tile = t.audit_tile.c
    query = sa.select(tile.position, tile.root)
    query = query.where(tile.level == level, tile.position >= first, tile.position < last)
    return dict((await connection.execute(query)).all())


def _checkpoint(row: sa.Row, log: sa.RowMapping | None) -> Iterator[Finding]:
    where = f"checkpoint {row.size}"
    if log is None:
        yield Finding(where, "The log's origin and key are missing.")
        return
    try:
        text, _ = open_note(row.note, [VerifierKey.parse(log["verifier_key"])])
        said = Checkpoint.parse(text)
    except NoteError as error:
        yield Finding(where, f"Its note is not one that the log signed: {error}.")
        return
    if said != Checkpoint(log["origin"], row.size, said.root):
        yield Finding(where, f"Its note is of {said.origin} at {said.size} leaves.")
    if said.root != row.root:
        yield Finding(where, "Its note says another root than its row.")


async def _checkpoints_beyond(
    connection: AsyncConnection, size: int, log: sa.RowMapping | None
) -> AsyncIterator[Finding]:
    beyond = sa.select(t.audit_checkpoint).where(
        (t.audit_checkpoint.c.size > size) | (t.audit_checkpoint.c.size <= 0)
    )
    for row in await connection.execute(beyond.order_by(t.audit_checkpoint.c.size).limit(MOST)):
        yield Finding(f"checkpoint {row.size}", f"The tree has {size} leaves.")
        for finding in _checkpoint(row, log):
            yield finding


# What others said of checkpoints


async def _cosignatures(connection: AsyncConnection) -> AsyncIterator[Finding]:
    query = (
        sa.select(t.audit_cosignature, t.audit_checkpoint.c.note)
        .outerjoin(t.audit_checkpoint, t.audit_checkpoint.c.size == t.audit_cosignature.c.size)
        .order_by(t.audit_cosignature.c.size, t.audit_cosignature.c.witness)
    )
    async for row in await connection.stream(query.execution_options(yield_per=1000)):
        where = f"cosignature of checkpoint {row.size} by {row.witness.partition('+')[0]}"
        if row.note is None:
            yield Finding(where, "The checkpoint is gone.")
            continue
        try:
            text = row.note.rpartition("\n\n")[0] + "\n"
            open_note(f"{text}\n{row.line}\n", [VerifierKey.parse(row.witness)])
        except NoteError as error:
            yield Finding(where, f"It does not hold: {error}.")


async def _anchors(connection: AsyncConnection) -> AsyncIterator[Finding]:
    query = (
        sa.select(t.anchor, t.audit_checkpoint.c.root.label("root"), t.audit_checkpoint.c.note.label("note"))
        .outerjoin(t.audit_checkpoint, t.audit_checkpoint.c.size == t.anchor.c.checkpoint_size)
        .where(t.anchor.c.kind == "checkpoint")
        .order_by(t.anchor.c.checkpoint_size)
    )
    async for row in await connection.stream(query.execution_options(yield_per=1000)):
        for what in _anchor_faults(row):
            yield Finding(f"anchor {row.id} of checkpoint {row.checkpoint_size}", what)


def _anchor_faults(row: sa.Row) -> Iterator[str]:
    """What stands, or is to stand, on Solana is the checkpoint (docs/audit.md)."""
    if row.note is None:
        yield "The checkpoint is gone."
        return
    if row.memo != row.note:
        yield "Its memo is not the signed checkpoint."
    origin, root = row.note.partition("\n")[0], base64.b64encode(row.root).decode()
    action = f"audit-checkpoint {origin} {row.checkpoint_size} {root} constitution {row.constitution_sha256}"
    if bytes(row.record) != action.encode():
        yield "Its record is not the action that names the checkpoint."
    if hashlib.sha256(row.record).hexdigest() != row.record_sha256:
        yield "Its record has another SHA-256 than is stored."
