"""The compliance endpoints as a program meets them: single and batch, questions, overrides, labels, and who may read what."""

from __future__ import annotations

import asyncio
import io
import zipfile
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from litestar import Litestar

from portal import compliance as portal_compliance
from portal.database import begin_unit
from tests.conftest import arranged
from tests.judging import Says, finding
from tests.portal.api.walk import DRAFT, POLICIES, is_problem, pointers
from tests.portal.statements import counted
from workflows.constitutional_compliance import validations
from workflows.errors import Unavailable
from workflows.kinds import Compliance, Severity
from workflows.policy_creation import drafts
from workflows.policy_creation.views import PolicyDraft
from workflows.roles import Actor, Role
from workflows.storage.tables import audit_entry, audit_subject, person

WORKFLOW = "/api/v1/workflows/constitutional-compliance"
COMPLIANCE = "/api/v1/compliance"
TEXT = "The ballot closes as soon as a majority is reached."


@pytest.fixture
async def says(app: Litestar) -> AsyncIterator[Says]:
    """The portal's judge in these tests; what it says may be changed."""
    held = app.state.services
    judge = Says()
    app.state.services = replace(held, judge=judge)
    yield judge
    app.state.services = held


async def someone(app: Litestar, username: str) -> Actor:
    async with app.state.services.engine.connect() as connection:
        query = sa.select(person, audit_subject.c.pseudonym).join(
            audit_subject, audit_subject.c.person_id == person.c.id
        )
        row = (await connection.execute(query.where(person.c.username == username))).mappings().one()
    roles = frozenset(Role(role) for role in row["roles"])
    return Actor(row["id"], username, row["name"], roles, pseudonym=str(row["pseudonym"]))


async def submitted(app: Litestar, judge: Any, by: str = "chidi") -> str:
    """A policy that was handed in and judged as `judge` does."""
    held = app.state.services
    async with begin_unit(held.engine, constitution=held.constitution, actor=await someone(app, by)) as unit:
        draft = msgspec.convert(DRAFT, PolicyDraft)
        ref = await drafts.create(unit, held.constitution.figures, draft, submit=True)
    await validations.assess_waiting(held.rulebook.units, judge, held.constitution)
    return ref


async def test_a_text_is_judged_at_once(api: Any, says: Says) -> None:
    says.verdict, says.findings = Compliance.NON_COMPLIANT, (finding(TEXT[:30], TEXT),)
    ada = await api("ada")
    response = await ada.post(WORKFLOW, json={"text": TEXT})
    assert response.status_code == 202, response.text
    answer = response.json()
    assert (answer["workflow_type"], answer["status"]) == ("constitutional_compliance", "completed")
    assert [stage["key"] for stage in answer["stages"]] == [
        "validation_initiation", "constitutional_analysis", "compliance_assessment", "enforcement_recommendation",
    ]  # fmt: skip
    result = answer["result"]
    assert (result["verdict"], result["score"]) == ("non_compliant", 0.1)
    span = result["findings"][0]["span"]
    assert TEXT[span["start"] : span["end"]] == span["quote"]
    assert result["consensus"]["strategy"] == "weighted_average"
    assert result["chain"]["checked"] is False
    assert {each["name"] for each in result["analysers"]} == {"structural", "classifier"}
    assert response.headers["location"] == f"{WORKFLOW}/{answer['validation_id']}"
    again = await ada.get(response.headers["location"])
    assert again.json() == answer
    unchanged = await ada.get(response.headers["location"], headers={"If-None-Match": again.headers["etag"]})
    assert unchanged.status_code == 304
    assert (await ada.get(f"{WORKFLOW}/{answer['workflow_id']}")).json() == answer, "by its workflow as well"
    assert answer["question"] is None, "who asks for themselves puts nothing to people"


async def test_somebody_elses_text_is_theirs(api: Any, client: Any, says: Says) -> None:
    made = (await (await api("ada")).post(WORKFLOW, json={"text": TEXT})).json()
    for path in (
        f"{WORKFLOW}/{made['validation_id']}",
        f"{COMPLIANCE}/validations/{made['validation']['ref']}",
    ):
        is_problem(await client.get(path), 404, "no_validation")
        is_problem(await (await api("ben")).get(path), 404, "no_validation")
        assert (await (await api("hal")).get(path)).status_code == 200, "auditors see it"
    listed = (await (await api("ada")).get(f"{COMPLIANCE}/validations/mine")).json()["items"]
    assert [item["ref"] for item in listed] == [made["validation"]["ref"]]
    assert (await client.get(f"{COMPLIANCE}/validations")).json()["items"] == []


