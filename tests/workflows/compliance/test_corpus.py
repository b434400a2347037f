"""The corpus is what it says it is, and its held part is held."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from workflows.constitution.document import load
from workflows.constitutional_compliance import corpus, heads
from workflows.constitutional_compliance.corpus import LabelledClause

KINDS = {
    *("plain", "negation", "exception", "quantifier", "swapped_parties", "near_miss"),
    *("ordinary", "legal", "implicit"),
    corpus.FEW_WORDS,
}
PRINCIPLES = [principle.key for principle in load().principles]


@pytest.fixture(scope="module")
def clauses() -> list[LabelledClause]:
    return corpus.shipped()


def _words(text: str) -> str:
    return re.sub(r"\W+", " ", text.lower()).strip()


@pytest.mark.parametrize("principle", PRINCIPLES)
def test_each_principle_has_enough_of_both_sides_and_of_every_kind(
    principle: str, clauses: list[LabelledClause]
):
    own = [clause for clause in clauses if clause.principle == principle]
    breaking = [clause for clause in own if principle in clause.breaks]
    assert len(breaking) >= 60
    assert len(own) - len(breaking) >= 120
    kinds = Counter(clause.kind for clause in own)
    assert set(kinds) == KINDS
    assert min(kinds.values()) >= 8
    assert len({clause.policy for clause in breaking}) >= 35


def test_only_principles_of_the_constitution_are_broken(clauses: list[LabelledClause]):
    assert {principle for clause in clauses for principle in clause.breaks} == set(PRINCIPLES)
    assert {clause.principle for clause in clauses} == {*PRINCIPLES, None}


def test_no_clause_stands_twice(clauses: list[LabelledClause]):
    texts = Counter(_words(clause.text) for clause in clauses)
    assert [text for text, times in texts.items() if times > 1] == []
    assert len({clause.id for clause in clauses}) == len(clauses)


def test_whole_policies_are_mostly_fine(clauses: list[LabelledClause]):
    whole = [clause for clause in clauses if clause.principle is None]
    policies = {clause.policy for clause in whole}
    broken = {clause.policy for clause in whole if clause.breaks}
    assert len(policies) >= 40
    assert len(policies - broken) >= 15
    assert sum(bool(clause.breaks) for clause in whole) < 0.25 * len(whole)
    assert policies.isdisjoint(clause.policy for clause in clauses if clause.principle is not None)


def test_the_parts_are_apart_by_the_names_of_policies_alone(clauses: list[LabelledClause]):
    fit, held = corpus.fit_part(clauses), corpus.held_part(clauses)
    assert len(fit) + len(held) == len(clauses)
    assert {clause.policy for clause in fit}.isdisjoint(clause.policy for clause in held)
    assert 0.2 < len(held) / len(clauses) < 0.4
    for principle in PRINCIPLES:
        assert sum(principle in clause.breaks for clause in held) >= 15
    # The SHA-256 of their names begin with 0b60 and f4c3.
    assert corpus.held("forum-moderation")
    assert not corpus.held("procurement")


def test_nothing_that_fits_is_given_a_held_clause(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    from workflows.constitutional_compliance import training

    given: list[LabelledClause] = []

    def spy(clauses: list[LabelledClause], embedder: object, *, reader: object) -> heads.Heads:
        given.extend(clauses)
        return heads.shipped_heads(embedder)  # type: ignore[arg-type]

    monkeypatch.setattr(training, "fit", spy)
    monkeypatch.setattr("sys.argv", ["training", "--out", str(tmp_path)])
    training.main()
    assert given
    assert not any(corpus.held(clause.policy) for clause in given)
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in heads.SHIPPED.glob("*.heads")}


def test_the_exam_is_of_sentences_that_nothing_is_fitted_to(clauses: list[LabelledClause]):
    sentences = corpus.exam()
    breaking = Counter(principle for clause in sentences for principle in clause.breaks)
    assert set(breaking) == set(PRINCIPLES) and min(breaking.values()) >= 10
    assert sum(not clause.breaks for clause in sentences) >= 140
    known = {_words(clause.text) for clause in clauses}
    assert not [clause.text for clause in sentences if _words(clause.text) in known]
    assert len({clause.policy for clause in sentences}) == len(sentences), "each is a text of its own"


def test_the_hash_is_of_what_is_said_and_not_of_its_order(clauses: list[LabelledClause]):
    few = clauses[:50]
    assert corpus.corpus_sha256(few) == corpus.corpus_sha256(few[::-1])
    assert corpus.corpus_sha256(few) != corpus.corpus_sha256(few[1:])


def test_a_second_reader_says_mostly_the_same(clauses: list[LabelledClause]):
    """And the README quotes what the files give."""
    second = corpus.second_reading()
    held = [clause for clause in corpus.held_part(clauses) if clause.principle]
    assert set(second) == {(clause.principle, clause.id) for clause in held}
    pairs = [
        (clause.principle in clause.breaks, second[clause.principle, clause.id] == "breaks")
        for clause in held
    ]
    alike = sum(first == other for first, other in pairs)
    agreed = alike / len(pairs)
    first, other = (sum(said) / len(pairs) for said in zip(*pairs, strict=True))
    by_chance = first * other + (1 - first) * (1 - other)
    kappa = (agreed - by_chance) / (1 - by_chance)
    readme = (corpus.SHIPPED / "README.md").read_text()
    assert f"{len(pairs)} of the {len(held)} held" in readme
    assert f"alike of\n{alike} (Cohen's κ {kappa:.3f})" in readme
