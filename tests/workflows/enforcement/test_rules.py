"""From vote to machine: what passes the gate, what does not and why, and what a rule would have changed."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from tests.workflows.enforcement.conftest import GRANTS, TREASURY, Enforcing, grant, rego
from workflows.policy_creation import ballots, drafts
from workflows.policy_creation.views import RuleDraft
from workflows.policy_enforcement import decisions, replay, rules
from workflows.policy_enforcement.decisions import Asked
from workflows.storage.tables import impact, policy, rule_check

SMALL = 'package policies.{name}\n\nactions := {{"{action}"}}\n\ndefault allow := false\n\n{body}\n'


def small(name: str, body: str, *examples: tuple[dict[str, Any], Any], action: str = "grant") -> RuleDraft:
    source = SMALL.format(name=name, action=action, body=body)
    return RuleDraft("rego", source, [{"input": given, "expect": expect} for given, expect in examples])


async def why_not(e: Enforcing, ref: str) -> str:
    query = sa.select(policy.c.state_reason).where(policy.c.ref == ref)
    assert await e.a.state(ref) == "returned"
    return (await e.a.connection.execute(query)).scalar_one()


@pytest.mark.parametrize(
    "rule, why",
    [
        (RuleDraft("rego", "package policies.x\n\nallow if {\n", [{"input": grant(), "expect": "allow"}]), "cannot be run"),
        (rego(GRANTS, []), "at least one example"),
        (rego(GRANTS, [{"input": grant(500), "expect": "deny"}]), "Example 1 should give deny and gives allow"),
        (rego(GRANTS, [{"input": grant(500), "expect": "maybe"}]), "Example 1 expects allow"),
        (rego(GRANTS, [{"input": {"amount": 3}, "expect": "deny"}]), "input of example 1"),
        (RuleDraft("datalog", TREASURY, [{"input": {"action": {"type": "payment", "amount": 9000}}, "expect": "allow"}]),
         "Example 1 should give allow and gives deny"),
        (small("loop", "allow if count({[a, b, c] | some a in numbers.range(1, 900); some b in numbers.range(1, 900); "
               "some c in numbers.range(1, 900)}) > 5", (grant(), "allow")), "too much time"),
    ],
)  # fmt: skip
async def test_a_rule_that_cannot_be_applied_goes_back_before_the_ballot(
    enforcing: Enforcing, rule: RuleDraft, why: str
) -> None:
    ref = await enforcing.review(rule)
    assert why in await why_not(enforcing, ref)
    await drafts.amend(
        enforcing.a.unit(enforcing.a.author), enforcing.a.figures, ref, enforcing.a.draft(rule=rego())
    )
    assert await enforcing.a.state(ref) == "in_review", "its author mends it, and the review begins anew"


async def test_a_ballot_waits_until_the_rule_was_judged(enforcing: Enforcing) -> None:
    ref = await enforcing.a.create(rule=rego())
    await enforcing.a.approve(ref, enforcing.a.dana, enforcing.a.emre)
    enforcing.a.later(days=8)
    assert await ballots.open_due(enforcing.a.unit(), enforcing.a.figures) == []
    assert await enforcing.a.state(ref) == "public_comment"
    assert await rules.judge_waiting(enforcing.rulebook) == 1
    assert await rules.judge_waiting(enforcing.rulebook) == 0
    assert await ballots.open_due(enforcing.a.unit(), enforcing.a.figures) == [ref]


async def test_a_rule_is_judged_anew_when_the_rules_in_force_change(enforcing: Enforcing) -> None:
    waiting = await enforcing.a.create(rule=rego(), title="It waits")
    await rules.judge_waiting(enforcing.rulebook)
    await enforcing.enact(small("other", 'deny contains "No grants." if input.action.amount < 600',
                                (grant(500), "deny")), title="Nothing small")  # fmt: skip
    assert await rules.judge_waiting(enforcing.rulebook) == 1
    query = sa.select(rule_check.c.passed, rule_check.c.report).order_by(rule_check.c.checked_at)
    rows = [
        row
        for row in await enforcing.a.connection.execute(query)
        if row.report["declared"]["name"] == "grants"
    ]
    assert [row.passed for row in rows] == [True, False]
    conflict = msgspec.convert(rows[-1].report, rules.Report).conflicts[0]
    assert "Example 1 gives allow by itself, and deny because of POL-2026-0002" in conflict.text
    assert waiting == "POL-2026-0001"


async def test_two_rules_of_one_name_never_stand_in_one_bundle(enforcing: Enforcing) -> None:
    """Both pass the gate while neither is in force; the first ballot to open holds the name."""
    first = await enforcing.a.create(rule=rego(), title="First")
    second = await enforcing.a.create(rule=rego(), title="Second")
    for ref in (first, second):
        await enforcing.a.approve(ref, enforcing.a.dana, enforcing.a.emre)
    await rules.judge_waiting(enforcing.rulebook)
    enforcing.a.later(days=8)
    await ballots.open_due(enforcing.a.unit(), enforcing.a.figures)
    assert [await enforcing.a.state(ref) for ref in (first, second)] == ["voting", "returned"]
    assert f"{first} has a rule with the name “grants” already" in await why_not(enforcing, second)


async def test_a_rule_that_breaks_an_example_of_one_in_force_conflicts(enforcing: Enforcing) -> None:
    grants = await enforcing.enact(rego())
    rule = small("all", "allow if input.action.amount > 2000", (grant(3000), "allow"))
    report = await rules.judge(enforcing.rulebook, rule)
    assert not report.passed
    assert report.conflicts[0].policy == grants
    assert report.conflicts[0].text == f"Example 3 of {grants} would give allow instead of deny."
    harmless = small(
        "harmless", "allow if input.action.amount == 5", ({"action": {"type": "grant", "amount": 5}}, True)
    )
    assert (await rules.judge(enforcing.rulebook, harmless)).passed


async def test_a_report_shows_each_example(enforcing: Enforcing) -> None:
    report = await rules.judge(enforcing.rulebook, rego())
    assert report.passed and report.summary() == ""
    assert [(item.number, item.expect, item.got, item.passed) for item in report.examples] == [
        (1, "allow", "allow", True), (2, "conditional_allow", "conditional_allow", True),
        (3, "deny", "deny", True), (4, "deny", "deny", True),
    ]  # fmt: skip
    assert "Nobody decides on their own grant." in report.examples[3].why


async def test_the_replay_equals_brute_force(enforcing: Enforcing) -> None:
    """Deciding every recorded action twice, under both bundles, gives the same list."""
    await enforcing.enact(rego())
    dice = random.Random(7)
    asked = [
        Asked({"type": dice.choice(["grant", "export"]), "amount": dice.randrange(3000), "decided_by": ["m1", "m2", f"m{n % 4}"]},
              {"id": f"m{dice.randrange(5)}"})
        for n in range(120)
    ]  # fmt: skip
    for start in (0, 60):
        await decisions.decide(
            enforcing.rulebook,
            enforcing.acting(enforcing.operator),
            asked[start : start + 60],
            enforcing.operator,
        )
    rule = small("cap", 'deny contains "Too much." if input.action.amount > 700\nallow if input.action.amount < 100',
                 (grant(800), "deny"), ({"action": {"type": "export", "amount": 50}}, "deny"))  # fmt: skip
    checked = await enforcing.rulebook.engine.check("rego", rule.source)
    found = await replay.replay(enforcing.rulebook, rule, checked.declared, of="POL-2026-0099")
    assert (found.actions, found.in_scope) == (120, sum(item.action["type"] == "grant" for item in asked))

    bundle = await enforcing.rulebook.current()
    among = rules.with_rule(bundle, rule, checked.declared, "POL-2026-0099")
    expected = {}
    for action in await replay.recorded(enforcing.rulebook.units):
        (old,) = await rules.outcomes(enforcing.rulebook.engine, bundle, [action.input])
        (new,) = await rules.outcomes(enforcing.rulebook.engine, among, [action.input])
        if old.outcome != new.outcome:
            expected[action.id] = (old.outcome, new.outcome)
    assert {change.decision: (change.before, change.after) for change in found.changes} == expected
    assert 5 < found.changed == len(expected) == sum(found.counts.values())


async def test_versions_on_their_way_are_replayed_once_a_bundle(enforcing: Enforcing) -> None:
    await enforcing.enact(rego())
    await enforcing.decide(grant(500))
    rule = small("none", 'deny contains "None." if input.action.amount > 100', (grant(5000), "deny"))
    await enforcing.a.create(rule=rule, title="No grants")
    assert await replay.replay_waiting(enforcing.rulebook) == 0, "not before it was judged"
    await rules.judge_waiting(enforcing.rulebook)
    assert await replay.replay_waiting(enforcing.rulebook) == 1
    assert await replay.replay_waiting(enforcing.rulebook) == 0
    row = (await enforcing.a.connection.execute(sa.select(impact))).mappings().one()
    assert (row["actions"], row["changed"]) == (1, 1)
    (change,) = msgspec.convert(row["report"], replay.Replayed).changes
    assert (change.before, change.after, change.why) == ("allow", "deny", "None.")
