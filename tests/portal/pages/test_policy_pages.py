"""The pages on which policies are written, reviewed and voted on: as each person sees them, and the walk by forms alone."""

from __future__ import annotations

import json
import re

import pytest

from tests.portal.pages.html import check_page, find_form, links, parse, send, text_of, values
from tests.portal.statements import counted
from tests.portal.the_log import seal

TEXT = "# Aim\n\nThe office keeps its meeting notes for one year.\n\n- They are public.\n- They are short.\n"
DRAFT = {
    "title": "Keep meeting notes",
    "summary": "The office keeps its notes for a year.",
    "text": TEXT,
    "category": "governance",
    "risk_strategy": "enhanced_validation",
}
ARABIC = "# الغرض\n\nتُحفظ محاضر الاجتماعات لمدة عام.\n"
TABS = ("", "/changes", "/discussion", "/review", "/ballot", "/results", "/implementation", "/timeline")
MAX_STATEMENTS = 7  # the timeline also opens the words that are kept outside the log


async def propose(client, do="submit", **filled) -> str:
    """Write a policy by the form; answers with its reference."""
    page = await client.get("/policies/new")
    answer = await send(client, page, "/policies", **{**DRAFT, **filled}, do=do)
    assert answer.status_code == 200, answer.text
    return answer.url.path.removeprefix("/policies/")


async def review(client, ref, decision="approve", reason="It says what it means.") -> object:
    page = await client.get(f"/policies/{ref}/review")
    check_page(page)
    return await send(client, page, f"/policies/{ref}/reviews", decision=decision, reason=reason)


async def move_clock(client, span: str) -> None:
    page = await client.get("/")
    answer = await send(client, page, "/demo/clock", advance=span)
    assert answer.status_code == 200, answer.text


@pytest.fixture
async def chidi(as_persona):
    return await as_persona("chidi")


@pytest.fixture
async def dana(as_persona):
    return await as_persona("dana")


@pytest.fixture
async def emre(as_persona):
    return await as_persona("emre")


@pytest.fixture
async def ada(as_persona):
    return await as_persona("ada")


@pytest.fixture
async def voting(chidi, dana) -> str:
    """A policy of the mildest tier whose ballot is open."""
    ref = await propose(chidi, risk_strategy="")
    assert (await review(dana, ref)).status_code == 200
    return ref


@pytest.fixture
async def enacted(voting, ada) -> str:
    """A policy that one member voted for, after the close."""
    page = await ada.get(f"/policies/{voting}/ballot")
    await send(ada, page, f"/policies/{voting}/ballot/votes", choice="for")
    await move_clock(ada, "P7D")
    return voting


async def test_pages_without_any_policy_say_what_to_do(client, as_persona):
    for path in ("/", "/policies", "/policies?q=nothing", "/votes"):
        page = await client.get(path)
        assert page.status_code == 200, page.text
        check_page(page)
    for path in ("/", "/inbox", "/reviews", "/votes", "/policies", "/policies/new"):
        page = await (await as_persona("dana")).get(path)
        assert page.status_code == 200, page.text
        check_page(page)


