"""Signed tree heads: one after the other, each beginning with the one before, whatever became of the database.

The last one is also kept in a second place, a file outside the database. It is compared before anything is signed, so
that a restored backup cannot continue another history under the same key.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import anyio.to_thread
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from workflows.audit_transparency import tree
from workflows.audit_transparency.notes import Checkpoint, NoteError, Signer, open_note
from workflows.errors import FieldError, Invalid, NotFound
from workflows.policy_creation.views import Page
from workflows.storage.paging import LARGEST
from workflows.storage.tables import audit_checkpoint, audit_cosignature, audit_log

ONE_SIGNS = 0x41434753_5349474E  # an advisory lock, "ACGSSIGN"


class Fork(RuntimeError):
    """What we are asked to sign is not the continuation of what we signed before; the message says how. Nothing is signed."""


class WrongKey(Fork):
    """The log was founded under another origin or key."""


@dataclass(frozen=True)
class SignedCheckpoint:
    """A tree head as it was signed: `note` byte for byte, without cosignatures."""

    size: int
    root: bytes
    note: str
    signed_at: datetime


@dataclass(frozen=True)
class Log:
    """Who the log is: its C2SP origin and its verifier key (`vkey`), for as long as it lives."""

    origin: str
    verifier_key: str
    founded_at: datetime


class SecondPlace:
    """A file with the last signed checkpoint, replaced whole, and only by whoever knows what it holds."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)

    def read(self) -> str | None:
        """The note it holds; None before the first."""
        try:
            return self.path.read_bytes().decode()
        except FileNotFoundError:
            return None
        except UnicodeDecodeError as error:
            raise Fork(f"The second place, {self.path}, holds no text.") from error

    def swap(self, expected: str | None, note: str) -> None:
        """On disk before this returns. Raises Fork where the place no longer holds `expected`."""
        with self._locked():
            if self.read() != expected:
                raise Fork(f"Somebody else signed meanwhile: {self.path} holds another checkpoint.")
            draft = self.path.with_name(f".{self.path.name}.new")
            with draft.open("wb") as out:
                out.write(note.encode())
                out.flush()
                os.fsync(out.fileno())
            draft.replace(self.path)
            self._settle()

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.with_name(f".{self.path.name}.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # until it is closed
            yield

    def _settle(self) -> None:
        directory = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


# Signing


async def sign(
    engine: AsyncEngine, signer: Signer, origin: str, place: SecondPlace
) -> SignedCheckpoint | None:
    """Sign the tree's head, if it grew since it was last signed; None if not, or while somebody else is at it.

    The engine is one of role `acgs_sequencer`. The second place is compared first and written before the database. What
    a crash left between the two is taken over byte for byte. Raises Fork or WrongKey, and then nothing is signed.
    """
    if signer.name != origin:
        raise WrongKey(f"A log signs under its origin: {origin}, not {signer.name}.")
    async with engine.begin() as connection:
        lock = sa.select(sa.func.pg_try_advisory_xact_lock(ONE_SIGNS))
        if not (await connection.execute(lock)).scalar_one():
            return None
        try:
            return await _sign(connection, signer, place)
        except tree.Damaged as error:
            raise Fork(f"The log's tables contradict one another: {error}.") from error


async def _sign(connection: AsyncConnection, signer: Signer, place: SecondPlace) -> SignedCheckpoint | None:
    founded = await _insist_on_identity(connection, signer)
    newest = before = await latest(connection)
    if newest is not None:
        await _insist_begins(connection, signer, newest.note, "newest checkpoint in the database")
    held = await anyio.to_thread.run_sync(place.read)
    if held is not None:
        kept = await _insist_begins(connection, signer, held, "checkpoint in the second place")
        if newest is None or kept.size > newest.size:
            newest = await _insert(connection, signer, kept, held, founded)
    size, root = await tree.head(connection)
    if size > (newest.size if newest else 0):
        # Proofs come from the tiles: a head that they do not lead to would make all of them fail.
        if await tree.root_at(connection, size) != root:
            raise tree.Damaged("the tree's root is not the one that its leaves and tiles lead to")
        head = Checkpoint(signer.name, size, root)
        note = signer.sign(head.text())
        await anyio.to_thread.run_sync(place.swap, held, note)
        return await _insert(connection, signer, head, note, founded or newest is not None)
    if newest is not None and held != newest.note:
        # Another instance signed, or the file is new: from here on this one knows of it too.
        await anyio.to_thread.run_sync(place.swap, held, newest.note)
    return newest if newest is not before else None


async def _insist_on_identity(connection: AsyncConnection, signer: Signer) -> bool:
    """Whether the log is founded. Raises WrongKey where it is another's."""
    known = await identity(connection)
    if known is None:
        return False
    if known.origin != signer.name:
        raise WrongKey(f"This log was founded as {known.origin}; it cannot go on as {signer.name}.")
    if known.verifier_key != str(signer.verifier_key):
        raise WrongKey(
            f"This log was founded with the key {known.verifier_key}; it cannot be signed with {signer.verifier_key}."
        )
    return True


async def _insist_begins(connection: AsyncConnection, signer: Signer, note: str, what: str) -> Checkpoint:
    """The checkpoint in a note that we signed, and with which our tree begins. Raises Fork."""
    origin = note.partition("\n")[0]
    if origin != signer.name:
        raise WrongKey(f"The {what} is of another log: {origin}, not {signer.name}.")
    try:
        text, _ = open_note(note, [signer.verifier_key])
        seen = Checkpoint.parse(text)
    except NoteError as error:
        raise WrongKey(f"The {what} is not signed with this log's key: {error}.") from error
    size, _ = await tree.head(connection)
    if seen.size > size:
        raise Fork(
            f"The {what} has {seen.size} entries, the database only {size}: it was restored from a backup or replaced."
        )
    if await tree.root_at(connection, seen.size) != seen.root:
        raise Fork(
            f"The {what} has another root at {seen.size} entries than the database: history was rewritten."
        )
    return seen


async def _insert(
    connection: AsyncConnection, signer: Signer, head: Checkpoint, note: str, founded: bool
) -> SignedCheckpoint:
    now = sa.func.clock_timestamp()
    if not founded:
        founding = {
            "id": 1,
            "origin": signer.name,
            "verifier_key": str(signer.verifier_key),
            "founded_at": now,
        }
        await connection.execute(sa.insert(audit_log).values(founding))
    values = {"size": head.size, "root": head.root, "note": note, "signed_at": now}
    statement = sa.insert(audit_checkpoint).values(values).returning(audit_checkpoint.c.signed_at)
    return SignedCheckpoint(head.size, head.root, note, (await connection.execute(statement)).scalar_one())


# Reading


async def identity(connection: AsyncConnection) -> Log | None:
    """Who the log is; None before its first checkpoint."""
    query = sa.select(audit_log.c.origin, audit_log.c.verifier_key, audit_log.c.founded_at)
    row = (await connection.execute(query)).one_or_none()
    return Log(*row) if row else None


async def latest(connection: AsyncConnection) -> SignedCheckpoint | None:
    row = (await connection.execute(_newest_first().limit(1))).one_or_none()
    return _signed(row) if row else None


async def at(connection: AsyncConnection, size: int) -> SignedCheckpoint:
    """Raises NotFound where no checkpoint of exactly that size was signed."""
    row = (await connection.execute(_newest_first().where(audit_checkpoint.c.size == size))).one_or_none()
    if row is None:
        raise NotFound(f"No checkpoint was signed at {size} entries.", code="no_such_checkpoint")
    return _signed(row)


async def covering(connection: AsyncConnection, size: int) -> SignedCheckpoint | None:
    """The first checkpoint with at least `size` entries; None while there is none."""
    query = sa.select(audit_checkpoint).where(audit_checkpoint.c.size >= size)
    row = (await connection.execute(query.order_by(audit_checkpoint.c.size).limit(1))).one_or_none()
    return _signed(row) if row else None


async def page(
    connection: AsyncConnection, *, limit: int = 50, cursor: str | None = None
) -> Page[SignedCheckpoint]:
    """Checkpoints, newest first; `next` leads to older ones, `prev` to newer.

    Raises Invalid for a cursor this function did not give, or a limit outside 1…200.
    """
    if not 1 <= limit <= LARGEST:
        raise Invalid("The page size is out of range.", errors=(FieldError("/limit", f"1 to {LARGEST}."),))
    newer, edge = _read_cursor(cursor)
    query = sa.select(audit_checkpoint)
    size = audit_checkpoint.c.size
    if edge is not None:
        query = query.where(size > edge if newer else size < edge)
    query = query.order_by(size.asc() if newer else size.desc()).limit(limit + 1)
    rows = list(await connection.execute(query))
    more, rows = len(rows) > limit, rows[:limit]
    if newer:
        rows.reverse()
    before, after = (more, True) if newer else (edge is not None, more)
    return Page(
        items=[_signed(row) for row in rows],
        next=f"before-{rows[-1].size}" if rows and after else None,
        prev=f"after-{rows[0].size}" if rows and before else None,
        limit=limit,
        has_more=bool(rows and after),
    )


async def note(connection: AsyncConnection, size: int) -> str:
    """The checkpoint of that size as it is served: as signed, then its witnesses' lines. Raises NotFound."""
    signed = await at(connection, size)
    query = sa.select(audit_cosignature.c.line).where(audit_cosignature.c.size == size)
    lines = (await connection.execute(query.order_by(audit_cosignature.c.witness))).scalars()
    return signed.note + "".join(f"{line}\n" for line in lines)


def _newest_first() -> sa.Select:
    return sa.select(audit_checkpoint).order_by(audit_checkpoint.c.size.desc())


def _signed(row: sa.Row) -> SignedCheckpoint:
    return SignedCheckpoint(row.size, bytes(row.root), row.note, row.signed_at)


def _read_cursor(cursor: str | None) -> tuple[bool, int | None]:
    if not cursor:
        return False, None
    side, _, number = cursor.partition("-")
    if side not in ("before", "after") or not number.isascii() or not number.isdecimal() or len(number) > 18:
        refusal = FieldError("/cursor", "Use a cursor that a page gave you.")
        raise Invalid("This is not one of our cursors.", code="bad_cursor", errors=(refusal,))
    return side == "after", int(number)
