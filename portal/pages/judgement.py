"""What pages show of a judgement: its text with marks, findings by principle, what each analyser said. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup
from msgspec import to_builtins

from portal.pages.marks import SEVERITIES, Mark, marked
from workflows.constitution.document import Constitution
from workflows.constitution.principles import Principle
from workflows.constitutional_compliance import consensus, verdict
from workflows.constitutional_compliance.findings import Analyser, Finding, Result, Vote
from workflows.constitutional_compliance.measured import Exam
from workflows.kinds import ConsensusStrategy, Severity

# What each kind of analyser goes by, for people; what follows a colon in its name is the model's.
ANALYSERS = {
    "structural": "Structural rules",
    "classifier": "Trained classifier",
    "semantic": "Likeness of meaning",
    "behaviour": "The rule’s own behaviour",
    "language_model": "Language model",
}
STRATEGIES = {
    ConsensusStrategy.WEIGHTED_AVERAGE: "The score is the mean of all scores, each by the weight of its analyser.",
    ConsensusStrategy.MAJORITY_VOTE: "An analyser with a score of {score} or more says yes. The score is the share that does.",
    ConsensusStrategy.CONFIDENCE_BASED: "The score is the mean of all scores, each by how sure its analyser is.",
    ConsensusStrategy.EMBEDDING_PRIORITY: "What compares meanings weighs {times} times as much as other analysers.",
    ConsensusStrategy.LLM_PRIORITY: "Language models weigh {times} times as much as other analysers.",
}


@dataclass(frozen=True)
class Found:
    """A finding as a reader meets it. `place` is the passage it is about, None where none is marked."""

    number: int
    finding: Finding
    place: int | None


@dataclass(frozen=True)
class Touched:
    """A principle with what was found of it. `weight` and `says` are None of one that the constitution does not name now."""

    key: str
    name: str
    principle: Principle | None
    found: tuple[Found, ...]
    gravest: Severity
    sure: bool


@dataclass(frozen=True)
class Said:
    """An analyser's word and its part in the consensus."""

    analyser: Analyser
    name: str
    vote: Vote | None
    dissents: bool


@dataclass(frozen=True)
class Accuracy:
    """How often the classifier in use was right on what it never saw. Shares and figures in per cent, as they were measured.

    `alone`: of the clauses of which it decides all by itself; the rest goes to people.
    """

    clauses: int
    documents: int
    alone: str
    interval: str
    figures: tuple[dict[str, str], ...]
    curve: tuple[dict[str, float], ...]
    principles: tuple[dict[str, Any], ...]


# Of a measurement (evaluation.Report): which figure, and what it is called.
FIGURES = {
    "clauses_decided_accuracy": "right, of the clauses it decides alone",
    "clauses_decided": "of clauses it decides alone",
    "caught_or_escalated": "of breaches found, or left to people",
    "caught": "of breaches found without people",
    "accuracy": "right, if it decided every clause",
    "f1_macro": "macro F1",
    "f1_micro": "micro F1",
    "calibration_error": "calibration error",
}
# Of how many each of these is a share.
COUNTED: dict[str, Callable[[dict[str, Any]], int]] = {
    "clauses_decided_accuracy": lambda found: round(
        found["clauses"] * found["clauses_decided"]["value"] / 100
    ),
    "caught_or_escalated": lambda found: found["violations"],
}
EXAMINED = ("clauses_decided", "clauses_decided_accuracy", "caught_or_escalated", "f1_macro")
AIM = 0.05  # at most so much of what machines decide may be wrong; above it an alert is raised


def analyser_name(name: str) -> str:
    kind, _, model = name.partition(":")
    known = ANALYSERS.get(kind, kind.replace("_", " ").capitalize())
    return f"{known} {model}" if model else known


def principle_name(key: str) -> str:
    return key.replace("_", " ").capitalize()


def shown(constitution: Constitution, result: Result | None, text: str | None) -> dict[str, Any]:
    """What fragments/compliance/result.html needs. Without a result there is nothing, and it says so."""
    if result is None:
        return {"judged": None, "marked_text": None}
    html, places = _marked(text, result.findings) if text is not None else (None, {})
    found = [
        Found(number, finding, places.get(number)) for number, finding in enumerate(result.findings, start=1)
    ]
    said = _said(result)
    return {
        "judged": result,
        "marked_text": html,
        "marks": len(places),
        "touched": _by_principle(constitution, found),
        "present": [each for each in said if each.analyser.present],
        "absent": [each for each in said if not each.analyser.present],
        "uncalibrated": sorted({key for each in result.analysers for key in each.uncalibrated}),
        "strategy": strategy(result.consensus.strategy),
        "accuracy": accuracy(result.measured),
        "needed": {
            "agreement": consensus.AGREEMENT_NEEDED,
            "confidence": consensus.CONFIDENCE_NEEDED,
            "score": consensus.SCORE_NEEDED,
            "classifier": verdict.PASSES,
        },
        "principle_name": principle_name,
        "analyser_name": analyser_name,
    }


