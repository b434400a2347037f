"""100 % of the acts are in the trail: every route that changes something enters it, or changes nothing at all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from litestar import Litestar

from tests.conftest import arranged
from tests.judging import Says
from tests.portal.api.test_compliance import all_failed, submitted
from tests.portal.api.walk import DRAFT, POLICIES, WORKFLOWS, jump, propose, review, vote
from tests.portal.conftest import PASSWORD, with_forms
from workflows.kinds import Compliance
from workflows.policy_enforcement import violations
from workflows.storage.tables import audit_entry, decision, obligation
from workflows.storage.unit import Unit, new_id

SignIn = Callable[[str], Awaitable[httpx.AsyncClient]]
# What takes a POST and changes nothing that governs, so that there is nothing to enter.
CHANGES_NOTHING = {
    "POST /policies/preview": "computes and answers",
    "POST /policies/begin": "drafts and answers",
    "POST /policies/check": "computes and answers",
    "POST /policies/new": "fills in a form",
    "POST /api/v1/policies/synthesise": "drafts and answers",
    "POST /api/v1/policies/preview": "computes and answers",
    "POST /api/v1/enforcement/rules/check": "computes and answers",
    "POST /theme": "a cookie of the browser",
    "POST /api/v1/anchors/{anchor_id:uuid}/verify": "reads the chain anew",
}
TESTED_ELSEWHERE = {
    "POST /api/v1/compliance/validations/{ref:str}/again": "needs one that failed: tests/portal/api/test_compliance.py",
    "POST /api/v1/anchors/{anchor_id:uuid}/retry": "needs an anchor that failed: tests/portal/api/test_on_chain.py",
    "POST /audit/rehearsal": "rolls back whatever it changed: tests/portal/pages/test_audit_pages.py",
}


def mutating(app: Litestar) -> set[str]:
    return {
        f"{method} {route.path}"
        for route in app.routes
        for handler in getattr(route, "route_handlers", [])
        for method in handler.http_methods & {"POST", "PUT", "PATCH", "DELETE"}
        if handler.fn.__module__.startswith("portal.")
    }


class Walk:
    """Takes routes one after another and notes of each how many entries came of it."""

    def __init__(self, app: Litestar, client: httpx.AsyncClient, api: SignIn, as_persona: SignIn) -> None:
        self.app, self.client, self.api, self.as_persona = app, client, api, as_persona
        self.recorded: dict[str, int] = {}

    async def entries(self) -> int:
        query = sa.select(sa.func.count()).where(audit_entry.c.type != "test.arranged")
        async with self.app.state.services.engine.connect() as connection:
            return (await connection.execute(query)).scalar_one()

    @asynccontextmanager
    async def taking(self, route: str):
        before = await self.entries()
        yield
        self.recorded[route] = await self.entries() - before

    async def take(self, route: str, client: httpx.AsyncClient, path: str, **sent: Any) -> httpx.Response:
        method = route.split()[0]
        async with self.taking(route):
            answer = await client.request(method, path, **sent)
        assert answer.status_code < 400, f"{route}: {answer.status_code} {answer.text[:300]}"
        return answer


@pytest.fixture
def walk(app: Litestar, client: httpx.AsyncClient, api: SignIn, as_persona: SignIn) -> Walk:
    return Walk(app, client, api, as_persona)


async def test_every_route_that_acts_enters_it(walk: Walk) -> None:
    await signing_in(walk)
    await by_programs(walk)
    await by_forms(walk)
    await reporting(walk)
    await enforcing(walk)
    await enforcing_by_forms(walk)
    await complying(walk)
    await complying_by_forms(walk)
    await leaving(walk)
    silent = [route for route, entries in walk.recorded.items() if not entries]
    assert silent == [], "these acted without an entry"
    left = mutating(walk.app) - set(walk.recorded) - set(CHANGES_NOTHING) - set(TESTED_ELSEWHERE)
    assert left == set(), "these are neither walked nor listed"
    assert set(walk.recorded) <= mutating(walk.app)


async def signing_in(walk: Walk) -> None:
    auth = "/api/v1/auth"
    credentials = {"username": "dana", "password": PASSWORD}
    answer = await walk.take(f"POST {auth}/token", walk.client, f"{auth}/token", json=credentials)
    sent = {"refresh_token": answer.json()["refresh_token"]}
    answer = await walk.take(f"POST {auth}/refresh", walk.client, f"{auth}/refresh", json=sent)
    bearer = {"Authorization": f"Bearer {answer.json()['access_token']}"}
    await walk.take(f"POST {auth}/revoke", walk.client, f"{auth}/revoke", headers=bearer)
    dana = await walk.api("dana")
    wanted = {"name": "export", "scopes": ["read"], "days": 30}
    made = (await walk.take(f"POST {auth}/tokens", dana, f"{auth}/tokens", json=wanted)).json()
    await walk.take(f"DELETE {auth}/tokens/{{token_id:uuid}}", dana, f"{auth}/tokens/{made['id']}")
    with_forms(walk.client)
    await walk.take("POST /demo/persona", walk.client, "/demo/persona", data={"username": "ben"})
    await walk.take("POST /logout", walk.client, "/logout")
    await walk.take("POST /login", walk.client, "/login", data=credentials)
    made = await walk.client.post("/me/tokens", data={"name": "a", "scopes": "read", "days": "30"})
    await walk.take(
        "POST /me/tokens", walk.client, "/me/tokens", data={"name": "b", "scopes": "read", "days": "30"}
    )
    async with walk.app.state.services.engine.connect() as connection:
        query = sa.text("SELECT id FROM session WHERE kind = 'personal' AND revoked_at IS NULL LIMIT 1")
        session = (await connection.execute(query)).scalar_one()
    route = "POST /me/sessions/{session_id:uuid}/revoke"
    await walk.take(route, walk.client, f"/me/sessions/{session}/revoke")


async def by_programs(walk: Walk) -> None:
    chidi, dana, ada = await walk.api("chidi"), await walk.api("dana"), await walk.api("ada")
    one = POLICIES + "/{ref:str}"
    async with walk.taking(f"POST {WORKFLOWS}"):
        draft = await propose(chidi, submit=False)
    own = f"{POLICIES}/{draft['policy']['ref']}"
    read = await chidi.get(own)
    changed = {**DRAFT, "summary": "The notice says it wrong."}
    etag = {"If-Match": read.headers["etag"]}
    await walk.take(f"PUT {one}", chidi, own, json=changed, headers=etag)
    await walk.take(f"POST {one}/submit", chidi, f"{own}/submit")
    await walk.take(f"POST {one}/comments", ada, f"{own}/comments", json={"body": "Good."})
    await walk.take(f"POST {one}/withdraw", chidi, f"{own}/withdraw", json={"reason": "Not now."})
    workflow = await propose(chidi)
    async with walk.taking(f"POST {WORKFLOWS}/{{workflow_id:uuid}}/approve"):
        assert (await review(dana, workflow)).is_success
    async with walk.taking(f"POST {one}/ballot/votes"):
        assert (await vote(ada, workflow, "for")).status_code == 201
    async with walk.taking("POST /api/v1/demo/clock"):
        await jump(walk.client)
    own = f"{POLICIES}/{workflow['policy']['ref']}"
    farah = await walk.api("farah")
    await walk.take(f"POST {one}/suspend", farah, f"{own}/suspend", json={"reason": "It did harm."})


async def by_forms(walk: Walk) -> None:
    chidi, dana, ada = [await walk.as_persona(name) for name in ("chidi", "dana", "ada")]
    one = "/policies/{ref:str}"
    answer = await walk.take(
        "POST /policies", chidi, "/policies", data={**DRAFT, "priority": "normal", "do": "save"}
    )
    own = answer.headers["location"].partition("?")[0].removesuffix("/edit")
    edited = {**DRAFT, "priority": "normal", "summary": "Otherwise.", "do": "save"}
    await walk.take(f"POST {one}/edit", chidi, f"{own}/edit", data=edited)
    await walk.take(f"POST {one}/submit", chidi, f"{own}/submit")
    await walk.take(f"POST {one}/comments", ada, f"{own}/comments", data={"body": "Good."})
    await walk.take(f"POST {one}/withdraw", chidi, f"{own}/withdraw", data={"reason": "Not now."})
    answer = await chidi.post("/policies", data={**DRAFT, "priority": "normal", "do": "submit"})
    own = answer.headers["location"].partition("?")[0]
    digest = (await chidi.get(f"/api/v1{own}")).json()["version"]["version_sha256"]
    decided = {"decision": "approve", "reason": "Clear.", "version_sha256": digest}
    await walk.take(f"POST {one}/reviews", dana, f"{own}/reviews", data=decided)
    chosen = {"choice": "for", "version_sha256": digest}
    await walk.take(f"POST {one}/ballot/votes", ada, f"{own}/ballot/votes", data=chosen)
    await walk.take("POST /demo/clock", ada, "/demo/clock", data={"advance": "P7D"})
    farah = await walk.as_persona("farah")
    await walk.take(f"POST {one}/suspend", farah, f"{own}/suspend", data={"reason": "It did harm."})


async def complying(walk: Walk) -> None:
    """Texts held against the constitution, and what people decide of what was found."""
    ada, chidi, farah = [await walk.api(name) for name in ("ada", "chidi", "farah")]
    own, compliance = "/api/v1/workflows/constitutional-compliance", "/api/v1/compliance"
    jon = await walk.api("jon")
    await walk.take(f"POST {compliance}/classifiers", jon, f"{compliance}/classifiers")
    await walk.take(f"POST {own}", ada, own, json={"text": "Notes are published."})
    await walk.take(f"POST {own}/batch", ada, f"{own}/batch", json={"items": [{"text": "Notes are kept."}]})
    ref = await submitted(walk.app, Says())
    route = f"POST {POLICIES}/{{ref:str}}/tier"
    await walk.take(route, chidi, f"{POLICIES}/{ref}/tier", json={"strategy": "human_review"})
    ref = await submitted(walk.app, Says(Compliance.REQUIRES_REVIEW))
    question = (await ada.get(f"{POLICIES}/{ref}/compliance")).json()["question"]
    decider = await walk.api(question["asked"][0]["username"])
    route = f"POST {compliance}/questions/{{question_id:uuid}}/answer"
    sent = {"answer": "non_compliant", "reason": "It closes early."}
    await walk.take(route, decider, f"{compliance}/questions/{question['id']}/answer", json=sent)
    name = (await ada.get(f"{POLICIES}/{ref}/compliance")).json()["standing"]["validation"]
    route = f"POST {compliance}/validations/{{ref:str}}/override"
    sent = {"support": True, "reason": "It is needed."}
    await walk.take(route, farah, f"{compliance}/validations/{name}/override", json=sent)


async def complying_by_forms(walk: Walk) -> None:
    ada, chidi, farah, jon = [await walk.as_persona(name) for name in ("ada", "chidi", "farah", "jon")]
    await walk.take("POST /compliance/try", ada, "/compliance/try", data={"text": "Notes are published."})
    route = "POST /policies/{ref:str}/compliance"
    ref = await submitted(walk.app, Says())
    own = f"/policies/{ref}/compliance"
    await walk.take(f"{route}/tier", chidi, f"{own}/tier", data={"strategy": "human_review"})
    ref = await submitted(walk.app, Says(Compliance.REQUIRES_REVIEW))
    own = f"/policies/{ref}/compliance"
    question = (await ada.get(f"/api/v1{own}")).json()["question"]
    decider = await walk.as_persona(question["asked"][0]["username"])
    sent = {"question": question["id"], "answer": "non_compliant", "reason": "It closes early."}
    await walk.take(f"{route}/answer", decider, f"{own}/answer", data=sent)
    name = (await ada.get(f"/api/v1{own}")).json()["standing"]["validation"]
    sent = {"validation": name, "support": "true", "reason": "It is needed."}
    await walk.take(f"{route}/override", farah, f"{own}/override", data=sent)
    ref = await submitted(walk.app, Says())
    own = f"/policies/{ref}/compliance"
    name = (await ada.get(f"/api/v1{own}")).json()["newest"]["ref"]
    await all_failed(walk.app)
    await walk.take(f"{route}/again", jon, f"{own}/again", data={"validation": name})


async def enforcing(walk: Walk) -> None:
    """Decisions, and all that follows from one that is denied."""
    omar, farah, ada, gita = [await walk.api(name) for name in ("jon", "farah", "ada", "gita")]
    own, facts = "/api/v1/workflows/policy-enforcement", "/api/v1/enforcement/facts/board"
    asked = {"action": {"type": "export"}, "subject": {"id": "m1"}}
    await walk.take(f"POST {own}", omar, own, json=asked)
    await walk.take(f"POST {own}/batch", omar, f"{own}/batch", json={"items": [asked]})
    before = (await omar.get(f"{own}/status")).json()["bundle"]["revision"]
    route = "/api/v1/enforcement/facts/{name:str}"
    await walk.take(f"PUT {route}", omar, facts, json={"value": ["ada"]})
    sent = {"revision": before, "reason": "It was better."}
    await walk.take("POST /api/v1/enforcement/rollback", farah, "/api/v1/enforcement/rollback", json=sent)
    await walk.take(f"DELETE {route}", omar, facts)
    obligation = await denied_and_owed(walk)
    sent = {"violation_id": "VIO-2026-0001", "action": "temporary_restriction", "reason": "Again."}
    answer = await walk.take(f"POST {own}/remediate", farah, f"{own}/remediate", json=sent)
    limited = f"/api/v1/restrictions/{answer.json()['restrictions'][-1]['id']}"
    route = "/api/v1/restrictions/{restriction_id:uuid}"
    answer = await walk.take(f"POST {route}/appeals", ada, f"{limited}/appeals", json={"reason": "No."})
    sent = {"granted": False, "reason": "It stands."}
    decide = answer.json()["links"]["decide"]
    await walk.take("POST /api/v1/appeals/{appeal_id:uuid}/decision", gita, decide, json=sent)
    await walk.take(f"POST {route}/lift", farah, f"{limited}/lift", json={"reason": "Enough."})
    close = "/api/v1/violations/VIO-2026-0001/close"
    await walk.take("POST /api/v1/violations/{ref:str}/close", farah, close, json={"reason": "Done."})
    met = "POST /api/v1/obligations/{obligation_id:uuid}/met"
    await walk.take(met, omar, f"/api/v1/obligations/{obligation}/met", json={"evidence": "Seen."})


async def enforcing_by_forms(walk: Walk) -> None:
    ada, farah, ines = [await walk.as_persona(name) for name in ("ada", "farah", "ines")]
    tried = {"action": '{"type": "export"}', "subject": "{}", "context": "{}"}
    await walk.take("POST /enforcement/try", ada, "/enforcement/try", data=tried)
    operator = await walk.api("jon")
    before = (await operator.get("/api/v1/workflows/policy-enforcement/status")).json()["bundle"]["revision"]
    await operator.put("/api/v1/enforcement/facts/forms", json={"value": ["ada"]})
    back = {"revision": before, "reason": "It was better."}
    await walk.take("POST /enforcement/rollback", farah, "/enforcement/rollback", data=back)
    asked = {"action": {"type": "delete"}, "subject": {"id": "m2"}}
    await operator.post("/api/v1/workflows/policy-enforcement", json=asked)
    await noticed(walk)
    found = (await operator.get("/api/v1/violations?state=open")).json()["items"]
    ref = next(item["ref"] for item in found if item["action_type"] == "delete")
    one, own = "/violations/{ref:str}", f"/violations/{ref}"
    sent = {"action": "temporary_restriction", "reason": "It goes on."}
    await walk.take(f"POST {one}/remediate", farah, f"{own}/remediate", data=sent)
    limited = (await operator.get(f"/api/v1/violations/{ref}")).json()["restrictions"][-1]["id"]
    route = one + "/restrictions/{restriction_id:uuid}"
    at = f"{own}/restrictions/{limited}"
    await walk.take(f"POST {route}/appeal", ada, f"{at}/appeal", data={"reason": "It was not m2."})
    appeal = (await operator.get(f"/api/v1/violations/{ref}")).json()["restrictions"][-1]["appeals"][0]["id"]
    sent = {"granted": "false", "reason": "It was."}
    route_of = one + "/appeals/{appeal_id:uuid}/decision"
    await walk.take(f"POST {route_of}", ines, f"{own}/appeals/{appeal}/decision", data=sent)
    await walk.take(f"POST {route}/lift", farah, f"{at}/lift", data={"reason": "Enough."})
    await walk.take(f"POST {one}/close", farah, f"{own}/close", data={"closing": "Done."})


async def noticed(walk: Walk) -> list[Any]:
    """Violations of the denials so far, made as the worker makes them; the decisions."""
    held = walk.app.state.services
    async with held.rulebook.units() as unit:
        found = list((await unit.connection.execute(sa.select(decision.c.id, decision.c.made_at))).all())
        await violations.notice(unit, held.constitution.figures, [row.id for row in found])
    return found


async def denied_and_owed(walk: Walk) -> str:
    """A violation, and an obligation, put there by hand; its id."""
    found = await noticed(walk)
    async with walk.app.state.services.rulebook.units() as unit:
        id = new_id()
        row = {"id": id, "decision_id": found[0].id, "key": "report", "text": "Report.",
               "policy_ref": "POL-2026-0001", "due_at": found[0].made_at}  # fmt: skip
        await unit.connection.execute(obligation.insert().values(row))
        await arranged(unit.connection)
    return str(id)


async def reporting(walk: Walk) -> None:
    hal = await walk.api("hal")
    own, period = "/api/v1/workflows/audit-transparency", {"from": "2026-01-01", "to": "2026-02-01"}
    await walk.take(f"POST {own}", hal, own, json={"period": period})
    browser = await walk.as_persona("hal")
    await walk.take("POST /transparency/reports", browser, "/transparency/reports", data=period)


async def leaving(walk: Walk) -> None:
    ben = await walk.api("ben")
    await walk.take("POST /api/v1/auth/me/erase", ben, "/api/v1/auth/me/erase", json={"username": "ben"})
    lea = await walk.as_persona("lea")
    await walk.take("POST /me/erase", lea, "/me/erase", data={"username": "lea"})


async def test_what_is_not_entered_does_not_happen(api: SignIn, app: Litestar, monkeypatch: Any) -> None:
    """Our own mistake, made on purpose: the database refuses the commit, and nothing has changed."""
    chidi = await api("chidi")
    workflow = await propose(chidi)
    own = f"{POLICIES}/{workflow['policy']['ref']}"

    async def forgetful(self: Unit, *_: Any, **__: Any) -> None:
        return None

    monkeypatch.setattr(Unit, "record", forgetful)
    answer = await chidi.post(f"{own}/withdraw", json={"reason": "Not now."})
    assert answer.status_code == 500
    monkeypatch.undo()
    assert (await chidi.get(own)).json()["state"] == "in_review"


async def test_a_refusal_is_entered_before_it_is_told(api: SignIn, app: Litestar) -> None:
    dana = await api("dana")
    workflow = await propose(await api("chidi"))
    answer = await dana.post(
        f"{POLICIES}/{workflow['policy']['ref']}/suspend", json={"reason": "I would like to."}
    )
    assert answer.status_code == 403
    async with app.state.services.engine.connect() as connection:
        query = sa.select(audit_entry.c.body, audit_entry.c.subject, audit_entry.c.actor)
        (found,) = await connection.execute(query.where(audit_entry.c.type == "access.refused"))
    assert found.subject == f"person:{found.actor}"
    assert b'/suspend",' in found.body or b'/suspend"}' in found.body
    assert answer.json()["code"].encode() in found.body


async def test_visitors_who_have_to_sign_in_are_not_entered(client: httpx.AsyncClient, app: Litestar) -> None:
    assert (await client.get("/api/v1/auth/me")).status_code == 401
    async with app.state.services.engine.connect() as connection:
        query = sa.select(sa.func.count()).where(audit_entry.c.type != "test.arranged")
        assert (await connection.execute(query)).scalar_one() == 0


async def test_rows_changed_by_hand_need_an_entry_too(app: Litestar) -> None:
    change = sa.text("UPDATE person SET name = 'Somebody else' WHERE username = 'dana'")
    with pytest.raises(sa.exc.IntegrityError, match="enters nothing in the audit trail"):
        async with app.state.services.engine.begin() as connection:
            await connection.execute(change)
    async with app.state.services.engine.begin() as connection:
        await connection.execute(change)
        await arranged(connection)
