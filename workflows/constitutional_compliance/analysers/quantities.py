"""Reads the amounts in a clause: how much of which unit, and whether it is a least, a most or the very amount."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

import msgspec

Unit = Literal["hours", "working_days", "percent", "money"]
Bound = Literal["exact", "at_least", "at_most"]

_ONES = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen",
    "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
]  # fmt: skip
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
WORDS: dict[str, float] = {
    "a": 1,
    "an": 1,
    "half a": 0.5,
    "half an": 0.5,
    "a single": 1,
    "a hundred": 100,
    "one hundred": 100,
}
WORDS |= {word: value for value, word in enumerate(_ONES)}
WORDS |= {ten: 20 + 10 * place for place, ten in enumerate(_TENS)}
WORDS |= {f"{ten}-{one}": WORDS[ten] + WORDS[one] for ten in _TENS for one in _ONES[1:10]}
HOURS = {
    "minute": 1 / 60,
    "hour": 1.0,
    "day": 24.0,
    "week": 168.0,
    "fortnight": 336.0,
    "month": 720.0,
    "year": 8760.0,
}
FRACTIONS = {"half": 50.0, "one half": 50.0, "a third": 100 / 3, "one third": 100 / 3, "two thirds": 200 / 3,
             "a quarter": 25.0, "one quarter": 25.0, "three quarters": 75.0, "a fifth": 20.0, "one fifth": 20.0,
             "two fifths": 40.0, "three fifths": 60.0, "a tenth": 10.0, "one tenth": 10.0, "a twentieth": 5.0,
             "one twentieth": 5.0}  # fmt: skip
_NUMBER = r"(?P<number>\d[\d.,]*|" + "|".join(sorted(map(re.escape, WORDS), key=len, reverse=True)) + ")"
_UNIT = (
    r"(?:\s*(?P<percent>%|per\s?cent\b|percent\b)"
    r"|[\s-]+(?P<working>(?:working|business|school|week)[\s-]?days?\b)"
    r"|[\s-]+(?:(?:calendar|full|whole|clear|consecutive|more)[\s-]+)?(?P<time>minute|hour|day|week|fortnight|month|year)s?\b"
    r"|\s*(?P<money>€|euros?\b|EUR\b|dollars?\b|USD\b|\$|pounds?\b|GBP\b))"
)
_AMOUNT = re.compile(
    rf"(?<![\w.§])(?:(?P<before>€|\$|EUR|USD)\s?)?{_NUMBER}(?:{_UNIT}|(?<=\d)(?=[\s,.;)]|$))", re.I
)
_FRACTION = re.compile(
    r"\b(?P<number>"
    + "|".join(sorted(FRACTIONS, key=len, reverse=True)).replace(" ", "[ -]")
    + r")\b(?!(?: an?)?[ -](?:a|an|minute|hour|day|week|month|year)s?\b)",
    re.I,
)
_AT_LEAST = re.compile(
    r"(?:at least|no (?:less|fewer|shorter) than|not (?:less|fewer|shorter) than|a minimum of|minimum|more than|over|above)\s*$",
    re.I,
)
_AT_MOST = re.compile(
    r"(?:at most|no (?:more|longer|later) than|not (?:more|longer|later) than|not exceeding|a maximum of|maximum|up to|"
    r"less than|fewer than|under|below|within)\s*$",
    re.I,
)  # fmt: skip


class Quantity(msgspec.Struct, frozen=True):
    """`value` in hours, working days, per cent or money, from `start` to `end` of the clause."""

    value: float
    unit: Unit
    bound: Bound
    start: int
    end: int
    said: str


def quantities(text: str) -> list[Quantity]:
    """Those whose unit is known, in order."""
    return sorted([*_amounts(text), *_fractions(text)], key=lambda item: item.start)


def _amounts(text: str) -> Iterator[Quantity]:
    for match in _AMOUNT.finditer(text):
        value = _value(match["number"])
        if value is None:
            continue
        unit: Unit
        if match["percent"]:
            unit = "percent"
        elif match["working"]:
            unit = "working_days"
        elif match["time"]:
            unit, value = "hours", value * HOURS[match["time"].lower()]
        elif match["money"] or match["before"]:
            unit = "money"
        else:
            continue
        yield Quantity(
            value, unit, _bound(text[: match.start()]), match.start(), match.end(), match.group().strip()
        )


def _fractions(text: str) -> Iterator[Quantity]:
    for match in _FRACTION.finditer(text):
        value = FRACTIONS[re.sub(r"[ -]", " ", match["number"].lower())]
        yield Quantity(
            value, "percent", _bound(text[: match.start()]), match.start(), match.end(), match.group()
        )


def _value(said: str) -> float | None:
    word = re.sub(r"\s+", " ", said.lower())
    if word in WORDS:
        return WORDS[word]
    plain = re.sub(r"[.,](?=\d{3}(?!\d))", "", said.rstrip(".,"))  # thousands
    try:
        return float(plain.replace(",", "."))
    except ValueError:
        return None


def _bound(before: str) -> Bound:
    near = before[-40:]
    if _AT_LEAST.search(near):
        return "at_least"
    return "at_most" if _AT_MOST.search(near) else "exact"
