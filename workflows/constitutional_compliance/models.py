"""Which embedder reads texts now, with the heads that were fitted for it: the first of the chain that answers.

Each embedder has heads of its own, and no other's are ever used with it. The last of the chain has no embedder at all: its
heads weigh words. Heads that count on a reader are used with that very one. What is in use, and why nothing better is, is
told with each judgement.
"""

from __future__ import annotations

import asyncio
import copy
import zlib
from collections.abc import Sequence
from typing import Protocol

import msgspec
import sqlalchemy as sa
import structlog
from sqlalchemy.exc import SQLAlchemyError

from workflows.constitutional_compliance.embedding import REMEMBERED, packaged
from workflows.constitutional_compliance.embeddings import Cache, Embeddings, distinct
from workflows.constitutional_compliance.heads import Heads, WrongEmbedder, shipped_heads
from workflows.constitutional_compliance.reader import shipped_reader
from workflows.errors import Unavailable
from workflows.policy_enforcement.rulebook import Units
from workflows.ports import Embedder, Vectors
from workflows.storage.tables import classifier, classifier_active

WORDS = "tf-idf"  # the name by which heads without an embedder are kept
TOGETHER = REMEMBERED // 2

log = structlog.get_logger(__name__)


class HeadStore(Protocol):
    """Heads that were fitted here: for other embedders, or again with the labels of people."""

    async def active(self, embedder: str) -> str | None:
        """The hash of those that are to be used with an embedder, if there are any."""
        ...

    async def body(self, sha256: str) -> bytes: ...


class StoredHeads:
    """The tables `classifier` and `classifier_active`."""

    def __init__(self, units: Units) -> None:
        self.units = units

    async def active(self, embedder: str) -> str | None:
        query = sa.select(classifier_active.c.sha256).where(classifier_active.c.embedder == embedder)
        async with self.units() as unit:
            return (await unit.connection.execute(query)).scalar_one_or_none()

    async def body(self, sha256: str) -> bytes:
        query = sa.select(classifier.c.body).where(classifier.c.sha256 == sha256)
        async with self.units() as unit:
            return (await unit.connection.execute(query)).scalar_one()


def names(*embedders: str) -> tuple[str, ...]:
    """Under which heads may be kept: those of embedders elsewhere, of the packaged one, and of none."""
    return (*embedders, packaged().name, WORDS)


class NoHeads:
    """Nothing was fitted here: those that are shipped are used."""

    async def active(self, embedder: str) -> str | None:
        return None

    async def body(self, sha256: str) -> bytes:
        raise KeyError(sha256)


class Using(msgspec.Struct, frozen=True):
    """What reads now. `passed_over`: better ones that do not, each with why, in a sentence."""

    embedder: Embedder | None
    heads: Heads
    passed_over: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.embedder.name if self.embedder else WORDS


class Seen(msgspec.Struct, frozen=True):
    """Texts as the chain sees them: `vectors` and `readings` by text; None without an embedder, and without a reader."""

    using: Using
    vectors: dict[str, Vectors] | None
    readings: dict[str, Vectors] | None = None


