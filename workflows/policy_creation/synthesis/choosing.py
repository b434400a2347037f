"""Which templates fit a goal, and why: by what the goal says of each aspect of their need."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from workflows.policy_creation.synthesis import goals
from workflows.policy_creation.synthesis.shapes import Drafted, Left, Setting, Wish
from workflows.policy_creation.synthesis.templates import access, agents, conduct, money, records
from workflows.policy_creation.synthesis.templates.filling import Template, fill

ALL: tuple[Template, ...] = (*money.ALL, *access.ALL, *agents.ALL, *records.ALL, *conduct.ALL)
BEST = 3  # templates


@dataclass(frozen=True)
class Fit:
    """A template, how much of its need the goal speaks of, and in which words."""

    template: Template
    share: float  # of its aspects
    words: tuple[str, ...]

    @property
    def why(self) -> str:
        said = " and ".join(f"“{word}”" for word in self.words)
        return f"The goal says {said}."


def fitting(wish: Wish) -> list[Fit]:
    """The best first: those of which the goal speaks in every aspect, then those that serve a chosen principle."""
    found = [fit for template in ALL if (fit := _fit(template, wish.goal))]
    whole = [fit for fit in found if fit.share == 1] or found

    def order(fit: Fit) -> tuple[float, bool, int]:
        serves = bool(set(fit.template.serves) & set(wish.principles))
        return -fit.share, not serves, -len(fit.template.cues)

    return sorted(whole, key=order)[:BEST]


def _fit(template: Template, goal: str) -> Fit | None:
    matches = [re.search(rf"(?<!\w)(?:{cue})(?!\w)", goal, re.I) for cue in template.cues]
    if matches[0] is None:
        return None
    words = dict.fromkeys(match[0].lower() for match in matches if match)
    return Fit(template, sum(map(bool, matches)) / len(matches), tuple(words))


def drafted(wish: Wish, setting: Setting) -> Iterator[Drafted | Left]:
    """A draft of each template that fits, or why there is none."""
    goal = goals.read(wish.goal)
    for fit in fitting(wish):
        template = fit.template
        engine = wish.engine or next(iter(template.rules))
        if engine not in template.rules:
            why = f"Its rule cannot be said in {engine.capitalize()}."
            yield Left(kind="template", key=template.key, title=template.need, why=why)
        else:
            yield fill(template, goal, setting, engine, fit.why)