async def test_the_log_says_nothing_of_a_private_text(app: Litestar, api: Any, says: Says) -> None:
    says.findings = (finding(TEXT[:30], TEXT),)
    made = (await (await api("ada")).post(WORKFLOW, json={"text": TEXT})).json()
    async with app.state.services.engine.connect() as connection:
        query = sa.select(audit_entry.c.type, audit_entry.c.body).where(
            audit_entry.c.type.like("validation.%")
        )
        rows = (await connection.execute(query)).all()
    assert {row.type for row in rows} == {"validation.requested", "validation.begun", "validation.made"}
    for row in rows:
        assert b"ballot closes" not in bytes(row.body)
        assert b"text_sha256" not in bytes(row.body)
        assert b"result_sha256" not in bytes(row.body)
    assert made["validation"]["ref"] == "VAL-2026-0001"


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/text"),
        ({"text": TEXT, "policy_ref": "POL-2026-0001"}, "/text"),
        ({"text": "   "}, "/text"),
        ({"text": "x" * 100_001}, "/text"),
        ({"text": TEXT, "version": 1}, "/version"),
        ({"text": 7}, "/text"),
        ({"text": TEXT, "level": "none"}, "/level"),
        ({"policy_ref": "POL-2026-0001", "version": 0}, "/version"),
        ({"colour": "red"}, "/colour"),
    ],
)
async def test_what_cannot_be_judged_is_said(api: Any, says: Says, body: dict, pointer: str) -> None:
    response = await (await api("ada")).post(WORKFLOW, json=body)
    is_problem(response, 422)
    assert pointer in pointers(response)


async def test_who_may_ask(client: Any, api: Any, says: Says) -> None:
    is_problem(await client.post(WORKFLOW, json={"text": TEXT}), 401)
    is_problem(await client.post(f"{WORKFLOW}/batch", json={"items": [{"text": TEXT}]}), 401)
    ada = await api("ada")
    is_problem(await ada.post(WORKFLOW, json={"policy_ref": "POL-2026-0099"}), 404, "no_policy")


async def test_a_policys_validation_on_request_is_public_and_decides_nothing(
    app: Litestar, api: Any, client: Any, says: Says
) -> None:
    ref = await submitted(app, Says(Compliance.NON_COMPLIANT))
    made = (await (await api("ada")).post(WORKFLOW, json={"policy_ref": ref, "level": "standard"})).json()
    assert made["result"]["verdict"] == "compliant"
    assert (await client.get(f"{WORKFLOW}/{made['validation_id']}")).status_code == 200
    standing = (await client.get(f"{POLICIES}/{ref}/compliance")).json()["standing"]
    assert (standing["state"], standing["may_open"]) == ("non_compliant", False)


async def test_a_draft_is_its_authors(api: Any, says: Says) -> None:
    chidi = await api("chidi")
    draft = (await chidi.post("/api/v1/workflows/policy-creation", json={**DRAFT, "submit": False})).json()
    asked = {"policy_ref": draft["policy"]["ref"]}
    assert (await chidi.post(WORKFLOW, json=asked)).status_code == 202
    is_problem(await (await api("ada")).post(WORKFLOW, json=asked), 404, "no_policy")


async def test_asking_twice_under_one_key_judges_once(api: Any, says: Says) -> None:
    ada = await api("ada")
    headers = {"Idempotency-Key": "once"}
    first = await ada.post(WORKFLOW, json={"text": TEXT}, headers=headers)
    again = await ada.post(WORKFLOW, json={"text": TEXT}, headers=headers)
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json()["validation_id"] == first.json()["validation_id"]
    assert len(says.asked) == 1
    is_problem(await ada.post(WORKFLOW, json={"text": "Another."}, headers=headers), 422)


