"""Cuts Markdown into clauses of words with their places, for readers that must know who does what to what."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from workflows.policy_creation.risk_words import IRREGULAR_PLURALS

_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*|\d+(?:[.,]\d+)*|[€$£,]")
_BREAK = re.compile(r"(?<=[.!?;:])[\"”’)*_]*\s+|\n\s*\n|\n(?=\s*(?:[-*+|#>]|\d+[.)])\s*)")
# A clause of its own begins here, so that a “not” before it does not reach over.
LONGEST = 80  # words; nobody writes longer clauses but to slow a reader down
_JOINTS = {"but", "however", "while", "whereas", "unless", "except", "although", "though", "instead"}
_LEADERS = {
    "if",
    "when",
    "where",
    "unless",
    "after",
    "before",
    "because",
    "although",
    "while",
    "as",
    "once",
    "whenever",
}


@dataclass(frozen=True)
class Token:
    word: str  # lower case, without 's
    lemma: str  # in the singular
    start: int
    end: int


@dataclass(frozen=True)
class Clause:
    """`text[start:end]` of the field it was cut from."""

    tokens: tuple[Token, ...]
    start: int
    end: int


def singular(word: str) -> str:
    if word in IRREGULAR_PLURALS:
        return IRREGULAR_PLURALS[word]
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-2] if word.endswith(("sses", "shes", "ches", "xes")) else word[:-1]
    return word


def _token(match: re.Match[str]) -> Token:
    word = match.group().lower().replace("’", "'")
    word = word.removesuffix("'s").removesuffix("'")
    return Token(word, singular(word), match.start(), match.end())


def clauses(text: str) -> Iterator[Clause]:
    """Sentences, list items and headings, cut again where a new statement begins."""
    start = 0
    for match in [*_BREAK.finditer(text), None]:
        end = match.start() if match else len(text)
        tokens = [_token(word) for word in _WORD.finditer(text, start, end)]
        for piece in _split(tokens):
            yield Clause(tuple(piece), piece[0].start, piece[-1].end)
        start = match.end() if match else end


def _split(tokens: list[Token]) -> Iterator[list[Token]]:
    piece: list[Token] = []
    for position, token in enumerate(tokens):
        following = tokens[position + 1].word if position + 1 < len(tokens) else ""
        comma_ends = token.word == "," and (
            following in {"and", "or", "so", "then", *_JOINTS} or bool(piece and piece[0].word in _LEADERS)
        )
        if token.word in _JOINTS or comma_ends or len(piece) >= LONGEST:
            if piece:
                yield piece
            piece = []
        if token.word != ",":
            piece.append(token)
    if piece:
        yield piece
