"""Synthesis for programs: candidates with validation and provenance, kept only with the policy that is begun with one."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import sqlalchemy as sa
from litestar import Litestar

from portal.api.synthesis import WISH_EXAMPLE
from tests.portal.api.walk import DRAFT, POLICIES, WORKFLOWS, is_problem
from tests.portal.test_erasure import everything
from workflows.policy_creation.synthesis.keeping import changed_percent
from workflows.storage.tables import audit_entry

SignIn = Callable[[str], Awaitable[httpx.AsyncClient]]
PATH = f"{POLICIES}/synthesise"


async def begun(chidi: httpx.AsyncClient, **changed: Any) -> tuple[dict[str, Any], str]:
    """A candidate, and the reference of the policy that was begun with it."""
    answer = await chidi.post(PATH, json=WISH_EXAMPLE)
    assert answer.status_code == 200, answer.text
    candidate = answer.json()["candidates"][0]
    drafted = candidate["drafted"]
    policy = {key: drafted[key] for key in ("title", "summary", "text", "category", "rule")}
    sent = {**policy, **changed, "synthesis": candidate["token"], "submit": False}
    answer = await chidi.post(WORKFLOWS, json=sent, headers={"Idempotency-Key": "k" * 20})
    assert answer.status_code == 202, answer.text
    return candidate, answer.json()["policy"]["ref"]


async def test_a_goal_gives_candidates_with_validation_and_provenance(api: SignIn) -> None:
    answer = (await (await api("chidi")).post(PATH, json=WISH_EXAMPLE)).json()
    assert set(answer) == {"candidates", "left", "means"}
    drafted, validation = answer["candidates"][0]["drafted"], answer["candidates"][0]["validation"]
    assert drafted["source"] == {
        "kind": "template",
        "key": "spending_limit",
        "title": "A limit on what one person may spend",
        "why": "The goal says “spend” and “up to”.",
        "version": None,
        "sha256": "",
        "model": "",
    }
    assert {"what": "The limit", "value": "2,000 euros", "quote": "2,000 euros"} in drafted["read"]
    assert (validation["rule"], validation["examples"]) == ("passed", 4)
    assert len(validation["revision"]) == 64
    assert [item["used"] for item in answer["means"]] == [True, False, False]


async def test_the_policy_says_what_it_was_begun_with(
    api: SignIn, client: httpx.AsyncClient, app: Litestar
) -> None:
    candidate, ref = await begun(await api("chidi"), title="Otherwise")
    answer = await client.get(f"{POLICIES}/{ref}/synthesis")
    said = answer.json()
    assert said["source"] == candidate["drafted"]["source"]
    assert said["validation"] == candidate["validation"]
    assert said["goal"] == WISH_EXAMPLE["goal"] and said["principles"] == WISH_EXAMPLE["principles"]
    assert said["changed"] == ["title"] and 0 < said["changed_percent"] < 20
    again = await client.get(f"{POLICIES}/{ref}/synthesis", headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304
    async with app.state.services.engine.connect() as connection:
        query = sa.select(audit_entry.c.body).where(audit_entry.c.type == "synthesis.taken")
        entry = json.loads(bytes((await connection.execute(query)).scalar_one()))
    assert entry["subject"] == ref
    assert entry["payload"]["draft_sha256"] == said["draft_sha256"]
    assert entry["payload"]["changed_percent"] == said["changed_percent"]
    assert list(entry["personal"]) == ["goal"], "only a commitment to the goal stands in the log"
    assert WISH_EXAMPLE["goal"] not in json.dumps(entry)


async def test_a_policy_that_was_not_begun_so_says_so(api: SignIn, client: httpx.AsyncClient) -> None:
    chidi = await api("chidi")
    ref = (await chidi.post(WORKFLOWS, json=DRAFT)).json()["policy"]["ref"]
    is_problem(await client.get(f"{POLICIES}/{ref}/synthesis"), 404, "not_synthesised")
    is_problem(await client.get(f"{POLICIES}/POL-1999-0001/synthesis"), 404)


async def test_a_token_is_good_for_whom_it_was_made(api: SignIn, client: httpx.AsyncClient) -> None:
    chidi, ben = await api("chidi"), await api("ben")
    token = (await chidi.post(PATH, json=WISH_EXAMPLE)).json()["candidates"][0]["token"]
    for client_, sent in ((ben, token), (chidi, token[:-2]), (chidi, "x")):
        problem = is_problem(await client_.post(WORKFLOWS, json={**DRAFT, "synthesis": sent}), 422)
        assert problem["errors"][0]["pointer"] == "/synthesis"
    assert (await client.get(POLICIES)).json()["items"] == []


async def test_every_fault_of_a_wish_is_named(api: SignIn, client: httpx.AsyncClient) -> None:
    chidi = await api("chidi")
    sent = {"goal": "x", "principles": ["openness", "luck"]}
    problem = is_problem(await chidi.post(PATH, json=sent), 422)
    assert [error["pointer"] for error in problem["errors"]] == ["/principles/1"]
    sent = {"goal": "", "category": "divine", "more": 1}
    problem = is_problem(await chidi.post(PATH, json=sent), 422)
    assert {error["pointer"] for error in problem["errors"]} == {"/goal", "/category", "/more"}
    is_problem(await client.post(PATH, json=WISH_EXAMPLE), 401)
    is_problem(await (await api("hal")).post(PATH, json=WISH_EXAMPLE), 403)


async def test_erased_with_its_author_the_goal_is_gone_and_the_rest_stays(
    api: SignIn, client: httpx.AsyncClient, app: Litestar
) -> None:
    chidi = await api("chidi")
    _, ref = await begun(chidi)
    assert WISH_EXAMPLE["goal"] in await everything(app)
    assert (await chidi.post("/api/v1/auth/me/erase", json={"username": "chidi"})).is_success
    said = (await client.get(f"{POLICIES}/{ref}/synthesis")).json()
    assert (said["goal"], said["source"]["key"]) == ("", "spending_limit")
    assert WISH_EXAMPLE["goal"] not in await everything(app)


def test_how_much_was_changed() -> None:
    def record(text: str) -> dict[str, Any]:
        return {"title": "", "summary": "", "text": text, "category": "safety", "rule": None}

    words = " ".join(f"word{number}" for number in range(100))
    assert changed_percent(record(words), record(words)) == 0
    assert changed_percent(record(words), record(f"{words} more")) == 1, "a change is never nought"
    assert changed_percent(record(words), record("something else altogether")) == 100
    half = " ".join(f"word{number}" for number in range(50))
    assert 30 < changed_percent(record(words), record(half)) < 40
    assert changed_percent(record(""), record("")) == 0
