"""What a report is made of. Whole numbers, words and None only, so that its canonical JSON has one spelling."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec


class Section(StrEnum):
    PARTICIPATION = "participation"
    PIPELINE = "pipeline"
    DECISIONS = "decisions"
    COMPLIANCE = "compliance"
    OFFICES = "offices"
    EMERGENCIES = "emergencies"
    ACCESS = "access"
    CHAIN = "chain"
    COVERAGE = "coverage"


class Unit(StrEnum):
    COUNT = "count"
    SECONDS = "seconds"
    PERMILLE = "permille"
    LAMPORTS = "lamports"


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One number: `value` in `unit`, None where there is nothing to measure, and then `why`. `rows` leads to what it counts."""

    key: str
    text: str
    value: int | None
    unit: Unit = Unit.COUNT
    rows: str | None = None
    why: str | None = None


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """Rows of words and numbers under their columns; the first column names the row, and `links` lead to each."""

    key: str
    title: str
    columns: list[str]
    rows: list[list[str | int | None]]
    links: list[str | None]


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A section. `absent` says why there is nothing, where what it would report on is not built yet."""

    key: Section
    title: str
    figures: list[Figure] = []
    tables: list[Table] = []
    absent: str | None = None
    method: str = ""


class Period(msgspec.Struct, frozen=True, kw_only=True):
    """From (included) to (not), in governance time."""

    since: datetime = msgspec.field(name="from")
    until: datetime = msgspec.field(name="to")


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The whole: bound to the checkpoint of that size, beyond which nothing was read."""

    schema: str = "acgs.report/1"
    ref: str
    period: Period
    constitution_sha256: str
    checkpoint: dict[str, str | int]  # {origin, size, root}
    parts: list[Part]
