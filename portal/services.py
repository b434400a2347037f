"""What one process holds open, and the dependencies through which handlers get at it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial

from litestar import Litestar, Request
from litestar.connection import ASGIConnection
from litestar.di import Provide
from redis.asyncio import BlockingConnectionPool, Redis
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from chain.config import ChainConfig
from portal.database import begin_read, begin_unit, create_engine
from portal.elsewhere import engine_for, judge_for, synthesiser_for
from portal.enforcement import keep_ready
from portal.governing import Governing
from portal.keys import chain_config
from portal.language_models import ChatCompletions, close_all, language_models
from portal.limits import Limiter
from portal.live import Live
from portal.models import close_endpoints, embedding_endpoints
from portal.settings import Settings
from portal.telemetry import Metrics
from workflows.constitution.document import Constitution, load
from workflows.constitutional_compliance.analysis import Judge
from workflows.errors import Conflict
from workflows.policy_creation.synthesis.drafting import Synthesiser
from workflows.policy_enforcement.rulebook import Rulebook
from workflows.roles import SYSTEM, Actor
from workflows.storage.unit import Unit


@dataclass(frozen=True)
class Services:
    settings: Settings
    engine: AsyncEngine
    redis: Redis
    governing: Governing
    chain: ChainConfig
    live: Live
    limiter: Limiter
    metrics: Metrics
    rulebook: Rulebook
    judge: Judge
    language_models: tuple[ChatCompletions, ...]
    synthesiser: Synthesiser

    @property
    def constitution(self) -> Constitution:
        """The document in force, as this process knows it; what is changed under it, a unit knows for certain."""
        return self.governing.current


def services(connection: ASGIConnection) -> Services:
    return connection.app.state.services


@asynccontextmanager
async def open_services(settings: Settings) -> AsyncIterator[Services]:
    """Connect lazily to everything `settings` names; close it at the end. Servers that are away are no error here."""
    if not settings.database_url or not settings.redis_url:
        raise RuntimeError(
            "DATABASE_URL and REDIS_URL must be set; `python -m portal` starts servers of its own."
        )
    engine = create_engine(settings.database_url)
    pool = BlockingConnectionPool.from_url(
        settings.redis_url,
        max_connections=40,
        timeout=2,
        socket_connect_timeout=2,
        socket_timeout=5,
        decode_responses=True,
    )
    redis = Redis.from_pool(pool)
    live = Live(redis)
    limiter = Limiter(settings)
    governing = Governing(load(settings.constitution_file, settings.constitution_hash))
    units = partial(begin_unit, engine, constitution=governing, publish=live.publish)
    metrics = Metrics()
    rulebook = Rulebook(engine_for(settings, metrics), units)
    models = language_models(settings, metrics.observe_service)
    synthesiser = synthesiser_for(settings, metrics, models)
    endpoints = embedding_endpoints(settings, metrics.observe_service)
    judge = judge_for(settings, metrics, rulebook, endpoints, models)
    try:
        async with live.running(), _following(governing, engine, live):
            yield Services(
                settings=settings,
                engine=engine,
                redis=redis,
                governing=governing,
                chain=chain_config(settings),
                live=live,
                limiter=limiter,
                metrics=metrics,
                rulebook=rulebook,
                judge=judge,
                language_models=models,
                synthesiser=synthesiser,
            )
    finally:
        await judge.close()
        await synthesiser.close()
        close_endpoints(endpoints)
        await close_all(models)
        await rulebook.engine.close()
        await limiter.close()
        await redis.aclose()
        await engine.dispose()


@asynccontextmanager
async def _following(governing: Governing, engine: AsyncEngine, live: Live) -> AsyncIterator[None]:
    """Learn the document in force before anything is asked for, where the database is there, and follow it from then on."""
    with suppress(SQLAlchemyError, OSError, TimeoutError):
        async with asyncio.timeout(5):
            await governing.look(engine)
    following = asyncio.create_task(governing.follow(engine, live))
    try:
        yield
    finally:
        await _ended(following)


async def _ended(task: asyncio.Task[None]) -> None:
    while not task.done():  # again, where a library below lost the first one
        task.cancel()
        await asyncio.wait([task], timeout=1)


@asynccontextmanager
async def lifespan(app: Litestar) -> AsyncIterator[None]:
    async with open_services(app.state.settings) as opened:
        app.state.services = opened
        ready = asyncio.create_task(keep_ready(opened.rulebook, opened.live))
        try:
            yield
        finally:
            await _ended(ready)


async def _unit(request: Request) -> AsyncIterator[Unit]:
    """The request's transaction, for handlers that change something. Commits before the answer is sent."""
    held = services(request)
    async with begin_unit(
        held.engine,
        constitution=held.governing,
        actor=request.scope.get("user") or SYSTEM,
        request_id=request.scope["state"]["request_id"],
        idempotency_key=request.headers.get("idempotency-key", ""),
        publish=held.live.publish,
    ) as unit:
        given = request.scope["state"].setdefault("constitution_sha256", unit.constitution_sha256)
        if given != unit.constitution_sha256:
            raise Conflict(
                "The constitution was amended this very moment. Nothing was changed; send it again.",
                code="constitution_changed",
                links={"constitution": "/constitution"},
            )
        yield unit


acting = asynccontextmanager(_unit)  # for a handler that has to ask an engine before its transaction begins


async def _reader(request: Request) -> AsyncIterator[AsyncConnection]:
    async with begin_read(services(request).engine) as connection:
        yield connection


async def _actor(request: Request) -> Actor | None:
    return request.scope.get("user")


async def _settings(request: Request) -> Settings:
    return services(request).settings


async def _constitution(request: Request) -> Constitution:
    """The same for the whole request: a unit that finds another one in force goes no further."""
    current = services(request).constitution
    request.scope["state"].setdefault("constitution_sha256", current.sha256)
    return current


async def _chain_config(request: Request) -> ChainConfig:
    return services(request).chain


dependencies = {
    "chain_config": Provide(_chain_config),
    "unit": Provide(_unit),
    "reader": Provide(_reader),
    "actor": Provide(_actor),
    "settings": Provide(_settings),
    "constitution": Provide(_constitution),
}

__all__ = ["Services", "acting", "dependencies", "lifespan", "open_services", "services"]
