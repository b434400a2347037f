"""One request, one transaction: opens units of work and read-only connections, and publishes after the commit."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

import structlog
from pgqueuer.adapters.persistence.qb import QueryQueueBuilder
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from migrations import async_url
from portal.governing import Governing
from workflows.constitution.document import Constitution
from workflows.errors import Unavailable
from workflows.roles import SYSTEM, Actor
from workflows.storage.unit import Event, Unit, governance_ground

Publish = Callable[[Sequence[Event]], Awaitable[None]]

# No request waits long for what another one holds, nor works without end.
SERVER_SETTINGS = {
    "application_name": "acgs-portal",
    "jit": "off",
    "lock_timeout": "10s",
    "statement_timeout": "30s",
}

APP, SEQUENCER = "acgs_app", "acgs_sequencer"  # migrations 0002

log = structlog.get_logger(__name__)
_ENQUEUE = QueryQueueBuilder().build_enqueue_query()


def create_engine(url: str, *, pool_size: int = 20, role: str = APP) -> AsyncEngine:
    """An engine on a PostgreSQL `url` of any spelling; asyncpg is the driver.

    Each connection becomes `role`, whoever it signed in as: what the portal cannot need, it cannot do by mistake.
    """
    return create_async_engine(
        async_url(url),
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=5,
        pool_pre_ping=True,
        connect_args={"timeout": 5, "server_settings": {**SERVER_SETTINGS, "role": role}},
    )


async def enqueue_job(connection: AsyncConnection, job: str, payload: bytes, delay: timedelta) -> None:
    """Insert a PgQueuer job in the caller's transaction.

    PgQueuer's own driver would take asyncpg's connection, which SQLAlchemy leaves in autocommit until its first
    statement; PgQueuer's statement through SQLAlchemy cannot escape the transaction.
    """
    await connection.exec_driver_sql(_ENQUEUE, ([0], [job], [payload], [delay], [None], ["null"]))


@asynccontextmanager
async def _transaction(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """Raises Unavailable where there is no connection to be had: nobody listens, or all of the pool's are in use."""
    async with AsyncExitStack() as stack:
        try:
            connection = await stack.enter_async_context(engine.connect())
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            raise Unavailable("The database does not answer.") from error
        async with connection.begin():
            yield connection


@asynccontextmanager
async def begin_unit(
    engine: AsyncEngine,
    *,
    constitution: Constitution | Governing,
    actor: Actor = SYSTEM,
    request_id: str = "",
    idempotency_key: str = "",
    publish: Publish | None = None,
) -> AsyncIterator[Unit]:
    """One transaction as a Unit. Commits at the end, then publishes its events; any exception rolls all back.

    A failing COMMIT raises and publishes nothing. Publishing that fails is only logged: it tells pages to look
    again, and what they would see is already in the database.

    `constitution` is the configured one, or what this process governs by: the unit has the one that is in force.
    """
    governing = Governing(constitution) if isinstance(constitution, Constitution) else constitution
    async with _transaction(engine) as connection:
        now, adopted = await governance_ground(connection)
        document = await governing.at(connection, adopted)
        unit = Unit(
            connection=connection,
            now=now,
            constitution_sha256=document.sha256,
            constitution=document,
            actor=actor,
            request_id=request_id,
            idempotency_key=idempotency_key,
            enqueue_job=enqueue_job,
        )
        yield unit
    if publish and unit.events:
        try:
            await publish(unit.events)
        except Exception as error:
            log.warning("events_not_published", error=repr(error), events=len(unit.events))


@asynccontextmanager
async def begin_read(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A read-only transaction that sees one state of the database throughout."""
    reading = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    async with _transaction(reading) as connection:
        yield connection
