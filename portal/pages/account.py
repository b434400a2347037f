"""Signing in and out, how pages look, and one's own sessions and tokens."""

from __future__ import annotations

from uuid import UUID

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from sqlalchemy.ext.asyncio import AsyncConnection

from portal.auth import sessions
from portal.auth.guards import public, signed_in
from portal.auth.middleware import COOKIE
from portal.auth.personal import DAYS, PersonalToken, create_token
from portal.auth.signing_in import WRONG, check_password
from portal.auth.tokens import issue, secret_of
from portal.cookies import cookie
from portal.pages.forms import form, safe_next
from portal.pages.render import THEME, THEMES, page, see_other
from workflows.audit_transparency import erasure
from workflows.errors import Invalid, NotFound
from workflows.roles import Actor, Scope
from workflows.storage.unit import Unit

A_YEAR = 365 * 86_400


@get("/login", guards=[public])
async def login_form(
    request: Request, actor: NamedDependency[Actor | None], next: FromQuery[str] = "/"
) -> Response:
    if actor is not None:
        return see_other(safe_next(next))
    return _login_page(request, next)


@post("/login", guards=[public], status_code=303)
async def login(request: Request, unit: NamedDependency[Unit]) -> Response:
    sent = await form(request)
    username, target = sent.get("username", ""), safe_next(sent.get("next"))
    actor = await check_password(unit, username, sent.get("password", ""), "page")
    if actor is None:  # answered, not raised: the refusal's audit entry must commit
        return _login_page(request, target, status=422, username=username, errors={"username": WRONG})
    response = see_other(target, flash=("success", f"You are signed in as {actor.name}."))
    return await start_session(request, unit, actor, response)


@post("/logout", guards=[public], status_code=303)
async def logout(request: Request, unit: NamedDependency[Unit]) -> Response:
    if request.auth and await sessions.revoke(unit.connection, request.auth.id):
        await unit.record("auth.signed_out", request.user.subject, session=str(request.auth.id))
    response = see_other("/", flash=("success", "You are signed out."))
    response.cookies.append(cookie(request, COOKIE, "", max_age=0))
    return response


async def start_session(request: Request, unit: Unit, actor: Actor, response: Response) -> Response:
    """Give the browser a session of `actor` in place of the one it has."""
    if request.auth:
        await sessions.revoke(unit.connection, request.auth.id)
    agent = request.headers.get("user-agent", "")
    lifetime = sessions.COOKIE_LIFETIME
    session_id = await sessions.create(unit.connection, actor.id, "cookie", lifetime, user_agent=agent)
    token = issue(secret_of(request), session_id, actor.id, "pages", lifetime)
    response.cookies.append(cookie(request, COOKIE, token, max_age=int(lifetime.total_seconds())))
    return response


def _login_page(
    request: Request,
    target: str,
    *,
    status: int = 200,
    username: str = "",
    errors: dict[str, str] | None = None,
) -> Response:
    return page(
        request,
        "pages/login.html",
        title="Sign in",
        status=status,
        next=safe_next(target),
        username=username,
        errors=errors or {},
    )


@post("/theme", guards=[public], status_code=303)
async def theme(request: Request) -> Response:
    sent = await form(request)
    chosen = sent.get("theme", "auto")
    response = see_other(safe_next(sent.get("next")))
    response.cookies.append(cookie(request, THEME, chosen if chosen in THEMES else "auto", max_age=A_YEAR))
    return response


@get("/me", guards=[signed_in])
async def me(
    request: Request, reader: NamedDependency[AsyncConnection], actor: NamedDependency[Actor]
) -> Response:
    return await _me_page(request, reader, actor)


@post("/me/tokens", guards=[signed_in], status_code=200)
async def add_token(request: Request, unit: NamedDependency[Unit], actor: NamedDependency[Actor]) -> Response:
    sent = await form(request)
    wanted = [scope for scope in Scope if scope in (await request.form()).getall("scopes", [])]
    days = int(sent["days"]) if sent.get("days", "").isdecimal() else 0
    try:
        made = await create_token(request, unit, actor, sent.get("name", ""), wanted, days)
    except Invalid as error:
        faults = {fault.pointer.strip("/"): fault.message for fault in error.errors}
        return await _me_page(
            request, unit.connection, actor, status=422, errors=faults, entered=sent, chosen=wanted
        )
    return await _me_page(request, unit.connection, actor, made=made)


@get("/me/erase", guards=[signed_in])
async def erase_form(request: Request, actor: NamedDependency[Actor]) -> Response:
    """What an erasure does and does not do, before it is asked for."""
    return _erase_page(request, actor)


@post("/me/erase", guards=[signed_in], status_code=303)
async def erase_me(request: Request, unit: NamedDependency[Unit], actor: NamedDependency[Actor]) -> Response:
    sent = await form(request)
    if sent.get("username", "").strip().lower() != actor.username:
        fault = {"username": "Write your user name exactly, so that it is not done by mistake."}
        return _erase_page(request, actor, status=422, errors=fault)
    await erasure.erase(unit, actor.id)
    response = see_other("/", flash=("success", "You are erased here, and signed out everywhere."))
    response.cookies.append(cookie(request, COOKIE, "", max_age=0))
    return response


def _erase_page(
    request: Request, actor: Actor, *, status: int = 200, errors: dict[str, str] | None = None
) -> Response:
    return page(request, "pages/erase.html", title="Erase my data", status=status, errors=errors or {})


@post("/me/sessions/{session_id:uuid}/revoke", guards=[signed_in], status_code=303)
async def end_session(
    request: Request, session_id: FromPath[UUID], unit: NamedDependency[Unit], actor: NamedDependency[Actor]
) -> Response:
    if not await sessions.revoke(unit.connection, session_id, actor.id):
        raise NotFound("You have no such session, or it has ended already.")
    await unit.record("auth.revoked", actor.subject, session=str(session_id))
    return see_other("/me", flash=("success", "It is ended, and is refused from now on."))


async def _me_page(
    request: Request,
    connection: AsyncConnection,
    actor: Actor,
    *,
    status: int = 200,
    made: PersonalToken | None = None,
    errors: dict[str, str] | None = None,
    entered: dict[str, str] | None = None,
    chosen: list[Scope] | None = None,
) -> Response:
    rows = await sessions.of_person(connection, actor.id)
    return page(
        request,
        "pages/me.html",
        title="Your page",
        status=status,
        sessions=[row for row in rows if row["kind"] != "personal"],
        tokens=[row for row in rows if row["kind"] == "personal"],
        current=request.auth.id,
        made=made,
        errors=errors or {},
        entered=entered or {},
        chosen=chosen or [Scope.READ],
        scopes=list(Scope),
        days=DAYS,
    )


routes = [login_form, login, logout, theme, me, add_token, end_session, erase_form, erase_me]
