"""Is it alive, is it ready, how is it doing: `/healthz`, `/readyz`, `/metrics`.

Ready means that the database and Redis answer. Chain and rules are reported but do not decide: while they are away,
drafting, reviewing and voting go on, anchors wait in their queue, and what rules would have to allow is denied.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import anyio
import sqlalchemy as sa
from litestar import Request, Response, get
from prometheus_client import generate_latest
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.metrics_core import CounterMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy.ext.asyncio import AsyncConnection

from portal import compliance
from portal.auth.guards import public
from portal.services import Services, services
from portal.telemetry import may_scrape
from workflows.audit_transparency import anchors, checkpoints, tree
from workflows.constitutional_compliance import queries as compliance_queries
from workflows.errors import NotFound
from workflows.kinds import AnchorState, WorkflowStatus
from workflows.storage.tables import anchor, audit_pending, chain_status, conformance, workflow
from workflows.storage.unit import governance_now

ENDED = (WorkflowStatus.COMPLETED, WorkflowStatus.FAILED, WorkflowStatus.CANCELLED, WorkflowStatus.TIMEOUT)
OPEN_ANCHORS = (AnchorState.QUEUED, AnchorState.SUBMITTED, AnchorState.CONFIRMED)
DAY = 86_400
DURATIONS = (3_600, DAY, 3 * DAY, 7 * DAY, 14 * DAY, 30 * DAY)  # seconds: people take days


@get("/healthz", guards=[public], include_in_schema=False)
async def healthz() -> dict[str, str]:
    return {"status": "ok"}


@get("/readyz", guards=[public], include_in_schema=False)
async def readyz(request: Request) -> Response[dict[str, Any]]:
    held = services(request)
    checks = {
        "database": await _check(lambda: _ask_database(held)),
        "redis": await _check(lambda: _ask_redis(held)),
    }
    ready = all(check["ok"] for check in checks.values())
    checks["chain"] = await _check(lambda: _seen_of_chain(held))
    checks["bundle"] = await _check(lambda: _bundle_at_hand(held))
    return Response({"ready": ready, "checks": checks}, status_code=200 if ready else 503)


async def _check(ask: Callable[[], Awaitable[str | None]]) -> dict[str, Any]:
    """{ok, reason, ms}: `reason` says in words why not."""
    began = time.perf_counter()
    try:
        with anyio.fail_after(3):
            reason = await ask()
    except Exception as error:  # whatever it is, it does not answer
        reason = f"It does not answer ({type(error).__name__})."
    return {"ok": reason is None, "reason": reason, "ms": round((time.perf_counter() - began) * 1000, 1)}


async def _ask_database(held: Services) -> None:
    async with held.engine.connect() as connection:
        await connection.execute(sa.text("SELECT 1"))


async def _ask_redis(held: Services) -> None:
    await held.redis.ping()


async def _seen_of_chain(held: Services) -> str | None:
    """As the worker last saw it: probes must not become traffic on somebody's node."""
    async with held.engine.connect() as connection:
        row = (await connection.execute(sa.select(chain_status))).mappings().one_or_none()
    if row is None:
        return "The worker has not looked at the chain yet."
    return None if row["reachable"] and row["may_anchor"] else row["reason"] or "The chain does not answer."


async def _bundle_at_hand(held: Services) -> str | None:
    """Reported like the chain: while rules cannot be asked, actions are denied and people go on deciding."""
    revision = await held.rulebook.peek()
    if revision in (None, held.rulebook.prepared):
        return None
    return "The active bundle is not loaded yet, or its engine is away."


@get("/metrics", guards=[public], include_in_schema=False)
async def metrics(request: Request) -> Response[bytes]:
    """Prometheus' text format; for this machine, or with METRICS_TOKEN as a bearer token."""
    held = services(request)
    if not held.settings.prometheus_enabled or not may_scrape(request, held.settings.metrics_token):
        raise NotFound("There is nothing at this address.")
    body = generate_latest(held.metrics.registry) + await _from_database(held)
    return Response(body, media_type="text/plain; version=0.0.4", headers={"Cache-Control": "no-store"})


