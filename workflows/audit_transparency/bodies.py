"""What the bytes of an entry must be, and what the columns beside them must say (docs/audit.md)."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, NoReturn
from uuid import UUID

import rfc8785

from workflows.audit_transparency.merkle import leaf_hash


class _NeedsCare(Exception):
    """A number that JSON libraries spell differently."""


def faults(
    body: bytes, stored: bytes, type: str, subject: str, actor: str, at: datetime
) -> tuple[dict[str, Any] | None, list[str]]:
    """An entry's decoded body, and what is wrong with it or the columns beside it, each in a sentence.

    The body is None where it is nothing that an entry can be.
    """
    wrong = []
    if leaf_hash(body) != stored:
        wrong.append("The stored leaf hash is not that of the body.")
    try:
        decoded = json.loads(body)
        if not isinstance(decoded, dict):
            raise ValueError("no object")
        said = {name: decoded[name] for name in ("type", "subject", "actor")}
        moment = datetime.fromisoformat(decoded["at"])
        words = (
            decoded.setdefault("personal", {}) if decoded["schema"].endswith("/1") else decoded["personal"]
        )
        if words:  # named by the entry, and by the person whose words they are
            UUID(decoded["id"]), dict.items(words)
        if words or "-" in decoded["actor"]:
            UUID(decoded["actor"])
        if decoded["type"] == "subject.erased":
            UUID(decoded["subject"].removeprefix("person:"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return None, [*wrong, f"The body is not that of an entry: {error!r}."]
    if not _canonical(body):
        wrong.append("The body is not canonical JSON (RFC 8785).")
    for name, column in (("type", type), ("subject", subject), ("actor", actor)):
        if said[name] != column:
            wrong.append(f"The column “{name}” says “{column}”, the body “{said[name]}”.")
    if moment.tzinfo is None or moment != at:
        wrong.append(f"The column “at” says {at.isoformat()}, the body {decoded['at']}.")
    return decoded, wrong


def _canonical(body: bytes) -> bool:
    """Whether the bytes are RFC 8785's spelling of what they say."""
    try:
        if not body.isascii():
            raise _NeedsCare
        # The C encoder of the standard library spells ASCII without fractions and large numbers in the same way, ten
        # times as fast.
        plain = json.loads(body, parse_float=_careful, parse_constant=_careful, parse_int=_small)
        return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() == body
    except _NeedsCare:
        try:
            return rfc8785.dumps(json.loads(body)) == body
        except (rfc8785.CanonicalizationError, ValueError):
            return False


def _careful(_: str) -> NoReturn:
    raise _NeedsCare


def _small(digits: str) -> int:
    if len(digits) > 15:
        raise _NeedsCare
    return int(digits)
