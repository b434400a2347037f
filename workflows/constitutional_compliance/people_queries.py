"""What pages and the API show of what people decide: questions that were put to them, overrides, and why they decided so."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.audit_transparency.personal import ERASED, reveal
from workflows.constitution.figures import Figures
from workflows.constitutional_compliance import overrides, questions
from workflows.constitutional_compliance.views import OverrideView, OverrideVote, QuestionView
from workflows.errors import NotFound
from workflows.kinds import Compliance
from workflows.policy_creation.rows import build, person_columns, person_view
from workflows.policy_creation.views import PersonView
from workflows.roles import Actor
from workflows.storage import tables as t

_v, _q = t.validation.c, t.compliance_question.c
_decider = t.person.alias("decider")


def findings_counted() -> sa.ColumnElement[int]:
    """How many findings a validation has, without reading them."""
    return sa.func.coalesce(sa.func.jsonb_array_length(_v.result["findings"]), 0)


async def question(connection: AsyncConnection, id: UUID, now: datetime) -> QuestionView:
    """Raises NotFound."""
    found = await put(connection, now, _q.id == id)
    if not found:
        raise NotFound("There is no such question.", code="no_question")
    return found[0]


async def mine(connection: AsyncConnection, actor: Actor, now: datetime) -> list[QuestionView]:
    """Open questions that were put to the reader, what is due first first."""
    a = t.compliance_asked.c
    to_me = sa.exists().where(a.question_id == _q.id, a.person_id == actor.id)
    return await put(connection, now, questions.open_ones(), to_me, t.policy.c.author_id != actor.id)


async def put(
    connection: AsyncConnection, now: datetime, *where: sa.ColumnElement[bool], limit: int = 500
) -> list[QuestionView]:
    query = (
        sa.select(
            t.compliance_question,
            _v.ref.label("validation"),
            _v.version,
            findings_counted().label("findings"),
            t.policy.c.ref.label("policy_ref"),
            t.policy.c.title.label("policy_title"),
            *person_columns(_decider, "decider"),
        )
        .join(t.validation, _v.id == _q.validation_id)
        .join(t.policy, t.policy.c.id == _v.policy_id)
        .outerjoin(_decider, _decider.c.id == _q.decided_by)
        .where(*where)
        .order_by(_q.due_at, _q.id)
        .limit(limit)
    )
    rows = (await connection.execute(query)).mappings().all()
    people = await _asked(connection, [row["id"] for row in rows])
    decided = [row["policy_ref"] for row in rows if row["answer"]]
    said = await words(connection, "compliance.answered", decided)
    return [
        build(
            QuestionView,
            row,
            asked=people.get(row["id"], []),
            overdue=row["decided_at"] is None and row["due_at"] <= now,
            council_asked=row["overdue_noted_at"] is not None,
            decided_by=person_view(row, "decider") if row["decider_id"] else None,
            reason=said.get((row["validation"], "")),
        )
        for row in rows
    ]


async def _asked(connection: AsyncConnection, ids: Sequence[UUID]) -> dict[UUID, list[PersonView]]:
    if not ids:
        return {}
    a = t.compliance_asked.c
    query = (
        sa.select(a.question_id, *person_columns(t.person, "person"))
        .join(t.person, t.person.c.id == a.person_id)
        .where(a.question_id.in_(ids))
        .order_by(t.person.c.name)
    )
    found: dict[UUID, list[PersonView]] = {}
    for row in (await connection.execute(query)).mappings():
        found.setdefault(row["question_id"], []).append(person_view(row, "person"))
    return found


async def words(connection: AsyncConnection, type: str, refs: Iterable[str]) -> dict[tuple[str, str], str]:
    """Reasons from the entries of a type about policies, by validation and who gave them ("" where only one can)."""
    wanted = list(set(refs))
    if not wanted:
        return {}
    e = t.audit_entry.c
    query = sa.select(e.body).where(e.subject.in_(wanted), e.type == type).order_by(e.number)
    bodies = [json.loads(bytes(row[0])) for row in await connection.execute(query)]
    revealed = await reveal(connection, bodies)
    found = {}
    for body in bodies:
        who = body["actor"] if type == "compliance.override_voted" else ""
        said = revealed.get(body["id"], {}).get("reason")
        found[body["payload"]["validation"], who] = said or ERASED
    return found


async def overridden(
    connection: AsyncConnection, rows: Sequence[sa.RowMapping], figures: Figures
) -> dict[UUID, OverrideView]:
    """Of validations that found a version not to comply, or of which people said so."""
    stopped = [row for row in rows if _stops(row)]
    if not stopped:
        return {}
    o, s = t.compliance_override.c, t.audit_subject.c
    query = (
        sa.select(o.validation_id, o.support, o.made_at, s.pseudonym, *person_columns(t.person, "person"))
        .join(t.person, t.person.c.id == o.person_id)
        .outerjoin(t.audit_subject, s.person_id == o.person_id)
        .where(o.validation_id.in_([row["id"] for row in stopped]))
        .order_by(o.made_at, o.person_id)
    )
    cast = (await connection.execute(query)).mappings().all()
    said = await words(
        connection, "compliance.override_voted", [row["policy_ref"] for row in stopped] if cast else []
    )
    found = {}
    for row in stopped:
        counted = (await connection.execute(overrides.counted(row["id"], row["author_id"]))).one()
        percent = figures.compliance_override_percent
        votes = [
            OverrideVote(
                person=person_view(each, "person"),
                support=each["support"],
                reason=said.get((row["ref"], str(each["pseudonym"])), ERASED),
                made_at=each["made_at"],
            )
            for each in cast
            if each["validation_id"] == row["id"]
        ]
        found[row["id"]] = OverrideView(
            percent=percent.value,
            article=percent.article,
            members=counted[0],
            needed=overrides.needed(counted[0], percent.value),
            supporting=counted[1],
            against=counted[2],
            votes=votes,
            passed_at=row["overridden_at"],
        )
    return found


def _stops(row: sa.RowMapping) -> bool:
    return row["overridden_at"] is not None or row["effective"] == Compliance.NON_COMPLIANT