class _Given(Collector):
    """Families as they are, for generate_latest()."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self.families = list(families)

    def collect(self) -> Iterable[Metric]:
        return self.families


async def _from_database(held: Services) -> bytes:
    """What the database knows, read at most every METRICS_EXPORT_INTERVAL seconds by each process."""
    read_at, text = held.metrics.from_database
    if time.monotonic() - read_at < held.settings.metrics_export_interval:
        return text
    async with held.engine.connect() as connection:
        families = [
            *await _workflows(connection),
            *await _anchors(connection),
            *await _log(connection),
            *await _queue(connection),
            await _conformance(connection),
            *await _compliance(connection),
        ]
    families.extend(await _accuracy(held))
    text = generate_latest(_Given(families))  # type: ignore[arg-type]
    held.metrics.from_database = (time.monotonic(), text)
    return text


async def _workflows(connection: AsyncConnection) -> list[Metric]:
    took = sa.extract("epoch", workflow.c.updated_at - workflow.c.created_at)
    within = [sa.func.count().filter(took <= limit) for limit in DURATIONS]
    rows = await connection.execute(
        sa.select(
            workflow.c.workflow_type, workflow.c.status, sa.func.count(), sa.func.sum(took), *within
        ).group_by(workflow.c.workflow_type, workflow.c.status)
    )
    total = CounterMetricFamily(
        "governance_workflow",
        "Workflows begun (status initiated) and ended, by how they ended.",
        labels=("workflow_type", "status"),
    )
    active = GaugeMetricFamily(
        "governance_workflow_active", "Workflows under way.", labels=("workflow_type",)
    )
    duration = HistogramMetricFamily(
        "governance_workflow_duration_seconds",
        "From start to completion, in governance time.",
        labels=("workflow_type",),
    )
    begun: dict[str, int] = {}
    under_way: dict[str, int] = {}
    for kind, status, count, seconds, *buckets in rows:
        begun[kind] = begun.get(kind, 0) + count
        under_way.setdefault(kind, 0)
        if status not in ENDED:
            under_way[kind] += count
            continue
        total.add_metric((kind, status), count)
        if status == WorkflowStatus.COMPLETED:
            named = [(str(float(limit)), value) for limit, value in zip(DURATIONS, buckets, strict=True)]
            duration.add_metric((kind,), buckets=[*named, ("+Inf", count)], sum_value=float(seconds))
    for kind, count in begun.items():
        total.add_metric((kind, WorkflowStatus.INITIATED), count)
        active.add_metric((kind,), under_way[kind])
    return [total, active, duration]


async def _anchors(connection: AsyncConnection) -> list[Metric]:
    rows = await connection.execute(sa.select(anchor.c.state, sa.func.count()).group_by(anchor.c.state))
    counts = {state: count for state, count in rows}  # noqa: C416 – rows are no pairs to dict()
    states = GaugeMetricFamily("governance_anchors", "Anchors by their state on chain.", labels=("state",))
    for state in AnchorState:
        states.add_metric((state,), counts.get(state, 0))
    oldest = sa.select(sa.func.min(anchor.c.queued_at)).where(anchor.c.state.in_(OPEN_ANCHORS))
    since = (await connection.execute(oldest)).scalar_one()
    age = (await governance_now(connection) - since).total_seconds() if since else 0.0
    oldest_age = GaugeMetricFamily(
        "governance_anchor_oldest_open_seconds",
        "Age of the oldest anchor that is not final, in governance time.",
    )
    oldest_age.add_metric((), max(age, 0.0))
    status = (await connection.execute(sa.select(chain_status))).mappings().one_or_none()
    families: list[Metric] = [states, oldest_age]
    if status is not None:
        reachable = GaugeMetricFamily(
            "governance_chain_reachable", "1 when the worker last reached the chain."
        )
        reachable.add_metric((), float(status["reachable"]))
        blocked = GaugeMetricFamily("governance_chain_blocked", "1 while nothing may be anchored.")
        blocked.add_metric((), float(not status["may_anchor"]))
        families += [reachable, blocked]
    return families


async def _log(connection: AsyncConnection) -> list[Metric]:
    """How far the audit log is behind: entries that wait for the tree, for a signature, for the chain."""
    size, _ = await tree.head(connection)
    signed = await checkpoints.latest(connection)
    pending = sa.select(sa.func.count()).select_from(audit_pending)
    oldest = await anchors.oldest_unanchored(connection)
    figures = (
        ("governance_audit_entries", "Entries in the audit log's tree.", size),
        (
            "governance_audit_pending",
            "Entries committed and not in the tree yet.",
            (await connection.execute(pending)).scalar_one(),
        ),
        (
            "governance_audit_signed_entries",
            "Entries that the newest checkpoint covers.",
            signed.size if signed else 0,
        ),
        (
            "governance_audit_unanchored_seconds",
            "Age of the oldest entry that no final anchor on the chain covers; 0 where all are covered.",
            oldest.age.total_seconds() if oldest else 0.0,
        ),
    )
    families: list[Metric] = []
    for name, help_text, value in figures:
        family = GaugeMetricFamily(name, help_text)
        family.add_metric((), value)
        families.append(family)
    return families


async def _conformance(connection: AsyncConnection) -> Metric:
    query = sa.select(sa.func.count()).where(sa.func.cardinality(conformance.c.broken) > 0)
    broken = GaugeMetricFamily(
        "governance_constitution_checks_broken",
        "Checks that found rows which break a clause of the constitution.",
    )
    broken.add_metric((), (await connection.execute(query)).scalar_one())
    return broken


async def _compliance(connection: AsyncConnection) -> list[Metric]:
    checks = CounterMetricFamily(
        "governance_compliance_checks",
        "Texts held against the constitution, by what was found.",
        labels=("result",),
    )
    for verdict, count in (await compliance_queries.checks(connection)).items():
        checks.add_metric((verdict,), count)
    waiting, overdue = await compliance_queries.open_questions(connection, await governance_now(connection))
    questions = GaugeMetricFamily(
        "governance_compliance_questions", "Questions that wait for people.", labels=("state",)
    )
    questions.add_metric(("open",), waiting)
    questions.add_metric(("overdue",), overdue)
    return [checks, questions]


async def _accuracy(held: Services) -> list[Metric]:
    """Only what was measured of the very heads that judge now; nothing where nothing was."""
    found = compliance.accuracies(await compliance.measured(held))
    if not found:
        return []
    family = GaugeMetricFamily(
        "governance_compliance_accuracy_percent",
        "Clauses judged rightly, of policies that no fitting saw: of those that machines decide alone, and if they decided all.",
        labels=("scope",),
    )
    for scope, value in found.items():
        family.add_metric((scope,), value)
    return [family]


async def _queue(connection: AsyncConnection) -> list[Metric]:
    rows = await connection.exec_driver_sql(
        "SELECT entrypoint, status::text, count(*) FROM pgqueuer GROUP BY entrypoint, status"
    )
    jobs = GaugeMetricFamily(
        "governance_jobs", "Background jobs by what has become of them.", labels=("job", "status")
    )
    for entrypoint, status, count in rows:
        jobs.add_metric((entrypoint, status), count)
    return [jobs]


routes = [healthz, readyz, metrics]
