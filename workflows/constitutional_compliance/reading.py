"""What the analysers read of a subject: its title, summary and text, and what it writes into the constitution.

Some of it no analyser judges: passages in a language that they do not know, and what an amendment takes away.
"""

from __future__ import annotations

import re

import msgspec

from workflows.constitution.clauses import ANNEXES
from workflows.constitutional_compliance.findings import Span, Subject
from workflows.constitutional_compliance.passages import Passage, passages
from workflows.policy_creation.risk_words import ENGLISH

ENOUGH = 8  # words from which on a language can be told
SHARE = 0.08  # of them are small English words, at least, where the text is English
NUMBER = re.compile(r"^\d+\*\*\s*")  # what is left of a clause's, **5.4**, where list marks are taken away
FOREIGN = re.compile(r"[^\W\d_a-zA-ZÀ-ɏ]")  # a letter that is not Latin


class Place(msgspec.Struct, frozen=True):
    """One passage. `span` is None of the title."""

    text: str
    span: Span | None
    legible: bool


class Amendment(msgspec.Struct, frozen=True):
    """How an amended constitution differs from the one in force: passages of its clauses, whatever their numbers."""

    new: tuple[Passage, ...] = ()
    gone: int = 0
    annexes: bool = False


class Reading(msgspec.Struct, frozen=True):
    subject: Subject
    places: tuple[Place, ...]
    amendment: Amendment = Amendment()

    @property
    def legible(self) -> tuple[Place, ...]:
        return tuple(place for place in self.places if place.legible)

    @property
    def illegible(self) -> tuple[Place, ...]:
        return tuple(place for place in self.places if not place.legible)

    @property
    def unjudged(self) -> tuple[str, ...]:
        """What of it no analyser judges, one sentence each."""
        said = []
        if self.illegible:
            said.append(f"{_counted(len(self.illegible))} in a language that the analysers do not read.")
        if self.amendment.gone:
            said.append(
                f"{_counted(self.amendment.gone, 'of the constitution ')} taken out or worded anew, and no analyser sees "
                "what is lost by that."
            )
        if self.amendment.annexes:
            said.append("The annexes of the constitution are changed, and no analyser reads those.")
        return tuple(said)


def read(subject: Subject, constitution: str = "") -> Reading:
    """`constitution`: the text of the one in force, to which an amended one is compared."""
    places = [Place(subject.title, None, is_legible(subject.title))] if subject.title.strip() else []
    for of, text in (("summary", subject.summary), ("text", subject.text)):
        for passage in passages(text):
            span = Span(passage.start, passage.end, passage.text, of)
            places.append(Place(passage.text, span, is_legible(passage.text)))
    changed = amendment(subject, constitution)
    for passage in changed.new:
        span = Span(passage.start, passage.end, passage.text, "constitution")
        places.append(Place(_line(passage), span, is_legible(passage.text)))
    return Reading(subject, tuple(places), changed)


def amendment(subject: Subject, constitution: str) -> Amendment:
    if not subject.amended:
        return Amendment()
    body, _, annexes = subject.amended.partition(ANNEXES)
    old, _, old_annexes = constitution.partition(ANNEXES)
    written = [_unnumbered(passage) for passage in passages(body)]
    there = {_line(_unnumbered(passage)) for passage in passages(old)}
    return Amendment(
        new=tuple(passage for passage in written if _line(passage) not in there),
        gone=len(there - {_line(passage) for passage in written}),
        annexes=annexes.split() != old_annexes.split(),
    )


def _unnumbered(passage: Passage) -> Passage:
    text = NUMBER.sub("", passage.text)
    return Passage(passage.end - len(text), passage.end, text)


def _line(passage: Passage) -> str:
    return " ".join(passage.text.split())


def _counted(count: int, of: str = "") -> str:
    return f"One passage {of}is" if count == 1 else f"{count} passages {of}are"


def is_legible(text: str) -> bool:
    """Whether the text can be English, as all labelled clauses are. A few words without small ones can be anything."""
    words = re.findall(r"[^\W\d_]+", text.lower())
    if not words:
        return True
    foreign = sum(bool(FOREIGN.search(word)) for word in words)
    if foreign > len(words) / 4:
        return False
    return len(words) < ENOUGH or sum(word in ENGLISH for word in words) >= SHARE * len(words)