async def test_every_page_of_a_policy_in_every_state_is_sound(
    client, app, chidi, dana, ada, as_persona, enacted
):
    """Valid HTML, one h1, a title of its own, labels and tokens; and few statements each."""
    farah, kim = await as_persona("farah"), await as_persona("kim")
    refs = {
        "enacted": enacted,
        "draft": await propose(chidi, do="save", text=ARABIC),
        "in_review": await propose(chidi),
        "returned": await propose(chidi),
        "rejected": await propose(chidi),
        "withdrawn": await propose(chidi),
        "voting": await propose(chidi, risk_strategy="", title="Another"),
    }
    await review(dana, refs["returned"], "return", "Name the office.")
    await review(dana, refs["rejected"], "reject", "It does harm.")
    await review(dana, refs["voting"])
    text = await chidi.get(f"/policies/{refs['withdrawn']}")
    await send(chidi, text, f"/policies/{refs['withdrawn']}/withdraw", reason="Written twice.")
    page = await chidi.get(f"/policies/{refs['in_review']}/edit")
    await send(
        chidi,
        page,
        f"/policies/{refs['in_review']}/edit",
        do="submit",
        text=TEXT + "\nMore.\n",
        change_note="More.",
    )
    titles: dict[str, str] = {}
    for who in (client, chidi, dana, ada, farah, kim):
        for state, ref in refs.items():
            for tab in TABS:
                with counted() as statements:
                    page = await who.get(f"/policies/{ref}{tab}")
                assert page.status_code == 200, (state, tab, page.text)
                document = check_page(page)
                assert 0 < len(statements) <= MAX_STATEMENTS, (state, tab, statements)
                title = text_of(document.find(".//title"))
                assert titles.setdefault(f"{ref}{tab}", title) == title
    per_policy = [title for path, title in titles.items() if path.startswith(refs["enacted"])]
    assert len(set(per_policy)) == len(TABS)
    for path in ("/", "/policies", "/votes", "/inbox", "/reviews"):
        with counted() as statements:
            page = await dana.get(path)
        check_page(page)
        assert 0 < len(statements) <= MAX_STATEMENTS, (path, statements)


async def test_the_list_is_searched_filtered_and_paged_by_links_and_forms(client, chidi):
    for number in range(27):
        await propose(chidi, title=f"Note number {number}")
    await propose(chidi, title="The zebra rule", category="safety")
    first = await client.get("/policies")
    document = check_page(first)
    assert len(document.findall(".//tbody/tr")) == 25
    following = next(a.get("href") for a in document.iter("a") if a.get("rel") == "next")
    rest = check_page(await client.get(following))
    assert len(rest.findall(".//tbody/tr")) == 3
    found = await send(client, first, "/policies", q="zebra")
    rows = check_page(found).findall(".//tbody/tr")
    assert len(rows) == 1 and "The zebra rule" in text_of(rows[0])
    form = find_form(parse(found.text), "/policies")
    assert values(form)["q"] == "zebra", "what was looked for stays in the form"
    only = await send(client, first, "/policies", state="in_review", category="safety")
    assert len(check_page(only).findall(".//tbody/tr")) == 1
    nothing = await send(client, first, "/policies", q="zebra", state="voting")
    assert "Nothing fits" in nothing.text
    part = await client.get("/policies?q=zebra", headers={"HX-Request": "true", "HX-Target": "found"})
    assert "<html" not in part.text and part.text.count("<tr") == 2


async def test_a_preview_without_javascript_keeps_everything_and_names_the_articles(chidi):
    page = await chidi.get("/policies/new")
    entered = {
        **DRAFT,
        "rule_engine": "rego",
        "rule_source": "package notes",
        "rule_examples": '{"input": {"age": 2}, "expect": "deny"}',
    }
    shown = await send(chidi, page, "/policies", **entered, do="preview")
    assert shown.status_code == 200
    document = check_page(shown)
    kept = values(find_form(document, "/policies"))
    for name, value in entered.items():
        assert kept[name].strip() == value.strip()
    rules = text_of(document.find(".//*[@id='rules']"))
    assert "Enhanced validation" in rules
    assert {"/constitution"} <= links(document)
    for article in ("4.3", "5.2", "5.4", "5.7", "4.1"):
        assert f"art-{article.replace('.', '-')}" in shown.text
    preview = document.find(".//*[@id='preview']")
    assert [text_of(heading) for heading in preview.iter("h3")] == ["Aim"]
    report = document.find(".//*[@id='rule-report']")
    assert "The rule cannot be run" in text_of(report) and "Line 1" in text_of(report)


async def test_htmx_gets_what_applies_and_the_rendered_text(chidi):
    answer = await chidi.post(
        "/policies/preview",
        data={**DRAFT, "title": "", "category": "constitutional"},
        headers={"HX-Request": "true"},
    )
    assert answer.status_code == 200
    assert (
        "Human review" in answer.text and 'hx-swap-oob="true"' in answer.text and "<html" not in answer.text
    )
    without = await chidi.post("/policies/preview", data={"text": "x"}, headers={"HX-Request": "true"})
    assert "Choose a category" in without.text


