"""Data that rules read, as documents with a name: set by operators, each change in the log and in the next bundle."""

from __future__ import annotations

import hashlib
import re
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
import rfc8785
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.errors import FieldError, Invalid, NotFound
from workflows.policy_enforcement import bundle
from workflows.policy_enforcement.engines.names import RESERVED
from workflows.roles import insist, may_set_facts
from workflows.storage.tables import fact
from workflows.storage.unit import Unit, new_id

NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
LARGEST = 4_000_000  # bytes of canonical JSON
MOST_DOCUMENTS = 200


class FactView(msgspec.Struct, frozen=True):
    """A data document in force."""

    name: str
    sha256: str
    entries: int
    size: int  # bytes of canonical JSON
    set_at: datetime
    set_by: UUID | None


async def put(unit: Unit, name: str, value: Any) -> str:
    """Set a document, a list of rows or an object, in place of the one before. Answers with the new bundle's revision.

    Raises Refused, Invalid.
    """
    insist(may_set_facts(unit.actor))
    body = _checked(name, value)
    digest = hashlib.sha256(body).hexdigest()
    await unit.connection.execute(sa.text("SELECT pg_advisory_xact_lock(hashtext('acgs.facts'))"))
    current = await unit.row(sa.select(fact.c.id, fact.c.sha256).where(_stands(name)))
    if current is not None and current["sha256"] == digest:
        raise Invalid("The data is what it was.", code="unchanged")
    count = sa.select(sa.func.count()).select_from(fact).where(fact.c.superseded_at.is_(None))
    if current is None and (await unit.connection.execute(count)).scalar_one() >= MOST_DOCUMENTS:
        raise Invalid(f"There are {MOST_DOCUMENTS} documents already.", code="too_many")
    await _supersede(unit, name)
    await unit.connection.execute(
        fact.insert().values(
            id=new_id(),
            name=name,
            sha256=digest,
            body=body,
            entries=len(value),
            set_by=unit.actor.id,
            set_at=unit.now,
        )
    )
    await unit.record("facts.set", f"facts:{name}", name=name, sha256=digest, entries=len(value))
    return await bundle.renew(unit, f"data {name}")


async def remove(unit: Unit, name: str) -> str:
    """Take a document out. Rules that read it find nothing there. Raises Refused, NotFound."""
    insist(may_set_facts(unit.actor))
    if not await _supersede(unit, name):
        raise NotFound(f"There is no data “{name}”.", code="no_facts")
    await unit.record("facts.removed", f"facts:{name}", name=name)
    return await bundle.renew(unit, f"data {name}")


async def _supersede(unit: Unit, name: str) -> bool:
    ended = fact.update().where(_stands(name)).values(superseded_at=unit.now).returning(fact.c.id)
    return (await unit.connection.execute(ended)).first() is not None


def _stands(name: str) -> sa.ColumnElement[bool]:
    return sa.and_(fact.c.name == name, fact.c.superseded_at.is_(None))


def _checked(name: str, value: Any) -> bytes:
    if not NAME.fullmatch(name) or name in RESERVED:
        message = f"A name has small letters, digits and _, and is none of {', '.join(sorted(RESERVED))}."
        raise Invalid("The data cannot be kept.", errors=(FieldError("/name", message),))
    if not isinstance(value, list | dict):
        raise Invalid(
            "The data cannot be kept.", errors=(FieldError("/value", "A list of rows, or an object."),)
        )
    try:
        body = rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, RecursionError, UnicodeError):
        message = "It holds something that is not plain JSON, or a number beyond 2^53."
        raise Invalid("The data cannot be kept.", errors=(FieldError("/value", message),)) from None
    if len(body) > LARGEST:
        raise Invalid(
            "The data cannot be kept.", errors=(FieldError("/value", f"At most {LARGEST:,} bytes."),)
        )
    return body


async def listed(connection: AsyncConnection) -> list[FactView]:
    """The documents in force, by name."""
    query = (
        sa.select(
            fact.c.name,
            fact.c.sha256,
            fact.c.entries,
            sa.func.octet_length(fact.c.body).label("size"),
            fact.c.set_at,
            fact.c.set_by,
        )
        .where(fact.c.superseded_at.is_(None))
        .order_by(fact.c.name)
    )
    return [FactView(**row) for row in (await connection.execute(query)).mappings()]


async def one(connection: AsyncConnection, name: str) -> Any:
    """A document's value. Raises NotFound."""
    query = sa.select(fact.c.body).where(_stands(name))
    body = (await connection.execute(query)).scalar_one_or_none()
    if body is None:
        raise NotFound(f"There is no data “{name}”.", code="no_facts")
    return msgspec.json.decode(body)
