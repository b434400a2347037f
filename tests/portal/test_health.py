"""Health and metrics say what was measured, to those who may know it."""

from __future__ import annotations

import dataclasses
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from litestar import Litestar
from prometheus_client.parser import text_string_to_metric_families

from portal.settings import Settings
from tests.conftest import arranged
from tests.portal.the_log import seal
from workflows.errors import Unavailable
from workflows.kinds import WorkflowStatus
from workflows.policy_enforcement.bundle import Bundle
from workflows.storage.tables import chain_status, workflow
from workflows.storage.unit import new_id


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return dataclasses.replace(settings, metrics_export_interval=0)


async def figures(client: httpx.AsyncClient) -> dict[tuple[str, ...], float]:
    answer = await client.get("/metrics")
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/plain")
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


async def test_requests_are_counted_by_route_and_by_the_status_they_got(client: httpx.AsyncClient):
    for path in ("/login", "/nothing/1", "/nothing/2", "/me", "/api/v1/auth/me"):
        await client.get(path)
    counted = await figures(client)
    name = "governance_http_requests_total"
    assert counted[name, "/login", "200", "GET"] == 1
    assert counted[name, "/me", "303", "GET"] == 1
    assert counted[name, "/api/v1/auth/me", "401", "GET"] == 1
    assert counted[name, "404", "GET", "unmatched"] == 2
    assert counted["governance_response_time_seconds_count", "GET /login", "portal"] == 1
    assert not any("/nothing" in label for key in counted for label in key)


async def test_ready_says_whether_the_rules_can_be_asked(
    client: httpx.AsyncClient, app: Litestar, monkeypatch: pytest.MonkeyPatch
):
    """The engine itself is away, as the portal prepares it of its own accord whenever it can."""

    async def away(bundle: Bundle) -> None:
        raise Unavailable("No engine answers.", code="engine_away")

    async def found() -> dict[str, Any]:
        return (await client.get("/readyz")).json()

    held = app.state.services.rulebook
    assert (await found())["checks"]["bundle"]["ok"], "no rule was ever made"
    with monkeypatch.context() as patched:
        patched.setattr(held.engine, "prepare", away)
        await held.look()
        answer = await found()
        assert not answer["checks"]["bundle"]["ok"] and answer["ready"], "people go on deciding"
        assert "not loaded yet" in answer["checks"]["bundle"]["reason"]
    await held.prepare()
    answer = await found()
    assert answer["checks"]["bundle"]["ok"] and answer["ready"]


async def test_workflows_are_counted_from_what_happened(client: httpx.AsyncClient, app: Litestar):
    begun = datetime(2026, 1, 1, tzinfo=UTC)
    rows = [
        (WorkflowStatus.COMPLETED, timedelta(hours=2)),
        (WorkflowStatus.COMPLETED, timedelta(days=8)),
        (WorkflowStatus.FAILED, timedelta(days=1)),
        (WorkflowStatus.IN_PROGRESS, timedelta()),
    ]
    async with app.state.services.engine.begin() as connection:
        await arranged(connection)
        for status, took in rows:
            await connection.execute(
                workflow.insert().values(
                    id=new_id(),
                    workflow_type="policy_creation",
                    status=status,
                    priority="normal",
                    current_stage="voting",
                    subject="POL-2026-0001",
                    constitution_sha256="0" * 64,
                    created_at=begun,
                    updated_at=begun + took,
                )
            )
    counted = await figures(client)
    assert counted["governance_workflow_total", "initiated", "policy_creation"] == 4
    assert counted["governance_workflow_total", "completed", "policy_creation"] == 2
    assert counted["governance_workflow_total", "failed", "policy_creation"] == 1
    assert counted["governance_workflow_active", "policy_creation"] == 1
    duration = "governance_workflow_duration_seconds"
    assert counted[f"{duration}_count", "policy_creation"] == 2
    assert counted[f"{duration}_sum", "policy_creation"] == timedelta(days=8, hours=2).total_seconds()
    assert counted[f"{duration}_bucket", "259200.0", "policy_creation"] == 1


async def test_metrics_are_not_for_everybody(client: httpx.AsyncClient, app: Litestar):
    elsewhere = httpx.ASGITransport(app=app, client=("203.0.113.7", 1))
    async with httpx.AsyncClient(transport=elsewhere, base_url="http://portal.test") as stranger:
        assert (await stranger.get("/metrics")).status_code == 404
        locked = dataclasses.replace(
            app.state.services, settings=dataclasses.replace(app.state.settings, metrics_token="let me in")
        )
        app.state.services = locked
        assert (await stranger.get("/metrics", headers={"Authorization": "Bearer x"})).status_code == 404
        with_token = await stranger.get("/metrics", headers={"Authorization": "Bearer let me in"})
        assert with_token.status_code == 200
        assert (await client.get("/metrics")).status_code == 404, "then the address alone lets nobody in"


async def test_ready_means_database_and_redis_and_says_what_the_chain_is(
    client: httpx.AsyncClient, app: Litestar
):
    answer = (await client.get("/readyz")).json()
    assert answer["ready"] is True
    assert answer["checks"]["chain"]["ok"] is False
    assert "not looked at" in answer["checks"]["chain"]["reason"]
    async with app.state.services.engine.begin() as connection:
        await arranged(connection)
        seen = {"reachable": True, "may_anchor": False, "reason": "The hash differs.", "seen": {}}
        row = {"id": 1, **seen, "checked_at": sa.func.clock_timestamp()}
        await connection.execute(chain_status.insert().values(**row))
    answer = await client.get("/readyz")
    assert (answer.status_code, answer.json()["checks"]["chain"]["reason"]) == (200, "The hash differs.")
    assert (await figures(client))["governance_chain_blocked",] == 1


async def test_without_redis_it_is_not_ready(
    client: httpx.AsyncClient, app: Litestar, monkeypatch: pytest.MonkeyPatch
):
    async def away(*_: object, **__: object) -> None:
        raise ConnectionError

    monkeypatch.setattr(app.state.services.redis, "ping", away)
    answer = await client.get("/readyz")
    assert (answer.status_code, answer.json()["checks"]["database"]["ok"]) == (503, True)


async def test_every_metric_is_named_by_our_rules(client: httpx.AsyncClient):
    await client.get("/login")
    for key in await figures(client):
        assert re.match(r"governance_[a-z_]+$", key[0]), key


async def test_how_far_the_log_is_behind_is_told(app: Litestar, client: httpx.AsyncClient, tmp_path: Path):
    waiting = await figures(client)
    assert waiting["governance_audit_entries",] == 0
    assert waiting["governance_audit_pending",] >= 1
    assert 0 < waiting["governance_audit_unanchored_seconds",] < 300
    await seal(app, tmp_path / "checkpoint")
    signed = await figures(client)
    assert signed["governance_audit_pending",] == 0
    assert signed["governance_audit_signed_entries",] == signed["governance_audit_entries",] >= 1
    assert signed["governance_audit_unanchored_seconds",] > 0, "no anchor covers it"
