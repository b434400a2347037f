"""Signing in for programs: bearer tokens that are refreshed, and personal tokens with scopes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated
from uuid import UUID

import msgspec
from litestar import Request, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import Meta
from sqlalchemy.ext.asyncio import AsyncConnection

from portal.api.answers import Items, problems
from portal.api.bodies import Input, StrictJSON
from portal.auth import sessions
from portal.auth.guards import public, signed_in
from portal.auth.personal import create_token
from portal.auth.signing_in import WRONG, check_password
from portal.auth.tokens import issue, new_refresh_token, secret_of
from portal.errors import answer
from workflows.audit_transparency import erasure
from workflows.errors import FieldError, Invalid, NotFound, Unauthenticated
from workflows.roles import VISITOR, Actor, Role, Scope
from workflows.storage.unit import Unit

PATH = "/api/v1/auth"
TAGS = ["Signing in"]


class Credentials(Input):
    username: Annotated[str, Meta(examples=["dana"], max_length=200)]
    password: Annotated[str, Meta(examples=["demo"], max_length=1024)]


class RefreshIn(Input):
    refresh_token: Annotated[str, Meta(max_length=200)]


class EraseIn(Input):
    username: Annotated[str, Meta(description="Your own.", examples=["dana"], max_length=200)]


class Tokens(msgspec.Struct, kw_only=True):
    """`expires_in` is in seconds. The refresh token can be used once; each use gives the next."""

    access_token: str
    token_type: str = "Bearer"  # noqa: S105
    expires_in: int = int(sessions.ACCESS_LIFETIME.total_seconds())
    refresh_token: str


class Me(msgspec.Struct, kw_only=True):
    id: UUID
    username: str
    name: str
    roles: list[Role]
    expertise: list[str]
    scopes: list[Scope]
    session: dict[str, str]


class TokenIn(Input):
    name: Annotated[str, Meta(description="What it is for.", examples=["nightly export"])]
    scopes: list[Scope]
    days: Annotated[int, Meta(description="Until it ends, 1 to 365.", examples=[30])]


class TokenView(msgspec.Struct, kw_only=True):
    id: UUID
    name: str
    scopes: list[Scope]
    created_at: datetime
    expires_at: datetime


class NewToken(msgspec.Struct, kw_only=True):
    """`token` is shown this once and not kept."""

    id: UUID
    name: str
    scopes: list[Scope]
    expires_at: datetime
    token: str


@post(
    f"{PATH}/token",
    guards=[public],
    dto=StrictJSON,
    status_code=200,
    tags=TAGS,
    summary="Sign in with name and password",
    description="Gives an access token for `Authorization: Bearer …` and a refresh token for the next one.",
    responses=problems(401, 413, 415, 422),
)
async def token(
    request: Request, data: JSONBody[Credentials], unit: NamedDependency[Unit]
) -> Response[Tokens]:
    actor = await check_password(unit, data.username, data.password, "token")
    if actor is None:  # answered, not raised: the refusal's audit entry must commit
        return answer(request, Unauthenticated(WRONG, code="wrong_credentials"))
    refresh_token = new_refresh_token()
    session_id = await sessions.create(
        unit.connection,
        actor.id,
        "bearer",
        sessions.REFRESH_LIFETIME,
        refresh_token=refresh_token,
        user_agent=request.headers.get("user-agent", ""),
    )
    return Response(_tokens(request, session_id, actor.id, refresh_token))


@post(
    f"{PATH}/refresh",
    guards=[public],
    dto=StrictJSON,
    status_code=200,
    tags=TAGS,
    summary="Exchange a refresh token for new tokens",
    description="A refresh token that was used before ends its session: somebody else has had it.",
    responses=problems(401, 413, 415, 422),
)
async def refresh(
    request: Request, data: JSONBody[RefreshIn], unit: NamedDependency[Unit]
) -> Response[Tokens]:
    found = await sessions.refresh(unit.connection, data.refresh_token)
    if isinstance(found, sessions.Refreshed):
        unit.actor = found.actor
        await unit.record("auth.refreshed", found.actor.subject, session=str(found.session_id))
        return Response(_tokens(request, found.session_id, found.actor.id, found.refresh_token))
    if found is not None:
        unit.actor = VISITOR
        await unit.record(
            "auth.refused", "person:unknown", way="refresh", why="refresh_token_reused", session=str(found)
        )
    refusal = Unauthenticated(
        "This refresh token is not, or no longer, good. Sign in again.", code="refresh_token"
    )
    return answer(request, refusal)


@post(
    f"{PATH}/revoke",
    guards=[signed_in],
    status_code=204,
    tags=TAGS,
    summary="End this session, with all its tokens",
    description="At once, on every instance.",
    responses=problems(401, 403),
)
async def revoke(request: Request, unit: NamedDependency[Unit], actor: NamedDependency[Actor]) -> None:
    await sessions.revoke(unit.connection, request.auth.id)
    await unit.record("auth.revoked", actor.subject, session=str(request.auth.id))


@post(
    f"{PATH}/me/erase",
    guards=[signed_in],
    dto=StrictJSON,
    status_code=200,
    tags=TAGS,
    summary="Erase yourself",
    description="For good: name, words, sessions, and whatever leads from the audit log to you. Votes count on, policies "
    "stay, and every proof stays valid. `username` must be yours, so that it is not done by mistake. Answers how many "
    "rows of each kind were erased.",
    responses=problems(401, 403, 409, 413, 415, 422),
)
async def erase(
    data: JSONBody[EraseIn], unit: NamedDependency[Unit], actor: NamedDependency[Actor]
) -> dict[str, int]:
    if data.username != actor.username:
        fault = FieldError("/username", "Not your user name.")
        raise Invalid("Nothing was erased.", errors=(fault,))
    return await erasure.erase(unit, actor.id)


@get(
    f"{PATH}/me",
    guards=[signed_in],
    tags=TAGS,
    summary="Who you are here",
    description="Your roles, and the scopes that this very token has.",
    responses=problems(401, 403),
)
async def me(request: Request, actor: NamedDependency[Actor]) -> Me:
    return Me(
        id=actor.id,
        username=actor.username,
        name=actor.name,
        roles=sorted(actor.roles),
        expertise=sorted(actor.expertise),
        scopes=sorted(actor.scopes),
        session={"id": str(request.auth.id), "kind": request.auth.kind},
    )


@get(
    f"{PATH}/tokens",
    guards=[signed_in],
    tags=TAGS,
    summary="Your personal tokens",
    description="What each is for and may do, and until when; never the tokens themselves.",
    responses=problems(401, 403),
)
async def tokens(reader: NamedDependency[AsyncConnection], actor: NamedDependency[Actor]) -> Items[TokenView]:
    rows = await sessions.of_person(reader, actor.id)
    names = TokenView.__struct_fields__
    return Items(
        [TokenView(**{name: row[name] for name in names}) for row in rows if row["kind"] == "personal"]
    )


@post(
    f"{PATH}/tokens",
    guards=[signed_in],
    dto=StrictJSON,
    status_code=201,
    tags=TAGS,
    summary="Make a personal token",
    description="The answer holds a secret, so none is kept under an Idempotency-Key.",
    responses=problems(401, 403, 413, 415, 422),
)
async def add_token(
    request: Request, data: JSONBody[TokenIn], unit: NamedDependency[Unit], actor: NamedDependency[Actor]
) -> NewToken:
    made = await create_token(request, unit, actor, data.name, data.scopes, data.days)
    expires_at = datetime.now(UTC) + timedelta(days=made.days)
    return NewToken(id=made.id, name=made.name, scopes=made.scopes, expires_at=expires_at, token=made.token)


@delete(
    f"{PATH}/tokens/{{token_id:uuid}}",
    guards=[signed_in],
    tags=TAGS,
    summary="End a personal token or another session of yours",
    description="At once, on every instance.",
    responses=problems(401, 403, 404),
)
async def end_token(
    token_id: FromPath[UUID], unit: NamedDependency[Unit], actor: NamedDependency[Actor]
) -> None:
    if not await sessions.revoke(unit.connection, token_id, actor.id):
        raise NotFound("You have no such token, or it has ended already.")
    await unit.record("auth.revoked", actor.subject, session=str(token_id))


def _tokens(request: Request, session_id: UUID, person_id: UUID, refresh_token: str) -> Tokens:
    access = issue(secret_of(request), session_id, person_id, "api", sessions.ACCESS_LIFETIME)
    return Tokens(access_token=access, refresh_token=refresh_token)


routes = [token, refresh, revoke, me, erase, tokens, add_token, end_token]
