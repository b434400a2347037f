"""What every route says about who may use it. Each route names exactly one of these in its own `guards`."""

from __future__ import annotations

from collections.abc import Callable

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from workflows.errors import Refused, Unauthenticated
from workflows.roles import Actor, Permission, Scope, insist

Guard = Callable[[ASGIConnection, BaseRouteHandler], None]


def public(connection: ASGIConnection, _: BaseRouteHandler) -> None:
    """Anyone, signed in or not."""


def signed_in(connection: ASGIConnection, _: BaseRouteHandler) -> None:
    """Anyone who has signed in; a personal token needs the scope `read`."""
    if Scope.READ not in _actor(connection).scopes:
        raise Refused("This token was not given the scope “read”.", code="scope_missing")


def requires(permission: Permission) -> Guard:
    """Those whom `permission(actor)` lets: one of workflows.roles that asks for nothing but the actor."""

    def guard(connection: ASGIConnection, _: BaseRouteHandler) -> None:
        insist(permission(_actor(connection)))

    guard.permission = permission  # type: ignore[attr-defined]
    return guard


def is_guard(guard: object) -> bool:
    """For the test that every route has one."""
    return guard in (public, signed_in) or hasattr(guard, "permission")


def _actor(connection: ASGIConnection) -> Actor:
    if problem := connection.scope["state"].get("sign_in_problem"):
        raise problem  # the database did not answer: 503, rather than a claim that nobody is signed in
    actor = connection.scope.get("user")
    if actor is None:
        raise Unauthenticated("Sign in to see this.")
    return actor
