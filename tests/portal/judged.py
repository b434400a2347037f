"""A judgement for the gallery and for tests of pages: real structs and the real consensus, about a text with something of everything."""

from __future__ import annotations

import hashlib
from typing import Any

from workflows.constitutional_compliance import verdict
from workflows.constitutional_compliance.consensus import agree
from workflows.constitutional_compliance.findings import (
    Analyser,
    Finding,
    Precedent,
    Result,
    Span,
    Subject,
)
from workflows.kinds import ConsensusStrategy, Severity

HOSTILE = "The log is public <script>alert('owned')</script> & <img src=x onerror=alert(1)>."
TEXT = f"""# How the archive is kept

The archivist keeps every record for ten years. **Entries that embarrass a partner may be taken out of the log.**

- Members vote by a show of hands, and the chair counts *twice for those* who came early.
- {HOSTILE}
- See [the earlier rules. They still hold.](https://example.org/rules "a > b")

Nobody is asked for more than they can give.
"""


def span(quote: str) -> Span:
    start = TEXT.index(quote)
    return Span(start, start + len(quote), quote)


def finding(principle: str, severity: Severity, quote: str | None, score: float, **more: Any) -> Finding:
    given: dict[str, Any] = {"analyser": "classifier", "sure": False, "articles": ("9.1",), **more}
    said = f"It {'breaks' if given['sure'] else 'may break'} “{principle.replace('_', ' ')}”."
    return Finding(principle, severity, said, score=score, span=span(quote) if quote else None, **given)


LOG = "**Entries that embarrass a partner may be taken out of the log.**"
VOTES = "Members vote by a show of hands, and the chair counts *twice for those* who came early."
FINDINGS = (
    finding(
        "lasting_trail",
        Severity.CRITICAL,
        LOG,
        0.98,
        sure=True,
        precedents=(
            Precedent(
                "0a1b", "Records that are old may be removed by the keeper.", "breaks", 0.83, "archive-and-records"
            ),
        ),
        words=(("taken out", 1.92), ("keeps every", -0.61)),
    ),
    finding("equal_vote", Severity.CRITICAL, VOTES, 0.81, articles=("2.1", "2.4")),
    finding("secret_ballot", Severity.CRITICAL, VOTES, 0.64, analyser="semantic", articles=("5.8",)),
    finding("openness", Severity.MEDIUM, HOSTILE, 0.52, articles=("9.2",)),
    finding("lasting_trail", Severity.CRITICAL, None, 0.55, analyser="structural", policy="POL-2026-0004"),
)  # fmt: skip
ANALYSERS = (
    Analyser(
        "structural", "rules", "rules@1", present=True, score=0.6, confidence=0.9, weight=1.0, latency_ms=3.1,
        findings=FINDINGS[4:],
    ),
    Analyser(
        "classifier", "head", "heads@0123456789ab on all-MiniLM-L6-v2-onnx-int8", present=True, score=0.02,
        confidence=0.98, calibration="each clause by Platt scaling on labelled clauses", weight=2.0, latency_ms=48.0,
        findings=(FINDINGS[0], FINDINGS[1], FINDINGS[3]), uncalibrated=("graduated_response",),
    ),
    Analyser(
        "semantic", "embedding", "all-MiniLM-L6-v2-onnx-int8", present=True, score=0.36, confidence=0.64,
        weight=1.0, latency_ms=41.0, findings=FINDINGS[2:3],
    ),
    Analyser("behaviour", "engine", "", present=False, why="The policy carries no rule."),
    Analyser("language_model:local", "llm", "", present=False, why="No language model is configured."),
)  # fmt: skip


def result(
    findings: tuple[Finding, ...] = FINDINGS,
    analysers: tuple[Analyser, ...] = ANALYSERS,
    constitution_sha256: str = "c" * 64,
    measured: dict[str, Any] | None = None,
) -> Result:
    consensus = agree(ConsensusStrategy.WEIGHTED_AVERAGE, analysers)
    found, why = verdict.decide(Subject("Archive", TEXT), findings, consensus, [])
    return Result(
        verdict=found,
        score=consensus.score or 0.0,
        confidence=consensus.confidence or 0.0,
        findings=findings,
        analysers=analysers,
        consensus=consensus,
        recommendation=verdict.recommend(found, why),
        why=why,
        constitution_sha256=constitution_sha256,
        basis_sha256=hashlib.sha256(b"what judged").hexdigest(),
        passages=6,
        measured=measured or {},
    )
