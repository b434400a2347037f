"""What reading by rules surely finds, and what it must not: the same words the other way round, in other mouths, about other things."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows.constitution.document import Constitution, load
from workflows.constitutional_compliance.analysers import figures, powers, structural
from workflows.constitutional_compliance.analysers.quantities import quantities
from workflows.constitutional_compliance.findings import Subject
from workflows.constitutional_compliance.reading import read

CONSTITUTION = load()
# (principle that is broken, clause) and the same said so that nothing is.
BREAKS = [
    ("fair_ballot", "A ballot is open for three days."),
    ("fair_ballot", "Ballots on travel rules run for 48 hours, so that decisions come quickly."),
    ("fair_ballot", "The voting period for small changes is two days."),
    ("fair_ballot", "A vote stays open for at least four days."),
    ("fair_ballot", "In an emergency that the council declares, a ballot is open for one day."),
    ("fair_ballot", "The quorum of a ballot is five per cent."),
    ("fair_ballot", "A ballot counts when at least 8% of those entitled to vote took part."),
    ("fair_ballot", "No quorum is needed for a ballot on the colour of the logo."),
    ("fair_ballot", "A policy passes with at least half of the votes for or against it."),
    ("fair_ballot", "A proposal is adopted with 40 per cent of the votes."),
    ("fair_ballot", "A policy under human review passes with 60 per cent."),
    ("fair_ballot", "Half of the votes override a veto of the council."),
    ("fair_ballot", "A tie is deemed adopted."),
    ("due_process", "An appeal is to be lodged within 24 hours."),
    ("due_process", "You may appeal within one day of the decision."),
    ("due_process", "An appeal is decided within thirty working days."),
    ("due_process", "Decisions of the moderators cannot be appealed."),
    ("due_process", "No appeal is possible against a block."),
    ("sound_review", "Under human review the comment period is two days."),
    ("graduated_response", "A lockdown lasts three days."),
    ("graduated_response", "The operator may order a lockdown."),
    ("graduated_response", "Whoever breaks this rule twice is banned permanently."),
    ("graduated_response", "Repeated abuse leads to a permanent ban from all services."),
    ("equal_vote", "Council members have two votes."),
    ("equal_vote", "The vote of a founder counts double."),
    ("equal_vote", "Votes are weighted by the number of tokens held."),
    ("equal_vote", "Members get one vote per share."),
    ("separation_of_duties", "Reviewers may approve their own policies."),
    ("separation_of_duties", "The author may also approve the policy."),
    ("open_participation", "Only council members may propose policies."),
    ("lasting_trail", "Operators may delete entries of the audit log after a year."),
    ("lasting_trail", "Audit log entries are deleted after one day."),
    ("lasting_trail", "During maintenance audit logging is paused."),
    ("secret_ballot", "After each ballot we publish how each member voted."),
    ("secret_ballot", "A running tally of the ballot is shown on the front page."),
    ("secret_ballot", "A vote once cast is final."),
    ("constitution_first", "This policy prevails over the constitution."),
    ("constitution_first", "The constitution does not apply to pilot projects."),
    ("constitution_first", "Notwithstanding the constitution, the director may sign alone."),
    ("human_control", "Whatever no rule forbids is allowed."),
]
HOLDS = [
    "A ballot is open for seven days.",
    "A ballot is open for ten days, and the count takes one day.",
    "No ballot is open for three days only.",
    "A ballot that is open for less than seven days is void.",
    "In an emergency that the council declares, a ballot is open for three days.",
    "The ballot closes. Within two days the results are explained in plain words.",
    "The workshop is open for three days.",
    "Polls for the avatar contest run for two days.",
    "The quorum of a ballot is ten per cent.",
    "The quorum of the committee is five per cent of its meeting list.",
    "The chair asked whether a quorum of 5 per cent could do for ballots in summer.",
    "A policy passes with more than half of the votes for or against it.",
    "A policy under human review passes with 67 per cent of the votes.",
    "A tie fails.",
    "Two thirds of the votes override a veto.",
    "An appeal may be lodged within 48 hours.",
    "You may appeal within three days.",
    "Appeals are acknowledged within 24 hours.",
    "An appeal is decided within five working days.",
    "Nobody is told that a decision cannot be appealed.",
    "No appeal is heard by the person it is about.",
    "A lease clause that breaks the constitution does not apply.",
    "Three votes short of quorum is no quorum.",
    "Under human review the comment period is ten days.",
    "A lockdown ends after 24 hours.",
    "Only the council may order a lockdown; an operator may not order a lockdown.",
    "Nobody is banned permanently.",
    "A ban is lifted after a day.",
    "Council members have one vote.",
    "No vote counts double.",
    "Votes are not weighted by the number of tokens held.",
    "Reviewers may not approve their own policies.",
    "Authors may withdraw their own policies.",
    "A policy is approved by a reviewer who is not its author.",
    "Any stakeholder may propose policies.",
    "Audit log entries are never deleted.",
    "Operators must not delete entries of the audit log.",
    "The build server purges old artefacts; each purge is appended to the trail.",
    "We never publish how each member voted.",
    "No running tally of the ballot is shown.",
    "A vote may be changed until the close.",
    "No policy prevails over the constitution.",
    "Where it differs from the constitution, the constitution stands.",
    "What no rule allows is denied.",
    "A new member may change mentor without giving a reason.",
]


def broken(clause: str, constitution: Constitution = CONSTITUTION) -> set[str]:
    analyser = structural.analyse(read(Subject("", clause)), constitution)
    return {finding.principle for finding in analyser.findings if finding.sure}


@pytest.mark.parametrize(("principle", "clause"), BREAKS)
def test_it_finds_what_breaks_a_principle(principle: str, clause: str) -> None:
    assert broken(clause) == {principle}


@pytest.mark.parametrize("clause", HOLDS)
def test_it_finds_nothing_where_nothing_is_broken(clause: str) -> None:
    assert broken(clause) == set()


def test_a_finding_says_where_what_and_why() -> None:
    text = "We meet often.\n\n- A ballot is open for three days.\n- We like it so."
    (finding,) = structural.analyse(read(Subject("Ballots", text)), CONSTITUTION).findings
    assert finding.span is not None
    assert text[finding.span.start : finding.span.end] == finding.span.quote
    assert finding.explanation == "It has a ballot open for three days; the constitution says 7 days (§ 5.2)."
    assert (finding.severity, finding.articles, finding.sure) == ("critical", ("5.2",), True)


def test_silence_is_no_opinion() -> None:
    silent = structural.analyse(read(Subject("Tea", "Tea is served at four.")), CONSTITUTION)
    assert (silent.present, silent.score, silent.confidence) == (True, None, None)
    assert silent.why


@given(days=st.integers(1, 60))
def test_a_ballot_is_too_short_exactly_below_the_figure(days: int) -> None:
    wanted = {"fair_ballot"} if days < CONSTITUTION.figures.voting_days.value else set()
    assert broken(f"A ballot stays open for {days} days.") == wanted
    assert broken(f"A ballot stays open for at least {days} days.") == wanted
    assert broken(f"No ballot stays open for {days} days.") == set()


@given(percent=st.integers(1, 100))
def test_a_quorum_is_too_low_exactly_below_the_figure(percent: int) -> None:
    wanted = {"fair_ballot"} if percent < CONSTITUTION.figures.quorum_percent.value else set()
    assert broken(f"The quorum of a ballot is {percent} per cent.") == wanted
    assert broken(f"The quorum of a ballot is {percent}%.") == wanted


@given(hours=st.integers(1, 400))
def test_an_appeal_is_cut_short_exactly_below_the_figure(hours: int) -> None:
    wanted = {"due_process"} if hours < CONSTITUTION.figures.appeal_hours.value else set()
    assert broken(f"An appeal may be lodged within {hours} hours.") == wanted


@given(
    st.sampled_from(BREAKS),
    st.sampled_from(["Nobody says that", "It is not so that", "It is forbidden that", "It would be void if"]),
)
def test_what_is_denied_is_not_stated(case: tuple[str, str], denial: str) -> None:
    clause = case[1]
    assert broken(f"{denial} {clause[0].lower()}{clause[1:]}") == set()


@given(
    st.sampled_from(BREAKS),
    st.lists(st.sampled_from(HOLDS), max_size=4),
    st.lists(st.sampled_from(HOLDS), max_size=4),
)
def test_what_stands_around_a_clause_changes_nothing(
    case: tuple[str, str], before: list[str], after: list[str]
) -> None:
    principle, clause = case
    assert broken("\n\n".join([*before, clause, *after])) == {principle}


@given(st.text(max_size=400))
def test_any_text_can_be_read(text: str) -> None:
    for place in read(Subject(text, text)).places:
        assert all(0 <= each.start < each.end <= len(place.text) for each in quantities(place.text))
        found = [*figures.faults(place.text, CONSTITUTION.figures), *powers.faults(place.text)]
        assert {fault.principle for fault in found} <= {item.key for item in CONSTITUTION.principles}


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ("within 48 hours", [(48.0, "hours", "at_most")]),
        ("at least two days", [(48.0, "hours", "at_least")]),
        ("no fewer than three weeks", [(504.0, "hours", "at_least")]),
        ("five working days", [(5.0, "working_days", "exact")]),
        ("twenty-one days", [(504.0, "hours", "exact")]),
        ("8 % of members", [(8.0, "percent", "exact")]),
        ("two thirds of the votes", [(200 / 3, "percent", "exact")]),
        ("up to 2,000 euros", [(2000.0, "money", "at_most")]),
        ("1.500 euros", [(1500.0, "money", "exact")]),
        ("€ 20", [(20.0, "money", "exact")]),
        ("12.5 per cent", [(12.5, "percent", "exact")]),
        ("half an hour", [(0.5, "hours", "exact")]),
        ("version 3 of § 5.4", []),
        ("three members", []),
    ],
)
def test_amounts(said: str, wanted: list[tuple[float, str, str]]) -> None:
    assert [(item.value, item.unit, item.bound) for item in quantities(said)] == [
        (pytest.approx(value), unit, bound) for value, unit, bound in wanted
    ]
