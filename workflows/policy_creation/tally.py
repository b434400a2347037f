"""Counting a ballot: counts in, outcome and its reasons out. Pure, in whole numbers, monotone.

The quorum counts votes *for* and abstentions, not votes *against* (Constitution § 5.4). A plain turnout quorum
has the no-show paradox: a vote against could lift a ballot over the quorum and so help it pass. Here one more
*against* never turns a fail into a pass, and what is asked is never laxer than the programme's 10 % turnout.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec


@dataclass(frozen=True)
class Counts:
    votes_for: int
    votes_against: int
    votes_abstain: int

    @property
    def total(self) -> int:
        return self.votes_for + self.votes_against + self.votes_abstain


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    """One reason: `left` compared with `right` as `comparison` says; the numbers re-evaluate to `met`."""

    key: str  # not_empty, quorum, majority, threshold
    left: int
    comparison: str  # ">" or ">="
    right: int
    met: bool
    explanation: str
    article: str

    def holds(self) -> bool:
        return self.left > self.right if self.comparison == ">" else self.left >= self.right


class Why(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome as a tree: it passes when all conditions are met."""

    passed: bool
    all_of: list[Condition]

    def recomputed(self) -> bool:
        """The outcome from the numbers alone."""
        return all(condition.holds() for condition in self.all_of)


def _condition(key: str, left: int, comparison: str, right: int, explanation: str, article: str) -> Condition:
    met = left > right if comparison == ">" else left >= right
    return Condition(
        key=key,
        left=left,
        comparison=comparison,
        right=right,
        met=met,
        explanation=explanation,
        article=article,
    )


def decide(counts: Counts, *, electorate: int, quorum_percent: int, threshold_percent: int) -> Why:
    """Whether a ballot passes. Percentages are compared as `100 · part` against `percent · whole`, never as floats.

    Raises ValueError for negative counts or more votes than electors.
    """
    f, a, n = counts.votes_for, counts.votes_against, counts.votes_abstain
    if min(f, a, n) < 0 or counts.total > electorate:
        raise ValueError("impossible counts")
    conditions = [
        _condition("not_empty", counts.total, ">", 0, f"{counts.total} of {electorate} voted.", "5.6"),
        _condition(
            "quorum",
            100 * (f + n),
            ">=",
            quorum_percent * electorate,
            f"{f} for and {n} abstaining are {f + n} of {electorate} eligible; "
            f"the quorum is {quorum_percent} %, that is {-(-quorum_percent * electorate // 100)}.",
            "5.4",
        ),
        _condition(
            "majority", f, ">", a, f"{f} for, {a} against; more than half is needed, a tie fails.", "5.5"
        ),
        _condition(
            "threshold",
            100 * f,
            ">=",
            threshold_percent * (f + a),
            f"{f} of {f + a} votes for or against; this tier asks for at least {threshold_percent} %.",
            "5.7",
        ),
    ]
    return Why(passed=all(condition.met for condition in conditions), all_of=conditions)
