"""From a denial to a violation, its answer, its end: each step in the log, none by chance, none for ever."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.workflows.enforcement.conftest import GRANTS, Away, Enforcing, grant, rego
from workflows.errors import Conflict, Invalid, Refused
from workflows.kinds import DecisionMode, Ladder, Outcome, Severity
from workflows.policy_creation import ballots
from workflows.policy_creation.views import RuleDraft
from workflows.policy_enforcement import drift, obligations, remediation, replay, rules, violations
from workflows.policy_enforcement.patterns import drifts, is_burst, poisson_tail
from workflows.policy_enforcement.remediation import after_working_days, asked_for
from workflows.roles import Actor, Role
from workflows.storage.tables import (
    appeal,
    audit_entry,
    obligation,
    restriction,
    violation,
    workflow,
    workflow_stage,
)

OWN = grant(500, "m1", "m2", "m9")  # denied with severity high


async def noticed(e: Enforcing, asked: dict[str, Any], **options: Any) -> list[str]:
    ruling = await e.decide(asked, **options)
    return await violations.notice(e.a.unit(), e.a.figures, [ruling.id])


async def rows(e: Enforcing, table: sa.Table) -> list[sa.RowMapping]:
    return list((await e.a.connection.execute(sa.select(table).order_by(table.c[0]))).mappings())


async def one(e: Enforcing, ref: str) -> sa.RowMapping:
    return (await e.a.connection.execute(sa.select(violation).where(violation.c.ref == ref))).mappings().one()


async def entered(e: Enforcing, ref: str) -> list[str]:
    query = sa.select(audit_entry.c.type).where(audit_entry.c.subject == ref).order_by(audit_entry.c.number)
    return list((await e.a.connection.execute(query)).scalars())


async def test_a_denial_goes_on_record_with_its_workflow(enforcing: Enforcing) -> None:
    policy = await enforcing.enact(rego())
    (ref,) = await noticed(enforcing, OWN)
    row = await one(enforcing, ref)
    assert ref == "VIO-2026-0001"
    assert (row["kind"], row["severity"], row["policy_ref"], row["code"]) == (
        "denied_attempt", "high", policy, "own_grant",
    )  # fmt: skip
    assert "m9" not in row["summary"]
    assert row["impact"]["subjects"] == 1
    assert row["impact"]["outcomes_in_seven_days"]["deny"] == 1
    query = sa.select(workflow.c.status, workflow_stage.c.key, workflow_stage.c.status).join(
        workflow_stage, workflow_stage.c.workflow_id == workflow.c.id
    ).where(workflow.c.id == row["workflow_id"]).order_by(workflow_stage.c.position)  # fmt: skip
    assert list(await enforcing.a.connection.execute(query)) == [
        ("completed", stage, "completed")
        for stage in ("monitoring_setup", "violation_detection", "impact_assessment", "remediation_action")
    ]
    assert await entered(enforcing, ref) == ["violation.found", "violation.answered"]


async def test_the_same_again_goes_on_the_same_record_once(enforcing: Enforcing) -> None:
    await enforcing.enact(rego())
    ruling = await enforcing.decide(grant(9000))
    unit = enforcing.a.unit()
    (ref,) = await violations.notice(unit, enforcing.a.figures, [ruling.id])
    assert await violations.notice(unit, enforcing.a.figures, [ruling.id]) == [], "a job may come twice"
    assert await noticed(enforcing, grant(9000)) == [ref]
    assert (await one(enforcing, ref))["count"] == 2
    assert await noticed(enforcing, grant(9000, who="m8")) == ["VIO-2026-0002"], (
        "somebody else is another record"
    )


async def test_what_is_no_violation(enforcing: Enforcing) -> None:
    await enforcing.enact(rego())
    assert await noticed(enforcing, grant(500)) == []
    assert await noticed(enforcing, OWN, mode=DecisionMode.DRY_RUN) == []
    await noticed(enforcing, OWN)  # restricts grants of m9 for a day
    denied = await enforcing.decide(grant(500))
    assert [reason.code for reason in denied.decided.reasons] == ["restricted"]
    assert await violations.notice(enforcing.a.unit(), enforcing.a.figures, [denied.id]) == []


async def test_machines_restrict_up_to_the_level_of_the_constitution(enforcing: Enforcing) -> None:
    await enforcing.enact(rego())
    (ref,) = await noticed(enforcing, OWN)
    (row,) = await rows(enforcing, restriction)
    assert (row["level"], row["subject"], row["action_type"]) == ("temporary_restriction", "m9", "grant")
    assert row["expires_at"] - row["imposed_at"] == timedelta(hours=24)
    assert row["imposed_by"] is None
    assert await enforcing.outcome(grant(500)) == Outcome.DENY
    assert await enforcing.outcome(grant(500, who="m8")) == Outcome.ALLOW
    enforcing.a.later(hours=25)
    assert await remediation.sweep(enforcing.a.unit()) == 1
    assert await remediation.sweep(enforcing.a.unit()) == 0, "its end is entered once"
    assert await enforcing.outcome(grant(500)) == Outcome.ALLOW
    assert (await entered(enforcing, ref))[-1] == "restriction.expired"


async def test_a_repetition_asks_for_more_than_machines_may_and_waits_for_people(
    enforcing: Enforcing,
) -> None:
    await enforcing.enact(rego())
    await noticed(enforcing, OWN)
    enforcing.a.later(days=2)
    source = 'package policies.lots\n\nactions := {"lots"}\n\ndefault allow := false\n\n' \
        'reasons := {"no": {"message": "No lots.", "severity": "high"}}\n\ndeny contains "no"\n'  # fmt: skip
    lots = {"action": {"type": "lots"}, "subject": {"id": "m9"}}
    await enforcing.enact(rego(source, [{"input": lots, "expect": "deny"}]), title="No lots")
    (ref,) = await noticed(enforcing, lots)
    row = await one(enforcing, ref)
    query = sa.select(workflow.c.status).where(workflow.c.id == row["workflow_id"])
    assert (await enforcing.a.connection.execute(query)).scalar_one() == "waiting_approval"
    body = (await enforcing.a.connection.execute(
        sa.select(audit_entry.c.body).where(audit_entry.c.subject == ref, audit_entry.c.type == "violation.answered")
    )).scalar_one()  # fmt: skip
    payload = json.loads(body)["payload"]
    assert (payload["level"], payload["wanted"]) == ("temporary_restriction", "immediate_block")
    assert "§ 8.5" in payload["why"]
    await remediation.remediate(
        enforcing.a.unit(enforcing.operator), enforcing.a.figures, ref, "immediate_block", "Third time."
    )
    assert (await enforcing.a.connection.execute(query)).scalar_one() == "completed"
    assert await enforcing.outcome({"action": {"type": "anything"}, "subject": {"id": "m9"}}) == Outcome.DENY


async def test_only_the_council_locks_down_and_it_ends_by_itself(enforcing: Enforcing) -> None:
    await enforcing.enact(rego())
    (ref,) = await noticed(enforcing, OWN)
    figures = enforcing.a.figures
    with pytest.raises(Refused):
        await remediation.remediate(
            enforcing.a.unit(enforcing.operator), figures, ref, "emergency_lockdown", "All."
        )
    with pytest.raises(Invalid):
        await remediation.remediate(
            enforcing.a.unit(enforcing.a.farah), figures, ref, "emergency_lockdown", " "
        )
    await remediation.remediate(
        enforcing.a.unit(enforcing.a.farah), figures, ref, "emergency_lockdown", "An attack."
    )
    assert await enforcing.outcome(grant(500, who="m7")) == Outcome.DENY, "it is for everyone"
    lockdown = next(row for row in await rows(enforcing, restriction) if row["level"] == "emergency_lockdown")
    with pytest.raises(Refused):
        await remediation.lift(enforcing.a.unit(enforcing.operator), lockdown["id"], "Over.")
    enforcing.a.later(hours=figures.lockdown_hours.value, minutes=1)
    assert await enforcing.outcome(grant(500, who="m7")) == Outcome.ALLOW


async def test_who_may_answer_and_how(enforcing: Enforcing) -> None:
    (ref,) = await noticed(enforcing, grant())
    figures = enforcing.a.figures
    with pytest.raises(Refused):
        await remediation.remediate(
            enforcing.a.unit(enforcing.a.members[0]), figures, ref, "log_warning", "x"
        )
    with pytest.raises(Invalid):
        await remediation.remediate(enforcing.a.unit(enforcing.operator), figures, ref, "shout", "x")
    await remediation.close(enforcing.a.unit(enforcing.operator), ref, "A mistake of ours.")
    with pytest.raises(Conflict):
        await remediation.remediate(enforcing.a.unit(enforcing.operator), figures, ref, "log_warning", "x")
    assert await noticed(enforcing, grant()) == ["VIO-2026-0002"], "a closed record stays closed"


async def test_an_appeal_is_judged_by_somebody_else_and_lifts(enforcing: Enforcing, people: Any) -> None:
    await enforcing.enact(rego())
    (ref,) = await noticed(enforcing, OWN)
    (limited,) = await rows(enforcing, restriction)
    gita: Actor = await people("gita", Role.OMBUDSPERSON, on=enforcing.a.connection)
    id = await remediation.make_appeal(
        enforcing.a.unit(enforcing.a.members[0]), enforcing.a.figures, limited["id"], "It was another m9."
    )
    (row,) = await rows(enforcing, appeal)
    assert row["due_at"] == after_working_days(enforcing.a.now, 5)
    with pytest.raises(Conflict):
        await remediation.make_appeal(enforcing.a.unit(gita), enforcing.a.figures, limited["id"], "Me too.")
    with pytest.raises(Refused):
        await remediation.judge_appeal(enforcing.a.unit(enforcing.a.members[0]), id, True, "I think so.")
    await remediation.judge_appeal(enforcing.a.unit(gita), id, True, "The names were mixed up.")
    assert await enforcing.outcome(grant(500)) == Outcome.ALLOW
    with pytest.raises(Conflict):
        await remediation.judge_appeal(enforcing.a.unit(gita), id, False, "No.")
    with pytest.raises(Conflict):
        await remediation.lift(enforcing.a.unit(gita), limited["id"], "Again.")
    assert (await entered(enforcing, ref))[-3:] == ["appeal.made", "appeal.judged", "restriction.lifted"]


async def test_nobody_judges_an_appeal_of_their_own(enforcing: Enforcing) -> None:
    await enforcing.enact(rego())
    await noticed(enforcing, OWN)
    (limited,) = await rows(enforcing, restriction)
    unit = enforcing.a.unit(enforcing.a.farah)
    id = await remediation.make_appeal(unit, enforcing.a.figures, limited["id"], "On behalf of m9.")
    with pytest.raises(Refused, match=r"§ 2\.3"):
        await remediation.judge_appeal(unit, id, True, "Mine.")


async def test_an_obligation_that_is_not_met_in_time(enforcing: Enforcing) -> None:
    policy = await enforcing.enact(rego())
    await enforcing.decide(grant(1500))
    assert await violations.sweep(enforcing.a.unit(), enforcing.a.figures) == 0
    enforcing.a.later(days=181)
    assert await violations.sweep(enforcing.a.unit(), enforcing.a.figures) == 2
    missed, lapsed = sorted(await rows(enforcing, violation), key=lambda row: row["ref"])
    assert (missed["kind"], missed["severity"], missed["code"]) == ("obligation_missed", "medium", "report")
    assert (lapsed["kind"], lapsed["policy_ref"]) == ("grant_lapsed", policy)
    assert await violations.sweep(enforcing.a.unit(), enforcing.a.figures) == 0


async def test_one_thing_that_was_not_done_is_no_repetition(enforcing: Enforcing) -> None:
    """The obligation and the grant go on two records, of one decision."""
    await enforcing.enact(rego())
    await enforcing.decide(grant(1500))
    enforcing.a.later(days=181)
    await violations.sweep(enforcing.a.unit(), enforcing.a.figures)
    assert [row["level"] for row in await rows(enforcing, restriction)] == ["log_warning", "log_warning"]


async def test_a_lapsed_grant_is_as_grave_as_what_was_not_done_for_it(enforcing: Enforcing) -> None:
    grave = GRANTS.replace(
        '"The report is late.", "severity": "medium"', '"The report is late.", "severity": "high"'
    )
    await enforcing.enact(rego(grave))
    await enforcing.decide(grant(1500))
    enforcing.a.later(days=181)
    await violations.sweep(enforcing.a.unit(), enforcing.a.figures)
    found = {row["kind"]: row["severity"] for row in await rows(enforcing, violation)}
    assert found == {"obligation_missed": "high", "grant_lapsed": "high"}


async def test_what_goes_on_after_its_answer_ran_out_is_answered_anew(enforcing: Enforcing) -> None:
    await enforcing.enact(rego())
    (ref,) = await noticed(enforcing, OWN)
    enforcing.a.later(hours=25)
    assert await noticed(enforcing, OWN) == [ref]
    assert [row["level"] for row in await rows(enforcing, restriction)] == ["temporary_restriction"] * 2
    assert await enforcing.outcome(grant(500)) == Outcome.DENY
    query = sa.select(workflow.c.status).where(workflow.c.id == (await one(enforcing, ref))["workflow_id"])
    assert (await enforcing.a.connection.execute(query)).scalar_one() == "waiting_approval", (
        "a repetition asks for a block, which is for people"
    )
    assert await entered(enforcing, ref) == [
        "violation.found", "violation.answered", "violation.repeated", "violation.answered",
    ]  # fmt: skip


async def test_what_people_lifted_no_machine_imposes_again(enforcing: Enforcing) -> None:
    await enforcing.enact(rego())
    (ref,) = await noticed(enforcing, OWN)
    (row,) = await rows(enforcing, restriction)
    await remediation.lift(enforcing.a.unit(enforcing.operator), row["id"], "It was a test.")
    assert await noticed(enforcing, OWN) == [ref]
    assert len(await rows(enforcing, restriction)) == 1


async def test_a_warning_that_stands_is_not_repeated(enforcing: Enforcing) -> None:
    await enforcing.enact(rego())
    for _ in range(3):
        await noticed(enforcing, grant(9000))
    assert [row["level"] for row in await rows(enforcing, restriction)] == ["log_warning"]


async def test_an_obligation_that_is_met(enforcing: Enforcing) -> None:
    await enforcing.enact(rego())
    await enforcing.decide(grant(1500))
    (row,) = await rows(enforcing, obligation)
    with pytest.raises(Refused):
        await obligations.meet(enforcing.a.unit(enforcing.a.members[0]), row["id"], "Done.")
    await obligations.meet(enforcing.a.unit(enforcing.operator), row["id"], "The report is on the website.")
    with pytest.raises(Conflict):
        await obligations.meet(enforcing.a.unit(enforcing.operator), row["id"], "Again.")
    enforcing.a.later(days=181)
    assert await violations.sweep(enforcing.a.unit(), enforcing.a.figures) == 0


async def test_the_same_subject_again_and_again(enforcing: Enforcing) -> None:
    found: list[str] = []
    for number in range(6):
        found += await noticed(enforcing, {"action": {"type": f"a{number}"}, "subject": {"id": "m9"}})
    kinds = {row["ref"]: row["kind"] for row in await rows(enforcing, violation)}
    repeated = [ref for ref, kind in kinds.items() if kind == "repeated_denials"]
    assert len(repeated) == 1
    assert found.count(repeated[0]) == 1
    assert (await one(enforcing, repeated[0]))["count"] == 5
    levels = {row["violation_id"]: row["level"] for row in await rows(enforcing, restriction)}
    assert levels[(await one(enforcing, repeated[0]))["id"]] == "temporary_restriction", (
        "so the sixth is no violation"
    )


async def test_our_own_faults_are_held_against_nobody(
    enforcing: Enforcing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine that is away denies everything; one real denial after that is no pattern."""
    await enforcing.enact(rego())
    with monkeypatch.context() as patch:
        patch.setattr(enforcing.rulebook, "engine", Away())
        for _ in range(12):
            assert (await enforcing.decide(grant())).decided.reasons[0].code == "engine_away"
    await noticed(enforcing, grant(9000))
    assert [row["kind"] for row in await rows(enforcing, violation)] == ["denied_attempt"]


