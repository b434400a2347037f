"""Each template yields a sound policy for every goal: its rule runs and its examples hold, whatever is put in."""

from __future__ import annotations

import re
from itertools import combinations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from workflows.constitution.document import Constitution
from workflows.constitutional_compliance.analysis import LocalJudge
from workflows.kinds import Compliance, RuleEngine, Strategy
from workflows.policy_creation import drafts
from workflows.policy_creation.synthesis import choosing, goals, making
from workflows.policy_creation.synthesis.shapes import Drafted, Left, Setting, Wish
from workflows.policy_creation.synthesis.templates.filling import CLAUSES, Template, fill
from workflows.policy_creation.views import PolicyDraft
from workflows.policy_enforcement import rules
from workflows.policy_enforcement.bundle import EMPTY, Bundle, revision_of
from workflows.policy_enforcement.engines.pool import EnginePool

NOTHING = Bundle(revision_of(EMPTY), EMPTY, {}, {})
BOTH = [(template, engine) for template in choosing.ALL for engine in template.rules]
GOALS = {
    "spending_limit": "A member may spend up to 2,000 euros alone",
    "joint_approval": "Payments above 5,000 euros need two signatures",
    "offers_compared": "Compare three offers before we buy anything above 10,000 euros",
    "system_access": "Access to production servers ends after 30 days",
    "data_export": "Only data stewards export personal data",
    "purpose_limitation": "Use personal data only for the purpose it was given for",
    "delegation": "Whoever holds a mandate may delegate it",
    "agent_permissions": "An AI agent may draft but a human approves what it sends",
    "second_look": "Automated refusals are explained and a person looks again",
    "release_review": "Releases need tests and two reviewers",
    "keep_records": "Keep minutes and contracts for six years",
    "erase_personal_data": "Delete personal data 30 days after its purpose ended",
    "publication_duty": "Publish grant decisions within two weeks",
    "incident_report": "Report incidents within 72 hours",
    "moderation": "How we moderate comments",
    "conflict_of_interest": "Nobody decides with a conflict of interest",
    "inherited_offices": "An office includes what lesser offices may do",
}


def filled(template: Template, engine: RuleEngine, goal: str, setting: Setting | None = None) -> Drafted:
    return fill(template, goals.read(goal), setting or Setting(), engine, "")


@pytest.mark.parametrize(("template", "engine"), BOTH, ids=lambda item: getattr(item, "key", item))
async def test_it_passes_the_gate_with_what_it_assumes(
    template: Template, engine: RuleEngine, pool: EnginePool
) -> None:
    drafted = filled(template, engine, "")
    report = await rules.examine(pool, drafted.rule, NOTHING, [])
    assert report.passed, report.summary()
    assert report.declared is not None and set(report.declared.facts) == set(drafted.facts)
    assert {item.expect for item in report.examples} & {"deny"}
    assert all(not item.quote for item in drafted.read), "nothing of it was said"


@pytest.mark.parametrize(("template", "engine"), BOTH, ids=lambda item: getattr(item, "key", item))
async def test_it_passes_the_gate_whatever_is_put_in(
    template: Template, engine: RuleEngine, pool: EnginePool
) -> None:
    amounts, periods = st.integers(1, goals.LARGEST), st.integers(1, 500)

    @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(amounts, max_size=3), st.lists(periods, max_size=3), st.integers(1, 9), st.data())
    def draw(money: list[int], times: list[int], people: int, data: st.DataObject) -> None:
        units = [data.draw(st.sampled_from(["hours", "days", "weeks"])) for _ in times]
        goal = " and ".join(
            [f"{value} euros" for value in money]
            + [f"{value} {unit}" for value, unit in zip(times, units, strict=True)]
            + [f"{people} people"]
        )
        drawn.append(filled(template, engine, goal))

    drawn: list[Drafted] = []
    draw()
    for drafted in drawn:
        report = await rules.examine(pool, drafted.rule, NOTHING, [])
        assert report.passed, (drafted.read, report.summary())


@pytest.mark.parametrize(("template", "engine"), BOTH, ids=lambda item: getattr(item, "key", item))
def test_what_it_yields_can_be_kept_as_it_is(
    template: Template, engine: RuleEngine, constitution: Constitution
) -> None:
    drafted = filled(template, engine, "", Setting(principles=constitution.principles))
    drafts.check(
        PolicyDraft(
            title=drafted.title,
            summary=drafted.summary,
            text=drafted.text,
            category=drafted.category,
            rule=drafted.rule,
        )
    )
    everything = f"{drafted.title} {drafted.summary} {drafted.text}"
    assert not re.search(r"\$|\{|\}", everything), "a place was not filled"
    assert drafted.text.count("\n- ") >= len(constitution.principles)


