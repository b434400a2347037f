"""What can be asked about reports."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.audit_transparency.reports.shapes import Report
from workflows.errors import NotFound
from workflows.policy_creation.views import Page
from workflows.storage.paging import page_of
from workflows.storage.tables import report, workflow


@dataclass(frozen=True)
class ReportView:
    """A report, made or under way; `body` is what was published, byte for byte, and `report` what it says."""

    id: UUID
    ref: str
    workflow_id: UUID
    status: str
    current_stage: str
    error: str | None
    period_from: datetime
    period_to: datetime
    sections: list[str]
    scheduled: bool
    checkpoint_size: int | None
    body: bytes | None
    body_sha256: str | None
    created_at: datetime
    made_at: datetime | None

    @property
    def report(self) -> Report | None:
        return msgspec.json.decode(self.body, type=Report) if self.body and self.made_at else None


def _statement() -> sa.Select:
    return sa.select(report, workflow.c.status, workflow.c.current_stage, workflow.c.error).join(
        workflow, workflow.c.id == report.c.workflow_id
    )


def _view(row: Any) -> ReportView:
    values = {name: row[name] for name in ReportView.__dataclass_fields__}
    values["body"] = bytes(row["body"]) if row["body"] is not None and row["made_at"] else None
    return ReportView(**values)


async def one(connection: AsyncConnection, ref: str) -> ReportView:
    """Raises NotFound."""
    row = (await connection.execute(_statement().where(report.c.ref == ref))).mappings().one_or_none()
    if row is None:
        raise NotFound(f"There is no report {ref}.", code="no_report")
    return _view(row)


async def listed(
    connection: AsyncConnection, *, limit: int = 50, cursor: str | None = None
) -> Page[ReportView]:
    """Newest first. Raises Invalid for a bad cursor or limit."""
    rows, following, previous = await page_of(
        connection, _statement(), report.c.created_at, report.c.id, limit=limit, cursor=cursor
    )
    items = [_view(row) for row in rows]
    return Page(items=items, next=following, prev=previous, limit=limit, has_more=following is not None)
