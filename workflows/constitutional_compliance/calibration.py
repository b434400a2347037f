"""Turns scores into probabilities, and says below and above which of them machines may decide."""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.int64]

FEWEST_VIOLATIONS = 30
CAUGHT_OR_ESCALATED = 0.95  # share of breaches that may not be cleared
PRECISION = 0.90  # of what is called a breach without asking people
CASES = 10  # decisions that a threshold must have been right about before it is used
NEVER = 2.0  # a probability that nothing reaches
CUTS = np.linspace(0.1, 0.9, 33)
NO_SLOPE = (0.0, -30.0)


class Calibration(msgspec.Struct, frozen=True):
    """`slope` and `intercept` map a score to the log odds of a breach (Platt).

    Up to `below` the principle is surely not broken, from `above` on it is. A clause of which no principle goes beyond
    `clear` need not be looked at. `likelier` is the cut if machines had to decide all.
    """

    slope: float
    intercept: float
    below: float
    clear: float
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
    columns = range(scores.shape[1])
    # Thresholds are chosen on probabilities that had not seen the policy either.
    probability = np.zeros_like(scores)
    for part in np.unique(parts):
        inside = parts == part
        for column in columns:
            line = _platt(scores[~inside, column], breaks[~inside, column], weights[~inside, column])
            probability[inside, column] = _sigmoid(scores[inside, column], *line)
    violations = breaks.sum(axis=0)
    deciding = violations >= FEWEST_VIOLATIONS
    below, clear, above = _thresholds(probability[natural][:, deciding], breaks[natural][:, deciding])
    likelier = _likelier(probability[:, deciding], breaks[:, deciding], weights[:, deciding])
    return [
        Calibration(
            *_platt(scores[:, column], breaks[:, column], weights[:, column]),
            below,
            clear,
            above,
            likelier,
            int(violations[column]),
        )
        for column in columns
    ]


def _thresholds(probability: Floats, breaks: Booleans) -> tuple[float, float, float]:
    """`below`, `clear`, `above`. A probability means the same of each principle, and one alone has too few breaches to tell.

    `clear` may be higher than `below`: whoever reads a clause for one principle sees what it does to another.
    """
    broken = breaks.any(axis=1)
    if broken.sum() < CASES:
        return 0.0, 0.0, NEVER
    below = _missing_few(probability[breaks])
    clear = max(below, _missing_few(probability[broken].max(axis=1)))
    return below, clear, max(clear, _above(probability.ravel(), breaks.ravel()))


def _missing_few(of_breaches: Floats) -> float:
    lowest = float(np.quantile(of_breaches, 1 - CAUGHT_OR_ESCALATED, method="lower"))
    return float(np.nextafter(lowest, -1))  # The threshold itself is decided, and must not be a breach's.


def _weights(breaks: Booleans, natural: Booleans) -> Floats:
    """Each breach counts so much that breaches are as common as in whole policies, all principles taken together."""
    share = breaks[natural].mean()
    weights = np.where(natural[:, None], 1.0, 0.0) * ~breaks
    fine = weights.sum(axis=0)
    count = np.maximum(breaks.sum(axis=0), 1)
    alone = natural.all()
    return weights + breaks * (1.0 if alone else fine * share / (1 - share) / count)


def _platt(scores: Floats, breaks: Booleans, weights: Floats) -> tuple[float, float]:
    from sklearn.linear_model import LogisticRegression  # only who fits has to wait for it

    used = weights > 0
    if len(np.unique(breaks[used])) < 2:
        return NO_SLOPE
    spread = scores[used].std() or 1.0
    model = LogisticRegression(C=1e3, max_iter=1000).fit(
        scores[used, None] / spread, breaks[used], weights[used]
    )
    return float(model.coef_[0, 0] / spread), float(model.intercept_[0])


def _above(probability: Floats, breaks: Booleans) -> float:
    """The lowest probability from which on breaches are called so rightly, in at least PRECISION of the cases."""
    order = np.argsort(-probability, kind="stable")
    right, called = np.cumsum(breaks[order]), np.arange(1, len(order) + 1)
    enough = (right >= PRECISION * called) & (right >= CASES)
    return float(probability[order][enough.nonzero()[0][-1]]) if enough.any() else NEVER


def _likelier(probability: Floats, breaks: Booleans, weights: Floats) -> float:
    """The cut with the best mean F1: what a machine would say if it had to. One for all, as one alone is soon overfitted."""
    if not breaks.any():
        return NEVER
    said = probability[None] >= CUTS[:, None, None]
    right = (said * (weights * breaks)).sum(axis=1)
    either = (said * weights).sum(axis=1) + (weights * breaks).sum(axis=0)
    scores = np.divide(2 * right, either, out=np.zeros_like(right), where=either > 0).mean(axis=1)
    return float(CUTS[int(scores.argmax())])


def _sigmoid(scores: Floats, slope: float, intercept: float) -> Floats:
    return 1.0 / (1.0 + np.exp(-np.clip(slope * scores + intercept, -30, 30)))
