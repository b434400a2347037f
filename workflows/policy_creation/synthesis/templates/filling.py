"""How a goal and a template become a draft: the goal's values are put in, and what it does not say is assumed, visibly."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Collection, Mapping
from string import Template as Text
from typing import Any

import msgspec

from workflows.kinds import Category, RuleEngine
from workflows.policy_creation.synthesis import goals
from workflows.policy_creation.synthesis.goals import Goal, Period
from workflows.policy_creation.synthesis.shapes import Drafted, Read, Setting, Source
from workflows.policy_creation.views import RuleDraft

Values = dict[str, Any]
OBLIGED = 10 * 365 * 24  # hours in which an obligation is due at the latest
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


class Template(msgspec.Struct, frozen=True):
    """A policy with places to fill. `cues` are patterns, one for each aspect of the need: the first must be in a goal.

    `values` reads the goal; text, title, summary and rules have `$name` for each of them. `examples` hold for the rule.
    """

    key: str
    title: str
    summary: str
    need: str
    category: Category
    cues: tuple[str, ...]
    serves: tuple[str, ...]  # principles that it is about
    values: Callable[[Asked], Values]
    text: str
    rules: Mapping[RuleEngine, str]  # the first is preferred
    examples: Callable[[Values], list[dict[str, Any]]]
    facts: Callable[[Values], dict[str, Any]] = lambda values: {}
    name: str = ""  # of its rule; the key, unless said otherwise


class Asked:
    """A goal as one template takes its values from it, each once. `read` notes what was taken, and what was assumed."""

    def __init__(self, goal: Goal) -> None:
        self.goal = goal
        self.read: list[Read] = []
        self.amounts = sorted(
            {item.value: item for item in goal.amounts}.values(), key=lambda item: -item.value
        )
        self.periods = list(goal.periods)
        self.people_ = list(goal.people)
        self.roles = list(goal.roles)
        named = [item.currency for item in goal.amounts if item.currency]
        self.currency = named[0] if named else "euros"

    def money(self, what: str, otherwise: int, *, smallest: bool = False) -> int:
        """The largest amount that is left, or the smallest."""
        if not self.amounts:
            return self._noted(what, self.shown(otherwise), "", otherwise)
        found = self.amounts.pop(-1 if smallest else 0)
        return self._noted(what, self.shown(found.value), found.quote, found.value)

    def maybe_money(self, what: str) -> int | None:
        return self.money(what, 0) if self.amounts else None

    def period(self, what: str, otherwise: Period, *, longest: bool = False) -> Period:
        """The first that an obligation may have, or the longest of all."""
        fitting = [item for item in self.periods if longest or item.hours <= OBLIGED]
        if not fitting:
            return self._noted(what, otherwise.text, "", otherwise)
        found = max(fitting, key=lambda item: item.hours) if longest else fitting[0]
        self.periods.remove(found)
        return self._noted(what, found.text, found.quote, found)

    def people(self, what: str, otherwise: int, *, most: int) -> int:
        fitting = [item for item in self.people_ if item.value <= most]
        if not fitting:
            return self._noted(what, str(otherwise), "", otherwise)
        self.people_.remove(fitting[0])
        return self._noted(what, str(fitting[0].value), fitting[0].quote, fitting[0].value)

    def role(self, what: str, otherwise: str) -> str:
        if not self.roles:
            return self._noted(what, otherwise, "", otherwise)
        role, quote = self.roles.pop(0)
        return self._noted(what, role, quote, role)

    def choice(self, what: str, choices: Mapping[str, str], otherwise: str) -> str:
        """The first of `choices` (what → pattern) that the goal speaks of."""
        for choice, pattern in choices.items():
            match = re.search(rf"\b(?:{pattern})\b", self.goal.text, re.I)
            if match:
                return self._noted(what, choice, match[0], choice)
        return self._noted(what, otherwise, "", otherwise)

    def shown(self, amount: int) -> str:
        return goals.money(amount, self.currency)

    def _noted(self, what: str, value: str, quote: str, found: Any) -> Any:
        self.read.append(Read(what=what, value=value, quote=quote))
        return found


def case(expect: str, kind: str, who: str = "m9", **action: Any) -> dict[str, Any]:
    """An example of a rule: what is asked, and what must come of it."""
    return {"input": {"action": {"type": kind, **action}, "subject": {"id": who}}, "expect": expect}


def spelled(number: int) -> str:
    return NUMBERS[number] if number < len(NUMBERS) else str(number)


def distinct(predicate: str, number: int) -> str:
    """In Datalog: there are so many different ones."""
    names = [f"P{position}" for position in range(1, number + 1)]
    pairs = [f"{first} < {second}" for first, second in itertools.pairwise(names)]
    return ", ".join([f"{predicate}({name})" for name in names] + pairs)


def fill(template: Template, goal: Goal, setting: Setting, engine: RuleEngine, why: str) -> Drafted:
    """The draft that a template yields for a goal, with a clause for each chosen principle."""
    asked = Asked(goal)
    values = template.values(asked)
    values = {**values, "name": free_name(template.name or template.key, setting.taken), "engine": engine}

    def put(text: str) -> str:
        return Text(text).substitute({name: str(value) for name, value in values.items()})

    return Drafted(
        source=Source(kind="template", key=template.key, title=template.need, why=why),
        title=_capital(put(template.title)),
        summary=_capital(put(template.summary)),
        text=put(template.text).strip() + "\n" + safeguards(setting),
        category=template.category,
        rule=RuleDraft(engine, put(template.rules[engine]).lstrip(), template.examples(values)),
        read=tuple(asked.read),
        facts=template.facts(values),
    )


def free_name(base: str, taken: Collection[str]) -> str:
    """A rule's name that no rule in force holds."""
    name, number = base, 1
    while name in taken:
        number += 1
        name = f"{base}_{number}"
    return name


CLAUSES = {
    "equal_vote": "Nothing in this policy gives, takes or weighs a vote: every member has one.",
    "equal_respect": "It holds for everyone alike, and everyone it concerns is treated with respect.",
    "separation_of_duties": "Nobody decides a matter in which they have an interest of their own.",
    "open_participation": "Anyone affected may suggest improvements, and suggestions are answered.",
    "sound_review": "Its changes are new versions, each shown with what changed.",
    "fair_ballot": "Ballots about it are open for the full $days days, and a tie fails.",
    "secret_ballot": "What is kept under this policy never shows how a member voted.",
    "due_process": "A refusal is explained in writing, and can be contested within $hours hours before people who had no part in it.",
    "graduated_response": "Answers to a breach of this policy are graduated, expire and can be reversed.",
    "human_control": "Whatever a machine decides under this policy, a person can look at again and undo.",
    "lasting_trail": "Every act under this policy is entered in a trail that is added to and never rewritten.",
    "openness": "What is decided is published with its reasons, where everyone can read it free of charge.",
    "privacy": "Personal data is kept apart, limited to what is needed, and erased when it is no longer needed.",
    "constitution_first": "What the founding document says goes before what is said here.",
}


def safeguards(setting: Setting) -> str:
    """A clause for each principle that was chosen; one that is not known here speaks in the constitution's own words."""
    if not setting.principles:
        return ""
    clauses = [
        f"- {Text(CLAUSES.get(item.key, item.says)).safe_substitute(hours=setting.appeal_hours, days=spelled(setting.voting_days))}"
        f" ({', '.join(f'§ {article}' for article in item.articles)})"
        for item in setting.principles
    ]
    return "\n## Safeguards\n\n" + "\n".join(clauses) + "\n"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
