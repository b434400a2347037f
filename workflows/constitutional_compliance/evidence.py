"""From how likely each clause breaks each principle to how likely the text complies, by Bayes' rule.

An analyser's probabilities are calibrated on labelled clauses, of which far more break something than of those that people
submit. So each is turned into a likelihood ratio: how many times likelier the clause is where the principle is broken. With
how often clauses are supposed to break something, and each principle as likely as another, the odds of the text follow.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]

# Of texts that are submitted, those that break something, however short they are; and of a long one's clauses. Supposed,
# not measured; the answers of people will tell (docs/judging.md).
TEXTS, PRIOR = 0.1, 0.005
SURE = 0.95  # from which on a machine may say so: as many clauses that break nothing are read as texts have clauses
LEAST, MOST = 1e-4, 1 - 1e-4  # no clause is surer than calibration can tell
HOW = f"supposing that {TEXTS:.0%} of texts break something, of long ones {PRIOR:.1%} of their clauses"


def ratios(probabilities: Matrix, base: Matrix) -> Matrix:
    """How many times likelier than among all clauses: `base` is each principle's share of breaches where it was calibrated."""
    return _odds(probabilities) / _odds(base)


def complies(ratios: Matrix) -> float:
    """How likely the whole text complies. `ratios` has a row for each clause and a column for each principle."""
    if ratios.size == 0:
        return 1.0
    prior = max(PRIOR, TEXTS / len(ratios))
    odds = prior / (1 - prior) * float(ratios.mean(axis=1).sum())
    return 1.0 / (1.0 + odds)


def breaks(ratio: float, principles: int) -> float:
    """How likely a clause breaks one of so many principles, if clauses break them no more often than is supposed."""
    odds = PRIOR / principles * ratio
    return odds / (1 + odds)


def _odds(probabilities: Matrix) -> Matrix:
    bounded = np.clip(probabilities, LEAST, MOST)
    return bounded / (1 - bounded)
