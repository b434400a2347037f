"""The figures, against what one finds by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from workflows.constitutional_compliance.calibration import CASES, NEVER, PRECISION, Calibration, calibrate
from workflows.constitutional_compliance.evaluation import Report, evaluate

# Ten clauses of two documents; column one: principle a, column two: principle b.
P = np.array(
    [
        [0.9, 0.1],
        [0.8, 0.0],
        [0.4, 0.0],
        [0.1, 0.7],
        [0.0, 0.1],
        [0.0, 0.0],
        [0.6, 0.0],
        [0.1, 0.0],
        [0.0, 0.3],
        [0.0, 0.0],
    ]
)
TRUE = np.zeros((10, 2), dtype=bool)
TRUE[[0, 1, 2], 0] = True
TRUE[[3, 4], 1] = True
DOCUMENTS = ["one"] * 5 + ["two"] * 5


def cuts(below: float, clear: float, above: float, violations: int = 30) -> Calibration:
    return Calibration(1.0, 0.0, below, clear, above, 0.5, violations)


@pytest.fixture(scope="module")
def report() -> Report:
    return evaluate(["a", "b"], P, TRUE, DOCUMENTS, [cuts(0.05, 0.05, 0.8), cuts(0.05, 0.05, 0.8)])


def test_figures_are_those_found_by_hand(report: Report):
    # Said with a cut of 0.5: a of clauses 0, 1, 6; b of clause 3. Wrong: 2 (missed a), 4 (missed b), 6 (false a).
    assert report.accuracy.value == 70
    assert report.recall.value == 60
    assert report.precision.value == 75
    # a: hit 2, false 1, missed 1; b: hit 1, missed 1; none: hit 4 (5, 7, 8, 9), false 2 (2, 4), missed 1 (6).
    assert report.f1_micro.value == pytest.approx(100 * 2 * 7 / (2 * 7 + 3 + 3), abs=0.01)
    assert report.f1_macro.value == pytest.approx(100 * (2 / 3 + 2 / 3 + 8 / 11) / 3, abs=0.01)


def test_abstention_is_counted_by_decision_and_by_clause(report: Report):
    # Open: clause 0 b, 2 a, 3 both, 4 b, 6 a, 7 a, 8 b.
    assert report.decided.value == 60
    assert report.decided_accuracy.value == 100
    assert report.clauses_decided.value == 30  # 1, 5 and 9
    assert report.clauses_decided_accuracy.value == 100
    assert report.caught.value == 40  # 0 and 1
    assert report.caught_or_escalated.value == 100


def test_a_clause_may_be_cleared_as_a_whole():
    """Up to 0.4: clauses 2, 4, 5, 7, 8 and 9, of which 2 and 4 break something."""
    report = evaluate(["a", "b"], P, TRUE, DOCUMENTS, [cuts(0.05, 0.4, 0.8), cuts(0.05, 0.4, 0.8)])
    assert report.clauses_decided.value == 70  # and 1, a breach
    assert report.clauses_decided_accuracy.value == pytest.approx(100 * 5 / 7, abs=0.01)
    assert report.caught_or_escalated.value == 60
    assert report.decided.value == 60


def test_the_calibration_error_is_the_mean_gap(report: Report):
    # Bins of ten: [0, .1) 12 decisions at 0 of which none breaks, .1: 4 of which 1 breaks, and one each of .3 … .9.
    gaps = [0, abs(0.4 - 1), 0.3, abs(0.4 - 1), 0.6, abs(0.7 - 1), abs(0.8 - 1), abs(0.9 - 1)]
    assert report.calibration_error.value == pytest.approx(100 * sum(gaps) / 20, abs=0.01)


def test_the_surest_share_is_more_often_right(report: Report):
    curve = {point.share: point.accuracy for point in report.risk_coverage}
    assert curve[1.0] == report.accuracy.value
    assert curve[0.3] == 100


def test_the_curve_has_the_interval_of_the_whole_where_it_is_the_whole(report: Report):
    whole = report.risk_coverage[-1]
    assert (whole.accuracy, whole.low, whole.high) == (
        report.accuracy.value,
        report.accuracy.low,
        report.accuracy.high,
    )
    assert all(0 <= point.low <= point.high <= 100 for point in report.risk_coverage)


def test_intervals_come_from_drawing_documents(report: Report):
    # Document one has 3 of 5 right, two 4 of 5: draws of two documents give 60, 70 and 80, each end in a quarter.
    assert (report.accuracy.low, report.accuracy.high) == (60, 80)
    assert (report.clauses, report.documents, report.violations) == (10, 2, 5)


def test_an_uncalibrated_principle_is_left_to_people():
    report = evaluate(
        ["a", "b"], P, TRUE, DOCUMENTS, [cuts(0.05, 0.05, 0.8), cuts(0.05, 0.05, 0.8, violations=29)]
    )
    assert report.clauses_decided.value == 0
    assert report.decided.value == 30


def test_f1_is_that_of_the_library():
    random = np.random.default_rng(1)
    probabilities, true = random.random((200, 5)) ** 3, random.random((200, 5)) < 0.2
    report = evaluate(list("abcde"), probabilities, true, ["x", "y"] * 100, [cuts(0, 0, 1)] * 5)
    said = probabilities >= 0.5
    said, true = (np.column_stack([one, ~one.any(axis=1)]) for one in (said, true))
    assert report.f1_micro.value == pytest.approx(100 * f1_score(true, said, average="micro"), abs=0.01)
    assert report.f1_macro.value == pytest.approx(100 * f1_score(true, said, average="macro"), abs=0.01)


@given(st.integers(0, 10_000), st.floats(0.5, 4))
@settings(max_examples=15, deadline=None)
def test_thresholds_keep_what_they_promise(seed: int, strength: float):
    random = np.random.default_rng(seed)
    breaks = random.random((600, 2)) < 0.25
    scores = strength * breaks + random.normal(size=breaks.shape)
    found = calibrate(scores, breaks, np.ones(600, dtype=bool), np.arange(600) % 6)
    probability = np.column_stack([one.probability(scores[:, column]) for column, one in enumerate(found)])
    for column, one in enumerate(found):
        assert one.decides
        assert one.below <= one.clear <= one.above
        assert (np.diff(probability[np.argsort(scores[:, column]), column]) >= 0).all()
        assert abs(probability[:, column].mean() - breaks[:, column].mean()) < 0.01
    # What is promised of other parts' models holds, but for a little, of the one that is fitted to all.
    broken = breaks.any(axis=1)
    missed = (probability <= [one.clear for one in found]).all(axis=1) & broken
    assert missed.sum() <= 0.08 * broken.sum()
    called = probability >= [one.above for one in found]
    assert called.sum() < CASES or breaks[called].mean() >= PRECISION - 0.1


def test_breaches_are_as_common_as_in_whole_policies():
    random = np.random.default_rng(3)
    natural = np.arange(3000) < 2000
    breaks = (random.random(3000) < np.where(natural, 0.02, 0.5))[:, None]
    scores = 2.0 * breaks + random.normal(size=breaks.shape)
    [one] = calibrate(scores, breaks, natural, np.arange(3000) % 5)
    assert one.probability(scores[natural, 0]).mean() == pytest.approx(0.02, abs=0.01)


def test_a_principle_that_nothing_breaks_is_never_called_broken():
    [one] = calibrate(
        np.zeros((50, 1)), np.zeros((50, 1), dtype=bool), np.ones(50, dtype=bool), np.arange(50) % 5
    )
    assert not one.decides
    assert one.above == NEVER
    assert one.probability(np.zeros(1))[0] < 1e-6
