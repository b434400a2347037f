"""How the portal sets cookies: unseen by scripts, not sent along from other sites, and by https only where there is https."""

from __future__ import annotations

from litestar.connection import ASGIConnection
from litestar.datastructures import Cookie


def cookie(connection: ASGIConnection, name: str, value: str, max_age: int | None = None) -> Cookie:
    """A cookie for the whole site; without `max_age` (seconds) until the browser closes, with 0 to remove it."""
    return Cookie(
        key=name,
        value=value,
        path="/",
        max_age=max_age,
        secure=connection.app.state.settings.https,
        httponly=True,
        samesite="lax",
    )
