"""Policy enforcement as a service: a real one in a process of its own, which is killed, stopped and started again."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Iterator

import httpx
import msgspec
import pytest
from litestar import Litestar

from portal.auth.tokens import service_token
from portal.settings import Settings, SettingsError
from tests.portal.a_service import Service, serving
from tests.portal.conftest import SECRET
from tests.portal.enforcing import DECIDE, SignIn, in_force
from tests.workflows.enforcement.conftest import grant
from workflows.policy_enforcement.engines.pgc import Asking, PgcService
from workflows.policy_enforcement.engines.worker import Check


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving("pgc", tmp_path_factory.mktemp("pgc")) as service:
        yield service


@pytest.fixture
def settings(fresh_database: str, valkey_url: str, service: Service) -> Settings:
    return Settings(
        database_url=fresh_database,
        redis_url=valkey_url,
        jwt_secret=SECRET,
        base_url="http://portal.test",
        demo=True,
        pgc_service_url=service.url,
    )


@pytest.fixture
async def operator(app: Litestar, api: SignIn, client: httpx.AsyncClient) -> AsyncIterator[httpx.AsyncClient]:
    """An operator's program, on a portal whose rule about grants is asked of the service."""
    assert isinstance(app.state.services.rulebook.engine, PgcService)
    await in_force(app, api, client)
    yield await api("jon")


async def test_the_service_decides_and_both_sides_measure_it(
    operator: httpx.AsyncClient, client: httpx.AsyncClient, service: Service
) -> None:
    answer = (await operator.post(DECIDE, json=grant(1500))).json()
    assert (answer["decision"], [item["id"] for item in answer["obligations"]]) == (
        "conditional_allow",
        ["report"],
    )
    text = (await client.get("/metrics")).text
    assert 'governance_service_requests_total{outcome="answered",service="pgc"}' in text
    assert 'governance_service_response_time_seconds_count{service="pgc"}' in text
    there = service.metrics()
    assert 'governance_response_time_seconds_count{operation="ask",service="pgc"}' in there


async def test_killed_it_allows_nothing_and_back_it_decides_again(
    operator: httpx.AsyncClient, client: httpx.AsyncClient, service: Service
) -> None:
    assert (await operator.post(DECIDE, json=grant(500))).json()["decision"] == "allow"
    service.send(signal.SIGKILL)
    for _ in range(8):
        answer = await operator.post(DECIDE, json=grant(500))
        assert answer.status_code == 200
        denied = answer.json()
        assert (denied["decision"], denied["reasons"][0]["code"]) == ("deny", "engine_away")
    assert "in a row" in denied["reasons"][0]["text"], "by now nobody waits for it"
    assert 'governance_service_away{service="pgc"} 1.0' in (await client.get("/metrics")).text
    engines = (await client.get(f"{DECIDE}/status")).json()["engines"]
    assert "does not answer" in engines["Rego and Datalog"]
    kept = (await client.get(f"/api/v1/enforcement/decisions/{denied['decision_id']}")).json()
    assert kept["outcome"] == "deny", "that it was away is on record"
    service.start()
    deadline = time.monotonic() + 60
    while (await operator.post(DECIDE, json=grant(500))).json()["decision"] != "allow":
        assert time.monotonic() < deadline, "it does not decide again"
        await asyncio.sleep(0.2)
    assert 'governance_service_away{service="pgc"} 0.0' in (await client.get("/metrics")).text


async def test_one_that_hangs_is_not_waited_for_long(operator: httpx.AsyncClient, service: Service) -> None:
    assert (await operator.post(DECIDE, json=grant(500))).json()["decision"] == "allow"
    service.send(signal.SIGSTOP)
    try:
        began = time.monotonic()
        denied = (await operator.post(DECIDE, json=grant(500))).json()
        assert denied["decision"] == "deny"
        assert time.monotonic() - began < 30
    finally:
        service.send(signal.SIGCONT)
    deadline = time.monotonic() + 60
    while (await operator.post(DECIDE, json=grant(500))).json()["decision"] != "allow":
        assert time.monotonic() < deadline, "it does not decide again"
        await asyncio.sleep(0.5)


def asked(service: Service, path: str, body: object, token: str) -> httpx.Response:
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.post(service.url + path, content=msgspec.msgpack.encode(body), headers=headers, timeout=20)


def test_it_answers_portals_only(service: Service) -> None:
    good = service_token(SECRET, "pgc")
    assert asked(service, "/check", Check("rego", "package policies.x"), good).status_code == 200
    for token in (
        "none",
        "x",
        service_token("another secret, also long enough", "pgc"),
        service_token(SECRET, "gs"),
    ):
        for path in ("/check", "/ask", "/bundles"):
            assert asked(service, path, Check("rego", ""), token).status_code == 401, path
    assert asked(service, "/ask", ["none", "of", "ours"], good).status_code == 400
    assert asked(service, "/ask", Asking("0" * 64, []), good).status_code == 409


async def test_it_takes_no_bundle_but_the_one_that_is_named(
    operator: httpx.AsyncClient, app: Litestar, service: Service
) -> None:
    held = app.state.services.rulebook
    bundle = await held.load(await held.look())
    good = service_token(SECRET, "pgc")
    assert asked(service, "/bundles", bundle, good).status_code == 200
    (policy,) = bundle.sources
    changed = msgspec.structs.replace(bundle, sources={policy: bundle.sources[policy] + "\n"})
    for other in (
        changed,
        msgspec.structs.replace(bundle, revision="0" * 64),
        msgspec.structs.replace(bundle, facts={"roles": []}),
    ):
        assert asked(service, "/bundles", other, good).status_code == 400


def test_one_of_the_two_runs_the_rules() -> None:
    both = {"OPA_URL": "http://localhost:8181", "PGC_SERVICE_URL": "http://localhost:8005"}
    with pytest.raises(SettingsError, match="cannot both be set"):
        Settings.from_environment(both)
