"""Compliance's pages: the tab with all a judgement rests on, questions and overrides without JavaScript, the queue, any text tried."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import numpy as np
import pytest
import sqlalchemy as sa
from litestar import Litestar
from msgspec import structs, to_builtins

from portal.database import begin_unit
from portal.pages import compliance
from tests.judging import Says
from tests.portal import judged
from tests.portal.api.walk import DRAFT
from tests.portal.enforcing import SignIn
from tests.portal.pages.html import check_page, links, send, text_of
from tests.portal.statements import counted
from workflows.constitution.document import Constitution
from workflows.constitutional_compliance import validations
from workflows.constitutional_compliance.analysis import Analyser, LocalJudge
from workflows.constitutional_compliance.calibration import Calibration
from workflows.constitutional_compliance.evaluation import evaluate
from workflows.constitutional_compliance.findings import Result, Subject
from workflows.errors import Unavailable
from workflows.kinds import Compliance
from workflows.policy_creation import drafts
from workflows.policy_creation.views import DocumentDraft, PolicyDraft
from workflows.roles import Actor, Role
from workflows.storage.tables import audit_subject, person

STEPS = {"compliant": "proceed", "requires_review": "ask_people", "non_compliant": "stop"}


class Reads(Says):
    """Says of every text what was found of tests.portal.judged.TEXT, with the verdict that a test wants."""

    def _result(self, constitution: Constitution, subject: Subject) -> Result:
        found = judged.result(constitution_sha256=constitution.sha256)
        if subject.text.strip() != judged.TEXT.strip():
            found = structs.replace(found, findings=())
        return structs.replace(found, verdict=self.verdict)

    async def describe(self) -> tuple[Analyser, ...]:
        return judged.ANALYSERS


@pytest.fixture
async def reads(app: Litestar) -> AsyncIterator[Reads]:
    """The portal's judge in these tests; what it says may be changed."""
    held = app.state.services
    judge = Reads(Compliance.REQUIRES_REVIEW)
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


async def submitted(app: Litestar, judge: Any, *, text: str = judged.TEXT, judge_it: bool = True) -> str:
    """The archive's policy, handed in by Chidi, and judged as `judge` does."""
    held = app.state.services
    draft = PolicyDraft(**{**DRAFT, "title": "How the archive is kept", "text": text})
    async with begin_unit(
        held.engine, constitution=held.constitution, actor=await someone(app, "chidi")
    ) as unit:
        ref = await drafts.create(unit, held.constitution.figures, draft, submit=True)
    if judge_it:
        await settle(app, judge)
    return ref


async def settle(app: Litestar, judge: Any) -> None:
    held = app.state.services
    await validations.assess_waiting(held.rulebook.units, judge, held.constitution)


async def shown(client: httpx.AsyncClient, path: str, status: int = 200) -> Any:
    answer = await client.get(path)
    assert answer.status_code == status, f"{path}: {answer.status_code}"
    return check_page(answer)


async def asked(
    app: Litestar, as_persona: SignIn, client: httpx.AsyncClient, ref: str
) -> list[httpx.AsyncClient]:
    """The browsers of those who were asked about a policy."""
    found = (await client.get(f"/policies/{ref}/compliance")).text
    everybody = {"Dana Whitlock": "dana", "Emre Aksoy": "emre", "Farah Nouri": "farah", "Gita Rao": "gita"}
    people = found.partition("It is put to")[2].partition("</p>")[0]
    return [await as_persona(user) for name, user in everybody.items() if name in people]


# --- the tab ---


