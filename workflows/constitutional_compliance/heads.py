"""Trained, calibrated classifiers: one head a principle, which says breaks, honours, or that people must look.

A head scores a clause by its likeness to labelled ones: in its words, in the letters of its words, and in its meaning
as an embedder sees it (kernel ridge regression over the three); and by what a reader says of it, which was trained to
heed the order of words. Scores become probabilities by what models said of policies that they had not seen, and so do the
two thresholds between which people decide.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np

from workflows.constitutional_compliance.calibration import Booleans, Calibration, Floats, Integers, calibrate
from workflows.constitutional_compliance.corpus import LabelledClause, corpus_sha256
from workflows.constitutional_compliance.features import ANALYSERS, Counts, Grams, weigh
from workflows.constitutional_compliance.reader import Reader, WrongReader
from workflows.errors import Conflict
from workflows.ports import Embedder, Vectors

if TYPE_CHECKING:
    from scipy import sparse

ALONE, WITH_READER = 1, 2  # formats; who knows only the first must not leave the reader out unawares
PARTS = 6  # of the policies, for cross-validation
RIDGE = 0.5
WORDS = 0.5  # how much likeness in words, and likewise in letters, counts
MEANING = 0.7  # and likeness in meaning
READING = 0.15  # how much a reader's score counts
SHIPPED = Path(__file__).parent / "fitted"

Decision = Literal["breaks", "honours", "unsure", "uncalibrated"]


class WrongEmbedder(Conflict):
    """Vectors of one model say nothing to a head that was fitted to another's."""

    code, title = "wrong_embedder", "These heads belong to another embedder"


class Precedent(msgspec.Struct, frozen=True):
    """A labelled clause, and how alike it is (1: the same)."""

    id: str
    policy: str
    text: str
    breaks: bool
    similarity: float


class Gram(msgspec.Struct, frozen=True):
    """Some words of the clause, and how much they speak for (above 0) or against a breach."""

    text: str
    weight: float


class Judgement(msgspec.Struct, frozen=True):
    """`decision` follows from `probability`: up to `below` honours, from `above` breaks, between them people."""

    principle: str
    probability: float
    decision: Decision
    below: float
    above: float


class Evidence(msgspec.Struct, frozen=True):
    precedents: tuple[Precedent, ...]
    grams: tuple[Gram, ...]


class Fitted(msgspec.Struct, frozen=True, omit_defaults=True):
    """All that heads are, as it is stored. Arrays are little-endian bytes, row by row.

    `reader` is the hash of the one that they count on, `read` which of its scores belongs to each principle (-1: none).
    """

    format: int
    embedder: str | None
    model_sha256: str | None
    dimension: int
    corpus_sha256: str
    principles: list[str]
    calibrations: list[Calibration]
    clauses: list[LabelledClause]
    grams: list[Grams]
    gram_weights: list[bytes]  # float16, grams × principles
    bias: bytes  # float64, principles
    centre: bytes  # float32, dimension
    vectors: bytes  # float16, clauses × dimension
    alphas: bytes  # float32, clauses × principles
    reader: str | None = None
    read: list[int] = []


