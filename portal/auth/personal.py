"""Personal tokens: what a person gives a program of theirs, for the scopes and the time they choose."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from litestar.connection import ASGIConnection

from portal.auth import sessions
from portal.auth.tokens import issue, secret_of
from workflows.errors import FieldError, Invalid, Refused
from workflows.roles import Actor, Scope
from workflows.storage.unit import Unit

DAYS = (7, 30, 90, 365)


@dataclass(frozen=True)
class PersonalToken:
    """`token` is shown once and not kept."""

    id: UUID
    name: str
    scopes: list[Scope]
    days: int
    token: str


async def create_token(
    connection: ASGIConnection, unit: Unit, actor: Actor, name: str, scopes: list[Scope], days: int
) -> PersonalToken:
    """Raises Invalid for a name, scopes or days that will not do, Refused to a personal token that asks for another."""
    if connection.scope["auth"].kind == "personal":
        raise Refused("A personal token cannot make another. Sign in to make one.", code="personal_token")
    name = name.strip()
    errors = []
    if not 1 <= len(name) <= 80:
        errors.append(FieldError("/name", "Give it a name of 1 to 80 characters."))
    if not scopes or not actor.scopes.issuperset(scopes):
        errors.append(FieldError("/scopes", "Choose at least one scope, of those that you hold yourself."))
    if not 1 <= days <= max(DAYS):
        errors.append(FieldError("/days", f"It must end after 1 to {max(DAYS)} days."))
    if errors:
        raise Invalid("The token was not made.", errors=tuple(errors))
    lifetime = timedelta(days=days)
    scopes = sorted(set(scopes))
    id = await sessions.create(unit.connection, actor.id, "personal", lifetime, name=name, scopes=scopes)
    await unit.record("auth.token_made", actor.subject, session=str(id), scopes=[*scopes], days=days)
    return PersonalToken(id, name, scopes, days, issue(secret_of(connection), id, actor.id, "api", lifetime))
