"""The worker: closes ballots on time, keeps the log and takes anchors to the chain, as told by jobs and by the clock.

Any number may run. Whatever a job does is safe to do twice: deadlines are columns that are looked at under a lock,
and anchoring picks up what the database says was begun.
"""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from datetime import timedelta
from functools import partial
from uuid import UUID

import asyncpg
import sqlalchemy as sa
import structlog
from pgqueuer import PgQueuer
from pgqueuer.adapters.drivers.asyncpg import AsyncpgPoolDriver
from pgqueuer.domain.errors import RetryRequested
from pgqueuer.domain.models import Job, Schedule
from sqlalchemy.ext.asyncio import AsyncEngine

from chain import anchoring
from chain.config import AnchorPolicy
from migrations import async_url
from portal.compliance import watch_accuracy
from portal.database import APP, begin_read, begin_unit
from portal.keys import log_key, with_authority, with_jwt_secret
from portal.log import keep_log, publish_verifiers
from portal.self_check import ask_chain, recompute
from portal.services import Services, open_services
from portal.settings import Settings
from workflows.alerts import raise_alert, resolve_alert
from workflows.audit_transparency.reports import making as reports
from workflows.constitution import conformance
from workflows.constitutional_compliance import (
    asking,
    classifiers,
    questions,
    reassessment,
    tiers,
    validations,
)
from workflows.constitutional_compliance.embedding import packaged
from workflows.policy_creation import ballots
from workflows.policy_enforcement import bundle, decisions, drift, remediation, replay, rules, violations
from workflows.storage.tables import idempotency
from workflows.storage.unit import Unit

log = structlog.get_logger(__name__)

LOOK_AT_CHAIN = 10.0  # seconds between looks at the chain when nothing waits
BROKEN_ALERT = "constitution.broken"
RETRIES = 8
LISTENING_BY = 5.0  # seconds after the start
KEYS_KEPT = timedelta(days=7)
Units = Callable[[], AbstractAsyncContextManager[Unit]]


async def sweep(units: Units, held: Services) -> None:
    """Open the ballots that are due, and close those whose time is over; each kind in a transaction of its own.

    What is found of a version comes first: it may make its tier stricter as long as its ballot is not open.
    """
    async with units() as unit:
        await bundle.bind(unit)
    await rules.judge_waiting(held.rulebook)
    await replay.replay_waiting(held.rulebook)
    await judge(units, held)
    async with units() as unit:
        opened = await ballots.open_due(unit, held.constitution.figures)
    async with units() as unit:
        closed = await ballots.close_due(unit, held.constitution.figures)
    if opened or closed:
        log.info("ballots_moved", opened=opened, closed=closed)
    async with units() as unit:
        await violations.sweep(unit, held.constitution.figures)
        await remediation.sweep(unit)
    async with units() as unit:
        await reports.request_due(unit)
    # What waits for a checkpoint has a job that looks again; one more for each sweep would pile up while none is signed.
    await reports.make_due(units)


async def judge(units: Units, held: Services) -> None:
    """Hold against the constitution what waits for it, and see to what follows."""
    await reassessment.amended(units)
    await validations.assess_waiting(units, held.judge, held.constitution)
    async with units() as unit:
        await tiers.sweep(unit, held.constitution.figures)
    async with units() as unit:
        await questions.sweep(unit, held.constitution.figures)


async def refit(units: Units, held: Services) -> None:
    """Fit the classifier anew for the embedder in use, and judge anew what it would judge otherwise."""
    models = getattr(held.judge, "models", None)
    embedder = models.wanted if models else packaged()
    fitted = await classifiers.refit(units, embedder)
    log.info("classifier_fitted", labels=fitted.labels, used=fitted.no_worse)
    await look_anew(units, held)


async def look_anew(units: Units, held: Services) -> None:
    """Judge anew what something else would judge now, and see whether what judges is accurate enough."""
    await watch_accuracy(units, held)
    if await reassessment.look(units, held.judge, held.constitution):
        await judge(units, held)


async def notice(units: Units, held: Services, job: Job) -> None:
    """Put denials on record, and answer them."""
    denied = [UUID(each) for each in json.loads(job.payload or b"{}").get("decisions", [])]
    async with units() as unit:
        await violations.notice(unit, held.constitution.figures, denied)


async def hold(units: Units, held: Services) -> None:
    """Hold the constitution's clauses against the rows."""
    # All rows are read without a unit: an amendment would wait for one, and whatever is done for that.
    async with begin_read(held.engine) as reader:
        found = await conformance.found_in(reader, held.constitution.figures)
    async with units() as unit:
        broken = await conformance.keep(unit, found)
        if broken:
            checks = "1 check finds" if broken == 1 else f"{broken} checks find"
            message = f"{checks} rows that contradict the constitution or the audit trail."
            await raise_alert(unit, BROKEN_ALERT, "critical", message, "/constitution/conformance")
        else:
            await resolve_alert(unit, BROKEN_ALERT)
    if broken:
        log.error("constitution_broken", checks=broken)


async def _look_once(units: Units, held: Services) -> None:
    """Beside the work, as it reads all rows there are; what fails is looked at again within the hour."""
    try:
        await hold(units, held)
    except Exception as error:
        log.exception("not_held_against_the_rows", error=repr(error))


async def make_reports(units: Units) -> None:
    """Make what is asked for; where the log's next checkpoint is waited for, look again in a moment."""
    if await reports.make_due(units):
        async with units() as unit:
            await unit.enqueue(reports.JOB, {}, due=unit.now + reports.AGAIN)


async def tidy(engine: AsyncEngine) -> None:
    """Forget the answers kept under idempotency keys after a week: nobody repeats a request that late."""
    old = idempotency.c.created_at < sa.func.clock_timestamp() - KEYS_KEPT
    async with engine.begin() as connection:
        await connection.execute(idempotency.delete().where(old))


