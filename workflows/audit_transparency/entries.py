"""The log to be read: searched, filtered, followed; each entry decoded, with the words that stand outside it.

Whatever is shown comes from the body, which the leaf commits to. The columns beside it only find.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.audit_transparency.personal import reveal
from workflows.audit_transparency.sentences import sentence
from workflows.errors import FieldError, Invalid, NotFound
from workflows.policy_creation.views import Page
from workflows.storage.paging import LARGEST
from workflows.storage.tables import audit_entry, audit_leaf, audit_subject, person

SEARCH_MS = (
    3_000  # how long a search for words may take, which reads every entry that the other filters leave
)
NAMES = {
    "system": "The portal itself",
    "visitor": "A visitor",
    "voter": "A voter",
}
FORMER = "A former member"


@dataclass(frozen=True)
class EntryFilters:
    """What entries are asked for; empty strings and None ask for nothing.

    `type` is a whole type, or a beginning that ends with a dot (`policy.`). `q` is found anywhere in the body, whatever
    its case. `actor` is a pseudonym, `system`, `visitor` or `voter`. `since` is included, `until` is not.
    """

    q: str = ""
    type: str = ""
    subject: str = ""
    actor: str = ""
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True)
class EntryView:
    """One entry as it can be shown. `words`: what was said, by name; None where it was erased or does not fit."""

    index: int
    number: int
    type: str
    subject: str
    actor: str
    actor_name: str
    at: datetime
    body: dict[str, Any]
    raw: bytes
    words: dict[str, str | None]
    text: str
    leaf_sha256: str


async def search(
    connection: AsyncConnection, filters: EntryFilters, *, limit: int = 50, cursor: str | None = None
) -> Page[EntryView]:
    """Entries that have their place in the log, newest first; `next` leads to older ones.

    Raises Invalid for a cursor this did not give, a limit outside 1…200, or words whose search takes too long.
    """
    if not 1 <= limit <= LARGEST:
        raise Invalid("The page size is out of range.", errors=(FieldError("/limit", f"1 to {LARGEST}."),))
    newer, edge = _read_cursor(cursor)
    number = audit_entry.c.number
    query = _entries().where(*_conditions(filters))
    if edge is not None:
        query = query.where(number > edge if newer else number < edge)
    query = query.order_by(number.asc() if newer else number.desc()).limit(limit + 1)
    rows = await _rows(connection, query, bounded=bool(filters.q))
    more, rows = len(rows) > limit, rows[:limit]
    if newer:
        rows.reverse()
    before, after = (more, True) if newer else (edge is not None, more)
    return Page(
        items=await _views(connection, rows),
        next=f"before-{rows[-1].number}" if rows and after else None,
        prev=f"after-{rows[0].number}" if rows and before else None,
        limit=limit,
        has_more=bool(rows and after),
    )


async def entry(connection: AsyncConnection, index: int) -> EntryView:
    """The entry at that place in the log. Raises NotFound."""
    rows = await _rows(connection, _entries().where(audit_leaf.c.index == index)) if index < 2**63 else []
    if not rows:
        raise NotFound(f"The log has no entry {index}.", code="no_entry")
    return (await _views(connection, rows))[0]


def _entries() -> sa.Select:
    e = audit_entry.c
    return (
        sa.select(audit_leaf.c.index, e.number, e.body, e.leaf_sha256, person.c.name)
        .join_from(audit_entry, audit_leaf, audit_leaf.c.entry == e.number)
        .outerjoin(audit_subject, sa.cast(audit_subject.c.pseudonym, sa.Text) == e.actor)
        .outerjoin(person, person.c.id == audit_subject.c.person_id)
    )


def _conditions(filters: EntryFilters) -> list[sa.ColumnElement[bool]]:
    e = audit_entry.c
    found: list[sa.ColumnElement[bool]] = []
    if filters.type.endswith("."):
        found.append(e.type.startswith(filters.type, autoescape=True))
    elif filters.type:
        found.append(e.type == filters.type)
    if filters.subject:
        found.append(e.subject == filters.subject)
    if filters.actor:
        found.append(e.actor == filters.actor)
    if filters.since:
        found.append(e.at >= filters.since)
    if filters.until:
        found.append(e.at < filters.until)
    if filters.q:
        found.append(sa.func.convert_from(e.body, "UTF8").icontains(filters.q, autoescape=True))
    return found


async def _rows(connection: AsyncConnection, query: sa.Select, *, bounded: bool = False) -> list[Any]:
    if bounded:
        await connection.execute(sa.text(f"SET LOCAL statement_timeout = {SEARCH_MS}"))
    try:
        return list(await connection.execute(query))
    except DBAPIError as error:
        if bounded and getattr(error.orig, "sqlstate", None) == "57014":
            fault = FieldError("/q", "Too many entries to search; add a date, a kind or a subject.")
            raise Invalid(fault.message, code="search_too_wide", errors=(fault,)) from error
        raise


async def _views(connection: AsyncConnection, rows: Iterable[Any]) -> list[EntryView]:
    rows = list(rows)
    bodies = [json.loads(bytes(row.body)) for row in rows]
    words = await reveal(connection, bodies)
    return [_view(row, body, words.get(body["id"], {})) for row, body in zip(rows, bodies, strict=True)]


def _view(row: Any, body: dict[str, Any], words: dict[str, str | None]) -> EntryView:
    return EntryView(
        index=row.index,
        number=row.number,
        type=body["type"],
        subject=body["subject"],
        actor=body["actor"],
        actor_name=NAMES.get(body["actor"]) or row.name or FORMER,
        at=datetime.fromisoformat(body["at"]),
        body=body,
        raw=bytes(row.body),
        words=words,
        text=sentence(body["type"], body["payload"]),
        leaf_sha256=bytes(row.leaf_sha256).hex(),
    )


def _read_cursor(cursor: str | None) -> tuple[bool, int | None]:
    if not cursor:
        return False, None
    side, _, number = cursor.partition("-")
    if side not in ("before", "after") or not (number.isascii() and number.isdecimal()) or len(number) > 18:
        refusal = FieldError("/cursor", "Use a cursor that a page gave you.")
        raise Invalid("This is not one of our cursors.", code="bad_cursor", errors=(refusal,))
    return side == "after", int(number)
