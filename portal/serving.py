"""What the portal's services have in common: they answer portals only, in msgpack, and say how they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import msgspec
from litestar import Request, Response, get
from litestar.connection import ASGIConnection
from litestar.exceptions import NotAuthorizedException, NotFoundException
from litestar.handlers import BaseRouteHandler
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from portal.auth.tokens import is_service_token, secret_of
from portal.telemetry import SECONDS, may_scrape
from workflows.errors import Unavailable


class HasMetrics(Protocol):
    """What every service holds in `app.state.held`."""

    @property
    def registry(self) -> CollectorRegistry: ...


class Watched:
    """Holds how long a service's answers took."""

    def __init__(self, buckets: tuple[float, ...] = SECONDS) -> None:
        self.registry = CollectorRegistry()
        self.time = Histogram(
            "governance_response_time_seconds",
            "From a request's arrival to the end of its answer.",
            ("operation", "service"),
            buckets=buckets,
            registry=self.registry,
        )


def for_portals(name: str) -> Callable[[ASGIConnection, BaseRouteHandler], None]:
    """A guard: only who shows a token that our secret signed, for the service of this name, a moment ago."""

    def guard(connection: ASGIConnection, _: BaseRouteHandler) -> None:
        scheme, _, token = connection.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not is_service_token(secret_of(connection), token, name):
            raise NotAuthorizedException

    return guard


@get("/healthz")
async def healthz() -> dict[str, str]:
    return {"status": "ok"}


@get("/metrics")
async def metrics(request: Request) -> Response[bytes]:
    """For this machine, or with METRICS_TOKEN, as the portal's."""
    held: HasMetrics = request.app.state.held
    if not may_scrape(request, request.app.state.settings.metrics_token):
        raise NotFoundException
    return Response(generate_latest(held.registry), media_type="text/plain; version=0.0.4")


class Misread(Exception):
    """A body that is none of ours."""


async def decoded(request: Request, type: Any) -> Any:
    """The body as a `type`. Raises Misread."""
    try:
        return msgspec.msgpack.decode(await request.body(), type=type)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise Misread(str(error)[:300]) from None


def said(body: Any, status: int = 200) -> Response[bytes]:
    return Response(msgspec.msgpack.encode(body), status_code=status, media_type="application/msgpack")


def _away(_: Request, error: Unavailable) -> Response[bytes]:
    return said({"detail": error.detail}, 503)


def _misread(_: Request, error: Misread) -> Response[bytes]:
    return said({"detail": str(error)}, 400)


refusals = {Unavailable: _away, Misread: _misread}
