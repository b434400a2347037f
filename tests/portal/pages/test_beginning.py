"""Beginning from a goal, as a browser without JavaScript does it, and what the policy says of it ever after."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from portal.settings import Settings
from tests.chat_completions import Answer, Server, answering
from tests.portal.conftest import ORIGIN, SECRET
from tests.portal.pages.html import check_page, find_form, parse, send, text_of
from tests.workflows.synthesis.judges import Saying
from tests.workflows.synthesis.test_writing import ANSWER
from workflows.kinds import Compliance

GOAL = "A member may spend up to 3,000 euros alone, and reports within two weeks."
HOSTILE = {
    **ANSWER,
    "title": "<script>alert(1)</script> & naps",
    "text": "## Rule\n\n<script>alert(2)</script> [click](javascript:alert(3))\n\nEveryone may nap.\n",
}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with answering(json.dumps(HOSTILE)) as server:
        yield server


@pytest.fixture
def settings(fresh_database: str, valkey_url: str, server: Server) -> Settings:
    return Settings(
        database_url=fresh_database,
        redis_url=valkey_url,
        jwt_secret=SECRET,
        base_url=ORIGIN,
        demo=True,
        language_models=(("writer", f"{server.url}|some/model:7b"),),
    )


@pytest.fixture
async def chidi(as_persona):
    return await as_persona("chidi")


async def drafts_for(client, goal: str = GOAL, **more):
    page = await client.get("/policies/begin")
    check_page(page)
    return await send(client, page, "/policies/begin", goal=goal, **more)


async def taken(client, page, number: int = -1):
    """The form, filled in with the draft of this number; the last is a template's."""
    form = parse(page.text).findall(".//form[@action='/policies/new']")[number]
    token = form.find(".//input[@name='synthesis']").get("value")
    csrf = form.find(".//input[@name='_csrf_token']").get("value")
    return await client.post("/policies/new", data={"synthesis": token, "_csrf_token": csrf})


def with_judge(app, judge: object) -> None:
    object.__setattr__(app.state.services, "judge", judge)


async def test_a_goal_becomes_a_policy_that_says_what_it_was_begun_with(chidi, client, app):
    start = await chidi.get("/policies/new")
    check_page(start)
    found = await send(chidi, start, "/policies/begin", goal=GOAL)
    document = check_page(found)
    said = text_of(document)
    assert "Expenses of up to 3,000 euros" in said and "Its rule runs" in said
    assert "your goal: 3,000 euros" in said and "Reported above" in said
    form = await taken(chidi, found)
    filled = text_of(check_page(form))
    assert "from the template “A limit on what one person may spend”" in filled
    answer = await send(chidi, form, "/policies", summary="Otherwise than it was drafted.", do="save")
    ref = answer.url.path.removeprefix("/policies/")
    said = text_of(check_page(answer))
    assert "Begun with a synthesised draft From the template" in said
    assert "(summary) so far, and answers for it" in said and GOAL in said
    begun = (await client.get(f"/api/v1/policies/{ref}/synthesis")).json()
    assert begun["changed"] == ["summary"] and 0 < begun["changed_percent"] < 50
    assert (begun["source"]["kind"], begun["source"]["key"]) == ("template", "spending_limit")
    timeline = text_of(check_page(await client.get(f"/policies/{ref}/timeline")))
    assert "Begun with a draft from the template spending_limit." in timeline


async def test_what_follows_is_held_against_the_draft(chidi, client):
    form = await taken(chidi, await drafts_for(chidi))
    answer = await send(chidi, form, "/policies", do="save")
    ref = answer.url.path.removeprefix("/policies/")
    own = f"/api/v1/policies/{ref}/synthesis"
    assert (await client.get(own)).json()["changed_percent"] == 0
    assert "Its author changed nothing in it so far" in text_of(parse(answer.text))
    edit = await chidi.get(f"/policies/{ref}/edit")
    await send(
        chidi, edit, f"/policies/{ref}/edit", text="## Rule\n\nSomething else altogether.\n", do="save"
    )
    begun = (await client.get(own)).json()
    assert begun["changed"] == ["text"] and begun["changed_percent"] > 10