async def test_an_analysis_that_takes_long_goes_on_after_the_answer(
    app: Litestar, api: Any, says: Says, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(portal_compliance, "SOON", 0.05)
    judged, go_on = says.judge, asyncio.Event()

    async def slowly(*args: Any, **kwargs: Any) -> Any:
        await go_on.wait()
        return await judged(*args, **kwargs)

    monkeypatch.setattr(says, "judge", slowly)
    ada = await api("ada")
    made = (await ada.post(WORKFLOW, json={"text": TEXT})).json()
    assert made["result"] is None
    go_on.set()
    for _ in range(200):
        answer = (await ada.get(f"{WORKFLOW}/{made['validation_id']}")).json()
        if answer["result"]:
            break
        await asyncio.sleep(0.02)
    assert answer["result"]["verdict"] == "compliant"


async def test_while_no_judge_answers_it_waits_with_the_reason(api: Any, says: Says) -> None:
    says.error = Unavailable("The AC service does not answer.")
    made = (await (await api("ada")).post(WORKFLOW, json={"text": TEXT})).json()
    stage = made["stages"][1]
    assert (stage["status"], stage["attempts"]) == ("in_progress", 1)
    assert "does not answer" in stage["error"]
    assert (made["result"], made["validation"]["state"]) == (None, "retrying")


async def test_a_batch_gives_one_result_or_problem_for_each_in_order(
    app: Litestar, api: Any, says: Says
) -> None:
    ref = await submitted(app, Says())
    says.verdict, says.only = Compliance.NON_COMPLIANT, lambda subject: "majority" in subject.text
    items = [
        {"text": TEXT},
        {"text": " "},
        {"policy_ref": ref},
        {"policy_ref": "POL-2026-0099"},
        {"text": TEXT, "policy_ref": ref},
        {"text": "Notes are published."},
    ]
    ada = await api("ada")
    response = await ada.post(f"{WORKFLOW}/batch", json={"items": items})
    assert response.status_code == 202, response.text
    before = response.json()
    assert (before["total"], before["waiting"], before["problems"], before["percent"]) == (6, 3, 3, 50)
    held = app.state.services
    assert await validations.assess_waiting(held.rulebook.units, says, held.constitution) == 3
    after = (await ada.get(response.headers["location"])).json()
    assert (after["made"], after["waiting"], after["percent"]) == (3, 0, 100)
    assert [item["position"] for item in after["items"]] == list(range(6))
    assert [item["result"] and item["result"]["verdict"] for item in after["items"]] == [
        "non_compliant", None, "compliant", None, None, "compliant",
    ]  # fmt: skip
    assert [item["problem"] and item["problem"]["code"] for item in after["items"]] == [
        None, "invalid", None, "no_policy", "invalid", None,
    ]  # fmt: skip
    assert after["items"][1]["problem"]["errors"][0]["pointer"] == "/items/1/text"
    assert [item["id"] for item in before["items"] if item.get("id")] == []
    is_problem(await (await api("ben")).get(response.headers["location"]), 404, "no_batch")


async def test_a_batch_of_five_hundred_is_taken_in_few_statements(
    app: Litestar, api: Any, says: Says
) -> None:
    ada = await api("ada")
    items = [{"text": f"Rule {number}: notes are published."} for number in range(500)]
    with counted() as statements:
        response = await ada.post(f"{WORKFLOW}/batch", json={"items": items})
    assert (response.status_code, response.json()["total"]) == (202, 500)
    assert 0 < len(statements) < 30, statements
    is_problem(await ada.post(f"{WORKFLOW}/batch", json={"items": [{"text": "x"}] * 501}), 422)
    is_problem(await ada.post(f"{WORKFLOW}/batch", json={"items": []}), 422)


async def test_people_decide_through_the_api(app: Litestar, api: Any, client: Any) -> None:
    unsure = Says(
        Compliance.REQUIRES_REVIEW, [finding("Wednesday", DRAFT["text"], sure=False, severity=Severity.LOW)]
    )
    ref = await submitted(app, unsure)
    emre = await api("emre")
    (question,) = (await emre.get(f"{COMPLIANCE}/questions")).json()["items"]
    assert (question["policy_ref"], question["findings"]) == (ref, 1)
    path = f"{COMPLIANCE}/questions/{question['id']}/answer"
    body = {
        "answer": "compliant",
        "reason": "It is spelling.",
        "labels": [{"finding": 0, "label": "neutral"}],
    }
    is_problem(await client.post(path, json=body), 401)
    is_problem(await (await api("ada")).post(path, json=body), 403, "role_missing")
    others = {"dana", "farah", "gita"} - {each["username"] for each in question["asked"]}
    is_problem(await (await api(sorted(others)[0])).post(path, json=body), 403, "not_asked")
    answered = (await emre.post(path, json=body)).json()
    assert (answered["answer"], answered["reason"]) == ("compliant", "It is spelling.")
    is_problem(await emre.post(path, json=body), 409, "already_answered")
    found = (await client.get(f"{POLICIES}/{ref}/compliance")).json()
    assert (found["standing"]["state"], found["question"]["reason"]) == (
        "answered_compliant",
        "It is spelling.",
    )
    is_problem(await (await api("ada")).get(f"{COMPLIANCE}/labels"), 403)
    hal = await api("hal")
    assert [item["label"] for item in (await hal.get(f"{COMPLIANCE}/labels")).json()["items"]] == ["neutral"]
    packed = await hal.get(f"{COMPLIANCE}/labels.zip")
    with zipfile.ZipFile(io.BytesIO(packed.content)) as archive:
        rows = archive.read("fair_ballot.csv").decode().splitlines()
    assert rows == ["policy,label,kind,also,text", f"{ref},neutral,people,,Wednesday"]
    accuracy = (await client.get(f"{COMPLIANCE}/accuracy")).json()
    assert (accuracy["answered"], accuracy["agreed"], accuracy["percent"]) == (1, 0, 0)


async def test_the_council_overrides_through_the_api(app: Litestar, api: Any, client: Any) -> None:
    ref = await submitted(app, Says(Compliance.NON_COMPLIANT))
    name = (await client.get(f"{POLICIES}/{ref}/compliance")).json()["newest"]["ref"]
    path, body = f"{COMPLIANCE}/validations/{name}/override", {"support": True, "reason": "It must be."}
    is_problem(await (await api("dana")).post(path, json=body), 403, "role_missing")
    first = (await (await api("farah")).post(path, json=body)).json()
    assert (first["override"]["supporting"], first["override"]["passed_at"]) == (1, None)
    second = (await (await api("gita")).post(path, json=body)).json()
    assert second["override"]["passed_at"]
    assert second["effective"] == "compliant"
    (item,) = (await client.get(f"{COMPLIANCE}/disagreements")).json()["items"]
    assert (item["how"], item["verdict"], item["answer"]) == ("override", "non_compliant", "compliant")


async def test_the_proposer_raises_the_tier_and_nobody_lowers_it(app: Litestar, api: Any) -> None:
    ref = await submitted(app, Says())
    chidi, path = await api("chidi"), f"{POLICIES}/{ref}/tier"
    is_problem(await (await api("dana")).post(path, json={"strategy": "human_review"}), 403)
    raised = await chidi.post(path, json={"strategy": "multi_model_consensus"})
    assert raised.json()["standing"]["state"] == "waiting", "it is judged anew at that tier"
    for strategy in ("multi_model_consensus", "standard"):
        is_problem(await chidi.post(path, json={"strategy": strategy}), 422, "not_stricter")
    policy = (await chidi.get(f"{POLICIES}/{ref}")).json()
    assert policy["risk"]["strategy"] == "multi_model_consensus"
    assert policy["rules"]["comment_days"]["value"] == 3


async def test_what_failed_is_judged_again_by_operators(app: Litestar, api: Any, client: Any) -> None:
    ref = await submitted(app, Says())
    name = (await client.get(f"{POLICIES}/{ref}/compliance")).json()["newest"]["ref"]
    path = f"{COMPLIANCE}/validations/{name}/again"
    is_problem(await (await api("dana")).post(path), 403)
    jon = await api("jon")
    is_problem(await jon.post(path), 409, "not_failed")
    is_problem(await jon.post(f"{COMPLIANCE}/validations/VAL-2026-0099/again"), 404, "no_validation")
    await all_failed(app)
    made = await jon.post(path)
    assert (made.status_code, made.json()["validation"]) == (202, "VAL-2026-0002")


async def all_failed(app: Litestar) -> None:
    """As if no validation could be made, for a technical reason."""
    async with app.state.services.engine.begin() as connection:
        await connection.exec_driver_sql("SET LOCAL audit.migrating = 'on'")
        await connection.exec_driver_sql(
            "UPDATE workflow SET status = 'failed' WHERE workflow_type = 'constitutional_compliance'"
        )
        await arranged(connection)


async def test_what_is_not_there(client: Any, api: Any) -> None:
    unknown = "01890000-0000-7000-8000-000000000000"
    for path in (
        f"{WORKFLOW}/{unknown}",
        f"{POLICIES}/POL-1999-0001/compliance",
        f"{COMPLIANCE}/validations/VAL-1999-0001",
        f"{COMPLIANCE}/questions/{unknown}",
    ):
        is_problem(await client.get(path), 404)
    is_problem(await (await api("ada")).get(f"{WORKFLOW}/batch/{unknown}"), 404, "no_batch")
    queue = (await client.get(f"{COMPLIANCE}/queue")).json()
    assert set(queue["counts"]) == {"waiting", "requested", "failed", "blocked", "questions"}
