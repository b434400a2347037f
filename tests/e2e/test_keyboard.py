"""A keyboard is enough for the main job: sign in, write, review and vote by Tab, Space, Enter and the arrows alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.e2e.browsing import Visitor
from tests.e2e.running import Portal
from tests.e2e.samples import names_in

MOST_TABS = 150
FOCUSED = """() => {
  const e = document.activeElement, box = e.getBoundingClientRect();
  const outlined = (x) => x && getComputedStyle(x).outlineStyle !== "none" && parseFloat(getComputedStyle(x).outlineWidth) >= 2;
  const spoken = (e.labels?.length ? e.labels[0] : e).cloneNode(true);
  spoken.querySelectorAll("[aria-hidden=true]").forEach((part) => part.remove());
  const name = e.getAttribute("aria-label") || spoken.textContent;
  return {
    name: name.replace(/\\s+/g, " ").trim(),
    kind: e.type || e.tagName.toLowerCase(),
    seen: [e, e.parentElement, e.closest(".vote-card"), e.nextElementSibling].some(outlined),
    inView: box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth,
    html: e.outerHTML.slice(0, 120),
  };
}"""


@pytest.fixture
def v(visitor: Callable[..., Visitor], portal: Portal) -> Visitor:
    # The focus is looked for at once, not on its way down a smoothly scrolling page.
    return visitor(portal, reduced_motion="reduce")


def tab_to(v: Visitor, name: str, kind: str | None = None) -> None:
    """Press Tab until the control called `name` has the focus. On the way the focus is always seen."""
    passed = []
    for _ in range(MOST_TABS):
        v.page.keyboard.press("Tab")
        at = v.page.evaluate(FOCUSED)
        if at["kind"] == "body":  # past the end, and round again
            continue
        assert at["seen"], f"the focus cannot be seen: {at['html']}"
        assert at["inView"], f"the focus is out of sight: {at['html']}"
        if at["name"].startswith(name) and kind in (None, at["kind"]):
            return
        passed.append(at["name"][:30])
    raise AssertionError(f"Tab does not reach {name}; it passed {passed}")


def write(v: Visitor, name: str, text: str) -> None:
    tab_to(v, name)
    v.page.keyboard.type(text)


def follow(v: Visitor, name: str, kind: str | None = None) -> None:
    tab_to(v, name, kind)
    v.page.keyboard.press("Enter")


def sign_in(v: Visitor, username: str) -> None:
    """By name and password, as outside the demonstration."""
    if v.page.url == "about:blank":
        v.goto("/")
    else:
        follow(v, "Your account")
        follow(v, "Sign out", "submit")
        v.told("You are signed out")
    follow(v, "Sign in", "a")
    expect(v.page.get_by_role("heading", level=1)).to_have_text("Sign in")
    write(v, "User name", username)
    write(v, "Password", "demo")
    v.page.keyboard.press("Enter")
    v.told("You are signed in as")


def test_the_skip_link_comes_first_and_leads_to_the_content(v: Visitor) -> None:
    page = v.goto("/policies")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    assert page.locator(".skip").bounding_box()["height"] >= 24
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    page.keyboard.press("Tab")
    assert page.evaluate("document.querySelector('main').contains(document.activeElement)")


def test_from_signing_in_to_a_vote(v: Visitor, portal: Portal) -> None:
    page, title = v.page, "A bell before each meeting"
    sign_in(v, "chidi")
    follow(v, "Write a policy")
    expect(page.get_by_role("heading", level=1)).to_contain_text("policy")
    write(v, "Title", title)
    write(v, "Summary", "A bell tells everyone in the house that a meeting begins.")
    write(v, "Text", "A bell rings five minutes before a meeting begins.")
    tab_to(v, "Constitutional", "radio")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    expect(page.get_by_label("Governance", exact=True)).to_be_checked()
    follow(v, "Submit for review", "submit")
    v.sees("Reviewers are reading version 1")
    ref = v.path.split("/")[2]

    sign_in(v, "dana")
    follow(v, "Reviews")
    expect(page.get_by_role("heading", level=1)).to_have_text("Reviews")
    follow(v, title)
    expect(page.get_by_role("heading", level=1)).to_have_text(title)
    tab_to(v, "Approve", "radio")
    page.keyboard.press("Space")
    write(v, "Why?", "Short, and it helps.")
    follow(v, "Send the review", "submit")
    v.told("Your approval is recorded")
    v.comes_to_see("Members are voting")

    sign_in(v, "ada")
    follow(v, "Votes")
    expect(page.get_by_role("heading", level=1)).to_have_text("Votes")
    follow(v, title)
    expect(page.get_by_role("heading", level=1)).to_have_text(title)
    expect(page.locator("[name=choice]:checked")).to_have_count(0)
    tab_to(v, "For", "radio")
    page.keyboard.press("ArrowRight")
    expect(page.get_by_label("Against", exact=True)).to_be_checked()
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_label("For", exact=True)).to_be_checked()
    follow(v, "Cast", "submit")
    expect(page.locator(".receipt-code")).to_be_visible()
    assert v.path == f"/policies/{ref}/ballot"


def test_the_council_suspends_by_keyboard(v: Visitor, portal: Portal) -> None:
    ref = names_in(portal)["ruled"]
    sign_in(v, "farah")
    v.goto(f"/policies/{ref}/implementation")
    follow(v, "Suspend the policy")
    expect(v.page.get_by_role("button", name="Suspend it now")).to_be_visible()
    v.page.keyboard.press("Escape")
    expect(v.page.get_by_role("button", name="Suspend it now")).to_be_hidden()
    v.page.keyboard.press("Enter")
    write(v, "Why must it be suspended?", "Tried by keyboard.")
    follow(v, "Suspend it now", "submit")
    v.sees("Suspended")
