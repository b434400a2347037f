"""The rules in force as this process has them at hand, and the engine that is asked about them.

A rule that did not answer in time is left out for a while, and counts as one that could not be asked: nothing it is
about is allowed meanwhile, and what it is not about is decided as fast as ever. Trials leave it out of trials only, so
that nobody who may just try can keep machines from being allowed what they may.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from workflows.errors import Unavailable
from workflows.policy_enforcement import bundle as bundles
from workflows.policy_enforcement.bundle import Bundle
from workflows.policy_enforcement.engines.pool import TooSlow
from workflows.policy_enforcement.engines.worker import Question
from workflows.policy_enforcement.says import Checked, Input, Said, type_of
from workflows.storage.unit import Unit

LEFT_OUT = 30.0  # seconds for which a rule that was too slow is not asked
KEPT = 4  # bundles
TOO_SLOW = "it did not answer in time"
LATELY = f"{TOO_SLOW} a moment ago"
Units = Callable[[], AbstractAsyncContextManager[Unit]]


class Engine(Protocol):
    """Whatever runs rules: the embedded processes, an OPA server, the PGC service."""

    async def ask(self, bundle: Bundle, questions: Sequence[Question]) -> list[dict[str, Said]]:
        """What each rule says of each question, in their order. Raises TooSlow, Unavailable."""
        ...

    async def replay(
        self, bundle: Bundle, questions: Sequence[Question], seconds: float
    ) -> list[dict[str, Said]]:
        """As `ask`, for many questions at once that nobody waits for in real time."""
        ...

    async def check(self, engine: str, source: str) -> Checked: ...

    async def prepare(self, bundle: Bundle) -> None: ...

    async def close(self) -> None: ...

    def describe(self) -> dict[str, Any]:
        """Which engines there are, for people: {name: what it is}."""
        ...


class Rulebook:
    """`units` opens transactions as the system; bundles never change, so those once loaded stay good."""

    def __init__(self, engine: Engine, units: Units) -> None:
        self.engine, self.units = engine, units
        self.revision: str | None = None  # the one that was last seen active
        self.prepared: str | None = None  # the one that the engine is ready for
        self.bundles: dict[str, Bundle] = {}
        self.left_out: dict[tuple[str, bool], float] = {}  # version hash, trial → until when, monotonic
        self.ahead: timedelta | None = None  # governance time minus this machine's, as last seen

    async def current(self) -> Bundle:
        """The bundle last seen active. A decision under one that is not any more is not kept (decisions.decide)."""
        return await self.load(self.revision or await self.look())

    async def look(self) -> str:
        """Ask the database which bundle is active, and for the time."""
        async with self.units() as unit:
            self.revision = await bundles.ensure_active(unit)
            self.told(unit.now)
        return self.revision

    async def peek(self) -> str | None:
        """Which bundle is active, if any was ever made."""
        async with self.units() as unit:
            return await bundles.active_revision(unit.connection)

    def told(self, now: datetime) -> None:
        self.ahead = now - datetime.now(UTC)

    async def now(self) -> datetime:
        """Governance time, near enough to tell a rule: who keeps a decision looks whether it still holds."""
        if self.ahead is None:
            await self.look()
        return datetime.now(UTC) + (self.ahead or timedelta())

    async def load(self, revision: str) -> Bundle:
        if revision not in self.bundles:
            async with self.units() as unit:
                loaded = await bundles.load(unit.connection, revision)
            while len(self.bundles) >= KEPT:
                self.bundles.pop(next(iter(self.bundles)))
            self.bundles[revision] = loaded
        return self.bundles[revision]

    async def prepare(self) -> Bundle:
        """Have the active bundle at hand, in the engine too."""
        found = await self.load(await self.look())
        await self.engine.prepare(found)
        self.prepared = found.revision
        return found

    async def said(
        self, bundle: Bundle, inputs: Sequence[Input], *, trial: bool = False
    ) -> list[dict[str, Said]]:
        """What the rules in scope say of each input. Raises Unavailable when no engine can be asked."""
        scopes = [bundle.about(type_of(input)) for input in inputs]
        asked = [
            Question(
                [rule.policy for rule in scope if not self._is_left_out(rule.version_sha256, trial)], input
            )
            for scope, input in zip(scopes, inputs, strict=True)
        ]
        absent = Said(error=LATELY)
        return [
            {rule.policy: answer.get(rule.policy, absent) for rule in scope}
            for scope, answer in zip(scopes, await self._asked(bundle, asked, trial), strict=True)
        ]

    async def again(self, bundle: Bundle, policies: list[str], input: Input) -> dict[str, Said]:
        """What some rules say of an input that was decided before. Raises Unavailable, and leaves no rule out."""
        if not policies:
            return {}
        try:
            (answer,) = await self.engine.ask(bundle, [Question(policies, input)])
        except TooSlow:
            raise Unavailable(
                "A rule does not answer in time now. Try it again.", code="engine_busy"
            ) from None
        return answer

    async def _asked(self, bundle: Bundle, questions: list[Question], trial: bool) -> list[dict[str, Said]]:
        due = [question for question in questions if question.policies]
        found = iter(await self._patiently(bundle, due, trial) if due else [])
        return [next(found) if question.policies else {} for question in questions]

    async def _patiently(
        self, bundle: Bundle, questions: list[Question], trial: bool
    ) -> list[dict[str, Said]]:
        try:
            return await self.engine.ask(bundle, questions)
        except TooSlow:
            return [await self._one_by_one(bundle, question, trial) for question in questions]

    async def _one_by_one(self, bundle: Bundle, question: Question, trial: bool) -> dict[str, Said]:
        """Find the rule that is too slow, so that only it is left out."""
        said: dict[str, Said] = {}
        versions = {rule.policy: rule.version_sha256 for rule in bundle.about(type_of(question.input))}
        for policy in question.policies:
            if self._is_left_out(versions[policy], trial):
                said[policy] = Said(error=TOO_SLOW)
                continue
            try:
                (answer,) = await self.engine.ask(bundle, [Question([policy], question.input)])
                said |= answer
            except TooSlow:
                self.left_out[versions[policy], trial] = time.monotonic() + LEFT_OUT
                said[policy] = Said(error=TOO_SLOW)
        return said

    def _is_left_out(self, version_sha256: str, trial: bool) -> bool:
        return self.left_out.get((version_sha256, trial), 0.0) > time.monotonic()
