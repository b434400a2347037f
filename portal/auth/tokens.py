"""What the portal signs: session tokens (JWT, HS256) and short values that travel in cookies."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from datetime import UTC, datetime, timedelta
from typing import Literal
from uuid import UUID

import jwt
from litestar.connection import ASGIConnection

ISSUER = "acgs-governance-portal"
Audience = Literal["pages", "api"]  # a token lifted from a cookie is of no use to the API, nor the other way


def issue(secret: str, session_id: UUID, person_id: UUID, audience: Audience, lifetime: timedelta) -> str:
    """A signed token that names the session (`jti`) and the person (`sub`). Roles are looked up, not carried."""
    now = datetime.now(UTC)
    claims = {
        "iss": ISSUER,
        "aud": audience,
        "sub": str(person_id),
        "jti": str(session_id),
        "iat": now,
        "exp": now + lifetime,
    }
    return jwt.encode(claims, secret, algorithm="HS256")


def session_of(secret: str, token: str, audience: Audience) -> UUID | None:
    """The session a token names; None when it is not ours, was altered, is of another audience or has run out."""
    try:
        claims = jwt.decode(
            token,
            secret,
            algorithms=["HS256"],
            audience=audience,
            issuer=ISSUER,
            options={"require": ["exp", "iat", "jti", "sub"]},
        )
        return UUID(claims["jti"])
    except (jwt.InvalidTokenError, ValueError):
        return None


def service_token(secret: str, service: str) -> str:
    """What a portal shows to one of its services; good for a minute."""
    now = datetime.now(UTC)
    claims = {"iss": ISSUER, "aud": f"service:{service}", "iat": now, "exp": now + timedelta(minutes=1)}
    return jwt.encode(claims, secret, algorithm="HS256")


def is_service_token(secret: str, token: str, service: str) -> bool:
    try:
        options = {"require": ["exp", "iat"]}
        jwt.decode(
            token, secret, algorithms=["HS256"], audience=f"service:{service}", issuer=ISSUER, options=options
        )
        return True
    except jwt.InvalidTokenError:
        return False


def new_refresh_token() -> str:
    return secrets.token_urlsafe(32)


def sha256_of(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def secret_of(connection: ASGIConnection) -> str:
    return connection.app.state.settings.jwt_secret


def seal(secret: str, purpose: str, text: str) -> str:
    """`text` with a seal that only holds for `purpose`, in characters a cookie takes."""
    body = base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")
    return f"{body}.{_seal(secret, purpose, body)}"


def unseal(secret: str, purpose: str, sealed: str) -> str | None:
    """The text of a `seal`ed value, or None if it was not sealed by us for this purpose."""
    body, _, mark = sealed.partition(".")
    if not hmac.compare_digest(_seal(secret, purpose, body).encode(), mark.encode()):
        return None
    return base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)).decode()


def _seal(secret: str, purpose: str, body: str) -> str:
    return hmac.new(secret.encode(), f"{purpose}\0{body}".encode(), hashlib.sha256).hexdigest()
