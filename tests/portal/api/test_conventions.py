"""What holds for the whole API: problems, pointers, idempotency, entity tags, scopes, and few statements per request."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from portal.auth import sessions
from portal.auth.tokens import issue
from tests.conftest import arranged
from tests.portal.api.walk import (
    DRAFT,
    POLICIES,
    WORKFLOWS,
    is_problem,
    jump,
    pointers,
    propose,
    review,
    vote,
)
from tests.portal.conftest import SECRET
from tests.portal.statements import counted
from workflows.roles import Scope
from workflows.storage.tables import audit_entry, person, policy

NUL, LONG = "a\x00b", "x" * 300_000
SHA = "0" * 64
UNKNOWN = "/api/v1/workflows/policy-creation/01890000-0000-7000-8000-000000000000"


# Bad bodies


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"title": 7}, "/title"),
        ({"title": ""}, "/title"),
        ({"title": "   "}, "/title"),
        ({"title": "two\nlines"}, "/title"),
        ({"title": NUL}, "/title"),
        ({"title": LONG}, "/title"),
        ({"summary": None}, "/summary"),
        ({"text": LONG}, "/text"),
        ({"category": "fiscal"}, "/category"),
        ({"priority": "urgent"}, "/priority"),
        ({"risk_strategy": "none"}, "/risk_strategy"),
        ({"emergency": "true"}, "/emergency"),
        ({"submit": 1}, "/submit"),
        ({"colour": "red"}, "/colour"),
        ({"a/b~c": 1}, "/a~1b~0c"),
        ({"rule": "allow"}, "/rule"),
        ({"rule": {"engine": "rego"}}, "/rule/source"),
        ({"rule": {"engine": "prolog", "source": "x"}}, "/rule/engine"),
        ({"rule": {"engine": "rego", "source": "x", "lines": 3}}, "/rule/lines"),
        ({"rule": {"engine": "rego", "source": "x", "examples": [1]}}, "/rule/examples/0"),
        ({"rule": {"engine": "rego", "source": "x", "examples": [{"input": 1}]}}, "/rule/examples/0/expect"),
        ({"rule": {"engine": "rego", "source": "x", "examples": [{"input": {"n": 2**60}, "expect": "allow"}]}},
         "/rule/examples/0/input/n"),
        ({"rule": {"engine": "rego", "source": "x", "examples": [{"input": {}, "expect": NUL}]}},
         "/rule/examples/0/expect"),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
async def test_a_bad_field_is_pointed_at(api: Any, change: dict[str, Any], pointer: str) -> None:
    response = await (await api("chidi")).post(WORKFLOWS, json={**DRAFT, **change})
    is_problem(response, 422, "invalid")
    assert pointer in pointers(response)


async def test_all_faults_are_named_at_once(api: Any) -> None:
    response = await (await api("chidi")).post(WORKFLOWS, json={"title": 1, "category": "x", "q": 1})
    is_problem(response, 422)
    assert pointers(response) == {"/title", "/summary", "/text", "/category", "/q"}
    category = next(each for each in response.json()["errors"] if each["pointer"] == "/category")
    assert category["message"] == "Must be one of: constitutional, safety, governance, financial."


@pytest.mark.parametrize(
    ("content", "media_type", "status"),
    [
        (b"", "application/json", 422),
        (b"{", "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b'{"title": "\\ud800"}', "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b'{"rule": {"examples": [' + b'{"a":' * 60 + b"1" + b"}" * 60 + b"]}}", "application/json", 422),
        (b"[]", "application/json", 422),
        (b"null", "application/json", 422),
        (b"title=x", "application/x-www-form-urlencoded", 415),
        (b"{}", "text/plain", 415),
        (b"{}", "", 415),
        (b'{"text": "' + b"x" * 1_100_000 + b'"}', "application/json", 413),
    ],
    ids=[
        "empty",
        "cut",
        "latin",
        "surrogate",
        "deep",
        "deeper",
        "list",
        "null",
        "form",
        "plain",
        "untyped",
        "large",
    ],
)
async def test_a_body_that_cannot_be_read(api: Any, content: bytes, media_type: str, status: int) -> None:
    client = await api("chidi")
    is_problem(await client.post(WORKFLOWS, content=content, headers={"Content-Type": media_type}), status)


async def test_unusable_parameters_are_refused(client: Any, api: Any) -> None:
    workflow = await propose(await api("chidi"))
    own = f"{POLICIES}/{workflow['policy']['ref']}"
    for path in (
        f"{POLICIES}?limit=0", f"{POLICIES}?limit=201", f"{POLICIES}?limit=x", f"{POLICIES}?state=gone",
        f"{POLICIES}?category=", f"{POLICIES}?q=%00", f"{POLICIES}?q={'x' * 201}", f"{POLICIES}?author=%00",
        f"{POLICIES}?cursor=nonsense", f"{POLICIES}?cursor=%00", f"{POLICIES}?cursor={'A' * 400}",
        "/api/v1/anchors?state=gone", "/api/v1/anchors?cursor=e30", "/api/v1/anchors?ref=%00",
        f"{own}/diff?from=0", f"{own}/diff?from=x", f"{own}/diff?to=99999999999", f"{own}/versions/99999999999",
        f"{POLICIES}/%00", "/api/v1/receipts/%00", "/api/v1/constitution/documents/abc",
        "/api/v1/chain/transactions/%00", "/api/v1/chain/accounts/0OIl",
    ):  # fmt: skip
        problem = is_problem(await client.get(path), 422)
        assert problem["detail"], path


async def test_what_is_not_there(client: Any, api: Any) -> None:
    workflow = await propose(await api("chidi"))
    own = f"{POLICIES}/{workflow['policy']['ref']}"
    for path in (
        UNKNOWN, UNKNOWN.replace("policy-creation/", ""), f"{POLICIES}/POL-1999-0001", f"{POLICIES}/{'x' * 39}",
        f"{own}/versions/2", f"{own}/versions/0", f"{own}/diff?from=1&to=7", f"{own}/nothing", f"{own}/bundle.zip",
        "/api/v1/anchors/01890000-0000-7000-8000-000000000000", "/api/v1/anchors/7", "/api/v1/receipts/nothing",
        f"/api/v1/constitution/documents/{SHA}", "/api/v1/nothing", f"{WORKFLOWS}/7",
        *(f"{POLICIES}/POL-1999-0001/{part}" for part in (
            "versions", "versions/1", "diff", "comments", "reviews", "timeline", "ballot", "results", "openings",
            "verify")),
    ):  # fmt: skip
        response = await client.get(path)
        if path.endswith("/versions/0"):
            is_problem(response, 422)
        else:
            is_problem(response, 404)
    is_problem(await client.delete(own), 405)


async def test_who_may_not(client: Any, api: Any) -> None:
    """401 without a token, 403 with the reason for those without the office; a cookie alone is no token."""
    workflow = await propose(await api("chidi"))
    own = f"{POLICIES}/{workflow['policy']['ref']}"
    tag = (await client.get(own)).headers["etag"]
    acts = [
        ("POST", WORKFLOWS, DRAFT, "hal"),
        (
            "POST",
            workflow["links"]["approve"],
            {"decision": "approve", "reason": "x", "version_sha256": SHA},
            "ada",
        ),
        ("POST", f"{POLICIES}/preview", DRAFT, "hal"),
        ("PUT", own, DRAFT, "ben"),
        ("POST", f"{own}/submit", None, "ben"),
        ("POST", f"{own}/withdraw", {"reason": "x"}, "ben"),
        ("POST", f"{own}/suspend", {"reason": "x"}, "kim"),
        ("POST", f"{own}/comments", {"body": "x"}, "jon"),
        ("POST", "/api/v1/anchors/01890000-0000-7000-8000-000000000000/retry", None, "farah"),
    ]
    for method, path, body, who in acts:
        options: dict[str, Any] = {"json": body} if body else {}
        is_problem(await client.request(method, path, **options), 401)
        headers = {"If-Match": tag, "Idempotency-Key": "k"}
        problem = is_problem(await (await api(who)).request(method, path, headers=headers, **options), 403)
        assert problem["detail"], path


async def test_a_cookie_is_no_token(as_persona: Any) -> None:
    browser = await as_persona("chidi")
    is_problem(await browser.post(WORKFLOWS, json=DRAFT), 401)


async def test_a_token_may_only_what_its_scopes_say(app: Any, visit: Any, api: Any, client: Any) -> None:
    workflow = await propose(await api("chidi"))
    own = f"{POLICIES}/{workflow['policy']['ref']}"

    async def token(username: str, *scopes: Scope) -> Any:
        async with app.state.services.engine.begin() as connection:
            await arranged(connection)
            statement = sa.select(person.c.id).where(person.c.username == username)
            person_id = (await connection.execute(statement)).scalar_one()
            session_id = await sessions.create(
                connection, person_id, "personal", timedelta(hours=1), scopes=[str(scope) for scope in scopes]
            )
        fresh = visit()
        access = issue(SECRET, session_id, person_id, "api", timedelta(hours=1))
        fresh.headers["Authorization"] = f"Bearer {access}"
        return fresh

    everything_but = {scope: [each for each in Scope if each != scope] for scope in Scope}
    is_problem(
        await (await token("chidi", *everything_but[Scope.DRAFT])).post(WORKFLOWS, json=DRAFT),
        403,
        "scope_missing",
    )
    is_problem(
        await review(await token("dana", *everything_but[Scope.REVIEW]), workflow), 403, "scope_missing"
    )
    assert (await review(await token("dana", Scope.REVIEW), workflow)).status_code == 200
    is_problem(
        await vote(await token("ada", *everything_but[Scope.VOTE]), workflow, "for"), 403, "scope_missing"
    )
    assert (await vote(await token("ada", Scope.VOTE), workflow, "for")).status_code == 201
    eligible = (await (await token("ben", Scope.READ)).get(f"{own}/ballot")).json()["eligible"]
    assert eligible["reason_code"] == "scope_missing"
    council = await token("farah", *everything_but[Scope.OPERATE])
    is_problem(await council.post(f"{own}/suspend", json={"reason": "x"}), 403, "scope_missing")


# Idempotency keys


async def test_a_key_acts_once_and_replays_the_answer(app: Any, api: Any) -> None:
    chidi = await api("chidi")
    key = {"Idempotency-Key": "one-proposal"}
    first = await chidi.post(WORKFLOWS, json=DRAFT, headers=key)
    again = await chidi.post(WORKFLOWS, json=DRAFT, headers=key)
    assert (first.status_code, again.status_code) == (202, 202)
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert again.content == first.content
    assert again.headers["location"] == first.headers["location"]
    assert await _count(app, policy) == 1

    is_problem(await chidi.post(WORKFLOWS, json={**DRAFT, "title": "Other"}, headers=key), 422)
    is_problem(await chidi.post(WORKFLOWS, json=DRAFT, headers={"Idempotency-Key": "a b"}), 400)
    assert (
        await (await api("ada")).post(WORKFLOWS, json=DRAFT, headers=key)
    ).status_code == 202  # keys are one's own
    assert await _count(app, policy) == 2


async def test_every_act_replays(app: Any, api: Any) -> None:
    """Each acting POST, sent twice with one key, is one act with one answer."""
    chidi, dana, ada, farah = [await api(name) for name in ("chidi", "dana", "ada", "farah")]
    drafted = await propose(chidi, submit=False)
    own = f"{POLICIES}/{drafted['policy']['ref']}"
    bound = {"version_sha256": drafted["policy"]["version_sha256"]}
    acts = [
        (chidi, f"{own}/submit", None),
        (ada, f"{own}/comments", {"body": "Good."}),
        (dana, drafted["links"]["approve"], {"decision": "approve", "reason": "Good.", **bound}),
        (ada, f"{own}/ballot/votes", {"choice": "for", **bound}),
        (farah, f"{own}/suspend", {"reason": "No more."}),
    ]
    for number, (client, path, body) in enumerate(acts):
        if path.endswith("suspend"):
            await jump(client)
        options: dict[str, Any] = {"headers": {"Idempotency-Key": f"act-{number}"}} | (
            {"json": body} if body else {}
        )
        first = await client.post(path, **options)
        assert first.status_code < 300, f"{path}: {first.text}"
        entries = await _count(app, audit_entry)
        again = await client.post(path, **options)
        assert (again.status_code, again.content) == (first.status_code, first.content), path
        assert again.headers["idempotency-replayed"] == "true"
        assert await _count(app, audit_entry) == entries, path

    other = await propose(chidi, title="To be taken back")
    options = {"json": {"reason": "No need."}, "headers": {"Idempotency-Key": "back"}}
    answers = [await chidi.post(f"{other['links']['policy']}/withdraw", **options) for _ in range(2)]
    assert answers[0].content == answers[1].content


async def test_a_refused_act_keeps_no_answer(api: Any) -> None:
    chidi, key = await api("chidi"), {"Idempotency-Key": "first-wrong"}
    is_problem(await chidi.post(WORKFLOWS, json={**DRAFT, "title": ""}, headers=key), 422)
    assert (await chidi.post(WORKFLOWS, json=DRAFT, headers=key)).status_code == 202


async def _count(app: Any, table: sa.Table) -> int:
    async with app.state.services.engine.connect() as connection:
        return (await connection.execute(sa.select(sa.func.count()).select_from(table))).scalar_one()


# Entity tags


async def test_a_change_needs_the_tag_of_what_was_read(api: Any) -> None:
    chidi = await api("chidi")
    own = (await propose(chidi))["links"]["policy"]
    changed = {**DRAFT, "text": "Something else.\n"}
    is_problem(await chidi.put(own, json=changed), 428)
    tag = (await chidi.get(own)).headers["etag"]
    assert tag.startswith('"')  # a strong one
    for wrong in ('"999"', "W/" + tag, "nonsense", '"x"'):
        is_problem(await chidi.put(own, json=changed, headers={"If-Match": wrong}), 412)
    done = await chidi.put(own, json=changed, headers={"If-Match": tag})
    assert done.status_code == 200
    is_problem(await chidi.put(own, json={**changed, "title": "New"}, headers={"If-Match": tag}), 412)
    again = await chidi.put(own, json={**changed, "title": "New"}, headers={"If-Match": done.headers["etag"]})
    assert again.status_code == 200
    is_problem(await chidi.post(f"{own}/submit", headers={"If-Match": tag}), 412)


async def test_what_the_caller_has_is_not_sent_again(api: Any, client: Any) -> None:
    chidi, dana = await api("chidi"), await api("dana")
    workflow = await propose(chidi)
    own = workflow["links"]["policy"]
    paths = [own, workflow["links"]["self"], "/api/v1/constitution", "/api/v1/constitution/document"]
    paths += [f"{own}/{part}" for part in ("versions", "versions/1", "comments", "reviews", "timeline")]
    tags = {}
    for path in paths:
        first = await client.get(path)
        tags[path] = first.headers["etag"]
        same = await client.get(path, headers={"If-None-Match": f'"other", {tags[path]}'})
        assert (same.status_code, same.content) == (304, b""), path
        assert same.headers["etag"] == tags[path]
    await review(dana, workflow)
    for path in (own, workflow["links"]["self"], f"{own}/reviews", f"{own}/timeline"):
        assert (await client.get(path, headers={"If-None-Match": tags[path]})).status_code == 200, path


async def test_a_policys_tag_changes_with_its_anchor(app: Any, api: Any, client: Any) -> None:
    """What surrounds a policy is part of what was read, though it is no revision of the policy."""
    workflow = await propose(await api("chidi"))
    own = workflow["links"]["policy"]
    await review(await api("dana"), workflow)
    await vote(await api("ada"), workflow, "for")
    await vote(await api("ben"), workflow, "for")
    await jump(client)
    before = await client.get(own)
    assert before.json()["anchors"][0]["state"] == "queued"
    async with app.state.services.engine.begin() as connection:
        await arranged(connection)
        await connection.execute(sa.text("UPDATE anchor SET attempts = attempts + 1, error = 'away'"))
    after = await client.get(own, headers={"If-None-Match": before.headers["etag"]})
    assert after.status_code == 200
    assert after.json()["revision"] == before.json()["revision"]


# Statements


async def test_few_statements_however_much_there_is(app: Any, api: Any, client: Any) -> None:
    """No request asks per item: a list of 30 takes no more statements than one of 2."""
    chidi, dana = await api("chidi"), await api("dana")
    workflows = [await propose(chidi, title=f"Policy number {number}") for number in range(2)]
    own = workflows[0]["links"]["policy"]
    await (await api("ada")).post(f"{own}/comments", json={"body": "One."})
    await review(dana, workflows[0])
    await vote(await api("ada"), workflows[0], "for")
    reader = await api("ada")
    limits = {
        POLICIES: 1, own: 3, workflows[0]["links"]["self"]: 8, f"{own}/versions": 2, f"{own}/versions/1": 2,
        f"{own}/diff?from=1&to=1": 2, f"{own}/comments": 2, f"{own}/reviews": 2, f"{own}/timeline": 5,
        f"{own}/ballot": 4, "/api/v1/anchors": 2, "/api/v1/chain": 2, "/api/v1/constitution": 2,
    }  # fmt: skip
    first = {path: await _statements(app, reader, path) for path in limits}
    for path, most in limits.items():
        assert first[path] <= most + 1, f"{path}: {first[path]} statements"  # one more finds the session
    for number in range(28):
        await propose(chidi, title=f"Another {number}")
        await (await api("ben")).post(f"{own}/comments", json={"body": f"Number {number}."})
    assert {path: await _statements(app, reader, path) for path in limits} == first


async def _statements(app: Any, client: Any, path: str) -> int:
    with counted() as sent:
        response = await client.get(path)
    assert response.status_code == 200, response.text
    return len(sent)
