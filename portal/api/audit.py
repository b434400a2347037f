"""The audit log for programs: entries, proofs and checkpoints, without signing in."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator
from typing import Annotated, Any

import msgspec
import sqlalchemy as sa
from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import PathParameter, QueryParameter
from litestar.response import Stream
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from portal.api.answers import Listing, fresh, problems
from portal.api.audit_shapes import (
    CheckpointView,
    ConsistencyProof,
    EntryItem,
    InclusionProof,
    LogAnchor,
    LogView,
    Unanchored,
    WitnessView,
)
from portal.api.http import paged, tagged
from portal.api.parameters import NO_NUL, Cursor, Limit
from portal.auth.guards import public
from portal.database import begin_read
from portal.exports import record_export
from portal.periods import span
from portal.services import services
from portal.settings import Settings
from workflows.audit_transparency import anchors, checkpoints, entries, proofs, tree
from workflows.audit_transparency.checkpoints import SignedCheckpoint
from workflows.audit_transparency.entries import EntryFilters, EntryView
from workflows.audit_transparency.notes import VerifierKey
from workflows.errors import NotFound
from workflows.policy_creation.rows import build
from workflows.storage.tables import (
    audit_checkpoint,
    audit_cosignature,
    audit_entry,
    audit_leaf,
    audit_pending,
)

PATH = "/api/v1/audit"
TAGS = ["Audit log"]
NDJSON = "application/x-ndjson"
PIECE = 1000  # entries a read of the export
RECENT = 200  # checkpoints among which a witness's newest cosignature is looked for
BIGGEST = 2**63 - 1

Index = Annotated[int, PathParameter(description="The entry's place in the log, from 0.", ge=0, le=BIGGEST)]
Size = Annotated[int, PathParameter(description="How many entries it covers.", ge=0, le=BIGGEST)]


# The log and its checkpoints


@get(
    PATH + "/log",
    guards=[public],
    conditional=True,
    tags=TAGS,
    summary="See how the log stands",
    description="Who the log is (C2SP origin and verifier key), how far it is ordered, signed, cosigned and anchored. "
    "The same log is served as C2SP tlog-tiles under `/audit` (`/audit/checkpoint`, `/audit/tile/…`).",
    responses=problems(),
)
async def log(
    request: Request, reader: NamedDependency[AsyncConnection], settings: NamedDependency[Settings]
) -> Response[LogView]:
    founded, newest = await checkpoints.identity(reader), await checkpoints.latest(reader)
    size, _ = await tree.head(reader)
    waiting = sa.select(sa.func.count()).select_from(audit_pending)
    anchored, oldest = await anchors.newest_final(reader), await anchors.oldest_unanchored(reader)
    view = LogView(
        origin=founded.origin if founded else None,
        verifier_key=founded.verifier_key if founded else None,
        founded_at=founded.founded_at if founded else None,
        size=size,
        pending=(await reader.execute(waiting)).scalar_one(),
        checkpoint=_view(newest, await checkpoints.note(reader, newest.size)) if newest else None,
        anchor=build(LogAnchor, vars(anchored)) if anchored else None,
        oldest_unanchored=Unanchored(index=oldest.index, at=oldest.at, age_seconds=oldest.age.total_seconds())
        if oldest
        else None,
        witnesses=await _witnesses(reader, [key for key, _ in settings.log_witnesses]),
        links={
            "html": "/audit",
            "checkpoint": "/audit/checkpoint",
            "key": "/audit/key",
            "entries": f"{PATH}/entries",
            "whole": "/audit/log.zip",
        },
    )
    return fresh(request, view)


@get(
    PATH + "/checkpoints",
    guards=[public],
    tags=TAGS,
    summary="List checkpoints",
    description="Newest first, each as the log signed it.",
    responses=problems(),
)
async def list_checkpoints(
    request: Request, reader: NamedDependency[AsyncConnection], limit: Limit = 50, cursor: Cursor = None
) -> Response[Listing[CheckpointView]]:
    page = await checkpoints.page(reader, limit=limit, cursor=cursor)
    views = [_view(item, item.note) for item in page.items]
    return paged(msgspec.structs.replace(page, items=views), request)


@get(
    PATH + "/checkpoints/{size:int}",
    guards=[public],
    conditional=True,
    tags=TAGS,
    summary="Read a checkpoint",
    description="The one of exactly that size, with its cosignatures.",
    responses=problems(404),
)
async def read_checkpoint(
    request: Request, size: Size, reader: NamedDependency[AsyncConnection]
) -> Response[CheckpointView]:
    found = await checkpoints.at(reader, size)
    return fresh(request, _view(found, await checkpoints.note(reader, size)))


# Entries

MOMENT = "RFC 3339, or a date."
From = Annotated[str | None, QueryParameter(name="from", description=f"Not before: {MOMENT}", max_length=40)]
To = Annotated[
    str | None,
    QueryParameter(name="to", description=f"Before: {MOMENT} A date is included.", max_length=40),
]


@get(
    PATH + "/entries",
    guards=[public],
    tags=TAGS,
    summary="Search the log",
    description="Newest first. Filters narrow it down; a search for words (`q`) that would read too much is 422 "
    "`search_too_wide`, and wants another filter beside it.",
    responses=problems(),
)
async def find(
    request: Request,
    reader: NamedDependency[AsyncConnection],
    q: Annotated[
        str, QueryParameter(description="Found anywhere in the entry.", max_length=200, pattern=NO_NUL)
    ] = "",
    type_: Annotated[
        str,
        QueryParameter(
            name="type",
            description="As `vote.cast`, or the beginning of it with its dot: `policy.`",
            max_length=100,
            pattern=NO_NUL,
        ),
    ] = "",
    subject: Annotated[
        str, QueryParameter(description="As POL-2026-0007, log, chain.", max_length=100, pattern=NO_NUL)
    ] = "",
    actor_: Annotated[
        str,
        QueryParameter(
            name="actor", description="A pseudonym, or system, visitor.", max_length=100, pattern=NO_NUL
        ),
    ] = "",
    from_: From = None,
    to: To = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response[Listing[EntryItem]]:
    since, until = span(from_, to)
    filters = EntryFilters(q=q, type=type_, subject=subject, actor=actor_, since=since, until=until)
    page = await entries.search(reader, filters, limit=limit, cursor=cursor)
    return paged(msgspec.structs.replace(page, items=[_item(each) for each in page.items]), request)


@get(
    PATH + "/entries/{index:int}",
    guards=[public],
    conditional=True,
    tags=TAGS,
    summary="Read an entry",
    description="By its place in the log, from 0.",
    responses=problems(404),
)
async def read(
    request: Request, index: Index, reader: NamedDependency[AsyncConnection]
) -> Response[EntryItem]:
    return fresh(request, _item(await entries.entry(reader, index)))


# Proofs


@get(
    PATH + "/entries/{index:int}/proof",
    guards=[public],
    conditional=True,
    media_type="text/plain",
    tags=TAGS,
    summary="Get an entry's proof as one file",
    description="A C2SP tlog-proof: index, inclusion path, and the newest checkpoint with its cosignatures. 404 until a "
    "checkpoint covers the entry, which takes about a second.",
    responses=problems(404),
)
async def entry_proof(
    request: Request, index: Index, reader: NamedDependency[AsyncConnection]
) -> Response[str]:
    text = await proofs.tlog_proof(reader, index)
    response = tagged(request, text, hashlib.sha256(text.encode()).hexdigest(), media_type="text/plain")
    response.headers["Cache-Control"] = "public, no-cache"
    return response


@get(
    PATH + "/proofs/inclusion",
    guards=[public],
    conditional=True,
    tags=TAGS,
    summary="Prove that an entry is in the log",
    description="Against the log of any size up to the newest checkpoint's; without `size`, of that one.",
    responses=problems(404),
)
async def inclusion(
    request: Request,
    reader: NamedDependency[AsyncConnection],
    index: Annotated[int, QueryParameter(description="The entry's place, from 0.", ge=0, le=BIGGEST)],
    size: Annotated[
        int | None, QueryParameter(description="Entries of the log proven against.", ge=1, le=BIGGEST)
    ] = None,
) -> Response[InclusionProof]:
    newest = await _insist_signed(reader, size)
    against = newest if size is None else size
    path = await tree.inclusion_proof(reader, index, against)
    query = (
        sa.select(audit_entry.c.leaf_sha256)
        .join(audit_leaf, audit_leaf.c.entry == audit_entry.c.number)
        .where(audit_leaf.c.index == index)
    )
    view = InclusionProof(
        index=index,
        size=against,
        leaf_sha256=bytes((await reader.execute(query)).scalar_one()).hex(),
        root=(await tree.root_at(reader, against)).hex(),
        hashes=_base64(path),
        checkpoint=await _note(reader, against),
    )
    return fresh(request, view)


@get(
    PATH + "/proofs/consistency",
    guards=[public],
    conditional=True,
    tags=TAGS,
    summary="Prove that nothing was rewritten between two sizes",
    description="That the log of `from` entries is the beginning of the log of `to`, neither larger than the newest "
    "checkpoint's; without `to`, of that one.",
    responses=problems(404),
)
async def consistency(
    request: Request,
    reader: NamedDependency[AsyncConnection],
    from_: Annotated[int, QueryParameter(name="from", description="The older size.", ge=0, le=BIGGEST)],
    to: Annotated[int | None, QueryParameter(description="The newer size.", ge=0, le=BIGGEST)] = None,
) -> Response[ConsistencyProof]:
    newest = await _insist_signed(reader, to)
    newer = newest if to is None else to
    view = ConsistencyProof(
        from_=from_,
        to=newer,
        hashes=_base64(await tree.consistency_proof(reader, from_, newer)),
        from_root=(await tree.root_at(reader, from_)).hex(),
        to_root=(await tree.root_at(reader, newer)).hex(),
        from_checkpoint=await _note(reader, from_),
        to_checkpoint=await _note(reader, newer),
    )
    return fresh(request, view)


# Open data


@get(
    PATH + "/export.ndjson",
    guards=[public],
    media_type=NDJSON,
    tags=TAGS,
    summary="Download entries as open data",
    description="One JSON object a line, in the log's order, up to the newest checkpoint: {index, leaf_sha256, entry}, "
    "`entry` being the very bytes that were hashed. `from` and `to` bound the entries' time. "
    "What people wrote stands outside the log and is not in it. Taking it is entered in the log first.",
    responses=problems(404),
)
async def export(
    request: Request,
    from_: From = None,
    to: To = None,
) -> Stream:
    since, until = span(from_, to)
    within = [audit_entry.c.at >= since] if since else []
    within += [audit_entry.c.at < until] if until else []
    held = services(request)
    async with begin_read(held.engine) as reader:
        size = await _insist_signed(reader, None)
    headers = {
        "Cache-Control": "no-store",
        "Content-Disposition": f'attachment; filename="audit-{size}.ndjson"',
    }
    if request.scope["state"].get("head_only"):
        return Stream(iter(()), media_type=NDJSON, headers=headers)
    period = f" from {from_}" * bool(from_) + f" to {to}" * bool(to)
    await record_export(request, f"audit.ndjson of {size} entries{period}", "log")
    return Stream(_lines(held.engine, size, within), media_type=NDJSON, headers=headers)


async def _lines(
    engine: AsyncEngine, size: int, within: list[sa.ColumnElement[bool]]
) -> AsyncIterator[bytes]:
    """No transaction stays open while a slow reader reads: below a checkpoint nothing changes."""
    wanted = (
        sa.select(audit_leaf.c.index, audit_entry.c.leaf_sha256, audit_entry.c.body)
        .join(audit_entry, audit_entry.c.number == audit_leaf.c.entry)
        .where(audit_leaf.c.index < size, *within)
        .order_by(audit_leaf.c.index)
        .limit(PIECE)
    )
    after = -1
    while True:
        async with begin_read(engine) as reader:
            rows = (await reader.execute(wanted.where(audit_leaf.c.index > after))).all()
        if not rows:
            return
        after = rows[-1].index
        yield b"".join(
            b'{"index":%d,"leaf_sha256":"%s","entry":%s}\n'
            % (row.index, bytes(row.leaf_sha256).hex().encode(), bytes(row.body))
            for row in rows
        )


# Parts


def _item(found: EntryView) -> EntryItem:
    own = {name: value for name, value in vars(found).items() if name in EntryItem.__struct_fields__}
    at = f"entries/{found.index}"
    links = {"self": f"{PATH}/{at}", "html": f"/audit/{at}", "proof": f"{PATH}/{at}/proof"}
    return EntryItem(**own, links=links)


def _view(signed: SignedCheckpoint, note: str) -> CheckpointView:
    return CheckpointView(size=signed.size, root=signed.root.hex(), signed_at=signed.signed_at, note=note)


def _base64(hashes: list[bytes]) -> list[str]:
    return [base64.b64encode(item).decode() for item in hashes]


async def _insist_signed(reader: AsyncConnection, size: int | None) -> int:
    """The newest checkpoint's size. Raises NotFound before the first, and for a larger `size`."""
    newest = await checkpoints.latest(reader)
    if newest is None:
        raise NotFound("There is no checkpoint yet: nothing has been signed.", code="no_checkpoint")
    if size is not None and size > newest.size:
        raise NotFound(f"The newest checkpoint has {newest.size} entries, not {size}.", code="not_in_tree")
    return newest.size


async def _note(reader: AsyncConnection, size: int) -> str | None:
    try:
        return await checkpoints.note(reader, size)
    except NotFound:
        return None


async def _witnesses(reader: AsyncConnection, keys: list[str]) -> list[WitnessView]:
    recent = (
        sa.select(audit_checkpoint.c.size).order_by(audit_checkpoint.c.size.desc()).limit(RECENT).subquery()
    )
    given = audit_cosignature.c
    query = (
        sa.select(given.witness, sa.func.max(given.size), sa.func.max(given.received_at))
        .where(given.witness.in_(keys), given.size.in_(sa.select(recent.c.size)))
        .group_by(given.witness)
    )
    newest = {witness: (size, at) for witness, size, at in await reader.execute(query)} if keys else {}
    views = []
    for key in keys:
        size, received_at = newest.get(key, (None, None))
        name = VerifierKey.parse(key).name
        views.append(WitnessView(name=name, verifier_key=key, size=size, received_at=received_at))
    return views


routes: list[Any] = [
    log,
    find,
    read,
    list_checkpoints,
    read_checkpoint,
    entry_proof,
    inclusion,
    consistency,
    export,
]