async def test_what_an_amendment_writes_into_the_constitution_is_judged_with_its_text(
    app: Litestar, client: httpx.AsyncClient
) -> None:
    """A harmless text says nothing of the document that comes into force with it."""
    held = app.state.services
    offices = "**2.5** The ombudsperson"
    chair = "The chair’s vote counts as three votes whenever the assembly is divided."
    document = held.constitution.text.replace(offices, f"**2.6** {chair}\n\n{offices}")
    draft = PolicyDraft(
        **{
            **DRAFT,
            "title": "Offices",
            "text": "The second section gets one clause more.",
            "category": "constitutional",
        },
        constitution=DocumentDraft(document, held.constitution.sha256),
    )
    chidi = await someone(app, "chidi")
    async with begin_unit(held.engine, constitution=held.governing, actor=chidi) as unit:
        ref = await drafts.create(unit, held.constitution.figures, draft, submit=True)
    await settle(app, LocalJudge())
    text = text_of(await shown(client, f"/policies/{ref}/compliance"))
    assert "The analysis is not sure: people decide" in text
    assert "It makes some votes weigh more than others." in text
    assert f"{chair} In the constitution as it would be amended." in text
    assert "See it in the text" not in text and "A number after a marked passage" not in text
    assert "none is marked here: what was found stands elsewhere" in text
    newest = (await client.get(f"/api/v1/policies/{ref}/compliance")).json()["newest"]
    spans = [each["span"] for each in newest["result"]["findings"] if each["span"]]
    assert spans and {span["of"] for span in spans} == {"constitution"}
    assert {document[span["start"] : span["end"]] for span in spans} == {chair}


async def test_the_tab_shows_what_a_judgement_rests_on(
    app: Litestar, reads: Reads, client: httpx.AsyncClient
) -> None:
    ref = await submitted(app, reads)
    page = await shown(client, f"/policies/{ref}/compliance")
    text = text_of(page)
    for expected in (
        "The analysis is not sure: people decide",
        "Its ballot waits for people",
        "Every act is entered in a trail that is added to and never rewritten.",
        "Weight 5 of 5",
        "people labelled it “breaks”",
        "taken out +1.92, speaks for a breach",
        "Absent The policy carries no rule.",
        "Absent No language model is configured.",
        "Language model local",
        "Weighted average.",
        "Not measured",
        "by Platt scaling",
        "uncalibrated",
        "Dissents",
        "Raised by evidence What was found after its submission made the tier stricter.",
    ):
        assert expected in text, expected
    assert {"/constitution/principles", "/compliance", "/policies/POL-2026-0004"} <= links(page)


async def test_each_mark_leads_to_its_finding_and_back(
    app: Litestar, reads: Reads, client: httpx.AsyncClient
) -> None:
    ref = await submitted(app, reads)
    page = await shown(
        client, f"/policies/{ref}/compliance"
    )  # check_page: no link leads nowhere, no id twice
    hrefs = [a.get("href") for a in page.iter("a")]
    assert {f"#finding-{number}" for number in (1, 2, 3, 4)} <= set(hrefs)
    assert {f"#passage-{number}" for number in (1, 2, 3)} <= set(hrefs)
    assert text_of(page.find(".//mark[@id='passage-3']")) == judged.HOSTILE
    assert not page.findall(".//main//script") and not page.findall(".//img")


async def test_what_waits_says_so(app: Litestar, reads: Reads, client: httpx.AsyncClient) -> None:
    ref = await submitted(app, reads, judge_it=False)
    text = text_of(await shown(client, f"/policies/{ref}/compliance"))
    assert "Being judged" in text and "That takes a moment" in text
    assert "1 being judged" in text_of(await shown(client, "/compliance"))


async def test_what_failed_says_why_and_operators_try_again(
    app: Litestar, reads: Reads, client: httpx.AsyncClient, as_persona: SignIn
) -> None:
    reads.error = Unavailable("The AC service does not answer.")
    ref = await submitted(app, reads)
    path = f"/policies/{ref}/compliance"
    text = text_of(await shown(client, path))
    assert "The AC service does not answer." in text and "It is tried again" in text
    async with app.state.services.engine.connect() as connection:
        assert (await connection.execute(sa.text("SELECT count(*) FROM validation"))).scalar_one() == 1
    assert "Have it judged again" not in text_of(await shown(await as_persona("jon"), path))


