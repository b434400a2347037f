"""The principles of the constitution as data: what each says, in which articles, and how grave it is to break it."""

from __future__ import annotations

import re

import msgspec

_HEADING = "\n## Annex: principles"
_ROW = re.compile(
    r"^\|\s*([a-z][a-z_]{1,40})\s*\|\s*([0-9]+)\s*\|\s*([0-9., ]+?)\s*\|\s*([^|]+?)\s*\|\s*$", re.M
)
WEIGHTS = range(1, 6)


class Principle(msgspec.Struct, frozen=True):
    """`key` names it for good; `weight` 1 (least) to 5 says how grave it is to break it."""

    key: str
    weight: int
    articles: tuple[str, ...]
    says: str

    @property
    def name(self) -> str:
        return self.key.replace("_", " ").capitalize()


class PrinciplesError(ValueError):
    """The annex of principles holds a row that cannot be read, a weight out of bounds, or a principle twice."""


def read_principles(document: str) -> tuple[Principle, ...]:
    """Those in the document's annex, in its order; none where it has no such annex. Raises PrinciplesError."""
    _, _, annex = document.partition(_HEADING)
    annex = annex.partition("\n## ")[0]
    rows = [line for line in annex.splitlines() if line.startswith("|")][2:]
    found: dict[str, Principle] = {}
    for row in rows:
        match = _ROW.match(row)
        if match is None or int(match[2]) not in WEIGHTS or match[1] in found:
            raise PrinciplesError(f"The annex of principles has a row that cannot be used: {row}")
        articles = tuple(part.strip() for part in match[3].split(",") if part.strip())
        found[match[1]] = Principle(match[1], int(match[2]), articles, match[4])
    return tuple(found.values())
