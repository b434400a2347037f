"""Asking for a report and making it, as a workflow of four steps: collect, analyse, assess, publish.

A report reads no further than the checkpoint it is bound to, and it waits for one that covers the moment it was asked
for. Each step is a transaction of its own; one that fails is tried again with back-off, and then fails the workflow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import msgspec
import rfc8785
import sqlalchemy as sa

from workflows.audit_transparency import checkpoints
from workflows.audit_transparency.reports.analysis import Scope, parts
from workflows.audit_transparency.reports.shapes import Period, Report, Section
from workflows.errors import FieldError, Invalid
from workflows.kinds import AuditStage, Priority, StageStatus, WorkflowStatus, WorkflowType
from workflows.orchestrator import stages
from workflows.policy_creation.records import sha256_hex
from workflows.roles import insist, may_request_report
from workflows.storage.references import next_reference
from workflows.storage.tables import audit_entry, audit_leaf, report, workflow, workflow_stage
from workflows.storage.unit import Unit, new_id

JOB = "reports"
LONGEST = timedelta(days=3 * 366)
AGAIN = timedelta(seconds=2)  # until a checkpoint may cover what is waited for
ONE_SCHEDULES = 0x41434753_52455054  # an advisory lock, "ACGSREPT"
Units = Callable[[], AbstractAsyncContextManager[Unit]]


class Uncovered(Exception):
    """No checkpoint covers the request yet: nothing is wrong, and it is looked at again soon."""


async def request(unit: Unit, since: datetime, until: datetime, sections: Sequence[str] = ()) -> str:
    """Ask for a report on a period that has begun; its reference. Raises Refused or Invalid."""
    insist(may_request_report(unit.actor))
    faults = []
    if not since < until:
        faults.append(FieldError("/period/to", "The end comes after the beginning."))
    elif until - since > LONGEST:
        faults.append(FieldError("/period/to", f"At most {LONGEST.days} days in one report."))
    if since > unit.now:
        faults.append(FieldError("/period/from", "The period has not begun yet."))
    unknown = sorted(set(sections) - set(Section))
    if unknown:
        faults.append(FieldError("/sections", f"Not {', '.join(unknown)}; there are {', '.join(Section)}."))
    if faults:
        raise Invalid("The report cannot be made.", errors=tuple(faults))
    # What is still to come cannot be reported on, and would change the report when it comes.
    return await _request(unit, since, min(until, unit.now), sections or list(Section), scheduled=False)


async def _request(
    unit: Unit, since: datetime, until: datetime, sections: Sequence[str], *, scheduled: bool
) -> str:
    ref = await next_reference(unit, "REP")
    workflow_id = await stages.start(
        unit, WorkflowType.AUDIT_TRANSPARENCY, Priority.NORMAL, ref, list(AuditStage)
    )
    await unit.connection.execute(
        report.insert().values(
            id=new_id(),
            ref=ref,
            workflow_id=workflow_id,
            period_from=since,
            period_to=until,
            sections=[section for section in Section if section in set(sections)],
            scheduled=scheduled,
            created_at=unit.now,
        )
    )
    await unit.record(
        "report.requested",
        ref,
        period={"from": _rfc(since), "to": _rfc(until)},
        sections=[str(section) for section in Section if section in set(sections)],
        scheduled=scheduled,
    )
    await unit.enqueue(JOB, {})
    unit.publish(f"report:{ref}", "requested")
    return ref


async def request_due(unit: Unit) -> str | None:
    """Ask for last month's report, once a month has ended; its reference, None where it was asked for already.

    Safe from several workers at once. There is none for a month before the log's first entry.
    """
    until = unit.now.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    since = (until - timedelta(days=1)).replace(day=1)
    await unit.connection.execute(sa.select(sa.func.pg_advisory_xact_lock(ONE_SCHEDULES)))
    asked = sa.select(report.c.id).where(
        report.c.scheduled, report.c.period_from == since, report.c.period_to == until
    )
    begun = sa.select(audit_entry.c.number).where(audit_entry.c.at < until).limit(1)
    if await unit.rows(asked) or not await unit.rows(begun):
        return None
    return await _request(unit, since, until, list(Section), scheduled=True)


async def make_due(units: Units) -> bool:
    """Take every report that is not made as far as it goes; whether one has to wait for a checkpoint."""
    waiting = False
    async with units() as unit:
        open_reports = [row["id"] for row in await unit.rows(_open())]
    for id in open_reports:
        try:
            while await _step(units, id):
                pass
        except Uncovered:
            waiting = True
    return waiting


def _open() -> sa.Select:
    return (
        sa.select(report.c.id)
        .join(workflow, workflow.c.id == report.c.workflow_id)
        .where(report.c.made_at.is_(None), workflow.c.status != WorkflowStatus.FAILED)
        .order_by(report.c.created_at)
    )


async def _step(units: Units, id: Any) -> bool:
    """One step in a transaction of its own; whether there may be another at once. Raises Uncovered."""
    async with units() as unit:
        row = await unit.row(
            sa.select(report, workflow_stage.c.key, workflow_stage.c.retry_at)
            .join(workflow_stage, workflow_stage.c.workflow_id == report.c.workflow_id)
            .where(report.c.id == id, workflow_stage.c.status == StageStatus.IN_PROGRESS)
            .with_for_update(of=report, skip_locked=True)
        )
        if row is None or (row["retry_at"] is not None and row["retry_at"] > unit.now):
            return False
        if row["key"] == AuditStage.DATA_COLLECTION and await _covering(unit, row["ref"]) is None:
            raise Uncovered
        step = partial(STEPS[AuditStage(row["key"])], unit, row)
        done = await stages.run_step(unit, row["workflow_id"], row["key"], step, job=JOB)
        return done and row["key"] != AuditStage.PUBLIC_REPORTING


async def _covering(unit: Unit, ref: str) -> checkpoints.SignedCheckpoint | None:
    """The newest checkpoint, if it covers the entry by which the report was asked for."""
    asked = (
        sa.select(audit_leaf.c.index)
        .join(audit_entry, audit_entry.c.number == audit_leaf.c.entry)
        .where(audit_entry.c.subject == ref, audit_entry.c.type == "report.requested")
    )
    place = (await unit.connection.execute(asked)).scalar_one_or_none()
    newest = await checkpoints.latest(unit.connection)
    return newest if newest is not None and place is not None and place < newest.size else None


async def _collect(unit: Unit, row: sa.RowMapping) -> None:
    """Bind the report to a checkpoint: from here on, what it reads does not change."""
    newest = await _covering(unit, row["ref"])
    assert newest is not None, "looked at before, under the same lock"
    await _set(unit, row, checkpoint_size=newest.size)
    await _enter(unit, row, AuditStage.AUDIT_ANALYSIS)


async def _analyse(unit: Unit, row: sa.RowMapping) -> None:
    await _set(unit, row, body=await compute(unit, row))
    await _enter(unit, row, AuditStage.TRANSPARENCY_ASSESSMENT)


async def compute(unit: Unit, row: Any) -> bytes:
    """The report's bytes, from rows alone: canonical JSON (RFC 8785)."""
    signed = await checkpoints.at(unit.connection, row["checkpoint_size"])
    scope = Scope(unit.connection, row["period_from"], row["period_to"], signed.size)
    # A period of years over a large log may take longer than a request may.
    await unit.connection.execute(sa.text("SET LOCAL statement_timeout = '120s'"))
    constitution = sa.select(workflow.c.constitution_sha256).where(workflow.c.id == row["workflow_id"])
    made = Report(
        ref=row["ref"],
        period=Period(since=row["period_from"].astimezone(UTC), until=row["period_to"].astimezone(UTC)),
        constitution_sha256=(await unit.connection.execute(constitution)).scalar_one(),
        checkpoint={
            "origin": signed.note.partition("\n")[0],
            "size": signed.size,
            "root": signed.root.hex(),
        },
        parts=await parts(scope, [Section(key) for key in row["sections"]]),
    )
    return rfc8785.dumps(msgspec.to_builtins(made))


