"""Moves a workflow through its stages, as rows: whoever asks later sees where it stands and how it came there.

A stage is entered, and with that everything before it is complete and everything after it is still to come. A step
that fails is tried again with back-off and then fails its workflow; it is never skipped.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from workflows.errors import NotFound
from workflows.kinds import Priority, StageStatus, WorkflowStatus, WorkflowType
from workflows.storage.tables import workflow, workflow_stage
from workflows.storage.unit import Unit, new_id

# How long a step waits after its first, second, … failure; after the last of them the workflow has failed.
BACK_OFF = (
    timedelta(seconds=10),
    timedelta(minutes=1),
    timedelta(minutes=5),
    timedelta(minutes=30),
)
UNFINISHED = (StageStatus.PENDING, StageStatus.IN_PROGRESS)


async def start(
    unit: Unit, type: WorkflowType, priority: Priority, subject: str, stages: Sequence[str]
) -> UUID:
    """A new workflow in the first of its `stages`, about `subject` (a human reference)."""
    return (await start_many(unit, type, priority, [subject], stages))[0]


async def start_many(
    unit: Unit, type: WorkflowType, priority: Priority, subjects: Sequence[str], stages: Sequence[str]
) -> list[UUID]:
    """A new workflow about each of `subjects`."""
    ids = [new_id() for _ in subjects]
    await unit.connection.execute(
        workflow.insert(),
        [
            {
                "id": id,
                "workflow_type": type,
                "status": WorkflowStatus.INITIATED,
                "priority": priority,
                "current_stage": stages[0],
                "subject": subject,
                "created_by": unit.actor.id,
                "constitution_sha256": unit.constitution_sha256,
                "created_at": unit.now,
                "updated_at": unit.now,
            }
            for id, subject in zip(ids, subjects, strict=True)
        ],
    )
    await unit.connection.execute(
        workflow_stage.insert(),
        [
            {
                "workflow_id": id,
                "key": str(key),
                "position": position,
                "status": StageStatus.PENDING if position else StageStatus.IN_PROGRESS,
                "started_at": None if position else unit.now,
            }
            for id in ids
            for position, key in enumerate(stages)
        ],
    )
    for id in ids:
        unit.publish(f"workflow:{id}", WorkflowStatus.INITIATED)
    return ids


async def enter(unit: Unit, workflow_id: UUID, stage: str, status: WorkflowStatus) -> None:
    """Be in `stage`: earlier stages are completed, later ones pending, whether it went forward or back."""
    stages = workflow_stage.c
    position = (
        sa.select(stages.position)
        .where(stages.workflow_id == workflow_id, stages.key == stage)
        .scalar_subquery()
    )
    before, here = stages.position < position, stages.position == position
    await unit.connection.execute(
        workflow_stage.update()
        .where(stages.workflow_id == workflow_id)
        .values(
            status=sa.case(
                (before, StageStatus.COMPLETED), (here, StageStatus.IN_PROGRESS), else_=StageStatus.PENDING
            ),
            started_at=sa.case(
                (before | here, sa.func.coalesce(stages.started_at, unit.now)), else_=sa.null()
            ),
            completed_at=sa.case((before, sa.func.coalesce(stages.completed_at, unit.now)), else_=sa.null()),
        )
    )
    await _set(unit, workflow_id, status, current_stage=stage)


async def complete(unit: Unit, workflow_id: UUID) -> None:
    """The work is done: its current stage is complete. Stages it never came to are cancelled."""
    await _finish_stages(unit, workflow_id, current=StageStatus.COMPLETED)
    await _set(unit, workflow_id, WorkflowStatus.COMPLETED, error=None)


async def cancel(unit: Unit, workflow_id: UUID) -> None:
    """People called it off."""
    await _finish_stages(unit, workflow_id, current=StageStatus.CANCELLED)
    await _set(unit, workflow_id, WorkflowStatus.CANCELLED)


async def fail(unit: Unit, workflow_id: UUID, error: str) -> None:
    """It could not be carried on, for a technical reason. What people decide is never a failure."""
    await _finish_stages(unit, workflow_id, current=StageStatus.FAILED, error=error)
    await _set(unit, workflow_id, WorkflowStatus.FAILED, error=error)
    await _record(unit, "workflow.failed", workflow_id, error=error)


async def run_step(
    unit: Unit, workflow_id: UUID, stage: str, step: Callable[[], Awaitable[None]], *, job: str
) -> bool:
    """Run `step` of `stage` in a savepoint; True when it was done.

    When it raises, nothing of it remains but a counted attempt and its error; `job` is enqueued for the next attempt,
    or, when all are used up, the workflow fails. What leads here must leave out stages whose `retry_at` is to come.
    """
    published = len(unit.events)
    recorded = unit.entries
    under = unit.constitution, unit.constitution_sha256
    try:
        async with unit.connection.begin_nested():
            await step()
    except Exception as error:
        # The savepoint took its rows back; what it would have told the world goes with them.
        del unit.events[published:]
        unit.entries = recorded
        unit.constitution, unit.constitution_sha256 = under
        await _count_failure(unit, workflow_id, stage, _told(error), job)
        return False
    return True


def _told(error: Exception) -> str:
    """The error as anyone may read it: one line, and of a database error not the values it was about."""
    said = str(error.orig if isinstance(error, sa.exc.DBAPIError) else error)
    return f"{type(error).__name__}: {said.splitlines()[0] if said else ''}"[:500]


async def _count_failure(unit: Unit, workflow_id: UUID, stage: str, error: str, job: str) -> None:
    here = (workflow_stage.c.workflow_id == workflow_id) & (workflow_stage.c.key == stage)
    attempts = (
        await unit.connection.execute(
            workflow_stage.update()
            .where(here)
            .values(attempts=workflow_stage.c.attempts + 1, error=error)
            .returning(workflow_stage.c.attempts)
        )
    ).scalar_one_or_none()
    if attempts is None:
        raise NotFound(f"Workflow {workflow_id} has no stage {stage}.")
    if attempts > len(BACK_OFF):
        await fail(unit, workflow_id, error)
        return
    await _record(unit, "workflow.step_failed", workflow_id, stage=stage, attempts=attempts, error=error)
    due = unit.now + BACK_OFF[attempts - 1]
    await unit.connection.execute(workflow_stage.update().where(here).values(retry_at=due))
    await unit.enqueue(job, {}, due=due)
    unit.publish(f"workflow:{workflow_id}", "retrying", stage=stage, attempts=attempts)


async def _record(unit: Unit, type: str, workflow_id: UUID, **payload: Any) -> None:
    statement = sa.select(workflow.c.subject).where(workflow.c.id == workflow_id)
    subject = (await unit.connection.execute(statement)).scalar_one()
    await unit.record(type, subject, workflow_id=str(workflow_id), **payload)


async def _finish_stages(
    unit: Unit, workflow_id: UUID, *, current: StageStatus, error: str | None = None
) -> None:
    stages = workflow_stage.c
    running = stages.status == StageStatus.IN_PROGRESS
    await unit.connection.execute(
        workflow_stage.update()
        .where(stages.workflow_id == workflow_id, stages.status.in_(UNFINISHED))
        .values(
            status=sa.case((running, current), else_=StageStatus.CANCELLED),
            completed_at=sa.case((running, unit.now), else_=sa.null()),
            error=sa.case((running, error), else_=sa.null()),
            retry_at=None,
        )
    )


async def _set(unit: Unit, workflow_id: UUID, status: WorkflowStatus, **values: object) -> None:
    await unit.connection.execute(
        workflow.update()
        .where(workflow.c.id == workflow_id)
        .values(status=status, updated_at=unit.now, **values)
    )
    unit.publish(f"workflow:{workflow_id}", status)
