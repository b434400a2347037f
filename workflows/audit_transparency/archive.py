"""The whole log as one ZIP, written while it is read: however long the log is, only a piece of it lies in memory."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

import rfc8785
from anyio.to_thread import run_sync
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.audit_transparency import bundle, checkpoints, tree
from workflows.audit_transparency.anchors import CheckpointAnchor, checkpoint_anchors
from workflows.audit_transparency.bundle import ChainIdentity
from workflows.audit_transparency.tree import WIDTH
from workflows.constitution.document import Constitution
from workflows.storage.paging import LARGEST

SCHEMA = "acgs.log/1"
BUNDLES = 8  # entry bundles a read: 2048 entries, a few megabytes at most of usual ones
LEVEL = 1  # what is large is read once and thrown away; more costs minutes of a processor

Readers = Callable[[], AbstractAsyncContextManager[AsyncConnection]]


@dataclass(frozen=True)
class Outline:
    """What is fixed before the first byte: the checkpoint up to which all of it goes."""

    size: int
    note: str
    constitution: bytes
    about: dict[str, Any]


async def outline(
    connection: AsyncConnection, constitution: Constitution, chain: ChainIdentity
) -> Outline | None:
    """None before the first checkpoint."""
    log, newest = await checkpoints.identity(connection), await checkpoints.latest(connection)
    if log is None or newest is None:
        return None
    about = bundle.about_log(SCHEMA, log, newest.size, constitution.sha256, chain)
    note = await checkpoints.note(connection, newest.size)
    return Outline(newest.size, note, constitution.body, about)


async def pieces(readers: Readers, fixed: Outline) -> AsyncIterator[bytes]:
    """The ZIP's bytes. `log.json` comes last, as only then is every digest known.

    What is below a checkpoint never changes, so that no transaction need stay open while a slow reader reads.
    """
    out = _Pipe()
    archive = zipfile.ZipFile(out, "w")
    digests: dict[str, str] = {}

    def write(files: dict[str, bytes]) -> bytes:
        for name, content in files.items():
            archive.writestr(bundle.member(name), content, compresslevel=LEVEL)
            digests[name] = hashlib.sha256(content).hexdigest()
        return out.taken()

    yield write({"checkpoint.txt": fixed.note.encode(), "constitution.md": fixed.constitution})
    async for files in _entries(readers, fixed.size):
        yield await run_sync(write, files)
    sizes: set[int] = set()
    told = hashlib.sha256()
    with archive.open(bundle.member("anchors.json"), "w") as file:
        async for some in _anchors(readers, fixed.size, sizes):
            file.write(some)
            told.update(some)
            yield out.taken()
    digests["anchors.json"] = told.hexdigest()
    for size in sorted(sizes):
        async with readers() as connection:
            proof = await tree.consistency_proof(connection, size, fixed.size)
        yield write({f"consistency/{size}.txt": bundle.hash_lines(proof)})
    yield write({"log.json": rfc8785.dumps({**fixed.about, "files": dict(digests)})})
    archive.close()
    yield out.taken()


async def _entries(readers: Readers, size: int) -> AsyncIterator[dict[str, bytes]]:
    """Entry bundles under the names that tlog-tiles gives them, some at a time; the last one is partial."""
    count = -(-size // WIDTH)
    for first in range(0, count, BUNDLES):
        files = {}
        async with readers() as connection:
            for position in range(first, min(first + BUNDLES, count)):
                width = min(WIDTH, size - position * WIDTH)
                body = await tree.entry_bundle(connection, position, width)
                if body is None:
                    raise tree.Damaged(f"entry bundle {position} is not there, though a checkpoint covers it")
                files[f"entries/{tile_name(position, width)}"] = body
        yield files


async def _anchors(readers: Readers, size: int, sizes: set[int]) -> AsyncIterator[bytes]:
    """`anchors.json` in pieces: every anchor of a checkpoint no larger than `size`, newest first. Notes the sizes."""
    cursor, before = None, b"["
    while True:
        async with readers() as connection:
            page = await checkpoint_anchors(connection, limit=LARGEST, cursor=cursor)
        items = [item for item in page.items if item.size <= size]
        sizes.update(item.size for item in items)
        if items:
            yield before + b",".join(rfc8785.dumps(_described(item)) for item in items)
            before = b","
        cursor = page.next
        if cursor is None:
            break
    yield b"[]" if before == b"[" else b"]"


def _described(item: CheckpointAnchor) -> dict[str, Any]:
    return {**bundle.log_anchor(item), "state": str(item.state), "genesis_hash": item.genesis_hash}


def tile_name(position: int, width: int) -> str:
    """`<N>[.p/<W>]` of C2SP tlog-tiles: groups of three digits, all but the last with an x."""
    groups = [f"{position % 1000:03}"]
    while position := position // 1000:
        groups.insert(0, f"x{position % 1000:03}")
    return "/".join(groups) + ("" if width == WIDTH else f".p/{width}")


class _Pipe(io.RawIOBase):
    """Takes what zipfile writes, and gives it on; nobody can go back in it."""

    def __init__(self) -> None:
        self.written = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.written += data
        return len(data)

    def taken(self) -> bytes:
        data = bytes(self.written)
        self.written.clear()
        return data
