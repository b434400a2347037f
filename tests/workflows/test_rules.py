"""The pure rules: tally, tiers, review, and that no way leads to a vote or into force past the people who must agree."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from workflows.constitution.document import load
from workflows.constitution.figures import FLOORS, AnnexError, Tier, read_figures
from workflows.errors import GovernanceError
from workflows.kinds import BallotMode, Decision, PolicyState, Strategy
from workflows.policy_creation import records
from workflows.policy_creation.lifecycle import (
    TAKES,
    after_amendment,
    after_ballot,
    after_review,
    insist_takes,
)
from workflows.policy_creation.rules import ReviewGiven, applicable, review_progress
from workflows.policy_creation.tally import Counts, Why, decide

FIGURES = load().figures
PEOPLE = [UUID(int=number) for number in range(1, 7)]
AUTHOR = PEOPLE[0]


# Tally

counts = st.integers(0, 60)
percent = st.integers(0, 100)


@st.composite
def ballots(draw: st.DrawFn) -> tuple[Counts, int, int, int]:
    cast = Counts(draw(counts), draw(counts), draw(counts))
    return (
        cast,
        cast.total + draw(st.integers(1, 200)),
        draw(st.integers(10, 100)),
        draw(st.integers(50, 100)),
    )


def passes(cast: Counts, electorate: int, quorum: int, threshold: int) -> Why:
    return decide(cast, electorate=electorate, quorum_percent=quorum, threshold_percent=threshold)


@given(ballots())
def test_one_more_against_never_turns_fail_into_pass(ballot: tuple[Counts, int, int, int]) -> None:
    cast, *terms = ballot
    more = Counts(cast.votes_for, cast.votes_against + 1, cast.votes_abstain)
    assert passes(cast, *terms).passed or not passes(more, *terms).passed


@given(ballots())
def test_one_more_for_never_turns_pass_into_fail(ballot: tuple[Counts, int, int, int]) -> None:
    cast, *terms = ballot
    more = Counts(cast.votes_for + 1, cast.votes_against, cast.votes_abstain)
    assert not passes(cast, *terms).passed or passes(more, *terms).passed


@given(ballots())
def test_changing_against_to_for_never_hurts(ballot: tuple[Counts, int, int, int]) -> None:
    cast, *terms = ballot
    assume(cast.votes_against)
    changed = Counts(cast.votes_for + 1, cast.votes_against - 1, cast.votes_abstain)
    assert not passes(cast, *terms).passed or passes(changed, *terms).passed


@given(counts, counts, st.integers(1, 500))
def test_a_tie_and_an_empty_ballot_fail(votes: int, abstain: int, others: int) -> None:
    tie = Counts(votes, votes, abstain)
    assert not passes(tie, tie.total + others, 10, 50).passed
    assert not passes(Counts(0, 0, 0), others, 10, 50).passed


@given(ballots())
def test_the_reasons_re_evaluate_to_the_outcome(ballot: tuple[Counts, int, int, int]) -> None:
    why = passes(*ballot)
    assert why.recomputed() == why.passed
    assert all(condition.holds() == condition.met for condition in why.all_of)
    assert all(condition.article for condition in why.all_of)


@given(ballots())
def test_what_passes_satisfies_the_programme(ballot: tuple[Counts, int, int, int]) -> None:
    cast, electorate, *terms = ballot
    if passes(cast, electorate, *terms).passed:
        assert 100 * cast.total >= FLOORS["quorum_percent"] * electorate
        assert 2 * cast.votes_for > cast.votes_for + cast.votes_against


@given(
    st.lists(
        st.tuples(st.sampled_from(["for", "against", "abstain"]), st.binary(min_size=32, max_size=32)),
        max_size=30,
    )
)
def test_tallies_recount_from_openings(votes: list[tuple[str, bytes]]) -> None:
    ballot = UUID(int=7)
    commitments = [records.commitment(salt, ballot, choice) for choice, salt in votes]
    root = records.ballot_root(commitments)
    reopened = [records.commitment(salt, ballot, choice) for choice, salt in reversed(votes)]
    assert records.ballot_root(reopened) == root, "the order in which openings are published does not matter"
    if votes:
        choice, salt = votes[0]
        other = "for" if choice != "for" else "against"
        changed = [records.commitment(salt, ballot, other), *commitments[1:]]
        assert records.ballot_root(changed) != root


# Figures and tiers


@pytest.mark.parametrize(
    ("figure", "laxer"),
    [("| voting_days | 7 |", "| voting_days | 6 |"), ("| quorum_percent | 10 |", "| quorum_percent | 9 |"),
     ("| emergency_voting_days | 3 |", "| emergency_voting_days | 2 |"),
     ("| veto_override_percent | 67 |", "| veto_override_percent | 66 |"),
     ("| appeal_hours | 48 |", "| appeal_hours | 24 |"),
     ("| human_review | 2 | 1 | 1 | 7 | 67 |", "| human_review | 2 | 1 | 1 | 7 | 59 |"),
     ("| standard | 1 | 0 | 0 | 0 | 50 |", "| standard | 1 | 0 | 0 | 0 | 49 |"),
     ("| standard | 1 |", "| standard | 0 |")],
)  # fmt: skip
def test_figures_laxer_than_the_floors_are_refused(figure: str, laxer: str) -> None:
    text = load().text
    assert figure in text
    with pytest.raises(AnnexError):
        read_figures(text.replace(figure, laxer))


def test_the_annex_says_whether_ballots_are_sealed_or_open() -> None:
    document = load().text
    row = "| ballot_mode | sealed | 5.9 |\n"
    assert row in document
    for said, mode in ((row, "sealed"), (row.replace("sealed", "open"), "open"), ("", "sealed")):
        assert read_figures(document.replace(row, said)).ballot_mode.value == BallotMode(mode)
    for nonsense in ("secret", "", "7"):
        with pytest.raises(AnnexError):
            read_figures(document.replace(row, row.replace("sealed", nonsense)))


def test_stricter_figures_are_taken() -> None:
    assert (
        read_figures(load().text.replace("| voting_days | 7 |", "| voting_days | 14 |")).voting_days.value
        == 14
    )


@pytest.mark.parametrize("strategy", list(Strategy))
def test_each_requirement_names_an_article_that_stands_in_the_document(strategy: Strategy) -> None:
    for emergency in (False, True):
        rules = applicable(FIGURES, strategy, emergency)
        for name in ("reviewers", "comment_days", "voting_days", "quorum", "threshold"):
            assert f"**{getattr(rules, name).article}**" in load().text
        assert rules.voting_days.value == (3 if emergency else 7)


def test_a_stricter_tier_is_never_laxer() -> None:
    rules = [applicable(FIGURES, strategy, False) for strategy in Strategy]
    for name in ("reviewers", "comment_days", "threshold"):
        values = [getattr(item, name).value for item in rules]
        assert values == sorted(values)


# Review

capacities = st.sampled_from(
    [
        ("reviewer",),
        ("reviewer", "legal"),
        ("council",),
        ("reviewer", "council"),
        ("reviewer", "legal", "council"),
    ]
)
given_reviews = st.lists(
    st.builds(ReviewGiven, st.sampled_from(PEOPLE), capacities, st.sampled_from(list(Decision))),
    max_size=6,
    unique_by=lambda item: item.reviewer_id,
)
tiers = st.sampled_from([FIGURES.tier(strategy) for strategy in Strategy])


def _can_be_seated(tier: Tier, approving: list[ReviewGiven]) -> bool:
    """By trying every way to seat each approver as reviewer or council member: what review_progress must agree with."""
    if not approving:
        return tier.approvals == tier.council == 0

    def seat(rest: list[ReviewGiven], reviewers: int, legal: int, council: int) -> bool:
        if not rest:
            return reviewers >= tier.approvals and legal >= tier.legal and council >= tier.council
        head, *tail = rest
        as_reviewer = "reviewer" in head.capacity and seat(
            tail, reviewers + 1, legal + ("legal" in head.capacity), council
        )
        return as_reviewer or ("council" in head.capacity and seat(tail, reviewers, legal, council + 1))

    return seat(approving, 0, 0, 0)


@given(tiers, given_reviews)
@settings(max_examples=400)
def test_review_is_complete_exactly_when_every_place_can_be_filled(
    tier: Tier, reviews: list[ReviewGiven]
) -> None:
    progress = review_progress(tier, AUTHOR, reviews)
    approving = [r for r in reviews if r.decision == Decision.APPROVE and r.reviewer_id != AUTHOR]
    assert progress.complete == _can_be_seated(tier, approving)
    assert bool(progress.missing) == (not progress.complete)


@given(tiers, given_reviews)
def test_the_authors_approval_counts_nothing(tier: Tier, reviews: list[ReviewGiven]) -> None:
    without = [item for item in reviews if item.reviewer_id != AUTHOR]
    assert review_progress(tier, AUTHOR, reviews) == review_progress(tier, AUTHOR, without)


# Lifecycle


class Lifecycle(RuleBasedStateMachine):
    """Any order of commands, by anybody, over the pure rules that the real commands use."""

    @initialize(strategy=st.sampled_from(list(Strategy)))
    def start(self, strategy: Strategy) -> None:
        self.state = PolicyState.DRAFT
        self.tier = FIGURES.tier(strategy)
        self.version = 1
        self.hours_left = 0
        self.reviews: dict[int, list[ReviewGiven]] = {1: []}
        self.approved_by: set[UUID] = set()

    def takes(self, command: str) -> bool:
        try:
            insist_takes(self.state, command)
        except GovernanceError:
            return False
        return True

    @rule()
    def submit(self) -> None:
        if self.takes("submit"):
            self.state, self.hours_left = PolicyState.IN_REVIEW, 24 * self.tier.comment_days

    @rule(strategy=st.sampled_from(list(Strategy)))
    def amend(self, strategy: Strategy) -> None:
        if not self.takes("amend"):
            return
        self.state = after_amendment(self.state)
        self.tier = FIGURES.tier(strategy)
        if self.state == PolicyState.IN_REVIEW:
            self.version += 1
            self.reviews[self.version] = []
            self.hours_left = 24 * self.tier.comment_days

    @rule(person=st.sampled_from(PEOPLE), capacity=capacities, decision=st.sampled_from(list(Decision)))
    def review(self, person: UUID, capacity: tuple[str, ...], decision: Decision) -> None:
        given = self.reviews[self.version]
        if not self.takes("review") or any(item.reviewer_id == person for item in given):
            return
        given.append(ReviewGiven(person, capacity, decision))
        progress = review_progress(self.tier, AUTHOR, given)
        self.state = after_review(decision, progress, comments_over=self.hours_left <= 0)

    @rule(hours=st.integers(1, 200))
    def wait(self, hours: int) -> None:
        self.hours_left -= hours
        if self.state == PolicyState.PUBLIC_COMMENT and self.hours_left <= 0:
            self.state = PolicyState.VOTING

    @precondition(lambda self: self.state == PolicyState.VOTING)
    @rule(cast=st.builds(Counts, counts, counts, counts))
    def close(self, cast: Counts) -> None:
        self.state = after_ballot(passes(cast, 300, 10, self.tier.threshold_percent).passed)
        if self.state == PolicyState.ENACTED:
            assert cast.votes_for > cast.votes_against

    @rule()
    def withdraw(self) -> None:
        if self.takes("withdraw"):
            self.state = PolicyState.WITHDRAWN

    @invariant()
    def nothing_is_voted_on_that_others_have_not_approved(self) -> None:
        if self.state not in (PolicyState.VOTING, PolicyState.ENACTED, PolicyState.PUBLIC_COMMENT):
            return
        given = self.reviews[self.version]
        approvers = {r.reviewer_id for r in given if r.decision == Decision.APPROVE} - {AUTHOR}
        assert len(approvers) >= self.tier.approvals + self.tier.council
        assert not any(item.decision == Decision.REJECT for item in given)
        if self.state != PolicyState.PUBLIC_COMMENT:
            assert self.hours_left <= 0, "the comment period is over"


Lifecycle.TestCase.settings = settings(max_examples=100, stateful_step_count=25, deadline=None)
TestLifecycle = Lifecycle.TestCase


def test_ended_policies_take_no_command_but_suspension() -> None:
    ended = {PolicyState.REJECTED, PolicyState.WITHDRAWN, PolicyState.SUSPENDED, PolicyState.ENACTED}
    taking = {(state, name) for name, states in TAKES.items() for state in states if state in ended}
    assert taking == {(PolicyState.ENACTED, "suspend")}
    assert timedelta(days=FIGURES.voting_days.value) == timedelta(days=7)
