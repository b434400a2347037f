"""What a head may say, and what it must refuse to say anything about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from workflows.constitutional_compliance import calibration, heads
from workflows.constitutional_compliance.corpus import LabelledClause, held, identity, shipped_fit_part
from workflows.constitutional_compliance.embedding import packaged
from workflows.constitutional_compliance.heads import Heads, WrongEmbedder, fit, parts_of, shipped_heads
from workflows.ports import Vectors

SUBJECTS = [
    "grant",
    "forum",
    "sensor",
    "ballot",
    "licence",
    "archive",
    "dues",
    "housing",
    "garden",
    "server",
    "choir",
    "boat",
]
FORBIDDEN = "The {0} office deletes the log of every {0} without telling the {1} group."
FINE = "The {0} office keeps the log of every {0} and shows it to the {1} group."


@dataclass(frozen=True)
class Other:
    """Another model: vectors of its own, from what it makes of letters."""

    name: str = "letters"
    model_sha256: str = "ab" * 32
    dimension: int = 26

    def embed(self, texts: Sequence[str]) -> Vectors:
        rows = np.array(
            [[1 + text.lower().count(chr(97 + letter)) for letter in range(26)] for text in texts], np.float32
        )
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def clause(policy: str, text: str, *breaks: str) -> LabelledClause:
    return LabelledClause(identity(policy, text), "lasting_trail", policy, "plain", breaks, text)


@pytest.fixture(scope="module")
def clauses() -> list[LabelledClause]:
    pairs = [(one, other) for one in SUBJECTS for other in SUBJECTS if one != other]
    bad = [clause(one, FORBIDDEN.format(one, other), "lasting_trail") for one, other in pairs]
    good = [clause(one, FINE.format(one, other)) for one, other in pairs]
    few = [clause(one, f"Only the rich may see the {one} garden.", "equal_respect") for one in SUBJECTS]
    return [*bad, *good, *few]


@pytest.fixture(scope="module")
def fitted(clauses: list[LabelledClause]) -> Heads:
    return fit(clauses, Other())


def test_it_tells_breaches_from_what_sounds_alike(fitted: Heads):
    texts = [FORBIDDEN.format("bakery", "night"), FINE.format("bakery", "night")]
    bad, good = fitted.judge(texts, Other().embed(texts))
    assert bad["lasting_trail"].decision == "breaks"
    assert good["lasting_trail"].decision == "honours"
    assert bad["lasting_trail"].probability > 0.9 > 0.1 > good["lasting_trail"].probability


def test_a_principle_with_few_violations_decides_nothing(fitted: Heads):
    texts = ["Only the rich may see the forum garden."]
    [judged] = fitted.judge(texts, Other().embed(texts))
    assert fitted.calibrations["equal_respect"].violations == len(SUBJECTS) < calibration.FEWEST_VIOLATIONS
    assert judged["equal_respect"].decision == "uncalibrated"


def test_it_shows_precedents_and_the_words_that_weighed(fitted: Heads, clauses: list[LabelledClause]):
    known = clauses[0]
    evidence = fitted.evidence(known.text, Other().embed([known.text])[0], "lasting_trail")
    assert evidence.precedents[0].id == known.id
    assert evidence.precedents[0].breaks
    assert evidence.precedents[0].similarity == pytest.approx(1, abs=1e-3)
    assert [item.similarity for item in evidence.precedents] == sorted(
        (item.similarity for item in evidence.precedents), reverse=True
    )
    assert any("deletes" in gram.text and gram.weight > 0 for gram in evidence.grams)


def test_heads_come_back_from_bytes_as_they_were(fitted: Heads, clauses: list[LabelledClause]):
    data = fitted.to_bytes()
    again = Heads.from_bytes(data, Other())
    texts = [one.text for one in clauses[::7]]
    vectors = Other().embed(texts)
    assert np.array_equal(again.probabilities(texts, vectors), fitted.probabilities(texts, vectors))
    assert again.to_bytes() == data
    assert again.sha256 == fitted.sha256


def test_fitting_twice_gives_the_same_heads(fitted: Heads, clauses: list[LabelledClause]):
    assert fit(clauses, Other()).sha256 == fitted.sha256


@pytest.mark.parametrize(
    "other",
    [None, Other(name="figures"), Other(model_sha256="cd" * 32), packaged()],
    ids=["none", "another name", "another hash", "another dimension"],
)
def test_another_embedder_is_refused(fitted: Heads, other: heads.Embedder | None):
    with pytest.raises(WrongEmbedder, match="were fitted to letters"):
        Heads.from_bytes(fitted.to_bytes(), other)


def test_vectors_of_another_shape_are_refused(fitted: Heads):
    for vectors in (None, np.ones((1, 3), np.float32), np.ones((2, 26), np.float32)):
        with pytest.raises(WrongEmbedder, match="26 dimensions"):
            fitted.judge(["The council decides."], vectors)


def test_words_alone_make_a_head_too(clauses: list[LabelledClause]):
    alone = Heads.from_bytes(fit(clauses, None).to_bytes(), None)
    [judged] = alone.judge([FORBIDDEN.format("bakery", "night")], None)
    assert judged["lasting_trail"].decision == "breaks"
    assert alone.evidence(clauses[3].text, None, "lasting_trail").precedents[0].id == clauses[3].id


def test_nothing_to_judge_is_no_fault(fitted: Heads):
    assert fitted.judge([], np.zeros((0, 26), np.float32)) == []
    [judged] = fitted.judge([""], Other().embed([""]))
    assert 0 <= judged["lasting_trail"].probability <= 1


def test_a_policy_is_in_one_part_and_parts_are_about_even():
    policies = [f"p{number % 13}" for number in range(200)]
    parts = parts_of(policies, 4)
    assert all(
        len({part for policy, part in zip(policies, parts, strict=True) if policy == one}) == 1
        for one in policies
    )
    sizes = np.bincount(parts)
    assert len(sizes) == 4
    assert sizes.max() - sizes.min() <= 20


@pytest.mark.parametrize("embedder", [packaged(), None], ids=["MiniLM", "words"])
def test_the_shipped_heads_have_seen_all_that_may_be_seen_and_nothing_held(embedder: heads.Embedder | None):
    shipped = shipped_heads(embedder)
    assert shipped.clauses == shipped_fit_part()
    assert not any(held(one.policy) for one in shipped.clauses)
    assert all(one.decides for one in shipped.calibrations.values())
    for one in shipped.calibrations.values():
        assert 0 <= one.below <= one.clear <= one.above


def test_the_shipped_heads_are_what_fitting_gives():
    """Of words alone: it takes seconds. `make heads` makes both."""
    anew = fit(shipped_fit_part(), None)
    texts = [one.text for one in shipped_fit_part()[::20]]
    assert np.allclose(
        anew.probabilities(texts, None), shipped_heads(None).probabilities(texts, None), atol=1e-4
    )