def make_queue(pool: asyncpg.Pool, units: Units, held: Services, wake: asyncio.Event) -> PgQueuer:
    queue = PgQueuer(AsyncpgPoolDriver(pool))

    @queue.entrypoint("deadlines", on_failure="hold")
    async def deadlines(job: Job) -> None:
        await _retried(job, partial(sweep, units, held))

    @queue.entrypoint("anchoring", on_failure="hold")
    async def anchor(job: Job) -> None:
        wake.set()  # the queue of anchors is rows; the job only says that there are new ones

    @queue.entrypoint(decisions.JOB, on_failure="hold")
    async def noticing(job: Job) -> None:
        await _retried(job, partial(notice, units, held, job))

    @queue.entrypoint(asking.JOB, on_failure="hold")
    async def judging(job: Job) -> None:
        await _retried(job, partial(judge, units, held))

    @queue.entrypoint(classifiers.JOB, on_failure="hold")
    async def fitting(job: Job) -> None:
        await _retried(job, partial(refit, units, held))

    @queue.entrypoint(reports.JOB, on_failure="hold")
    async def report(job: Job) -> None:
        await _retried(job, partial(make_reports, units))

    @queue.schedule("sweep", "* * * * *")
    async def every_minute(schedule: Schedule) -> None:
        await sweep(units, held)

    @queue.schedule("conformance", "7 * * * *")
    async def conforming(schedule: Schedule) -> None:
        await hold(units, held)

    @queue.schedule("reassessment", "53 * * * *")
    async def reassessing(schedule: Schedule) -> None:
        await look_anew(units, held)

    @queue.schedule("drift", "41 * * * *")
    async def drifting(schedule: Schedule) -> None:
        await drift.look(held.rulebook, held.constitution.figures)

    @queue.schedule("ask_chain", "53 * * * *")
    async def asking_chain(schedule: Schedule) -> None:
        await ask_chain(units, held)

    @queue.schedule("recompute", "17 3 * * *")
    async def every_night(schedule: Schedule) -> None:
        await recompute(units, held)

    @queue.schedule("tidy", "23 * * * *")
    async def every_hour(schedule: Schedule) -> None:
        await tidy(held.engine)

    _listen_before_probing(queue)
    return queue


def _listen_before_probing(queue: PgQueuer) -> None:
    """PgQueuer 1.6 begins to probe its listener before it listens: a first probe that is too quick is never heard, and
    ends the worker ten seconds later.
    """
    probe = queue.qm._run_periodic_health_check

    async def later(*given: timedelta) -> None:
        await asyncio.sleep(LISTENING_BY)
        await probe(*given)

    queue.qm._run_periodic_health_check = later  # type: ignore[method-assign]


async def _retried(job: Job, act: Callable[[], Awaitable[None]]) -> None:
    """With growing pauses; a job that fails for good is held, and counted in governance_jobs."""
    try:
        await act()
    except Exception as error:
        if job.attempts >= RETRIES:
            raise
        raise RetryRequested(timedelta(seconds=min(2**job.attempts, 60)), repr(error)) from error


async def keep_anchoring(units: Units, held: Services, wake: asyncio.Event) -> None:
    """Pass over the anchors at once when told, and otherwise when chain.anchoring asks for it."""
    policy = AnchorPolicy(
        interval=timedelta(seconds=held.settings.anchor_interval),
        late=timedelta(seconds=held.settings.anchor_late_alert),
    )
    while True:
        pause: float | None = None
        try:
            pause = await anchoring.run(units, held.chain, held.constitution, policy)
        except Exception as error:  # the next pass starts from the database again
            log.exception("anchoring_failed", error=repr(error))
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_AT_CHAIN if pause is None else min(pause, LOOK_AT_CHAIN)):
                await wake.wait()
        wake.clear()


@asynccontextmanager
async def opened_pool(settings: Settings) -> AsyncIterator[asyncpg.Pool]:
    url = async_url(settings.database_url or "").set(drivername="postgresql")
    pool = await asyncpg.create_pool(
        url.render_as_string(hide_password=False), min_size=2, max_size=5, server_settings={"role": APP}
    )
    try:
        yield pool
    finally:
        pool.terminate()


async def run(settings: Settings) -> None:
    """Work until SIGTERM or SIGINT; then finish the job in hand. Returns early, with an exception, if the database goes."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    settings = with_authority(with_jwt_secret(settings))
    log_key(settings)  # one that cannot be read ends the worker here, with its reason
    async with open_services(settings) as held, opened_pool(settings) as pool:
        units: Units = partial(
            begin_unit, held.engine, constitution=held.governing, publish=held.live.publish
        )
        wake = asyncio.Event()
        queue = make_queue(pool, units, held, wake)
        for name in await publish_verifiers(units):
            log.info("verifier_published", file=name)
        await sweep(units, held)  # a job whose worker was killed is given to another only after half a minute
        running = asyncio.create_task(
            queue.run(dequeue_timeout=timedelta(seconds=5), shutdown_on_listener_failure=True)
        )
        tasks = [
            asyncio.create_task(keep_anchoring(units, held, wake)),
            asyncio.create_task(keep_log(units, held)),
            running,
            asyncio.create_task(stop.wait()),
        ]
        looking = asyncio.create_task(_look_once(units, held))
        log.info("worker_started", cluster=held.chain.cluster)
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        queue.shutdown.set()
        await asyncio.wait([running], timeout=10)
        for task in (*tasks, looking):
            task.cancel()
        await asyncio.gather(*tasks, looking, return_exceptions=True)
        for task in done:
            task.result()  # what failed fails the process, and the supervisor starts another
