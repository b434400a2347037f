"""Sign-ins as rows: a session can be listed, and revoked at once. Their times are the wall clock's."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from portal.auth.tokens import new_refresh_token, sha256_of
from workflows.roles import Actor, Role, Scope
from workflows.storage.tables import audit_subject, person, refresh_used, session
from workflows.storage.unit import new_id

Kind = Literal["cookie", "bearer", "personal"]
COOKIE_LIFETIME = timedelta(days=7)
ACCESS_LIFETIME = timedelta(minutes=15)
REFRESH_LIFETIME = timedelta(days=30)
LONGEST_PERSONAL = timedelta(days=366)

WALL = sa.func.clock_timestamp()
LIVE = sa.and_(session.c.revoked_at.is_(None), session.c.expires_at > WALL)


@dataclass(frozen=True)
class SignIn:
    """The session behind a request."""

    id: UUID
    kind: Kind


async def load(engine: AsyncEngine, session_id: UUID) -> tuple[Actor, SignIn] | None:
    """Who a live session belongs to, with roles as they are now."""
    statement = (
        people()
        .join(session, session.c.person_id == person.c.id)
        .add_columns(session.c.id.label("session_id"), session.c.kind, session.c.scopes)
        .where(session.c.id == session_id, LIVE, person.c.active)
    )
    async with engine.connect() as connection:
        row = (await connection.execute(statement)).mappings().one_or_none()
    return (actor_of(row, row["scopes"]), SignIn(row["session_id"], row["kind"])) if row else None


def people() -> sa.Select:
    """Persons with the pseudonym that `actor_of` wants."""
    return sa.select(person, audit_subject.c.pseudonym).join(
        audit_subject, audit_subject.c.person_id == person.c.id
    )


def actor_of(row: sa.RowMapping, scopes: list[str] | None = None) -> Actor:
    """The Actor of a row of `person` with its `pseudonym`; without `scopes`, with all of them."""
    return Actor(
        id=row["id"],
        username=row["username"],
        name=row["name"],
        roles=frozenset(Role(role) for role in row["roles"]),
        expertise=frozenset(row["expertise"]),
        scopes=frozenset(Scope if scopes is None else map(Scope, scopes)),
        pseudonym=str(row["pseudonym"]),
    )


async def create(
    connection: AsyncConnection,
    person_id: UUID,
    kind: Kind,
    lifetime: timedelta,
    *,
    name: str = "",
    scopes: list[str] | None = None,
    user_agent: str = "",
    refresh_token: str | None = None,
) -> UUID:
    id = new_id()
    await connection.execute(
        session.insert().values(
            id=id,
            person_id=person_id,
            kind=kind,
            name=name,
            scopes=list(Scope) if scopes is None else scopes,
            user_agent=user_agent[:300],
            refresh_sha256=sha256_of(refresh_token) if refresh_token else None,
            created_at=WALL,
            expires_at=WALL + lifetime,
        )
    )
    return id


@dataclass(frozen=True)
class Refreshed:
    session_id: UUID
    actor: Actor
    refresh_token: str


async def refresh(connection: AsyncConnection, token: str) -> Refreshed | UUID | None:
    """Exchange a refresh token for the next. A UUID is the session revoked because a used token came back; None: unknown."""
    used = sha256_of(token)
    following = new_refresh_token()
    row = (
        await connection.execute(
            session.update()
            .where(session.c.refresh_sha256 == used, LIVE, session.c.kind == "bearer")
            .values(refresh_sha256=sha256_of(following))
            .returning(session.c.id, session.c.person_id)
        )
    ).one_or_none()
    if row:
        await connection.execute(
            refresh_used.insert().values(refresh_sha256=used, session_id=row.id, used_at=WALL)
        )
        owner = (await connection.execute(people().where(person.c.id == row.person_id))).mappings().one()
        return Refreshed(row.id, actor_of(owner), following)
    owner = sa.select(refresh_used.c.session_id).where(refresh_used.c.refresh_sha256 == used)
    stolen = (await connection.execute(owner)).scalar_one_or_none()
    if stolen:
        await revoke(connection, stolen)
    return stolen


async def revoke(connection: AsyncConnection, session_id: UUID, person_id: UUID | None = None) -> bool:
    """End a session at once; with `person_id`, only if it is theirs. False when there was nothing to end."""
    statement = session.update().where(session.c.id == session_id, session.c.revoked_at.is_(None))
    if person_id:
        statement = statement.where(session.c.person_id == person_id)
    result = await connection.execute(statement.values(revoked_at=WALL))
    return result.rowcount > 0


async def of_person(connection: AsyncConnection, person_id: UUID) -> list[sa.RowMapping]:
    """Their live sessions, newest first: id, kind, name, scopes, user_agent, created_at, expires_at."""
    columns = [
        session.c[name] for name in ("id", "kind", "name", "scopes", "user_agent", "created_at", "expires_at")
    ]
    statement = (
        sa.select(*columns).where(session.c.person_id == person_id, LIVE).order_by(session.c.id.desc())
    )
    return list((await connection.execute(statement)).mappings())
