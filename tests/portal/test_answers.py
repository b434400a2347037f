"""What every answer carries, and that whatever goes wrong is said once: as page, as fragment or as problem."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable

import httpx
import pytest
from litestar import Litestar, Request, get, post
from litestar.di import NamedDependency

from portal.auth.guards import public, requires, signed_in
from portal.errors import HttpError
from tests.portal.conftest import with_forms
from workflows.errors import (
    Conflict,
    FieldError,
    Invalid,
    NotFound,
    Refused,
    Unauthenticated,
    Unavailable,
)
from workflows.roles import may_operate
from workflows.storage.unit import Unit

SignIn = Callable[[str], Awaitable[httpx.AsyncClient]]

RAISED = {
    "401": Unauthenticated("Sign in first."),
    "403": Refused("You wrote it yourself.", code="author_reviews"),
    "404": NotFound("There is no policy POL-2026-0001."),
    "409": Conflict("The text has changed.", code="stale_version", links={"diff": "/policies/x/changes"}),
    "422": Invalid("Two faults.", errors=(FieldError("/title", "Too short."), FieldError("/text", "Empty."))),
    "428": HttpError(428, "Say which."),
    "429": HttpError(429, "Slowly.", headers={"Retry-After": "7"}),
    "500": RuntimeError("a password: hunter2"),
    "503": Unavailable("The database does not answer."),
}


@get(["/raise/{which:str}", "/api/v1/raise/{which:str}"], guards=[public])
async def raising(request: Request) -> None:
    raise RAISED[request.path_params["which"]]


@post(["/act", "/api/v1/act"], guards=[public])
async def act(request: Request) -> dict:
    return {"done": True}


@post("/api/v1/keep", guards=[public])
async def keep(request: Request, unit: NamedDependency[Unit]) -> dict:
    await unit.connection.exec_driver_sql("CREATE TEMP TABLE kept (x text) ON COMMIT DROP")
    await unit.connection.exec_driver_sql("INSERT INTO kept VALUES ($1)", ((await request.json())["x"],))
    return {}


@get("/api/v1/for-operators", guards=[requires(may_operate)])
async def for_operators(request: Request) -> dict:
    return {}


@get("/api/v1/for-people", guards=[signed_in])
async def for_people(request: Request) -> dict:
    return {}


@pytest.fixture(scope="module", autouse=True)
def routes_of_these_tests(application: Litestar) -> None:
    for handler in (raising, act, keep, for_operators, for_people):
        application.register(handler)


@pytest.mark.parametrize("which", RAISED)
async def test_each_fault_in_its_three_forms(client: httpx.AsyncClient, which: str):
    problem = await client.get(f"/api/v1/raise/{which}")
    assert problem.status_code == int(which)
    assert problem.headers["content-type"].startswith("application/problem+json")
    body = problem.json()
    assert (body["status"], body["instance"]) == (int(which), f"/api/v1/raise/{which}")
    assert body["type"] == f"urn:acgs:problem:{body['code']}" and body["title"] and body["detail"]
    assert re.fullmatch("[0-9a-f]{32}", body["trace_id"])
    assert "hunter2" not in problem.text

    fragment = await client.get(f"/raise/{which}", headers={"HX-Request": "true"})
    assert (fragment.status_code, "<html" in fragment.text) == (int(which), False)
    assert body["title"] in fragment.text and "hunter2" not in fragment.text

    page = await client.get(f"/raise/{which}")
    if which == "401":
        assert (page.status_code, page.headers["location"]) == (303, "/login?next=/raise/401")
        return
    assert page.status_code == int(which) and "<html" in page.text
    assert body["title"] in page.text and body["detail"] in page.text and "hunter2" not in page.text

    as_json = await client.get(f"/raise/{which}", headers={"Accept": "application/json"})
    assert as_json.json()["code"] == body["code"]


async def test_what_a_problem_says_besides(client: httpx.AsyncClient):
    conflict = (await client.get("/api/v1/raise/409")).json()
    assert (conflict["code"], conflict["links"]) == ("stale_version", {"diff": "/policies/x/changes"})
    invalid = (await client.get("/api/v1/raise/422")).json()
    assert [error["pointer"] for error in invalid["errors"]] == ["/title", "/text"]
    assert (await client.get("/api/v1/raise/429")).headers["retry-after"] == "7"
    assert 'href="/policies/x/changes"' in (await client.get("/raise/409")).text


async def test_a_guard_says_why(client: httpx.AsyncClient, api: SignIn):
    assert (await client.get("/api/v1/for-operators")).json()["code"] == "unauthenticated"
    refused = (await (await api("dana")).get("/api/v1/for-operators")).json()
    assert (refused["status"], refused["code"]) == (403, "role_missing")
    assert "operator" in refused["detail"]
    assert (await (await api("jon")).get("/api/v1/for-operators")).status_code == 200


@pytest.mark.parametrize("path", ["/nothing/here", "/api/v1/nothing/here", "/api/v1/policies/../../etc"])
async def test_an_unknown_address(client: httpx.AsyncClient, path: str):
    answer = await client.get(path)
    assert answer.status_code == 404
    assert "content-security-policy" in answer.headers and "request-id" in answer.headers


async def test_a_method_that_is_not_taken(client: httpx.AsyncClient):
    for method in ("PUT", "DELETE", "POST"):
        answer = await client.request(method, "/api/v1/for-people")
        assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed"), method
    assert (await client.request("BREW", "/api/v1/for-people")).status_code == 405


BAD_BODIES = [
    b"",
    b"{",
    b'"text"',
    b"[]",
    b"nul",
    b"\xff\xfe{}",
    b'{"username": "\xff", "password": "x"}',
    b'{"username": "\\ud800", "password": "x"}',
    b'{"username": "a\\u0000b", "password": "x"}',
    b'{"username": 7, "password": "x"}',
    b'{"username": "dana"}',
    b'{"username": "dana", "password": "x", "more": 1}',
    b"[" * 100_000,
    b'{"username": ' + b'"' + b"x" * 5_000 + b'", "password": "x"}',
]


@pytest.mark.parametrize("body", BAD_BODIES, ids=range(len(BAD_BODIES)))
async def test_bad_input_is_the_callers_fault(client: httpx.AsyncClient, body: bytes):
    headers = {"Content-Type": "application/json"}
    answer = await client.post("/api/v1/auth/token", content=body, headers=headers)
    assert answer.status_code in (400, 422), answer.text
    assert answer.headers["content-type"].startswith("application/problem+json")


@pytest.mark.parametrize("text", ["a\x00b", "\ud800", "\udfff!"], ids=["NUL", "surrogate", "surrogate2"])
async def test_text_that_no_database_keeps_is_the_callers_fault_wherever_it_is_found(
    client: httpx.AsyncClient, text: str
):
    answer = await client.post("/api/v1/keep", content=json.dumps({"x": text}))
    assert answer.status_code in (400, 422), answer.text


async def test_a_body_that_is_too_large(client: httpx.AsyncClient):
    answer = await client.post("/api/v1/auth/token", json={"username": "x" * 2_000_000, "password": "x"})
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    with_forms(client)
    page = await client.post("/login", data={"username": "x" * 2_000_000})
    assert page.status_code == 413


async def test_another_kind_of_content(client: httpx.AsyncClient):
    answer = await client.post(
        "/api/v1/auth/token", content=b"<x/>", headers={"Content-Type": "application/xml"}
    )
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    "body",
    [
        b"username=a%00b&password=x",
        b"username=%ED%A0%80&password=%FF",
        b"%",
        b"&&&=&",
        b"username=" + b"a&" * 3000,
    ],
    ids=range(5),
)
async def test_a_bad_form_is_the_senders_fault(client: httpx.AsyncClient, body: bytes):
    with_forms(client)
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = await client.post("/login", content=body, headers=headers)
    assert 400 <= answer.status_code < 500, answer.text


async def test_a_form_in_parts_that_are_none(client: httpx.AsyncClient):
    with_forms(client)
    for kind in ("multipart/form-data; boundary=x", "multipart/form-data", "application/json"):
        answer = await client.post("/login", content=b"--y\r\nhello", headers={"Content-Type": kind})
        assert 400 <= answer.status_code < 500, kind


# Forms from elsewhere


async def test_a_form_without_its_token_is_refused(client: httpx.AsyncClient, visit):
    assert (await client.post("/act")).status_code == 403
    page = await client.get("/login")
    token = re.search(r'name="_csrf_token" value="([^"]+)"', page.text)[1]
    assert (await client.post("/act", data={"_csrf_token": token})).status_code == 201
    assert (await client.post("/act", headers={"X-CSRFToken": token})).status_code == 201
    refused = await client.post("/act", data={"_csrf_token": token[:-1]})
    assert (refused.status_code, "out of date" in refused.text) == (403, True)

    stranger = visit()
    assert (await stranger.post("/act", data={"_csrf_token": token})).status_code == 403
    stranger.cookies.set("csrf", "made.up")
    assert (await stranger.post("/act", data={"_csrf_token": "made.up"})).status_code == 403


async def test_a_form_sent_from_another_site_is_refused_even_with_its_token(client: httpx.AsyncClient):
    with_forms(client)
    assert (await client.post("/act", headers={"Origin": "http://portal.test"})).status_code == 201
    for origin in ("http://evil.example", "http://portal.test.evil.example", "http://portal.test:81"):
        assert (await client.post("/act", headers={"Origin": origin})).status_code == 403, origin


async def test_the_api_takes_no_form_token_as_it_takes_no_cookie(client: httpx.AsyncClient):
    assert (await client.post("/api/v1/act")).status_code == 201


# Headers


@pytest.mark.parametrize("path", ["/login", "/nothing", "/api/v1/nothing", "/healthz", "/static/favicon.svg"])
async def test_every_answer_is_fenced_in(client: httpx.AsyncClient, app: Litestar, path: str):
    headers = (await client.get(path)).headers
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["form-action"] == "'self'"
    assert policy["connect-src"] == "'self' ws://portal.test"
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert "referrer-policy" in headers and "permissions-policy" in headers
    assert headers["x-constitution-hash"] == app.state.services.constitution.sha256
    assert "strict-transport-security" not in headers and "server" not in headers


async def test_head_is_answered_as_get_is(client: httpx.AsyncClient):
    for path, status in (("/login", 200), ("/nothing", 404), ("/healthz", 200), ("/static/favicon.svg", 200)):
        answer = await client.head(path)
        assert (answer.status_code, answer.content) == (status, b"")
        assert int(answer.headers["content-length"]) > 0
    assert (await client.head("/demo/clock")).status_code == 405


async def test_a_strange_host_does_not_get_into_the_policy(client: httpx.AsyncClient):
    answer = await client.get("/login", headers={"Host": "x; script-src *"})
    assert "script-src *" not in answer.headers["content-security-policy"]


async def test_ids_of_the_caller_are_kept_where_they_are_ids(client: httpx.AsyncClient):
    trace = "0af7651916cd43dd8448eb211c80319c"
    sent = {"Request-Id": "my-request-17", "traceparent": f"00-{trace}-b7ad6b7169203331-01"}
    answer = await client.get("/healthz", headers=sent)
    assert answer.headers["request-id"] == "my-request-17"
    assert answer.headers["traceparent"].split("-")[1::2] == [trace, "01"]
    bad = {"Request-Id": "a b\tc<script>", "traceparent": "00-zz-b7ad6b7169203331-01"}
    answer = await client.get("/healthz", headers=bad)
    assert re.fullmatch("[0-9a-f-]{36}", answer.headers["request-id"])
    assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-00", answer.headers["traceparent"])


async def test_files_are_kept_for_ever_only_under_their_hash(client: httpx.AsyncClient):
    from portal.static_files import static_url

    url = static_url("favicon.svg")
    assert re.fullmatch(r"/static/favicon\.svg\?v=[0-9a-f]{12}", url)
    assert "immutable" in (await client.get(url)).headers["cache-control"]
    assert (await client.get("/static/favicon.svg")).headers["cache-control"] == "no-cache"
    assert (await client.get("/static/../portal/settings.py")).status_code == 404
    assert (await client.get("/static/%2e%2e/portal/settings.py")).status_code == 404


async def test_what_a_signed_in_person_sees_is_not_kept_by_caches(as_persona: SignIn):
    answer = await (await as_persona("dana")).get("/me")
    assert answer.headers["cache-control"] == "no-store"


# With the database away


async def test_without_a_database_pages_say_so_and_nobody_is_told_they_are_signed_out(
    app: Litestar, as_persona: SignIn, api: SignIn, monkeypatch: pytest.MonkeyPatch
):
    browser, program = await as_persona("dana"), await api("dana")

    def away(*_: object, **__: object) -> None:
        raise ConnectionRefusedError("away")

    monkeypatch.setattr(type(app.state.services.engine), "connect", away)
    page = await browser.get("/me")
    assert page.status_code == 503 and "Temporarily unavailable" in page.text
    assert (await program.get("/api/v1/auth/me")).status_code == 503
    ready = await browser.get("/readyz")
    assert ready.status_code == 503 and ready.json()["checks"]["redis"]["ok"] is True
    assert "ConnectionRefusedError" in ready.json()["checks"]["database"]["reason"]
    assert (await browser.get("/healthz")).status_code == 200
