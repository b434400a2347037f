"""Forms of pages carry a token that another site cannot know: a signed double submit, beside the Origin header.

`/api/` needs none of this: it takes no cookies.
"""

from __future__ import annotations

import hmac
import secrets
from urllib.parse import urlsplit

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.datastructures import MutableScopeHeaders
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from portal.auth.tokens import seal, secret_of, unseal
from portal.cookies import cookie
from workflows.errors import Refused

COOKIE = "csrf"
SAFE = ("GET", "HEAD", "OPTIONS", "TRACE")


def csrf_token(connection: ASGIConnection) -> str:
    """The token for the forms of this answer."""
    return connection.scope["state"].get("csrf_token", "")


def csrf_layer(app: ASGIApp) -> ASGIApp:
    """Give every page request a token, set its cookie once, and mark requests that must show it."""

    async def layer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(("/api/", "/static/")):
            await app(scope, receive, send)
            return
        request: Request = Request(scope, receive, send)
        secret = secret_of(request)
        held = request.cookies.get(COOKIE, "")
        fresh = unseal(secret, COOKIE, held) is None
        token = seal(secret, COOKIE, secrets.token_urlsafe(18)) if fresh else held
        scope["state"]["csrf_token"] = token

        async def with_cookie(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableScopeHeaders.from_message(message)
                # What caches may keep for everybody must not hold one visitor's token.
                if "public" not in headers.get("cache-control", ""):
                    held_by_browser = cookie(request, COOKIE, token)
                    headers.add("set-cookie", held_by_browser.to_header(header=""))
            await send(message)

        await app(scope, receive, with_cookie if fresh else send)

    return layer


async def check_csrf(request: Request) -> None:
    """Litestar's `before_request`: raises Refused unless a changing request of a page shows the token of its cookie."""
    if request.method in SAFE or request.url.path.startswith("/api/"):
        return
    origin = request.headers.get("origin")
    ours = (request.headers.get("host"), urlsplit(request.app.state.settings.base_url or "").netloc)
    if origin and origin != "null" and urlsplit(origin).netloc not in ours:
        raise Refused("This form was sent from another site.", code="csrf")
    shown = request.headers.get("x-csrftoken") or (await request.form()).get("_csrf_token") or ""
    held = request.cookies.get(COOKIE, "")
    known = unseal(secret_of(request), COOKIE, held) is not None
    if not known or not hmac.compare_digest(str(shown).encode(), held.encode()):
        raise Refused("This form is out of date. Open the page again and send it once more.", code="csrf")
