"""Clauses that honour and that break a principle, as people labelled them: shown beside it, so that its meaning is plain."""

from __future__ import annotations

import csv
from functools import lru_cache
from pathlib import Path

import msgspec

CORPUS = Path(__file__).parent.parent / "constitutional_compliance" / "corpus"
SHOWN = 3  # of each


class Examples(msgspec.Struct, frozen=True):
    """None of a principle that nobody has labelled clauses of."""

    honours: tuple[str, ...] = ()
    breaks: tuple[str, ...] = ()
    labelled: int = 0  # how many clauses were written about the principle


@lru_cache
def of_principle(key: str) -> Examples:
    """Some of those written about the principle, each of another policy, and none that breaks other principles besides."""
    path = CORPUS / f"{key}.csv"
    if not path.is_file():
        return Examples()
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return Examples(_some(rows, "honours"), _some(rows, "breaks"), len(rows))


def _some(rows: list[dict[str, str]], label: str) -> tuple[str, ...]:
    by_policy: dict[str, str] = {}
    for row in rows:
        if row["label"] == label and not row["also"].strip():
            by_policy.setdefault(row["policy"], row["text"])
    return tuple(by_policy.values())[:SHOWN]