async def test_what_is_wrong_is_said_at_each_field_and_nothing_is_lost(chidi):
    page = await chidi.get("/policies/new")
    refused = await send(
        chidi,
        page,
        "/policies",
        title="",
        summary="",
        text=TEXT,
        rule_engine="rego",
        rule_source="package x",
        rule_examples='{"input": 1, "expect": "allow"}\nnot json',
        do="submit",
    )
    assert refused.status_code == 422
    document = check_page(refused)
    summary = document.find(".//div[@class='error-summary']")
    pointed = {a.get("href") for a in summary.iter("a")}
    assert pointed == {"#title", "#summary", "#category", "#rule_examples"}
    assert "Line 2" in text_of(summary)
    assert values(find_form(document, "/policies"))["text"].strip() == TEXT.strip()
    assert "/policies/POL" not in (await chidi.get("/policies")).text


async def test_a_form_sent_after_the_session_ended_comes_back_with_all_that_was_written(chidi, client):
    page = await chidi.get("/policies/new")
    chidi.cookies.delete("session")
    answer = await send(chidi, page, "/policies", **DRAFT, do="submit")
    assert answer.status_code == 401
    document = check_page(answer)
    assert values(find_form(document, "/policies"))["text"].strip() == TEXT.strip()
    assert "You are not signed in any more" in answer.text


async def test_two_tabs_do_not_overwrite_each_other(chidi):
    ref = await propose(chidi, do="save")
    first, second = [await chidi.get(f"/policies/{ref}/edit") for _ in range(2)]
    assert (
        await send(chidi, first, f"/policies/{ref}/edit", title="From one tab", do="save")
    ).status_code == 200
    late = await send(chidi, second, f"/policies/{ref}/edit", title="From the other tab", do="save")
    assert late.status_code == 409
    document = check_page(late)
    assert values(find_form(document, f"/policies/{ref}/edit"))["title"] == "From the other tab"
    assert "From one tab" in (await chidi.get(f"/policies/{ref}")).text
    again = await send(chidi, late, f"/policies/{ref}/edit", do="save")
    assert again.status_code == 200 and "From the other tab" in again.text


async def test_who_may_not_is_told_why(client, chidi, dana, as_persona, voting):
    hal = await as_persona("hal")
    assert (await client.get("/policies/new")).status_code == 303
    assert (await client.get("/inbox")).headers["location"].startswith("/login")
    assert (await hal.get("/policies/new")).status_code == 403
    assert (await hal.get("/reviews")).status_code == 403
    assert (await dana.get(f"/policies/{voting}/edit")).status_code == 403
    assert (await chidi.get(f"/policies/{voting}/edit")).status_code == 409
    own = await propose(chidi)
    assert "somebody else has to review it" in (await as_author(as_persona, own)).text
    ballot = await hal.get(f"/policies/{voting}/ballot")
    assert "Only members vote" in ballot.text
    assert not any(form.get("action", "").endswith("/votes") for form in parse(ballot.text).iter("form"))
    unknown = await client.get("/policies/POL-1999-0001")
    assert unknown.status_code == 404
    check_page(unknown)


async def as_author(as_persona, ref):
    """The review tab as a reviewer sees it on a policy of their own."""
    dana = await as_persona("dana")
    mine = await propose(dana)
    return await dana.get(f"/policies/{mine}/review")


async def test_arabic_text_is_shown_in_its_own_direction(chidi, client):
    ref = await propose(chidi, title="حفظ المحاضر", text=ARABIC)
    document = check_page(await client.get(f"/policies/{ref}"))
    prose = next(div for div in document.iter("div") if div.get("class") == "prose")
    assert prose.get("dir") == "auto" and "الغرض" in text_of(prose)


