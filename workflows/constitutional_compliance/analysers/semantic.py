"""What the labelled clauses nearest in meaning break: neighbours by embedding, calibrated on policies that are not their own.

It never decides: clauses that say opposite things stand close together. It is a second reading, made without the heads.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import lru_cache

import msgspec
import numpy as np
import numpy.typing as npt

from workflows.constitution.document import Constitution
from workflows.constitution.principles import Principle
from workflows.constitutional_compliance import evidence
from workflows.constitutional_compliance.corpus import LabelledClause
from workflows.constitutional_compliance.evidence import Matrix
from workflows.constitutional_compliance.findings import SEVERITIES, Analyser, Finding, Precedent, Span
from workflows.constitutional_compliance.heads import Heads
from workflows.constitutional_compliance.models import Using
from workflows.constitutional_compliance.reading import Place, Reading
from workflows.ports import Vectors

NAME = "semantic"
WEIGHT = 0.5  # in the consensus, beside the heads' 1: it sees what a clause is about better than what it says of it
NEIGHBOURS = 32  # of each clause
NARROW = 10.0  # how much more the nearer ones weigh: e to this times the cosine
FAR = 0.3  # cosine at which the share of all clauses weighs as much as one neighbour
FEWEST = 30  # labelled breaches of a principle, from which on it is calibrated (§ 4.9)
PRECEDENTS = 3
WORTH_SHOWING = 40.0  # times likelier than elsewhere
BEARING_OUT = 5.0
NO_EMBEDDER = "No embedder is in use, so that nothing can be compared by meaning."


class Neighbours:
    """Labelled clauses by meaning, and how likely a clause breaks a principle that so many of its neighbours break."""

    def __init__(
        self, clauses: Sequence[LabelledClause], vectors: Vectors, principles: Sequence[str]
    ) -> None:
        self.clauses, self.vectors, self.principles = clauses, vectors, tuple(principles)
        self.breaks = np.array([[key in clause.breaks for key in principles] for clause in clauses])
        counts = self.breaks.sum(axis=0)
        self.calibrated = [key for key, count in zip(principles, counts, strict=True) if count >= FEWEST]
        self._calibrate()

    def _calibrate(self) -> None:
        """By Platt scaling, one for all principles, on whole policies: each clause seen from all policies but its own."""
        from sklearn.linear_model import (
            LogisticRegression,  # takes seconds; processes that judge nothing need it not
        )

        whole = np.array([clause.principle is None for clause in self.clauses])
        seen = np.flatnonzero(whole) if self.breaks[whole].any() else np.arange(len(self.clauses))
        policies = np.array([clause.policy for clause in self.clauses])
        self.base = float(self.breaks[seen].mean())
        alike = self.vectors[seen] @ self.vectors.T
        alike[policies[seen][:, None] == policies[None, :]] = -1.0
        shares = _log_odds(self._shares(alike)).reshape(-1, 1)
        fitted = LogisticRegression(C=100.0).fit(shares, self.breaks[seen].reshape(-1))
        self.slope, self.middle = float(fitted.coef_[0, 0]), float(fitted.intercept_[0])

    def ratios(self, vectors: Vectors) -> Matrix:
        """How many times likelier than elsewhere a breach is: a row for each vector, a column for each principle."""
        raw = self.slope * _log_odds(self._shares(vectors @ self.vectors.T)) + self.middle
        return evidence.ratios(1.0 / (1.0 + np.exp(-raw)), np.asarray(self.base))

    def likely(self, ratio: float) -> float:
        """The calibrated probability that a ratio stands for."""
        odds = ratio * self.base / (1 - self.base)
        return odds / (1 + odds)

    def nearest(self, vector: Vectors, principle: str) -> tuple[Precedent, ...]:
        """The closest clauses that break a principle."""
        column = self.principles.index(principle)
        alike = np.where(self.breaks[:, column], self.vectors @ vector, -1.0)
        return tuple(
            Precedent(clause.id, clause.text, "breaks", float(alike[row]), clause.policy)
            for row in np.argsort(-alike, kind="stable")[:PRECEDENTS]
            for clause in (self.clauses[row],)
        )

    def _shares(self, alike: npt.NDArray[np.float32]) -> Matrix:
        """Of each clause's neighbours, the weighted share that breaks a principle, drawn towards that of all clauses."""
        count = min(NEIGHBOURS, len(self.clauses))
        near = np.argpartition(-alike, count - 1, axis=1)[:, :count]
        weights = np.exp(NARROW * np.take_along_axis(alike, near, axis=1))
        one = np.exp(NARROW * FAR)
        weighed = (weights[:, :, None] * self.breaks[near]).sum(axis=1)
        return (weighed + self.base * one) / (weights.sum(axis=1)[:, None] + one)


