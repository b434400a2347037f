"""Erasing a person: everything that says who they are goes, everything that was decided stays, and the log stays whole.

The leaves hold a pseudonym, and commitments to words. The pseudonym leads to the person by `audit.subject`, the words are
sealed with the key that stands there; both are destroyed. Votes count on, of an elector without a name.
"""

from __future__ import annotations

import secrets
from uuid import UUID

import sqlalchemy as sa

from workflows.errors import Conflict, NotFound
from workflows.roles import Role, insist, may_erase
from workflows.storage import tables as t
from workflows.storage.unit import Unit

NAME = "A former member"


async def erase(unit: Unit, person_id: UUID) -> dict[str, int]:
    """Erase a person for good; how much of what. Raises Refused, NotFound, or Conflict for the last administrator."""
    insist(may_erase(unit.actor, person_id))
    row = await unit.row(
        sa.select(
            t.person.c.username, t.person.c.roles, t.audit_subject.c.pseudonym, t.audit_subject.c.erased_at
        )
        .join(t.audit_subject, t.audit_subject.c.person_id == t.person.c.id)
        .where(t.person.c.id == person_id)
        .with_for_update()
    )
    if row is None or row["erased_at"] is not None:
        raise NotFound("There is no such person, or they were erased already.")
    await _insist_on_another_administrator(unit, person_id, row["roles"])
    counts = {
        "sessions": await _blank_sessions(unit, person_id),
        "comments": await _changed(unit, t.comment, t.comment.c.author_id == person_id, body=""),
        "reviews": await _changed(unit, t.review, t.review.c.reviewer_id == person_id, reason=""),
        "vote_reasons": await _changed(
            unit, t.vote, (t.vote.c.voter_id == person_id) & (t.vote.c.reason != ""), reason=""
        ),
        "goals": await _changed(unit, t.synthesis, t.synthesis.c.taken_by == person_id, goal=None),
        "words": await _removed(unit, t.audit_personal, t.audit_personal.c.person_id == person_id),
        "decisions": await _forget_what_was_asked(unit, row["username"], person_id),
        "judged_texts": await _forget_what_was_judged(unit, person_id),
        "stored_answers": await _removed(unit, t.idempotency, t.idempotency.c.person_id == person_id),
    }
    # Recorded while there is a pseudonym: by it the entry says whose trace ends here.
    await unit.record("subject.erased", f"person:{row['pseudonym']}", **counts)
    await _changed(
        unit,
        t.person,
        t.person.c.id == person_id,
        username=f"erased-{secrets.token_hex(8)}",
        name=NAME,
        password_hash=None,
        roles=[],
        expertise=[],
        languages=[],
        persona=None,
        active=False,
    )
    forgotten = {"pseudonym": None, "key": None, "erased_at": unit.now}
    await _changed(unit, t.audit_subject, t.audit_subject.c.person_id == person_id, **forgotten)
    return counts


async def _insist_on_another_administrator(unit: Unit, person_id: UUID, roles: list[str]) -> None:
    if Role.ADMIN not in roles:
        return
    others = sa.select(t.person.c.id).where(
        t.person.c.id != person_id, t.person.c.active, t.person.c.roles.contains([Role.ADMIN])
    )
    if not await unit.rows(others.limit(1)):
        raise Conflict("Nobody else could administer the portal. Name another administrator first.")


async def _forget_what_was_asked(unit: Unit, username: str, person_id: UUID) -> int:
    """Decisions about this person keep their reasons and lose what was asked, and the salt that would prove a guess."""
    names = (username, str(person_id))
    gone = f"erased-{secrets.token_hex(8)}"  # not none: a restriction without subject would be everybody's
    for table in (t.violation, t.restriction):
        await _changed(unit, table, table.c.subject.in_(names), subject=gone)
    blank = {"input": None, "salt": None, "subject": gone}
    return await _changed(unit, t.decision, t.decision.c.subject.in_(names), **blank)


async def _forget_what_was_judged(unit: Unit, person_id: UUID) -> int:
    """Texts that this person had held against the constitution, and what was found, which quotes them. The verdict stays."""
    v = t.validation
    theirs = (v.c.asked_by == person_id) & v.c.policy_id.is_(None)
    return await _changed(unit, v, theirs, text=None, text_sha256="0" * 64, result=sa.null())


async def _blank_sessions(unit: Unit, person_id: UUID) -> int:
    """Ended, and without the browsers and names that they were kept under."""
    mine = t.session.c.person_id == person_id
    ended = sa.func.coalesce(t.session.c.revoked_at, sa.func.clock_timestamp())
    return await _changed(
        unit, t.session, mine, user_agent="", name="", refresh_sha256=None, revoked_at=ended
    )


async def _changed(unit: Unit, table: sa.Table, where: sa.ColumnElement[bool], **values: object) -> int:
    return (await unit.connection.execute(table.update().where(where).values(**values))).rowcount


async def _removed(unit: Unit, table: sa.Table, where: sa.ColumnElement[bool]) -> int:
    return (await unit.connection.execute(table.delete().where(where))).rowcount
