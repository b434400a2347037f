"""One request, one transaction: what commits together, what is published after, and what a repeated request does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import httpx
import pytest
import sqlalchemy as sa
from litestar import Litestar, Request, Response, get, post, put
from litestar.di import NamedDependency
from sqlalchemy.ext.asyncio import AsyncConnection

from portal.api.http import expected_revision, idempotent, paged, require_if_match, tagged
from portal.auth.guards import public, signed_in
from portal.database import begin_unit
from portal.live import STREAM
from portal.pages.render import see_other
from workflows.errors import Conflict
from workflows.policy_creation.views import Page
from workflows.storage.tables import audit_entry, idempotency
from workflows.storage.unit import Unit

SignIn = Callable[[str], Awaitable[httpx.AsyncClient]]


async def act(unit: Unit, what: str) -> None:
    """State, audit entry, job and event, as every action has them."""
    await unit.record("test.acted", what)
    await unit.enqueue("deadlines", {"what": what})
    unit.publish("chain", "test", what=what)


@post("/api/v1/acts", guards=[signed_in])
@idempotent
async def acts(request: Request, unit: NamedDependency[Unit]) -> Response[dict]:
    body = await request.json()
    await act(unit, body["what"])
    await asyncio.sleep(body.get("seconds", 0))
    if body.get("fail"):
        raise Conflict("Not like this.")
    return Response(
        {"did": body["what"], "entries": unit.entries}, status_code=202, headers={"Location": "/x"}
    )


@post("/api/v1/commit-fails", guards=[public])
async def commit_fails(unit: NamedDependency[Unit]) -> dict:
    await act(unit, "never")
    await unit.connection.exec_driver_sql("CREATE TEMP TABLE t (x int UNIQUE DEFERRABLE INITIALLY DEFERRED)")
    await unit.connection.exec_driver_sql("INSERT INTO t VALUES (1), (1)")
    return {"done": True}


@post("/acts-and-redirects", guards=[public], status_code=303)
async def acts_and_redirects(unit: NamedDependency[Unit]) -> Response:
    await act(unit, "redirected")
    return see_other("/elsewhere", flash=("success", "Done <b>well</b>."))


@get("/api/v1/writes-in-a-read", guards=[public])
async def writes_in_a_read(reader: NamedDependency[AsyncConnection]) -> dict:
    await reader.exec_driver_sql("UPDATE governance_clock SET ahead = '1 day'")
    return {}


@get("/api/v1/thing", guards=[public])
async def thing(request: Request) -> Response:
    return tagged(request, {"a": 1}, 7)


@put("/api/v1/thing", guards=[public])
async def change_thing(request: Request) -> dict:
    require_if_match(request, 7)
    return {"revision": expected_revision(request)}


@get("/api/v1/things", guards=[public])
async def things(request: Request) -> Response:
    return paged(Page(items=[1, 2], next="n=/x", prev=None, limit=2, has_more=True), request)


@pytest.fixture(scope="module", autouse=True)
def routes_of_these_tests(application: Litestar) -> None:
    for handler in (acts, commit_fails, acts_and_redirects, writes_in_a_read, thing, change_thing, things):
        application.register(handler)


async def state(app: Litestar) -> tuple[int, int, int]:
    """How many audit entries, jobs and published events there are."""
    held = app.state.services
    async with held.engine.connect() as connection:
        of_tests = sa.select(sa.func.count()).where(audit_entry.c.type == "test.acted")
        entries = (await connection.execute(of_tests)).scalar_one()
        jobs = (await connection.exec_driver_sql("SELECT count(*) FROM pgqueuer")).scalar_one()
    return entries, jobs, await held.redis.xlen(STREAM)


async def test_an_action_leaves_entry_job_and_event(api: SignIn, app: Litestar):
    answer = await (await api("dana")).post("/api/v1/acts", json={"what": "x"})
    assert (answer.status_code, answer.json()) == (202, {"did": "x", "entries": 1})
    assert await state(app) == (1, 1, 1)


async def test_a_redirect_commits(app: Litestar, as_persona: SignIn):
    browser = await as_persona("dana")
    answer = await browser.post("/acts-and-redirects")
    assert (answer.status_code, answer.headers["location"]) == (303, "/elsewhere")
    assert await state(app) == (1, 1, 1)
    shown = (await browser.get("/login?next=/me")).headers["location"]
    page = await browser.get(shown)
    assert "Done &lt;b&gt;well&lt;/b&gt;." in page.text
    assert "Done &lt;b&gt;" not in (await browser.get("/me")).text, "a message is shown once"


async def test_htmx_is_sent_on_by_header(as_persona: SignIn):
    answer = await (await as_persona("dana")).post("/acts-and-redirects", headers={"HX-Request": "true"})
    assert (answer.status_code, answer.headers["hx-redirect"]) == (204, "/elsewhere")


async def test_a_refusal_leaves_nothing(api: SignIn, app: Litestar):
    answer = await (await api("dana")).post("/api/v1/acts", json={"what": "x", "fail": True})
    assert answer.status_code == 409
    assert await state(app) == (0, 0, 0)


async def test_a_failing_commit_is_an_error_and_publishes_nothing(client: httpx.AsyncClient, app: Litestar):
    answer = await client.post("/api/v1/commit-fails")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert await state(app) == (0, 0, 0)


async def test_reading_cannot_write(client: httpx.AsyncClient):
    assert (await client.get("/api/v1/writes-in-a-read")).status_code == 500


async def test_events_are_published_after_the_commit_or_not_at_all(app: Litestar):
    held, seen = app.state.services, []

    async def publish(events: list) -> None:
        seen.append((len(events), await state(app)))
        raise ConnectionError("nobody listens")

    async with begin_unit(held.engine, constitution=held.constitution, publish=publish) as unit:
        await act(unit, "x")
        assert seen == []
    assert seen == [(1, (1, 1, 0))], "what is told is committed, and failing to tell undoes nothing"
    with pytest.raises(ZeroDivisionError):
        async with begin_unit(held.engine, constitution=held.constitution, publish=publish) as unit:
            await act(unit, "y")
            raise ZeroDivisionError
    assert len(seen) == 1


# Idempotency keys


async def test_a_repeated_request_acts_once_and_gets_the_same_answer(api: SignIn, app: Litestar):
    dana = await api("dana")
    key = {"Idempotency-Key": "k-1"}
    first = await dana.post("/api/v1/acts", json={"what": "x"}, headers=key)
    again = await dana.post("/api/v1/acts", json={"what": "x"}, headers=key)
    assert (first.status_code, first.content) == (again.status_code, again.content)
    assert first.headers["location"] == again.headers["location"]
    assert ("idempotency-replayed" in first.headers, again.headers["idempotency-replayed"]) == (False, "true")
    assert (await state(app))[0] == 1

    other = await dana.post("/api/v1/acts", json={"what": "y"}, headers=key)
    assert other.status_code == 422 and "another request" in other.json()["detail"]
    emre = await (await api("emre")).post("/api/v1/acts", json={"what": "z"}, headers=key)
    assert emre.json()["did"] == "z", "a key is its sender's own"


async def test_two_at_once_with_one_key_act_once(api: SignIn, app: Litestar):
    dana = await api("dana")
    key = {"Idempotency-Key": "k-2"}
    sent = [dana.post("/api/v1/acts", json={"what": "x", "seconds": 0.3}, headers=key) for _ in range(4)]
    answers = await asyncio.gather(*sent)
    assert {answer.status_code for answer in answers} == {202}
    assert sum("idempotency-replayed" in answer.headers for answer in answers) == 3
    assert (await state(app))[0] == 1


async def test_a_refusal_is_not_kept(api: SignIn, app: Litestar):
    dana = await api("dana")
    key = {"Idempotency-Key": "k-3"}
    assert (await dana.post("/api/v1/acts", json={"what": "x", "fail": True}, headers=key)).status_code == 409
    assert (await dana.post("/api/v1/acts", json={"what": "x"}, headers=key)).status_code == 202
    async with app.state.services.engine.connect() as connection:
        assert (await connection.execute(sa.select(idempotency.c.status))).scalars().all() == [202]


async def test_a_key_must_be_one(api: SignIn):
    dana = await api("dana")
    for key in ("", "x" * 201, "a b", "ä".encode()):
        answer = await dana.post("/api/v1/acts", json={"what": "x"}, headers={"Idempotency-Key": key})
        assert answer.status_code == 400, key


# Entity tags and pages


async def test_what_the_caller_has_is_not_sent_again(client: httpx.AsyncClient):
    first = await client.get("/api/v1/thing")
    assert first.headers["etag"] == '"7"'
    again = await client.get("/api/v1/thing", headers={"If-None-Match": 'W/"x", "7"'})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", '"7"')


@pytest.mark.parametrize(
    ("tag", "status"),
    [(None, 428), ('"7"', 200), ('"7-0a1b"', 200), ('"6"', 412), ("7", 412), ("*", 412), ('W/"7"', 412)],
)
async def test_a_change_must_name_the_state_it_is_of(client: httpx.AsyncClient, tag: str | None, status: int):
    answer = await client.put("/api/v1/thing", headers={"If-Match": tag} if tag else {})
    assert answer.status_code == status, answer.text


async def test_a_page_links_to_its_neighbours(client: httpx.AsyncClient):
    answer = await client.get("/api/v1/things?limit=2&q=a%20b&cursor=old")
    page = {"next": "n=/x", "prev": None, "limit": 2, "has_more": True}
    assert answer.json() == {"items": [1, 2], "page": page}
    assert answer.headers["link"] == '</api/v1/things?limit=2&q=a+b&cursor=n%3D%2Fx>; rel="next"'
