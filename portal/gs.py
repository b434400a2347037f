"""`python -m portal --service gs`: policy synthesis and consensus behind HTTP, for portals that set GS_SERVICE_URL.

It has no database and decides nothing: portals hand it the policies in force with each wish, and validate what it drafts.
They show a token that JWT_SECRET signs. Bodies are msgpack.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from litestar import Litestar, Request, Response, get, post
from litestar.datastructures import State
from prometheus_client import Counter

from portal.language_models import close_all, language_models
from portal.serving import Watched, decoded, for_portals, healthz, metrics, refusals, said
from portal.settings import Settings
from portal.telemetry import SECONDS
from workflows.constitutional_compliance.consensus import agree
from workflows.constitutional_compliance.embedding import packaged
from workflows.errors import NotFound
from workflows.policy_creation.synthesis.drafting import LocalSynthesiser
from workflows.policy_creation.synthesis.gs import NAME, Agreeing, Drafting, Mending

PORT = 8004  # of the seed; GS_SERVICE_URL may name another
LARGEST_BODY = 12_000_000  # bytes: a wish with the texts of 200 policies in force


class Held(Watched):
    """What the service holds: who drafts here, and the language models they ask."""

    def __init__(self, settings: Settings) -> None:
        super().__init__((*SECONDS, 30, 60, 120))
        self.requests = Counter(
            "governance_service_requests",
            "Requests to services elsewhere, by how they ended; refused: not sent, as the service is away.",
            ("service", "outcome"),
            registry=self.registry,
        )
        self.models = language_models(settings, self._observe)
        self.synthesiser = LocalSynthesiser(self.models, packaged())

    def _observe(self, service: str, outcome: str, _: float) -> None:
        self.requests.labels(service, outcome).inc()


@post("/draft", guards=[for_portals(NAME)], status_code=200)
async def draft(request: Request) -> Response[bytes]:
    held: Held = request.app.state.held
    asked = await decoded(request, Drafting)
    with held.time.labels("draft", NAME).time():
        return said(await held.synthesiser.draft(asked.wish, asked.setting))


@post("/mend", guards=[for_portals(NAME)], status_code=200)
async def mend(request: Request) -> Response[bytes]:
    held: Held = request.app.state.held
    asked = await decoded(request, Mending)
    with held.time.labels("mend", NAME).time():
        return said(
            await held.synthesiser.mend(asked.wish, asked.setting, asked.model, asked.answer, asked.errors)
        )


@post("/consensus", guards=[for_portals(NAME)], status_code=200)
async def consensus(request: Request) -> Response[bytes]:
    held: Held = request.app.state.held
    asked = await decoded(request, Agreeing)
    with held.time.labels("consensus", NAME).time():
        return said(agree(asked.strategy, asked.analysers))


@get("/readyz")
async def readyz(request: Request) -> Response[dict[str, Any]]:
    """Ready with its templates alone; which language models there are besides is said."""
    held: Held = request.app.state.held
    return Response({"ready": True, "language_models": [item.name for item in held.models]})


def _unknown(_: Request, error: NotFound) -> Response[bytes]:
    return said({"detail": error.detail}, 404)


@asynccontextmanager
async def _lifespan(app: Litestar) -> AsyncIterator[None]:
    app.state.held = Held(app.state.settings)
    try:
        yield
    finally:
        await close_all(app.state.held.models)


def create_service(settings: Settings) -> Litestar:
    return Litestar(
        route_handlers=[draft, mend, consensus, healthz, readyz, metrics],
        state=State({"settings": settings}),
        lifespan=[_lifespan],
        exception_handlers={**refusals, NotFound: _unknown},
        openapi_config=None,
        request_max_body_size=LARGEST_BODY,
        logging_config=None,
    )


def port_of(settings: Settings) -> int:
    """Where portals look for it."""
    return (urlsplit(settings.gs_service_url or "").port) or PORT