class Heads:
    """Judges clauses. Safe to share between threads."""

    def __init__(self, fitted: Fitted) -> None:
        self._fitted = fitted
        self.embedder = fitted.embedder
        self.model_sha256 = fitted.model_sha256
        self.dimension = fitted.dimension
        self.reader = fitted.reader
        self.corpus_sha256 = fitted.corpus_sha256
        self.principles = tuple(fitted.principles)
        self.clauses = tuple(fitted.clauses)
        self.calibrations = dict(zip(fitted.principles, fitted.calibrations, strict=True))
        count = len(self.principles)
        self._counters = [grams.counter() for grams in fitted.grams]
        self._gram_weights = [
            np.frombuffer(weights, "<f2").astype(np.float64).reshape(-1, count)
            for weights in fitted.gram_weights
        ]
        self._bias = np.frombuffer(fitted.bias, "<f8")
        self._centre = np.frombuffer(fitted.centre, "<f4")
        self._vectors = (
            np.frombuffer(fitted.vectors, "<f2").astype(np.float32).reshape(len(fitted.clauses), -1)
        )
        self._alphas = np.frombuffer(fitted.alphas, "<f4").reshape(-1, count)

    @property
    def vectors(self) -> Vectors:
        """Of `clauses`, as `placed` makes them."""
        return self._vectors

    def placed(self, vectors: Vectors) -> Vectors:
        """Vectors of the embedder as heads compare them: away from what all texts share, of length one."""
        return self._placed(vectors, len(vectors))

    @cached_property
    def base(self) -> float:
        """How common breaches are where it was calibrated: in whole policies, all principles taken together."""
        natural = [clause for clause in self.clauses if clause.principle is None] or self.clauses
        return sum(len(clause.breaks) for clause in natural) / (len(natural) * len(self.principles))

    def judge(
        self, texts: Sequence[str], vectors: Vectors | None, readings: Vectors | None = None
    ) -> list[dict[str, Judgement]]:
        """For each text, by principle. `vectors` and `readings` are the texts' own, by the embedder and the reader of the heads."""
        probabilities = self.probabilities(texts, vectors, readings)
        return [
            {
                principle: self._judgement(principle, float(probability))
                for principle, probability in zip(self.principles, row, strict=True)
            }
            for row in probabilities
        ]

    def probabilities(
        self, texts: Sequence[str], vectors: Vectors | None, readings: Vectors | None = None
    ) -> Floats:
        """One row a text, one column a principle."""
        scores = self.scores(texts, vectors, readings)
        columns = zip(self._fitted.calibrations, scores.T, strict=True)
        return np.stack([calibration.probability(column) for calibration, column in columns], axis=1)

    def scores(
        self, texts: Sequence[str], vectors: Vectors | None, readings: Vectors | None = None
    ) -> Floats:
        scores = np.tile(self._bias, (len(texts), 1))
        if not texts:
            return scores
        if self.reader is not None:
            if readings is None or len(readings) != len(texts):
                raise WrongReader("These heads need what their reader says of each text.")
            scores += _read_by(readings, self._fitted.read)
        for kind, weights in enumerate(self._gram_weights):
            scores += self._rows(kind, texts) @ weights
        if self.embedder is not None:
            scores += _likeness(self._placed(vectors, len(texts)), self._vectors) @ self._alphas
        return scores

    def evidence(
        self, text: str, vector: Vectors | None, principle: str, *, precedents: int = 3, grams: int = 5
    ) -> Evidence:
        """Why a head thinks so: the labelled clauses that are most alike, and the words that weighed most."""
        column = self.principles.index(principle)
        return Evidence(
            self._precedents(text, vector, principle, precedents), self._telling(text, column, grams)
        )

    def check(self, embedder: Embedder | None) -> None:
        """Raises WrongEmbedder unless the heads were fitted to vectors of this very model."""
        theirs = _belongs_to(embedder)
        if theirs != (self.embedder, self.model_sha256, self.dimension):
            raise WrongEmbedder(
                f"The heads were fitted to {self.embedder or 'words alone'} "
                f"({(self.model_sha256 or 'no model')[:12]}, {self.dimension} dimensions) and cannot judge vectors of "
                f"{theirs[0] or 'no model'} ({(theirs[1] or 'no model')[:12]}, {theirs[2]} dimensions). "
                "Fit heads to that embedder first."
            )

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(msgspec.msgpack.encode(self._fitted)).hexdigest()

    def to_bytes(self) -> bytes:
        return zlib.compress(msgspec.msgpack.encode(self._fitted), 9)

    @classmethod
    def from_bytes(cls, data: bytes, embedder: Embedder | None) -> Heads:
        heads = cls(_decoded(data))
        heads.check(embedder)
        return heads

    def _judgement(self, principle: str, probability: float) -> Judgement:
        calibration = self.calibrations[principle]
        if not calibration.decides:
            return Judgement(principle, 0.0, "uncalibrated", calibration.below, calibration.above)
        decision: Decision = "unsure"
        if probability >= calibration.above:
            decision = "breaks"
        elif probability <= calibration.below:
            decision = "honours"
        return Judgement(principle, probability, decision, calibration.below, calibration.above)

    def _placed(self, vectors: Vectors | None, count: int) -> Vectors:
        if vectors is None or vectors.shape != (count, self.dimension):
            raise WrongEmbedder(f"These heads need one vector of {self.dimension} dimensions for each text.")
        return _centred(vectors, self._centre)

    def _precedents(
        self, text: str, vector: Vectors | None, principle: str, count: int
    ) -> tuple[Precedent, ...]:
        if self.embedder is not None:
            placed = self._placed(None if vector is None else np.atleast_2d(vector), 1)
            alike = (self._vectors @ placed[0]).astype(np.float64)
        else:
            alike = (self._known_rows @ self._rows(0, [text]).T).toarray()[:, 0]
        nearest = np.argsort(-alike, kind="stable")[:count]
        chosen = [(self.clauses[place], float(alike[place])) for place in nearest]
        return tuple(
            Precedent(clause.id, clause.policy, clause.text, principle in clause.breaks, round(similarity, 4))
            for clause, similarity in chosen
        )

    @cached_property
    def _known_rows(self) -> sparse.csr_matrix:
        return self._rows(0, [clause.text for clause in self.clauses])

    def _rows(self, kind: int, texts: Sequence[str]) -> sparse.csr_matrix:
        return self._fitted.grams[kind].rows(self._counters[kind], texts)

    def _telling(self, text: str, column: int, count: int) -> tuple[Gram, ...]:
        row = self._rows(0, [text])
        weights = row.data * self._gram_weights[0][row.indices, column]
        words = self._fitted.grams[0].grams
        heaviest = np.argsort(-np.abs(weights), kind="stable")[:count]
        return tuple(Gram(words[row.indices[place]], round(float(weights[place]), 4)) for place in heaviest)


