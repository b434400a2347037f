"""Reports: figures are those of the rows, bound to a checkpoint, the same whenever they are computed again; and asked for once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import rfc8785
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from portal.database import SEQUENCER, create_engine
from workflows.audit_transparency import checkpoints
from workflows.audit_transparency.checkpoints import SecondPlace
from workflows.audit_transparency.notes import Signer
from workflows.audit_transparency.reports import analysis, making, queries
from workflows.audit_transparency.reports.shapes import Section, Unit
from workflows.audit_transparency.sequencer import sequence
from workflows.errors import Invalid, Refused
from workflows.kinds import AuditStage
from workflows.storage.tables import audit_entry, report, workflow, workflow_stage

SIGNER = Signer("test/log", b"r" * 32)


class World:
    """A database of its own with a small assembly, whose clock stands where the test puts it."""

    def __init__(self, engine: AsyncEngine, make_unit: Any, assemble: Any, place: Path, url: str) -> None:
        self.engine, self.make_unit, self.assemble, self.place, self.url = (
            engine,
            make_unit,
            assemble,
            place,
            url,
        )
        self.now = datetime(2026, 3, 2, 9, tzinfo=UTC)
        self.assembly: Any = None

    @asynccontextmanager
    async def units(self) -> AsyncIterator[Any]:
        async with self.engine.begin() as connection:
            yield self.make_unit(now=self.now, on=connection)

    async def gather(self) -> None:
        async with self.engine.begin() as connection:
            self.assembly = await self.assemble(connection)
            await self.assembly.unit().record("test.arranged", "test")

    @asynccontextmanager
    async def acting(self) -> AsyncIterator[Any]:
        """The assembly on a transaction that commits."""
        async with self.engine.begin() as connection:
            self.assembly.connection = connection
            yield self.assembly
            self.now = self.assembly.now

    async def seal(self) -> None:
        engine = create_engine(self.url, role=SEQUENCER)
        while await sequence(engine):
            pass
        await checkpoints.sign(engine, SIGNER, SIGNER.name, SecondPlace(self.place / "checkpoint"))
        await engine.dispose()

    async def request(self, since: datetime, until: datetime, sections: tuple[str, ...] = ()) -> str:
        async with self.engine.begin() as connection:
            unit = self.make_unit(actor=self.assembly.dana, now=self.now, on=connection)
            return await making.request(unit, since, until, sections)

    async def read(self, ref: str) -> queries.ReportView:
        async with self.engine.connect() as connection:
            return await queries.one(connection, ref)


@pytest.fixture
async def world(fresh_database: str, unit: Any, assemble: Any, tmp_path: Path) -> AsyncIterator[World]:
    engine = create_async_engine(fresh_database)
    made = World(engine, unit, assemble, tmp_path, fresh_database)
    await made.gather()
    yield made
    await engine.dispose()


async def decided(world: World) -> str:
    """A policy that passes with four of nine votes, and another whose ballot nobody voted in."""
    async with world.acting() as a:
        ref = await a.to_ballot()
        await a.to_ballot(title="Nobody cares")
        for voter, choice in zip(a.members[:4], ("for", "for", "against", "abstain"), strict=True):
            await a.cast(ref, voter, choice)
        await a.close(ref)
    return ref


BEGIN, END = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC)


async def made(world: World, **asked: Any) -> queries.ReportView:
    world.now = END + timedelta(hours=1)
    ref = await world.request(BEGIN, END, **asked)
    await world.seal()
    assert not await making.make_due(world.units)
    return await world.read(ref)


def figures(view: queries.ReportView) -> dict[str, int | None]:
    assert view.report is not None
    return {f"{part.key}.{figure.key}": figure.value for part in view.report.parts for figure in part.figures}


async def test_figures_are_those_of_what_happened(world: World) -> None:
    ref = await decided(world)
    view = await made(world)
    found = figures(view)
    assert found["participation.policy.submitted"] == 2
    assert found["participation.votes"] == 4
    assert found["decisions.passed"] == 1 and found["decisions.failed"] == 1
    assert found["decisions.review.approved"] == 2
    assert found["decisions.violation.found"] == 0 and found["decisions.decision.made"] == 0
    electorate = len(world.assembly.members) + 4
    assert found["participation.turnout"] == 1000 * 4 // (2 * electorate)
    assert found["coverage.coverage"] == 1000
    assert found["pipeline.voting_half"] == 8 * 86_400
    assert found["pipeline.anchoring_half"] is None
    assert view.report is not None
    ballots = next(part for part in view.report.parts if part.key == Section.PARTICIPATION).tables[0]
    assert [ref, 4, electorate, 1000 * 4 // electorate, "passed"] in ballots.rows
    assert found["compliance.validation.asked"] == found["compliance.validation.made"] == 2
    assert found["compliance.agreement"] is None
    judged = next(part for part in view.report.parts if part.key == Section.COMPLIANCE)
    verdicts = next(table for table in judged.tables if table.key == "verdicts")
    assert [row[:2] for row in verdicts.rows] == [["policies", "compliant"]]


async def test_every_figure_leads_to_its_rows_or_says_why_there_are_none(world: World) -> None:
    await decided(world)
    view = await made(world)
    assert view.report is not None
    for part in view.report.parts:
        assert part.absent or part.method
        for figure in part.figures:
            assert figure.rows or figure.why, figure
            assert (figure.value is None) == (figure.why is not None), figure
        for table in part.tables:
            assert len(table.links) == len(table.rows)
            assert all(len(row) == len(table.columns) for row in table.rows)


async def test_a_report_is_bound_to_its_checkpoint_and_can_be_computed_again(world: World) -> None:
    await decided(world)
    view = await made(world)
    assert view.body is not None and view.report is not None
    assert rfc8785.dumps(json.loads(view.body)) == view.body
    assert hashlib.sha256(view.body).hexdigest() == view.body_sha256
    await decided(world)  # afterwards much happens, in the same period too
    await world.seal()
    async with world.units() as unit:
        row = (await unit.rows(sa.select(report).where(report.c.ref == view.ref)))[0]
        signed = await checkpoints.at(unit.connection, view.checkpoint_size or 0)
        query = sa.select(audit_entry.c.body).where(audit_entry.c.type == "report.made")
        entered = json.loads(bytes((await unit.connection.execute(query)).scalar_one()))["payload"]
        again = await making.compute(unit, row)
    assert view.report.checkpoint == {"origin": SIGNER.name, "size": signed.size, "root": signed.root.hex()}
    assert entered == {
        "body_sha256": view.body_sha256,
        "checkpoint_size": signed.size,
        "root": signed.root.hex(),
    }
    kept, anew = json.loads(view.body), json.loads(again)
    for part, other in zip(kept["parts"], anew["parts"], strict=True):
        if part["key"] != Section.COVERAGE:  # counts rows beside the log, to compare them with it
            assert part == other


async def test_it_waits_for_a_checkpoint_that_covers_its_request(world: World) -> None:
    await decided(world)
    await world.seal()
    world.now = END + timedelta(hours=1)
    ref = await world.request(BEGIN, END)
    assert await making.make_due(world.units), "the newest checkpoint is older than the request"
    assert (await world.read(ref)).made_at is None
    await world.seal()
    assert not await making.make_due(world.units)
    assert (await world.read(ref)).status == "completed"


async def test_a_failing_step_is_tried_again_and_then_fails_the_workflow(
    world: World, monkeypatch: Any
) -> None:
    await decided(world)
    world.now = END + timedelta(hours=1)
    ref = await world.request(BEGIN, END)
    await world.seal()

    async def broken(*_: Any) -> None:
        raise ConnectionError("not now")

    monkeypatch.setitem(analysis.MAKERS, Section.ACCESS, broken)
    await making.make_due(world.units)
    view = await world.read(ref)
    assert (view.current_stage, view.made_at) == (AuditStage.AUDIT_ANALYSIS, None)
    for _ in range(5):
        world.now += timedelta(hours=1)
        await making.make_due(world.units)
    view = await world.read(ref)
    assert (view.status, view.body) == ("failed", None)
    assert "not now" in (view.error or "")


async def test_a_step_that_failed_once_goes_on(world: World, monkeypatch: Any) -> None:
    await decided(world)
    world.now = END + timedelta(hours=1)
    ref = await world.request(BEGIN, END)
    await world.seal()
    whole = analysis.MAKERS[Section.ACCESS]
    failures = [ConnectionError("not now")]

    async def once(*given: Any) -> Any:
        if failures:
            raise failures.pop()
        return await whole(*given)

    monkeypatch.setitem(analysis.MAKERS, Section.ACCESS, once)
    await making.make_due(world.units)
    assert (await world.read(ref)).made_at is None
    world.now += timedelta(minutes=1)
    await making.make_due(world.units)
    assert (await world.read(ref)).status == "completed"
    async with world.engine.connect() as connection:
        query = sa.select(workflow_stage.c.attempts).join(
            workflow, workflow.c.id == workflow_stage.c.workflow_id
        )
        attempts = (await connection.execute(query.where(workflow.c.subject == ref))).scalars().all()
    assert sorted(attempts) == [0, 0, 0, 1]


async def test_last_month_is_reported_once(world: World) -> None:
    await decided(world)
    world.now = datetime(2026, 4, 1, 0, 0, 1, tzinfo=UTC)
    async with world.units() as unit:
        ref = await making.request_due(unit)
    async with world.units() as unit:
        assert await making.request_due(unit) is None
    view = await world.read(ref or "")
    assert (view.period_from, view.period_to, view.scheduled) == (BEGIN, END, True)
    world.now = datetime(2026, 5, 2, tzinfo=UTC)
    async with world.units() as unit:
        assert await making.request_due(unit) is not None


async def test_there_is_no_report_on_a_month_before_the_log(world: World) -> None:
    world.now = datetime(2026, 3, 15, tzinfo=UTC)
    async with world.units() as unit:
        assert await making.request_due(unit) is None


@pytest.mark.parametrize(
    ("since", "until", "sections", "pointer"),
    [
        (END, BEGIN, (), "/period/to"),
        (BEGIN, BEGIN, (), "/period/to"),
        (datetime(2016, 1, 1, tzinfo=UTC), END, (), "/period/to"),
        (datetime(2027, 1, 1, tzinfo=UTC), datetime(2027, 2, 1, tzinfo=UTC), (), "/period/from"),
        (BEGIN, END, ("gossip",), "/sections"),
    ],
)
async def test_what_cannot_be_reported_says_why(
    world: World, since: datetime, until: datetime, sections: tuple[str, ...], pointer: str
) -> None:
    world.now = END
    with pytest.raises(Invalid) as refusal:
        await world.request(since, until, sections)
    assert [fault.pointer for fault in refusal.value.errors] == [pointer]


async def test_a_visitor_cannot_ask_for_one_and_only_asked_sections_are_made(world: World) -> None:
    with pytest.raises(Refused):
        async with world.units() as unit:
            await making.request(unit, BEGIN, END)
    await decided(world)
    view = await made(world, sections=("chain", "participation"))
    assert view.report is not None
    assert [part.key for part in view.report.parts] == [Section.PARTICIPATION, Section.CHAIN]
    units = {figure.key: figure.unit for figure in view.report.parts[1].figures}
    assert units["fees"] == Unit.LAMPORTS
