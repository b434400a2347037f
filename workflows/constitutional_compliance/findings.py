"""What is found when a text is held against the constitution: one set of structs for analysers, records, pages and API."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from workflows.kinds import Compliance, ConsensusStrategy, RuleEngine, Severity

# By a principle's weight in the constitution's annex: how grave it is to break it.
SEVERITIES = {
    5: Severity.CRITICAL,
    4: Severity.HIGH,
    3: Severity.MEDIUM,
    2: Severity.LOW,
    1: Severity.LOW,
}


class Span(msgspec.Struct, frozen=True):
    """`text[start:end]`, in characters, is `quote`. `of`: the policy's text, its summary, or the constitution as it amends it."""

    start: int
    end: int
    quote: str
    of: Literal["text", "summary", "constitution"] = "text"


class Precedent(msgspec.Struct, frozen=True):
    """A labelled clause like the one found: `similarity` is the cosine of their embeddings, `source` where its label is from."""

    id: str
    text: str
    label: str
    similarity: float
    source: str


class Finding(msgspec.Struct, frozen=True):
    """One thing an analyser says of one clause. `score`: how surely it breaks the principle, 0 to 1.

    `sure` is False where the analyser leaves the decision to people. `span` is None where it is about the whole, or a rule.
    """

    principle: str
    severity: Severity
    explanation: str
    analyser: str
    score: float
    sure: bool
    span: Span | None = None
    articles: tuple[str, ...] = ()
    precedents: tuple[Precedent, ...] = ()
    words: tuple[tuple[str, float], ...] = ()  # what of the text weighed how much
    policy: str = ""  # an enacted policy that it contradicts


class Analyser(msgspec.Struct, frozen=True):
    """One analyser's part in a judgement. Absent: `present` False, `why` says why, and it has no score.

    `score` 1: complies, 0: breaks. `confidence`: how surely, 0 to 1, calibrated where `calibration` says how.
    """

    name: str  # structural, classifier, semantic, behaviour, language_model:<name>
    kind: str  # rules, embedding, head, engine, llm
    model: str  # as model@sha256 prefix, version, or what runs it
    present: bool
    why: str = ""
    score: float | None = None
    confidence: float | None = None
    calibration: str = ""
    weight: float = 1.0
    latency_ms: float = 0.0
    findings: tuple[Finding, ...] = ()
    uncalibrated: tuple[str, ...] = ()  # principles of which it does not decide


class Vote(msgspec.Struct, frozen=True):
    """An analyser's share in the consensus: `weight` as it was used, `distance` its score minus the consensus."""

    analyser: str
    score: float
    confidence: float
    weight: float
    distance: float


class Consensus(msgspec.Struct, frozen=True):
    """`agreement` = max(0, 1 − 2σ) of the scores (mission.md). `dissent`: those more than a quarter away."""

    strategy: ConsensusStrategy
    score: float | None
    confidence: float | None
    agreement: float | None
    votes: tuple[Vote, ...]
    dissent: tuple[str, ...]
    people: tuple[str, ...]  # why people decide, in words; empty: they need not


class Recommendation(msgspec.Struct, frozen=True):
    """What follows: open the ballot, ask people, or stop."""

    step: str  # proceed, ask_people, stop
    why: str


class Result(msgspec.Struct, frozen=True):
    """A judgement with all that it rests on. `basis_sha256` names what judged: the same basis gives the same judgement."""

    verdict: Compliance
    score: float
    confidence: float
    findings: tuple[Finding, ...]
    analysers: tuple[Analyser, ...]
    consensus: Consensus
    recommendation: Recommendation
    why: tuple[str, ...]  # the reasons of the verdict, one sentence each
    constitution_sha256: str
    basis_sha256: str
    passages: int  # clauses that were looked at
    measured: dict[str, Any] = {}  # accuracy of the classifier in use on texts it never saw; {}: not measured


class Subject(msgspec.Struct, frozen=True):
    """What is judged. `rule` and its declared reach only of policies that carry one; `amended` the whole constitution, as
    an amendment has it."""

    title: str
    text: str
    summary: str = ""
    amended: str = ""
    category: str = ""
    emergency: bool = False
    policy_ref: str = ""
    version_sha256: str = ""
    rule_engine: RuleEngine | None = None
    rule_source: str = ""
    rule_examples: list[dict[str, Any]] = []