def fit(
    clauses: Sequence[LabelledClause],
    embedder: Embedder | None,
    *,
    principles: Sequence[str] | None = None,
    vectors: Vectors | None = None,
    reader: Reader | None = None,
) -> Heads:
    """Heads for every principle that a clause breaks. `vectors`, when they are known already, spare the embedding."""
    named = tuple(principles or sorted({principle for clause in clauses for principle in clause.breaks}))
    texts = [clause.text for clause in clauses]
    breaks = np.array([[principle in clause.breaks for principle in named] for clause in clauses])
    name, sha256, dimension = _belongs_to(embedder)
    if embedder is None:
        vectors = np.zeros((len(texts), 0), dtype=np.float32)
    elif vectors is None:
        vectors = embedder.embed(texts)
    parts = parts_of([clause.policy for clause in clauses], PARTS)
    counts = [Counts.of(analyser, texts) for analyser in ANALYSERS]
    seen = _out_of_part(counts, vectors, breaks, parts)
    read = (
        [reader.principles.index(each) if each in reader.principles else -1 for each in named]
        if reader
        else []
    )
    if reader:
        seen += _read_by(reader.unseen(clauses), read)
    natural = np.array([clause.principle is None for clause in clauses])
    calibrations = calibrate(seen, breaks, natural, parts)
    model = _learn(counts, vectors, breaks, np.ones(len(texts), dtype=bool))
    return Heads(
        Fitted(
            format=WITH_READER if reader else ALONE,
            embedder=name,
            model_sha256=sha256,
            dimension=dimension,
            corpus_sha256=corpus_sha256(clauses),
            principles=list(named),
            calibrations=calibrations,
            clauses=list(clauses),
            grams=model.grams,
            gram_weights=[weights.astype("<f2").tobytes() for weights in model.gram_weights],
            bias=model.bias.astype("<f8").tobytes(),
            centre=model.centre.astype("<f4").tobytes(),
            vectors=model.vectors.astype("<f2").tobytes(),
            alphas=model.alphas.astype("<f4").tobytes(),
            reader=reader.model_sha256 if reader else None,
            read=read,
        )
    )


def parts_of(policies: Sequence[str], count: int) -> Integers:
    """For each clause its part. A policy is in one part only; parts are about equally large."""
    names, sizes = np.unique(policies, return_counts=True)
    loads, part = [0] * count, {}
    for place in np.argsort(-sizes, kind="stable"):
        part[names[place]] = loads.index(min(loads))
        loads[part[names[place]]] += int(sizes[place])
    return np.array([part[policy] for policy in policies])


