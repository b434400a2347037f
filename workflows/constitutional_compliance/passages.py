"""Cuts a text into the passages that are judged one by one: sentences and list items, with their places."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

_BREAK = re.compile(r"(?<=[.!?;])[\"”’)*_]*\s+(?=[^a-z\s]|$)|\n\s*\n|\n(?=\s*(?:[-*+|#>]|\d+[.)])\s)")
_MARKS = re.compile(r"^(?:\s*(?:[-*+>|]|#{1,6}|\d+[.)]))*\s*")
_ABBREVIATION = re.compile(
    r"(?:\b(?:e\.g|i\.e|etc|cf|no|art|sec|para|vs|resp|approx|Dr|Mr|Mrs|Ms)\.|§)$", re.I
)
FEWEST = 3  # words; a heading of fewer says nothing that could be judged
LONGEST = 1_200  # characters; a longer run is cut at its commas, or there


class Passage(msgspec.Struct, frozen=True):
    """`text` is what stands from `start` to `end` of the whole, without list marks."""

    start: int
    end: int
    text: str


def passages(text: str) -> list[Passage]:
    """In order, without overlap. What is shorter than FEWEST words is left out."""
    return [
        Passage(start, end, text[start:end])
        for start, end in _pieces(text)
        if len(re.findall(r"\w+", text[start:end])) >= FEWEST
    ]


def _pieces(text: str) -> Iterator[tuple[int, int]]:
    start = 0
    for match in _BREAK.finditer(text):
        if "\n" not in match.group() and _ABBREVIATION.search(text[start : match.start()]):
            continue
        yield from _trimmed(text, start, match.start())
        start = match.end()
    yield from _trimmed(text, start, len(text))


def _trimmed(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    start += _MARKS.match(text[start:end]).end()  # type: ignore[union-attr]  it matches nothing as well
    end = start + len(text[start:end].rstrip())
    while end - start > LONGEST:
        cut = max(
            text.rfind(", ", start, start + LONGEST), text.rfind(" ", start + LONGEST // 2, start + LONGEST)
        )
        cut = cut if cut > start else start + LONGEST
        yield start, cut
        start = cut + len(text[cut:end]) - len(text[cut:end].lstrip(", "))
    if start < end:
        yield start, end
