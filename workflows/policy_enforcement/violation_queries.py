"""What pages and the API show of violations: what happened, whom it touches, what was done and can still be done."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.errors import NotFound
from workflows.kinds import Ladder, Severity, ViolationKind, ViolationState, WorkflowStatus
from workflows.policy_creation.views import Page
from workflows.storage import paging
from workflows.storage.tables import appeal, person, restriction, violation, violation_decision, workflow


class AppealView(msgspec.Struct, frozen=True):
    """An appeal; `granted` is None until it is decided."""

    id: UUID
    made_at: datetime
    due_at: datetime
    decided_at: datetime | None
    granted: bool | None


class RestrictionView(msgspec.Struct, frozen=True):
    """A rung that was taken. `whom`: nobody, the subject, everyone. `in_force` at the time of reading."""

    id: UUID
    level: Ladder
    whom: str
    action_type: str | None
    automatic: bool
    imposed_by: str | None
    imposed_at: datetime
    expires_at: datetime
    lifted_at: datetime | None
    in_force: bool
    appeals: list[AppealView]


class ViolationView(msgspec.Struct, frozen=True):
    """A violation. `subject` is None for whoever may not see it."""

    ref: str
    kind: ViolationKind
    state: ViolationState
    severity: Severity
    policy_ref: str | None
    code: str
    summary: str
    subject: str | None
    action_type: str
    count: int
    first_at: datetime
    last_at: datetime
    closed_at: datetime | None
    workflow_id: UUID
    waits_for_people: bool
    impact: dict[str, Any] | None


async def listed(
    connection: AsyncConnection,
    *,
    limit: int = 50,
    cursor: str | None = None,
    state: ViolationState | None = None,
    severity: Severity | None = None,
    policy_ref: str | None = None,
    sees_subjects: bool = False,
) -> Page[ViolationView]:
    """Violations, what happened last first."""
    query = _select()
    for column, wanted in (
        (violation.c.state, state),
        (violation.c.severity, severity),
        (violation.c.policy_ref, policy_ref),
    ):
        if wanted:
            query = query.where(column == wanted)
    rows, after, before = await paging.page_of(
        connection, query, violation.c.last_at, violation.c.id, limit=limit, cursor=cursor
    )
    items = [_view(row, sees_subjects) for row in rows]
    return Page(items=items, next=after, prev=before, limit=limit, has_more=after is not None)


async def one(
    connection: AsyncConnection, ref: str, now: datetime, *, sees_subjects: bool
) -> tuple[ViolationView, list[RestrictionView], list[UUID]]:
    """A violation, what was done about it, and the newest hundred decisions behind it. Raises NotFound."""
    row = (await connection.execute(_select().where(violation.c.ref == ref))).mappings().one_or_none()
    if row is None:
        raise NotFound(f"There is no violation {ref}.", code="no_violation")
    behind = (
        sa.select(violation_decision.c.decision_id)
        .where(violation_decision.c.violation_id == row["id"])
        .order_by(violation_decision.c.decision_id.desc())
        .limit(100)
    )
    decisions = list((await connection.execute(behind)).scalars())
    return _view(row, sees_subjects), await _restrictions(connection, row["id"], now), decisions


def _select() -> sa.Select:
    return sa.select(violation, workflow.c.status.label("workflow_status")).join(
        workflow, workflow.c.id == violation.c.workflow_id
    )


def _view(row: sa.RowMapping, sees_subjects: bool) -> ViolationView:
    shown = {name: row[name] for name in ViolationView.__struct_fields__ if name in row}
    shown["subject"] = row["subject"] if sees_subjects else None
    shown["waits_for_people"] = row["workflow_status"] == WorkflowStatus.WAITING_APPROVAL
    return msgspec.convert(shown, ViolationView, strict=False)


async def _restrictions(
    connection: AsyncConnection, violation_id: UUID, now: datetime
) -> list[RestrictionView]:
    r = restriction.c
    query = (
        sa.select(restriction, person.c.name.label("imposer"))
        .outerjoin(person, person.c.id == r.imposed_by)
        .where(r.violation_id == violation_id)
        .order_by(r.imposed_at, r.id)
    )
    rows = (await connection.execute(query)).mappings().all()
    made = sa.select(appeal).where(appeal.c.restriction_id.in_([row["id"] for row in rows]))
    appeals = (await connection.execute(made.order_by(appeal.c.made_at))).mappings().all()
    return [
        RestrictionView(
            id=row["id"],
            level=Ladder(row["level"]),
            whom=_whom(row),
            action_type=row["action_type"],
            automatic=row["imposed_by"] is None,
            imposed_by=row["imposer"],
            imposed_at=row["imposed_at"],
            expires_at=row["expires_at"],
            lifted_at=row["lifted_at"],
            in_force=row["level"] != Ladder.LOG_WARNING
            and row["lifted_at"] is None
            and row["expires_at"] > now,
            appeals=[
                AppealView(each["id"], each["made_at"], each["due_at"], each["decided_at"], each["granted"])
                for each in appeals
                if each["restriction_id"] == row["id"]
            ],
        )
        for row in rows
    ]


def _whom(row: sa.RowMapping) -> str:
    if row["level"] == Ladder.LOG_WARNING:
        return "nobody"
    return "everyone" if row["subject"] is None else "the subject"
