"""What of a report is written as words and drawn as bars, and the report as CSV, for tables of one's own."""

from __future__ import annotations

import csv
import io
from datetime import timedelta

from portal.pages.filters import in_words, percent
from workflows.audit_transparency.reports.queries import ReportView
from workflows.audit_transparency.reports.shapes import Figure, Part, Unit

# A cell that begins so is run by a spreadsheet as a formula (OWASP, CSV injection).
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def shown(figure: Figure) -> str:
    """A figure as a person reads it: 12.3 %, 3 days 4 hours, 0.0044 SOL; none: a dash."""
    if figure.value is None:
        return "–"
    match figure.unit:
        case Unit.PERMILLE:
            return percent(figure.value / 1000)
        case Unit.SECONDS:
            return in_words(timedelta(seconds=figure.value))
        case Unit.LAMPORTS:
            return f"{figure.value / 1_000_000_000:.9f}".rstrip("0").rstrip(".") + " SOL"
    return f"{figure.value:,}"


def to_csv(view: ReportView, base: str) -> bytes:
    """One row a figure or cell: section, what, key, value, unit, rows. UTF-8 with a mark, as spreadsheets want it."""
    report = view.report
    assert report is not None, "only a report that is made can be downloaded"
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(["report", "section", "item", "figure", "value", "unit", "rows"])
    for part in report.parts:
        for figure in part.figures:
            value = "" if figure.value is None else figure.value
            writer.writerow(
                _safe(
                    [report.ref, part.key, "", figure.text, value, figure.unit, _absolute(base, figure.rows)]
                )
            )
        for table in part.tables:
            for row, link in zip(table.rows, table.links, strict=True):
                for column, cell in list(zip(table.columns, row, strict=True))[1:]:
                    value = "" if cell is None else cell
                    writer.writerow(
                        _safe(
                            [
                                report.ref,
                                part.key,
                                row[0],
                                f"{table.title}: {column}",
                                value,
                                "",
                                _absolute(base, link),
                            ]
                        )
                    )
    return "\N{ZERO WIDTH NO-BREAK SPACE}".encode() + out.getvalue().encode()


def _safe(row: list[object]) -> list[object]:
    return [f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell for cell in row]


def _absolute(base: str, path: str | None) -> str:
    return f"{base}{path}" if path else ""


def counts(part: Part) -> list[Figure]:
    """The figures of a section that can be drawn beside one another: plain counts, at least two, one of them not nought."""
    found = [figure for figure in part.figures if figure.unit == Unit.COUNT and figure.value is not None]
    return found if len(found) > 1 and any(figure.value for figure in found) else []