@lru_cache(maxsize=4)
def neighbours_of(heads: Heads) -> Neighbours | None:
    """Among the clauses that the heads were fitted to; None for heads without an embedder."""
    if heads.embedder is None:
        return None
    return Neighbours(heads.clauses, heads.vectors, heads.principles)


def analyse(
    reading: Reading,
    constitution: Constitution,
    using: Using,
    neighbours: Neighbours | None,
    ratios: Matrix | None,
    vectors: Vectors | None,
) -> Analyser:
    """`ratios` and `vectors` are those of the passages that can be read, in their order."""
    began = time.perf_counter()
    absent = Analyser(NAME, "embedding", model_of(using), present=False, weight=WEIGHT)
    if not reading.legible:
        return msgspec.structs.replace(absent, why="The text is in a language that no labelled clause is in.")
    if neighbours is None or ratios is None or vectors is None:
        return msgspec.structs.replace(absent, why=NO_EMBEDDER)
    known = {item.key: item for item in constitution.principles if item.key in neighbours.calibrated}
    columns = [column for column, key in enumerate(neighbours.principles) if key in known]
    score = evidence.complies(ratios[:, columns])
    shown = [
        (row, column)
        for row, column in zip(*np.nonzero(ratios >= WORTH_SHOWING), strict=True)
        if column in columns
    ]
    return msgspec.structs.replace(
        absent,
        present=True,
        score=score,
        confidence=max(score, 1.0 - score),
        calibration=f"each clause by Platt scaling on labelled clauses of other policies; the text by Bayes' rule, {evidence.HOW}",
        latency_ms=(time.perf_counter() - began) * 1000,
        findings=tuple(
            _finding(
                reading.legible[row],
                known[neighbours.principles[column]],
                neighbours,
                float(ratios[row, column]),
                vectors[row],
            )
            for row, column in shown
        ),
        uncalibrated=tuple(item.key for item in constitution.principles if item.key not in known),
    )


def borne_out(
    reading: Reading, neighbours: Neighbours | None, ratios: Matrix | None
) -> set[tuple[Span | None, str]]:
    """Where neighbours in meaning break a principle more often than elsewhere: the place and the principle."""
    if neighbours is None or ratios is None:
        return set()
    return {
        (reading.legible[row].span, neighbours.principles[column])
        for row, column in zip(*np.nonzero(ratios >= BEARING_OUT), strict=True)
    }


def model_of(using: Using) -> str:
    return using.name if using.embedder is None else f"{using.name}@{using.embedder.model_sha256[:12]}"


def _finding(
    place: Place, principle: Principle, neighbours: Neighbours, ratio: float, vector: Vectors
) -> Finding:
    likely = neighbours.likely(ratio)
    return Finding(
        principle=principle.key,
        severity=SEVERITIES[principle.weight],
        explanation=f"Clauses closest to it in meaning break “{principle.name}” ({likely:.0%}).",
        analyser=NAME,
        score=likely,
        sure=False,
        span=place.span,
        articles=principle.articles,
        precedents=neighbours.nearest(vector, principle.key),
    )


def _log_odds(shares: Matrix) -> Matrix:
    bounded = np.clip(shares, 1e-6, 1 - 1e-6)
    return np.log(bounded / (1 - bounded))
