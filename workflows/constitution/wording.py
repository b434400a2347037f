"""Whether the annex says what its clauses say: the number in a clause's words, held against the figure that software reads.

A clause says “seven days”, the annex 7. Stricter than its clause a figure may be; where it is laxer, members who read
the clause would be governed by less than they read. Read from the words, so a clause that names its number in another
way is passed over, and said to be.
"""

from __future__ import annotations

import re

import msgspec

from workflows.constitution.clauses import clauses
from workflows.constitution.figures import Figures

_ONES = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_WORDS = {word: value for value, word in enumerate(_ONES)} | {
    word: 10 * value for value, word in enumerate(_TENS, 2)
}
_NUMBER = rf"\d+|(?:{'|'.join(_TENS)})-(?:{'|'.join(_ONES[1:10])})|{'|'.join([*_TENS, *_ONES])}"
# What follows the number in a clause, and whether less of it would be laxer (or else more).
_SINGLES = {
    "voting_days": (r"days?", True),
    "emergency_voting_days": (r"days?", True),
    "quorum_percent": (r"(?:per cent|percent|%)", True),
    "veto_override_percent": (r"(?:per cent|percent|%)", True),
    "appeal_hours": (r"hours?", True),
    "appeal_decision_working_days": (r"working days?", False),
}
_TIERS = {"approvals": r"reviewers?\b", "comment_days": r"days?\b"}


class Worded(msgspec.Struct, frozen=True):
    """A figure beside the number in its clause's words; `says` None: the clause names none that could be read."""

    name: str
    article: str
    value: int
    says: int | None
    laxer: bool

    @property
    def told(self) -> str:
        return f"{self.name.replace('_', ' ')} is {self.value}, but § {self.article} says {self.says}"


def worded(document: str, figures: Figures) -> list[Worded]:
    """Every figure of the annex that has a number in its clause, beside it."""
    text = {clause.number: clause.text for clause in clauses(document)}
    found = []
    for name, (unit, less_is_laxer) in _SINGLES.items():
        figure = getattr(figures, name)
        found.append(_held(name, figure.article, figure.value, text, unit, less_is_laxer))
    for key, tier in figures.tiers.items():
        for name, unit in _TIERS.items():
            found.append(_held(f"{key}: {name}", tier.article, getattr(tier, name), text, unit, True))
    thresholds = next((body for body in text.values() if "Stricter tiers ask for more" in body), "")
    article = next((number for number, body in text.items() if body == thresholds and body), "")
    for key, tier in figures.tiers.items():
        match = re.search(rf"\*{key.replace('_', '[ -]')}\* for ({_NUMBER}) per cent", thresholds, re.I)
        says = _value(match[1]) if match else None
        laxer = says is not None and tier.threshold_percent < says
        found.append(
            Worded(f"{key}: threshold_percent", article or tier.article, tier.threshold_percent, says, laxer)
        )
    return found


def laxer(document: str, figures: Figures) -> list[Worded]:
    """The figures that fall short of what their clause says."""
    return [item for item in worded(document, figures) if item.laxer]


def _held(
    name: str, article: str, value: int, text: dict[str, str], unit: str, less_is_laxer: bool
) -> Worded:
    match = re.search(rf"\b({_NUMBER}) {unit}", text.get(article, ""), re.I)
    says = _value(match[1]) if match else None
    short = says is not None and (value < says if less_is_laxer else value > says)
    return Worded(name, article, value, says, short)


def _value(word: str) -> int:
    if word.isdecimal():
        return int(word)
    return sum(_WORDS[part] for part in word.lower().split("-"))
