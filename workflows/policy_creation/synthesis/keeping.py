"""Keeps where a policy comes from: the draft its author took, as it was, so that anyone sees what people made of it since."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any
from uuid import UUID

import msgspec
import rfc8785
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.policy_creation.records import sha256_hex
from workflows.policy_creation.synthesis.shapes import (
    Begun,
    Candidate,
    Drafted,
    Source,
    Validation,
    View,
    Wish,
)
from workflows.roles import insist, may_propose
from workflows.storage.tables import policy, policy_version, synthesis
from workflows.storage.unit import Unit, new_id

FIELDS = ("title", "summary", "text", "category", "rule")


class Taken(View):
    """A candidate as a person takes it, with the wish that it is about."""

    wish: Wish
    candidate: Candidate


async def take(unit: Unit, ref: str, taken: Taken) -> None:
    """The policy `ref`, made in this very transaction, was begun with a candidate. Its first version says so from now on."""
    insist(may_propose(unit.actor))
    drafted, validation = taken.candidate.drafted, taken.candidate.validation
    draft = draft_record(drafted)
    digest = sha256_hex(rfc8785.dumps(draft))
    policy_id, kept = await _first_version(unit.connection, policy.c.ref == ref)
    source = msgspec.to_builtins(drafted.source)
    await unit.connection.execute(
        synthesis.insert().values(
            id=new_id(),
            policy_id=policy_id,
            taken_by=unit.actor.id,
            goal=taken.wish.goal,
            principles=list(taken.wish.principles),
            source=source,
            draft=draft,
            draft_sha256=digest,
            validation=msgspec.to_builtins(validation),
            taken_at=unit.now,
        )
    )
    await unit.record(
        "synthesis.taken",
        ref,
        source={key: source[key] for key in ("kind", "key", "version", "sha256", "model")},
        principles=list(taken.wish.principles),
        draft_sha256=digest,
        compliance=str(validation.compliance or "not_checked"),
        basis_sha256=validation.basis_sha256,
        changed_percent=changed_percent(draft, kept),
        personal={"goal": taken.wish.goal},
    )


async def begun(reader: AsyncConnection, ref: str) -> Begun | None:
    """What the policy was begun with; None where its author began with an empty page."""
    query = sa.select(synthesis).join(policy, policy.c.id == synthesis.c.policy_id).where(policy.c.ref == ref)
    row = (await reader.execute(query)).mappings().one_or_none()
    if row is None:
        return None
    _, kept = await _first_version(reader, policy.c.ref == ref)
    return Begun(
        source=msgspec.convert(row["source"], Source),
        goal=row["goal"] or "",
        principles=row["principles"],
        validation=msgspec.convert(row["validation"], Validation),
        draft_sha256=row["draft_sha256"],
        taken_at=row["taken_at"],
        changed_percent=changed_percent(row["draft"], kept),
        changed=[field for field in FIELDS if row["draft"][field] != kept[field]],
    )


def draft_record(drafted: Drafted) -> dict[str, Any]:
    """A draft as it is kept and hashed: as a form would send it, without the blank end of its texts."""
    rule = drafted.rule
    return {
        **{field: str(getattr(drafted, field)).strip() for field in FIELDS[:-1]},
        "rule": _rule(rule.engine, rule.source, rule.examples) if rule else None,
    }


def _rule(engine: str, source: str, examples: list[dict[str, Any]]) -> dict[str, Any]:
    return {"engine": str(engine), "source": source.strip(), "examples": examples}


async def _first_version(
    connection: AsyncConnection, where: sa.ColumnElement[bool]
) -> tuple[UUID, dict[str, Any]]:
    version = policy_version.c
    query = (
        sa.select(
            policy.c.id,
            version.title,
            version.summary,
            version.text,
            version.category,
            version.rule_engine,
            version.rule_source,
            version.rule_examples,
        )
        .join(policy_version, (version.policy_id == policy.c.id) & (version.number == 1))
        .where(where)
    )
    row = (await connection.execute(query)).mappings().one()
    source = row["rule_source"]
    rule = None if source is None else _rule(row["rule_engine"], source, row["rule_examples"])
    return row["id"], {**{field: row[field].strip() for field in FIELDS[:-1]}, "rule": rule}


def changed_percent(draft: dict[str, Any], kept: dict[str, Any]) -> int:
    """How much is no more as it was drafted: 100 · (1 − 2·|A ∩ B| / (|A| + |B|)) over runs of three words (Dice 1945)."""
    before, after = _runs(draft), _runs(kept)
    total = before.total() + after.total()
    if draft == kept or not total:
        return 0
    shared = (before & after).total()
    return max(1, round(100 * (1 - 2 * shared / total)))


def _runs(record: dict[str, Any]) -> Counter[tuple[str, ...]]:
    rule = record["rule"] or {}
    said = " ".join([record["title"], record["summary"], record["text"], rule.get("source", "")])
    words = re.findall(r"\w+|[^\w\s]", said)
    return Counter(tuple(words[at : at + 3]) for at in range(max(len(words) - 2, 1)))
