"""What can be asked about anchors and workflows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.errors import NotFound
from workflows.kinds import AnchorKind, AnchorState, StageStatus
from workflows.policy_creation.rows import build
from workflows.policy_creation.views import AnchorView, Page, Progress, StageView, WorkflowView
from workflows.storage import tables as t
from workflows.storage.paging import page_of


def anchor_view(row: Mapping[Any, Any]) -> AnchorView:
    """From an anchor's row with its policy's `ref` or, where it is of a checkpoint, that one's `root`."""
    root = row.get("root")
    return build(
        AnchorView,
        row,
        record=bytes(row["record"]).decode(),
        chain_policy_id=str(int(row["chain_policy_id"])),
        program=row["program_id"],
        checkpoint_root=bytes(root).hex() if root is not None else None,
    )


def _statement() -> sa.Select:
    # The signed transaction stays out: it is large, and the chain itself shows it.
    columns = [column for column in t.anchor.c if column.name != "transaction"]
    return (
        sa.select(*columns, t.policy.c.ref, t.audit_checkpoint.c.root)
        .outerjoin(t.policy, t.policy.c.id == t.anchor.c.policy_id)
        .outerjoin(t.audit_checkpoint, t.audit_checkpoint.c.size == t.anchor.c.checkpoint_size)
    )


async def anchors(
    connection: AsyncConnection,
    *,
    limit: int = 50,
    cursor: str | None = None,
    state: AnchorState | None = None,
    ref: str | None = None,
    kind: AnchorKind | None = None,
) -> Page[AnchorView]:
    """A page of anchors, last queued first: of policies, of checkpoints of the log, or of both."""
    statement = _statement()
    if state is not None:
        statement = statement.where(t.anchor.c.state == state)
    if kind is not None:
        statement = statement.where(t.anchor.c.kind == kind)
    if ref is not None:
        statement = statement.where(t.policy.c.ref == ref)
    rows, following, previous = await page_of(
        connection, statement, t.anchor.c.queued_at, t.anchor.c.id, limit=limit, cursor=cursor
    )
    items = [anchor_view(row) for row in rows]
    return Page(items=items, next=following, prev=previous, limit=limit, has_more=following is not None)


async def anchor(connection: AsyncConnection, anchor_id: UUID) -> AnchorView:
    row = (await connection.execute(_statement().where(t.anchor.c.id == anchor_id))).mappings().one_or_none()
    if row is None:
        raise NotFound("There is no such anchor.", code="no_anchor")
    return anchor_view(row)


async def workflow(connection: AsyncConnection, workflow_id: UUID) -> WorkflowView:
    """A workflow with its stages: two statements."""
    row = (
        (await connection.execute(sa.select(t.workflow).where(t.workflow.c.id == workflow_id)))
        .mappings()
        .one_or_none()
    )
    if row is None:
        raise NotFound("There is no such workflow.", code="no_workflow")
    statement = (
        sa.select(t.workflow_stage)
        .where(t.workflow_stage.c.workflow_id == workflow_id)
        .order_by(t.workflow_stage.c.position)
    )
    stages = [_stage(stage) for stage in (await connection.execute(statement)).mappings()]
    done = sum(stage.status == StageStatus.COMPLETED for stage in stages)
    return build(
        WorkflowView,
        row,
        stages=stages,
        progress=Progress(percent=100 * done // len(stages), completed=done, total=len(stages)),
        constitution={"sha256": row["constitution_sha256"], "label": row["constitution_sha256"][:16]},
    )


def _stage(row: Mapping[Any, Any]) -> StageView:
    started, completed = row["started_at"], row["completed_at"]
    took = round((completed - started).total_seconds() * 1000) if started and completed else None
    return build(StageView, row, duration_ms=took)
