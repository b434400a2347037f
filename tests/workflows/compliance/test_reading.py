"""What of a subject is read, and what of it no analyser judges: above all, what an amendment does to the constitution."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows.constitution.clauses import ANNEXES
from workflows.constitution.document import load
from workflows.constitutional_compliance.findings import Subject
from workflows.constitutional_compliance.reading import Place, Reading, read

BASE = load().text
ONE_VOTE = "**2.1** Every member has one vote, and all votes weigh the same."
CHAIR = "**2.6** The chair’s vote counts twice where votes\nare equal. Nobody may ask why."


def amended(old: str, new: str) -> Reading:
    assert BASE.count(old) == 1
    return read(Subject("Amend", "The document is amended.", amended=BASE.replace(old, new)), BASE)


def written(reading: Reading) -> list[Place]:
    return [place for place in reading.places if place.span and place.span.of == "constitution"]


def test_a_policy_that_amends_nothing_is_its_title_summary_and_text() -> None:
    reading = read(
        Subject("A title", "One sentence here. Another sentence here.", "It is about sentences."), BASE
    )
    assert [place.text for place in reading.places] == [
        "A title", "It is about sentences.", "One sentence here.", "Another sentence here.",
    ]  # fmt: skip
    assert [place.span and place.span.of for place in reading.places] == [None, "summary", "text", "text"]
    assert reading.unjudged == ()


def test_what_is_written_into_the_constitution_is_read_where_it_stands() -> None:
    reading = amended(ONE_VOTE, f"{ONE_VOTE}\n\n{CHAIR}")
    double, why = written(reading)
    assert double.text == "The chair’s vote counts twice where votes are equal."
    assert why.text == "Nobody may ask why."
    for place in (double, why):
        assert place.span and reading.subject.amended[place.span.start : place.span.end] == place.span.quote
        assert place in reading.legible
    assert reading.unjudged == (), "what is only added, analysers judge"


def test_what_is_taken_out_or_worded_anew_is_for_people() -> None:
    gone = amended(ONE_VOTE, "")
    assert written(gone) == []
    assert gone.unjudged == (
        "One passage of the constitution is taken out or worded anew, and no analyser sees what is lost by that.",
    )
    anew = amended(ONE_VOTE, ONE_VOTE.replace("Every member", "Every member of the council"))
    assert [place.text for place in written(anew)] == [
        "Every member of the council has one vote, and all votes weigh the same."
    ]
    assert len(anew.unjudged) == 1


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("| voting_days | 7 | 5.2 |", "| voting_days | 9 | 5.2 |"),
        ("all votes weigh the same. Nothing", "all votes weigh the same. Hardly anything"),
        (
            f"{ANNEXES}: figures",
            f"{ANNEXES}: notes\n\nThe chair decides what no clause says.{ANNEXES}: figures",
        ),
    ],
)
def test_what_is_changed_in_annexes_is_for_people(old: str, new: str) -> None:
    reading = amended(old, new)
    assert written(reading) == []
    assert reading.unjudged == ("The annexes of the constitution are changed, and no analyser reads those.",)


def test_other_numbers_and_line_ends_change_nothing() -> None:
    reading = amended(ONE_VOTE, "**2.9** Every member has one vote,\nand all votes weigh   the same.")
    assert written(reading) == [] and reading.unjudged == ()


def test_what_is_written_in_another_language_is_for_people() -> None:
    reading = amended(ONE_VOTE, f"{ONE_VOTE}\n\n**2.6** Голос председателя считается дважды.")
    assert not written(reading)[0].legible
    assert reading.unjudged == ("One passage is in a language that the analysers do not read.",)


@given(st.sampled_from(BASE.partition(ANNEXES)[0].split("\n\n")[3:]), st.text(max_size=80))
def test_no_clause_goes_unseen_and_what_comes_is_quoted_where_it_stands(paragraph: str, instead: str) -> None:
    document = BASE.replace(paragraph, instead)
    reading = read(Subject("Amend", "It is amended.", amended=document), BASE)
    for place in written(reading):
        assert place.span and document[place.span.start : place.span.end] == place.span.quote
    if paragraph.startswith("**") and paragraph not in document:
        assert reading.unjudged or " ".join(paragraph.split()) in " ".join(document.split())
