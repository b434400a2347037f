"""Rate limits: real counters, shared by instances, and sensible while Redis is away."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable

import httpx
import pytest
from litestar import Litestar
from redis.exceptions import ConnectionError as RedisAway

from portal.limits import Limiter
from portal.settings import Settings

SignIn = Callable[[str], Awaitable[httpx.AsyncClient]]
WRONG = {"username": "dana", "password": "wrong"}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return dataclasses.replace(settings, rate_limit_sign_in=2, rate_limit_act=3, rate_limit_read=4)


async def sign_in(client: httpx.AsyncClient) -> httpx.Response:
    return await client.post("/api/v1/auth/token", json=WRONG)


async def test_the_headers_count_down_and_then_refuse(client: httpx.AsyncClient, app: Litestar):
    first = await sign_in(client)
    assert first.headers["ratelimit-policy"] == '"sign_in";q=2;w=60'
    assert first.headers["ratelimit"].startswith('"sign_in";r=1;t=')
    assert (await sign_in(client)).status_code == 401
    refused = await sign_in(client)
    assert (refused.status_code, refused.json()["code"]) == (429, "too_many_requests")
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert refused.headers["ratelimit"].startswith('"sign_in";r=0;t=')
    assert "content-security-policy" in refused.headers
    metrics = (await client.get("/metrics")).text
    assert 'governance_rate_limited_total{limit="sign_in"} 1.0' in metrics
    assert 'status="429"' in metrics


async def test_signing_in_does_not_use_up_reading(client: httpx.AsyncClient):
    for _ in range(3):
        await sign_in(client)
    assert (await client.get("/login")).status_code == 200


async def test_each_person_has_limits_of_their_own(api: SignIn, client: httpx.AsyncClient):
    dana, emre = await api("dana"), await api("emre")
    statuses = [(await dana.get("/api/v1/auth/me")).status_code for _ in range(5)]
    assert statuses == [200] * 4 + [429]
    assert (await emre.get("/api/v1/auth/me")).status_code == 200
    assert (await client.get("/login")).status_code == 200


async def test_a_person_who_asks_too_often_gets_a_page(client: httpx.AsyncClient):
    for _ in range(4):
        await client.get("/login")
    page = await client.get("/login")
    assert page.status_code == 429 and "Too many requests" in page.text


async def test_health_and_files_are_not_limited(client: httpx.AsyncClient):
    for path in ("/healthz", "/readyz", "/static/favicon.svg"):
        answers = [await client.get(path) for _ in range(6)]
        assert {answer.status_code for answer in answers} == {200}
        assert "ratelimit" not in answers[0].headers


async def test_instances_count_together(app: Litestar, settings: Settings):
    one, other = Limiter(settings), Limiter(settings)
    assert (await one.count("act", "x")).remaining == 2
    assert (await other.count("act", "x")).remaining == 1
    await one.close()
    await other.close()


async def test_without_redis_reading_goes_on_and_signing_in_is_still_counted(
    client: httpx.AsyncClient, app: Litestar, monkeypatch: pytest.MonkeyPatch
):
    asked = 0

    async def away(*_: object, **__: object) -> None:
        nonlocal asked
        asked += 1
        raise RedisAway("away")

    monkeypatch.setattr(app.state.services.limiter.pool, "get_connection", away)
    reads = [(await client.get("/login")) for _ in range(6)]
    assert {answer.status_code for answer in reads} == {200} and "ratelimit" not in reads[0].headers
    assert [(await sign_in(client)).status_code for _ in range(3)] == [401, 401, 429]
    assert asked == 1, "a server that is away is not asked again with every request"
