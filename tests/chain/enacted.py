"""A policy taken from draft to enactment by the real commands, on a real database: what anchoring begins with."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from portal.database import begin_unit
from tests.conftest import arranged, with_pseudonym
from tests.judging import settle
from workflows.constitution.document import Constitution
from workflows.kinds import Category, Choice, Decision, Priority
from workflows.policy_creation import ballots, drafts, implementation, reviews
from workflows.policy_creation.views import DocumentDraft, PolicyDraft, RuleDraft
from workflows.policy_enforcement import rules
from workflows.policy_enforcement.rulebook import Rulebook
from workflows.roles import SYSTEM, Actor, Role
from workflows.storage.tables import governance_clock, person, policy_version
from workflows.storage.unit import Event, Unit, new_id

TEXT = "Every release of a model is **measured** before it ships — مقاس.\n\n1. The figures are published.\n"


class Assembly:
    """A body of people with a constitution, and the units of work of its portal; `events` is what it published."""

    def __init__(self, engine: AsyncEngine, constitution: Constitution) -> None:
        self.engine, self.constitution = engine, constitution
        self.people: dict[str, Actor] = {}
        self.events: list[Event] = []
        self.rulebook: Rulebook | None = None  # who enacts rules puts one here

    @asynccontextmanager
    async def unit(self, actor: Actor = SYSTEM) -> AsyncIterator[Unit]:
        async def publish(events: list[Event]) -> None:
            self.events.extend(events)

        async with begin_unit(
            self.engine, constitution=self.constitution, actor=actor, publish=publish
        ) as unit:
            yield unit

    @property
    def units(self) -> Callable[[], AbstractAsyncContextManager[Unit]]:
        return self.unit

    async def gather(self) -> None:
        """An author, a reviewer with legal expertise, a council member, and eight members who vote."""
        roles = {
            "author": [Role.DRAFTER],
            "dana": [Role.REVIEWER],
            "emre": [Role.REVIEWER],
            "gita": [Role.COUNCIL],
        }
        roles |= {f"member{number}": [Role.MEMBER] for number in range(8)}
        async with self.unit() as unit:
            for username, held in roles.items():
                expertise = ["legal"] if username == "emre" else []
                actor = Actor(new_id(), username, username, frozenset(held), frozenset(expertise))
                await unit.connection.execute(
                    person.insert().values(
                        id=actor.id,
                        username=username,
                        name=username.capitalize(),
                        roles=[str(role) for role in held],
                        expertise=expertise,
                        created_at=unit.now,
                    )
                )
                self.people[username] = await with_pseudonym(unit.connection, actor)
            await arranged(unit.connection)

    async def pass_time(self, **ahead: float) -> None:
        async with self.unit() as unit:
            await arranged(unit.connection)
            await unit.connection.execute(
                sa.update(governance_clock).values(ahead=governance_clock.c.ahead + timedelta(**ahead))
            )

    async def enact(
        self,
        title: str = "Measure before release",
        category: Category = Category.SAFETY,
        priority: Priority = Priority.NORMAL,
        text: str = TEXT,
        rule: RuleDraft | None = None,
        document: DocumentDraft | None = None,
    ) -> str:
        """Draft, review, vote (5 for, 2 against, 1 abstaining) and close. The reference of the enacted policy."""
        ref = await self.put_to_the_vote(title, category, priority, text, rule, document)
        await self.pass_time(days=8)
        async with self.unit() as unit:
            assert await ballots.close_due(unit, self.constitution.figures) == [ref]
        assert await self._state(ref) == "enacted"
        return ref

    async def put_to_the_vote(
        self,
        title: str = "Measure before release",
        category: Category = Category.SAFETY,
        priority: Priority = Priority.NORMAL,
        text: str = TEXT,
        rule: RuleDraft | None = None,
        document: DocumentDraft | None = None,
    ) -> str:
        """Draft, review and vote. The reference of a policy whose ballot is open, with all votes cast."""
        governing = await self.in_force()
        figures = governing.figures
        draft = PolicyDraft(
            title=title, summary="What is shipped is known.", text=text, category=category,
            priority=priority, rule=rule, constitution=document,
        )  # fmt: skip
        async with self.unit(self.people["author"]) as unit:
            ref = await drafts.create(unit, figures, draft, submit=True)
        await settle(self.units, governing)
        digest = await self._version_sha256(ref)
        for name in ("emre", "dana", "gita"):
            if await self._state(ref) != "in_review":
                break
            async with self.unit(self.people[name]) as unit:
                await reviews.decide(unit, figures, ref, Decision.APPROVE, "It says what it means.", digest)
        if rule and self.rulebook:
            await rules.judge_waiting(self.rulebook)
        if await self._state(ref) != "voting":
            await self.pass_time(days=8)
            async with self.unit() as unit:
                await ballots.open_due(unit, figures)
        for number, choice in enumerate([Choice.FOR] * 5 + [Choice.AGAINST] * 2 + [Choice.ABSTAIN]):
            async with self.unit(self.people[f"member{number}"]) as unit:
                await ballots.cast(unit, ref, choice, digest)
        return ref

    async def amend(self, old: str, new: str, title: str = "Amend the constitution") -> str:
        """Enact an amendment of the document in force that puts `new` in place of `old`. Its policy's reference."""
        return await self.enact(title, Category.CONSTITUTIONAL, document=await self.amended(old, new))

    async def amended(self, old: str, new: str) -> DocumentDraft:
        async with self.unit() as unit:
            assert unit.constitution is not None and old in unit.constitution.text
            return DocumentDraft(
                text=unit.constitution.text.replace(old, new), base_sha256=unit.constitution_sha256
            )

    async def in_force(self) -> Constitution:
        async with self.unit() as unit:
            assert unit.constitution is not None
            return unit.constitution

    async def suspend(self, ref: str, reason: str = "It does harm that nobody foresaw.") -> None:
        async with self.unit(self.people["gita"]) as unit:
            await implementation.suspend(unit, ref, reason)

    async def _state(self, ref: str) -> str:
        async with self.unit() as unit:
            return await _scalar(unit, "SELECT state FROM policy WHERE ref = :ref", ref=ref)

    async def _version_sha256(self, ref: str) -> str:
        async with self.unit() as unit:
            rows = await unit.rows(
                sa.select(policy_version.c.version_sha256).order_by(policy_version.c.created_at)
            )
            return rows[-1]["version_sha256"]


async def _scalar(unit: Unit, statement: str, **values: object) -> str:
    return (await unit.connection.execute(sa.text(statement), values)).scalar_one()
