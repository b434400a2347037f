"""Measures the shipped heads on what they never saw: `python -m workflows.constitutional_compliance.benchmark`.

Three exams: clauses written to be hard and whole ordinary policies of our own corpus (held part), and UNFAIR-ToS, for
which heads are fitted anew to its training documents and judged on its validation documents. Writes `measured.json`,
which pages and metrics read, and docs/compliance-accuracy.md.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from workflows.constitutional_compliance import corpus
from workflows.constitutional_compliance.accuracy_page import page
from workflows.constitutional_compliance.corpus import LabelledClause, identity
from workflows.constitutional_compliance.embedding import packaged
from workflows.constitutional_compliance.evaluation import evaluate
from workflows.constitutional_compliance.heads import Heads, fit, shipped_heads
from workflows.constitutional_compliance.measured import (
    HARD_CLAUSES,
    PATH,
    UNFAIR_TOS,
    WHOLE_POLICIES,
    Exam,
    Measured,
    Speed,
    whole_texts,
)
from workflows.ports import Embedder, Vectors

PROJECT = Path(__file__).parents[2]
FOLDER = PROJECT.parent / "shared" / "data" / "unfair_tos"
UNFAIR_LABELS = ("LTD", "TER", "CH", "CR", "USE", "LAW", "J", "A")
POLICY_CLAUSES = 25  # about 500 words
REPEATS = 40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--unfair-tos", type=Path, default=FOLDER, help="folder with train and validation")
    parser.add_argument("--write", action="store_true", help="keep the figures as those of the shipped heads")
    arguments = parser.parse_args()
    exams = []
    for embedder in (packaged(), None):
        exams += own(embedder)
    if (arguments.unfair_tos / "validation.csv").exists():
        for embedder in (packaged(), None):
            exams.append(unfair_tos(arguments.unfair_tos, embedder))
    else:
        print(
            f"SKIPPED: UNFAIR-ToS is not at {arguments.unfair_tos}; say where with --unfair-tos.",
            file=sys.stderr,
        )
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    measured = Measured(today, exams, speed(packaged()))
    print(page(measured))
    if arguments.write:
        PATH.write_bytes(msgspec.json.format(msgspec.json.encode(measured), indent=1) + b"\n")
        (PROJECT / "docs" / "compliance-accuracy.md").write_text(page(measured), encoding="utf-8")


def own(embedder: Embedder | None) -> list[Exam]:
    heads = shipped_heads(embedder)
    held = corpus.held_part(corpus.shipped())
    hard = [clause for clause in held if clause.principle is not None]
    whole = [clause for clause in held if clause.principle is None]
    vectors = {name: _embedded(embedder, part) for name, part in (("hard", hard), ("whole", whole))}
    return [
        _exam(HARD_CLAUSES, heads, hard, vectors["hard"]),
        _exam(WHOLE_POLICIES, heads, whole, vectors["whole"]),
    ]


def unfair_tos(folder: Path, embedder: Embedder | None) -> Exam:
    heads = fit(_documents(folder / "train.csv"), embedder, principles=UNFAIR_LABELS)
    judged = _documents(folder / "validation.csv")
    return _exam(UNFAIR_TOS, heads, judged, _embedded(embedder, judged))


def _exam(name: str, heads: Heads, clauses: Sequence[LabelledClause], vectors: Vectors | None) -> Exam:
    probabilities = heads.probabilities([clause.text for clause in clauses], vectors)
    breaks = np.array([[principle in clause.breaks for principle in heads.principles] for clause in clauses])
    documents = [clause.policy for clause in clauses]
    calibrations = [heads.calibrations[principle] for principle in heads.principles]
    return Exam(
        name=name,
        heads_sha256=heads.sha256,
        embedder=heads.embedder,
        model_sha256=heads.model_sha256,
        fitted_to_sha256=heads.corpus_sha256,
        fitted_clauses=len(heads.clauses),
        judged_sha256=corpus.corpus_sha256(clauses),
        report=evaluate(heads.principles, probabilities, breaks, documents, calibrations),
        texts=whole_texts(probabilities, breaks, documents, calibrations),
    )


def _embedded(embedder: Embedder | None, clauses: Sequence[LabelledClause]) -> Vectors | None:
    return None if embedder is None else embedder.embed([clause.text for clause in clauses])


def _documents(path: Path) -> list[LabelledClause]:
    clauses = []
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            breaks = tuple(label for label in UNFAIR_LABELS if row[label] == "1")
            document, text = row["document"], row["text"]
            clauses.append(LabelledClause(identity(document, text), None, document, "", breaks, text))
    return clauses


def speed(embedder: Embedder) -> Speed:
    """Of a policy of about 500 words, warm: its embedding and its judgement."""
    heads = shipped_heads(embedder)
    texts = [clause.text for clause in corpus.shipped_fit_part() if clause.principle is None]
    heads.judge(texts[:1], embedder.embed(texts[:1]))
    words, embedding, judging = [], [], []
    for number in range(REPEATS):
        policy = texts[number * POLICY_CLAUSES % 500 :][:POLICY_CLAUSES]
        began = time.perf_counter()
        vectors = embedder.embed(policy)
        between = time.perf_counter()
        heads.judge(policy, vectors)
        embedding.append(1000 * (between - began))
        judging.append(1000 * (time.perf_counter() - between))
        words.append(sum(len(text.split()) for text in policy))
    both = np.add(embedding, judging)
    return Speed(
        words=round(float(np.mean(words))),
        p50_ms=round(float(np.percentile(both, 50)), 1),
        p95_ms=round(float(np.percentile(both, 95)), 1),
        judging_p50_ms=round(float(np.percentile(judging, 50)), 1),
        load=round(os.getloadavg()[0], 1),
    )


if __name__ == "__main__":
    main()
