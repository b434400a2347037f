"""`python -m portal --service pgc`: the engines of policy enforcement behind HTTP, for portals that set PGC_SERVICE_URL.

It has no database and decides nothing by itself: it answers what each rule of a bundle says. Portals hand it the bundles,
whose bytes it holds against their revision, and show a token that JWT_SECRET signs. Bodies are msgpack.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import msgspec
import rfc8785
from litestar import Litestar, Request, Response, get, post
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.exceptions import NotAuthorizedException, NotFoundException
from litestar.handlers import BaseRouteHandler
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from portal.auth.tokens import is_service_token, secret_of
from portal.health import may_scrape
from portal.settings import Settings
from portal.telemetry import SECONDS
from workflows.errors import Unavailable
from workflows.policy_enforcement.bundle import Bundle, revision_of
from workflows.policy_enforcement.engines.pgc import MISSING, NAME, TOO_SLOW, Asking
from workflows.policy_enforcement.engines.pool import EnginePool, TooSlow
from workflows.policy_enforcement.engines.worker import Check

PORT = 8005  # of the seed; PGC_SERVICE_URL may name another
KEPT = 4  # bundles
LARGEST_BODY = 48_000_000  # bytes: 500 inputs of the largest size, and a bundle with all its data
LONGEST = 20.0  # seconds for one batch of a replay


class Held:
    """What the service holds: the engines, and the bundles it was handed."""

    def __init__(self) -> None:
        self.pool = EnginePool()
        self.bundles: dict[str, Bundle] = {}
        self.registry = CollectorRegistry()
        self.time = Histogram(
            "governance_response_time_seconds",
            "From a request's arrival to the end of its answer.",
            ("operation", "service"),
            buckets=SECONDS,
            registry=self.registry,
        )

    def keep(self, bundle: Bundle) -> None:
        self.bundles.pop(bundle.revision, None)
        while len(self.bundles) >= KEPT:
            self.bundles.pop(next(iter(self.bundles)))
        self.bundles[bundle.revision] = bundle


def for_portals(connection: ASGIConnection, _: BaseRouteHandler) -> None:
    """Only who shows a token that our secret signed, for this service, a moment ago."""
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not is_service_token(secret_of(connection), token, NAME):
        raise NotAuthorizedException


@post("/ask", guards=[for_portals], status_code=200)
async def ask(request: Request) -> Response[bytes]:
    """What each rule of a bundle says of each question: 409 for a bundle that is not here, 422 for a rule too slow."""
    held: Held = request.app.state.held
    asking = await _decoded(request, Asking)
    bundle = held.bundles.get(asking.revision)
    if bundle is None:
        return _said({"detail": "This bundle was not handed to me."}, MISSING)
    with held.time.labels("ask", NAME).time():
        if asking.seconds is None:
            said = await held.pool.ask(bundle, asking.questions)
        else:
            said = await held.pool.replay(bundle, asking.questions, min(asking.seconds, LONGEST))
    return _said(said)


@post("/check", guards=[for_portals], status_code=200)
async def check(request: Request) -> Response[bytes]:
    held: Held = request.app.state.held
    asked = await _decoded(request, Check)
    with held.time.labels("check", NAME).time():
        return _said(await held.pool.check(asked.engine, asked.source))


@post("/bundles", guards=[for_portals], status_code=200)
async def load(request: Request) -> Response[bytes]:
    """Take a bundle, if its bytes are those that its revision names, and have the engines ready for it."""
    held: Held = request.app.state.held
    bundle = await _decoded(request, Bundle)
    if not _is_whole(bundle):
        return _said({"detail": "The bundle is not the one that its revision names."}, 400)
    await held.pool.prepare(bundle)
    held.keep(bundle)
    return _said({})


@get("/healthz")
async def healthz() -> dict[str, str]:
    return {"status": "ok"}


@get("/readyz")
async def readyz(request: Request) -> Response[dict[str, Any]]:
    """Ready when an engine runs an example of each language."""
    held: Held = request.app.state.held
    try:
        async with asyncio.timeout(3):
            found = [await held.pool.check(engine, "") for engine in ("rego", "datalog")]
        ready = all(item.problems for item in found)
    except (Unavailable, TimeoutError):
        ready = False
    return Response({"ready": ready, "bundles": sorted(held.bundles)}, status_code=200 if ready else 503)


@get("/metrics")
async def metrics(request: Request) -> Response[bytes]:
    """For this machine, or with METRICS_TOKEN, as the portal's."""
    held: Held = request.app.state.held
    if not may_scrape(request, request.app.state.settings.metrics_token):
        raise NotFoundException
    return Response(generate_latest(held.registry), media_type="text/plain; version=0.0.4")


async def _decoded(request: Request, type: type) -> Any:
    try:
        return msgspec.msgpack.decode(await request.body(), type=type)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise _Misread(str(error)[:300]) from None


class _Misread(Exception):
    """A body that is none of ours."""


def _is_whole(bundle: Bundle) -> bool:
    manifest = bundle.manifest
    sources = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in bundle.sources.items()}
    facts = {name: hashlib.sha256(rfc8785.dumps(value)).hexdigest() for name, value in bundle.facts.items()}
    return (
        revision_of(manifest) == bundle.revision
        and sources == {rule.policy: rule.source_sha256 for rule in manifest.rules}
        and facts == {fact.name: fact.sha256 for fact in manifest.facts}
    )


def _said(body: Any, status: int = 200) -> Response[bytes]:
    return Response(msgspec.msgpack.encode(body), status_code=status, media_type="application/msgpack")


def _too_slow(_: Request, __: TooSlow) -> Response[bytes]:
    return _said({"detail": "A rule did not answer in time."}, TOO_SLOW)


def _away(_: Request, error: Unavailable) -> Response[bytes]:
    return _said({"detail": error.detail}, 503)


def _misread(_: Request, error: _Misread) -> Response[bytes]:
    return _said({"detail": str(error)}, 400)


@asynccontextmanager
async def _lifespan(app: Litestar) -> AsyncIterator[None]:
    app.state.held = Held()
    try:
        yield
    finally:
        await app.state.held.pool.close()


def create_service(settings: Settings) -> Litestar:
    return Litestar(
        route_handlers=[ask, check, load, healthz, readyz, metrics],
        state=State({"settings": settings}),
        lifespan=[_lifespan],
        exception_handlers={TooSlow: _too_slow, Unavailable: _away, _Misread: _misread},
        openapi_config=None,
        request_max_body_size=LARGEST_BODY,
        logging_config=None,
    )


def port_of(settings: Settings) -> int:
    """Where portals look for it."""
    return (urlsplit(settings.pgc_service_url or "").port) or PORT
