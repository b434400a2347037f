"""From findings and consensus to a verdict: nothing surely broken passes, nothing unsure stops, and people are told why."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from workflows.constitutional_compliance import verdict
from workflows.constitutional_compliance.consensus import agree
from workflows.constitutional_compliance.findings import Analyser, Finding, Span, Subject
from workflows.kinds import Category, Compliance, ConsensusStrategy, Severity

SPAN = Span(0, 3, "Tea")
NAMES = ("structural", "classifier", "semantic", "behaviour", "language_model:x")
found = st.builds(
    Finding,
    principle=st.sampled_from(["equal_vote", "openness"]),
    severity=st.sampled_from([Severity.CRITICAL, Severity.HIGH, Severity.MEDIUM, Severity.LOW]),
    explanation=st.text(min_size=1, max_size=5),
    analyser=st.sampled_from(NAMES),
    score=st.floats(0, 1),
    sure=st.booleans(),
)
subjects = st.sampled_from([Subject("T", "Tea", category=str(category)) for category in (*Category, "")])


def agreed(*scores: float) -> tuple[Analyser, ...]:
    return tuple(
        Analyser(name, "head", "", present=True, score=score, confidence=0.9)
        for name, score in zip(itertools.cycle(NAMES), scores, strict=False)
    )


def finding(analyser: str, *, sure: bool = True, score: float = 1.0) -> Finding:
    return Finding("equal_vote", Severity.CRITICAL, "It is so.", analyser, score, sure, SPAN)


@given(
    subjects,
    st.lists(found, max_size=6),
    st.lists(st.floats(0, 1), max_size=5),
    st.lists(st.just("Left."), max_size=2),
)
def test_verdicts(
    subject: Subject, findings: list[Finding], scores: list[float], unjudged: list[str]
) -> None:
    consensus = agree(ConsensusStrategy.WEIGHTED_AVERAGE, agreed(*scores))
    result, reasons = verdict.decide(subject, findings, consensus, unjudged)
    sure = any(item.sure and item.analyser in verdict.DECIDING for item in findings)
    assert (result == Compliance.NON_COMPLIANT) == (sure and subject.category != Category.CONSTITUTIONAL)
    if result == Compliance.COMPLIANT:
        assert not consensus.people and not unjudged and len(scores) >= 2
        assert not any(verdict.is_grave(item) for item in findings)
        assert scores[NAMES.index("classifier")] >= verdict.PASSES
    assert reasons and all(reasons)
    assert verdict.recommend(result, reasons).step == {
        Compliance.COMPLIANT: "proceed", Compliance.REQUIRES_REVIEW: "ask_people", Compliance.NON_COMPLIANT: "stop"
    }[result]  # fmt: skip


def test_the_classifier_must_be_surer_than_the_consensus() -> None:
    for own, expected in ((0.899, Compliance.REQUIRES_REVIEW), (0.9, Compliance.COMPLIANT)):
        consensus = agree(ConsensusStrategy.WEIGHTED_AVERAGE, agreed(1.0, own, 0.95))
        assert not consensus.people
        result, reasons = verdict.decide(Subject("T", "Tea"), [], consensus, [])
        assert result == expected
        if own < verdict.PASSES:
            assert reasons == ("The classifier's score is 0.899, below 0.90.",)


def test_what_is_not_measured_never_stops_a_text() -> None:
    consensus = agree(ConsensusStrategy.WEIGHTED_AVERAGE, agreed(0.9, 0.9))
    for name in ("semantic", "language_model:x"):
        result, _ = verdict.decide(Subject("T", "Tea"), [finding(name)], consensus, [])
        assert result == Compliance.REQUIRES_REVIEW


def test_a_sure_finding_that_stands_alone_or_is_denied_is_for_people() -> None:
    at = (SPAN, "equal_vote")

    def sure(*findings: Finding, **known: set) -> list[bool]:
        analysers = [Analyser(item.analyser, "x", "", present=True, findings=(item,)) for item in findings]
        known = {"denied": set(), "borne_out": set()} | known
        return [each.findings[0].sure for each in verdict.weighed(analysers, **known)]

    assert sure(finding("classifier")) == [False]
    assert sure(finding("classifier"), borne_out={at}) == [True]
    assert sure(finding("structural"), finding("classifier")) == [True, True]
    assert sure(finding("structural")) == [True]
    assert sure(finding("structural"), denied={at}) == [False]
    assert sure(finding("structural"), denied={(SPAN, "openness")}) == [True]
