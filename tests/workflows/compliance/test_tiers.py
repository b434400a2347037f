"""Evidence found after the submission makes a tier stricter, never milder, and what the stricter one asks for applies (§ 4.1)."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from tests.judging import Says, finding
from workflows.constitution.document import load
from workflows.constitutional_compliance import queries, tiers, validations
from workflows.constitutional_compliance.findings import Span, Subject
from workflows.errors import Conflict, Invalid, Refused
from workflows.kinds import Compliance, RiskLevel, Severity, Strategy
from workflows.policy_creation import ballots
from workflows.policy_creation import queries as policy_queries
from workflows.policy_creation.loading import lock_policy
from workflows.policy_creation.risk import LEVELS, STRATEGIES
from workflows.policy_creation.views import RuleDraft
from workflows.policy_enforcement import bundle
from workflows.storage.tables import audit_entry, impact, policy_version, rule_check


async def judge(a: Any, says: Says) -> int:
    return await validations.assess_waiting(a.units, says, a.constitution)


async def risk(a: Any, ref: str) -> Any:
    return (await policy_queries.policy(a.connection, a.figures, ref)).risk


async def test_a_sure_breach_raises_the_tier_and_the_page_says_why(assembly: Any) -> None:
    a = assembly
    ref = await a.create()
    assert (await risk(a, ref)).strategy == "standard"
    says = Says(Compliance.REQUIRES_REVIEW, [finding(text=a.draft().text, severity=Severity.HIGH)])
    assert await judge(a, says) == 2, "and is judged anew at the stricter tier"
    assert says.levels == ["standard", "multi_model_consensus"]
    found = await risk(a, ref)
    assert (found.strategy, found.level) == ("multi_model_consensus", "high")
    evidence = next(item for item in found.evidence if item.kind == "compliance_finding")
    assert a.draft().text[evidence.start : evidence.end] == evidence.quote == "Notes of every meeting"
    kinds = sa.select(audit_entry.c.type).where(
        audit_entry.c.subject == ref, audit_entry.c.type == "policy.tier_raised"
    )
    assert len((await a.connection.execute(kinds)).all()) == 1
    view = await queries.for_policy(
        a.connection, ref, figures=a.figures, sha256=a.constitution.sha256, now=a.now
    )
    assert [item.cause for item in view.history] == ["tier_raised", "submitted"]
    assert (view.standing.state, len(view.question.asked)) == ("asked", 2), (
        "people are asked about the stricter one only"
    )


async def test_a_review_that_was_complete_goes_on_at_a_stricter_tier(assembly: Any) -> None:
    a = assembly
    ref = await a.create()
    await a.approve(ref, judged=False)
    assert await a.state(ref) == "public_comment"
    says = Says(Compliance.COMPLIANT, [finding(severity=Severity.CRITICAL)])
    await judge(a, says)
    assert await a.state(ref) == "in_review"
    policy = await policy_queries.policy(a.connection, a.figures, ref)
    assert (policy.comment_ends_at - policy.submitted_at).days == 7
    assert "1 reviewer with legal expertise and 1 council member" in policy.review.missing
    await a.approve(ref, a.emre, a.farah)
    assert await ballots.open_due(a.unit(), a.figures) == []
    a.later(days=7)
    assert await ballots.open_due(a.unit(), a.figures) == [ref]
    ballot = await policy_queries.ballot(a.connection, ref, None, a.now)
    assert ballot.threshold_percent == 67


async def test_a_version_in_its_ballot_keeps_its_tier(assembly: Any) -> None:
    a = assembly
    ref = await a.to_ballot()
    row = await lock_policy(a.unit(), ref)
    assert not await tiers.weigh(a.unit(), a.figures, row, await _result(finding(severity=Severity.CRITICAL)))
    with pytest.raises(Conflict):
        await tiers.raise_by_author(a.unit(a.author), a.figures, ref, "human_review")
    with pytest.raises(sa.exc.IntegrityError):
        async with a.connection.begin_nested():
            await a.connection.execute(sa.update(policy_version).values(strategy="human_review"))


async def _result(*findings: Any, verdict: Compliance = Compliance.REQUIRES_REVIEW) -> Any:
    (result,) = await Says(verdict, findings).judge(load(), [Subject(title="", text="x")])
    return result


async def test_the_proposer_raises_it_and_cannot_lower_it(assembly: Any) -> None:
    a = assembly
    ref = await a.create()
    with pytest.raises(Refused):
        await tiers.raise_by_author(a.unit(a.dana), a.figures, ref, "human_review")
    await tiers.raise_by_author(a.unit(a.author), a.figures, ref, "enhanced_validation")
    for strategy in ("enhanced_validation", "standard", "none"):
        with pytest.raises(Invalid):
            await tiers.raise_by_author(a.unit(a.author), a.figures, ref, strategy)
    found = await risk(a, ref)
    assert (found.requested, found.strategy, found.level) == (
        "enhanced_validation",
        "enhanced_validation",
        "low",
    )
    says = Says()
    await judge(a, says)
    assert says.levels == ["standard", "enhanced_validation"]


async def test_the_database_refuses_a_milder_tier(assembly: Any) -> None:
    a = assembly
    ref = await a.create(risk_strategy="multi_model_consensus")
    assert ref
    for values in ({"strategy": "standard"}, {"text": "other"}):
        with pytest.raises(sa.exc.IntegrityError, match="does not change"):
            async with a.connection.begin_nested():
                await a.connection.execute(sa.update(policy_version).values(**values))


SOURCE = 'package policies.x\n\nactions := {"*"}\n\nallow if true\n'


async def with_rule(a: Any, actions: list[str], replayed: tuple[int, int] | None) -> str:
    """A policy whose rule was looked at and replayed, with what was found given here."""
    ref = await a.create(
        rule=RuleDraft("rego", SOURCE, [{"input": {"action": {"type": "x"}}, "expect": "allow"}])
    )
    sha = await a.hash_of(ref)
    declared = {"name": "x", "actions": actions, "facts": [], "reasons": {}}
    report = {"declared": declared, "problems": [], "examples": [], "conflicts": []}
    revision = await bundle.ensure_active(a.unit())
    common = {"version_sha256": sha, "revision": revision, "report": report}
    await a.connection.execute(rule_check.insert().values(**common, passed=True, checked_at=a.now))
    if replayed:
        values = {**common, "actions": replayed[0], "changed": replayed[1], "made_at": a.now}
        await a.connection.execute(impact.insert().values(values))
    return ref


@pytest.mark.parametrize(
    ("actions", "replayed", "strategy"),
    [
        (["grant"], None, "enhanced_validation"),
        (["*"], None, "multi_model_consensus"),
        (["grant"], (1000, 5), "enhanced_validation"),
        (["grant"], (1000, 10), "enhanced_validation"),
        (["grant"], (1000, 100), "multi_model_consensus"),
        (["grant"], (40, 40), "enhanced_validation"),
    ],
)
async def test_what_a_rule_reaches_is_evidence(
    assembly: Any, actions: list[str], replayed: Any, strategy: str
) -> None:
    a = assembly
    ref = await with_rule(a, actions, replayed)
    raised = await tiers.sweep(a.unit(), a.figures)
    assert (await risk(a, ref)).strategy == strategy
    assert raised == ([ref] if strategy == "multi_model_consensus" else [])
    assert await tiers.sweep(a.unit(), a.figures) == [], "the same evidence raises it once"


severities = st.sampled_from([Severity.LOW, Severity.MEDIUM, Severity.HIGH, Severity.CRITICAL])
findings = st.builds(
    lambda severity, sure, score: finding(severity=severity, sure=sure, score=score),
    severities,
    st.booleans(),
    st.floats(0, 1),
)


@given(st.lists(findings, max_size=6), st.sampled_from(list(Compliance)))
def test_no_finding_counts_for_more_than_it_is_sure_of(found: list[Any], verdict: Compliance) -> None:
    result = asyncio.run(_result(*found, verdict=verdict))
    for evidence in tiers.from_findings(result):
        assert any(
            LEVELS.index(evidence.level) <= LEVELS.index(tiers.BY_SEVERITY[each.severity]) - (not each.sure)
            for each in result.findings
        )


async def test_evidence_says_that_it_stands_in_the_amended_constitution() -> None:
    span = Span(40, 60, "The chair has three.", of="constitution")
    (evidence,) = tiers.from_findings(await _result(finding(span=span)))
    assert (evidence.field, evidence.quote) == (span.of, span.quote)
    assert (evidence.start, evidence.end) == (span.start, span.end)


async def test_whatever_is_found_the_tier_never_falls(assembly: Any) -> None:
    """Random evidence in random order; after each, the tier is at least what it was."""
    a = assembly
    dice = random.Random(41)
    for _ in range(12):
        ref = await a.create(risk_strategy=dice.choice(STRATEGIES))
        before = STRATEGIES.index((await risk(a, ref)).strategy)
        for _ in range(4):
            several = [
                finding(severity=dice.choice(list(Severity)), sure=dice.random() < 0.5, score=dice.random())
                for _ in range(dice.randrange(3))
            ]
            row = await lock_policy(a.unit(), ref)
            await tiers.weigh(a.unit(), a.figures, row, await _result(*several))
            now = await risk(a, ref)
            assert STRATEGIES.index(now.strategy) >= before
            before = STRATEGIES.index(now.strategy)
            assert Strategy(now.strategy) in STRATEGIES
            assert RiskLevel(now.level) in LEVELS
