"""A small assembly, and a policy taken as far as a test needs it, by the real commands on a real database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from tests.judging import settle
from workflows.constitution.document import Constitution
from workflows.constitution.figures import Figures
from workflows.kinds import Category, Decision
from workflows.policy_creation import ballots, drafts, queries, reviews
from workflows.policy_creation.views import PolicyDraft
from workflows.roles import SYSTEM, Actor, Role
from workflows.storage.unit import Unit

DRAFT = PolicyDraft(
    title="Meeting notes within three days",
    summary="Notes appear soon after a meeting.",
    text="## Rule\n\nNotes of every meeting are published within three working days.\n",
    category=Category.GOVERNANCE,
)


@dataclass
class Assembly:
    """People, a clock and the walk of a policy. `now` moves by `later`."""

    connection: AsyncConnection
    constitution: Constitution
    figures: Figures
    make_unit: Callable[..., Unit]
    now: datetime
    author: Actor
    dana: Actor  # reviewer
    emre: Actor  # reviewer, legal
    farah: Actor  # council
    members: list[Actor]  # without an office
    outsider: Actor  # an auditor, no member

    def unit(self, actor: Actor = SYSTEM) -> Unit:
        return self.make_unit(actor=actor, now=self.now, on=self.connection)

    def later(self, **time: float) -> None:
        self.now += timedelta(**time)

    def draft(self, **changed: Any) -> PolicyDraft:
        return msgspec.structs.replace(DRAFT, **changed)

    @asynccontextmanager
    async def units(self) -> AsyncIterator[Unit]:
        async with self.connection.begin_nested():
            yield self.unit()

    async def create(self, *, submit: bool = True, by: Actor | None = None, **changed: Any) -> str:
        unit = self.unit(by or self.author)
        return await drafts.create(unit, self.figures, self.draft(**changed), submit=submit)

    async def settle(self) -> None:
        await settle(self.units, self.constitution)

    async def hash_of(self, ref: str) -> str:
        return (await queries.policy(self.connection, self.figures, ref)).version.version_sha256

    async def state(self, ref: str) -> str:
        return (await queries.policy(self.connection, self.figures, ref)).state

    async def approve(self, ref: str, *reviewers: Actor, judged: bool = True) -> None:
        """Approvals of a version that was found to comply, unless it is not to be `judged` yet."""
        if judged:
            await self.settle()
        for reviewer in reviewers or (self.dana,):
            await reviews.decide(
                self.unit(reviewer), self.figures, ref, Decision.APPROVE, "Clear.", await self.hash_of(ref)
            )

    async def to_ballot(self, **changed: Any) -> str:
        """A policy of the standard tier whose ballot is open."""
        ref = await self.create(**changed)
        await self.approve(ref)
        return ref

    async def cast(self, ref: str, voter: Actor, choice: str) -> Any:
        return await ballots.cast(self.unit(voter), ref, choice, await self.hash_of(ref))

    async def close(self, ref: str) -> None:
        self.later(days=8)
        assert ref in await ballots.close_due(self.unit(), self.figures)


@pytest.fixture
def assemble(constitution: Constitution, people: Any, unit: Any) -> Callable[..., Awaitable[Assembly]]:
    """`await assemble(connection)` on any connection."""

    async def make(connection: AsyncConnection) -> Assembly:
        async def person(name: str, *roles: Role, **more: Any) -> Actor:
            return await people(name, *roles, on=connection, **more)

        m = Role.MEMBER
        return Assembly(
            connection=connection,
            constitution=constitution,
            figures=constitution.figures,
            make_unit=unit,
            now=datetime.fromisoformat("2026-03-02T09:00:00+00:00"),
            author=await person("chidi", m, Role.DRAFTER),
            dana=await person("dana", m, Role.REVIEWER),
            emre=await person("emre", m, Role.REVIEWER, expertise=("legal",)),
            farah=await person("farah", m, Role.COUNCIL),
            members=[await person(f"member{n}", m) for n in range(6)],
            outsider=await person("hal", Role.AUDITOR),
        )

    return make


@pytest.fixture
async def assembly(assemble: Any, connection: AsyncConnection) -> Assembly:
    return await assemble(connection)
