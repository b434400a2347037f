"""Reads a goal as people write it: amounts of money, periods, numbers of people, roles. Whatever it says besides is theirs.

It reads English. What is not found in a goal is not guessed here: whoever asks assumes it and says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_UNITS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_TENS = {"fifteen": 15, "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "ninety": 90}
_WORDS = {word: number for number, word in enumerate(_UNITS, 1)} | _TENS
_SCALES = {"hundred": 100, "thousand": 1_000, "k": 1_000, "million": 1_000_000, "m": 1_000_000}
_NUMBER = (
    r"(?P<number>(?<![\d.,])(?:\d{1,3}(?:[,.'’\u00a0\u202f ]\d{3})+|\d{1,10})(?:[.,]\d{1,2})?(?![\d.,]?\d)|\b(?:"
    + "|".join(sorted(_WORDS, key=len, reverse=True))
    + r")\b)(?:\s?(?P<scale>hundred|thousand|million|k)\b)?"
)
_CURRENCIES = {
    "euros": r"€|eur\b|euros?\b",
    "dollars": r"\$|usd\b|dollars?\b",
    "pounds": r"£|gbp\b|pounds?\b",
    "francs": r"chf\b|francs?\b",
    "tokens": r"tokens?\b",
    "credits": r"credits?\b",
}
_ANY_CURRENCY = "|".join(_CURRENCIES.values())
_MONEY = re.compile(rf"(?P<before>€|\$|£|\b(?:eur|usd|gbp|chf))\s?{_NUMBER}|{_NUMBER.replace('number', 'n2').replace('scale', 's2')}\s?(?P<after>{_ANY_CURRENCY})", re.I)  # fmt: skip
_PERIOD = re.compile(
    rf"(?:{_NUMBER}|\b(?P<a>an?))[\s-]?(?:(?:working|business|calendar)\s)?(?P<unit>hour|day|week|month|year)s?\b", re.I
)  # fmt: skip
_PEOPLE = re.compile(
    rf"{_NUMBER}[\s-](?:(?:other|different|more|independent)\s)?"
    r"(?:people|persons?|members?|reviewers?|maintainers?|moderators?|signatures?|approvals?|approvers?|colleagues|offers?|quotes?|bids?)\b",
    re.I,
)
_BARE = re.compile(
    rf"\b(?:up to|at most|no more than|more than|above|over|beyond|limit(?: of)?|maximum(?: of)?|under|below)\s+{_NUMBER}(?![\s-]?(?:%|per cent|hour|day|week|month|year|people|person|member|reviewer|minute|time))",
    re.I,
)
_ROLES = (
    "data protection officer", "security officer", "data steward", "project lead", "team lead", "council member",
    "board member", "ombudsperson", "administrator", "treasurer", "maintainer", "moderator", "reviewer", "operator",
    "auditor", "secretary", "manager", "steward", "editor", "drafter", "chair", "council", "board",
)  # fmt: skip
_ROLE = re.compile(r"\b(" + "|".join(_ROLES) + r")s?\b", re.I)
HOURS = {"hour": 1, "day": 24, "week": 168, "month": 720, "year": 8_760}
LARGEST = 1_000_000_000  # of an amount; fits the integers of both languages
LONGEST = 100 * HOURS["year"]


@dataclass(frozen=True)
class Amount:
    value: int
    currency: str  # "" where the goal names none
    quote: str

    @property
    def text(self) -> str:
        return money(self.value, self.currency)


@dataclass(frozen=True)
class Period:
    value: int
    unit: str  # hour, day, week, month (of 30 days), year (of 365)
    quote: str = ""

    @property
    def hours(self) -> int:
        return self.value * HOURS[self.unit]

    @property
    def text(self) -> str:
        return f"{self.value:,} {self.unit}{'' if self.value == 1 else 's'}"

    @property
    def iso(self) -> str:
        """As a rule says it (ISO 8601, days or hours)."""
        return f"P{self.hours // 24}D" if self.hours % 24 == 0 else f"PT{self.hours}H"


@dataclass(frozen=True)
class Count:
    value: int
    quote: str


@dataclass(frozen=True)
class Goal:
    """A goal and what is said in it, each in its order."""

    text: str
    amounts: tuple[Amount, ...]
    periods: tuple[Period, ...]
    people: tuple[Count, ...]
    roles: tuple[tuple[str, str], ...]  # role, as it is written there


def read(text: str) -> Goal:
    """Never raises; what cannot be, as nought days or a billion years, is passed over."""
    return Goal(
        text=text,
        amounts=tuple(_amounts(text)),
        periods=tuple(_periods(text)),
        people=tuple(_people(text)),
        roles=tuple((match[1].lower(), match[0]) for match in _ROLE.finditer(text)),
    )


def money(value: int, currency: str) -> str:
    word = currency[:-1] if value == 1 and currency.endswith("s") else currency
    return f"{value:,} {word}".strip()


def _amounts(text: str) -> Iterator[Amount]:
    found: dict[int, Amount] = {}
    for match in _MONEY.finditer(text):
        value = _value(match["number"] or match["n2"], match["scale"] or match["s2"])
        if 0 < value <= LARGEST:
            found[match.start()] = Amount(value, _currency(match["before"] or match["after"]), match[0])
    named = [(match.start(), match.end()) for match in _MONEY.finditer(text)]
    for match in _BARE.finditer(text):
        value = _value(match["number"], match["scale"])
        inside = any(start < match.end() and match.start() < end for start, end in named)
        if 0 < value <= LARGEST and not inside:
            found[match.start()] = Amount(value, "", match[0])
    yield from (found[position] for position in sorted(found))


def _periods(text: str) -> Iterator[Period]:
    for match in _PERIOD.finditer(text):
        value = 1 if match["a"] else _value(match["number"], match["scale"])
        unit = match["unit"].lower()
        if 0 < value * HOURS[unit] <= LONGEST:
            yield Period(value, unit, match[0])


def _people(text: str) -> Iterator[Count]:
    for match in _PEOPLE.finditer(text):
        value = _value(match["number"], match["scale"])
        if 0 < value <= 20:
            yield Count(value, match[0])


def _value(number: str, scale: str | None) -> int:
    """0 for what is no whole number: a template takes none, and the goal's own words stay with who wrote them."""
    word = number.lower()
    if word in _WORDS:
        value = _WORDS[word]
    else:
        whole, _, fraction = re.sub(r"(?<=\d)[.,](\d{1,2})$", r"#\1", word).partition("#")
        value = 0 if fraction.strip("0") else int(re.sub(r"\D", "", whole))
    return value * _SCALES[scale.lower()] if scale else value


def _currency(sign: str) -> str:
    return next((name for name, form in _CURRENCIES.items() if re.fullmatch(form, sign, re.I)), "")
