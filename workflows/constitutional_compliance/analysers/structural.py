"""Reads clauses by rules: amounts against the figures of the constitution, powers, rights, exemptions. Few rules, and sure ones."""

from __future__ import annotations

import itertools
import time

import msgspec

from workflows.constitution.document import Constitution
from workflows.constitutional_compliance.analysers import figures, powers
from workflows.constitutional_compliance.findings import SEVERITIES, Analyser, Finding
from workflows.constitutional_compliance.reading import Reading
from workflows.kinds import Severity

NAME = "structural"
SILENT = (
    "No rule of it is about what this text says. That tells little, so that it has no part in the consensus."
)
MODEL = "rules of this release"


def analyse(
    reading: Reading, constitution: Constitution, contradictions: tuple[Finding, ...] = ()
) -> Analyser:
    """What the rules find in the passages, and `contradictions` with policies in force, where these were looked for."""
    began = time.perf_counter()
    weights = {principle.key: principle.weight for principle in constitution.principles}
    found = [
        Finding(
            principle=fault.principle,
            severity=SEVERITIES[weights[fault.principle]],
            explanation=fault.explanation,
            analyser=NAME,
            score=1.0,
            sure=True,
            span=place.span,
            articles=fault.articles,
        )
        for place in reading.legible
        for fault in itertools.chain(
            figures.faults(place.text, constitution.figures), powers.faults(place.text)
        )
        if fault.principle in weights
    ]
    return concluded(
        Analyser(NAME, "rules", MODEL, present=True, findings=(*found, *contradictions)),
        SILENT,
        time.perf_counter() - began,
    )


def concluded(analyser: Analyser, silent: str, seconds: float) -> Analyser:
    """With a score where it found something. Who only knows some breaches says nothing by finding none of them."""
    worst = max(
        (finding.score for finding in analyser.findings if finding.severity != Severity.NONE), default=None
    )
    return msgspec.structs.replace(
        analyser,
        score=None if worst is None else 1.0 - worst,
        confidence=None if worst is None else max(worst, 1.0 - worst),
        why=silent if worst is None else "",
        latency_ms=seconds * 1000,
    )
