"""The worker: runs jobs that were enqueued with an action, sweeps what was lost, and comes back after a kill."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa
from litestar import Litestar
from sqlalchemy.ext.asyncio import AsyncEngine

from portal import worker
from portal.database import begin_unit
from portal.services import Services, open_services
from portal.settings import Settings
from workflows.storage.tables import chain_status, idempotency, person


@pytest.fixture
def settings(settings: Settings, tmp_path: Path, unused_port: int) -> Settings:
    """A local chain that is not there: the worker has to live with that."""
    return settings.with_(data_dir=tmp_path, localnet_port=unused_port)


@pytest.fixture
def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
async def held(settings: Settings) -> AsyncIterator[Services]:
    async with open_services(settings) as opened:
        yield opened


async def until(true: Callable[[], Awaitable[bool]], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not await true():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.1)


async def jobs(engine: AsyncEngine) -> dict[str, int]:
    async with engine.connect() as connection:
        rows = await connection.exec_driver_sql("SELECT status::text, count(*) FROM pgqueuer GROUP BY status")
        return {status: count for status, count in rows}  # noqa: C416 – rows are no pairs to dict()


async def enqueue(held: Services, delay: timedelta = timedelta()) -> None:
    async with begin_unit(held.engine, constitution=held.constitution) as unit:
        await unit.enqueue("deadlines", {}, due=unit.now + delay)


class Running:
    """The worker's queue in this process, with `sweep` replaced by a counter that can be told to fail."""

    def __init__(self, held: Services, monkeypatch: pytest.MonkeyPatch) -> None:
        self.swept = self.failures = 0
        self.held = held
        monkeypatch.setattr(worker, "sweep", self.sweep)

    async def sweep(self, units: worker.Units, held: Services) -> None:
        self.swept += 1
        if self.failures:
            self.failures -= 1
            raise ConnectionError("not now")

    async def __aenter__(self) -> Running:
        self.pool_context = worker.opened_pool(self.held.settings)
        pool = await self.pool_context.__aenter__()
        units = partial(begin_unit, self.held.engine, constitution=self.held.constitution)
        self.wake = asyncio.Event()
        self.queue = worker.make_queue(pool, units, self.held, self.wake)
        self.task = asyncio.create_task(self.queue.run(dequeue_timeout=timedelta(seconds=1)))
        return self

    async def __aexit__(self, *error: object) -> None:
        self.queue.shutdown.set()
        await self.task
        await self.pool_context.__aexit__(None, None, None)


async def test_a_job_runs_once_and_is_gone(held: Services, monkeypatch: pytest.MonkeyPatch):
    async with Running(held, monkeypatch) as running:
        await enqueue(held)
        await until(lambda: _is(lambda: running.swept >= 1))
        await until(lambda: _no_jobs(held.engine))


async def test_a_failing_job_is_tried_again(held: Services, monkeypatch: pytest.MonkeyPatch):
    async with Running(held, monkeypatch) as running:
        running.failures = 2
        await enqueue(held)
        await until(lambda: _is(lambda: running.swept >= 3))
        await until(lambda: _no_jobs(held.engine))


async def test_a_job_that_is_due_later_waits(held: Services, monkeypatch: pytest.MonkeyPatch):
    async with Running(held, monkeypatch) as running:
        await enqueue(held, timedelta(hours=1))
        await asyncio.sleep(1)
        assert running.swept <= 1, "at most the minute's own sweep fell into this second"
        assert await jobs(held.engine) == {"queued": 1}


async def test_an_anchoring_job_wakes_the_anchoring(held: Services, monkeypatch: pytest.MonkeyPatch):
    async with Running(held, monkeypatch) as running:
        async with begin_unit(held.engine, constitution=held.constitution) as unit:
            await unit.enqueue("anchoring", {})
        await asyncio.wait_for(running.wake.wait(), 20)


async def test_an_action_that_is_rolled_back_leaves_no_job(held: Services):
    with pytest.raises(ZeroDivisionError):
        async with begin_unit(held.engine, constitution=held.constitution) as unit:
            await unit.enqueue("deadlines", {})
            raise ZeroDivisionError
    assert await jobs(held.engine) == {}


async def test_answers_under_idempotency_keys_are_forgotten_after_a_week(app: Litestar):
    engine = app.state.services.engine
    async with engine.begin() as connection:
        owner = (await connection.execute(sa.select(person.c.id).limit(1))).scalar_one()
        for key, days in (("old", 8), ("new", 6)):
            await connection.execute(
                idempotency.insert().values(
                    key=key,
                    person_id=owner,
                    request_sha256="",
                    status=200,
                    headers={},
                    body=b"",
                    created_at=sa.func.clock_timestamp() - timedelta(days=days),
                )
            )
    await worker.tidy(engine)
    async with engine.connect() as connection:
        assert (await connection.execute(sa.select(idempotency.c.key))).scalars().all() == ["new"]


async def _is(true: Callable[[], bool]) -> bool:
    return true()


async def _no_jobs(engine: AsyncEngine) -> bool:
    return await jobs(engine) == {}


# The process


def spawn(settings: Settings) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "portal", "worker"],
        env={**os.environ, **settings.to_environment()},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=Path(__file__).parents[2],
    )


@pytest.fixture
def process(app: Litestar, settings: Settings) -> Iterator[Callable[[], subprocess.Popen]]:
    started: list[subprocess.Popen] = []

    def start() -> subprocess.Popen:
        started.append(spawn(settings))
        return started[-1]

    yield start
    for each in started:
        each.kill()
        each.wait()


@pytest.mark.reliability
async def test_a_killed_worker_leaves_its_work_to_the_next(app: Litestar, settings: Settings, process):
    held = app.state.services
    first = process()
    await enqueue(held)
    await until(lambda: _no_jobs(held.engine), 240)
    await until(lambda: _chain_was_looked_at(held.engine), 240)
    first.send_signal(signal.SIGKILL)
    first.wait()
    await enqueue(held)
    second = process()
    await until(lambda: _no_jobs(held.engine), 240)
    second.terminate()
    assert second.wait(20) == 0, second.stdout.read().decode()[-2000:]


async def _chain_was_looked_at(engine: AsyncEngine) -> bool:
    async with engine.connect() as connection:
        row = (await connection.execute(sa.select(chain_status.c.reachable))).one_or_none()
    return row is not None and row.reachable is False
