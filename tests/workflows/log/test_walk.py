"""A policy's whole life, with people's words, votes and an erasure in it, gives a log that checks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from tests.workflows.conftest import Assembly
from tests.workflows.log.conftest import TestLog
from workflows.audit_transparency.check import check
from workflows.audit_transparency.erasure import erase
from workflows.kinds import Decision
from workflows.policy_creation import discussion, reviews


async def test_the_log_of_a_policys_life_is_sound(
    log: TestLog, assemble: Callable[..., Awaitable[Assembly]]
) -> None:
    async with log.app.begin() as connection:
        house = await assemble(connection)
        ref = await house.create(title="Fußnoten — «ה» 𝄞 \u007f \ue000")
        await house.settle()
        await reviews.decide(
            house.unit(house.dana),
            house.figures,
            ref,
            Decision.APPROVE,
            "Ünmissverständlich 😀",
            await house.hash_of(ref),
        )
        for member, choice in zip(
            house.members, ("for", "against", "abstain", "for", "for", "for"), strict=True
        ):
            await house.cast(ref, member, choice)
        await house.cast(ref, house.members[0], "against")
        await house.close(ref)
        other = await house.create()
        await discussion.comment(house.unit(house.emre), other, "A word of mine.")
    await log.sequence()
    await log.sign()
    async with log.app.begin() as connection:
        house.connection = connection
        await erase(house.unit(house.dana), house.dana.id)
    await log.sequence()
    await log.sign()
    async with log.app.connect() as connection:
        assert await check(connection) == []
