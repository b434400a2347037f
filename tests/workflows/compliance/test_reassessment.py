"""When the constitution is amended or something else judges, what counts is judged anew; what is in force stays in force."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from tests.judging import Says, finding
from workflows.constitutional_compliance import queries, questions, reassessment, validations
from workflows.kinds import Compliance, Severity
from workflows.policy_creation import ballots
from workflows.storage.tables import alert, validation

OTHER = "c" * 64


async def judge(a: Any, says: Says) -> int:
    return await validations.assess_waiting(a.units, says, a.constitution)


async def causes(a: Any) -> list[str]:
    query = sa.select(validation.c.cause).order_by(validation.c.created_at, validation.c.id)
    return list((await a.connection.execute(query)).scalars())


async def view(a: Any, ref: str) -> Any:
    return await queries.for_policy(
        a.connection, ref, figures=a.figures, sha256=a.constitution.sha256, now=a.now
    )


async def open_alerts(a: Any) -> set[str]:
    return set((await a.connection.execute(sa.select(alert.c.code).where(alert.c.resolved_at.is_(None)))).scalars())  # fmt: skip


async def enacted(a: Any) -> str:
    ref = await a.to_ballot()
    for member in a.members:
        await a.cast(ref, member, "for")
    await a.close(ref)
    return ref


async def test_nothing_is_judged_anew_while_the_same_would_judge(assembly: Any) -> None:
    a = assembly
    ref, says = await a.create(), Says()
    await judge(a, says)
    assert await reassessment.look(a.units, says, a.constitution) == 0
    assert await reassessment.amended(a.units) == 0
    assert len((await view(a, ref)).history) == 1


async def test_another_basis_judges_what_counts_anew_once(assembly: Any) -> None:
    a = assembly
    done = await enacted(a)
    voting = await a.to_ballot()
    drafted, withdrawn = await a.create(submit=False), await a.create()
    await judge(a, Says())
    await a.connection.execute(
        sa.text("UPDATE policy SET state = 'withdrawn' WHERE ref = :ref"), {"ref": withdrawn}
    )
    waiting = await a.create()
    await judge(a, Says())
    anew = Says(basis=OTHER)
    a.later(minutes=1)
    assert await reassessment.look(a.units, anew, a.constitution) == 3
    assert await reassessment.look(a.units, anew, a.constitution) == 0, "they wait"
    assert (await causes(a))[-3:] == ["models_changed"] * 3
    assert await ballots.open_due(a.unit(), a.figures) == []
    assert not (await view(a, waiting)).standing.may_open, "not before it was judged anew"
    assert await judge(a, anew) == 3
    assert await reassessment.look(a.units, anew, a.constitution) == 0
    for ref in (done, voting, waiting):
        assert len((await view(a, ref)).history) == 2, ref
    assert (await view(a, drafted)).history == []
    assert len((await view(a, withdrawn)).history) == 1


async def test_an_amended_constitution_asks_for_a_judgement_under_it(assembly: Any) -> None:
    a = assembly
    ref = await a.create()
    await judge(a, Says())
    a.constitution = msgspec.structs.replace(a.constitution, sha256="d" * 64)

    def unit(actor: Any = None, make: Any = a.unit) -> Any:
        made = make(actor) if actor else make()
        made.constitution_sha256 = "d" * 64
        return made

    a.unit = unit
    a.later(minutes=1)
    await a.approve(ref, judged=False)
    assert await a.state(ref) == "public_comment"
    assert await reassessment.amended(a.units) == 1
    assert await reassessment.amended(a.units) == 0
    assert await causes(a) == ["submitted", "constitution_changed"]
    await judge(a, Says())
    assert await ballots.open_due(a.unit(), a.figures) == [ref]


async def test_what_is_in_force_and_comes_out_worse_is_put_to_people(assembly: Any) -> None:
    a = assembly
    ref = await enacted(a)
    a.later(minutes=1)
    worse = Says(Compliance.NON_COMPLIANT, [finding(severity=Severity.LOW)], basis=OTHER)
    await reassessment.look(a.units, worse, a.constitution)
    await judge(a, worse)
    assert await a.state(ref) == "enacted", "no machine suspends it"
    assert f"compliance.worse.{ref}" in await open_alerts(a)
    found = await view(a, ref)
    assert (found.question.answer, len(found.question.asked)) == (None, 2)
    assert await reassessment.look(a.units, Says(basis="e" * 64), a.constitution) == 0, "people have it"
    await questions.answer(a.unit(a.emre), found.question.id, "compliant", "It means the other register.")
    assert f"compliance.worse.{ref}" not in await open_alerts(a)


async def test_as_bad_as_before_is_no_news(assembly: Any) -> None:
    a = assembly
    ref = await a.create()
    await judge(a, Says(Compliance.REQUIRES_REVIEW))
    await questions.answer(a.unit(a.emre), (await view(a, ref)).question.id, "compliant", "I read it.")
    await a.approve(ref)
    for member in a.members:
        await a.cast(ref, member, "for")
    await a.close(ref)
    same = Says(Compliance.REQUIRES_REVIEW, basis=OTHER)
    assert await reassessment.look(a.units, same, a.constitution) == 1
    await judge(a, same)
    assert await open_alerts(a) == set()
    assert (await view(a, ref)).standing.state == "answered_compliant", (
        "what people decided of this text stands"
    )


async def test_policies_of_before_are_judged_when_they_were_never(assembly: Any) -> None:
    a = assembly
    ref = await a.create()
    await a.connection.execute(sa.text("SET LOCAL audit.migrating = 'on'"))
    await a.connection.execute(sa.delete(validation))
    assert await reassessment.amended(a.units) == 1
    assert await causes(a) == ["submitted"]
    await judge(a, Says())
    assert (await view(a, ref)).standing.may_open
