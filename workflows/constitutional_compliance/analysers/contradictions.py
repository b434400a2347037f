"""Finds clauses at odds with a policy in force: about the same, and permitting what that forbids, or naming another amount."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

import msgspec
import numpy as np

from workflows.constitutional_compliance.analysers.quantities import Quantity, quantities
from workflows.constitutional_compliance.findings import Finding, Subject
from workflows.constitutional_compliance.reading import Place, Reading
from workflows.kinds import Severity
from workflows.policy_creation.clauses import singular
from workflows.policy_creation.risk_words import ENGLISH
from workflows.ports import Vectors

CONSISTENCY = (
    "consistency"  # no principle of the constitution: two policies in force should not say opposite things
)
LIKE = 0.55  # cosine from which on two clauses can be about the same
SHARED = 0.6  # of the rarer side's words, at least
SCORE = 0.6  # for people: whether one is meant to replace the other, only they can tell

Stance = Literal["permits", "forbids", "obliges", ""]

_FORBIDS = re.compile(
    r"\b(?:may|must|shall|can|is|are|be|do|does|will)(?: \w+)? not\b|\bcannot\b|\b(?:nobody|no one|never|none)\b|"
    r"\bno \w+(?: \w+){0,3} (?:may|shall|can|is|are)\b|\b(?:forbidden|prohibited|not allowed|not permitted)\b",
    re.I,
)
_PERMITS = re.compile(
    r"\b(?:may|can|is allowed to|are allowed to|is permitted|are permitted|is free to|are free to)\b", re.I
)
_OBLIGES = re.compile(r"\b(?:must|shall|has to|have to|is required to|are required to)\b", re.I)
_STANCE_WORDS = ENGLISH | {
    "cannot", "never", "nobody", "none", "forbidden", "prohibited", "allowed", "permitted", "required", "free", "always",
    "least", "most", "within", "over", "under",
}  # fmt: skip
_REPLACES = re.compile(r"\b(?:replaces?|supersedes?|amends?|repeals?|instead of|in place of)\b", re.I)


class Rival(msgspec.Struct, frozen=True):
    """A clause of a policy in force."""

    ref: str
    title: str
    text: str


def stance(clause: str) -> Stance:
    if _FORBIDS.search(clause):
        return "forbids"
    if _PERMITS.search(clause):
        return "permits"
    return "obliges" if _OBLIGES.search(clause) else ""


def content(clause: str) -> set[str]:
    """The words that say what a clause is about."""
    return {singular(word) for word in re.findall(r"[^\W\d_]{3,}", clause.lower())} - _STANCE_WORDS


def find(
    reading: Reading, own: Vectors | None, rivals: Sequence[Rival], theirs: Vectors | None
) -> tuple[Finding, ...]:
    """At most one finding for each clause. Without vectors, shared words alone tell what is about the same."""
    if not rivals or _REPLACES.search(reading.subject.text):
        return ()
    alike = own @ theirs.T if own is not None and theirs is not None else None
    words = [content(rival.text) for rival in rivals]
    found = []
    for row, place in enumerate(reading.legible):
        mine = content(place.text)
        near = range(len(rivals)) if alike is None else np.flatnonzero(alike[row] >= LIKE)
        for column in near:
            rival = rivals[column]
            if rival.ref == reading.subject.policy_ref or not _about_the_same(mine, words[column]):
                continue
            if says := _at_odds(place.text, rival):
                found.append(_finding(place, rival, says))
                break
    return tuple(found)


def _about_the_same(mine: set[str], theirs: set[str]) -> bool:
    fewer = min(len(mine), len(theirs))
    return (
        fewer >= 3
        and len(mine & theirs) >= SHARED * fewer
        and len(mine & theirs) >= 0.4 * max(len(mine), len(theirs))
    )


def _at_odds(clause: str, rival: Rival) -> str:
    """In a sentence, how the two clash; empty where they do not."""
    ours, theirs = stance(clause), stance(rival.text)
    if {ours, theirs} == {"permits", "forbids"} or {ours, theirs} == {"obliges", "forbids"}:
        return f"It {ours} what {rival.ref} ({rival.title}) {theirs}: “{rival.text}”"
    for quantity in quantities(clause):
        for other in quantities(rival.text):
            if _differ(quantity, other):
                return f"It says {quantity.said} where {rival.ref} ({rival.title}) says {other.said}: “{rival.text}”"
    return ""


def _differ(ours: Quantity, theirs: Quantity) -> bool:
    return ours.unit == theirs.unit and ours.bound == theirs.bound and ours.value != theirs.value


def _finding(place: Place, rival: Rival, says: str) -> Finding:
    return Finding(
        principle=CONSISTENCY,
        severity=Severity.MEDIUM,
        explanation=says,
        analyser="structural",
        score=SCORE,
        sure=False,
        span=place.span,
        policy=rival.ref,
    )


__all__ = ["CONSISTENCY", "Rival", "Subject", "find", "stance"]
