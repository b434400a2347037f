"""The constitution as data: its clauses by number, under the heading of their section."""

from __future__ import annotations

import re

import msgspec

ANNEXES = "\n## Annex"  # where the clauses end
_SECTION = re.compile(r"^## (\d+) (.+)$", re.M)
_CLAUSE = re.compile(r"^\*\*(\d+\.\d+)\*\* (.+?)(?=\n\n|\n*\Z)", re.M | re.S)


class Clause(msgspec.Struct, frozen=True):
    """One clause as the document has it, its lines joined."""

    number: str  # 5.4
    section: str  # Voting
    text: str


def clauses(document: str) -> list[Clause]:
    """The clauses of a document in order; none where it is not written in numbered clauses."""
    body = document.partition(ANNEXES)[0]
    headings = dict(_SECTION.findall(body))
    return [
        Clause(number, headings.get(number.partition(".")[0], ""), " ".join(text.split()))
        for number, text in _CLAUSE.findall(body)
    ]
