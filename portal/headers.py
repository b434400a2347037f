"""The headers of every answer: what browsers may load and do, the constitution in force, how long files keep."""

from __future__ import annotations

from urllib.parse import parse_qs

from litestar.datastructures import MutableScopeHeaders
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from portal.settings import Settings

POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data:",
    "font-src": "'self'",
    "manifest-src": "'self'",
    "form-action": "'self'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
}
FIXED = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "strict-origin-when-cross-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
A_YEAR = "public, max-age=31536000, immutable"


def headers_layer(app: ASGIApp) -> ASGIApp:
    """Add them to every answer, also to those that never reach a handler."""

    async def layer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        settings: Settings = scope["app"].state.settings

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableScopeHeaders.from_message(message)
                for name, value in FIXED.items():
                    headers.setdefault(name, value)
                if settings.https:
                    headers["Strict-Transport-Security"] = "max-age=31536000"
                headers.setdefault("Content-Security-Policy", _content_policy(scope, settings))
                headers["X-Constitution-Hash"] = scope["app"].state.services.constitution.sha256
                if scope["path"].startswith("/static/") and message["status"] == 200:
                    # Only an address that names the content's hash stays good for ever.
                    headers["Cache-Control"] = A_YEAR if "v" in _query(scope) else "no-cache"
                elif scope["path"].startswith("/api/"):
                    headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await app(scope, receive, with_headers)

    return layer


def head_layer(app: ASGIApp) -> ASGIApp:
    """Answer HEAD wherever GET is answered; the server sends only the head of it (RFC 9110, 9.3.2)."""

    async def layer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await app(scope, receive, send)
            return
        # For handlers whose body costs much, or whose reading is entered in the log.
        scope["state"]["head_only"] = True
        inside: Scope = {**scope, "method": "GET"}
        await app(inside, receive, send)
        scope["path_template"] = inside.get("path_template", "")  # for the measurements

    return layer


def _content_policy(scope: Scope, settings: Settings) -> str:
    host = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "")
    # Not every browser reads 'self' as covering ws: of the same host.
    sockets = f"{'wss' if settings.https else 'ws'}://{host}" if _plain(host) else ""
    policy = {**POLICY, "connect-src": f"'self' {sockets}".strip()}
    return "; ".join(f"{name} {value}" for name, value in policy.items())


def _plain(host: str) -> bool:
    return bool(host) and all(character.isalnum() or character in ".-:[]" for character in host)


def _query(scope: Scope) -> dict[str, list[str]]:
    return parse_qs(scope["query_string"].decode("latin-1"))
