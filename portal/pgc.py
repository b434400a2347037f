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

import rfc8785
from litestar import Litestar, Request, Response, get, post
from litestar.datastructures import State

from portal.serving import Watched, decoded, for_portals, healthz, metrics, refusals, said
from portal.settings import Settings
from workflows.errors import Unavailable
from workflows.policy_enforcement.bundle import Bundle, revision_of
from workflows.policy_enforcement.engines.pgc import MISSING, NAME, TOO_SLOW, Asking
from workflows.policy_enforcement.engines.pool import EnginePool, TooSlow
from workflows.policy_enforcement.engines.worker import Check

PORT = 8005  # of the seed; PGC_SERVICE_URL may name another
KEPT = 4  # bundles
LARGEST_BODY = 48_000_000  # bytes: 500 inputs of the largest size, and a bundle with all its data
LONGEST = 20.0  # seconds for one batch of a replay


class Held(Watched):
    """What the service holds: the engines, and the bundles it was handed."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = EnginePool()
        self.bundles: dict[str, Bundle] = {}

    def keep(self, bundle: Bundle) -> None:
        self.bundles.pop(bundle.revision, None)
        while len(self.bundles) >= KEPT:
            self.bundles.pop(next(iter(self.bundles)))
        self.bundles[bundle.revision] = bundle


@post("/ask", guards=[for_portals(NAME)], status_code=200)
async def ask(request: Request) -> Response[bytes]:
    """What each rule of a bundle says of each question: 409 for a bundle that is not here, 422 for a rule too slow."""
    held: Held = request.app.state.held
    asking = await decoded(request, Asking)
    bundle = held.bundles.get(asking.revision)
    if bundle is None:
        return said({"detail": "This bundle was not handed to me."}, MISSING)
    with held.time.labels("ask", NAME).time():
        if asking.seconds is None:
            return said(await held.pool.ask(bundle, asking.questions))
        return said(await held.pool.replay(bundle, asking.questions, min(asking.seconds, LONGEST)))


@post("/check", guards=[for_portals(NAME)], status_code=200)
async def check(request: Request) -> Response[bytes]:
    held: Held = request.app.state.held
    asked = await decoded(request, Check)
    with held.time.labels("check", NAME).time():
        return said(await held.pool.check(asked.engine, asked.source))


@post("/bundles", guards=[for_portals(NAME)], status_code=200)
async def load(request: Request) -> Response[bytes]:
    """Take a bundle, if its bytes are those that its revision names, and have the engines ready for it."""
    held: Held = request.app.state.held
    bundle = await decoded(request, Bundle)
    if not _is_whole(bundle):
        return said({"detail": "The bundle is not the one that its revision names."}, 400)
    await held.pool.prepare(bundle)
    held.keep(bundle)
    return said({})


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


def _is_whole(bundle: Bundle) -> bool:
    manifest = bundle.manifest
    sources = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in bundle.sources.items()}
    facts = {name: hashlib.sha256(rfc8785.dumps(value)).hexdigest() for name, value in bundle.facts.items()}
    return (
        revision_of(manifest) == bundle.revision
        and sources == {rule.policy: rule.source_sha256 for rule in manifest.rules}
        and facts == {fact.name: fact.sha256 for fact in manifest.facts}
    )


def _too_slow(_: Request, __: TooSlow) -> Response[bytes]:
    return said({"detail": "A rule did not answer in time."}, TOO_SLOW)


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
        exception_handlers={**refusals, TooSlow: _too_slow},
        openapi_config=None,
        request_max_body_size=LARGEST_BODY,
        logging_config=None,
    )


def port_of(settings: Settings) -> int:
    """Where portals look for it."""
    return (urlsplit(settings.pgc_service_url or "").port) or PORT
