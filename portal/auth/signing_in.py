"""Finding out that somebody is who they say; every sign-in and every refusal stands in the audit trail."""

from __future__ import annotations

import sqlalchemy as sa

from portal.auth.passwords import verify_password
from portal.auth.sessions import actor_of, people
from workflows.roles import VISITOR, Actor
from workflows.storage.tables import person
from workflows.storage.unit import Unit

WRONG = "This name and password do not go together."


async def check_password(unit: Unit, username: str, password: str, way: str) -> Actor | None:
    """The person, on whose behalf the unit goes on; or None, after the same work, with the refusal recorded.

    `way` is how they came: page or token. A caller that gets None must let the unit commit.
    """
    row = await _person(unit, username)
    if not await verify_password(row["password_hash"] if row else None, password):
        # A name that nobody has is not kept: it may be a password in the wrong field.
        unit.actor = VISITOR
        subject = actor_of(row).subject if row else "person:unknown"
        await unit.record("auth.refused", subject, way=way, why="wrong_password")
        return None
    return await welcome(unit, row, way)


async def as_persona(unit: Unit, username: str) -> Actor | None:
    """A persona of the demonstration, without a password; None when there is no such persona."""
    row = await _person(unit, username)
    return await welcome(unit, row, "persona") if row and row["persona"] is not None else None


async def welcome(unit: Unit, row: sa.RowMapping, way: str) -> Actor:
    unit.actor = actor_of(row)
    await unit.record("auth.signed_in", unit.actor.subject, way=way)
    return unit.actor


async def _person(unit: Unit, username: str) -> sa.RowMapping | None:
    named = person.c.username == username.strip().lower()
    return await unit.row(people().where(named, person.c.active))
