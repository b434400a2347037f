"""The demo's recorded actions: the rules, decided by the real engines, find exactly those that were made to break them."""

from __future__ import annotations

import sqlalchemy as sa

from portal.database import begin_unit, create_engine
from portal.demo.actions import ACTIONS, VIOLATIONS, actions
from portal.demo.seed import seed
from workflows.constitution import conformance
from workflows.constitution.clauses import clauses
from workflows.constitution.document import Constitution
from workflows.storage.tables import decision, violation


async def test_forty_of_five_thousand_are_found(fresh_database: str, constitution: Constitution) -> None:
    wrong = {asked.subject["id"] for asked, bad in actions() if bad}
    assert len(wrong) == VIOLATIONS
    engine = create_engine(fresh_database)
    assert await seed(engine, constitution)
    async with engine.connect() as connection:
        outcomes = list(await connection.execute(sa.select(decision.c.outcome, decision.c.subject)))
        found = list((await connection.execute(sa.select(violation.c.subject))).scalars())
    async with begin_unit(engine, constitution=constitution) as unit:
        await conformance.look(unit, constitution.figures)
        held = await conformance.held(unit.connection, clauses(constitution.text))
    await engine.dispose()
    broken = {each.check.key: each.broken for item in held for each in item.found if each.state == "broken"}
    assert broken == {}, "the demonstration keeps to the constitution, and to what its own log says"
    assert len(outcomes) == ACTIONS
    assert {row.subject for row in outcomes if row.outcome == "deny"} == wrong
    assert sorted(found) == sorted(wrong)
