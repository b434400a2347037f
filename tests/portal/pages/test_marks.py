"""Marks in a text: what anyone wrote stays what it was, whatever is marked in it."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from portal.pages.marks import CUT, Mark, marked
from tests.portal.judged import FINDINGS, HOSTILE, LOG, TEXT, VOTES
from tests.portal.pages.html import parse, text_of
from workflows.kinds import Severity
from workflows.markdown import to_html


def mark(
    number: int, quote: str, text: str = TEXT, severity: Severity = Severity.HIGH, **more: object
) -> Mark:
    start = text.index(quote)
    fields = {"place": number, "sure": True, "about": "Equal <vote>", **more}
    return Mark(number, start=start, end=start + len(quote), severity=severity, **fields)  # type: ignore[arg-type]


def shown(html: object) -> str:
    """The text that is left without links of ours and without tags."""
    return re.sub(r"<[^>]*>", "", re.sub(r'<a class="passage-link.*?</a>', "", str(html)))


def page(html: object) -> str:
    return f"<!doctype html><html lang='en'><head><title>t</title></head><body>{html}</body></html>"


def test_passages_are_marked_across_emphasis_and_lists() -> None:
    html, places = marked(TEXT, [mark(1, LOG), mark(2, VOTES, severity=Severity.CRITICAL, sure=False)])
    document = parse(page(html))
    assert places == {1, 2}
    assert text_of(document.find(".//mark[@id='passage-1']")) == LOG.strip("*")
    marks = [text_of(each) for each in document.findall(".//mark")]
    assert "twice for those" in marks and len(document.findall(".//li")) == 3
    links = {
        a.get("href"): text_of(a) for a in document.iter("a") if "passage-link" in (a.get("class") or "")
    }
    assert links["#finding-1"] == "Finding 1: Equal <vote>, high severity"
    assert links["#finding-2"] == "Finding 2: Equal <vote>, critical severity, unsure"


def test_what_anyone_wrote_stays_text() -> None:
    html, _ = marked(TEXT, [mark(1, HOSTILE), mark(2, "alert('owned')"), mark(3, "rules. They")])
    document = parse(page(html))
    assert not document.findall(".//script") and not document.findall(".//img")
    assert text_of(document.find(".//mark[@id='passage-1']")).startswith("The log is public <script>")
    assert all(not a.findall(".//a") for a in document.iter("a")), "no link stands inside a link"


def test_two_findings_about_one_passage_share_its_mark() -> None:
    html, places = marked(TEXT, [mark(1, VOTES), mark(2, VOTES, place=1, severity=Severity.LOW)])
    assert places == {1} and str(html).count('id="passage-1"') == 1
    assert "#finding-1" in html and "#finding-2" in html and "passage-high" in html


def test_where_marks_would_change_the_reading_the_source_is_shown() -> None:
    text = "```\nthe code is law\n```\n"
    html, places = marked(text, [mark(1, "```\nthe", text)])
    assert "prose-source" in html and places == {1} and shown(html) == text


@given(
    st.text(alphabet=st.sampled_from("ab *_`#->[]()|\n\"'<&.!" + CUT), max_size=80),
    st.lists(st.tuples(st.integers(0, 80), st.integers(0, 80)), max_size=4),
)
def test_no_text_reads_otherwise_because_of_marks(text: str, spans: list[tuple[int, int]]) -> None:
    marks = [
        Mark(number, number, start, end, Severity.HIGH, True, "x")
        for number, (start, end) in enumerate(spans, start=1)
    ]
    html, places = marked(text, marks)
    document = parse(page(html))
    clean = text.replace(CUT, "\N{REPLACEMENT CHARACTER}")
    if "prose-source" not in html:
        assert shown(html) == re.sub(r"<[^>]*>", "", to_html(clean))
    ids = [each.get("id") for each in document.iter() if each.get("id")]
    assert sorted(ids) == sorted(f"passage-{place}" for place in places)


def test_every_finding_about_a_clause_quotes_the_text_as_it_stands() -> None:
    for finding in FINDINGS:
        if finding.span:
            assert TEXT[finding.span.start : finding.span.end] == finding.span.quote
