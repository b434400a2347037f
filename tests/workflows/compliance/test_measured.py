"""Figures are shown of the very heads they were measured of, and of no others."""

from __future__ import annotations

import pytest

from workflows.constitutional_compliance import corpus, measured
from workflows.constitutional_compliance.accuracy_page import page
from workflows.constitutional_compliance.embedding import packaged
from workflows.constitutional_compliance.heads import Heads, fit, shipped_heads
from workflows.constitutional_compliance.measured import Measured, measured_of, ordinary_report
from workflows.ports import Embedder


@pytest.mark.parametrize("embedder", [packaged(), None], ids=["MiniLM", "words"])
def test_the_shipped_heads_were_measured_on_the_held_part(embedder: Embedder | None):
    found = measured_of(shipped_heads(embedder))
    assert found is not None
    held = corpus.held_part(corpus.shipped())
    exams = {exam.name: exam for exam in found.exams}
    assert set(exams) == {"hard clauses", "few words", "whole policies", "sentences by another hand"}
    whole = [clause for clause in held if clause.principle is None]
    few = [clause for clause in held if clause.kind == corpus.FEW_WORDS]
    assert exams["few words"].judged_sha256 == corpus.corpus_sha256(few)
    assert exams["sentences by another hand"].judged_sha256 == corpus.corpus_sha256(corpus.exam())
    assert exams["whole policies"].judged_sha256 == corpus.corpus_sha256(whole)
    assert exams["whole policies"].report.clauses == len(whole)
    assert exams["hard clauses"].report.clauses == len(held) - len(whole) - len(few)
    assert ordinary_report(shipped_heads(embedder)) == exams["whole policies"].report
    assert exams["hard clauses"].fitted_to_sha256 == corpus.corpus_sha256(corpus.shipped_fit_part())


def test_figures_of_other_heads_are_not_shown():
    few = [clause for clause in corpus.shipped_fit_part() if clause.principle is None][:120]
    assert measured_of(fit(few, None)) is None


def test_nothing_measured_is_nothing_shown(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(measured, "_read", lambda: None)
    assert measured_of(shipped_heads(None)) is None


def test_the_page_says_what_was_measured_and_of_what():
    everything = measured._read()
    assert isinstance(everything, Measured)
    text = page(everything)
    written = (corpus.SHIPPED.parents[2] / "docs" / "compliance-accuracy.md").read_text(encoding="utf-8")
    assert text == written
    for exam in everything.exams:
        assert exam.heads_sha256[:12] in text
        assert f"{exam.report.clauses:,} clauses of {exam.report.documents} documents" in text


def test_a_shipped_head_judges_a_held_clause_as_was_measured():
    """The file of figures belongs to the file of heads: judged again, a sample comes out the same."""
    heads: Heads = shipped_heads(None)
    found = measured_of(heads)
    assert found is not None
    held = [clause for clause in corpus.held_part(corpus.shipped()) if clause.principle is None]
    judged = heads.judge([clause.text for clause in held], None)
    decided = sum(one.decision != "unsure" for row in judged for one in row.values())
    [exam] = [exam for exam in found.exams if exam.name == "whole policies"]
    share = 100 * decided / (len(held) * len(heads.principles))
    assert share == pytest.approx(exam.report.decided.value, abs=0.1)
