"""The log as C2SP tlog-tiles serves it, so that other people's tools work against us unmodified."""

from __future__ import annotations

import gzip
import re
from collections.abc import AsyncIterator
from functools import partial

from anyio.to_thread import run_sync
from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Stream
from sqlalchemy.ext.asyncio import AsyncConnection

from portal.api.bundles import known_chain
from portal.auth.guards import public
from portal.database import begin_read
from portal.exports import record_export
from portal.headers import A_YEAR
from portal.services import services
from workflows.audit_transparency import archive, checkpoints, tree
from workflows.audit_transparency.tree import HEIGHT, WIDTH
from workflows.errors import NotFound

TEXT = "text/plain"  # Litestar adds the charset
BYTES = "application/octet-stream"
# Anyone's page may read this: it says the same to everybody.
OPEN = {"Access-Control-Allow-Origin": "*", "Cross-Origin-Resource-Policy": "cross-origin"}
BRIEFLY = {**OPEN, "Cache-Control": "public, max-age=1"}
# What stands at a tile's address never changes, not even for a partial one: its width is part of the address.
FOR_EVER = {**OPEN, "Cache-Control": A_YEAR}
NOTHING_YET = "There is no checkpoint yet: nothing has been signed.\n"
# <L>/<N>[.p/<W>], each number in its one spelling: none larger than a tree can have, no zeroes that say nothing.
TILE = re.compile(
    r"/audit/tile/(entries|0|[1-9]|[1-5]\d|6[0-3])/((?:x(?!000)\d{3}/(?:x\d{3}/){0,4})?\d{3})"
    r"(?:\.p/([1-9]|[1-9]\d|1\d\d|2[0-4]\d|25[0-5]))?",
    re.ASCII,
)


@get("/audit/checkpoint", guards=[public], include_in_schema=False)
async def checkpoint(reader: NamedDependency[AsyncConnection]) -> Response[bytes]:
    """The newest one, with its cosignatures."""
    newest = await checkpoints.latest(reader)
    if newest is None:
        return _absent(NOTHING_YET)
    note = await checkpoints.note(reader, newest.size)
    return Response(note.encode(), media_type=TEXT, headers=BRIEFLY)


@get("/audit/key", guards=[public], include_in_schema=False)
async def key(reader: NamedDependency[AsyncConnection]) -> Response[bytes]:
    """The verifier key (`vkey`) of C2SP signed-note."""
    log = await checkpoints.identity(reader)
    if log is None:
        return _absent(NOTHING_YET)
    headers = {**OPEN, "Cache-Control": "public, max-age=3600"}
    return Response(f"{log.verifier_key}\n".encode(), media_type=TEXT, headers=headers)


@get("/audit/tile/{rest:path}", guards=[public], include_in_schema=False)
async def tile(request: Request, rest: FromPath[str], reader: NamedDependency[AsyncConnection]) -> Response:
    """Hashes, or entries, as far as the newest checkpoint reaches: what nobody has signed is shown to nobody."""
    # As it was sent: the router takes away slashes and percent signs.
    sent = (request.scope.get("raw_path") or b"").partition(b"?")[0].decode("latin-1")
    found = TILE.fullmatch(sent)
    if found is None:
        return _absent("This is no address of a tile (c2sp.org/tlog-tiles).\n")
    level = 0 if found[1] == "entries" else int(found[1])
    position = int(re.sub(r"[x/]", "", found[2]))
    width = int(found[3] or WIDTH)
    newest = await checkpoints.latest(reader)
    if newest is None:
        return _absent(NOTHING_YET)
    if position * WIDTH + width > newest.size >> HEIGHT * level:
        return _absent(f"The newest checkpoint has {newest.size} entries; this tile would need more.\n")
    if found[1] != "entries":
        return Response(await tree.tile(reader, level, position, width), media_type=BYTES, headers=FOR_EVER)
    body = await tree.entry_bundle(reader, position, width) or b""
    headers = {**FOR_EVER, "Vary": "Accept-Encoding"}
    if _takes_gzip(request):
        headers["Content-Encoding"] = "gzip"
        body = await run_sync(partial(gzip.compress, body, 6, mtime=0))
    return Response(body, media_type=BYTES, headers=headers)


@get("/audit/log.zip", guards=[public], include_in_schema=False)
async def whole(request: Request) -> Response:
    """All of it up to the newest checkpoint, as it is read: it never lies in memory whole."""
    held = services(request)
    async with begin_read(held.engine) as reader:
        outline = await archive.outline(reader, held.constitution, await known_chain(reader, held.chain))
    if outline is None:
        raise NotFound("There is no checkpoint yet, so there is nothing to hand out.", code="no_checkpoint")
    headers = {
        **OPEN,
        "Cache-Control": "no-store",
        "Content-Disposition": f'attachment; filename="log-{outline.size}.zip"',
    }
    if request.scope["state"].get("head_only"):
        return Response(b"", media_type="application/zip", headers=headers)
    await record_export(request, f"log.zip of {outline.size} entries", "log")
    content: AsyncIterator[bytes] = archive.pieces(partial(begin_read, held.engine), outline)
    return Stream(content, media_type="application/zip", headers=headers)


def _absent(words: str) -> Response[bytes]:
    headers = {**OPEN, "Cache-Control": "no-store"}
    return Response(words.encode(), status_code=404, media_type=TEXT, headers=headers)


def _takes_gzip(request: Request) -> bool:
    """Whether Accept-Encoding names gzip with a weight above nothing (RFC 9110, 12.5.3)."""
    for item in request.headers.get("accept-encoding", "").lower().split(","):
        name, *parameters = (part.strip() for part in item.split(";"))
        if name in ("gzip", "x-gzip"):
            return not any(re.fullmatch(r"q=0(\.0*)?", each) for each in parameters)
    return False


routes: list = [checkpoint, key, tile, whole]
