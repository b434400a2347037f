"""A step that fails is tried again with back-off and then fails its workflow: never skipped, never called complete."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from workflows.kinds import CreationStage
from workflows.orchestrator.stages import BACK_OFF
from workflows.policy_creation import ballots, implementation, queries
from workflows.storage.tables import audit_entry, ballot


async def test_a_failing_close_is_retried_with_back_off_and_then_fails_the_workflow(
    assembly: Any, jobs: list, monkeypatch: Any
) -> None:
    a = assembly
    ref = await a.to_ballot()
    await a.cast(ref, a.members[0], "for")
    workflow_id = (await queries.policy(a.connection, a.figures, ref)).workflow_id

    async def broken(*_: Any) -> None:
        raise RuntimeError("the disk is full")

    real = implementation.enact
    monkeypatch.setattr(implementation, "enact", broken)
    a.later(days=7)
    for attempt, pause in enumerate(BACK_OFF, start=1):
        jobs.clear()
        unit = a.unit()
        assert await ballots.close_due(unit, a.figures) == []
        assert await ballots.close_due(a.unit(), a.figures) == [], "not again before the back-off is over"
        stage = (await queries.workflow(a.connection, workflow_id)).stages[3]
        assert (stage.key, stage.status, stage.attempts) == (CreationStage.VOTING, "in_progress", attempt)
        assert stage.error == "RuntimeError: the disk is full"
        assert [(job, delay) for job, _, delay in jobs] == [("deadlines", pause)]
        assert unit.entries == 1, "the failed attempt itself is in the trail"
        assert [event.type for event in unit.events] == ["retrying"], "nothing is told that did not happen"
        a.now += pause
    assert (await a.connection.execute(sa.select(ballot.c.state))).scalar_one() == "open", "nothing half done"
    assert await ballots.close_due(a.unit(), a.figures) == []
    view = await queries.workflow(a.connection, workflow_id)
    assert (view.status, view.error) == ("failed", "RuntimeError: the disk is full")
    assert [stage.status for stage in view.stages] == ["completed"] * 3 + ["failed", "cancelled"]
    kinds = (
        (await a.connection.execute(sa.select(audit_entry.c.type).order_by(audit_entry.c.number)))
        .scalars()
        .all()
    )
    assert kinds[-1] == "workflow.failed"
    monkeypatch.setattr(implementation, "enact", real)


async def test_one_failing_policy_does_not_hold_up_another(assembly: Any, monkeypatch: Any) -> None:
    a = assembly
    broken, sound = await a.to_ballot(), await a.to_ballot()
    for ref in (broken, sound):
        await a.cast(ref, a.members[0], "for")
    real = implementation.enact

    async def sometimes(unit: Any, row: Any, *rest: Any) -> None:
        if row["ref"] == broken:
            raise RuntimeError("no")
        await real(unit, row, *rest)

    monkeypatch.setattr(implementation, "enact", sometimes)
    a.later(days=7)
    assert await ballots.close_due(a.unit(), a.figures) == [sound]
    a.now += BACK_OFF[0]
    monkeypatch.setattr(implementation, "enact", real)
    assert await ballots.close_due(a.unit(), a.figures) == [broken], "it recovers when the fault is gone"
    assert await a.state(broken) == "enacted"
    view = await queries.policy(a.connection, a.figures, broken)
    stage = (await queries.workflow(a.connection, view.workflow_id)).stages[3]
    assert (stage.status, stage.attempts) == ("completed", 1)


async def test_going_back_reopens_the_stages_behind(assembly: Any) -> None:
    from workflows.policy_creation import drafts

    a = assembly
    ref = await a.create(risk_strategy="enhanced_validation")
    await a.approve(ref, a.dana, a.emre)
    view = await queries.policy(a.connection, a.figures, ref)
    workflow = await queries.workflow(a.connection, view.workflow_id)
    assert (workflow.current_stage, workflow.status) == ("public_comment", "in_progress")
    amended = a.draft(text="Other.\n", risk_strategy="enhanced_validation")
    await drafts.amend(a.unit(a.author), a.figures, ref, amended)
    workflow = await queries.workflow(a.connection, view.workflow_id)
    assert (workflow.current_stage, workflow.status) == ("stakeholder_review", "waiting_approval")
    assert [s.status for s in workflow.stages] == [
        "completed",
        "in_progress",
        "pending",
        "pending",
        "pending",
    ]
