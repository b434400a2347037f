"""Words a person wrote into an act: kept outside the log, sealed with a key of that person's, committed to inside it.

The leaf holds HMAC-SHA256(salt, words). Destroying the person's key destroys salt and words alike; the leaf stays, and
nobody can guess from it what was said. AES-256-GCM (NIST SP 800-38D), 12 random bytes of nonce before the ciphertext.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Iterable
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.roles import Actor
from workflows.storage.tables import audit_personal, audit_subject

NONCE = 12
ERASED = "Erased at its author’s request."  # in place of words that are gone


def commitment(salt: bytes, words: str) -> str:
    """HMAC-SHA256 in hex; the salt has 32 random bytes."""
    return hmac.new(salt, words.encode(), hashlib.sha256).hexdigest()


async def keep(
    connection: AsyncConnection, actor: Actor, entry_id: UUID, words: dict[str, str]
) -> dict[str, str]:
    """Seal the actor's words beside the entry with that id; the commitments that go into its leaf."""
    query = sa.select(audit_subject.c.key).where(audit_subject.c.person_id == actor.id)
    key = (await connection.execute(query)).scalar_one()
    rows, committed = [], {}
    for name, said in words.items():
        salt, nonce = secrets.token_bytes(32), secrets.token_bytes(NONCE)
        committed[name] = commitment(salt, said)
        opened = json.dumps({"salt": salt.hex(), "words": said}).encode()
        sealed = nonce + AESGCM(key).encrypt(nonce, opened, _bound(entry_id, name))
        rows.append({"entry_id": entry_id, "name": name, "person_id": actor.id, "sealed": sealed})
    await connection.execute(audit_personal.insert(), rows)
    return committed


async def reveal(
    connection: AsyncConnection, bodies: Iterable[dict[str, Any]]
) -> dict[str, dict[str, str | None]]:
    """The words behind entries' commitments, by entry id and name; None where they were erased or do not fit.

    `bodies` are decoded entry bodies. One query for all of them.
    """
    wanted = {body["id"]: body["personal"] for body in bodies if body.get("personal")}
    if not wanted:
        return {}
    query = sa.select(audit_personal, audit_subject.c.key).join(
        audit_subject, audit_subject.c.person_id == audit_personal.c.person_id
    )
    rows = (
        await connection.execute(query.where(audit_personal.c.entry_id.in_([UUID(id) for id in wanted])))
    ).mappings()
    found = {(str(row["entry_id"]), row["name"]): row for row in rows}
    return {
        id: {name: _opened(found.get((id, name)), committed) for name, committed in names.items()}
        for id, names in wanted.items()
    }


def _opened(row: sa.RowMapping | None, committed: str) -> str | None:
    if row is None or row["key"] is None:
        return None
    sealed = bytes(row["sealed"])
    try:
        opened = AESGCM(row["key"]).decrypt(
            sealed[:NONCE], sealed[NONCE:], _bound(row["entry_id"], row["name"])
        )
    except InvalidTag:  # somebody changed the bytes
        return None
    held = json.loads(opened)
    fits = hmac.compare_digest(commitment(bytes.fromhex(held["salt"]), held["words"]), committed)
    return held["words"] if fits else None


def _bound(entry_id: UUID, name: str) -> bytes:
    """What the seal is bound to: words cannot be moved to another entry."""
    return f"{entry_id}/{name}".encode()
