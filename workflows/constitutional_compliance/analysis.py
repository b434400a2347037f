"""Holds texts against the constitution: every analyser that is there reads them, and one judgement comes of it, with its reasons."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Protocol

import msgspec
import rfc8785

from workflows.constitution.document import Constitution
from workflows.constitutional_compliance import verdict
from workflows.constitutional_compliance.consensus import agree
from workflows.constitutional_compliance.findings import Analyser, Finding, Result, Subject
from workflows.constitutional_compliance.reading import Reading, read
from workflows.kinds import ConsensusStrategy, RuleEngine, Severity, Strategy

VERSION = 1  # of the rules by which verdicts come about; another one is another basis
SHOWN = 60  # findings of one result


class Enacted(msgspec.Struct, frozen=True):
    """A policy in force, with which a text may clash."""

    ref: str
    title: str
    text: str
    category: str = ""
    rule_engine: RuleEngine | None = None
    rule_source: str = ""


class Problem(msgspec.Struct, frozen=True):
    """Why one subject could not be judged, while others could."""

    code: str
    detail: str


class Judge(Protocol):
    """Whatever holds texts against the constitution. Never called inside a transaction: it takes its time."""

    async def basis(self, constitution: Constitution) -> str:
        """SHA-256 of what would judge now: the constitution, the analysers, their models and heads."""
        ...

    async def stands(self, constitution: Constitution, basis_sha256: str) -> bool:
        """Whether a result made on this basis need not be made anew: nothing better would judge now."""
        ...

    async def judge(
        self,
        constitution: Constitution,
        subjects: Sequence[Subject],
        *,
        enacted: Sequence[Enacted] = (),
        level: Strategy = Strategy.STANDARD,
    ) -> list[Result | Problem]:
        """One each, in order. Raises Unavailable when nothing can be judged now."""
        ...

    async def describe(self) -> tuple[Analyser, ...]:
        """Which analysers there are, present or absent, with why."""
        ...

    async def close(self) -> None: ...


class LocalJudge:
    """The analysers in this process."""

    def __init__(self, strategy: ConsensusStrategy = ConsensusStrategy.WEIGHTED_AVERAGE) -> None:
        self.strategy = strategy

    async def basis(self, constitution: Constitution) -> str:
        return self._basis(constitution, await self.describe())

    async def stands(self, constitution: Constitution, basis_sha256: str) -> bool:
        return basis_sha256 == await self.basis(constitution)

    async def judge(
        self,
        constitution: Constitution,
        subjects: Sequence[Subject],
        *,
        enacted: Sequence[Enacted] = (),
        level: Strategy = Strategy.STANDARD,
    ) -> list[Result | Problem]:
        return [self._concluded(constitution, read(subject), await self.describe()) for subject in subjects]

    async def describe(self) -> tuple[Analyser, ...]:
        return ()

    async def close(self) -> None:
        pass

    def _concluded(
        self, constitution: Constitution, reading: Reading, analysers: tuple[Analyser, ...]
    ) -> Result:
        consensus = agree(self.strategy, analysers)
        findings = _ordered([finding for item in analysers for finding in item.findings])
        found, reasons = verdict.decide(reading.subject, findings, consensus, len(reading.illegible))
        return Result(
            verdict=found,
            score=consensus.score if consensus.score is not None else 0.0,
            confidence=consensus.confidence or 0.0,
            findings=findings[:SHOWN],
            analysers=analysers,
            consensus=consensus,
            recommendation=verdict.recommend(found, reasons),
            why=reasons,
            constitution_sha256=constitution.sha256,
            basis_sha256=self._basis(constitution, analysers),
            passages=len(reading.places),
        )

    def _basis(self, constitution: Constitution, analysers: Sequence[Analyser]) -> str:
        named = {
            "version": VERSION,
            "constitution": constitution.sha256,
            "strategy": self.strategy,
            "analysers": [[item.name, item.model] for item in analysers if item.present],
        }
        return hashlib.sha256(rfc8785.dumps(named)).hexdigest()


def _ordered(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """What is sure first, then by gravity and score."""
    order = list(Severity)
    return tuple(sorted(findings, key=lambda item: (not item.sure, -order.index(item.severity), -item.score)))
