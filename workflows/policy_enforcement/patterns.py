"""When many decisions together mean something that none of them means alone. Pure."""

from __future__ import annotations

import math
from datetime import timedelta

REPEATED, REPEATED_WINDOW = 5, timedelta(hours=1)
BURST_WINDOW, BURST_BASE = timedelta(minutes=10), timedelta(hours=24)
BURST_LEAST = 10  # denials; fewer are no burst, however quiet the day was
BURST_P = 0.001
DRIFT_Z = 2.576  # two-sided 99 %
DRIFT_LEAST = 30  # actions on either side


def is_burst(recent: int, before: int) -> bool:
    """Whether `recent` denials in ten minutes are more than `before` in the day before them explain.

    The chance of so many or more, if they came at the day's rate (Poisson), is below 0.001. One denial is added to the day,
    so that a quiet one does not make any denial a burst.
    """
    if recent < BURST_LEAST:
        return False
    return poisson_tail(recent, (before + 1) * (BURST_WINDOW / BURST_BASE)) < BURST_P


def poisson_tail(least: int, mean: float) -> float:
    """The probability of `least` or more events where `mean` are expected."""
    term = below = math.exp(-mean)
    for k in range(1, least):
        term *= mean / k
        below += term
    return max(0.0, 1.0 - below)


def drifts(promised: tuple[int, int], shown: tuple[int, int]) -> bool:
    """Whether a share differs from the one that was promised: two (count, of how many), two-proportion z test at 99 %.

    With fewer than 30 on either side nothing is said.
    """
    (a, n), (b, m) = promised, shown
    if min(n, m) < DRIFT_LEAST:
        return False
    pooled = (a + b) / (n + m)
    spread = math.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
    return spread > 0 and abs(a / n - b / m) / spread > DRIFT_Z
