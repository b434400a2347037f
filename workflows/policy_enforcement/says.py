"""What a rule is to the rest of the system: what it declares of itself, and what it says of one input."""

from __future__ import annotations

from typing import Any

import msgspec

ANY_ACTION = "*"


class Problem(msgspec.Struct, frozen=True):
    """Something wrong with a rule. `line` counts from 1; 0 where it is about the whole rule."""

    line: int
    code: str  # syntax, name, default_missing, builtin, reference, unsafe, unstratified, limit, example, conflict …
    message: str


class Reason(msgspec.Struct, frozen=True):
    """A row of a rule's own table: what a denial by this code means, and how grave it is."""

    message: str
    severity: str  # workflows.kinds.Severity


class Declared(msgspec.Struct, frozen=True):
    """What a rule says of itself whatever the input is."""

    name: str  # unique among rules in force: the last part of `package policies.<name>`, in Datalog `name("<name>").`
    actions: list[str]  # the action types it is about, sorted; ["*"]: all
    reasons: dict[str, Reason] = {}
    facts: list[str] = []  # names of data documents it reads, sorted


class Obligation(msgspec.Struct, frozen=True):
    """What whoever is allowed something has to do for it, and by when."""

    id: str
    text: str
    within_seconds: int


class Said(msgspec.Struct, frozen=True):
    """What one rule says of one input. `deny` holds codes, sorted; a code outside the rule's table is a sentence."""

    allow: bool = False
    deny: list[str] = []
    obligations: list[Obligation] = []
    error: str = ""  # it could not be asked: undefined, not boolean, too slow, too much. Counts as a denial


class Checked(msgspec.Struct, frozen=True):
    """A rule after the gate: what it declares, unless it has problems."""

    declared: Declared | None
    problems: list[Problem] = []


Input = dict[str, Any]  # {"action": {"type": …, …}, "subject": {"id": …, …}, "context": {…}}


def type_of(input: Input) -> str:
    """The action's type; "" where there is none."""
    action = input.get("action")
    found = action.get("type") if isinstance(action, dict) else None
    return found if isinstance(found, str) else ""


Facts = dict[
    str, Any
]  # data documents by name; a relation is a list of rows, each a list of strings and integers