def strategy(chosen: ConsensusStrategy) -> str:
    return STRATEGIES[chosen].format(score=f"{consensus.SCORE_NEEDED:.2f}", times=f"{consensus.PREFERRED:g}")


def _marked(text: str, findings: Sequence[Finding]) -> tuple[Markup, dict[int, int]]:
    """The text with its marks, and the place of each finding by its number. What quotes another text is not marked."""
    spans: dict[tuple[int, int], int] = {}
    marks = []
    for number, finding in enumerate(findings, start=1):
        span = finding.span
        if span is None or span.of != "text" or text[span.start : span.end] != span.quote:
            continue
        place = spans.setdefault((span.start, span.end), len(spans) + 1)
        about = principle_name(finding.principle)
        marks.append(Mark(number, place, span.start, span.end, finding.severity, finding.sure, about))
    html, begun = marked(text, marks)
    return html, {mark.number: mark.place for mark in marks if mark.place in begun}


def _by_principle(constitution: Constitution, found: Sequence[Found]) -> list[Touched]:
    """In the order of the gravest finding of each, as results have them."""
    known = {principle.key: principle for principle in constitution.principles}
    groups: dict[str, list[Found]] = {}
    for each in found:
        groups.setdefault(each.finding.principle, []).append(each)
    return [
        Touched(
            key=key,
            name=principle_name(key),
            principle=known.get(key),
            found=tuple(items),
            gravest=max((item.finding.severity for item in items), key=SEVERITIES.index),
            sure=any(item.finding.sure for item in items),
        )
        for key, items in groups.items()
    ]


def _said(result: Result) -> list[Said]:
    votes = {vote.analyser: vote for vote in result.consensus.votes}
    return [
        Said(each, analyser_name(each.name), votes.get(each.name), each.name in result.consensus.dissent)
        for each in result.analysers
    ]


def described(analyser: Analyser) -> Said:
    """One of the analysers that there are, outside any judgement."""
    return Said(analyser, analyser_name(analyser.name), None, dissents=False)


def labellable(result: Result | None) -> list[Found]:
    """The findings about a clause: of these people may say what it does."""
    return [
        Found(number, finding, None)
        for number, finding in enumerate(result.findings if result else (), start=1)
        if finding.span is not None
    ]


def accuracy(measured: dict[str, Any]) -> Accuracy | None:
    """What was measured, for a page; None where nothing was."""
    if "clauses_decided_accuracy" not in measured:
        return None
    return Accuracy(
        clauses=measured["clauses"],
        documents=measured["documents"],
        alone=f"{measured['clauses_decided_accuracy']['value']:.1f} %",
        interval=_interval(measured, "clauses_decided_accuracy"),
        figures=tuple(
            {"value": f"{measured[key]['value']:.1f} %", "label": label, "note": _interval(measured, key)}
            for key, label in FIGURES.items()
            if key in measured
        ),
        curve=tuple(_point(each) for each in measured.get("risk_coverage", ())),
        principles=tuple(measured.get("principles", ())),
    )


def _interval(measured: dict[str, Any], key: str) -> str:
    """With 95 %. Where nothing was wrong, drawing anew finds nothing wrong either: then by the rule of three."""
    figure = measured[key]
    if figure["low"] < 100 or key not in COUNTED:
        return f"95 % interval {figure['low']:.1f} to {figure['high']:.1f}"
    count = COUNTED[key](measured)
    return f"none wrong of {count:,}, so that up to {min(300 / max(count, 1), 100):.1f} % can be, with 95 % certainty"


def examined(exams: Sequence[Exam]) -> list[dict[str, Any]]:
    """How the classifier in use did on each corpus that it was tried on, as rows of a table."""
    rows = []
    for exam in exams:
        found = to_builtins(exam.report)
        rows.append(
            {
                "name": exam.name,
                "clauses": found["clauses"],
                "documents": found["documents"],
                "violations": found["violations"],
                **{key: (f"{found[key]['value']:.1f} %", _interval(found, key)) for key in EXAMINED},
            }
        )
    return rows


def _point(measured: dict[str, float]) -> dict[str, float]:
    """Of a point of the risk–coverage curve the shares that the chart is drawn from; its band where that was measured."""
    point = {"coverage": measured["share"], "risk": 1 - measured["accuracy"] / 100}
    if "low" in measured and "high" in measured:
        point |= {"low": 1 - measured["high"] / 100, "high": 1 - measured["low"] / 100}
    return point
