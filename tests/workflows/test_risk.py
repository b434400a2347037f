"""The risk of a draft is read from what its clauses say, never from substrings.

Measured: of the sentences that were written before the assessor and never tuned on, 27 of 30 were judged as a careful
reader would when it first ran (90 %). One of the three misses led to a repair (“allowed” is a permission, not a
protection), so the 28 of today are no clean figure. Both lists are short, and one person wrote sentences and words: read
this as a floor that may not be fallen below, not as an accuracy for all texts.
"""

from __future__ import annotations

import time
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workflows.kinds import Category, RiskLevel, Strategy
from workflows.policy_creation.risk import LEVELS, STRATEGIES, assess
from workflows.policy_creation.views import PolicyDraft, RuleDraft

SENTENCES = tomllib.loads(Path(__file__).with_name("risk_sentences.toml").read_text(encoding="utf-8"))


def draft(text: str, **others: Any) -> PolicyDraft:
    values = {"title": "Proposal", "summary": "What is proposed.", "category": Category.GOVERNANCE, **others}
    return PolicyDraft(text=text, **values)


@pytest.mark.parametrize("sentence", SENTENCES["tuned"], ids=lambda sentence: sentence["text"][:50])
def test_sentences_it_was_tuned_on(sentence: dict[str, Any]) -> None:
    assert assess(draft(sentence["text"])).level in sentence["levels"]


def test_sentences_it_was_never_tuned_on(capsys: pytest.CaptureFixture[str]) -> None:
    held_out = SENTENCES["held_out"]
    missed = [s["text"] for s in held_out if assess(draft(s["text"])).level not in s["levels"]]
    right = len(held_out) - len(missed)
    with capsys.disabled():
        print(f"\nrisk: {right} of {len(held_out)} held-out sentences right; missed: {missed}")
    assert len(held_out) >= 30
    assert right / len(held_out) >= 0.9


@pytest.mark.parametrize(
    "others", [{"text": "A rule."}, {"text": "Fix a typo.", "risk_strategy": "standard"}]
)
def test_a_constitutional_policy_is_always_critical(others: dict[str, Any]) -> None:
    found = assess(draft(category=Category.CONSTITUTIONAL, **others))
    assert (found.level, found.strategy) == (RiskLevel.CRITICAL, Strategy.HUMAN_REVIEW)


def test_circumstances_are_evidence_of_their_own() -> None:
    rule = RuleDraft(engine="rego", source="package x")
    found = assess(draft("Notes are published.", rule=rule, emergency=True))
    assert {item.kind for item in found.evidence} == {"executable_rule", "emergency"}
    assert found.level == RiskLevel.MEDIUM


def test_a_language_it_cannot_read_does_not_pass_as_harmless() -> None:
    german = (
        "Alle Protokolle werden nach einem Tag gelöscht, und niemand darf dagegen Einspruch erheben können."
    )
    found = assess(draft(german, title="Protokolle", summary="Werden gelöscht."))
    assert (found.level, found.evidence[0].kind) == (RiskLevel.MEDIUM, "unreadable")


def test_evidence_quotes_the_clause_it_is_about() -> None:
    text = "## Rule\n\nNotes are kept. All audit logs are deleted after one day, but nobody may sell them.\n"
    [item] = assess(draft(text)).evidence
    assert (item.kind, item.level) == ("destroy_trail", RiskLevel.CRITICAL)
    assert item.quote == "All audit logs are deleted after one day"
    assert text[item.start : item.end] == item.quote
    assert item.explanation.startswith("It destroys the record of what happened")


def test_what_touches_nothing_says_so() -> None:
    [item] = assess(draft("The assembly meets in May.")).evidence
    assert (item.kind, item.level) == ("nothing_found", RiskLevel.LOW)


@pytest.mark.parametrize("unit", ["delete logs ", "not ", "delete, and logs. ", "1.1 ", "\n"])
def test_a_hostile_text_does_not_hold_the_portal_up(unit: str) -> None:
    started = time.process_time()
    assess(draft(unit * (100_000 // len(unit))))
    assert time.process_time() - started < 10, "quadratic growth would take hours"


@given(st.text(max_size=300), st.sampled_from([None, *Strategy]), st.sampled_from(list(Category)))
@settings(max_examples=150, deadline=None)
def test_a_request_may_raise_the_tier_and_never_lower_it(
    text: str, requested: Strategy | None, category: Category
) -> None:
    free = assess(draft(text, category=category))
    asked = assess(draft(text, category=category, risk_strategy=requested))
    assert asked.level == free.level
    assert asked.strategy == max(free.strategy, requested or free.strategy, key=STRATEGIES.index)
    assert asked.evidence
    assert all(
        (item.start, item.end) == (-1, -1) or text[item.start : item.end] == item.quote
        for item in asked.evidence
        if item.field == "text"
    )


@given(
    st.lists(
        st.sampled_from([s["text"] for part in SENTENCES.values() for s in part]), min_size=1, max_size=4
    )
)
@settings(max_examples=60, deadline=None)
def test_adding_a_sentence_never_lowers_the_risk(sentences: list[str]) -> None:
    levels = [
        LEVELS.index(assess(draft("\n\n".join(sentences[:n]))).level) for n in range(1, len(sentences) + 1)
    ]
    assert levels == sorted(levels)
