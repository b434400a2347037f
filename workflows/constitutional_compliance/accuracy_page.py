"""The measured figures as a page of the documentation."""

from __future__ import annotations

from collections.abc import Iterator

from workflows.constitutional_compliance.evaluation import Figure
from workflows.constitutional_compliance.measured import UNFAIR_TOS, Exam, Measured

# What others reached on UNFAIR-ToS: LexGLUE (Chalkidis et al. 2022) on its test documents, which we do not have; the rest
# as tried on the validation documents before this was built (micro F1, macro F1, accuracy of clauses).
OTHERS = (
    ("published, test documents: TF-IDF + SVM", "94.7", "75.0", ""),
    ("published, test documents: BERT", "95.6", "81.3", ""),
    ("published, test documents: RoBERTa-large", "95.8", "81.6", ""),
    ("published, test documents: Legal-BERT", "96.0", "83.0", ""),
    ("validation documents: keyword rules", "90.2", "58.8", "91.4"),
    ("validation documents: embedding alone, linear", "93.3", "71.7", "93.8"),
    ("validation documents: TF-IDF, linear", "95.4", "77.4", "96.2"),
    ("validation documents: TF-IDF + MiniLM, linear, Platt", "95.5", "81.1", "96.1"),
)
ROWS = (
    ("clauses with every principle right, machines deciding all", "accuracy"),
    ("micro F1", "f1_micro"),
    ("macro F1", "f1_macro"),
    ("recall of violations", "recall"),
    ("precision of violations", "precision"),
    ("calibration error", "calibration_error"),
    ("decisions (clause × principle) made by machines", "decided"),
    ("… of which right", "decided_accuracy"),
    ("clauses that machines decide: cleared as a whole, or called a breach", "clauses_decided"),
    ("… of which right", "clauses_decided_accuracy"),
    ("violations called so by machines", "caught"),
    ("clauses that break something, caught or left to people", "caught_or_escalated"),
)


def page(measured: Measured) -> str:
    return "\n".join(
        [*_head(measured), *_unfair(measured), *(line for exam in measured.exams for line in _exam(exam))]
    )


def _head(measured: Measured) -> Iterator[str]:
    speed = measured.speed
    yield "# How often machines are right about compliance"
    yield ""
    yield f"Measured {measured.date} by `make benchmark-compliance`, which writes this page; an exam that was not taken again keeps the figures of its own day. Intervals are 95 %, by drawing documents 1,000 times."
    yield "How the heads work and where they are weak: [compliance](compliance.md)."
    yield ""
    yield (
        f"A policy of {speed.words} words takes {speed.p50_ms:.0f} ms (p95 {speed.p95_ms:.0f} ms) on one thread, warm, of which "
        f"the heads take {speed.judging_p50_ms:.0f} ms and embedder and reader the rest; the machine's load was {speed.load}."
    )
    yield ""


def _unfair(measured: Measured) -> Iterator[str]:
    ours = [exam for exam in measured.exams if exam.name == UNFAIR_TOS]
    if not ours:
        return
    yield "## UNFAIR-ToS beside others"
    yield ""
    yield "| system | micro F1 | macro F1 | clause accuracy |"
    yield "| --- | --- | --- | --- |"
    for row in OTHERS:
        yield f"| {' | '.join(row)} |"
    for exam in ours:
        report = exam.report
        figures = (report.f1_micro, report.f1_macro, report.accuracy)
        yield f"| **ours, validation documents: {_basis(exam)}** | {' | '.join(_figure(one) for one in figures)} |"
    yield ""


def _exam(exam: Exam) -> Iterator[str]:
    report, texts = exam.report, exam.texts
    yield f"## {exam.name[0].upper()}{exam.name[1:]}: {_basis(exam)}"
    yield ""
    yield (
        f"{exam.date}: {report.clauses:,} clauses of {report.documents} documents, {report.violations:,} violations. Heads "
        f"`{exam.heads_sha256[:12]}`, fitted to {exam.fitted_clauses:,} clauses (`{exam.fitted_to_sha256[:12]}`); judged: `{exam.judged_sha256[:12]}`."
    )
    yield ""
    yield "| | % (95 % interval) |"
    yield "| --- | --- |"
    for words, field in ROWS:
        yield f"| {words} | {_figure(getattr(report, field))} |"
    yield ""
    yield (
        f"Whole documents: of {texts.fine} that break nothing, machines called {texts.fine_called} a breach; of {texts.breaking} that "
        f"do, they called {texts.breaking_called}, left {texts.breaking - texts.breaking_called - texts.breaking_cleared} to people, "
        f"and cleared {texts.breaking_cleared}."
    )
    yield ""
    yield (
        "Right, of the share of clauses that they are surest of: "
        + ", ".join(
            f"{point.share:.0%}: {point.accuracy:.1f} % ({point.low:.1f}–{point.high:.1f})"
            for point in report.risk_coverage[1::2]
        )
        + "."
    )
    yield ""
    yield "| principle | violations | F1 | recall | precision |"
    yield "| --- | --- | --- | --- | --- |"
    for one in report.principles:
        yield f"| {one.principle} | {one.violations} | {one.f1:.1f} | {one.recall:.1f} | {one.precision:.1f} |"
    yield ""


def _basis(exam: Exam) -> str:
    if exam.embedder is None:
        return "words alone"
    reader = f", reader {exam.reader_sha256[:12]}" if exam.reader_sha256 else ""
    return f"words and {exam.embedder}{reader}"


def _figure(figure: Figure) -> str:
    return f"{figure.value:.1f} ({figure.low:.1f}–{figure.high:.1f})"
