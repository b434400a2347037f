"""Reads the labelled clauses that heads are fitted to and judged by, and keeps the held part apart."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import msgspec

SHIPPED = Path(__file__).parent / "corpus"
WHOLE = "whole_policies"
FEW_WORDS = "few_words"  # the kind of clauses that say in few plain words what people say
HELD_BELOW = "5"


class LabelledClause(msgspec.Struct, frozen=True):
    """`breaks` names every principle that the clause breaks, in order; `principle` the one it was written about, if one."""

    id: str
    principle: str | None
    policy: str
    kind: str
    breaks: tuple[str, ...]
    text: str


def shipped() -> list[LabelledClause]:
    """All clauses of the corpus of our own constitution."""
    return read(SHIPPED)


def fit_part(clauses: Iterable[LabelledClause]) -> list[LabelledClause]:
    return [clause for clause in clauses if not held(clause.policy)]


def held_part(clauses: Iterable[LabelledClause]) -> list[LabelledClause]:
    return [clause for clause in clauses if held(clause.policy)]


def held(policy: str) -> bool:
    """Whether no fitting may see this policy: its name alone decides, so that nobody can choose."""
    return hashlib.sha256(policy.encode()).hexdigest()[0] < HELD_BELOW


def read(folder: Path) -> list[LabelledClause]:
    """`<principle>.csv` holds clauses written about one principle, `whole_policies.csv` texts in their order."""
    clauses: list[LabelledClause] = []
    for path in sorted(folder.glob("*.csv")):
        principle = None if path.stem == WHOLE else path.stem
        with path.open(encoding="utf-8", newline="") as file:
            clauses.extend(_clause(principle, row) for row in csv.DictReader(file))
    return clauses


def exam() -> list[LabelledClause]:
    """Sentences of somebody who had not seen the corpus. Nothing is ever fitted to them; each is a text of its own."""
    with (SHIPPED / "exam" / "sentences.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [
        LabelledClause(
            identity("", row["text"]),
            None,
            f"sentence {number}",
            "sentence",
            tuple(sorted(row["breaks"].split())),
            row["text"],
        )
        for number, row in enumerate(rows, start=1)
    ]


def _clause(principle: str | None, row: dict[str, str]) -> LabelledClause:
    breaks = set(row["also"].split())
    if principle and row["label"] == "breaks":
        breaks.add(principle)
    text = row["text"]
    return LabelledClause(
        identity(row["policy"], text), principle, row["policy"], row["kind"], tuple(sorted(breaks)), text
    )


def second_reading() -> dict[tuple[str, str], str]:
    """(principle, id) → what a second reader, who saw neither the label nor the policy, says the clause does to it."""
    with (SHIPPED / "second_reading.tsv").open(encoding="utf-8", newline="") as file:
        return {(row["principle"], row["id"]): row["label"] for row in csv.DictReader(file, delimiter="\t")}


def identity(policy: str, text: str) -> str:
    return hashlib.sha256(f"{policy}\0{text}".encode()).hexdigest()[:16]


def corpus_sha256(clauses: Sequence[LabelledClause]) -> str:
    """One hash over what clauses say and break, whatever their order."""
    lines = sorted("\0".join((clause.policy, clause.text, " ".join(clause.breaks))) for clause in clauses)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


@lru_cache(maxsize=1)
def shipped_fit_part() -> tuple[LabelledClause, ...]:
    """What the shipped heads were fitted to."""
    return tuple(fit_part(shipped()))
