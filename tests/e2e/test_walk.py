"""The main job, end to end, in a browser: a policy drafted, reviewed, voted, anchored on Solana, and verified by a stranger.

Every step is walked twice, with JavaScript and without; only following the chain differs.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.browsing import Visitor
from tests.e2e.conftest import Starting
from tests.e2e.running import Portal

TITLE = "Quiet hours for automated messages"
TEXT = """## Rule

Machines send members no messages between **22:00** and 07:00.

## Exception

Warnings of danger to people are sent at any time.
"""
TIPPING = "What we build is free for everyone"
ANCHOR_STATES = ["queued", "submitted", "confirmed", "finalized"]


@pytest.fixture(scope="module", params=[True, False], ids=["with-javascript", "without-javascript"])
def javascript(request: pytest.FixtureRequest) -> bool:
    return request.param


@pytest.fixture(scope="module")
def portal(start: Starting, javascript: bool) -> Iterator[Portal]:
    with start() as portal:
        yield portal


@pytest.fixture
def somebody(visitor: Callable[..., Visitor], portal: Portal, javascript: bool) -> Visitor:
    return visitor(portal, java_script_enabled=javascript)


def test_from_draft_to_an_open_ballot(somebody: Visitor, javascript: bool) -> None:
    ref = write(somebody, javascript)
    submit(somebody)
    return_it(somebody, ref)
    amend(somebody, ref, "22:00", "21:00", "Dana asked for an earlier hour.")
    read_the_difference(somebody, ref, removed="22", added="21")
    review(somebody, "dana", ref, "Approve", "Clear and kind.")
    amend(somebody, ref, "07:00", "08:00", "Weekends start later.")
    find_the_approval_void(somebody, ref)
    review(somebody, "dana", ref, "Approve", "Still clear.")
    review(somebody, "emre", ref, "Approve", "No conflict with the law.")
    wait_for_the_ballot(somebody, ref)
    vote_only_once_eligible(somebody, ref)


def test_from_the_vote_to_the_chain_and_back(
    somebody: Visitor, visitor: Callable[..., Visitor], portal: Portal, javascript: bool, tmp_path: Path
) -> None:
    ref = find(somebody, TIPPING)
    vote_and_change_it(somebody, ref)
    counts_are_hidden(somebody, ref)
    jump_to_the_result(somebody, ref)
    follow_to_finality(somebody, ref, javascript)
    stranger = visitor(portal, java_script_enabled=javascript)
    verify(stranger, ref, steps=8)
    look_at_the_chain(stranger, ref)
    hash_the_constitution(stranger)
    tamper(stranger, portal, ref)
    suspend(somebody, ref)
    if javascript:  # once is enough to wait for
        follow_to_finality(somebody, ref, javascript)
        verify(stranger, ref, steps=9)


# --- draft and review ---


def write(v: Visitor, javascript: bool) -> str:
    v.act_as("chidi")
    page = v.goto("/policies/new")
    page.get_by_label("Title").fill(TITLE)
    page.get_by_label("Summary").fill("No machine wakes a member at night, unless people are in danger.")
    page.get_by_label("Text", exact=True).fill(TEXT)
    page.get_by_label("Governance", exact=True).check()
    page.get_by_label("Ask for a stricter tier").select_option("enhanced_validation")
    if not javascript:  # with it, what applies appears while one writes
        v.press("Preview")
    applies = page.locator("#rules")
    v.sees("Tier 2 · Enhanced validation", applies)
    for article in ("4.3", "5.2", "5.4", "5.7"):
        expect(
            applies.locator(f"a[href='/constitution#art-{article.replace('.', '-')}']").first
        ).to_be_visible()
    v.sees("The author asked for a stricter tier", applies)
    expect(page.locator("#preview strong")).to_have_text("22:00")
    assert page.get_by_label("Title").input_value() == TITLE
    v.press("Save draft")
    expect(page.get_by_role("heading", level=1)).to_have_text(TITLE)
    return re.search(r"POL-\d{4}-\d{4}", v.path)[0]


def submit(v: Visitor) -> None:
    v.press("Submit for review")
    v.sees("Reviewers are reading version 1")
    v.page.get_by_role("link", name="Review", exact=False).and_(v.page.locator(".tabs a")).click()
    expect(v.page.locator(".vote-why-no")).to_contain_text("you need the role reviewer or council")
    expect(v.page.get_by_role("button", name="Send the review")).to_have_count(0)


def review(v: Visitor, username: str, ref: str, decision: str, reason: str) -> None:
    v.act_as(username)
    page = v.goto(f"/policies/{ref}/review")
    expect(page.locator("[name=decision]:checked")).to_have_count(0)
    page.get_by_label(decision, exact=True).check()
    page.get_by_label("Why?").fill(reason)
    v.press("Send the review")
    v.sees(reason)


def return_it(v: Visitor, ref: str) -> None:
    review(v, "dana", ref, "Return", "Please begin an hour earlier.")
    v.sees("Returned")
    v.act_as("chidi")
    v.goto("/inbox")
    v.sees(TITLE)
    v.goto(f"/policies/{ref}")
    v.sees("Please begin an hour earlier.")


def amend(v: Visitor, ref: str, old: str, new: str, note: str) -> None:
    v.act_as("chidi")
    page = v.goto(f"/policies/{ref}/edit")
    text = page.get_by_label("Text", exact=True)
    text.fill(text.input_value().replace(old, new))
    page.get_by_label("What did you change, and why?").fill(note)
    page.get_by_role("button", name=re.compile("Submit as version")).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(TITLE)


def read_the_difference(v: Visitor, ref: str, removed: str, added: str) -> None:
    page = v.goto(f"/policies/{ref}/changes")
    expect(page.locator(".diff-old del")).to_contain_text(removed)
    expect(page.locator(".diff-new ins")).to_contain_text(added)
    v.sees("Dana asked for an earlier hour.")


def find_the_approval_void(v: Visitor, ref: str) -> None:
    page = v.goto(f"/policies/{ref}/review")
    v.sees("Approvals by reviewers: 0 of 2")
    approval = page.locator("li.card", has_text="Clear and kind.")
    expect(approval).to_contain_text("Void: text changed")
    approval.get_by_role("link", name="What changed since this review").click()
    expect(page.locator(".diff-new ins")).to_contain_text("08")


def wait_for_the_ballot(v: Visitor, ref: str) -> None:
    page = v.goto(f"/policies/{ref}")
    v.sees("The review is complete. When the comment period is over, the ballot opens by itself")
    v.move_clock("P1D")
    v.comes_to_see("Members are voting")
    assert v.path == f"/policies/{ref}"
    expect(page.locator(".tabs")).to_contain_text("Ballot")


# --- voting ---


def vote_only_once_eligible(v: Visitor, ref: str) -> None:
    for username, why in (("hal", "Only members vote"), ("ben", "You are a member and have not voted yet")):
        v.act_as(username)
        page = v.goto(f"/policies/{ref}/ballot")
        expect(page.locator(".vote-why")).to_contain_text(why)
        expect(page.get_by_role("button", name="Cast")).to_have_count(1 if username == "ben" else 0)


def find(v: Visitor, title: str) -> str:
    page = v.goto("/policies")
    page.get_by_role("searchbox", name="Words").fill(title)
    v.press("Show")
    page.locator("#found").get_by_role("link", name=title).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(title)
    return v.path.split("/")[2]


def cast(v: Visitor, choice: str) -> str:
    expect(v.page.locator("[name=choice]:checked")).to_have_count(0)
    v.page.get_by_label(choice, exact=True).check()
    v.press("Cast")
    expect(v.page.locator(".receipt-code code")).to_be_visible()
    return v.page.locator(".receipt-code code").inner_text()


def vote_and_change_it(v: Visitor, ref: str) -> None:
    v.act_as("ada")
    page = v.goto(f"/policies/{ref}/ballot")
    expect(page.locator(".vote-why")).to_contain_text("You are a member and have not voted yet")
    first = cast(v, "Against")
    page.goto(f"{v.url}/policies/{ref}/ballot")
    v.sees("A new vote replaces the one you cast")
    second = cast(v, "For")
    assert second != first
    v.goto(f"/receipts/{first}")
    v.sees("Replaced by a later vote")
    v.goto(f"/receipts/{second}")
    v.sees("it counts as things stand")
    expect(page.locator("main")).not_to_contain_text("You chose")
    page.get_by_role("link", name="Show my choice").click()
    expect(page.locator("#choice .badge-for")).to_have_text("For")


def counts_are_hidden(v: Visitor, ref: str) -> None:
    v.goto(f"/policies/{ref}/results")
    v.sees("The counts are hidden until the close")
    expect(v.page.locator(".chart")).to_have_count(0)


def jump_to_the_result(v: Visitor, ref: str) -> None:
    page = v.goto(f"/policies/{ref}")
    v.move_clock("P3D")
    v.sees("It is in force")
    v.goto(f"/policies/{ref}/results")
    expect(page.locator(".chart-outcome")).to_contain_text("Passed")
    # 307 or so could vote; the newcomer's vote made the quorum, which votes against do not.
    figures = re.search(r"for and abstaining (\d+), quorum (\d+)", page.locator(".chart").inner_text())
    assert figures[1] == figures[2]
    expect(page.get_by_text("Recount now")).to_be_visible()
    page.get_by_role("link", name="Recount now").click()
    v.sees("The recount agrees")


# --- the chain ---


def follow_to_finality(v: Visitor, ref: str, javascript: bool) -> None:
    """With JavaScript the page moves by itself, told over the WebSocket; without, by being loaded again."""
    page = v.goto(f"/policies/{ref}/implementation")
    page.evaluate("window.loadedOnce = true")
    seen = [_anchor_state(page)]
    while seen[-1] != "finalized":
        assert len(seen) < 400, seen
        page.wait_for_timeout(100 if javascript else 700)
        if not javascript:
            page.reload()
        seen.append(_anchor_state(page))
    order = [state for position, state in enumerate(seen) if position == 0 or seen[position - 1] != state]
    assert len(order) > 1, "it was final before it could be followed"
    assert order == [state for state in ANCHOR_STATES if state in order]
    assert bool(page.evaluate("window.loadedOnce")) is javascript
    if javascript:
        expect(page.locator("#live-state")).to_have_attribute("data-state", "live")
    expect(page.locator(".chain").last).to_contain_text("it can no longer be undone")


def _anchor_state(page: Page) -> str:
    """Of the newest record: the step that is current, or the last one when all are done."""
    title = page.locator(".chain").last.locator(
        ".step-current .step-title, .step-done:last-child .step-title"
    )
    return title.inner_text(timeout=10_000).strip().lower()


def verify(v: Visitor, ref: str, steps: int) -> None:
    page = v.goto(f"/policies/{ref}/verify")
    expect(page.locator(".verdict-pass")).to_contain_text("Everything agrees")
    expect(page.locator(".check-pass")).to_have_count(steps)
    expect(page.locator(".check")).to_have_count(steps)
    explorers = page.locator("a.outside[href^='https://explorer.solana.com/']")
    assert explorers.count() >= 3
    for link in explorers.all():
        asked = parse_qs(urlsplit(link.get_attribute("href")).query)
        assert asked["cluster"] == ["custom"]
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", asked["customUrl"][0])


def look_at_the_chain(v: Visitor, ref: str) -> None:
    page = v.page
    page.get_by_role("link", name="the transaction that enacted it").click()
    for name in ("propose_policy", "enact_policy", "Memo"):
        v.sees(name)
    v.sees(ref)
    v.goto(f"/policies/{ref}/verify")
    page.get_by_role("link", name="the policy's account").first.click()
    v.sees("Policy account")
    v.sees("is active")


def hash_the_constitution(v: Visitor) -> None:
    v.goto("/constitution")
    answer = v.context.request.get(f"{v.url}/constitution/document")
    digest = hashlib.sha256(answer.body()).hexdigest()
    v.sees(digest[:8])
    expect(v.page.locator(".compare-same")).to_contain_text("All 32 bytes equal")
    assert answer.headers["x-constitution-hash"] == digest


def suspend(v: Visitor, ref: str) -> None:
    v.act_as("farah")
    page = v.goto(f"/policies/{ref}/implementation")
    page.get_by_text("Suspend the policy", exact=True).click()
    page.get_by_label("Why must it be suspended?").fill("A licence in it turned out to be unlawful.")
    v.press("Suspend it now")
    v.sees("A licence in it turned out to be unlawful.")
    record = v.goto(f"/policies/{ref}/implementation").locator(
        ".card", has_text="The record of its suspension"
    )
    expect(record).to_have_count(1)


# --- what a verifier is for ---


def tamper(v: Visitor, portal: Portal, ref: str) -> None:
    """The database's owner changes one byte; the page turns red and says where. Put back, it is green again."""
    version = f"""WHERE (policy_id, number) IN (SELECT id, current_version FROM policy WHERE ref = '{ref}')"""
    change = "UPDATE policy_version SET text = replace(text, '{}', '{}') " + version
    portal.sql(change.format("thirty days", "thirtx days"))
    page = v.goto(f"/policies/{ref}/verify")
    expect(page.locator(".verdict-fail")).to_contain_text("Something does not agree")
    red = page.locator(".check-fail")
    expect(red.first.get_by_role("heading")).to_have_text("The text")
    expect(red.first.locator(".compare-different")).to_contain_text("First different byte")
    portal.sql(change.format("thirtx days", "thirty days"))
    page.reload()
    expect(page.locator(".verdict-pass")).to_be_visible()
