"""The audit log's pages: what happened, each entry with its proof."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import sqlalchemy as sa
from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from sqlalchemy.ext.asyncio import AsyncConnection

from chain import explorer
from chain.config import ChainConfig
from portal.auth.guards import public
from portal.log import VERIFIERS
from portal.pages.demo import insist_on_demo
from portal.pages.filters import iso
from portal.pages.forms import form
from portal.pages.render import fragment, page
from portal.periods import span
from portal.services import services
from portal.settings import Settings
from workflows.audit_transparency import anchors, checkpoints, entries, merkle, rehearsal, sentences, tree
from workflows.audit_transparency.entries import EntryFilters, EntryView
from workflows.audit_transparency.notes import VerifierKey
from workflows.errors import FieldError, Invalid, NotFound
from workflows.storage.tables import anchor, audit_cosignature, audit_entry, audit_leaf, audit_pending

PER_PAGE = 25
FEED = 50
GROUPS = {
    "policy.": "Policies",
    "review.": "Reviews",
    "comment.": "Comments",
    "ballot.": "Ballots",
    "vote.": "Votes",
    "decision.": "Decisions",
    "violation.": "Violations",
    "restriction.": "Restrictions",
    "appeal.": "Appeals",
    "bundle.": "Bundles of rules",
    "facts.": "Data for rules",
    "anchor.": "Anchors of policies",
    "person.": "People and offices",
    "subject.": "Erasures",
    "auth.": "Signing in",
    "access.": "Refusals",
    "export.": "Exports",
    "report.": "Reports",
    "workflow.": "Workflows",
    "chain.": "Chain",
    "verifier.": "Verifiers",
    "clock.": "Demonstration’s clock",
}
ACTORS = [("system", "The portal itself"), ("visitor", "Visitors"), ("voter", "Voters")]


# The log


@get("/audit", guards=[public], include_in_schema=False)
async def index(request: Request, reader: NamedDependency[AsyncConnection]) -> Response:
    asked = {
        name: request.query_params.get(name) or "" for name in ("q", "type", "subject", "actor", "from", "to")
    }
    faults: dict[str, str] = {}
    found = None
    try:
        filters = _filters(asked)
        cursor = request.query_params.get("cursor")
        found = await entries.search(reader, filters, limit=PER_PAGE, cursor=cursor)
    except Invalid as refusal:
        faults = {fault.pointer.strip("/"): fault.message for fault in refusal.errors}
    context = {
        "found": found.items if found else [],
        "asked": asked,
        "filtered": any(asked.values()),
        "errors": faults,
        "groups": list(GROUPS.items()),
        "actors": ACTORS,
        "next": _href(asked, found.next) if found else None,
        "prev": _href(asked, found.prev) if found else None,
        "feed": f"/audit/feed.atom?{urlencode({name: asked[name] for name in ('type', 'subject') if asked[name]})}",
    }
    if faults:
        # The search's transaction may have been cut off; what is shown beside it is read in another.
        async with services(request).engine.connect() as connection:
            context["log"] = await _standing(request, connection)
    else:
        context["log"] = await _standing(request, reader)
    if request.headers.get("HX-Target") == "found":
        return fragment(request, "fragments/audit/found.html", **context)
    title = f"Audit log: {asked['subject']}" if asked["subject"] else "Audit log"
    return page(request, "pages/audit/index.html", title=title, status=422 if faults else 200, **context)


def _filters(asked: dict[str, str]) -> EntryFilters:
    """Raises Invalid for a time that cannot be read."""
    since, until = span(asked["from"], asked["to"])
    words = {name: asked[name][:200].replace("\x00", "") for name in ("q", "type", "subject", "actor")}
    return EntryFilters(**words, since=since, until=until)


def _href(asked: dict[str, str], cursor: str | None) -> str | None:
    chosen = {name: value for name, value in asked.items() if value}
    return f"/audit?{urlencode({**chosen, 'cursor': cursor})}" if cursor else None


async def _standing(request: Request, connection: AsyncConnection) -> dict[str, Any]:
    """How far the log is: ordered, signed, on chain, witnessed."""
    newest = await checkpoints.latest(connection)
    size, _ = await tree.head(connection)
    waiting = sa.select(sa.func.count()).select_from(audit_pending)
    identity = await checkpoints.identity(connection)
    witnesses = [VerifierKey.parse(key).name for key, _ in services(request).settings.log_witnesses]
    cosigned = sa.select(sa.func.count()).where(audit_cosignature.c.size == (newest.size if newest else -1))
    return {
        "size": size,
        "pending": (await connection.execute(waiting)).scalar_one(),
        "checkpoint": newest,
        "signed": newest.size if newest else 0,
        "anchor": await anchors.newest_final(connection),
        "identity": identity,
        "witnesses": witnesses,
        "cosigned": (await connection.execute(cosigned)).scalar_one(),
    }


# One entry


@get("/audit/entries/{index:int}", guards=[public], include_in_schema=False)
async def one_entry(
    request: Request,
    index: FromPath[int],
    reader: NamedDependency[AsyncConnection],
    chain_config: NamedDependency[ChainConfig],
) -> Response:
    found = await entries.entry(reader, max(index, -1))
    newest = await checkpoints.latest(reader)
    proof: list[bytes] = []
    if newest is not None and index < newest.size:
        proof = await tree.inclusion_proof(reader, index, newest.size)
    before = await _signed_before(reader, index)
    covering = await checkpoints.covering(reader, index + 1)
    anchored = await anchors.newest_final(reader, covering=index + 1)
    return page(
        request,
        "pages/audit/entry.html",
        title=f"Entry {index}",
        entry=found,
        kind=sentences.name_of(found.type),
        subject_href=subject_href(found.subject),
        members=MEMBERS,
        pretty=json.dumps(found.body, indent=2, ensure_ascii=False),
        steps=_steps(found, proof, newest.size) if newest and index < newest.size else [],
        checkpoint=newest,
        after=before,
        covering=covering,
        anchor=anchored,
        explorer_url=explorer.transaction_url(chain_config, anchored.signature) if anchored and anchored.signature else None,
    )  # fmt: skip


MEMBERS = {
    "schema": "which form of entry this is",
    "id": "the entry’s own id",
    "type": "what kind of act",
    "subject": "what it is about",
    "actor": "who did it, by a pseudonym that leads to a person only here, and only until they are erased",
    "at": "when, by the governance clock",
    "constitution_sha256": "the constitution it was done under",
    "request_id": "the request it came with, if any",
    "idempotency_key_sha256": "hash of the key under which a program asked for it once",
    "payload": "the facts of this act",
    "personal": "commitments to words that are kept outside the log",
}


async def _signed_before(connection: AsyncConnection, index: int) -> checkpoints.SignedCheckpoint | None:
    """The last checkpoint that does not have the entry: it was made before the entry got its place."""
    found = await checkpoints.page(connection, limit=1, cursor=f"before-{index + 1}")
    return found.items[0] if found.items else None


def _steps(found: EntryView, proof: list[bytes], size: int) -> list[dict[str, Any]]:
    """The way from the leaf to the root: each neighbour, its side, and the hash that comes of both (RFC 9162 § 2.1.3.2)."""
    node, last, value = found.index, size - 1, bytes.fromhex(found.leaf_sha256)
    steps: list[dict[str, Any]] = []
    for neighbour in proof:
        left = node % 2 == 1 or node == last
        value = merkle.node_hash(neighbour, value) if left else merkle.node_hash(value, neighbour)
        steps.append({"side": "left" if left else "right", "neighbour": neighbour.hex(), "hash": value.hex()})
        if left:
            while node % 2 == 0 and node != 0:
                node, last = node >> 1, last >> 1
        node, last = node >> 1, last >> 1
    return steps


def subject_href(subject: str) -> str | None:
    """The page about what an entry is about; None where there is none of its own."""
    kind, _, rest = subject.partition("-")
    if kind == "POL" and rest:
        return f"/policies/{subject}"
    if kind == "REP" and rest:
        return f"/transparency/reports/{subject}"
    return {"chain": "/chain", "log": "/audit", "clock": None}.get(subject)


# Checkpoints


@get("/audit/checkpoints", guards=[public], include_in_schema=False)
async def list_checkpoints(request: Request, reader: NamedDependency[AsyncConnection]) -> Response:
    found = await checkpoints.page(reader, limit=PER_PAGE, cursor=request.query_params.get("cursor"))
    sizes = [item.size for item in found.items]
    return page(
        request,
        "pages/audit/checkpoints.html",
        title="Checkpoints",
        found=found.items,
        anchored=await _anchored(reader, sizes),
        cosigned=await _cosigned(reader, sizes),
        next=f"/audit/checkpoints?cursor={found.next}" if found.next else None,
        prev=f"/audit/checkpoints?cursor={found.prev}" if found.prev else None,
    )


async def _anchored(connection: AsyncConnection, sizes: list[int]) -> dict[int, str]:
    """Size → state of its newest anchor, of those that have one."""
    query = (
        sa.select(anchor.c.checkpoint_size, anchor.c.state)
        .where(anchor.c.checkpoint_size.in_(sizes), anchor.c.lost_at.is_(None))
        .order_by(anchor.c.queued_at)
    )
    return {row[0]: row[1] for row in await connection.execute(query)}


async def _cosigned(connection: AsyncConnection, sizes: list[int]) -> dict[int, int]:
    query = (
        sa.select(audit_cosignature.c.size, sa.func.count())
        .where(audit_cosignature.c.size.in_(sizes))
        .group_by(audit_cosignature.c.size)
    )
    return {row[0]: row[1] for row in await connection.execute(query)}


@get("/audit/checkpoints/{size:int}", guards=[public], include_in_schema=False)
async def one_checkpoint(
    request: Request,
    size: FromPath[int],
    reader: NamedDependency[AsyncConnection],
    chain_config: NamedDependency[ChainConfig],
) -> Response:
    if not 0 <= size < 2**63:
        raise NotFound("There is no such checkpoint.")
    signed = await checkpoints.at(reader, size)
    earlier = await checkpoints.page(reader, limit=1, cursor=f"before-{size}")
    before = earlier.items[0].size if earlier.items else 0
    on_chain = await anchors.of_checkpoint(reader, size)
    return page(
        request,
        "pages/audit/checkpoint.html",
        title=f"Checkpoint {size}",
        checkpoint=signed,
        note=await checkpoints.note(reader, size),
        before=before,
        anchors=on_chain,
        explorer={
            item.signature: explorer.transaction_url(chain_config, item.signature)
            for item in on_chain
            if item.signature
        },
    )


@get("/audit/consistency", guards=[public], include_in_schema=False)
async def consistency(request: Request, reader: NamedDependency[AsyncConnection]) -> Response:
    """A form, and between two sizes the proof, verified before it is shown."""
    asked = {name: request.query_params.get(name, "").strip() for name in ("from", "to")}
    newest = await checkpoints.latest(reader)
    context: dict[str, Any] = {"asked": asked, "errors": {}, "proof": None, "newest": newest}
    if newest is not None and asked["from"]:
        try:
            context |= await _between(reader, asked["from"], asked["to"] or str(newest.size), newest.size)
        except Invalid as refusal:
            context["errors"] = {fault.pointer.strip("/"): fault.message for fault in refusal.errors}
    status = 422 if context["errors"] else 200
    return page(request, "pages/audit/consistency.html", title="Consistency", status=status, **context)


async def _between(connection: AsyncConnection, old: str, new: str, largest: int) -> dict[str, Any]:
    faults = [
        FieldError(f"/{name}", f"A whole number from 1 to {largest}.")
        for name, given in (("from", old), ("to", new))
        if not (given.isascii() and given.isdecimal() and len(given) < 19 and 1 <= int(given) <= largest)
    ]
    if not faults and int(old) > int(new):
        faults = [FieldError("/from", "The older size comes first, and is not the larger one.")]
    if faults:
        raise Invalid("The sizes cannot be compared.", errors=tuple(faults))
    first, last = int(old), int(new)
    proof = await tree.consistency_proof(connection, first, last)
    old_root, new_root = await tree.root_at(connection, first), await tree.root_at(connection, last)
    merkle.verify_consistency(first, last, old_root, new_root, proof)
    return {
        "proof": [item.hex() for item in proof],
        "old": {"size": first, "root": old_root.hex()},
        "new": {"size": last, "root": new_root.hex()},
    }


@get("/audit/anchors", guards=[public], include_in_schema=False)
async def list_anchors(
    request: Request, reader: NamedDependency[AsyncConnection], chain_config: NamedDependency[ChainConfig]
) -> Response:
    found = await anchors.checkpoint_anchors(
        reader, limit=PER_PAGE, cursor=request.query_params.get("cursor")
    )
    return page(
        request,
        "pages/audit/anchors.html",
        title="Anchors of the log",
        found=found.items,
        oldest=await anchors.oldest_unanchored(reader),
        interval=services(request).settings.anchor_interval,
        explorer={
            item.signature: explorer.transaction_url(chain_config, item.signature)
            for item in found.items
            if item.signature
        },
        next=f"/audit/anchors?cursor={found.next}" if found.next else None,
        prev=f"/audit/anchors?cursor={found.prev}" if found.prev else None,
    )


# Checking it


@get("/audit/verify", guards=[public], include_in_schema=False)
async def verify(request: Request, reader: NamedDependency[AsyncConnection]) -> Response:
    """How to check the log without trusting us: the two verifiers, their digests, and where these stand in the log."""
    payload = sa.func.convert_from(audit_entry.c.body, "UTF8").cast(sa.JSON)["payload"]
    query = (
        sa.select(payload["file"].as_string(), payload["sha256"].as_string(), audit_leaf.c.index)
        .join(audit_leaf, audit_leaf.c.entry == audit_entry.c.number)
        .where(audit_entry.c.type == "verifier.published")
    )
    logged = {(name, digest): place for name, digest, place in await reader.execute(query)}
    files = []
    for file in filter(Path.exists, VERIFIERS):
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        files.append({"name": file.name, "sha256": digest, "index": logged.get((file.name, digest))})
    identity = await checkpoints.identity(reader)
    return page(
        request, "pages/audit/verify.html", title="Check the log yourself", files=files, identity=identity
    )


@get("/audit/feed.atom", guards=[public], include_in_schema=False)
async def feed(request: Request, reader: NamedDependency[AsyncConnection]) -> Response[bytes]:
    """The newest entries as an Atom feed (RFC 4287), perhaps of one subject or kind."""
    asked = {name: request.query_params.get(name) or "" for name in ("type", "subject")}
    filters = _filters({**dict.fromkeys(("q", "actor", "from", "to"), ""), **asked})
    found = await entries.search(reader, filters, limit=FEED)
    identity = await checkpoints.identity(reader)
    settings = services(request).settings
    base = settings.base_url.rstrip("/") if settings.base_url else str(request.base_url).rstrip("/")
    chosen = {name: value for name, value in asked.items() if value}
    template = request.app.template_engine.get_template("pages/audit/feed.xml")
    text = template.render(
        base=base,
        here=f"/audit/feed.atom?{urlencode(chosen)}" if chosen else "/audit/feed.atom",
        html=f"/audit?{urlencode(chosen)}" if chosen else "/audit",
        title=f"Audit log: {asked['subject']}" if asked["subject"] else "Audit log",
        origin=identity.origin if identity else base,
        updated=iso(found.items[0].at) if found.items else "1970-01-01T00:00:00Z",
        entries=found.items,
    )
    headers = {
        "Cache-Control": "public, max-age=60",
        "ETag": f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"',
    }
    return Response(text.encode(), media_type="application/atom+xml; charset=utf-8", headers=headers)


# The rehearsal


@get("/audit/rehearsal", guards=[public], include_in_schema=False)
async def rehearsal_form(request: Request, settings: NamedDependency[Settings]) -> Response:
    insist_on_demo(settings)
    return page(
        request, "pages/audit/rehearsal.html", title="Change one byte", kinds=rehearsal.KINDS, outcome=None
    )


@post("/audit/rehearsal", guards=[public], status_code=200, include_in_schema=False)
async def rehearse(request: Request, settings: NamedDependency[Settings]) -> Response:
    """Tampers for real, inside a transaction that is rolled back, and shows what the check finds."""
    insist_on_demo(settings)
    chosen = (await form(request)).get("kind", "")
    if chosen not in rehearsal.KINDS:
        raise Invalid("Choose what to change.", errors=(FieldError("/kind", "Choose one."),))
    outcome = await rehearsal.rehearse(services(request).engine, chosen)
    return page(
        request,
        "pages/audit/rehearsal.html",
        title="Change one byte",
        kinds=rehearsal.KINDS,
        outcome=replace(outcome, found=outcome.found[:20]),
    )


routes: list[Any] = [
    index,
    one_entry,
    list_checkpoints,
    one_checkpoint,
    consistency,
    list_anchors,
    verify,
    feed,
    rehearsal_form,
    rehearse,
]
