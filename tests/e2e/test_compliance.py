"""Compliance in a browser: people decide what the machine left to them, the council overrides, anyone tries a text by keyboard."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import expect

from tests.e2e.browsing import Visitor
from tests.e2e.conftest import Starting
from tests.e2e.running import Portal
from tests.e2e.samples import names_in
from tests.e2e.test_keyboard import tab_to

BREACH = "The ballots about money are decided by the chair, whose vote counts twice."


@pytest.fixture(scope="module")
def portal(start: Starting) -> Iterator[Portal]:
    with start() as portal:
        yield portal


@pytest.fixture(scope="module")
def names(portal: Portal) -> dict[str, str]:
    return names_in(portal)


@pytest.fixture
def v(visitor: Callable[..., Visitor], portal: Portal) -> Visitor:
    return visitor(portal, reduced_motion="reduce")


def test_who_is_asked_decides_and_the_ballot_opens(v: Visitor, names: dict[str, str]) -> None:
    ref = names["asked"]
    v.act_as("dana")
    page = v.goto("/inbox")
    page.locator(f"a[href='/policies/{ref}/compliance']").click()
    v.sees("Its ballot waits for people")
    page.get_by_label("It complies").check()
    page.get_by_label("Why?").fill(
        "Somebody looks at it again when asked; the text could say so more clearly."
    )
    page.get_by_text("Say what each passage does").click()
    page.get_by_role("group", name="Finding 1").get_by_label("Neither").check()
    v.press("Decide")
    v.told("Your decision is recorded")
    v.sees("Its ballot may open")
    v.sees("Somebody looks at it again when asked")
    for username in ("dana", "emre"):
        v.act_as(username)
        page = v.goto(f"/policies/{ref}/review")
        page.get_by_label("Approve", exact=True).check()
        page.get_by_label("Why?").fill("It can be voted on.")
        v.press("Send the review")
        v.told("Your approval is recorded")
    v.move_clock("P1D")
    v.goto(f"/policies/{ref}")
    expect(page.locator("#standing")).to_contain_text("Members are voting", timeout=60_000)


def test_the_council_overrides_a_finding(v: Visitor, names: dict[str, str]) -> None:
    path = f"/policies/{names['stopped']}/compliance"
    v.goto(path)
    v.sees("Its ballot stays shut")
    v.sees("1 of 2 for it, 2 needed")
    v.act_as("gita")
    page = v.goto(path)
    page.get_by_label("Override the finding").check()
    page.get_by_label("Why?").fill("The members should say.")
    v.press("Say so")
    v.told("The finding is overridden")
    v.sees("Its ballot may open")
    v.goto("/compliance/disagreements")
    v.sees("Who keeps the servers")


def test_a_text_is_tried_by_keyboard(v: Visitor) -> None:
    v.act_as("ada")
    page = v.goto("/compliance/try")
    tab_to(v, "Text")
    page.keyboard.type(BREACH)
    tab_to(v, "Hold it against the constitution")
    page.keyboard.press("Enter")
    # The first judgement of a process waits for what it imports.
    expect(page.locator("#tried")).to_contain_text("Findings by principle", timeout=60_000)
    expect(page.locator("#tried")).to_be_focused()
    expect(page.locator("main")).to_have_count(1)
    before = page.locator("#tried-before")
    expect(before).to_contain_text("Texts you tried")
    expect(before).to_contain_text("comply")  # what became of it, and not that it waits
    tab_to(v, "Finding 1")
    page.keyboard.press("Enter")
    expect(page.locator("#finding-1")).to_be_in_viewport()
    tab_to(v, "See it in the text, finding 1")
    page.keyboard.press("Enter")
    expect(page.locator("mark").first).to_be_in_viewport()
    assert page.url.endswith("#passage-1") and "of=VAL-" in page.url


def test_a_draft_is_checked_without_being_kept(v: Visitor) -> None:
    v.act_as("chidi")
    page = v.goto("/policies/new")
    page.get_by_label("Text", exact=True).fill(BREACH)
    page.get_by_label("Governance", exact=True).check()
    v.press("Check against the constitution")
    expect(page.locator("#checked")).to_contain_text("Nothing of this is kept", timeout=60_000)
    expect(page.locator("#checked mark").first).to_contain_text("whose vote counts twice")
    assert page.get_by_label("Text", exact=True).input_value() == BREACH
