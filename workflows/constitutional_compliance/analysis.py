"""Holds texts against the constitution: every analyser that is there reads them, and one judgement comes of it, with its reasons."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Sequence
from typing import Protocol

import msgspec
import numpy as np
import rfc8785
import structlog

from workflows.constitution.document import Constitution
from workflows.constitutional_compliance import verdict
from workflows.constitutional_compliance.analysers import (
    behaviour,
    classifier,
    contradictions,
    language_model,
    semantic,
    structural,
)
from workflows.constitutional_compliance.analysers.contradictions import Rival
from workflows.constitutional_compliance.consensus import agree
from workflows.constitutional_compliance.findings import Analyser, Finding, Result, Subject
from workflows.constitutional_compliance.measured import ordinary_report
from workflows.constitutional_compliance.models import Models, Seen, Using
from workflows.constitutional_compliance.reading import Reading, read
from workflows.errors import Unavailable
from workflows.kinds import ConsensusStrategy, RuleEngine, Severity, Strategy
from workflows.policy_creation.views import RuleDraft
from workflows.policy_enforcement import rules
from workflows.policy_enforcement.bundle import Bundle
from workflows.policy_enforcement.rulebook import Engine, Rulebook
from workflows.policy_enforcement.rules import Conflict
from workflows.ports import LanguageModel, Vectors

VERSION = 4  # of the rules by which analysers read and verdicts come about; another one is another basis
SHOWN = 60  # findings of one result
LEVELS = list(Strategy)

log = structlog.get_logger(__name__)


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

    async def warm(self) -> None:
        """Load what the first judgement would otherwise wait for."""
        ...

    async def close(self) -> None: ...


class LocalJudge:
    """The analysers in this process. `engine` runs rules; `rulebook`, where there is one, knows those in force."""

    def __init__(
        self,
        models: Models | None = None,
        *,
        engine: Engine | None = None,
        rulebook: Rulebook | None = None,
        language_models: Sequence[LanguageModel] = (),
        strategy: ConsensusStrategy = ConsensusStrategy.WEIGHTED_AVERAGE,
    ) -> None:
        self.models, self.rulebook = models or Models(), rulebook
        self.engine = engine or (rulebook.engine if rulebook else None)
        self.language_models, self.strategy = language_models, strategy

    async def basis(self, constitution: Constitution) -> str:
        return self._basis(constitution, (await self.models.using())[-1])

    async def stands(self, constitution: Constitution, basis_sha256: str) -> bool:
        return basis_sha256 in {self._basis(constitution, using) for using in await self.models.using()}

    async def judge(
        self,
        constitution: Constitution,
        subjects: Sequence[Subject],
        *,
        enacted: Sequence[Enacted] = (),
        level: Strategy = Strategy.STANDARD,
    ) -> list[Result | Problem]:
        conflicts = [await conflicts_of(self.rulebook, subject, level) for subject in subjects]
        return await self.judge_knowing(constitution, subjects, conflicts, enacted=enacted, level=level)

    async def judge_knowing(
        self,
        constitution: Constitution,
        subjects: Sequence[Subject],
        conflicts: Sequence[Sequence[Conflict]],
        *,
        enacted: Sequence[Enacted] = (),
        level: Strategy = Strategy.STANDARD,
    ) -> list[Result | Problem]:
        """As `judge`, where it is known already with which rules in force those of the subjects clash."""
        readings = [read(subject, constitution.text) for subject in subjects]
        rivals = _rivals(enacted) if reaches(level, Strategy.ENHANCED_VALIDATION) else []
        texts = [place.text for reading in readings for place in reading.legible]
        seen = await self.models.see([*texts, *(rival.text for rival in rivals)])
        heard = await asyncio.to_thread(self._read, constitution, readings, rivals, seen)
        bundle = await self._bundle(level)
        asking = [
            self._one(constitution, reading, analysers, seen.using, level, bundle, clashes)
            for reading, analysers, clashes in zip(readings, heard, conflicts, strict=True)
        ]
        return list(await asyncio.gather(*asking))

    async def describe(self) -> tuple[Analyser, ...]:
        using = (await self.models.using())[-1]
        passed_over = " ".join(using.passed_over)
        model = classifier.model_of(using)
        has = using.embedder is not None
        without = "No embedder is in use."
        return (
            Analyser(structural.NAME, "rules", structural.MODEL, present=True),
            Analyser(classifier.NAME, "head", model, present=True, why=passed_over),
            Analyser(
                semantic.NAME, "embedding", semantic.model_of(using), present=has, why="" if has else without
            ),
            Analyser(
                behaviour.NAME,
                "engine",
                "Rego and Datalog",
                present=self.engine is not None,
                why="" if self.engine else "There is no engine that could run rules.",
            ),
            *(
                Analyser(language_model.name_of(item), "llm", item.model, present=True)
                for item in self.language_models
            ),
            *(() if self.language_models else (NO_LANGUAGE_MODEL,)),
        )

    async def warm(self) -> None:
        await self.models.see(["Members decide."])

    async def close(self) -> None:
        """The engine and the language models are closed by who opened them."""

    def _read(
        self,
        constitution: Constitution,
        readings: Sequence[Reading],
        rivals: Sequence[Rival],
        seen: Seen,
    ) -> list[tuple[Analyser, ...]]:
        """What the analysers say that only read, of all texts at once."""
        began = time.perf_counter()
        texts = [place.text for reading in readings for place in reading.legible]
        vectors = _rows(seen.vectors, texts)
        judgements = seen.using.heads.judge(texts, vectors, _rows(seen.readings, texts)) if texts else []
        share = (time.perf_counter() - began) / max(len(texts), 1)
        neighbours = semantic.neighbours_of(seen.using.heads)
        theirs = _rows(seen.vectors, [rival.text for rival in rivals])
        found, start = [], 0
        for reading in readings:
            end = start + len(reading.legible)
            own = None if vectors is None else vectors[start:end]
            part = judgements[start:end]
            start = end
            clashes = contradictions.find(reading, own, rivals, theirs)
            placed = None if own is None else seen.using.heads.placed(own)
            ratios = None if neighbours is None or placed is None else neighbours.ratios(placed)
            found.append(
                verdict.weighed(
                    (
                        structural.analyse(reading, constitution, clashes),
                        classifier.analyse(reading, constitution, seen.using, part, own, share * len(part)),
                        semantic.analyse(reading, constitution, seen.using, neighbours, ratios, placed),
                    ),
                    denied=classifier.denied(reading, part),
                    borne_out=semantic.borne_out(reading, neighbours, ratios),
                )
            )
        return found

    async def _one(
        self,
        constitution: Constitution,
        reading: Reading,
        analysers: tuple[Analyser, ...],
        using: Using,
        level: Strategy,
        bundle: Bundle,
        conflicts: Sequence[Conflict],
    ) -> Result | Problem:
        try:
            asked = await asyncio.gather(
                self._behaviour(constitution, reading.subject, level, bundle, conflicts),
                *self._language(constitution, reading.subject, level),
            )
        except Exception as error:  # one text's fault is not another's
            log.error("not_judged", exc_info=error)
            return Problem("not_judged", f"The analysis failed: {type(error).__name__}.")
        return self._concluded(constitution, reading, (*analysers, *asked), using)

    async def _bundle(self, level: Strategy) -> Bundle:
        """The rules and data in force, where rules are run at all."""
        if self.rulebook is None or not reaches(level, Strategy.ENHANCED_VALIDATION):
            return behaviour.EVERYTHING
        return await self.rulebook.load(await self.rulebook.look())

    async def _behaviour(
        self,
        constitution: Constitution,
        subject: Subject,
        level: Strategy,
        bundle: Bundle,
        conflicts: Sequence[Conflict],
    ) -> Analyser:
        if not reaches(level, Strategy.ENHANCED_VALIDATION):
            why = "Rules are run from the tier enhanced validation on."
            return Analyser(behaviour.NAME, "engine", subject.rule_engine or "", present=False, why=why)
        return await behaviour.analyse(self.engine, subject, constitution, bundle, conflicts)

    def _language(
        self, constitution: Constitution, subject: Subject, level: Strategy
    ) -> list[Awaitable[Analyser]]:
        if not self.language_models:
            return [_done(NO_LANGUAGE_MODEL)]
        if not reaches(level, Strategy.MULTI_MODEL_CONSENSUS):
            why = "Language models are asked from the tier multi-model consensus on."
            return [
                _done(Analyser(language_model.name_of(item), "llm", item.model, present=False, why=why))
                for item in self.language_models
            ]
        return [language_model.analyse(item, subject, constitution) for item in self.language_models]

    def _concluded(
        self, constitution: Constitution, reading: Reading, analysers: tuple[Analyser, ...], using: Using
    ) -> Result:
        consensus = agree(self.strategy, analysers)
        findings = _ordered([finding for item in analysers for finding in item.findings])
        found, reasons = verdict.decide(reading.subject, findings, consensus, reading.unjudged)
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
            basis_sha256=self._basis(constitution, using),
            passages=len(reading.places),
            measured=msgspec.to_builtins(ordinary_report(using.heads) or {}),
        )

    def _basis(self, constitution: Constitution, using: Using) -> str:
        named = {
            "version": VERSION,
            "constitution": constitution.sha256,
            "strategy": self.strategy,
            "embedder": using.embedder.model_sha256 if using.embedder else "",
            "heads": using.heads.sha256,
            "language_models": sorted(f"{item.name}|{item.model}" for item in self.language_models),
        }
        return hashlib.sha256(rfc8785.dumps(named)).hexdigest()


NO_LANGUAGE_MODEL = Analyser(
    "language_model", "llm", "", present=False, why="None is configured (LANGUAGE_MODELS)."
)


async def _done(analyser: Analyser) -> Analyser:
    return analyser


async def conflicts_of(rulebook: Rulebook | None, subject: Subject, level: Strategy) -> list[Conflict]:
    """With which rules in force a subject's rule does not go together, as the gate before the ballot finds them."""
    if rulebook is None or not reaches(level, Strategy.ENHANCED_VALIDATION):
        return []
    if subject.rule_engine is None or not subject.rule_examples:
        return []
    rule = RuleDraft(subject.rule_engine, subject.rule_source, subject.rule_examples)
    try:
        report = await rules.judge(rulebook, rule, of=subject.policy_ref or rules.CANDIDATE)
    except Unavailable:
        return []  # the gate asks again before the ballot
    return report.conflicts


def reaches(level: Strategy, wanted: Strategy) -> bool:
    return LEVELS.index(level) >= LEVELS.index(wanted)


def _rivals(enacted: Sequence[Enacted]) -> list[Rival]:
    return [
        Rival(policy.ref, policy.title, place.text)
        for policy in enacted
        for place in read(Subject(policy.title, policy.text)).legible
        if place.span is not None
    ]


def _rows(by_text: dict[str, Vectors] | None, texts: Sequence[str]) -> Vectors | None:
    if by_text is None or not texts:
        return None
    return np.stack([by_text[text] for text in texts])


def _ordered(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """What is sure first, then by gravity and score."""
    order = list(Severity)
    return tuple(sorted(findings, key=lambda item: (not item.sure, -order.index(item.severity), -item.score)))