async def test_a_burst_of_one_action(enforcing: Enforcing) -> None:
    for number in range(11):
        await noticed(enforcing, {"action": {"type": "export"}, "subject": {"id": f"m{number}"}})
    (burst,) = [row for row in await rows(enforcing, violation) if row["kind"] == "burst"]
    assert (burst["subject"], burst["action_type"], burst["count"]) == ("", "export", 11)
    levels = [
        row["level"] for row in await rows(enforcing, restriction) if row["violation_id"] == burst["id"]
    ]
    assert levels == ["log_warning"], "nobody in particular is restricted"


async def test_answered_and_quiet_violations_are_closed(enforcing: Enforcing) -> None:
    (ref,) = await noticed(enforcing, grant())
    enforcing.a.later(days=31)
    await remediation.sweep(enforcing.a.unit())
    assert (await one(enforcing, ref))["state"] == "closed"


@given(st.sampled_from(list(Severity)), st.booleans())
def test_the_ladder_rises_with_severity_and_never_to_a_lockdown(severity: Severity, repeated: bool) -> None:
    rung = list(Ladder).index
    level = asked_for(severity, repeated)
    assert level != Ladder.EMERGENCY_LOCKDOWN
    assert rung(asked_for(severity, True)) >= rung(asked_for(severity, False))
    for milder in list(Severity)[: list(Severity).index(severity)]:
        assert rung(asked_for(milder, repeated)) <= rung(level)