async def test_comments_are_public_answered_and_safe(chidi, ada, client):
    ref = await propose(chidi)
    page = await ada.get(f"/policies/{ref}/discussion")
    empty = await send(ada, page, f"/policies/{ref}/comments", body="  ")
    assert empty.status_code == 422
    check_page(empty)
    said = await send(
        ada, page, f"/policies/{ref}/comments", body="**Why** one year? <script>alert(1)</script>"
    )
    assert said.status_code == 200
    document = check_page(said)
    comment = document.find(".//li[@class='comment']")
    assert "<script>alert" in text_of(comment), "shown as text"
    answer = await chidi.get(
        f"/policies/{ref}/discussion?reply_to={comment.get('id').removeprefix('comment-')}"
    )
    both = await send(chidi, answer, f"/policies/{ref}/comments", body="The law asks for it.")
    assert "In answer to" in both.text
    part = await client.get(
        f"/policies/{ref}/discussion", headers={"HX-Request": "true", "HX-Target": "comments"}
    )
    assert "<html" not in part.text and 'id="comments"' in part.text and "The law asks for it." in part.text


async def test_a_decision_needs_a_choice_and_a_reason(chidi, dana):
    ref = await propose(chidi)
    page = await dana.get(f"/policies/{ref}/review")
    form = find_form(parse(page.text), f"/policies/{ref}/reviews")
    assert "decision" not in values(form), "nothing is preselected"
    refused = await send(dana, page, f"/policies/{ref}/reviews", reason="Well written.")
    assert refused.status_code == 422
    assert (
        values(find_form(check_page(refused), f"/policies/{ref}/reviews"))["reason"].strip()
        == "Well written."
    )
    refused = await send(dana, page, f"/policies/{ref}/reviews", decision="approve")
    assert refused.status_code == 422
    check_page(refused)


async def test_the_council_suspends_what_is_in_force(enacted, as_persona, client):
    farah = await as_persona("farah")
    page = await farah.get(f"/policies/{enacted}/implementation")
    assert "Queued" in page.text
    done = await send(farah, page, f"/policies/{enacted}/suspend", reason="It turned out to do harm.")
    assert done.status_code == 200
    check_page(done)
    seen = await client.get(f"/policies/{enacted}/implementation")
    assert "It turned out to do harm." in seen.text and "/suspend" not in seen.text