async def test_a_draft_has_no_such_tab(app: Litestar, reads: Reads, as_persona: SignIn) -> None:
    chidi = await as_persona("chidi")
    page = await chidi.get("/policies/new")
    kept = await send(chidi, page, "/policies", **DRAFT, priority="normal", do="save")
    assert "Compliance of" not in kept.text and f"{kept.url.path}/compliance" not in links(check_page(kept))


# --- those who decide ---


async def test_who_is_asked_decides_and_the_ballot_may_open(
    app: Litestar, reads: Reads, client: httpx.AsyncClient, as_persona: SignIn
) -> None:
    ref = await submitted(app, reads)
    path = f"/policies/{ref}/compliance"
    browsers = await asked(app, as_persona, client, ref)
    assert len(browsers) == 2
    dana = browsers[0]
    assert f"/policies/{ref}/compliance" in links(await shown(dana, "/inbox"))
    page = await dana.get(path)
    empty = await send(dana, page, f"{path}/answer", answer="compliant", reason=" ")
    assert empty.status_code == 422 and "A reason is needed" in text_of(check_page(empty))
    nothing = await send(dana, page, f"{path}/answer", reason="Because.")
    assert nothing.status_code == 422
    assert "Because." in text_of(check_page(nothing))
    done = await send(
        dana,
        page,
        f"{path}/answer",
        answer="compliant",
        reason="Nobody loses a vote.",
        **{"label-1": "neutral"},
    )
    text = text_of(check_page(done))
    assert "Your decision is recorded" in text and "Its ballot may open" in text
    assert "Nobody loses a vote." in text and "Does it comply? You are asked" not in text
    assert "Does it comply" not in text_of(await shown(browsers[1], path))
    labels = text_of(await shown(await as_persona("hal"), "/compliance/labels?principle=equal_vote"))
    assert "Neither" in labels and ref in labels
    assert "of 1 finding" in text_of(await shown(client, "/compliance"))
    timeline = text_of(await shown(client, f"/policies/{ref}/timeline"))
    assert "Nobody loses a vote." in timeline


async def test_nobody_else_decides(
    app: Litestar, reads: Reads, as_persona: SignIn, client: httpx.AsyncClient
) -> None:
    ref = await submitted(app, reads)
    path = f"/policies/{ref}/compliance"
    assert f"{path}/answer" not in (await client.get(path)).text
    ada = await as_persona("ada")
    assert f"{path}/answer" not in (await ada.get(path)).text
    refused = await ada.post(f"{path}/answer", data={"answer": "compliant", "reason": "I like it."})
    assert refused.status_code == 403
    for username in ("dana", "emre", "farah", "gita"):
        browser = await as_persona(username)
        page = (await browser.get(path)).text
        if f"{path}/answer" not in page:
            assert "Others were asked to decide this" in page
            break


async def test_the_council_overrides_what_was_found_not_to_comply(
    app: Litestar, reads: Reads, client: httpx.AsyncClient, as_persona: SignIn
) -> None:
    reads.verdict = Compliance.NON_COMPLIANT
    ref = await submitted(app, reads)
    path = f"/policies/{ref}/compliance"
    text = text_of(await shown(client, path))
    assert "Its ballot stays shut" in text and "0 of 2 for it, 2 needed" in text
    assert "How the archive is kept" in text_of(await shown(client, "/compliance"))
    farah, gita = await as_persona("farah"), await as_persona("gita")
    page = await farah.get(path)
    wrong = await send(farah, page, f"{path}/override", reason="Let members say.")
    assert wrong.status_code == 422 and "Choose what you say." in text_of(check_page(wrong))
    one = await send(farah, page, f"{path}/override", support="true", reason="Let members say.")
    assert "1 of 2 that are needed" in text_of(check_page(one))
    assert "Let members say." in text_of(await shown(client, path))
    both = await send(gita, await gita.get(path), f"{path}/override", support="true", reason="I agree.")
    text = text_of(check_page(both))
    assert "The finding is overridden" in text and "Its ballot may open" in text
    assert "The council:" in text_of(await shown(client, "/compliance/disagreements"))


