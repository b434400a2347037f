"""Beginning from a goal in a browser: drafts, the one that is taken, and what the policy says of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.browsing import Visitor
from tests.e2e.running import Portal
from tests.e2e.test_accessibility import check

GOAL = "A member may order things for up to 3,000 euros alone, and reports within two weeks."


@pytest.fixture
def v(visitor: Callable[..., Visitor], portal: Portal) -> Visitor:
    return visitor(portal)


def sound(page: Page) -> None:
    """Everyone can use it; afterwards the window is as it was."""
    check(page)
    page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": 1280, "height": 900})


def test_a_goal_becomes_a_draft_of_ones_own(v: Visitor) -> None:
    v.act_as("chidi")
    page = v.goto("/policies/new")
    page.get_by_text("Begin from a goal").click()
    page.get_by_label("What is the policy to reach?").fill(GOAL)
    v.press("Draft policies")
    v.sees("Purchases of up to 3,000 euros")
    v.sees("No language model is set up here")
    card = page.locator("article", has_text="Purchases of up to 3,000 euros").first
    v.sees("Its rule runs", card)
    card.get_by_text("Rule and examples").click()
    v.sees("input.action.amount <= 3000", card)
    sound(page)
    card.get_by_role("button", name="Use this draft").click()
    expect(page.get_by_label("Title")).to_have_value("Purchases of up to 3,000 euros")
    v.sees("It comes from the template")
    sound(page)
    page.get_by_label("Summary").fill("Members order small things by themselves.")
    v.press("Save draft")
    v.told("is kept as a draft")
    v.sees("Begun with a synthesised draft")
    page.get_by_text("What it was made from").click()
    v.sees(GOAL)
    sound(page)


def test_it_works_by_keyboard_on_a_phone(visitor: Callable[..., Visitor], portal: Portal) -> None:
    v = visitor(portal, width=390, height=844)
    v.act_as("chidi")
    page = v.goto("/policies/begin")
    page.get_by_label("What is the policy to reach?").fill("Payments above 5,000 euros need two signatures")
    page.get_by_label("Privacy").focus()
    page.keyboard.press("Space")
    page.get_by_role("button", name="Draft policies").focus()
    page.keyboard.press("Enter")
    v.sees("What was put in")
    check(page)