async def test_the_whole_walk_by_forms_alone(chidi, dana, emre, ada, client, as_persona, app, tmp_path):
    """Draft, preview, submit, review, amend (which voids), approve, vote, change the vote, close, result, recount."""
    new = await chidi.get("/policies/new")
    previewed = await send(chidi, new, "/policies", **DRAFT, do="preview")
    submitted = await send(chidi, previewed, "/policies", do="submit")
    ref = submitted.url.path.removeprefix("/policies/")
    assert re.fullmatch(r"POL-\d{4}-\d{4}", ref)
    assert "is submitted" in submitted.text

    queue = await dana.get("/reviews")
    assert f"/policies/{ref}/review" in links(check_page(queue))
    first_reading = await dana.get(f"/policies/{ref}/review")
    await review(emre, ref, reason="Fine by me.")

    edit = await chidi.get(f"/policies/{ref}/edit")
    unchanged = await send(chidi, edit, f"/policies/{ref}/edit", change_note="Nothing", do="submit")
    assert unchanged.status_code == 422, "the same text is no new version"
    amended = await send(
        chidi,
        edit,
        f"/policies/{ref}/edit",
        text=TEXT.replace("one year", "two years"),
        change_note="Two years, as the law asks.",
        do="submit",
    )
    assert "Version 2 stands now" in amended.text

    stale = await send(dana, first_reading, f"/policies/{ref}/reviews", decision="approve", reason="Good.")
    assert stale.status_code == 409
    reading = check_page(stale)
    assert f"/policies/{ref}/changes" in links(reading), "a stale reading leads to what changed"
    kept = values(find_form(reading, f"/policies/{ref}/reviews"))
    assert kept["reason"].strip() == "Good." and "decision" not in kept
    changes = check_page(await dana.get(f"/policies/{ref}/changes?from=1&to=2"))
    assert [text_of(e) for e in changes.iter("del")] == ["one year"] or "one" in text_of(
        next(changes.iter("del"))
    )
    assert "two" in text_of(next(changes.iter("ins")))
    voided = await client.get(f"/policies/{ref}/review")
    assert "Void: text changed" in voided.text

    await review(dana, ref)
    approved = await review(emre, ref, reason="Still fine.")
    assert "The review is complete" in approved.text
    assert "Public comment" in approved.text
    await move_clock(ada, "P1D")

    ballot = await ada.get(f"/policies/{ref}/ballot")
    form = find_form(check_page(ballot), f"/policies/{ref}/ballot/votes")
    stated = text_of(check_page(ballot))
    assert "This ballot is sealed: how you vote is not published." in stated, "said before anybody votes"
    assert "What a sealed ballot hides, and what it does not" in stated
    assert "after the close also how" in stated
    assert "choice" not in values(form), "nothing is preselected"
    assert len([control for control in form.iter("input") if control.get("type") == "radio"]) == 3
    nothing = await send(ada, ballot, f"/policies/{ref}/ballot/votes")
    assert nothing.status_code == 422
    check_page(nothing)
    assert "Choose for, against or abstain" in nothing.text
    cast = await send(ada, ballot, f"/policies/{ref}/ballot/votes", choice="against")
    first = receipt_code(cast)
    change = await send(ada, cast, f"/policies/{ref}/ballot/votes", choice="for")
    second = receipt_code(change)
    assert first != second
    assert "Replaced by a later vote" in (await client.get(f"/receipts/{first}")).text

    for path in (
        f"/policies/{ref}/results",
        f"/policies/{ref}/ballot",
        f"/policies/{ref}/timeline",
        "/votes",
    ):
        page = await client.get(path)
        assert page.status_code == 200
        assert not re.search(r"\b1 (of \d+ )?(vote|for|voted)", text_of(check_page(page))), path
    assert (await client.get(f"/policies/{ref}/results/openings.json")).status_code == 409

    own = await ada.get(f"/receipts/{second}")
    assert "You chose" not in own.text
    assert "You chose" in (await ada.get(f"/receipts/{second}?show=choice")).text
    assert "You chose" not in (await dana.get(f"/receipts/{second}?show=choice")).text

    unplaced = await client.get(f"/receipts/{second}")
    assert "load this page again" in text_of(check_page(unplaced)) and "/audit/entries/" not in unplaced.text
    await move_clock(ada, "P7D")
    await seal(app, tmp_path / "checkpoint", sign=False)
    result = check_page(await client.get(f"/policies/{ref}/results"))
    assert "Passed" in text_of(result)
    recounted = await client.get(f"/policies/{ref}/results?recount=1")
    check_page(recounted)
    assert "The recount agrees" in recounted.text
    published = json.loads((await client.get(f"/policies/{ref}/results/openings.json")).text)
    assert [opening["choice"] for opening in published["openings"]] == ["for"]
    receipt = await client.get(f"/receipts/{second}")
    assert "Its commitment is among those under the ballot root" in receipt.text
    index = (await client.get(f"/api/v1/receipts/{second}")).json()["log_index"]
    assert {f"/audit/entries/{index}", f"/api/v1/audit/entries/{index}/proof"} <= set(
        links(check_page(receipt))
    )
    entered = await client.get(f"/audit/entries/{index}")
    assert published["openings"][0]["commitment"] in entered.text
    in_force = await client.get(f"/policies/{ref}/implementation")
    check_page(in_force)
    assert "On the chain" in in_force.text and "Queued" in in_force.text
    late = await send(ada, change, f"/policies/{ref}/ballot/votes", choice="against")
    assert late.status_code == 409
    check_page(late)


def receipt_code(page) -> str:
    document = check_page(page)
    return text_of(document.find(".//p[@class='receipt-code']/code"))


async def test_only_the_council_can_declare_an_emergency(chidi, as_persona, client):
    farah = await as_persona("farah")
    offered = find_form(check_page(await farah.get("/policies/new")), "/policies")
    assert offered.find(".//input[@name='emergency']") is not None
    page = await chidi.get("/policies/new")
    assert find_form(check_page(page), "/policies").find(".//input[@name='emergency']") is None
    forced = await send(chidi, page, "/policies", **DRAFT, emergency="true", do="submit")
    assert forced.status_code == 403
    check_page(forced)
    ref = await propose(farah, emergency="true", risk_strategy="")
    shown = await client.get(f"/policies/{ref}")
    assert "Emergency" in shown.text and "open for 3 days" in shown.text