async def test_the_author_amends_or_asks_for_a_stricter_tier(
    app: Litestar, reads: Reads, as_persona: SignIn
) -> None:
    reads.verdict = Compliance.NON_COMPLIANT
    ref = await submitted(app, reads, text=DRAFT["text"])
    path = f"/policies/{ref}/compliance"
    chidi = await as_persona("chidi")
    document = await shown(chidi, path)
    assert f"/policies/{ref}/edit" in links(document)
    page = await chidi.get(path)
    done = await send(chidi, page, f"{path}/tier", strategy="human_review")
    text = text_of(check_page(done))
    assert "Its tier is stricter now" in text and "Tier 4" in text
    assert f"{path}/tier" not in done.text, "there is no stricter one"
    assert f"{path}/tier" not in (await (await as_persona("dana")).get(path)).text


# --- the queue, and single judgements ---


async def test_the_queue_with_nothing_in_it_says_what_would_stand_there(
    app: Litestar, reads: Reads, client: httpx.AsyncClient
) -> None:
    text = text_of(await shown(client, "/compliance"))
    for expected in (
        "No question is open",
        "Not measured",
        "Nobody has said yet",
        "Trained classifier",
        "In use",
        "Absent",
    ):
        assert expected in text, expected
    for path in ("/compliance/validations", "/compliance/disagreements"):
        await shown(client, path)


