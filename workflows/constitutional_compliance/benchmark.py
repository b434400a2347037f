"""Measures the shipped heads on what they never saw: `python -m workflows.constitutional_compliance.benchmark`.

Five exams: clauses written to be hard, clauses in few plain words and whole ordinary policies of our own corpus (held
part); sentences of somebody who had not seen it; and UNFAIR-ToS, for which a reader and heads are fitted anew to its
training documents and judged on its validation documents. That reader takes an hour of one core and PyTorch; it is kept
in .cache until the documents or the way of training change. Writes `measured.json`, which pages and metrics read, and
docs/compliance-accuracy.md.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import hashlib
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
    FEW_WORDS,
    HARD_CLAUSES,
    PATH,
    SENTENCES,
    UNFAIR_TOS,
    WHOLE_POLICIES,
    Exam,
    Measured,
    Speed,
    last_exams,
    whole_texts,
)
from workflows.constitutional_compliance.reader import Reader, shipped_reader
from workflows.ports import Embedder

PROJECT = Path(__file__).parents[2]
FOLDER = PROJECT.parent / "shared" / "data" / "unfair_tos"
CACHE = PROJECT / ".cache"
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
            f"SKIPPED: UNFAIR-ToS is not at {arguments.unfair_tos}; say where with --unfair-tos. Its last figures stay.",
            file=sys.stderr,
        )
        exams += [exam for exam in last_exams() if exam.name == UNFAIR_TOS]
    measured = Measured(_today(), exams, speed(packaged()))
    print(page(measured))
    if arguments.write:
        PATH.write_bytes(msgspec.json.format(msgspec.json.encode(measured), indent=1) + b"\n")
        (PROJECT / "docs" / "compliance-accuracy.md").write_text(page(measured), encoding="utf-8")


def own(embedder: Embedder | None) -> list[Exam]:
    heads = shipped_heads(embedder)
    held = corpus.held_part(corpus.shipped())
    whole = [clause for clause in held if clause.principle is None]
    few = [clause for clause in held if clause.kind == corpus.FEW_WORDS]
    hard = [clause for clause in held if clause.principle is not None and clause.kind != corpus.FEW_WORDS]
    reader = shipped_reader() if heads.reader else None
    return [
        _exam(HARD_CLAUSES, heads, hard, embedder, reader),
        _exam(FEW_WORDS, heads, few, embedder, reader),
        _exam(WHOLE_POLICIES, heads, whole, embedder, reader),
        _exam(SENTENCES, heads, corpus.exam(), embedder, reader),
    ]


def unfair_tos(folder: Path, embedder: Embedder | None) -> Exam:
    known = _documents(folder / "train.csv")
    reader = _unfair_reader(known) if embedder else None
    heads = fit(known, embedder, principles=UNFAIR_LABELS, reader=reader)
    return _exam(UNFAIR_TOS, heads, _documents(folder / "validation.csv"), embedder, reader)


def _unfair_reader(known: Sequence[LabelledClause]) -> Reader:
    from workflows.constitutional_compliance import reader_training  # needs what nothing else does

    recipe = hashlib.sha256(Path(reader_training.__file__).read_bytes()).hexdigest()
    kept = CACHE / f"unfair_tos-{corpus.corpus_sha256(known)[:12]}-{recipe[:12]}.reader"
    if not kept.exists():
        reader = reader_training.train(known, UNFAIR_LABELS)
        CACHE.mkdir(exist_ok=True)
        kept.write_bytes(reader.to_bytes())
    return Reader.from_bytes(kept.read_bytes(), packaged())


def _exam(
    name: str,
    heads: Heads,
    clauses: Sequence[LabelledClause],
    embedder: Embedder | None,
    reader: Reader | None,
) -> Exam:
    texts = [clause.text for clause in clauses]
    vectors = embedder.embed(texts) if embedder else None
    probabilities = heads.probabilities(texts, vectors, reader.embed(texts) if reader else None)
    breaks = np.array([[principle in clause.breaks for principle in heads.principles] for clause in clauses])
    documents = [clause.policy for clause in clauses]
    calibrations = [heads.calibrations[principle] for principle in heads.principles]
    return Exam(
        name=name,
        date=_today(),
        heads_sha256=heads.sha256,
        embedder=heads.embedder,
        model_sha256=heads.model_sha256,
        fitted_to_sha256=heads.corpus_sha256,
        fitted_clauses=len(heads.clauses),
        judged_sha256=corpus.corpus_sha256(clauses),
        report=evaluate(heads.principles, probabilities, breaks, documents, calibrations),
        texts=whole_texts(probabilities, breaks, documents, calibrations),
        reader_sha256=heads.reader,
    )


def _today() -> str:
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def _documents(path: Path) -> list[LabelledClause]:
    clauses = []
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            breaks = tuple(label for label in UNFAIR_LABELS if row[label] == "1")
            document, text = row["document"], row["text"]
            clauses.append(LabelledClause(identity(document, text), None, document, "", breaks, text))
    return clauses


def speed(embedder: Embedder) -> Speed:
    """Of a policy of about 500 words, warm: its embedding, with its reading, and its judgement."""
    heads, reader = shipped_heads(embedder), shipped_reader()
    texts = [clause.text for clause in corpus.shipped_fit_part() if clause.principle is None]
    heads.judge(texts[:1], embedder.embed(texts[:1]), reader.embed(texts[:1]))
    words, embedding, judging = [], [], []
    for number in range(REPEATS):
        clauses = texts[number * POLICY_CLAUSES % 500 :][:POLICY_CLAUSES]
        policy = [f"{text} {number}" for text in clauses]  # one that the model has not just seen
        began = time.perf_counter()
        vectors, readings = embedder.embed(policy), reader.embed(policy)
        between = time.perf_counter()
        heads.judge(policy, vectors, readings)
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
