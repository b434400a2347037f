"""An embedder at an address that speaks OpenAI's embeddings, as Qwen3-Embedding behind vLLM, TEI or Ollama does.

It blocks, for threads (workflows.ports.Embedder). Policy texts are sent to it, so that it is only asked where EMBEDDING_URL
names it. One that is away is left alone for a while; what another model answers in its place is not taken.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence

import httpx
import msgspec
import numpy as np

from portal.settings import Settings
from workflows.errors import Unavailable
from workflows.policy_enforcement.engines.remote import CONNECTING, Breaker, Observe
from workflows.ports import Vectors

AT_ONCE = 32  # texts of one request
SECONDS = 30.0  # for one request
LARGEST_ANSWER = 40_000_000  # bytes: 32 vectors of 4,096 numbers, written out
PATH = "/embeddings"
SERVICE = "embeddings"


class _Item(msgspec.Struct):
    index: int
    embedding: list[float]


class _Answer(msgspec.Struct):
    data: list[_Item]


class EmbeddingEndpoint:
    """`url` is the one below which `/embeddings` lies. The first answer tells the dimension; it may not change."""

    def __init__(self, url: str, model: str, key: str | None = None, observe: Observe | None = None) -> None:
        self.name = model
        self.model_sha256 = hashlib.sha256(f"openai-embeddings\0{model}".encode()).hexdigest()
        self.observe = observe or (lambda *_: None)
        self.breaker = Breaker()
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.client = httpx.Client(base_url=url.rstrip("/"), headers=headers, trust_env=False)
        self._dimension = 0

    @property
    def dimension(self) -> int:
        """Asks the model, the first time. Raises Unavailable."""
        if not self._dimension:
            self.embed(["dimension"])
        return self._dimension

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Raises Unavailable, which says what is wrong."""
        parts = [self._asked(texts[start : start + AT_ONCE]) for start in range(0, len(texts), AT_ONCE)]
        return np.concatenate(parts) if parts else np.zeros((0, self._dimension), dtype=np.float32)

    def close(self) -> None:
        self.client.close()

    def _asked(self, texts: Sequence[str]) -> Vectors:
        if not self.breaker.admits():
            self.observe(SERVICE, "refused", 0.0)
            raise self._unavailable("did not answer several times in a row, and is tried again in a moment")
        started = time.perf_counter()
        outcome = "failed"
        try:
            vectors = self._read(self._post(texts), len(texts))
            outcome = "answered"
            return vectors
        except httpx.TimeoutException:
            outcome = "slow"
            raise self._unavailable("did not answer in time") from None
        except httpx.HTTPError as error:
            raise self._unavailable("does not answer") from error
        finally:
            self.breaker.succeeded() if outcome == "answered" else self.breaker.failed()
            self.observe(SERVICE, outcome, time.perf_counter() - started)

    def _post(self, texts: Sequence[str]) -> bytes:
        asked = {"model": self.name, "input": list(texts), "encoding_format": "float"}
        timeout = httpx.Timeout(SECONDS, connect=CONNECTING)
        with self.client.stream("POST", PATH, json=asked, timeout=timeout) as answer:
            if answer.status_code != 200:
                raise self._unavailable(f"answered {answer.status_code}")
            body = bytearray()
            for part in answer.iter_bytes():
                body += part
                if len(body) > LARGEST_ANSWER:
                    raise self._unavailable(f"answered with more than {LARGEST_ANSWER:,} bytes")
            return bytes(body)

    def _read(self, body: bytes, count: int) -> Vectors:
        try:
            items = msgspec.json.decode(body, type=_Answer).data
            rows = [item.embedding for item in sorted(items, key=lambda item: item.index)]
            vectors = np.array(rows, dtype=np.float32)
        except (msgspec.DecodeError, RecursionError, UnicodeError, ValueError):
            raise self._unavailable("answered with something that is no list of embeddings") from None
        expected = self._dimension or (vectors.shape[1] if vectors.ndim == 2 else 0)
        norms = np.linalg.norm(vectors, axis=-1, keepdims=True) if vectors.ndim == 2 else np.zeros(1)
        if vectors.shape != (count, expected) or not np.isfinite(vectors).all() or not (norms > 0).all():
            raise self._unavailable("answered with vectors that cannot be used")
        self._dimension = expected
        return vectors / norms

    def _unavailable(self, what: str) -> Unavailable:
        return Unavailable(f"The embedding model {self.name} {what}.", code="embeddings_away")


def embedding_endpoints(settings: Settings, observe: Observe | None = None) -> tuple[EmbeddingEndpoint, ...]:
    """That which the settings name; none where they name none."""
    if settings.embedding_url is None:
        return ()
    return (
        EmbeddingEndpoint(settings.embedding_url, settings.embedding_model, settings.embedding_key, observe),
    )


def close_endpoints(endpoints: Sequence[EmbeddingEndpoint]) -> None:
    for endpoint in endpoints:
        endpoint.close()
