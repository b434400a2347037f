"""What was measured of heads, and of which: figures of other heads than those in use are never shown."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import msgspec
import numpy as np

from workflows.constitutional_compliance.calibration import Booleans, Calibration, Floats
from workflows.constitutional_compliance.evaluation import Report
from workflows.constitutional_compliance.heads import Heads

PATH = Path(__file__).parent / "measured.json"
HARD_CLAUSES, FEW_WORDS, WHOLE_POLICIES, SENTENCES, UNFAIR_TOS = (
    "hard clauses",
    "few words",
    "whole policies",
    "sentences by another hand",
    "UNFAIR-ToS",
)


class Texts(msgspec.Struct, frozen=True):
    """Whole documents, by their worst clause. `fine` break nothing."""

    fine: int
    fine_called: int  # of which some clause was called a breach
    breaking: int
    breaking_called: int
    breaking_cleared: int  # of which every clause was cleared: missed silently


class Exam(msgspec.Struct, frozen=True):
    """One corpus judged by heads that had not seen it."""

    name: str
    date: str
    heads_sha256: str
    embedder: str | None
    model_sha256: str | None
    fitted_to_sha256: str
    fitted_clauses: int
    judged_sha256: str
    report: Report
    texts: Texts
    reader_sha256: str | None = None


class Speed(msgspec.Struct, frozen=True):
    """Of a policy of so many words, warm, on one thread; `load`: how busy the machine was with other things as well."""

    words: int
    p50_ms: float
    p95_ms: float
    judging_p50_ms: float
    load: float


class Measured(msgspec.Struct, frozen=True):
    date: str
    exams: list[Exam]
    speed: Speed


def measured_of(heads: Heads) -> Measured | None:
    """Of these very heads, on texts that they never saw; None where nothing was measured of them."""
    everything = _read()
    exams = [exam for exam in everything.exams if exam.heads_sha256 == heads.sha256] if everything else []
    return msgspec.structs.replace(everything, exams=exams) if everything and exams else None


def ordinary_report(heads: Heads) -> Report | None:
    """How these very heads do on whole, ordinary policies: what pages and metrics tell."""
    found = measured_of(heads)
    return next((exam.report for exam in found.exams if exam.name == WHOLE_POLICIES), None) if found else None


@lru_cache(maxsize=1)
def _read() -> Measured | None:
    return msgspec.json.decode(PATH.read_bytes(), type=Measured) if PATH.exists() else None


def last_exams() -> list[Exam]:
    """All that was measured last, of whichever heads."""
    everything = _read()
    return everything.exams if everything else []


def whole_texts(
    probabilities: Floats, breaks: Booleans, documents: Sequence[str], calibrations: Sequence[Calibration]
) -> Texts:
    clear, above = (np.array([getattr(one, name) for one in calibrations]) for name in ("clear", "above"))
    names, place = np.unique(documents, return_inverse=True)
    broken, called, kept = (
        np.bincount(place, rows.any(axis=1), len(names)) > 0
        for rows in (breaks, probabilities >= above, probabilities > clear)
    )
    return Texts(
        fine=int((~broken).sum()),
        fine_called=int((~broken & called).sum()),
        breaking=int(broken.sum()),
        breaking_called=int((broken & called).sum()),
        breaking_cleared=int((broken & ~kept).sum()),
    )