async def test_a_fault_in_the_form_loses_neither_text_nor_origin(chidi, client):
    form = await taken(chidi, await drafts_for(chidi))
    again = await send(chidi, form, "/policies", title="", do="submit")
    assert again.status_code == 422
    answer = await send(chidi, again, "/policies", title="Better", do="submit")
    ref = answer.url.path.removeprefix("/policies/")
    assert (await client.get(f"/api/v1/policies/{ref}/synthesis")).json()["changed"] == ["title"]


async def test_nobody_takes_what_was_made_for_another_or_was_tampered_with(chidi, as_persona, client):
    form = await taken(chidi, await drafts_for(chidi))
    token = find_form(parse(form.text), "/policies").find(".//input[@name='synthesis']").get("value")
    ben = await as_persona("ben")
    assert (await ben.post("/policies/new", data={"synthesis": token})).status_code == 422
    draft = {
        "title": "A",
        "summary": "B",
        "text": "C",
        "category": "safety",
        "priority": "normal",
        "do": "save",
    }
    for wrong in (token[:-1] + ("0" if token[-1] != "0" else "1"), "x", "a.b", "é.b"):
        answer = await chidi.post("/policies", data={**draft, "synthesis": wrong})
        assert answer.status_code == 422 and "none that was made for you" in answer.text
        check_page(answer)
    answer = await ben.post("/policies", data={**draft, "synthesis": token})
    assert answer.status_code == 422
    assert (await client.get("/api/v1/policies?state=draft")).json()["items"] == [], "nothing was kept"
    form = find_form(parse(answer.text), "/policies")
    assert form.find(".//input[@name='synthesis']") is None, "sent again, it is kept as a policy of one's own"


async def test_what_a_language_model_writes_is_shown_as_text_and_nothing_else(chidi):
    found = await drafts_for(chidi, "Let people nap")
    document = check_page(found)
    assert "The language model writer" in text_of(check_page(await taken(chidi, found)))
    assert "Asked: writer (some/model:7b)." in text_of(document)
    assert "<script>alert" not in found.text and 'href="javascript:' not in found.text


async def test_a_model_that_fails_is_named_with_the_reason(chidi, server):
    server.script[:] = [Answer(status=500)]
    try:
        said = text_of(check_page(await drafts_for(chidi)))
    finally:
        server.script[:] = [Answer(json.dumps(HOSTILE))]
    assert "The language model writer (some/model:7b) answered 500." in said
    assert "Expenses of up to 3,000 euros" in said, "templates go on"


async def test_verdicts_are_said_in_words(chidi, app):
    with_judge(app, Saying(receipt=Compliance.REQUIRES_REVIEW))
    said = text_of(check_page(await drafts_for(chidi)))
    assert "People would be asked whether it complies" in said and "It says receipt." in said
    with_judge(app, Saying(receipt=Compliance.NON_COMPLIANT))
    said = text_of(check_page(await drafts_for(chidi)))
    assert "What was left out, and why" in said and "A limit on what one person may spend" in said
    with_judge(app, Saying(away=True))
    page = await drafts_for(chidi)
    assert page.status_code == 503
    assert "The AC service does not answer." in text_of(check_page(page)) and GOAL in page.text


@pytest.mark.parametrize("goal", ["", "x" * 2_001])
async def test_a_goal_that_is_none_comes_back_with_what_is_wrong(chidi, goal):
    page = await drafts_for(chidi, goal)
    assert page.status_code == 422
    check_page(page)


async def test_a_goal_that_nothing_fits_says_what_to_do(chidi, server):
    server.script[:] = [Answer("no")]
    try:
        said = text_of(check_page(await drafts_for(chidi, "Be excellent to each other")))
    finally:
        server.script[:] = [Answer(json.dumps(HOSTILE))]
    assert "No drafts" in said and "Say who does what" in said and "After being told twice" in said


async def test_principles_are_chosen_by_boxes_and_stand_in_the_text(chidi):
    page = await drafts_for(chidi, principles=["privacy", "due_process"])
    form = await taken(chidi, page)
    said = find_form(parse(form.text), "/policies").find(".//textarea[@name='text']").text
    assert "## Safeguards" in said and "contested within 48 hours" in said and "erased" in said


async def test_only_who_may_propose_begins(client, as_persona):
    assert (await client.get("/policies/begin")).status_code == 303
    hal = await as_persona("hal")
    assert (await hal.get("/policies/begin")).status_code == 403
    assert (await hal.post("/policies/begin", data={"goal": GOAL})).status_code == 403
    assert (await hal.post("/policies/new", data={"synthesis": "x"})).status_code == 403
