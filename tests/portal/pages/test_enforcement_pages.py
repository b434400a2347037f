"""Enforcement's pages: a rule from the form into force, decisions with their reasons, violations with what was done."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from litestar import Litestar

from tests.portal.api.walk import DRAFT
from tests.portal.enforcing import DECIDE, SignIn, in_force
from tests.portal.pages.html import check_page, links, send, text_of
from tests.workflows.enforcement.conftest import GRANT_EXAMPLES, GRANTS, grant
from workflows.policy_enforcement import rules, violations
from workflows.storage.tables import decision

LINES = "\n".join(json.dumps(each) for each in GRANT_EXAMPLES)


async def shown(client: httpx.AsyncClient, path: str, status: int = 200) -> Any:
    answer = await client.get(path)
    assert answer.status_code == status, f"{path}: {answer.status_code}"
    return check_page(answer)


@pytest.fixture
async def ref(app: Litestar, api: SignIn, client: httpx.AsyncClient) -> str:
    """A policy in force whose rule decides about grants."""
    return await in_force(app, api, client)


async def denied(app: Litestar, api: SignIn) -> str:
    """A violation by somebody who decided on their own grant; its reference."""
    answer = await (await api("jon")).post(DECIDE, json=grant(500, "m1", "m2", "m9"))
    assert answer.json()["decision"] == "deny", answer.text
    held = app.state.services
    async with held.rulebook.units() as unit:
        ids = list((await unit.connection.execute(sa.select(decision.c.id))).scalars())
        return (await violations.notice(unit, held.constitution.figures, ids))[0]


async def test_a_visitor_sees_what_is_in_force_and_why(
    ref: str, app: Litestar, api: SignIn, client: httpx.AsyncClient
) -> None:
    found = await denied(app, api)
    page = await shown(client, "/enforcement")
    text = text_of(page)
    assert "1 rule in force" in text and DRAFT["title"] in text and "open violations" in text
    assert "Nobody decides on their own grant." in text
    assert "m9" not in text, "whom it is about is not for everyone"
    one = next(path for path in links(page) if path.startswith("/enforcement/decisions/"))
    text = text_of(await shown(client, one))
    assert "The same comes out" in text and found in text and "m9" not in text
    assert "m9" not in text_of(await shown(client, f"/violations/{found}"))


async def test_who_oversees_sees_what_was_asked(
    ref: str, app: Litestar, api: SignIn, as_persona: SignIn
) -> None:
    found = await denied(app, api)
    hal = await as_persona("hal")
    page = await shown(hal, f"/violations/{found}")
    assert "m9" in text_of(page)
    one = next(path for path in links(page) if path.startswith("/enforcement/decisions/"))
    assert '"id": "m9"' in text_of(await shown(hal, one))


async def test_trying_a_decision_without_javascript(
    ref: str, as_persona: SignIn, client: httpx.AsyncClient
) -> None:
    assert "Sign in to try a decision" in text_of(await shown(client, "/enforcement"))
    ada = await as_persona("ada")
    page = await ada.get("/enforcement")
    asked = {"action_": json.dumps(grant(1500)["action"]), "subject": '{"id": "m9"}', "context": ""}
    answer = await send(ada, page, "/enforcement/try#tried", **asked)
    text = text_of(check_page(answer))
    assert "Allowed with obligations" in text and "Report within six months." in text
    assert "The decision, and its recomputation" in text
    wrong = await send(ada, page, "/enforcement/try#tried", **{**asked, "action_": "{"})
    assert wrong.status_code == 422
    assert "Write a JSON object" in text_of(check_page(wrong))
    nothing = await send(ada, page, "/enforcement/try#tried", **{**asked, "action_": "{}"})
    assert "An action has a type" in text_of(check_page(nothing))


async def test_a_policy_tells_of_its_rule(
    ref: str, app: Litestar, api: SignIn, client: httpx.AsyncClient
) -> None:
    await denied(app, api)
    text = text_of(await shown(client, f"/policies/{ref}/enforcement"))
    assert "It decides" in text and "May go to a ballot" in text and "Holds" in text
    assert "VIO-" in text
    text = text_of(await shown(client, f"/policies/{ref}/impact"))
    assert "Had it been in force" in text and "The last 0 actions" in text


async def test_a_violation_is_answered_appealed_and_closed(
    ref: str, app: Litestar, api: SignIn, as_persona: SignIn
) -> None:
    found = await denied(app, api)
    own = f"/violations/{found}"
    farah, ada, ines = [await as_persona(name) for name in ("farah", "ada", "ines")]
    page = await farah.get(own)
    assert "Temporary restriction" in text_of(check_page(page))
    empty = await send(farah, page, f"{own}/remediate", action_="immediate_block", reason=" ")
    assert empty.status_code == 422
    document = check_page(empty)
    assert "A reason is needed" in text_of(document)
    done = await send(farah, page, f"{own}/remediate", action_="immediate_block", reason="It goes on.")
    assert "The block is in force." in text_of(check_page(done))
    page = await ada.get(own)
    appeal = next(
        form.get("action")
        for form in check_page(page).iter("form")
        if form.get("action", "").endswith("/appeal")
    )
    assert "Your appeal is made" in text_of(check_page(await send(ada, page, appeal, reason="Not m9.")))
    page = await ines.get(own)
    judge = next(
        form.get("action")
        for form in check_page(page).iter("form")
        if form.get("action", "").endswith("/decision")
    )
    granted = await send(ines, page, judge, granted="true", reason="Names were mixed up.")
    assert "The appeal is granted" in text_of(check_page(granted)) and "Lifted" in text_of(
        check_page(granted)
    )
    page = await farah.get(own)
    assert "Why is it closed" in text_of(check_page(page))
    closed = await send(farah, page, f"{own}/close", closing="Dealt with.")
    assert f"{found} is closed" in text_of(check_page(closed))
    listed = text_of(await shown(ada, "/violations?state=closed"))
    assert found in listed
    assert "No violation fits" in text_of(await shown(ada, "/violations?state=closed&severity=low"))


async def test_a_rule_is_looked_at_as_it_is_written_and_kept_from_review_while_it_fails(
    as_persona: SignIn,
) -> None:
    chidi = await as_persona("chidi")
    page = await chidi.get("/policies/new")
    entered = {**DRAFT, "rule_engine": "rego", "rule_source": GRANTS, "rule_examples": LINES}
    told = await chidi.post(
        "/policies/preview", data={**entered, "priority": "normal"}, headers={"HX-Request": "true"}
    )
    assert "its examples hold" in told.text and 'hx-swap-oob="true"' in told.text
    broken = {**entered, "rule_source": GRANTS.replace("count(", "count((")}
    refused = await send(chidi, page, "/policies", **broken, do="submit")
    assert refused.status_code == 422
    assert "Line 15:" in text_of(check_page(refused)), "where OPA finds the fault"
    wrong = {**entered, "rule_examples": json.dumps({"input": grant(500), "expect": "deny"})}
    refused = await send(chidi, page, "/policies", **wrong, do="submit")
    assert "Example 1 should give deny and gives allow" in text_of(check_page(refused))
    kept = await send(chidi, page, "/policies", **wrong, do="save")
    assert kept.status_code == 200 and "is kept as a draft" in text_of(check_page(kept))
    handed = await send(chidi, page, "/policies", **entered, do="submit")
    assert "is submitted" in text_of(check_page(handed))


async def test_rules_to_begin_with(client: httpx.AsyncClient) -> None:
    text = text_of(await shown(client, "/enforcement/templates"))
    assert "Four eyes" in text and "Conflict of interest" in text


async def test_bundles_and_their_manifests(ref: str, client: httpx.AsyncClient) -> None:
    page = await shown(client, "/enforcement/bundles")
    assert f"enacted {ref}" in text_of(page) and "Active" in text_of(page)
    manifest = next(path for path in links(page) if path.startswith("/api/v1/enforcement/bundles/"))
    assert (await client.get(manifest)).json()["format"] == "acgs.bundle/1"


async def test_the_council_goes_back_to_an_earlier_bundle(
    ref: str, api: SignIn, as_persona: SignIn, client: httpx.AsyncClient
) -> None:
    jon, path = await api("jon"), "/enforcement/bundles"
    assert (await jon.put("/api/v1/enforcement/facts/rows", json={"value": [["a", "b"]]})).is_success
    ada = await as_persona("ada")
    assert "/enforcement/rollback" not in (await ada.get(path)).text
    farah = await as_persona("farah")
    page = await farah.get(path)
    before = next(
        item
        for item in (await client.get("/api/v1/enforcement/bundles")).json()["items"]
        if not item["active"]
    )
    chosen = {"revision": before["revision"], "reason": " "}
    empty = await send(farah, page, "/enforcement/rollback", **chosen)
    assert empty.status_code == 422 and "A reason is needed" in text_of(check_page(empty))
    done = await send(farah, page, "/enforcement/rollback", **{**chosen, "reason": "The data was wrong."})
    text = text_of(check_page(done))
    assert "The earlier bundle decides again." in text and "Went back to" in text
    standing = (await client.get(f"{DECIDE}/status")).json()["bundle"]
    assert (standing["revision"], standing["rolled_back"]) == (before["revision"], True)
    assert "the council went back to it" in text_of(await shown(client, "/enforcement"))


async def test_what_waits_for_those_in_office_stands_in_their_inbox(
    ref: str, app: Litestar, api: SignIn, as_persona: SignIn
) -> None:
    found = await denied(app, api)
    own = f"/violations/{found}"
    farah, ada, ines = [await as_persona(name) for name in ("farah", "ada", "ines")]
    page = await farah.get(own)
    await send(farah, page, f"{own}/remediate", action_="immediate_block", reason="It goes on.")
    page = await ada.get(own)
    appeal = next(
        form.get("action")
        for form in check_page(page).iter("form")
        if form.get("action", "").endswith("/appeal")
    )
    await send(ada, page, appeal, reason="Not m9.")
    assert own in links(await shown(ines, "/inbox")), "to judge"
    assert "Judge" in text_of(await shown(ines, "/inbox"))
    assert "Judge" not in text_of(await shown(ada, "/inbox")), "it is her own appeal, and she holds no office"


async def test_a_member_who_is_restricted_is_told_and_may_appeal(
    ref: str, app: Litestar, api: SignIn, as_persona: SignIn
) -> None:
    asked = {
        "action": {"type": "grant", "amount": 5, "decided_by": ["ada", "m2", "m3"]},
        "subject": {"id": "ada"},
    }
    assert (await (await api("jon")).post(DECIDE, json=asked)).json()["decision"] == "deny"
    held = app.state.services
    async with held.rulebook.units() as unit:
        ids = list((await unit.connection.execute(sa.select(decision.c.id))).scalars())
        (found,) = await violations.notice(unit, held.constitution.figures, ids)
    ada = await as_persona("ada")
    page = await shown(ada, "/inbox")
    assert f"/violations/{found}" in links(page) and "You may appeal" in text_of(page)
    assert "You may appeal" not in text_of(await shown(await as_persona("ben"), "/inbox"))


async def test_reviewers_see_rule_and_text_side_by_side(
    app: Litestar, api: SignIn, as_persona: SignIn
) -> None:
    rule = {"engine": "rego", "source": GRANTS, "examples": GRANT_EXAMPLES}
    answer = await (await api("chidi")).post(
        "/api/v1/workflows/policy-creation", json={**DRAFT, "rule": rule}
    )
    ref = answer.json()["policy"]["ref"]
    dana = await as_persona("dana")
    assert "was not looked at yet" in text_of(await shown(dana, f"/policies/{ref}/review"))
    await rules.judge_waiting(app.state.services.rulebook)
    text = text_of(await shown(dana, f"/policies/{ref}/review"))
    assert "Text and rule, side by side" in text and "The notice is corrected" in text
    assert "default allow := false" in text and "its examples hold" in text and "Comes out" in text


async def test_a_rule_is_checked_for_programs(api: SignIn) -> None:
    chidi = await api("chidi")
    rule = {"engine": "rego", "source": GRANTS, "examples": GRANT_EXAMPLES}
    found = (await chidi.post("/api/v1/enforcement/rules/check", json=rule)).json()
    assert (found["passed"], found["name"], found["actions"]) == (True, "grants", ["grant"])
    broken = {**rule, "source": GRANTS.replace("count(", "count((")}
    found = (await chidi.post("/api/v1/enforcement/rules/check", json=broken)).json()
    assert (found["passed"], found["problems"][0]["line"]) == (False, 15)


async def test_decisions_are_drawn_by_hour(
    ref: str, app: Litestar, api: SignIn, client: httpx.AsyncClient
) -> None:
    await denied(app, api)
    page = await shown(client, "/enforcement")
    chart = next(each for each in page.iter() if each.get("class") == "hours-chart")
    assert "Decisions: 1 made in 24 hours, 1 of them denials" in chart.get("aria-label", "")
