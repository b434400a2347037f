"""Enters in the audit trail that somebody who had signed in was refused, before they are told."""

from __future__ import annotations

import structlog
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from sqlalchemy.exc import SQLAlchemyError

from portal.database import begin_unit
from workflows.errors import Unavailable

log = structlog.get_logger(__name__)


def refusals_layer(app: ASGIApp) -> ASGIApp:
    """Visitors who have to sign in first are not entered: each page that asks for it would be, and it says nothing."""

    async def layer(scope: Scope, receive: Receive, send: Send) -> None:
        async def recording(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 403 and scope.get("user"):
                await _record(scope)
            await send(message)

        await app(scope, receive, recording if scope["type"] == "http" else send)

    return layer


async def _record(scope: Scope) -> None:
    """In a transaction of its own: the request's was rolled back with what was refused."""
    held, state = scope["app"].state.services, scope["state"]
    route = scope.get("path_template") or "unmatched"
    try:
        async with begin_unit(
            held.engine,
            constitution=held.governing,
            actor=scope["user"],
            request_id=state["request_id"],
        ) as unit:
            await unit.record(
                "access.refused",
                scope["user"].subject,
                method=scope["method"],
                route=route,
                code=state.get("refusal_code", ""),
            )
    except (SQLAlchemyError, Unavailable, OSError) as error:
        # Nothing is given away by a refusal, so it stands even where it cannot be entered.
        log.error("refusal_not_recorded", route=route, error=repr(error))
