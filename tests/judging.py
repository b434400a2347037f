"""Judgements for tests: a judge that says what a test tells it to, and what brings a version past the gate where that is not tested."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import sqlalchemy as sa

from workflows.constitution.document import Constitution
from workflows.constitutional_compliance import validations
from workflows.constitutional_compliance.analysis import Enacted, Problem
from workflows.constitutional_compliance.consensus import agree
from workflows.constitutional_compliance.findings import (
    Analyser,
    Finding,
    Recommendation,
    Result,
    Span,
    Subject,
)
from workflows.kinds import Compliance, ConsensusStrategy, Severity, Strategy
from workflows.storage.tables import validation
from workflows.storage.unit import Unit

SCORES = {Compliance.COMPLIANT: 0.95, Compliance.REQUIRES_REVIEW: 0.6, Compliance.NON_COMPLIANT: 0.1}
Units = Callable[[], AbstractAsyncContextManager[Unit]]


class Says:
    """A judge that says the same of every text, and remembers which it was asked about. `basis_` names what it rests on."""

    def __init__(
        self,
        verdict: Compliance = Compliance.COMPLIANT,
        findings: Sequence[Finding] = (),
        *,
        basis: str = "b" * 64,
        error: Exception | None = None,
        only: Callable[[Subject], bool] = lambda subject: True,
    ) -> None:
        self.verdict, self.findings, self.basis_, self.error = verdict, tuple(findings), basis, error
        self.only = only  # of which texts it says so; all others comply
        self.asked: list[Subject] = []
        self.levels: list[Strategy] = []

    async def basis(self, constitution: Constitution) -> str:
        return self.basis_

    async def stands(self, constitution: Constitution, basis_sha256: str) -> bool:
        return basis_sha256 == self.basis_

    async def describe(self) -> tuple[Analyser, ...]:
        return ()

    async def close(self) -> None:
        pass

    async def judge(
        self,
        constitution: Constitution,
        subjects: Sequence[Subject],
        *,
        enacted: Sequence[Enacted] = (),
        level: Strategy = Strategy.STANDARD,
    ) -> list[Result | Problem]:
        self.asked.extend(subjects)
        self.levels.extend([level] * len(subjects))
        if self.error is not None and any(self.only(subject) for subject in subjects):
            raise self.error
        return [self._result(constitution, subject) for subject in subjects]

    def _result(self, constitution: Constitution, subject: Subject) -> Result:
        chosen = self.only(subject)
        verdict = self.verdict if chosen else Compliance.COMPLIANT
        analysers = tuple(
            Analyser(name=name, kind=kind, model="test", present=True, score=SCORES[verdict], confidence=0.9)
            for name, kind in (("structural", "rules"), ("classifier", "head"))
        )
        step = {"compliant": "proceed", "requires_review": "ask_people", "non_compliant": "stop"}[verdict]
        return Result(
            verdict=verdict,
            score=SCORES[verdict],
            confidence=0.9,
            findings=self.findings if chosen else (),
            analysers=analysers,
            consensus=agree(ConsensusStrategy.WEIGHTED_AVERAGE, analysers),
            recommendation=Recommendation(step, "A test says so."),
            why=("A test says so.",),
            constitution_sha256=constitution.sha256,
            basis_sha256=self.basis_,
            passages=1,
        )


def finding(quote: str = "Notes of every meeting", text: str = "", **changed: Any) -> Finding:
    """A sure breach of the ballots' fairness, quoted from a text."""
    start = max(text.find(quote), 0)
    fields: dict[str, Any] = {
        "principle": "fair_ballot",
        "severity": Severity.CRITICAL,
        "explanation": "It closes the ballot early.",
        "analyser": "classifier",
        "score": 0.97,
        "sure": True,
        "span": Span(start, start + len(quote), quote),
    }
    return Finding(**{**fields, **changed})


async def settle(units: Units, constitution: Constitution, judge: Any = None) -> None:
    """Have what waits found to comply, as the worker does at once: for tests of what comes after."""
    async with units() as unit:
        waiting = sa.select(sa.exists().where(validation.c.made_at.is_(None)))
        if not (await unit.connection.execute(waiting)).scalar_one():
            return
    await validations.assess_waiting(units, judge or Says(), constitution)


def settle_from_outside(
    get: Callable[[str], Any], post: Callable[[str, str, dict[str, Any]], Any], ref: str, seconds: float = 120
) -> None:
    """Wait until a running portal has judged a policy; where it asks people, answer as one who was asked.

    `get(path)` gives what the API says, `post(username, path, body)` acts.
    """
    deadline = time.monotonic() + seconds
    while True:
        found = get(f"/api/v1/policies/{ref}/compliance")
        state, question = found["standing"]["state"], found["question"]
        if state == "asked" and question and not question["answer"]:
            body = {"answer": "compliant", "reason": "I read it clause by clause."}
            username = question["asked"][0]["username"]
            post(username, f"/api/v1/compliance/questions/{question['id']}/answer", body)
        elif found["standing"]["may_open"]:
            return
        assert state in ("none", "waiting", "asked"), found["standing"]
        assert time.monotonic() < deadline, found["standing"]
        time.sleep(0.1)