class Models:
    """`endpoints`: embedders that are asked before the packaged one, best first."""

    def __init__(
        self, endpoints: Sequence[Embedder] = (), store: HeadStore | None = None, cache: Cache | None = None
    ) -> None:
        self.store = store or NoHeads()
        self.chain = [Embeddings(embedder, cache) for embedder in (*endpoints, packaged())]
        self.readings = Embeddings(shipped_reader(), cache)
        self.kept: dict[str, Heads] = {}  # by hash
        self.outdated: dict[str, str] = {}  # embedders whose heads cannot be used any more, and why
        self.away: dict[str, str] = {}  # embedders that did not answer when they were last asked

    @property
    def wanted(self) -> Embedder:
        """The one that would read if it answered and had heads: that for which heads are to be fitted."""
        return self.chain[0].embedder

    def with_store(self, store: HeadStore) -> Models:
        """The same embedders, with the vectors and heads they have at hand, under heads that are kept elsewhere."""
        other = copy.copy(self)
        other.store = store
        return other

    async def see(self, texts: Sequence[str]) -> Seen:
        """The texts, as the first embedder that answers reads them."""
        passed_over: list[str] = []
        for embeddings in self.chain:
            embedder = embeddings.embedder
            heads = await self._candidate(embedder, passed_over)
            if heads is None:
                continue
            try:
                vectors, readings = await self._read(embeddings, heads, distinct(texts))
            except Unavailable as error:
                self.away[embedder.name] = error.detail
                passed_over.append(f"{embedder.name}: {error.detail}")
                continue
            self.away.pop(embedder.name, None)
            using = Using(embedder, heads, tuple(passed_over))
            return Seen(using, vectors, readings if heads.reader else None)
        return Seen(await self._words(passed_over), None)

    async def _read(
        self, embeddings: Embeddings, heads: Heads, texts: list[str]
    ) -> tuple[dict[str, Vectors], dict[str, Vectors]]:
        """A few hundred texts at a time, so that the packaged model remembers what the reader asks it for."""
        vectors: dict[str, Vectors] = {}
        readings: dict[str, Vectors] = {}
        for start in range(0, len(texts), TOGETHER):
            part = texts[start : start + TOGETHER]
            vectors |= zip(part, await embeddings.of(part), strict=True)
            if heads.reader:
                readings |= zip(part, await self.readings.of(part), strict=True)
        return vectors, readings

    async def using(self) -> list[Using]:
        """Best first, down to what answered when it was last asked."""
        found, passed_over = [], []
        for embeddings in self.chain:
            embedder = embeddings.embedder
            heads = await self._candidate(embedder, passed_over)
            if heads is None:
                continue
            found.append(Using(embedder, heads, tuple(passed_over)))
            if embedder.name not in self.away:
                return found
            passed_over.append(f"{embedder.name}: {self.away[embedder.name]}")
        return [*found, await self._words(passed_over)]

    async def _candidate(self, embedder: Embedder, passed_over: list[str]) -> Heads | None:
        """The heads for an embedder; why there are none, or no better ones, is added to what was passed over."""
        heads = await self.heads_for(embedder)
        if embedder.name in self.outdated:
            passed_over.append(self.outdated[embedder.name])
        elif heads is None:
            passed_over.append(f"{embedder.name}: no heads were fitted for it yet.")
        return heads

    async def heads_for(self, embedder: Embedder | None) -> Heads | None:
        """Those fitted here, else those shipped; None where there are neither."""
        name = embedder.name if embedder else WORDS
        stored = await self._active(name)
        if stored is not None:
            if stored not in self.kept:
                body = await self.store.body(stored)
                self.kept[stored] = await asyncio.to_thread(_read, body, embedder, stored)
            heads = self.kept[stored]
            if heads.reader is None or heads.reader == self.readings.embedder.model_sha256:
                self.outdated.pop(name, None)
                return heads
            self.outdated[name] = (
                f"{name}: its heads {stored[:12]} count on a reader of before; fit them anew."
            )
        if embedder is None or embedder is packaged():
            return await asyncio.to_thread(shipped_heads, embedder)
        return None

    async def _active(self, name: str) -> str | None:
        try:
            return await self.store.active(name)
        except (SQLAlchemyError, OSError) as error:
            raise Unavailable("The heads in use cannot be looked up.", code="heads_away") from error

    async def _words(self, passed_over: list[str]) -> Using:
        heads = await self.heads_for(None)
        assert heads is not None  # they are shipped
        return Using(None, heads, tuple(passed_over))


def _read(body: bytes, embedder: Embedder | None, sha256: str) -> Heads:
    """Heads, if they are the ones that were named and belong to the embedder. Raises Unavailable."""
    try:
        heads = Heads.from_bytes(body, embedder)
    except (WrongEmbedder, msgspec.DecodeError, zlib.error) as error:
        raise Unavailable(f"The heads {sha256[:12]} cannot be used: {error}", code="heads_away") from error
    if heads.sha256 != sha256:
        raise Unavailable(f"The heads {sha256[:12]} are not the ones that are named so.", code="heads_away")
    return heads
