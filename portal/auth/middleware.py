"""Finds out who is asking: pages by cookie, `/api/` by Authorization header only. One query, so a revoked session ends at once."""

from __future__ import annotations

import structlog
from litestar.connection import ASGIConnection
from litestar.types import ASGIApp, Receive, Scope, Send
from sqlalchemy.exc import SQLAlchemyError

from portal.auth import sessions
from portal.auth.tokens import secret_of, session_of
from workflows.errors import Unavailable

COOKIE = "session"
log = structlog.get_logger(__name__)


def authentication_layer(app: ASGIApp) -> ASGIApp:
    """Set `request.user` to the Actor or None, and `request.auth` to the SignIn behind it."""

    async def layer(scope: Scope, receive: Receive, send: Send) -> None:
        scope["user"] = scope["auth"] = None
        if scope["type"] in ("http", "websocket") and not scope["path"].startswith("/static/"):
            connection: ASGIConnection = ASGIConnection(scope)
            session_id = _session_id(connection)
            if session_id:
                try:
                    found = await sessions.load(connection.app.state.services.engine, session_id)
                except (SQLAlchemyError, OSError, TimeoutError) as error:
                    log.warning("session_not_checked", error=repr(error))
                    scope["state"]["sign_in_problem"] = Unavailable("The database does not answer.")
                else:
                    scope["user"], scope["auth"] = found or (None, None)
        await app(scope, receive, send)

    return layer


def _session_id(connection: ASGIConnection):
    secret = secret_of(connection)
    if connection.url.path.startswith("/api/"):
        scheme, _, token = connection.headers.get("authorization", "").partition(" ")
        return session_of(secret, token.strip(), "api") if scheme.lower() == "bearer" else None
    token = connection.cookies.get(COOKIE)
    return session_of(secret, token, "pages") if token else None