@settings(deadline=None)  # exact fractions are slow on a busy machine
@given(st.integers(1, 60), st.fractions(Fraction(1, 100), 40))
def test_the_tail_of_a_poisson_distribution(least: int, mean: Fraction) -> None:
    """Against exact arithmetic, summed from the other end."""
    exact = sum(mean**k / Fraction(math.factorial(k)) for k in range(least, least + 250))
    assert poisson_tail(least, float(mean)) == pytest.approx(float(exact) * math.exp(-mean), abs=1e-9)


@given(st.integers(0, 400), st.integers(0, 5000))
def test_a_busier_day_never_makes_a_burst(recent: int, before: int) -> None:
    assert is_burst(recent + 1, before) or not is_burst(recent, before)
    assert is_burst(recent, before) or not is_burst(recent, before + 100)


@given(st.integers(30, 400), st.integers(30, 400), st.integers(0, 400), st.integers(0, 400))
def test_drift_is_symmetric_and_equal_shares_never_drift(n: int, m: int, a: int, b: int) -> None:
    promised, shown = (min(a, n), n), (min(b, m), m)
    assert drifts(promised, shown) == drifts(shown, promised)
    assert not drifts((n // 3, n), (n // 3, n))
    assert not drifts((0, 29), (29, 29)), "too few to say"


async def test_a_rule_that_does_more_than_it_promised(enforcing: Enforcing) -> None:
    """Before the ballot one action in ten would have changed; in force it is every second one."""

    async def act(amounts: list[int]) -> None:
        for amount in amounts:
            await enforcing.decide(grant(amount))

    await enforcing.enact(rego(), title="Grants")
    await act([100] * 36 + [1999] * 4)
    source = GRANTS.replace("policies.grants", "policies.cap").replace(
        "if input.subject.id in input.action.decided_by", "if input.action.amount > 1500"
    )
    cap = RuleDraft(
        "rego", source, [{"input": grant(1999), "expect": "deny"}, {"input": grant(100), "expect": "allow"}]
    )
    ref = await enforcing.a.create(rule=cap, title="A cap")
    await enforcing.a.approve(ref, enforcing.a.dana, enforcing.a.emre)
    await rules.judge_waiting(enforcing.rulebook)
    await replay.replay_waiting(enforcing.rulebook)
    enforcing.a.later(days=8)
    await ballots.open_due(enforcing.a.unit(), enforcing.a.figures)
    for voter in enforcing.a.members:
        await enforcing.a.cast(ref, voter, "for")
    await enforcing.a.close(ref)
    assert await drift.look(enforcing.rulebook, enforcing.a.figures) == [], "too few actions to say"
    enforcing.a.later(hours=1)
    await act([100] * 20 + [1999] * 20)
    (found,) = await drift.look(enforcing.rulebook, enforcing.a.figures)
    row = await one(enforcing, found)
    assert (row["kind"], row["policy_ref"], row["count"]) == ("drift", ref, 20)
    assert row["summary"] == (
        "The rule changes 50 % (20 of 40) of the actions it is about; before its ballot it was 10 % (4 of 40)."
    )
    assert await drift.look(enforcing.rulebook, enforcing.a.figures) == [], "it stands on record already"


def test_drift_is_found_where_it_is_plain() -> None:
    assert drifts((5, 100), (30, 100))
    assert not drifts((5, 100), (8, 100))


def test_working_days_leave_out_the_weekend() -> None:
    friday = datetime(2026, 3, 6, 15, tzinfo=UTC)
    assert after_working_days(friday, 1) == datetime(2026, 3, 9, 15, tzinfo=UTC)
    assert after_working_days(friday, 5) == datetime(2026, 3, 13, 15, tzinfo=UTC)
