"""The calibrated heads: for each passage and principle whether it breaks it, does not, or is for people to say."""

from __future__ import annotations

import time
from collections.abc import Sequence

import msgspec
import numpy as np

from workflows.constitution.document import Constitution
from workflows.constitution.principles import Principle
from workflows.constitutional_compliance import evidence
from workflows.constitutional_compliance import heads as fitted
from workflows.constitutional_compliance.evidence import Matrix
from workflows.constitutional_compliance.findings import SEVERITIES, Analyser, Finding, Precedent, Span
from workflows.constitutional_compliance.heads import Heads, Judgement
from workflows.constitutional_compliance.models import Using
from workflows.constitutional_compliance.reading import Place, Reading
from workflows.constitutional_compliance.verdict import PASSES
from workflows.ports import Vectors

NAME = "classifier"
MOST = 12  # findings whose precedents and words are looked up, gravest first
WORTH_SHOWING = 0.5  # an unsure clause below is one of many that only touch the subject
TELLING = 3  # of those, the likeliest are shown all the same where they alone keep a text from passing

Judgements = Sequence[dict[str, Judgement]]


def analyse(
    reading: Reading,
    constitution: Constitution,
    using: Using,
    judgements: Judgements,
    vectors: Vectors | None,
    seconds: float,
) -> Analyser:
    """`judgements` and `vectors` are those of the passages that can be read, in their order."""
    began = time.perf_counter()
    heads = using.heads
    absent = Analyser(NAME, "head", model_of(using), present=False)
    if not reading.legible:
        return _absent(absent, "The text is in a language that no labelled clause is in.")
    known = [principle for principle in constitution.principles if principle.key in heads.principles]
    if not known:
        return _absent(absent, "None of its principles is one of this constitution.")
    decided = [item.key for item in known if judgements[0][item.key].decision != "uncalibrated"]
    probabilities = np.array([[judged[key].probability for key in decided] for judged in judgements])
    ratios = evidence.ratios(probabilities, np.asarray(heads.base))
    surely = {
        (row, decided[column])
        for row, column in zip(*np.nonzero(ratios), strict=True)
        if evidence.breaks(ratios[row, column], len(decided)) >= evidence.SURE
    }
    telling = {(row, decided[column]) for row, column in _telling(ratios)}
    principles = {principle.key: principle for principle in known}
    shown = sorted(
        (
            (judged[key], place, row)
            for row, (judged, place) in enumerate(zip(judgements, reading.legible, strict=True))
            for key in decided
            if _is_shown(judged[key], (row, key) in telling)
        ),
        key=lambda item: -item[0].probability,
    )
    findings = [
        _finding(
            judged,
            principles[judged.principle],
            place,
            heads,
            None if vectors is None else vectors[row],
            sure=judged.decision == "breaks" and (row, judged.principle) in surely,
            with_evidence=number < MOST,
        )
        for number, (judged, place, row) in enumerate(shown)
    ]
    sure = max((finding.score for finding in findings if finding.sure), default=0.0)
    score = min(evidence.complies(ratios), 1.0 - sure)
    return Analyser(
        name=NAME,
        kind="head",
        model=model_of(using),
        present=True,
        why=" ".join(using.passed_over),
        score=score,
        confidence=max(score, 1.0 - score),
        calibration=f"each clause by Platt scaling on labelled clauses; the text by Bayes' rule, {evidence.HOW}",
        latency_ms=(seconds + time.perf_counter() - began) * 1000,
        findings=tuple(findings),
        uncalibrated=tuple(item.key for item in constitution.principles if item.key not in decided),
    )


def model_of(using: Using) -> str:
    reader = f" and reader@{using.heads.reader[:12]}" if using.heads.reader else ""
    return f"heads@{using.heads.sha256[:12]} on {using.name}{reader}"


def _absent(analyser: Analyser, why: str) -> Analyser:
    return msgspec.structs.replace(analyser, why=why)


def _telling(ratios: Matrix) -> set[tuple[int, int]]:
    """The few (row, column) that weigh most in a text that does not pass: who is asked has to see what about."""
    left, found = ratios.copy(), set()
    while len(found) < TELLING and evidence.complies(left) < PASSES:
        row, column = divmod(int(left.argmax()), left.shape[1])
        left[row, column] = 0.0
        found.add((row, column))
    return found


def _is_shown(judged: Judgement, telling: bool) -> bool:
    return judged.decision == "breaks" or (
        judged.decision == "unsure" and (telling or judged.probability >= WORTH_SHOWING)
    )


def _finding(
    judged: Judgement,
    principle: Principle,
    place: Place,
    heads: Heads,
    vector: Vectors | None,
    *,
    sure: bool,
    with_evidence: bool,
) -> Finding:
    said = "breaks" if sure else "may break"
    by = "what labelled clauses like it do" + (", and the order of its words" if heads.reader else "")
    explanation = f"It {said} “{principle.name}”: {judged.probability:.1%} by {by}."
    found = heads.evidence(place.text, vector, judged.principle) if with_evidence else None
    return Finding(
        principle=principle.key,
        severity=SEVERITIES[principle.weight],
        explanation=explanation,
        analyser=NAME,
        score=judged.probability,
        sure=sure,
        span=place.span,
        articles=principle.articles,
        precedents=tuple(precedent(item) for item in found.precedents) if found else (),
        words=tuple((gram.text, gram.weight) for gram in found.grams) if found else (),
    )


def precedent(item: fitted.Precedent) -> Precedent:
    return Precedent(
        item.id, item.text, "breaks" if item.breaks else "does not break", item.similarity, item.policy
    )


def denied(reading: Reading, judgements: Judgements) -> set[tuple[Span | None, str]]:
    """Where it surely sees no breach: the place and the principle."""
    return {
        (place.span, key)
        for place, judged in zip(reading.legible, judgements, strict=True)
        for key, each in judged.items()
        if each.decision == "honours"
    }
