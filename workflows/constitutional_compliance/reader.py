"""Reads a clause in the order of its words: the upper half of the packaged MiniLM, trained on labelled clauses.

Heads weigh which words a clause has; who may do what to whom is in their order. The lower three layers are the packaged
model's own, so that a reader is five megabytes and needs nothing that was not there before. `reader_training` makes one.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from workflows.constitutional_compliance.corpus import LabelledClause
from workflows.constitutional_compliance.embedding import HALF, THREADS, MiniLM, packaged
from workflows.errors import Conflict
from workflows.ports import Vectors

FORMAT = 1
LAYERS = range(HALF, 6)
ATTENDING = 12  # heads of attention in each layer
AT_ONCE = 32  # texts of which each matrix is multiplied once
PARTS = ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense",
         "intermediate.dense", "output.dense")  # fmt: skip
NORMS = ("attention.output.LayerNorm", "output.LayerNorm")
ANSWER = "answer"  # the last matrix: from mean and maximum of a clause's pieces to a score a principle
SHIPPED = Path(__file__).parent / "fitted" / "all-MiniLM-L6-v2-onnx-int8.reader"


class WrongReader(Conflict):
    """What was trained on top of one model says nothing on top of another."""

    code, title = "wrong_reader", "This reader belongs to another model"


class Matrix(msgspec.Struct, frozen=True):
    """Columns of whole numbers from -127 to 127, each with the scale that makes them weights again."""

    columns: int
    scales: bytes  # float32
    numbers: bytes  # int8, row by row

    @classmethod
    def of(cls, weights: npt.NDArray[np.float32]) -> Matrix:
        scales = np.maximum(np.abs(weights).max(axis=0), 1e-12) / 127
        numbers = np.round(weights / scales).astype(np.int8)
        return cls(weights.shape[1], scales.astype("<f4").tobytes(), numbers.tobytes())

    def weights(self) -> npt.NDArray[np.float32]:
        numbers = np.frombuffer(self.numbers, np.int8).reshape(-1, self.columns)
        return numbers * np.frombuffer(self.scales, "<f4")


class Trained(msgspec.Struct, frozen=True):
    """All that a reader is, as it is stored.

    `unseen`: for each clause it was trained on, by identity, the scores (float16) of readers trained without its policy.
    What it says itself of them is no measure of anything.
    """

    format: int
    base_sha256: str
    principles: list[str]
    corpus_sha256: str
    matrices: dict[str, Matrix]
    vectors: dict[str, bytes]  # float32: biases, and the scales of norms
    unseen: dict[str, bytes]


class Reader:
    """One score a principle: above 0 it rather breaks it. Shaped as an embedder, so that what it says can be kept alike."""

    name = "reader"

    def __init__(self, trained: Trained, base: MiniLM) -> None:
        if trained.base_sha256 != base.model_sha256:
            raise WrongReader(
                f"The reader was trained on the model {trained.base_sha256[:12]} and cannot read what "
                f"{base.model_sha256[:12]} makes of a text."
            )
        self._trained, self._base = trained, base
        self.principles = tuple(trained.principles)
        self.corpus_sha256 = trained.corpus_sha256
        self.dimension = len(self.principles)
        self._matrices = {name: matrix.weights() for name, matrix in trained.matrices.items()}
        self._vectors = {name: np.frombuffer(body, "<f4") for name, body in trained.vectors.items()}

    @cached_property
    def model_sha256(self) -> str:
        return hashlib.sha256(msgspec.msgpack.encode(self._trained)).hexdigest()

    def embed(self, texts: Sequence[str]) -> Vectors:
        """One row a text, one column a principle. It takes its time: not for the event loop."""
        answers = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for start in range(0, len(texts), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            answers[part] = self._answers(list(self._base.halfway(texts[part])))
        return answers

    def unseen(self, clauses: Sequence[LabelledClause]) -> Vectors:
        """As `embed`, of clauses that it may have been trained on: by readers that had not seen the clause's policy."""
        known = self._trained.unseen
        fresh = iter(self.embed([clause.text for clause in clauses if clause.id not in known]))
        rows = [
            np.frombuffer(known[clause.id], "<f2") if clause.id in known else next(fresh)
            for clause in clauses
        ]
        return np.array(rows, dtype=np.float32).reshape(-1, self.dimension)

    def to_bytes(self) -> bytes:
        return zlib.compress(msgspec.msgpack.encode(self._trained), 9)

    @classmethod
    def from_bytes(cls, data: bytes, base: MiniLM) -> Reader:
        trained = msgspec.msgpack.decode(zlib.decompress(data), type=Trained)
        if trained.format != FORMAT:
            raise WrongReader(
                f"A reader of format {trained.format} cannot be read; this program writes {FORMAT}."
            )
        return cls(trained, base)

    def _answers(self, texts: Sequence[Vectors]) -> Vectors:
        """One row a text, of the rows of its pieces. Only attention asks which pieces are of one text."""
        ends = np.cumsum([len(pieces) for pieces in texts])[:-1]
        rows = np.concatenate(texts)
        for layer in LAYERS:
            rows = self._layer(f"layer.{layer}.", rows, ends)
        return np.stack([self._answer(own) for own in np.split(rows, ends)])

    def _answer(self, pieces: Vectors) -> Vectors:
        return self._times(ANSWER, np.concatenate([pieces.mean(axis=0), pieces.max(axis=0)]))

    def _layer(self, at: str, rows: Vectors, ends: npt.NDArray[np.intp]) -> Vectors:
        """One layer of BERT (Devlin et al. 2019, figure 1; Vaswani et al. 2017, section 3)."""
        asked = (np.split(self._times(at + part, rows), ends) for part in PARTS[:3])
        attended = np.concatenate([_attend(*own) for own in zip(*asked, strict=True)])
        rows = self._norm(at + NORMS[0], rows + self._times(at + PARTS[3], attended))
        wide = _gelu(self._times(at + PARTS[4], rows))
        return self._norm(at + NORMS[1], rows + self._times(at + PARTS[5], wide))

    def _times(self, name: str, rows: Vectors) -> Vectors:
        return rows @ self._matrices[name] + self._vectors[f"{name}.bias"]

    def _norm(self, name: str, rows: Vectors) -> Vectors:
        centred = rows - rows.mean(axis=-1, keepdims=True)
        spread = np.sqrt((centred * centred).mean(axis=-1, keepdims=True) + 1e-12)
        return centred / spread * self._vectors[f"{name}.weight"] + self._vectors[f"{name}.bias"]


def _attend(query: Vectors, key: Vectors, value: Vectors) -> Vectors:
    """What each piece of a text takes from the others."""
    query, key, value = _by_head(query), _by_head(key), _by_head(value)
    weights = _softmax(query @ key.transpose(0, 2, 1) / np.sqrt(np.float32(query.shape[-1])))
    return (weights @ value).transpose(1, 0, 2).reshape(query.shape[1], -1)


def _by_head(rows: Vectors) -> Vectors:
    return rows.reshape(len(rows), ATTENDING, -1).transpose(1, 0, 2)


def _softmax(rows: Vectors) -> Vectors:
    powers = np.exp(rows - rows.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def _gelu(rows: Vectors) -> Vectors:
    from scipy.special import erf  # takes its time to import; who reads nothing need not wait

    return rows * 0.5 * (1.0 + erf(rows * np.float32(0.5**0.5)))


@lru_cache(maxsize=1)
def shipped_reader() -> Reader:
    """The one that comes with the program, trained on the corpus of our own constitution.

    From then on NumPy multiplies on one thread in this process: texts are shared out to one thread a core already, and
    threads within those wait for each other.
    """
    threadpool_limits(THREADS, "blas")
    return Reader.from_bytes(SHIPPED.read_bytes(), packaged())
