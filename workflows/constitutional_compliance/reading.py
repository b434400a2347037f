"""What the analysers read of a subject: its title and its passages, and which of them are in a language they know."""

from __future__ import annotations

import re

import msgspec

from workflows.constitutional_compliance.findings import Span, Subject
from workflows.constitutional_compliance.passages import passages
from workflows.policy_creation.risk_words import ENGLISH

ENOUGH = 8  # words from which on a language can be told
SHARE = 0.08  # of them are small English words, at least, where the text is English
FOREIGN = re.compile(r"[^\W\d_a-zA-ZÀ-ɏ]")  # a letter that is not Latin


class Place(msgspec.Struct, frozen=True):
    """One passage. `span` is None of the title."""

    text: str
    span: Span | None
    legible: bool


class Reading(msgspec.Struct, frozen=True):
    subject: Subject
    places: tuple[Place, ...]

    @property
    def legible(self) -> tuple[Place, ...]:
        return tuple(place for place in self.places if place.legible)

    @property
    def illegible(self) -> tuple[Place, ...]:
        return tuple(place for place in self.places if not place.legible)


def read(subject: Subject) -> Reading:
    places = [Place(subject.title, None, is_legible(subject.title))] if subject.title.strip() else []
    for passage in passages(subject.text):
        span = Span(passage.start, passage.end, passage.text)
        places.append(Place(passage.text, span, is_legible(passage.text)))
    return Reading(subject, tuple(places))


def is_legible(text: str) -> bool:
    """Whether the text can be English, as all labelled clauses are. A few words without small ones can be anything."""
    words = re.findall(r"[^\W\d_]+", text.lower())
    if not words:
        return True
    foreign = sum(bool(FOREIGN.search(word)) for word in words)
    if foreign > len(words) / 4:
        return False
    return len(words) < ENOUGH or sum(word in ENGLISH for word in words) >= SHARE * len(words)