async def test_what_was_measured_stands_with_its_interval_and_curve(
    app: Litestar, reads: Reads, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the evaluation gives it, of ten clauses of two documents."""
    likely, true = (
        np.array([[0.9], [0.02], [0.6], [0.01], [0.4]] * 2),
        np.array([[True], [False], [True], [False], [True]] * 2),
    )
    cuts = [Calibration(1.0, 0.0, 0.05, 0.05, 0.8, 0.5, 40)]
    report = evaluate(["equal_vote"], likely, true, ["one"] * 5 + ["two"] * 5, cuts)

    async def measured(_: object) -> dict[str, Any]:
        return to_builtins(report)

    monkeypatch.setattr(compliance, "measured", measured)
    page = await shown(client, "/compliance")
    text = text_of(page)
    figure = report.clauses_decided_accuracy
    assert f"{figure.value:.1f} % right, of the clauses it decides alone" in text
    assert figure.value == 100, "so that no interval is told that would be too narrow"
    assert "none wrong of 6, so that up to 50.0 % can be" in text
    assert f"95 % interval {report.f1_macro.low:.1f} to {report.f1_macro.high:.1f}" in text
    assert "On 10 labelled clauses of 2 whole policies" in text and page.find(".//*[@id='curve']") is not None
    assert f"{report.principles[0].recall:.1f} %" in text


async def test_one_judgement_by_itself(app: Litestar, reads: Reads, client: httpx.AsyncClient) -> None:
    ref = await submitted(app, reads)
    found = next(each for each in links(await shown(client, "/compliance")) if "/validations/VAL-" in each)
    text = text_of(await shown(client, found))
    assert ref in text and "Who said so" in text and judged.HOSTILE in text
    await shown(client, "/compliance/validations/VAL-2026-9999", 404)


async def test_the_queue_asks_no_more_of_the_database_when_it_is_longer(
    app: Litestar, reads: Reads, client: httpx.AsyncClient
) -> None:
    async def statements(path: str) -> int:
        with counted() as sent:
            await shown(client, path)
        return len(sent)

    await submitted(app, reads)
    once = await statements("/compliance")
    assert 0 < once <= 25
    for _ in range(3):
        await submitted(app, reads)
    assert await statements("/compliance") == once
    assert 0 < await statements("/compliance/validations") <= 6


async def test_a_batch_shows_its_progress_to_who_handed_it_in(
    app: Litestar, reads: Reads, api: SignIn, as_persona: SignIn
) -> None:
    items = [{"text": "Notes are published."}, {"text": ""}]
    path = "/api/v1/workflows/constitutional-compliance/batch"
    answer = await (await api("ada")).post(path, json={"items": items})
    own = f"/compliance/batches/{answer.json()['batch_id']}"
    ada = await as_persona("ada")
    assert "1 of 2 done" in text_of(await shown(ada, own))
    await settle(app, reads)
    text = text_of(await shown(ada, own))
    assert "2 of 2 done" in text and "Not taken" in text and "People decide" in text
    await shown(await as_persona("ben"), own, 404)


# --- any text ---


async def test_trying_a_text_without_javascript(app: Litestar, reads: Reads, as_persona: SignIn) -> None:
    ada, ben = await as_persona("ada"), await as_persona("ben")
    page = await ada.get("/compliance/try")
    assert "nobody else" in text_of(check_page(page))
    empty = await send(ada, page, "/compliance/try", text=" ")
    assert empty.status_code == 422 and "Something must be written here." in text_of(check_page(empty))
    done = await send(ada, page, "/compliance/try", text=judged.TEXT)
    document = check_page(done)
    assert "of=VAL-" in str(done.url) and "Who said so" in text_of(document)
    assert document.find(".//mark[@id='passage-1']") is not None
    ref = str(done.url).partition("of=")[2].partition("#")[0]
    assert ref in text_of(await shown(ada, "/compliance/try"))
    await shown(ben, f"/compliance/validations/{ref}", 404)
    await shown(ben, f"/compliance/try?of={ref}", 404)
    assert "Who said so" in text_of(await shown(await as_persona("hal"), f"/compliance/validations/{ref}"))


async def test_a_visitor_is_asked_to_sign_in(app: Litestar, reads: Reads, client: httpx.AsyncClient) -> None:
    assert "Sign in to try a text" in text_of(await shown(client, "/compliance/try"))


async def test_htmx_gets_the_result_and_its_address(app: Litestar, reads: Reads, as_persona: SignIn) -> None:
    ada = await as_persona("ada")
    answer = await ada.post("/compliance/try", data={"text": judged.TEXT}, headers={"HX-Request": "true"})
    assert answer.status_code == 200 and answer.headers["HX-Push-Url"].startswith("/compliance/try?of=VAL-")
    assert 'id="tried"' in answer.text and "Who said so" in answer.text
    wrong = await ada.post("/compliance/try", data={"text": ""}, headers={"HX-Request": "true"})
    assert wrong.status_code == 422 and wrong.headers["HX-Retarget"] == "#main"


async def test_a_draft_is_checked_as_it_is_written(app: Litestar, reads: Reads, as_persona: SignIn) -> None:
    chidi = await as_persona("chidi")
    page = await chidi.get("/policies/new")
    entered = {**DRAFT, "text": judged.TEXT, "priority": "normal"}
    answer = await send(chidi, page, "/policies", **entered, do="check")
    text = text_of(check_page(answer))
    assert "Nothing of this is kept" in text and "Findings by principle" in text
    assert DRAFT["summary"] in text, "what was written stands in the form"
    async with app.state.services.engine.connect() as connection:
        assert (await connection.execute(sa.text("SELECT count(*) FROM validation"))).scalar_one() == 0
    part = await chidi.post("/policies/check", data=entered, headers={"HX-Request": "true"})
    assert part.text.lstrip().startswith("<section") and "Findings by principle" in part.text
    assert reads.asked[-1].summary == DRAFT["summary"] and reads.asked[-1].amended == ""
    document = app.state.services.constitution.text.replace(
        "| quorum_percent | 10 |", "| quorum_percent | 20 |"
    )
    amending = {"category": "constitutional", "amends": "true", "constitution_text": document}
    await send(chidi, page, "/policies", **{**entered, **amending}, do="check")
    assert reads.asked[-1].amended == document
    reads.error = Unavailable("The AC service does not answer.")
    away = await send(chidi, page, "/policies", **entered, do="check")
    assert "The AC service does not answer." in text_of(check_page(away))
