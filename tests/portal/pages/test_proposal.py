"""How a policy's standing is told: every state has its sentence and its steps, diffs lose no line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.pages import proposal
from tests.workflows.test_recount import counted
from workflows.constitution.document import load
from workflows.kinds import (
    BallotState,
    Category,
    Choice,
    PolicyState,
    Priority,
    RiskLevel,
    Strategy,
)
from workflows.policy_creation import diff, records
from workflows.policy_creation.rules import applicable, review_progress
from workflows.policy_creation.views import (
    BallotSummary,
    PersonView,
    PolicyView,
    Risk,
    TimelineItem,
    VersionView,
)

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
AUTHOR = PersonView(id=uuid4(), username="chidi", name="Chidi Eze")
FIGURES = load().figures


def version(text: str, number: int = 1) -> VersionView:
    return VersionView(
        number=number,
        title="Keep notes",
        summary="For a year.",
        category=Category.GOVERNANCE,
        text=text,
        text_sha256=records.text_sha256(text),
        version_sha256="a" * 64,
        rule=None,
        rule_sha256=None,
        risk_level=RiskLevel.MEDIUM,
        strategy=Strategy.ENHANCED_VALIDATION,
        change_note="",
        author=AUTHOR,
        created_at=NOW,
    )


def policy(state: PolicyState, **changes: Any) -> PolicyView:
    strategy = Strategy.ENHANCED_VALIDATION
    view = PolicyView(
        id=uuid4(),
        ref="POL-2026-0001",
        state=state,
        category=Category.GOVERNANCE,
        priority=Priority.NORMAL,
        emergency=False,
        author=AUTHOR,
        version=version("Text.\n"),
        versions=1,
        risk=Risk(level=RiskLevel.MEDIUM, assessed=strategy, requested=None, strategy=strategy, evidence=[]),
        rules=applicable(FIGURES, strategy, False),
        review=review_progress(FIGURES.tier(strategy), AUTHOR.id, []),
        stopped=False,
        workflow_id=uuid4(),
        revision=1,
        state_reason=None,
        comment_ends_at=NOW + timedelta(days=1),
        created_at=NOW,
        updated_at=NOW,
        submitted_at=None if state == PolicyState.DRAFT else NOW,
        decided_at=None,
        enacted_at=NOW if state in proposal.WAS_ENACTED else None,
        suspended_at=NOW if state == PolicyState.SUSPENDED else None,
        anchors=[],
        ballot=None,
    )
    return msgspec.structs.replace(view, **changes)


CLOSED = BallotSummary(version=1, state=BallotState.CLOSED, opens_at=NOW, closes_at=NOW, closed_at=NOW)


@pytest.mark.parametrize("ballot", [None, CLOSED])
@pytest.mark.parametrize("state", list(PolicyState))
def test_each_state_has_a_sentence_five_steps_and_its_tabs(state: PolicyState, ballot: BallotSummary | None):
    view = policy(state, ballot=ballot)
    assert proposal.what_next(view, NOW).text.endswith(".")
    steps = proposal.stages(view, NOW)
    assert len(steps) == 5
    statuses = [step["status"] for step in steps]
    order = ["done", "current", "failed", "future"]
    assert statuses == sorted(statuses, key=order.index), "nothing is done after what is still to come"
    assert statuses.count("current") + statuses.count("failed") == (0 if state == PolicyState.ENACTED else 1)
    shown = [tab["href"].removeprefix("/policies/POL-2026-0001") for tab in proposal.tabs(view, "")]
    assert ("/verify" in shown) == (state in proposal.WAS_ENACTED)
    assert ("/ballot" in shown) == (ballot is not None)


def test_a_rejection_by_a_reviewer_and_one_by_vote_are_told_apart():
    assert "reviewer rejected" in proposal.what_next(policy(PolicyState.REJECTED), NOW).text
    assert "members did not pass" in proposal.what_next(policy(PolicyState.REJECTED, ballot=CLOSED), NOW).text


def test_what_was_stopped_is_not_said_to_come_to_a_ballot():
    for state in (PolicyState.IN_REVIEW, PolicyState.PUBLIC_COMMENT):
        assert "no ballot opens" in proposal.what_next(policy(state, stopped=True), NOW).text
    # What is in force stays so, whatever a machine finds later.
    assert "in force" in proposal.what_next(policy(PolicyState.ENACTED, stopped=True), NOW).text


lines = st.lists(st.sampled_from(["a", "b b", "c c c", "", "d"]), max_size=25)


@given(before=lines, after=lines)
def test_no_line_is_lost_between_two_texts_and_the_table(before: list[str], after: list[str]):
    old, new = "\n".join(before), "\n".join(after)
    found = diff.compare("POL-2026-0001", version(old), version(new, 2))
    field = next(field for field in found.fields if field.field == "text")
    rows = proposal.diff_rows(field.lines)
    skipped = sum(row["count"] for row in rows if row["kind"] == "skip")
    for side, text in (("old", old), ("new", new)):
        written = text.split("\n") if text else []
        shown = [row for row in rows if row["kind"] != "skip" and row[side] is not None]
        assert len(shown) + skipped == len(written)
        for row in shown:
            assert "".join(piece for _, piece in row[side]) == written[row[f"{side}_no"] - 1]
    assert all(not changed for row in rows if row["kind"] == "same" for changed, _ in row["old"])


@pytest.mark.parametrize(
    ("votes", "key"),
    [
        ([Choice.FOR] * 3, "passed"),
        ([], "no_quorum"),
        ([Choice.AGAINST] * 3, "no_quorum"),
        ([Choice.FOR] * 3 + [Choice.AGAINST] * 3, "failed"),
    ],
)
def test_the_outcome_names_what_was_missed(votes: list[Choice], key: str):
    results, _ = counted(votes)
    chart = proposal.chart(results)
    assert chart["outcome"][0] == key
    assert chart["quorum_needed"] == 2 and chart["threshold_text"] == "more than half"


def test_a_step_with_a_date_is_expected_and_one_without_is_being_done():
    done = TimelineItem(key="a", text="Drafted.", at=NOW)
    dated = TimelineItem(key="b", text="The ballot closes.", at=None, due=NOW)
    undated = TimelineItem(key="c", text="Approval.", at=None)
    assert [event["status"] for event in proposal.events([done, dated, undated])] == [
        "done",
        "future",
        "future",
    ]
    assert [event["status"] for event in proposal.events([done, undated, dated])] == [
        "done",
        "current",
        "future",
    ]
