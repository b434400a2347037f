"""Renders pages and fragments, with what the frame of every page shows (templates/base.html, docs/design.md)."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
import structlog
from litestar import Request, Response
from litestar.response.base import ASGIResponse
from litestar.types import ASGIApp, Receive, Scope, Send
from sqlalchemy.exc import SQLAlchemyError

from portal.auth.csrf import csrf_token
from portal.auth.tokens import seal, secret_of, unseal
from portal.cookies import cookie
from portal.pages.filters import in_words
from workflows.errors import Unavailable
from workflows.policy_creation.queries import waiting
from workflows.roles import Actor, Role
from workflows.storage.tables import alert, chain_status, governance_clock, organisation, person
from workflows.storage.unit import governance_time

log = structlog.get_logger(__name__)
FLASH = "flash"
THEME = "theme"
THEMES = ("auto", "light", "dark")
HTML = "text/html"


def page(request: Request, template: str, *, title: str, status: int = 200, **context: Any) -> Response:
    """A whole page. What its frame shows is read when it is sent, so after the request's own transaction."""
    return _Rendered(template, status, {"title": title, **context}, whole=True)


def fragment(request: Request, template: str, *, status: int = 200, **context: Any) -> Response:
    """A part of a page, for htmx, with the same context as a page has; leaves flash messages for the next page."""
    return _Rendered(template, status, context, whole=False)


def see_other(path: str, flash: tuple[str, str] | None = None) -> Response:
    """Send the browser to `path` (303), there to show `flash` once: (success, info, warning or danger; text)."""
    return _SeeOther(path, flash)


class _Rendered(Response[None]):
    """A template that is filled in when the answer is sent, which Litestar's own Template cannot await."""

    def __init__(self, template: str, status: int, context: dict[str, Any], *, whole: bool) -> None:
        super().__init__(None, status_code=status, media_type=HTML)
        self.template, self.context, self.whole = template, context, whole

    def to_asgi_response(self, app: Any, request: Request, **given: Any) -> ASGIApp:  # type: ignore[override]
        async def send_rendered(scope: Scope, receive: Receive, send: Send) -> None:
            context = {**await frame(request), "request": request, **self.context}
            context["flash"] = _flashes(request) if self.whole else []
            html = request.app.template_engine.get_template(self.template).render(context)
            headers = {**(given.get("headers") or {}), **self.headers, "Vary": "HX-Request, Cookie"}
            headers.setdefault("Cache-Control", "no-store" if context["actor"] else "no-cache")
            cookies = list(self.cookies)
            if context["flash"]:
                cookies.append(cookie(request, FLASH, "", max_age=0))
            await ASGIResponse(
                body=html.encode(),
                status_code=self.status_code or 200,
                headers=headers,
                cookies=cookies,
                media_type=HTML,
                is_head_response=given.get("is_head_response", False),
            )(scope, receive, send)

        return send_rendered


class _SeeOther(Response[None]):
    """303 for browsers; htmx, which would swap the next page into this one, is told to go there."""

    def __init__(self, path: str, flash: tuple[str, str] | None) -> None:
        super().__init__(None, status_code=303, media_type=HTML)
        self.path, self.flash = path, flash

    def to_asgi_response(self, app: Any, request: Request, **given: Any) -> ASGIResponse:
        htmx = "hx-request" in request.headers
        self.status_code = 204 if htmx else 303
        self.headers["HX-Redirect" if htmx else "Location"] = self.path
        if self.flash:
            value = seal(secret_of(request), FLASH, json.dumps([*_held(request), self.flash][-3:]))
            self.cookies.append(cookie(request, FLASH, value))
        return super().to_asgi_response(app, request, **given)


def _held(request: Request) -> list[list[str]]:
    text = unseal(secret_of(request), FLASH, request.cookies.get(FLASH, ""))
    return json.loads(text) if text else []


def _flashes(request: Request) -> list[dict[str, str]]:
    return [{"kind": kind, "text": text} for kind, text in _held(request)]