async def _assess(unit: Unit, row: sa.RowMapping) -> None:
    """What was computed is computed once more: a report that is not a function of its rows is not published."""
    again = await compute(unit, row)
    if again != bytes(row["body"]):
        raise RuntimeError("Computing the report a second time gave another one.")
    await _set(unit, row, body_sha256=sha256_hex(again))
    await _enter(unit, row, AuditStage.PUBLIC_REPORTING)


async def _publish(unit: Unit, row: sa.RowMapping) -> None:
    await _set(unit, row, made_at=unit.now)
    await stages.complete(unit, row["workflow_id"])
    signed = await checkpoints.at(unit.connection, row["checkpoint_size"])
    await unit.record(
        "report.made",
        row["ref"],
        body_sha256=row["body_sha256"],
        checkpoint_size=signed.size,
        root=signed.root.hex(),
    )
    unit.publish(f"report:{row['ref']}", "made")


STEPS = {
    AuditStage.DATA_COLLECTION: _collect,
    AuditStage.AUDIT_ANALYSIS: _analyse,
    AuditStage.TRANSPARENCY_ASSESSMENT: _assess,
    AuditStage.PUBLIC_REPORTING: _publish,
}


async def _enter(unit: Unit, row: sa.RowMapping, stage: AuditStage) -> None:
    await stages.enter(unit, row["workflow_id"], stage, WorkflowStatus.EXECUTING)
    await unit.record("report.stage", row["ref"], stage=str(stage))


async def _set(unit: Unit, row: sa.RowMapping, **values: Any) -> None:
    await unit.connection.execute(report.update().where(report.c.id == row["id"]).values(**values))


def _rfc(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
