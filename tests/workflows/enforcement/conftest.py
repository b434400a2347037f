"""An assembly whose rules are run: by the real engines, on one transaction that is rolled back after the test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from workflows.errors import Unavailable
from workflows.kinds import Outcome
from workflows.policy_creation import ballots
from workflows.policy_creation.views import RuleDraft
from workflows.policy_enforcement import decisions, rules
from workflows.policy_enforcement.decisions import Asked, Ruling
from workflows.policy_enforcement.engines.pool import EnginePool
from workflows.policy_enforcement.rulebook import Rulebook
from workflows.roles import SYSTEM, Actor, Role
from workflows.storage.unit import Unit

GRANTS = """package policies.grants

actions := {"grant"}

reasons := {
    "own_grant": {"message": "Nobody decides on their own grant.", "severity": "high"},
    "report": {"message": "The report is late.", "severity": "medium"},
}

default allow := false

allow if {
    input.action.amount <= 2000
    count(input.action.decided_by) == 3
}

deny contains "own_grant" if input.subject.id in input.action.decided_by

obligations contains {"id": "report", "text": "Report within six months.", "within": "P180D"} if {
    input.action.amount > 1000
}
"""
TREASURY = """name("treasury"). actions("payment").
reason("one_signature", "Two people sign.", "high").
amount(A) :- input("action.amount", A).
signed(X) :- input("action.signed", X), mandate(X).
two :- signed(X), signed(Y), X != Y.
allow :- amount(A), A <= 5000, signed(_).
allow :- amount(A), A <= 50000, two.
deny("one_signature") :- amount(A), A > 5000, not two.
"""


def grant(amount: int = 500, *by: str, who: str = "m9") -> dict[str, Any]:
    return {
        "action": {"type": "grant", "amount": amount, "decided_by": list(by or ("m1", "m2", "m3"))},
        "subject": {"id": who},
    }


GRANT_EXAMPLES = [
    {"input": grant(500), "expect": "allow"},
    {"input": grant(1500), "expect": "conditional_allow"},
    {"input": grant(2500), "expect": "deny"},
    {"input": grant(500, "m1", "m2", "m9"), "expect": "deny"},
]


def rego(source: str = GRANTS, examples: list[dict[str, Any]] | None = None) -> RuleDraft:
    return RuleDraft("rego", source, GRANT_EXAMPLES if examples is None else examples)


class Enforcing:
    """The assembly `a`, its rulebook, and the ways of a rule into and out of force."""

    def __init__(self, assembly: Any, pool: EnginePool, operator: Actor) -> None:
        self.a, self.operator = assembly, operator
        self.rulebook = Rulebook(pool, self.units)

    @asynccontextmanager
    async def units(self, actor: Actor = SYSTEM) -> AsyncIterator[Unit]:
        async with self.a.connection.begin_nested():
            yield self.a.unit(actor)

    def acting(self, actor: Actor) -> Any:
        return lambda: self.units(actor)

    async def review(self, rule: RuleDraft, **draft: Any) -> str:
        """Approved, its rule judged and its ballot opened, if the gate lets it through."""
        ref = await self.a.create(rule=rule, **draft)
        await self.a.approve(ref, self.a.dana, self.a.emre)
        await rules.judge_waiting(self.rulebook)
        self.a.later(days=8)
        await ballots.open_due(self.a.unit(), self.a.figures)
        return ref

    async def enact(self, rule: RuleDraft, **draft: Any) -> str:
        ref = await self.review(rule, **draft)
        assert await self.a.state(ref) == "voting", await self.a.state(ref)
        for voter in self.a.members:
            await self.a.cast(ref, voter, "for")
        await self.a.close(ref)
        return ref

    async def decide(self, given: dict[str, Any], **options: Any) -> Ruling:
        asked = Asked(given["action"], given.get("subject", {}), given.get("context", {}), **options)
        (ruling,) = await decisions.decide(self.rulebook, self.acting(self.operator), [asked], self.operator)
        return ruling

    async def outcome(self, given: dict[str, Any], **options: Any) -> Outcome:
        return (await self.decide(given, **options)).decided.outcome


class Away:
    """An engine that cannot be asked."""

    async def ask(self, *_: Any) -> Any:
        raise Unavailable("It does not answer.")


@pytest.fixture(scope="session")
async def pool(anyio_backend: str) -> AsyncIterator[EnginePool]:
    pool = EnginePool()
    yield pool
    await pool.close()


@pytest.fixture
async def enforcing(assembly: Any, people: Any, pool: EnginePool) -> Enforcing:
    operator = await people("omar", Role.OPERATOR, on=assembly.connection)
    return Enforcing(assembly, pool, operator)