async def frame(request: Request) -> dict[str, Any]:
    """What the frame of every page shows, by one query. With the database away, what is known without it."""
    held = request.app.state.services
    actor: Actor | None = request.scope.get("user")
    row = await _frame_row(request, actor)
    constitution = held.constitution
    return {
        "actor": actor,
        "organisation": {
            "name": row["name"] or "Governance portal",
            "description": row["description"] or "",
        },
        "demo": _demo(row) if held.settings.in_demo else None,
        "constitution": {
            "label": constitution.label,
            "sha256": constitution.sha256,
            "problem": constitution.problem,
            "matches_chain": row["hash_on_chain"] and row["hash_on_chain"] == constitution.sha256,
        },
        "nav": _nav(request.url.path, actor),
        "inbox_count": row["waiting"],
        "csrf_token": csrf_token(request),
        "theme": _theme(request),
        "now": row["now"],
        "alerts": row["alerts"] or [],
        "locale": "en",
        "dir": "ltr",
    }


NOTHING: dict[str, Any] = dict.fromkeys(
    ("name", "description", "ahead", "alerts", "personas", "hash_on_chain")
)


async def _frame_row(request: Request, actor: Actor | None) -> dict[str, Any]:
    held = request.app.state.services
    try:
        async with held.engine.connect() as connection:
            query = _frame_query(actor, held.settings.in_demo, held.constitution.sha256)
            return dict((await connection.execute(query)).mappings().one())
    except (SQLAlchemyError, OSError, TimeoutError, Unavailable) as error:
        log.warning("frame_without_database", error=repr(error))
        return {**NOTHING, "now": datetime.now(UTC), "waiting": 0}


def _frame_query(actor: Actor | None, in_demo: bool, constitution_sha256: str) -> sa.Select:
    ahead = sa.func.coalesce(sa.select(governance_clock.c.ahead).scalar_subquery(), sa.text("interval '0'"))
    alerts = sa.select(
        sa.func.jsonb_agg(
            sa.func.jsonb_build_object(
                "severity", alert.c.severity, "message", alert.c.message, "href", alert.c.href
            )
        )
    ).where(alert.c.resolved_at.is_(None))
    personas = sa.select(
        sa.func.jsonb_agg(
            sa.func.jsonb_build_object(
                "username", person.c.username, "name", person.c.name, "role_text", person.c.persona
            )
        )
    ).where(person.c.persona.is_not(None), person.c.active)
    now = governance_time()
    return sa.select(
        now.label("now"),
        ahead.label("ahead"),
        sa.select(organisation.c.name).scalar_subquery().label("name"),
        sa.select(organisation.c.description).scalar_subquery().label("description"),
        sa.select(chain_status.c.seen["constitution"]["hash"].astext)
        .scalar_subquery()
        .label("hash_on_chain"),
        alerts.scalar_subquery().label("alerts"),
        (personas.scalar_subquery() if in_demo else sa.null()).label("personas"),
        (_count(waiting(actor, constitution_sha256, now)) if actor else sa.literal(0)).label("waiting"),
    )


def _count(rows: sa.Subquery) -> sa.ScalarSelect:
    return sa.select(sa.func.count()).select_from(rows).scalar_subquery()


def _demo(row: dict[str, Any]) -> dict[str, Any]:
    personas = sorted(row["personas"] or [], key=lambda each: each["username"])
    ahead = row["ahead"]
    return {
        "personas": personas,
        "clock_offset_text": f"{in_words(ahead)} ahead" if ahead else "",
        "now": row["now"],
    }


def _nav(path: str, actor: Actor | None) -> list[dict[str, Any]]:
    items = [("/policies", "Policies"), ("/votes", "Votes")]
    if actor and actor.has(Role.REVIEWER, Role.COUNCIL):
        items.append(("/reviews", "Reviews"))
    items += [
        ("/compliance", "Compliance"),
        ("/enforcement", "Enforcement"),
        ("/constitution", "Constitution"),
        ("/audit", "Audit"),
        ("/transparency", "Transparency"),
    ]
    return [
        {"href": href, "text": text, "current": path == href or path.startswith(f"{href}/")}
        for href, text in items
    ]


def _theme(request: Request) -> str:
    chosen = request.cookies.get(THEME, "auto")
    return chosen if chosen in THEMES else "auto"
