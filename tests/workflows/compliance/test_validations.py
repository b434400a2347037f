"""What waits is judged outside transactions, once, whoever dies or comes second; failures are tried again and never skipped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from portal.database import begin_unit, create_engine
from tests.conftest import arranged
from tests.judging import Says, finding
from workflows.audit_transparency.erasure import erase
from workflows.constitutional_compliance import asking, gate, queries, validations
from workflows.constitutional_compliance.asking import Item
from workflows.errors import Conflict, Invalid, NotFound, Refused, Unavailable
from workflows.kinds import Compliance, Severity, Strategy
from workflows.orchestrator.stages import BACK_OFF
from workflows.policy_creation import queries as policy_queries
from workflows.roles import Role
from workflows.storage.tables import alert, audit_entry, validation


async def judge(a: Any, says: Any) -> int:
    return await validations.assess_waiting(a.units, says, a.constitution)


async def one(a: Any, which: Any, actor: Any = None) -> Any:
    return await queries.one(
        a.connection, which, figures=a.figures, sha256=a.constitution.sha256, now=a.now, actor=actor
    )


async def entered(a: Any, type: str) -> int:
    query = sa.select(sa.func.count()).where(audit_entry.c.type == type)
    return (await a.connection.execute(query)).scalar_one()


async def test_a_failure_is_tried_again_with_back_off_and_then_fails_the_workflow(
    assembly: Any, jobs: list
) -> None:
    a = assembly
    ref = await a.create()
    away = Says(error=Unavailable("The AC service does not answer."))
    for attempt, pause in enumerate(BACK_OFF, 1):
        jobs.clear()
        assert await judge(a, away) == 1
        assert await judge(a, away) == 0, "not before its time"
        found = await one(a, "VAL-2026-0001")
        assert (found.state, found.attempts, found.result) == ("retrying", attempt, None)
        assert found.error == "Unavailable: The AC service does not answer."
        assert [(job, delay) for job, _, delay in jobs] == [("compliance", pause)]
        a.later(seconds=pause.total_seconds())
    await judge(a, away)
    found = await one(a, "VAL-2026-0001")
    assert found.state == "failed"
    workflow = await policy_queries.workflow(a.connection, found.workflow_id)
    assert (workflow.status, workflow.error) == ("failed", found.error)
    assert await judge(a, Says()) == 0, "what failed waits for somebody"
    await a.approve(ref, judged=False)
    assert await a.state(ref) == "public_comment", "and its ballot with it: nothing is skipped"
    assert (await gate.standing(a.connection, ref, a.constitution.sha256)).state == "failed"
    codes = set((await a.connection.execute(sa.select(alert.c.code))).scalars())
    assert f"compliance.failed.{ref}" in codes


async def test_operators_have_what_failed_judged_again(assembly: Any, people: Any) -> None:
    a = assembly
    operator = await people("omar", Role.OPERATOR, on=a.connection)
    ref = await a.create()
    with pytest.raises(Conflict):
        await asking.again(a.unit(operator), "VAL-2026-0001")
    with pytest.raises(Refused):
        await asking.again(a.unit(a.dana), "VAL-2026-0001")
    with pytest.raises(NotFound):
        await asking.again(a.unit(operator), "VAL-2026-0099")
    for _ in range(5):
        await judge(a, Says(error=RuntimeError("broken")))
        a.later(hours=1)
    assert await asking.again(a.unit(operator), "VAL-2026-0001") == "VAL-2026-0002"
    await judge(a, Says())
    assert (await gate.standing(a.connection, ref, a.constitution.sha256)).may_open
    open_ones = sa.select(alert.c.code).where(alert.c.resolved_at.is_(None))
    assert list((await a.connection.execute(open_ones)).scalars()) == []


async def test_a_text_that_breaks_the_judge_breaks_no_others(assembly: Any) -> None:
    a = assembly
    await asking.ask_many(a.unit(a.dana), [Item(text=f"Text {number}.") for number in range(5)])
    says = Says(error=ValueError("cannot"), only=lambda subject: subject.text == "Text 3.")
    assert await judge(a, says) == 5
    states = [(await one(a, f"VAL-2026-000{number}", a.dana)).state for number in range(1, 6)]
    assert states == ["judged", "judged", "judged", "retrying", "judged"]


async def test_a_short_answer_of_the_judge_is_a_failure(
    assembly: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = assembly
    await a.create()
    says = Says()

    async def nothing(*args: Any, **kwargs: Any) -> list[Any]:
        return []

    monkeypatch.setattr(says, "judge", nothing)
    await judge(a, says)
    assert "answered 0 of 1" in (await one(a, "VAL-2026-0001")).error


async def test_who_dies_leaves_it_to_another(assembly: Any) -> None:
    a = assembly
    await a.create()
    assert len(await validations.take(a.units)) == 1  # and this worker is never heard of again
    assert await validations.take(a.units) == []
    a.later(seconds=validations.LEASE.total_seconds())
    await judge(a, Says())
    found = await one(a, "VAL-2026-0001")
    assert (found.state, found.attempts) == ("retrying", 1)
    assert "ended before it was done" in found.error
    a.later(seconds=BACK_OFF[0].total_seconds())
    assert await judge(a, Says()) == 1
    assert (await one(a, "VAL-2026-0001")).state == "judged"


async def test_a_text_that_ends_its_judges_process_is_given_up_and_takes_no_other_with_it(
    assembly: Any,
) -> None:
    a = assembly
    texts = ("Text 1.", "The one that kills.", "Text 3.")
    await asking.ask_many(a.unit(a.dana), [Item(text=text) for text in texts])
    deaths = 0
    for _ in range(20):
        while taken := await validations.take(a.units):
            if taken[0].left or all(each.subject.text != "The one that kills." for each in taken):
                await validations._assess(a.units, Says(), a.constitution, taken)
            else:
                deaths += 1  # with all that it held
        a.later(minutes=40)
    states = [(await one(a, f"VAL-2026-000{number}", a.dana)).state for number in (1, 2, 3)]
    assert states == ["judged", "failed", "judged"]
    assert deaths == len(BACK_OFF) + 1


async def test_of_two_that_judged_the_same_the_first_counts(assembly: Any) -> None:
    a = assembly
    await a.create()
    (slow,) = await validations.take(a.units)
    a.later(minutes=5)
    await judge(a, Says(Compliance.COMPLIANT))  # finds it left
    a.later(minutes=5)
    await judge(a, Says(Compliance.COMPLIANT))
    await validations._assess(a.units, Says(Compliance.NON_COMPLIANT), a.constitution, [slow])
    assert (await one(a, "VAL-2026-0001")).verdict == "compliant"
    assert await entered(a, "validation.made") == 1


async def test_several_workers_at_once_judge_each_text_once(fresh_database: str, assemble: Any) -> None:
    """On connections of their own, as workers have them."""
    setup = create_async_engine(fresh_database)
    async with setup.begin() as connection:
        a = await assemble(connection)
        await asking.ask_many(a.unit(a.dana), [Item(text=f"Text {number}.") for number in range(100)])
        await arranged(connection)
    await setup.dispose()
    engine = create_engine(fresh_database)

    @asynccontextmanager
    async def units() -> AsyncIterator[Any]:
        async with begin_unit(engine, constitution=a.constitution) as unit:
            unit.now = a.now
            yield unit

    workers = [Says() for _ in range(4)]
    done = await asyncio.gather(
        *(validations.assess_waiting(units, says, a.constitution) for says in workers)
    )
    texts = sorted(subject.text for says in workers for subject in says.asked)
    assert sum(done) == 100
    assert texts == sorted(f"Text {number}." for number in range(100)), "none lost, none twice"
    async with engine.connect() as connection:
        made = sa.select(sa.func.count()).where(audit_entry.c.type == "validation.made")
        assert (await connection.execute(made)).scalar_one() == 100
    await engine.dispose()


async def test_the_judge_is_never_asked_inside_a_transaction(assembly: Any) -> None:
    a = assembly
    inside = 0

    @asynccontextmanager
    async def units() -> AsyncIterator[Any]:
        nonlocal inside
        inside += 1
        async with a.units() as unit:
            yield unit
        inside -= 1

    class Watching(Says):
        async def judge(self, *args: Any, **kwargs: Any) -> Any:
            assert inside == 0
            return await super().judge(*args, **kwargs)

    await a.create()
    await validations.assess_waiting(units, Watching(), a.constitution)
    assert (await one(a, "VAL-2026-0001")).error is None


async def test_what_is_judged_follows_the_tier(assembly: Any) -> None:
    a = assembly
    await a.create()
    await a.create(risk_strategy="human_review")
    says = Says()
    assert await judge(a, says) == 2
    assert sorted(says.levels) == ["human_review", "standard"]
    assert validations.AT_ONCE.keys() == set(Strategy)


async def test_keeping_what_was_found_takes_few_statements(assembly: Any) -> None:
    a = assembly
    await a.create()
    statements: list[str] = []
    sync = a.connection.sync_connection.engine

    @sa.event.listens_for(sync, "before_cursor_execute")
    def count(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if not statement.startswith(("SAVEPOINT", "RELEASE")):
            statements.append(statement)

    try:
        await judge(a, Says())
        made = len(statements)
        statements.clear()
        await gate.standing(a.connection, "POL-2026-0001", a.constitution.sha256)
        assert len(statements) == 1
        statements.clear()
        await queries.for_policy(
            a.connection, "POL-2026-0001", figures=a.figures, sha256=a.constitution.sha256, now=a.now
        )
        assert len(statements) <= 8, statements
    finally:
        sa.event.remove(sync, "before_cursor_execute", count)
    assert made <= 24


async def test_a_private_text_is_its_askers_and_auditors(assembly: Any) -> None:
    a = assembly
    asked = await asking.ask_one(a.unit(a.dana), Item(text="My landlord is Quirinius."))
    await judge(a, Says(findings=[finding("Quirinius", sure=False, severity=Severity.LOW)]))
    assert (await one(a, asked.id, a.dana)).text == "My landlord is Quirinius."
    assert (await one(a, asked.ref, a.outsider)).result.findings[0].span.quote == "Quirinius"
    for other in (None, a.emre, a.farah):
        with pytest.raises(NotFound):
            await one(a, asked.id, other)
    with pytest.raises(Invalid):
        await asking.ask_one(a.unit(a.dana), Item(text="a\x00b"))


async def test_an_erased_person_leaves_no_judged_text(assembly: Any) -> None:
    a = assembly
    asked = await asking.ask_one(a.unit(a.dana), Item(text="My landlord is Quirinius."))
    await judge(a, Says(findings=[finding("Quirinius", sure=False, severity=Severity.LOW)]))
    waiting = await asking.ask_one(a.unit(a.dana), Item(text="Quirinius again."))
    counts = await erase(a.unit(a.dana), a.dana.id)
    assert counts["judged_texts"] == 2
    rows = (await a.connection.execute(sa.select(validation))).mappings().all()
    assert not any("Quirinius" in str(dict(row)) for row in rows)
    assert [row["verdict"] for row in rows if row["id"] == asked.id] == ["compliant"], "what was found stays"
    assert await judge(a, Says()) == 0, "what was not judged yet is not judged any more"
    assert (await one(a, waiting.ref, a.outsider)).text is None


async def test_the_database_takes_no_verdict_without_its_entry(fresh_database: str) -> None:
    engine = create_engine(fresh_database)
    with pytest.raises(sa.exc.IntegrityError, match="enters nothing"):
        async with engine.begin() as connection:
            await connection.exec_driver_sql(
                "INSERT INTO validation_batch (id, total, problems, created_at) VALUES (gen_random_uuid(), 1, '[]', now())"
            )
    await engine.dispose()
