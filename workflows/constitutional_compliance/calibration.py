"""Turns scores into probabilities, and says below and above which of them machines may decide."""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.int64]

FEWEST_VIOLATIONS = 30
CAUGHT_OR_ESCALATED = 0.95  # share of violations that may not be called fine
PRECISION = 0.90  # of what is called a breach without asking people
CASES = 10  # decisions that a threshold must have been right about before it is used
NEVER = 2.0  # a probability that nothing reaches
NO_SLOPE = (0.0, -30.0)


class Calibration(msgspec.Struct, frozen=True):
    """`slope` and `intercept` map a score to the log odds of a breach (Platt); `likelier` is the best single cut."""

    slope: float
    intercept: float
    below: float
    above: float
    likelier: float
    violations: int

    @property
    def decides(self) -> bool:
        return self.violations >= FEWEST_VIOLATIONS

    def probability(self, scores: Floats) -> Floats:
        return _sigmoid(scores, self.slope, self.intercept)


def calibrate(scores: Floats, breaks: Booleans, natural: Booleans, parts: Integers) -> list[Calibration]:
    """One for each column, from scores by models that had not seen the clause's policy (its part).

    `natural` are clauses of whole policies. Only they show how common breaches are and how the rest of a policy looks;
    clauses written to be hard teach heads, but a policy made of them would be no policy. Without any, all are natural.
    """
    if not natural.any():
        natural = np.ones(len(natural), dtype=bool)
    weights = _weights(breaks, natural)
    probability = np.zeros_like(scores)
    # Thresholds are chosen on probabilities that had not seen the policy either.
    for part in np.unique(parts):
        inside = parts == part
        for column in range(scores.shape[1]):
            line = _platt(scores[~inside, column], breaks[~inside, column], weights[~inside, column])
            probability[inside, column] = _sigmoid(scores[inside, column], *line)
    above = _above(probability.ravel(), breaks.ravel(), weights.ravel())
    return [
        _calibration(
            _platt(scores[:, column], breaks[:, column], weights[:, column]),
            probability[:, column],
            breaks[:, column],
            weights[:, column],
            above,
        )
        for column in range(scores.shape[1])
    ]


def _calibration(
    line: tuple[float, float], probability: Floats, breaks: Booleans, weights: Floats, above: float
) -> Calibration:
    violations = int(breaks.sum())
    if not violations:
        return Calibration(*line, 0.0, NEVER, NEVER, 0)
    below = float(np.quantile(probability[breaks], 1 - CAUGHT_OR_ESCALATED, method="lower"))
    below = float(np.nextafter(below, -1))  # The threshold itself is decided, and must not be a violation's.
    return Calibration(*line, below, max(below, above), _likelier(probability, breaks, weights), violations)


def _weights(breaks: Booleans, natural: Booleans) -> Floats:
    """Each breach counts so much that breaches are as common as in whole policies, all principles taken together."""
    share = breaks[natural].mean()
    weights = np.where(natural[:, None], 1.0, 0.0) * ~breaks
    fine = weights.sum(axis=0)
    count = np.maximum(breaks.sum(axis=0), 1)
    alone = natural.all()
    return weights + breaks * (1.0 if alone else fine * share / (1 - share) / count)


def _platt(scores: Floats, breaks: Booleans, weights: Floats) -> tuple[float, float]:
    used = weights > 0
    if len(np.unique(breaks[used])) < 2:
        return NO_SLOPE
    spread = scores[used].std() or 1.0
    model = LogisticRegression(C=1e3, max_iter=1000).fit(
        scores[used, None] / spread, breaks[used], weights[used]
    )
    return float(model.coef_[0, 0] / spread), float(model.intercept_[0])


def _above(probability: Floats, breaks: Booleans, weights: Floats) -> float:
    """The lowest probability from which on breaches are called so rightly, in at least PRECISION of the cases."""
    order = np.argsort(-probability, kind="stable")
    right = np.cumsum(weights[order] * breaks[order])
    called = np.cumsum(weights[order])
    enough = (right >= PRECISION * called) & (np.cumsum(breaks[order]) >= CASES)
    return float(probability[order][enough.nonzero()[0][-1]]) if enough.any() else NEVER


def _likelier(probability: Floats, breaks: Booleans, weights: Floats) -> float:
    """The cut with the best F1: what a machine would say if it had to."""
    order = np.argsort(-probability, kind="stable")
    right = np.cumsum(weights[order] * breaks[order])
    called = np.cumsum(weights[order])
    best = int(np.argmax(2 * right / (called + right[-1])))
    following = probability[order][min(best + 1, len(order) - 1)]
    return float((probability[order][best] + following) / 2)


def _sigmoid(scores: Floats, slope: float, intercept: float) -> Floats:
    return 1.0 / (1.0 + np.exp(-np.clip(slope * scores + intercept, -30, 30)))
