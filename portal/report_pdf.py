"""A report as PDF, to print, send and keep. Its library takes a second to import: only who makes one imports this."""

from __future__ import annotations

from datetime import UTC, datetime

from fpdf import FPDF
from fpdf.enums import TableBordersLayout, XPos, YPos
from fpdf.fonts import FontFace

from portal.reports import counts, shown
from portal.static_files import STATIC
from workflows.audit_transparency.reports.queries import ReportView
from workflows.audit_transparency.reports.shapes import Figure, Part, Report, Table

FONTS = STATIC / "vendor" / "fonts" / "dejavu"
INK, QUIET, ACCENT, TINT = (18, 38, 42), (74, 96, 100), (13, 85, 96), (238, 244, 243)


class _Paper(FPDF):
    """A4, with the page's number and the report's at the foot of each page."""

    def __init__(self, ref: str) -> None:
        super().__init__(format="A4")
        self.ref = ref
        self.add_font("DejaVu", "", str(FONTS / "DejaVuSans.ttf"))
        self.add_font("DejaVu", "B", str(FONTS / "DejaVuSans-Bold.ttf"))
        self.set_margins(20, 18)
        self.set_auto_page_break(True, margin=20)
        self.set_lang("en")

    def footer(self) -> None:
        self.set_y(-14)
        self.set_font("DejaVu", size=8)
        self.set_text_color(*QUIET)
        self.cell(0, 8, f"{self.ref} · page {self.page_no()} of {{nb}}", align="C")

    def text(self, words: str, *, size: float = 10, bold: bool = False, ink: tuple[int, int, int] = INK,
             link: str = "", after: float = 1.5) -> None:  # fmt: skip
        self.set_font("DejaVu", "B" if bold else "", size)
        self.set_text_color(*ink)
        # Not justified: even spaces are easier to read for many.
        self.multi_cell(0, size * 0.52, words, align="L", link=link, new_x=XPos.LMARGIN, new_y=YPos.NEXT)
        self.ln(after)


def to_pdf(view: ReportView, organisation: str, base: str) -> bytes:
    """Bookmarks for each section, text that can be selected and searched, a link at each figure, metadata and language."""
    report = view.report
    assert report is not None, "only a report that is made can be downloaded"
    paper = _Paper(report.ref)
    paper.set_title(f"Transparency report {report.ref}, {organisation}")
    paper.set_author(organisation)
    paper.set_subject(f"{_day(report.period.since)} to {_day(report.period.until)}")
    paper.set_creation_date(view.made_at)
    paper.add_page()
    _front(paper, view, report, organisation, base)
    for part in report.parts:
        _section(paper, part, base)
    return bytes(paper.output())


def _front(paper: _Paper, view: ReportView, report: Report, organisation: str, base: str) -> None:
    paper.text(organisation, size=10, ink=QUIET)
    paper.text("Transparency report", size=22, bold=True, after=2)
    paper.text(f"{report.ref} · {_day(report.period.since)} to {_day(report.period.until)}", size=12, after=4)
    paper.set_fill_color(*TINT)
    lines = (
        f"Bound to the audit log of {report.checkpoint['origin']} at {report.checkpoint['size']:,} entries.",
        f"Root of the log: {report.checkpoint['root']}",
        f"SHA-256 of this report's data: {view.body_sha256}",
        f"Constitution: {report.constitution_sha256}",
    )
    for line in lines:
        paper.text(line, size=8, ink=QUIET, after=0.5)
    paper.text("The same, with charts and with the rows behind each number", size=9, ink=ACCENT,
               link=f"{base}/transparency/reports/{report.ref}", after=4)  # fmt: skip


def _section(paper: _Paper, part: Part, base: str) -> None:
    if paper.get_y() > 240:
        paper.add_page()
    paper.ln(3)
    paper.start_section(part.title)
    paper.text(part.title, size=15, bold=True, after=2)
    if part.absent:
        paper.text(f"Absent. {part.absent}", ink=QUIET)
        return
    drawn = counts(part)
    if drawn:
        _bars(paper, drawn, base)
    for figure in part.figures:
        if figure in drawn:
            continue
        why = f" ({figure.why})" if figure.why else ""
        link = f"{base}{figure.rows}" if figure.rows else ""
        paper.text(f"{figure.text}: {shown(figure)}{why}", link=link, ink=ACCENT if link else INK, after=0.8)
    for table in part.tables:
        if table.rows:
            _table(paper, table, base)
    if part.method:
        paper.text(f"How this was computed: {part.method}", size=8, ink=QUIET, after=2)


def _bars(paper: _Paper, figures: list[Figure], base: str) -> None:
    """Name, bar and number on a line; the name leads to the rows."""
    most = max(figure.value or 0 for figure in figures)
    left, width = paper.l_margin + 78, paper.epw - 78 - 22
    for figure in figures:
        paper.set_font("DejaVu", size=9)
        paper.set_text_color(*ACCENT)
        paper.cell(76, 6, figure.text, link=f"{base}{figure.rows}" if figure.rows else "")
        top = paper.get_y() + 1.2
        paper.set_fill_color(*TINT)
        paper.rect(left, top, width, 3.6, style="F")
        paper.set_fill_color(*ACCENT)
        paper.rect(left, top, width * (figure.value or 0) / most, 3.6, style="F")
        paper.set_text_color(*INK)
        paper.set_x(left + width + 2)
        paper.cell(20, 6, shown(figure), align="R", new_x=XPos.LMARGIN, new_y=YPos.NEXT)
    paper.ln(2)


def _table(paper: _Paper, table: Table, base: str) -> None:
    paper.ln(2)
    paper.text(table.title, size=11, bold=True, after=1)
    paper.set_font("DejaVu", size=8)
    paper.set_text_color(*INK)
    heading = FontFace(emphasis="BOLD", color=INK, fill_color=TINT)
    with paper.table(
        borders_layout=TableBordersLayout.HORIZONTAL_LINES, headings_style=heading, line_height=5
    ) as grid:
        head = grid.row()
        for column in table.columns:
            head.cell(column)
        for cells, link in zip(table.rows, table.links, strict=True):
            row = grid.row()
            for place, cell in enumerate(cells):
                row.cell(
                    "–" if cell is None else str(cell), link=f"{base}{link}" if link and not place else None
                )
    paper.ln(2)


def _day(moment: datetime) -> str:
    at = moment.astimezone(UTC)
    return (
        f"{at.day} {at:%B %Y}"
        if (at.hour, at.minute, at.second) == (0, 0, 0)
        else f"{at.day} {at:%B %Y, %H:%M} UTC"
    )
