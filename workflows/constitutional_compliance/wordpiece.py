"""Cuts text into the word pieces that BERT and its descendants read."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

UNKNOWN, START, END = 100, 101, 102
LONGEST_WORD = 100  # characters; longer ones are unknown


@lru_cache(maxsize=1)
def vocabulary() -> dict[str, int]:
    """The 30,522 pieces of bert-base-uncased (Apache-2.0), which all-MiniLM-L6-v2 shares."""
    lines = (Path(__file__).parent / "vocabulary.txt").read_text(encoding="utf-8").split("\n")
    return {piece: number for number, piece in enumerate(lines) if piece}


def encode(text: str, longest: int) -> list[int]:
    """The numbers of the pieces between the two marks, `longest` of them at most."""
    numbers = [START]
    for word in _words(text):
        numbers.extend(_pieces(word))
        if len(numbers) >= longest:
            break
    return [*numbers[: longest - 1], END]


def _words(text: str) -> Iterator[str]:
    """Lower case, without accents; punctuation and Chinese characters stand alone."""
    spaced = "".join(_spaced(character) for character in text)
    plain = "".join(c for c in unicodedata.normalize("NFD", spaced) if unicodedata.category(c) != "Mn")
    for chunk in plain.lower().split():
        word = ""
        for character in chunk:
            if _is_punctuation(character):
                if word:
                    yield word
                yield character
                word = ""
            else:
                word += character
        if word:
            yield word


def _spaced(character: str) -> str:
    if character in "\t\n\r":
        return " "
    if character in "\0\ufffd" or unicodedata.category(character).startswith("C"):
        return ""
    return f" {character} " if _is_chinese(ord(character)) else character


def _is_punctuation(character: str) -> bool:
    code = ord(character)
    if code < 128:
        return not character.isalnum() and code > 32
    return unicodedata.category(character).startswith("P")


def _is_chinese(code: int) -> bool:
    return (
        0x4E00 <= code <= 0x9FFF
        or 0x3400 <= code <= 0x4DBF
        or 0xF900 <= code <= 0xFAFF
        or 0x20000 <= code <= 0x2CEAF
        or 0x2F800 <= code <= 0x2FA1F
    )


@lru_cache(maxsize=50_000)
def _pieces(word: str) -> tuple[int, ...]:
    """The longest piece first, again and again; a word that cannot be made of pieces is unknown as a whole."""
    known = vocabulary()
    if len(word) > LONGEST_WORD:
        return (UNKNOWN,)
    numbers: list[int] = []
    start = 0
    while start < len(word):
        for end in range(len(word), start, -1):
            number = known.get(word[start:end] if start == 0 else "##" + word[start:end])
            if number is not None:
                break
        else:
            return (UNKNOWN,)
        numbers.append(number)
        start = end
    return tuple(numbers)
