"""The answer of a verification: steps, the comparisons in each, and where two byte strings first differ."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec
import rfc8785

State = Literal["pass", "fail", "pending", "absent"]
_WORST_FIRST: tuple[State, ...] = ("fail", "absent", "pending", "pass")


class View(msgspec.Struct, frozen=True, kw_only=True):
    """Base only for the shared struct options."""


class Difference(View):
    """The first byte that differs: counted from 0 in the whole, in hex, empty where one side has ended.

    `field` is the field of the record it falls in, or the name of what was compared.
    """

    field: str
    byte: int
    expected: str
    actual: str


class Check(View):
    """One comparison or condition. `expected` is what was committed to, `actual` what was found or recomputed."""

    what: str
    state: State
    note: str = ""
    expected_label: str = ""
    expected: str | None = None
    actual_label: str = ""
    actual: str | None = None
    first_difference: Difference | None = None


class Link(View):
    href: str
    text: str


class Step(View):
    """One step, as bad as its worst check. The comparison shown first is that of the first check that fails."""

    key: str
    title: str
    state: State
    explanation: str
    expected: str | None
    actual: str | None
    first_difference: Difference | None
    checks: list[Check]
    repeat: list[str]  # what a stranger can do to take this step themselves
    links: list[Link]


class Verification(View, kw_only=True):
    """All steps. `verified` only when every one passes; `incomplete` when none fails and not all could pass.

    Of a policy's version, or of an anchored checkpoint of the audit log.
    """

    ref: str | None = None
    version: int | None = None
    checkpoint_size: int | None = None
    overall: Literal["verified", "failed", "incomplete"]
    summary: str
    read_at: datetime
    cluster: str
    steps: list[Step]

    def step(self, key: str) -> Step:
        return next(step for step in self.steps if step.key == key)


def same(
    what: str,
    expected: Any,
    actual: Any,
    expected_label: str = "Recorded",
    actual_label: str = "Recomputed",
    *,
    note: str = "",
) -> Check:
    """Whether two values are equal, byte for byte; text is compared as UTF-8, hex digits as the bytes they say."""
    left, right = _as_bytes(expected, actual)
    return Check(
        what=what,
        state="pass" if left == right else "fail",
        note=note,
        expected_label=expected_label,
        expected=_shown(expected),
        actual_label=actual_label,
        actual=_shown(actual),
        first_difference=None if left == right else _difference(what, left, right),
    )


def holds(what: str, condition: bool, note: str = "") -> Check:
    return Check(what=what, state="pass" if condition else "fail", note=note)


def pending(what: str, note: str) -> Check:
    return Check(what=what, state="pending", note=note)


def absent(what: str, note: str) -> Check:
    return Check(what=what, state="absent", note=note)


def step(
    key: str,
    title: str,
    passed: str,
    checks: Sequence[Check],
    repeat: Sequence[str] = (),
    links: Sequence[Link | None] = (),
) -> Step:
    """`passed` explains the step when all is well; otherwise the first check that is worst explains it."""
    state: State = next((state for state in _WORST_FIRST if any(c.state == state for c in checks)), "absent")
    telling = next((check for check in checks if check.state == state), None)
    compared = next((check for check in checks if check.state == state and check.expected is not None), None)
    explanation = passed if state == "pass" or telling is None else _explain(telling)
    return Step(
        key=key,
        title=title,
        state=state,
        explanation=explanation,
        expected=compared.expected if compared else None,
        actual=compared.actual if compared else None,
        first_difference=compared.first_difference if compared else None,
        checks=list(checks),
        repeat=list(repeat),
        links=[link for link in links if link is not None],
    )


def _explain(check: Check) -> str:
    if check.state != "fail":
        return check.note or check.what
    text = f"{check.what}: {check.note or 'they do not agree.'}"
    if found := check.first_difference:
        place = f" in “{found.field}”" if found.field != check.what else ""
        text += f" The first different byte is number {found.byte + 1}{place}."
    return text


def _as_bytes(*values: Any) -> tuple[bytes, ...]:
    if all(isinstance(value, str) and _is_hex(value) for value in values):
        return tuple(bytes.fromhex(value) for value in values)
    return tuple(value if isinstance(value, bytes) else str(value).encode() for value in values)


def _is_hex(text: str) -> bool:
    """A hash or a longer string of bytes; a short one may be a word or a number."""
    return len(text) >= 32 and len(text) % 2 == 0 and re.fullmatch(r"[0-9a-f]+", text) is not None


def _shown(value: Any) -> str:
    if isinstance(value, bytes):
        try:
            text = value.decode()
            return text if text.isprintable() else value.hex()
        except UnicodeDecodeError:
            return value.hex()
    return "nothing" if value is None else str(value)


def _difference(what: str, expected: bytes, actual: bytes) -> Difference:
    at = next(
        (i for i, (left, right) in enumerate(zip(expected, actual, strict=False)) if left != right),
        min(len(expected), len(actual)),
    )
    return Difference(
        field=_field(expected, at) or _field(actual, at) or what,
        byte=at,
        expected=expected[at : at + 1].hex(),
        actual=actual[at : at + 1].hex(),
    )


def _field(record: bytes, at: int) -> str | None:
    """The field of a canonical JSON object in which byte `at` falls."""
    try:
        fields = msgspec.json.decode(record, type=dict[str, Any])
        if rfc8785.dumps(fields) != record:
            return None
        ends = 1  # after the opening brace
        # RFC 8785 sorts by UTF-16 code units; our records' names are ASCII, where that is the same.
        for name in sorted(fields):
            ends += len(rfc8785.dumps({name: fields[name]})) - 2 + 1  # without braces, with what follows
            if at < ends:
                return name
    except (msgspec.DecodeError, rfc8785.CanonicalizationError):
        pass
    return None