class _Model(msgspec.Struct, frozen=True):
    """Kernel ridge regression, with what is linear in it worked out as weights of n-grams."""

    grams: list[Grams]
    gram_weights: list[Floats]
    bias: Floats
    centre: Vectors
    vectors: Vectors
    alphas: Floats


def _out_of_part(counts: list[Counts], vectors: Vectors, breaks: Booleans, parts: Integers) -> Floats:
    """The score of each clause by a model that has seen none of its policy."""
    scores = np.zeros(breaks.shape)
    for part in np.unique(parts):
        inside = parts == part
        model = _learn(counts, vectors, breaks, ~inside)
        scores[inside] = model.bias + _meaning(vectors[inside], model.centre, model.vectors) @ model.alphas
        for one, grams, weights in zip(counts, model.grams, model.gram_weights, strict=True):
            columns = np.searchsorted(one.grams, grams.grams)
            rarity = np.frombuffer(grams.rarity, "<f4")
            scores[inside] += weigh(one.counts[inside][:, columns], rarity) @ weights
    return scores


def _learn(counts: list[Counts], vectors: Vectors, breaks: Booleans, chosen: Booleans) -> _Model:
    """From the chosen clauses alone."""
    import scipy.linalg  # only who fits has to wait for it

    centre = vectors[chosen].mean(axis=0)
    placed = _centred(vectors[chosen], centre)
    kernel = 1.0 + _likeness(placed, placed)
    learnt, rows = [], []
    for one in counts:
        grams, columns = one.learn(chosen)
        learnt.append(grams)
        rows.append(weigh(one.counts[chosen][:, columns], np.frombuffer(grams.rarity, "<f4")))
        kernel += WORDS * (rows[-1] @ rows[-1].T).toarray()
    kernel[np.diag_indices_from(kernel)] += RIDGE
    alphas = scipy.linalg.solve(kernel, np.where(breaks[chosen], 1.0, -1.0), assume_a="pos")
    weights = [WORDS * (row.T @ alphas) for row in rows]
    return _Model(learnt, weights, alphas.sum(axis=0), centre, placed, alphas)


def _meaning(vectors: Vectors, centre: Vectors, known: Vectors) -> Floats:
    return _likeness(_centred(vectors, centre), known)


def _centred(vectors: Vectors, centre: Vectors) -> Vectors:
    """Away from what all texts share, and of length one again."""
    moved = vectors - centre
    return moved / np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-9)


def _likeness(left: Vectors, right: Vectors) -> Floats:
    """Of meanings: a Gaussian of their distance; nothing at all without an embedder."""
    if not left.shape[1]:
        return np.zeros((len(left), len(right)))
    return MEANING * np.exp(2.0 * (left @ right.T).astype(np.float64) - 2.0)


def _read_by(readings: Vectors, read: Sequence[int]) -> Floats:
    """What a reader adds to scores: nothing to those of principles that it was not trained for."""
    scores = READING * readings[:, list(read)].astype(np.float64)
    scores[:, [place < 0 for place in read]] = 0.0
    return scores


def _belongs_to(embedder: Embedder | None) -> tuple[str | None, str | None, int]:
    return (None, None, 0) if embedder is None else (embedder.name, embedder.model_sha256, embedder.dimension)


def shipped_heads(embedder: Embedder | None) -> Heads:
    """Those that come with the program, fitted to the corpus of our own constitution."""
    heads = _read(SHIPPED / file_name(embedder))
    heads.check(embedder)
    return heads


def file_name(embedder: Embedder | None) -> str:
    return f"{'words' if embedder is None else embedder.name}.heads"


@lru_cache(maxsize=2)
def _read(path: Path) -> Heads:
    if not path.exists():
        raise WrongEmbedder(f"No heads are shipped for {path.stem}: fit some.")
    return Heads(_decoded(path.read_bytes()))


def _decoded(data: bytes) -> Fitted:
    fitted = msgspec.msgpack.decode(zlib.decompress(data), type=Fitted)
    if fitted.format not in {ALONE, WITH_READER}:
        raise WrongEmbedder(
            f"Heads of format {fitted.format} cannot be read; this program knows {ALONE} and {WITH_READER}."
        )
    return fitted
