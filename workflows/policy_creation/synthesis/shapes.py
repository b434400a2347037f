"""What policy synthesis takes and answers with: one set of structs for pages, API and service."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import msgspec

from workflows.constitution.principles import Principle
from workflows.kinds import Category, Compliance, RuleEngine
from workflows.policy_creation.views import RuleDraft, View

LIMITS = {"goal": 2_000, "text": 20_000, "rule": 8_000, "examples": 20}  # characters; examples
SHOWN = 6  # candidates
Kind = Literal["template", "policy", "language_model"]


class Wish(View):
    """What somebody wants a policy to reach. `principles` are keys of the constitution's annex."""

    goal: str
    principles: tuple[str, ...] = ()
    category: Category | None = None
    engine: RuleEngine | None = None  # None: whichever fits


class Standing(View):
    """A policy in force, as a draft may be made of it."""

    ref: str
    version: int
    version_sha256: str
    title: str
    summary: str
    text: str
    category: Category
    rule: RuleDraft | None


class Setting(View):
    """What surrounds a wish: policies in force, names of rules that are taken, and the chosen principles."""

    standing: tuple[Standing, ...] = ()
    taken: tuple[str, ...] = ()
    principles: tuple[Principle, ...] = ()
    appeal_hours: int = 48
    voting_days: int = 7


class Source(View):
    """Where a draft comes from: `key` is a template's, a policy's reference, or a language model's name."""

    kind: Kind
    key: str
    title: str
    why: str  # why it was taken for this goal
    version: int | None = None  # of the policy
    sha256: str = ""  # of the policy's version
    model: str = ""  # which model answered


class Read(View):
    """One value of a draft. `quote` is where the goal says it; empty: the goal does not, so that it was assumed."""

    what: str
    value: str
    quote: str = ""


class Drafted(View):
    """A draft as it was written, not validated yet."""

    source: Source
    title: str
    summary: str
    text: str
    category: Category
    rule: RuleDraft | None = None
    read: tuple[Read, ...] = ()
    notes: tuple[str, ...] = ()  # what whoever takes it should know
    # Data documents that its rule reads, each with a row as an example.
    facts: dict[str, Any] = msgspec.field(default_factory=dict)


class Left(View):
    """Something that gave no draft, or whose draft is not shown, and why."""

    kind: Kind
    key: str
    title: str
    why: str
    href: str = ""


class Means(View):
    """One way of drafting, and whether it was there for this wish."""

    kind: Kind
    used: bool
    says: str


class Written(View):
    """What a language model answered, and the draft that it is; none: `wrong` says why it is none."""

    model: str  # its name
    answer: str
    drafted: Drafted | None
    wrong: str = ""


class Drafts(View):
    """What one round of drafting yields."""

    drafted: list[Drafted]
    written: list[Written]
    left: list[Left]
    means: list[Means]


class Validation(View):
    """What was found of a draft: its rule by the engine, its text by the judge."""

    rule: Literal["none", "passed"]
    examples: int  # that come out as they should, alone and among the rules in force
    revision: str  # of the bundle under which the rule was tried
    compliance: Compliance | None  # None: not checked, and `why` says why
    score: float | None
    why: list[str]
    basis_sha256: str = ""  # of what judged
    mended: int = 0  # times that a language model was told what was wrong


class Candidate(View):
    """A draft that was validated. `token` carries it, sealed, to where a person takes it."""

    drafted: Drafted
    validation: Validation
    token: str = ""


class Synthesis(View):
    """What came of a wish."""

    candidates: list[Candidate]
    left: list[Left]
    means: list[Means]


class Begun(View):
    """What a policy's first version was begun with, and how much of it people changed since."""

    source: Source
    goal: str  # "" once its author was erased
    principles: list[str]
    validation: Validation
    draft_sha256: str
    taken_at: datetime
    changed_percent: int
    changed: list[str]  # fields that are not as they were drafted
