"""No ballot opens before the version that stands was found to comply, or people said so, or the council overrode (§ 4.9 to § 4.11)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from tests.judging import Says, finding
from workflows.constitutional_compliance import (
    gate,
    labels,
    overrides,
    queries,
    questions,
    validations,
)
from workflows.errors import Conflict, Invalid, Refused
from workflows.kinds import Compliance, LabelKind, Severity
from workflows.policy_creation import ballots, drafts
from workflows.policy_creation import queries as policy_queries
from workflows.roles import Role
from workflows.storage.tables import alert, compliance_label, validation, workflow


async def judge(a: Any, says: Says) -> int:
    return await validations.assess_waiting(a.units, says, a.constitution)


async def standing(a: Any, ref: str) -> gate.Standing:
    return await gate.standing(a.connection, ref, a.constitution.sha256)


async def view(a: Any, ref: str, actor: Any = None) -> Any:
    return await queries.for_policy(
        a.connection, ref, figures=a.figures, sha256=a.constitution.sha256, now=a.now, actor=actor
    )


async def put_to_people(a: Any, **draft: Any) -> tuple[str, Any]:
    """A policy on which the judge is not sure, and the question that came of it."""
    ref = await a.create(**draft)
    await judge(a, Says(Compliance.REQUIRES_REVIEW, [finding(sure=False, severity=Severity.LOW)]))
    return ref, (await view(a, ref)).question


async def alerts(a: Any) -> set[str]:
    return set(
        (await a.connection.execute(sa.select(alert.c.code).where(alert.c.resolved_at.is_(None)))).scalars()
    )


async def test_a_ballot_waits_for_the_judge_and_then_opens_by_itself(assembly: Any, jobs: list) -> None:
    a = assembly
    ref = await a.create()
    assert "compliance" in [job for job, _, _ in jobs], "asked in the transaction that submitted it"
    await a.approve(ref, judged=False)
    assert await a.state(ref) == "public_comment", "reviewed, and not judged"
    assert (await standing(a, ref)).state == "waiting"
    assert await ballots.open_due(a.unit(), a.figures) == []
    jobs.clear()
    assert await judge(a, Says()) == 1
    assert [job for job, _, _ in jobs] == ["deadlines"], "which opens the ballot"
    assert (await standing(a, ref)).may_open
    assert await ballots.open_due(a.unit(), a.figures) == [ref]
    assert await judge(a, Says()) == 0, "nothing is judged twice"
    found = await view(a, ref)
    assert [stage.status for stage in (await policy_queries.workflow(a.connection, found.newest.workflow_id)).stages] == ["completed"] * 4  # fmt: skip
    assert (found.newest.verdict, found.newest.result.score, found.standing.state) == (
        "compliant",
        0.95,
        "compliant",
    )


async def test_an_amended_version_is_judged_anew(assembly: Any) -> None:
    a = assembly
    ref = await a.create()
    await judge(a, Says())
    await drafts.amend(a.unit(a.author), a.figures, ref, a.draft(text="The clerk publishes all notes.\n"))
    await a.approve(ref, judged=False)
    assert await a.state(ref) == "public_comment", "the judgement was about another text"
    says = Says()
    await judge(a, says)
    assert [subject.text for subject in says.asked] == ["The clerk publishes all notes.\n"]
    assert await ballots.open_due(a.unit(), a.figures) == [ref]


async def test_what_does_not_comply_comes_to_no_ballot_until_it_is_amended(assembly: Any) -> None:
    a = assembly
    ref = await a.create()
    await judge(a, Says(Compliance.NON_COMPLIANT, [finding(severity=Severity.LOW)]))
    await a.approve(ref, judged=False)
    a.later(days=30)
    assert await ballots.open_due(a.unit(), a.figures) == []
    found = await view(a, ref)
    assert (found.standing.state, found.standing.may_open) == ("non_compliant", False)
    assert "§ 4.11" in found.standing.why
    assert (await policy_queries.policy(a.connection, a.figures, ref)).stopped
    assert [item.ref for item in (await queries.queue(a.connection, a.now)).blocked] == [found.newest.ref]
    await drafts.amend(a.unit(a.author), a.figures, ref, a.draft(text="Notes stay up for good.\n"))
    await a.approve(ref)
    assert await a.state(ref) == "voting"
    assert not (await policy_queries.policy(a.connection, a.figures, ref)).stopped


async def test_a_judgement_under_another_constitution_opens_nothing(assembly: Any) -> None:
    a = assembly
    ref = await a.create()
    await judge(a, Says())
    assert (await gate.standing(a.connection, ref, "f" * 64)).state == "none"
    await a.connection.execute(sa.update(validation).values(constitution_sha256="f" * 64))
    await a.approve(ref, judged=False)
    assert await ballots.open_due(a.unit(), a.figures) == []


async def test_two_named_people_are_asked_but_never_its_author(assembly: Any) -> None:
    a = assembly
    ref, question = await put_to_people(a)
    assert {person.username for person in question.asked} & {"emre"}, "legal expertise comes first"
    assert len(question.asked) == 2
    assert question.due_at - a.now == timedelta(days=3)
    assert [each.id for each in await queries.mine(a.connection, a.emre, a.now)] == [question.id]
    other, second = await put_to_people(a, by=a.dana)
    assert {person.username for person in second.asked} == {"emre", "farah"}, (
        "whoever has fewest open questions"
    )
    await a.approve(ref, judged=False)
    assert await ballots.open_due(a.unit(), a.figures) == []
    assert (await standing(a, other)).state == "asked"


async def test_who_was_asked_decides_with_a_reason(assembly: Any) -> None:
    a = assembly
    ref, question = await put_to_people(a)
    await a.approve(ref, judged=False)
    asked = {person.username for person in question.asked}
    others = [person for person in (a.dana, a.farah) if person.username not in asked]
    for who in (a.author, *others, a.members[0]):
        with pytest.raises(Refused):
            await questions.answer(a.unit(who), question.id, "compliant", "It is fine.")
    for verdict, reason in (("requires_review", "Why not?"), ("perhaps", "No."), ("compliant", "  ")):
        with pytest.raises(Invalid):
            await questions.answer(a.unit(a.emre), question.id, verdict, reason)
    await questions.answer(a.unit(a.emre), question.id, "compliant", "Nothing is shortened.")
    with pytest.raises(Conflict, match="decided already"):
        await questions.answer(a.unit(a.emre), question.id, "non_compliant", "On second thoughts.")
    found = await view(a, ref)
    assert (found.standing.state, found.question.reason) == ("answered_compliant", "Nothing is shortened.")
    assert found.question.decided_by.username == "emre"
    assert (await policy_queries.workflow(a.connection, found.newest.workflow_id)).status == "completed"
    assert await ballots.open_due(a.unit(), a.figures) == [ref]


async def test_people_who_find_a_breach_stop_the_ballot(assembly: Any) -> None:
    a = assembly
    ref, question = await put_to_people(a)
    await a.approve(ref, judged=False)
    await questions.answer(a.unit(a.emre), question.id, "non_compliant", "It closes early.")
    assert await ballots.open_due(a.unit(), a.figures) == []
    assert (await standing(a, ref)).state == "answered_non_compliant"


async def test_the_council_is_asked_when_nobody_decides_in_time(assembly: Any) -> None:
    a = assembly
    ref, question = await put_to_people(a)
    assert await questions.sweep(a.unit(), a.figures) == 0
    a.later(days=3)
    assert await questions.sweep(a.unit(), a.figures) == 1
    assert await questions.sweep(a.unit(), a.figures) == 0, "once"
    found = (await view(a, ref)).question
    assert (found.overdue, found.council_asked) == (True, True)
    assert "farah" in {person.username for person in found.asked}
    assert f"compliance.overdue.{ref}" in await alerts(a)
    await questions.answer(a.unit(a.farah), question.id, "compliant", "I read it.")
    assert f"compliance.overdue.{ref}" not in await alerts(a)


async def test_an_amendment_calls_the_question_off(assembly: Any) -> None:
    a = assembly
    ref, question = await put_to_people(a)
    await drafts.amend(a.unit(a.author), a.figures, ref, a.draft(text="Something else.\n"))
    with pytest.raises(Conflict, match="not on its way"):
        await questions.answer(a.unit(a.emre), question.id, "compliant", "Late.")
    assert await queries.mine(a.connection, a.emre, a.now) == []
    a.later(days=4)
    assert await questions.sweep(a.unit(), a.figures) == 0, "what decides nothing is not overdue"
    statuses = sa.select(workflow.c.status).where(workflow.c.workflow_type == "constitutional_compliance")
    assert "cancelled" in set((await a.connection.execute(statuses)).scalars())


async def test_what_people_say_of_findings_becomes_labels(assembly: Any) -> None:
    a = assembly
    ref = await a.create()
    found = [finding(sure=False, severity=Severity.LOW), finding("three working days", sure=False, severity=Severity.LOW, principle="openness")]  # fmt: skip
    await judge(a, Says(Compliance.REQUIRES_REVIEW, found))
    question = (await view(a, ref)).question
    with pytest.raises(Invalid):
        await questions.answer(
            a.unit(a.emre), question.id, "compliant", "Fine.", [labels.Labelled(7, LabelKind.BREAKS)]
        )
    said = [labels.Labelled(0, LabelKind.NEUTRAL), labels.Labelled(1, LabelKind.HONOURS)]
    await questions.answer(a.unit(a.emre), question.id, "compliant", "Fine.", said)
    rows = (
        await a.connection.execute(sa.select(compliance_label).order_by(compliance_label.c.principle))
    ).all()
    assert [(row.principle, row.label, row.text, row.policy_ref) for row in rows] == [
        ("fair_ballot", "neutral", "Notes of every meeting", ref),
        ("openness", "honours", "three working days", ref),
    ]
    page = await queries.labels(a.connection)
    assert {item.labelled_by.username for item in page.items} == {"emre"}


async def council(people: Any, a: Any, count: int) -> list[Any]:
    return [await people(f"council{n}", Role.MEMBER, Role.COUNCIL, on=a.connection) for n in range(count)]


async def waits(a: Any, ref: str, person: Any) -> list[str]:
    """What the inbox of `person` says about a policy, apart from its review."""
    items = await policy_queries.inbox(a.connection, person, a.constitution.sha256, a.now)
    return [item.kind for item in items if item.ref == ref and item.kind != "review"]


async def test_who_may_do_something_about_a_stopped_version_finds_it_waiting(
    assembly: Any, people: Any
) -> None:
    a = assembly
    (other,) = await council(people, a, 1)
    ref = await a.create(by=a.farah)
    await judge(a, Says(Compliance.NON_COMPLIANT))
    assert await waits(a, ref, a.farah) == ["stopped"], "its author does not judge it"
    assert await waits(a, ref, other) == ["override"]
    assert await waits(a, ref, a.dana) == []
    await overrides.vote(a.unit(other), a.figures, (await view(a, ref, a.farah)).newest.ref, True, "Good.")
    assert (await waits(a, ref, a.farah), await waits(a, ref, other)) == ([], [])
    mended = await a.create(by=a.farah)
    await judge(a, Says(Compliance.NON_COMPLIANT))
    await drafts.amend(a.unit(a.farah), a.figures, mended, a.draft(text="Notes stay up for good.\n"))
    assert (await waits(a, mended, a.farah), await waits(a, mended, other)) == ([], [])


async def test_the_council_overrides_by_two_thirds_of_all_its_members(assembly: Any, people: Any) -> None:
    a = assembly
    members = [a.farah, *await council(people, a, 5)]  # six: 67 % are five
    ref = await a.create()
    await judge(a, Says(Compliance.NON_COMPLIANT, [finding(severity=Severity.LOW)]))
    await a.approve(ref, judged=False)
    name = (await view(a, ref)).newest.ref
    with pytest.raises(Refused):
        await overrides.vote(a.unit(a.dana), a.figures, name, True, "I like it.")
    with pytest.raises(Invalid):
        await overrides.vote(a.unit(a.farah), a.figures, name, True, " ")
    for member in members[:4]:
        tally = await overrides.vote(a.unit(member), a.figures, name, True, "It is needed.")
    assert (tally.members, tally.needed, tally.supporting, tally.passed) == (6, 5, 4, False)
    await overrides.vote(a.unit(members[4]), a.figures, name, False, "It is wrong.")
    assert await ballots.open_due(a.unit(), a.figures) == []
    await overrides.vote(a.unit(members[4]), a.figures, name, True, "I was persuaded.")
    found = await view(a, ref)
    assert (found.standing.state, found.override.supporting, found.override.against) == ("overridden", 5, 0)
    assert {vote.reason for vote in found.override.votes} == {"It is needed.", "I was persuaded."}
    with pytest.raises(Conflict, match="overridden"):
        await overrides.vote(a.unit(members[5]), a.figures, name, False, "Too late.")
    assert await ballots.open_due(a.unit(), a.figures) == [ref]


async def test_an_author_in_the_council_neither_votes_nor_counts(assembly: Any, people: Any) -> None:
    a = assembly
    others = await council(people, a, 2)
    ref = await a.create(by=a.farah)
    await judge(a, Says(Compliance.NON_COMPLIANT))
    name = (await view(a, ref, a.farah)).newest.ref
    with pytest.raises(Refused):
        await overrides.vote(a.unit(a.farah), a.figures, name, True, "Mine.")
    await overrides.vote(a.unit(others[0]), a.figures, name, True, "Good.")
    tally = await overrides.vote(a.unit(others[1]), a.figures, name, True, "Good.")
    assert (tally.members, tally.passed) == (2, True)


async def test_there_is_nothing_to_override_where_nothing_is_stopped(assembly: Any) -> None:
    a = assembly
    ref = await a.create()
    await judge(a, Says())
    with pytest.raises(Conflict, match="nothing to override"):
        await overrides.vote(a.unit(a.farah), a.figures, (await view(a, ref)).newest.ref, True, "Yes.")


@pytest.mark.parametrize("members, percent, needed", [(3, 67, 3), (6, 67, 5), (100, 67, 67), (1, 67, 1), (0, 67, 1), (3, 100, 3)])  # fmt: skip
def test_how_many_of_the_council_are_needed(members: int, percent: int, needed: int) -> None:
    assert overrides.needed(members, percent) == needed
    assert members == 0 or 100 * needed >= percent * members


async def test_what_people_decided_stands_whatever_a_machine_finds_later(assembly: Any) -> None:
    a = assembly
    ref, question = await put_to_people(a)
    await questions.answer(a.unit(a.emre), question.id, "compliant", "I read it.")
    await a.approve(ref, judged=False)
    assert await a.state(ref) == "voting"
