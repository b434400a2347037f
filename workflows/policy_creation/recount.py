"""A closed ballot counted anew, from what is published of it and what stands in the log: each check, and how it came out."""

from __future__ import annotations

import json

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.kinds import Choice
from workflows.policy_creation import queries, records
from workflows.policy_creation.views import Openings, Results, View, VoteLeaf
from workflows.storage.tables import audit_entry, audit_leaf


class RecountCheck(View):
    """One thing that must hold; `detail` says what was compared."""

    key: str
    text: str
    met: bool
    detail: str


class Recount(View):
    """`agrees` when every check is met."""

    ref: str
    agrees: bool
    votes: int
    counts: dict[str, int]
    root: str
    checks: list[RecountCheck]


async def recount(connection: AsyncConnection, ref: str) -> Recount:
    """Raises NotFound before there is a ballot, Conflict before its close."""
    results = await queries.results(connection, ref)
    document = await queries.openings_document(connection, ref)
    found = await queries.leaves(connection, ref)
    terms = await _terms(connection, ref, str(results.ballot_id))
    return judge(results, document, found, terms)


async def _terms(connection: AsyncConnection, ref: str, ballot: str) -> dict[str, tuple[int | None, dict]]:
    """The entries that opened and closed the ballot: type → (leaf index, payload)."""
    query = (
        sa.select(audit_entry.c.type, audit_leaf.c.index, audit_entry.c.body)
        .outerjoin(audit_leaf, audit_leaf.c.entry == audit_entry.c.number)
        .where(audit_entry.c.subject == ref, audit_entry.c.type.in_(("ballot.opened", "ballot.closed")))
    )
    rows = [
        (row.type, row.index, json.loads(bytes(row.body))["payload"])
        for row in await connection.execute(query)
    ]
    return {kind: (index, payload) for kind, index, payload in rows if payload["ballot"] == ballot}


def judge(
    results: Results, document: bytes, found: list[VoteLeaf], terms: dict[str, tuple[int | None, dict]]
) -> Recount:
    """The checks themselves, on what was read. Pure."""
    published = msgspec.json.decode(document, type=Openings)
    opened = published.openings
    broken = [
        item.commitment
        for item in opened
        if records.commitment(bytes.fromhex(item.salt), results.ballot_id, item.choice) != item.commitment
    ]
    root = records.ballot_root([item.commitment for item in opened])
    chosen = [item.choice for item in opened]
    counts = {str(choice): chosen.count(choice) for choice in Choice}
    _, closed = terms.get("ballot.closed", (None, {}))
    known = {item.commitment for item in opened} | {item.commitment for item in published.superseded}
    chain = {(item.commitment, item.by) for item in published.superseded}
    unlike = chain ^ _replacements(found)
    replaced = all(by in known for _, by in chain) and not unlike
    astray = _astray(known, found, terms)
    hashed = records.sha256_hex(document)
    checks = [
        _check("commitments", not broken, f"{len(opened) - len(broken)} of {len(opened)} open as published"),
        _check("root", root == results.ballot_root, f"recounted {root}, recorded {results.ballot_root}"),
        _check("counts", counts == results.counts, f"recounted {_said(counts)}; recorded {_said(results.counts)}"),
        _check("turnout", len(opened) <= results.electorate, f"{len(opened)} votes of {results.electorate} electors"),
        _check("replaced", replaced, f"{len(chain)} were replaced; {len(unlike)} of them not as the log has it"),
        _check("published", hashed == closed.get("openings_sha256"), f"SHA-256 of the published votes: {hashed}"),
        _check("in_log", not astray, astray or f"{len(known)} leaves between the opening and the close"),
    ]  # fmt: skip
    return Recount(
        ref=results.ref,
        agrees=all(check.met for check in checks),
        votes=len(opened),
        counts=counts,
        root=root,
        checks=checks,
    )


TEXTS = {
    "commitments": "Each published vote matches the commitment that was made when it was cast",
    "root": "The commitments give the ballot’s root",
    "counts": "The votes add up to the recorded counts",
    "turnout": "No more votes than electors",
    "replaced": "Each replaced vote names the one that replaced it, as the log does",
    "published": "What is published is what the log says was published at the close",
    "in_log": "Each vote, also a replaced one, is a leaf of the audit log",
}


def _check(key: str, met: bool, detail: str) -> RecountCheck:
    return RecountCheck(key=key, text=TEXTS[key], met=met, detail=detail)


def _said(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {choice}" for choice, count in counts.items())


def _replacements(found: list[VoteLeaf]) -> set[tuple[str, str]]:
    """What the votes' own entries say they replaced: (replaced, by)."""
    said = [json.loads(item.body)["payload"] for item in found if item.body is not None]
    return {(payload["supersedes"], payload["commitment"]) for payload in said if payload.get("supersedes")}


def _astray(known: set[str], found: list[VoteLeaf], terms: dict[str, tuple[int | None, dict]]) -> str:
    """What is wrong with the votes' leaves, in words; empty when nothing is."""
    if {item.commitment for item in found} != known:
        return "The votes stored are not those that are published."
    begin, _ = terms.get("ballot.opened", (None, {}))
    end, _ = terms.get("ballot.closed", (None, {}))
    for item in found:
        if item.index is None or item.body is None:
            return f"The vote {item.commitment} has no leaf (yet)."
        if json.loads(item.body)["payload"].get("commitment") != item.commitment:
            return f"Leaf {item.index} is not that of the vote {item.commitment}."
        if begin is None or end is None or not begin < item.index < end:
            return f"Leaf {item.index} does not lie between the opening and the close of the ballot."
    return ""
