"""`python -m portal --service ac`: constitutional analysis behind HTTP, for portals that set AC_SERVICE_URL.

It has no database and keeps no judgement. Portals hand it the constitution with each question and heads that they fitted
once, whose bytes it holds against their hash, and show a token that JWT_SECRET signs. Bodies are msgpack. EMBEDDING_URL,
LANGUAGE_MODELS and CONSENSUS_STRATEGY are the service's own; rules run in a PGC service, or in processes of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from litestar import Litestar, Request, Response, get, post
from litestar.datastructures import State
from prometheus_client import CollectorRegistry

from portal.elsewhere import engine_for, local_judge
from portal.language_models import close_all, language_models
from portal.models import close_endpoints, embedding_endpoints
from portal.serving import Misread, decoded, for_portals, healthz, metrics, refusals, said
from portal.settings import Settings
from portal.telemetry import Metrics
from workflows.constitution.document import load, of_bytes
from workflows.constitutional_compliance.analysis import LocalJudge, Problem
from workflows.constitutional_compliance.findings import Subject
from workflows.constitutional_compliance.models import Models
from workflows.constitutional_compliance.service import MISSING, NAME, Heard, Judging, Missing
from workflows.errors import Unavailable

PORT = 8001  # of the seed; AC_SERVICE_URL may name another
KEPT = 8  # heads
LARGEST_BODY = 60_000_000  # bytes: 500 long texts with rules, or heads
MOST = 500  # texts at once


class HandedHeads:
    """A HeadStore (workflows…models) of heads that portals handed over; `active` are those of the question at hand."""

    def __init__(self, bodies: dict[str, bytes], active: Mapping[str, str]) -> None:
        self.bodies, self.named = bodies, active

    async def active(self, embedder: str) -> str | None:
        return self.named.get(embedder)

    async def body(self, sha256: str) -> bytes:
        return self.bodies[sha256]


class Held:
    """What the service holds: its models, its engine, and the heads it was handed."""

    def __init__(self, settings: Settings) -> None:
        self.metrics = Metrics()
        observe = self.metrics.observe_service
        self.settings = settings
        self.engine = engine_for(settings, self.metrics)
        self.endpoints = embedding_endpoints(settings, observe)
        self.language_models = language_models(settings, observe)
        self.models = Models(self.endpoints)
        self.bodies: dict[str, bytes] = {}

    @property
    def registry(self) -> CollectorRegistry:
        return self.metrics.registry

    def judge(self, heads: Mapping[str, str]) -> LocalJudge:
        """One that uses these heads, and the models and vectors of all."""
        models = self.models.with_store(HandedHeads(self.bodies, heads))
        return local_judge(self.settings, models, self.language_models, engine=self.engine)

    def keep(self, sha256: str, body: bytes) -> None:
        self.bodies.pop(sha256, None)
        while len(self.bodies) >= KEPT:
            self.bodies.pop(next(iter(self.bodies)))
        self.bodies[sha256] = body

    async def close(self) -> None:
        await self.engine.close()
        await close_all(self.language_models)
        close_endpoints(self.endpoints)


@post("/judge", guards=[for_portals(NAME)], status_code=200)
async def judge(request: Request) -> Response[bytes]:
    """A judgement for each text: 409 for heads that are not here."""
    held, asked = await _asked(request)
    if len(asked.subjects) > MOST or len(asked.conflicts) != len(asked.subjects):
        raise Misread(f"At most {MOST} texts, each with its conflicts.")
    if missing := _missing(held, asked):
        return missing
    with held.metrics.response_time.labels("judge", NAME).time():
        found = await held.judge(asked.heads).judge_knowing(
            of_bytes(asked.constitution, "portal"),
            asked.subjects,
            asked.conflicts,
            enacted=asked.enacted,
            level=asked.level,
        )
    return said([Heard(problem=item) if isinstance(item, Problem) else Heard(item) for item in found])


@post("/basis", guards=[for_portals(NAME)], status_code=200)
async def basis(request: Request) -> Response[bytes]:
    held, asked = await _asked(request)
    constitution = of_bytes(asked.constitution, "portal")
    return _missing(held, asked) or said(await held.judge(asked.heads).basis(constitution))


@post("/stands", guards=[for_portals(NAME)], status_code=200)
async def stands(request: Request) -> Response[bytes]:
    held, asked = await _asked(request)
    constitution = of_bytes(asked.constitution, "portal")
    return _missing(held, asked) or said(
        await held.judge(asked.heads).stands(constitution, asked.basis_sha256)
    )


@post("/describe", guards=[for_portals(NAME)], status_code=200)
async def describe(request: Request) -> Response[bytes]:
    held, asked = await _asked(request)
    return _missing(held, asked) or said(await held.judge(asked.heads).describe())


@post("/heads/{sha256:str}", guards=[for_portals(NAME)], status_code=200)
async def take_heads(request: Request, sha256: str) -> Response[bytes]:
    """Keep heads under the hash by which portals name them; that they are for the embedder is seen when they are used."""
    held: Held = request.app.state.held
    body = await request.body()
    if len(sha256) != hashlib.sha256().digest_size * 2 or not body:
        raise Misread("These are no heads.")
    held.keep(sha256, body)
    return said({})


@get("/readyz")
async def readyz(request: Request) -> Response[dict[str, Any]]:
    """Ready when a sentence is judged."""
    held: Held = request.app.state.held
    try:
        (found,) = await held.judge({}).judge(
            load(), [Subject("", "Minutes are published within three days.")]
        )
        ready = not isinstance(found, Problem)
    except Unavailable:
        ready = False
    return Response({"ready": ready, "heads": sorted(held.bodies)}, status_code=200 if ready else 503)


async def _asked(request: Request) -> tuple[Held, Judging]:
    return request.app.state.held, await decoded(request, Judging)


def _missing(held: Held, asked: Judging) -> Response[bytes] | None:
    missing = [sha256 for sha256 in asked.heads.values() if sha256 not in held.bodies]
    return said(Missing(missing), MISSING) if missing else None


@asynccontextmanager
async def _lifespan(app: Litestar) -> AsyncIterator[None]:
    app.state.held = Held(app.state.settings)
    try:
        yield
    finally:
        await app.state.held.close()


def create_service(settings: Settings) -> Litestar:
    return Litestar(
        route_handlers=[judge, basis, stands, describe, take_heads, healthz, readyz, metrics],
        state=State({"settings": settings}),
        lifespan=[_lifespan],
        exception_handlers=refusals,
        openapi_config=None,
        request_max_body_size=LARGEST_BODY,
        logging_config=None,
    )


def port_of(settings: Settings) -> int:
    """Where portals look for it."""
    return (urlsplit(settings.ac_service_url or "").port) or PORT