async def test_all_of_them_go_together(pool: EnginePool) -> None:
    bundle = NOTHING
    taken: list[str] = []
    for number, template in enumerate(choosing.ALL):
        drafted = filled(template, next(iter(template.rules)), "", Setting(taken=tuple(taken)))
        report = await rules.examine(pool, drafted.rule, bundle, [])
        assert report.passed and report.declared is not None, (template.key, report.summary())
        taken.append(report.declared.name)
        bundle = rules.with_rule(bundle, drafted.rule, report.declared, f"POL-2026-{number:04}")


async def test_they_comply_with_our_constitution_and_so_do_the_clauses_of_principles(
    pool: EnginePool, constitution: Constitution
) -> None:
    """By the judge itself. None breaks anything, and of ten at most one is a case for people."""
    drafts = [filled(template, engine, GOALS[template.key]) for template, engine in BOTH]
    drafts += [
        filled(choosing.ALL[0], RuleEngine.REGO, "", Setting(principles=(principle,)))
        for principle in constitution.principles
    ]
    judge = LocalJudge(engine=pool)
    try:
        results = await judge.judge(
            constitution, [making.subject(item) for item in drafts], level=Strategy.ENHANCED_VALIDATION
        )
    finally:
        await judge.close()
    verdicts = {
        f"{item.title}: {item.text[-90:]}": found for item, found in zip(drafts, results, strict=True)
    }
    assert not [key for key, found in verdicts.items() if found.verdict == Compliance.NON_COMPLIANT]
    unsure = {key: found.why for key, found in verdicts.items() if found.verdict != Compliance.COMPLIANT}
    assert len(unsure) <= len(drafts) / 10, unsure


def test_a_name_that_is_taken_is_not_given_again() -> None:
    template = choosing.ALL[0]
    drafted = filled(template, RuleEngine.REGO, "", Setting(taken=("spending_limit", "spending_limit_2")))
    assert "package policies.spending_limit_3" in drafted.rule.source


def test_what_the_goal_says_is_put_in_and_what_it_does_not_say_is_marked() -> None:
    goal = "A member may spend up to 3,000 dollars alone."
    drafted = filled(choosing.ALL[0], RuleEngine.REGO, goal)
    said = {item.what: (item.value, item.quote) for item in drafted.read}
    assert said["The limit"] == ("3,000 dollars", "3,000 dollars")
    assert said["Reported within"] == ("30 days", "")
    assert drafted.title == "Expenses of up to 3,000 dollars"
    assert "input.action.amount <= 3000" in drafted.rule.source


def test_every_goal_finds_the_template_that_is_meant() -> None:
    assert set(GOALS) == {template.key for template in choosing.ALL}
    for key, goal in GOALS.items():
        found = choosing.fitting(Wish(goal=goal))
        assert found and found[0].template.key == key, (goal, [item.template.key for item in found])
        assert all(word in goal.lower() for word in found[0].words)


def test_ordering_things_is_about_money_and_in_order_to_is_not() -> None:
    (found,) = choosing.fitting(Wish(goal="A member may order things for up to 3,000 euros alone"))
    assert found.template.key == "spending_limit"
    assert choosing.fitting(Wish(goal="In order to be fair we talk, at most an hour")) == []


@pytest.mark.parametrize("goal", ["", "Be excellent to each other", "Wir wollen sparsam sein", "🦆"])
def test_a_goal_of_which_no_template_speaks_finds_none(goal: str) -> None:
    assert choosing.fitting(Wish(goal=goal)) == []


def test_a_chosen_principle_decides_between_templates_that_fit_alike() -> None:
    goal = "Personal data may be used for a purpose, and copies of the data are deleted"
    first = choosing.fitting(Wish(goal=goal, principles=("equal_respect",)))[0].template
    assert "equal_respect" in first.serves


def test_a_language_that_a_template_has_no_rule_in_is_said() -> None:
    wish = Wish(goal=GOALS["delegation"], engine=RuleEngine.REGO)
    (left,) = choosing.drafted(wish, Setting())
    assert isinstance(left, Left) and "Rego" in left.why


def test_every_principle_of_our_constitution_has_a_clause_of_its_own(constitution: Constitution) -> None:
    assert set(CLAUSES) == {item.key for item in constitution.principles}


def test_no_two_templates_have_the_same_key_or_rule_name() -> None:
    for one, other in combinations(choosing.ALL, 2):
        assert one.key != other.key and (one.name or one.key) != (other.name or other.key)
