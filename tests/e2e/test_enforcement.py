"""Enforcement in a browser: a rule written with help, a decision tried, and what machines are told as it happens."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.e2e.browsing import Visitor
from tests.e2e.running import Portal
from tests.e2e.samples import Program

RULE = """package policies.quiet_printers

actions := {"print"}

default allow := false

allow if {
    input.action.pages < 20
"""
EXAMPLES = [
    {"input": {"action": {"type": "print", "pages": 3}}, "expect": "allow"},
    {"input": {"action": {"type": "print", "pages": 30}}, "expect": "deny"},
]


@pytest.fixture
def v(visitor: Callable[..., Visitor], portal: Portal) -> Visitor:
    return visitor(portal)


def test_a_rule_is_written_with_its_faults_at_their_lines(v: Visitor) -> None:
    v.act_as("chidi")
    page = v.goto("/policies/new")
    page.get_by_label("Title").fill("Printers print little")
    page.get_by_label("Summary").fill("Twenty pages are enough.")
    page.get_by_label("Text", exact=True).fill("A printer prints fewer than 20 pages at once.")
    page.get_by_label("Governance", exact=True).check()
    page.get_by_text("Add an executable rule").click()
    page.get_by_label("Language").select_option("rego")
    source = page.get_by_label("Rule", exact=False).and_(page.locator("textarea")).first
    source.fill(RULE)
    report = page.locator("#rule-report")
    v.sees("The rule cannot be run", report)
    fault = report.locator("[data-line]").first
    line = int(fault.get_attribute("data-line") or 0)
    assert line >= 7
    fault.click()
    expect(source).to_be_focused()
    chosen = source.evaluate("each => each.value.slice(0, each.selectionStart).split('\\n').length")
    assert chosen == line, "the caret stands in that line"
    source.fill(RULE + "}\n")
    page.get_by_label("Examples").fill("\n".join(map(json.dumps, EXAMPLES)))
    v.sees("its examples hold", report)
    page.get_by_label("Examples").fill(json.dumps({**EXAMPLES[0], "expect": "deny"}))
    v.sees("Does not hold", report)
    v.refusals.add(422)
    v.press("Submit for review")
    v.sees("Example 1 should give deny and gives allow")
    assert source.input_value().strip() == (RULE + "}").strip(), "nothing is lost"


def test_a_decision_is_tried_and_explained(v: Visitor) -> None:
    page = v.goto("/enforcement")
    v.sees("Sign in to try a decision")
    v.act_as("ada")
    page = v.goto("/enforcement")
    page.get_by_label("Action", exact=True).first.fill('{"type": "nobody.allows.this"}')
    v.press("Try it")
    v.sees("No rule in force is about this action", page.locator("#tried"))
    page.get_by_role("link", name="The decision, and its recomputation").click()
    v.sees("The same comes out")


def test_decisions_appear_as_they_are_made(v: Visitor, portal: Portal) -> None:
    page = v.goto("/enforcement")
    expect(page.locator("#live-decisions")).to_be_visible()
    answer = Program(portal, "ada").post(
        "/api/v1/workflows/policy-enforcement", action={"type": "seen.live"}, mode="dry_run"
    )
    assert answer["decision"] == "deny"
    v.sees("seen.live", page.locator("#live-decisions"))


def test_a_violation_leads_to_its_decision_and_to_an_appeal(v: Visitor, portal: Portal) -> None:
    ref = portal.get("/api/v1/violations", severity="high", state="open", limit=1)["items"][0]["ref"]
    v.act_as("ada")
    page = v.goto(f"/violations/{ref}")
    page.get_by_text("Appeal", exact=True).first.click()
    page.locator("details.confirm[open] textarea").fill("It was somebody else with my name.")
    page.locator("details.confirm[open] button[type=submit]").click()
    v.sees("Your appeal is made")
    v.act_as("ines")
    v.goto("/inbox")
    page.get_by_role("link").and_(page.locator(f"a[href='/violations/{ref}']")).first.click()
    v.sees("What was done")
