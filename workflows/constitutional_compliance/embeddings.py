"""Vectors of texts, each made once: from this process's memory, else from the database, else by the model."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np
import sqlalchemy as sa
import structlog
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import SQLAlchemyError

from workflows.errors import Unavailable
from workflows.policy_enforcement.rulebook import Units
from workflows.ports import Embedder, Vectors
from workflows.storage.tables import embedding

IN_MEMORY = 20_000  # vectors: 30 MB of 384 numbers
AT_ONCE = 1_000  # rows of one statement
HANDS = 2  # threads that embed, so that one long text leaves no core idle

log = structlog.get_logger(__name__)


class Cache(Protocol):
    """Where vectors outlive the process. What is lost there is made anew."""

    async def get(self, model_sha256: str, hashes: Sequence[str]) -> dict[str, bytes]: ...

    async def put(self, model_sha256: str, vectors: dict[str, bytes]) -> None: ...


class Stored:
    """The table `embedding`."""

    def __init__(self, units: Units) -> None:
        self.units = units

    async def get(self, model_sha256: str, hashes: Sequence[str]) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        async with self.units() as unit:
            for start in range(0, len(hashes), AT_ONCE):
                query = sa.select(embedding.c.text_sha256, embedding.c.vector).where(
                    embedding.c.model_sha256 == model_sha256,
                    embedding.c.text_sha256.in_(hashes[start : start + AT_ONCE]),
                )
                found |= {row[0]: row[1] for row in await unit.connection.execute(query)}
        return found

    async def put(self, model_sha256: str, vectors: dict[str, bytes]) -> None:
        async with self.units() as unit:
            rows = [
                {"model_sha256": model_sha256, "text_sha256": key, "vector": body, "made_at": unit.now}
                for key, body in sorted(vectors.items())  # in one order, so that no two wait for each other
            ]
            for start in range(0, len(rows), AT_ONCE):
                await unit.connection.execute(
                    insert(embedding).values(rows[start : start + AT_ONCE]).on_conflict_do_nothing()
                )


class Embeddings:
    """The vectors of one embedder. A cache that is away costs time, nothing else."""

    def __init__(self, embedder: Embedder, cache: Cache | None = None) -> None:
        self.embedder, self.cache = embedder, cache
        self.memory: OrderedDict[str, bytes] = OrderedDict()

    async def of(self, texts: Sequence[str]) -> Vectors:
        """One row a text. Raises Unavailable when a text is new and the model is away."""
        keys = [hashlib.sha256(text.encode()).hexdigest() for text in texts]
        wanted = dict(zip(keys, texts, strict=True))
        found = {key: self.memory[key] for key in wanted if key in self.memory}
        found |= await self._cached([key for key in wanted if key not in found])
        missing = [key for key in wanted if key not in found]
        if missing:
            made = await self._made([wanted[key] for key in missing])
            fresh = {key: row.astype("<f4").tobytes() for key, row in zip(missing, made, strict=True)}
            await self._keep(fresh)
            found |= fresh
        self._remember(found)
        if not keys:
            return np.zeros((0, 0), dtype=np.float32)
        return np.stack([np.frombuffer(found[key], dtype="<f4") for key in keys]).astype(np.float32)

    async def _made(self, texts: list[str]) -> Vectors:
        share = -(-len(texts) // HANDS)
        parts = [texts[start : start + share] for start in range(0, len(texts), share)]
        made = await asyncio.gather(*(asyncio.to_thread(self.embedder.embed, part) for part in parts))
        return np.concatenate(made)

    async def _cached(self, keys: list[str]) -> dict[str, bytes]:
        if self.cache is None or not keys:
            return {}
        try:
            return await self.cache.get(self.embedder.model_sha256, keys)
        except (SQLAlchemyError, OSError, Unavailable) as error:
            log.warning("embeddings_not_read", error=repr(error))
            return {}

    async def _keep(self, fresh: dict[str, bytes]) -> None:
        if self.cache is None:
            return
        try:
            await self.cache.put(self.embedder.model_sha256, fresh)
        except (SQLAlchemyError, OSError, Unavailable) as error:
            log.warning("embeddings_not_kept", error=repr(error))

    def _remember(self, found: dict[str, bytes]) -> None:
        for key, body in found.items():
            self.memory[key] = body
            self.memory.move_to_end(key)
        while len(self.memory) > IN_MEMORY:
            self.memory.popitem(last=False)


def distinct(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(texts))
