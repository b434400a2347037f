"""Embeddings by endpoint, from a real server: what is taken, what is not, how the chain falls back and comes back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from functools import partial

import msgspec
import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from portal import models as endpoints
from portal.database import begin_unit, create_engine
from portal.models import EmbeddingEndpoint
from tests.conftest import arranged
from tests.portal.embedding_server import EmbeddingServer
from workflows.constitution.document import load
from workflows.constitutional_compliance.analysis import LocalJudge
from workflows.constitutional_compliance.corpus import LabelledClause, shipped_fit_part
from workflows.constitutional_compliance.embedding import packaged
from workflows.constitutional_compliance.embeddings import Embeddings, Stored
from workflows.constitutional_compliance.findings import Result, Subject
from workflows.constitutional_compliance.heads import Heads, fit, shipped_heads
from workflows.constitutional_compliance.models import WORDS, Models, StoredHeads
from workflows.constitutional_compliance.reader import Reader, shipped_reader
from workflows.errors import Unavailable
from workflows.storage.tables import classifier, classifier_active, embedding
from workflows.storage.unit import Unit

pytestmark = pytest.mark.anyio
CONSTITUTION = load()
TEXT = "Minutes of each meeting are published within three days, with the decisions on top."


@pytest.fixture
def server() -> Iterator[EmbeddingServer]:
    server = EmbeddingServer()
    yield server
    server.close()


@pytest.fixture
def endpoint(server: EmbeddingServer) -> Iterator[EmbeddingEndpoint]:
    endpoint = EmbeddingEndpoint(server.url, "test/model", "k" * 40)
    yield endpoint
    endpoint.close()


Units = Callable[[], AbstractAsyncContextManager[Unit]]


@pytest.fixture
async def units(fresh_database: str) -> AsyncIterator[Units]:
    engine = create_engine(fresh_database)
    yield partial(begin_unit, engine, constitution=CONSTITUTION)
    await engine.dispose()


def test_vectors_have_length_one_and_stand_in_order(
    server: EmbeddingServer, endpoint: EmbeddingEndpoint
) -> None:
    texts = [f"Clause number {number} is about tea." for number in range(40)]
    vectors = endpoint.embed(texts)
    assert np.allclose(vectors, packaged().embed(texts), atol=1e-5)
    assert (endpoint.dimension, server.texts) == (384, 40)
    assert set(server.keys) == {f"Bearer {'k' * 40}"}
    assert endpoint.embed([]).shape == (0, 384)


@pytest.mark.parametrize("how", ["failing", "nonsense", "short", "nan", "zero", "slow"])
def test_what_is_no_answer_is_not_taken(
    server: EmbeddingServer, endpoint: EmbeddingEndpoint, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoints, "SECONDS", 0.5)
    server.answers = how
    with pytest.raises(Unavailable, match="test/model"):
        endpoint.embed([TEXT, "Tea is served."])


def test_another_length_is_not_taken(endpoint: EmbeddingEndpoint) -> None:
    endpoint.embed([TEXT])
    endpoint._dimension = 1024
    with pytest.raises(Unavailable, match="cannot be used"):
        endpoint.embed([TEXT])


def test_one_that_is_away_is_left_alone_for_a_while(
    server: EmbeddingServer, endpoint: EmbeddingEndpoint
) -> None:
    server.answers = "failing"
    for _ in range(6):
        with pytest.raises(Unavailable) as refusal:
            endpoint.embed([TEXT])
    assert "in a row" in refusal.value.detail
    assert server.texts == 5


async def test_each_text_is_embedded_once(
    server: EmbeddingServer, endpoint: EmbeddingEndpoint, units: Units
) -> None:
    texts = [TEXT, "Tea is served.", TEXT]
    first = await Embeddings(endpoint, Stored(units)).of(texts)
    assert server.texts == 2
    again = await Embeddings(endpoint, Stored(units)).of(texts)  # another process: nothing in its memory
    assert server.texts == 2 and np.array_equal(first, again)
    async with units() as unit:
        models = set((await unit.connection.execute(sa.select(embedding.c.model_sha256))).scalars())
    assert models == {endpoint.model_sha256}
    server.answers = "failing"
    assert np.array_equal(await Embeddings(endpoint, Stored(units)).of(texts), first), (
        "what is known needs no model"
    )
    with pytest.raises(Unavailable):
        await Embeddings(endpoint, Stored(units)).of(["Something new is said."])


async def test_a_cache_that_is_away_costs_time_only(endpoint: EmbeddingEndpoint) -> None:
    class Away(Stored):
        async def get(self, *_: object) -> dict[str, bytes]:
            raise Unavailable("The database does not answer.")

        put = get

    found = await Embeddings(endpoint, Away(lambda: None)).of([TEXT])
    assert np.allclose(found, packaged().embed([TEXT]), atol=1e-5)


def few() -> list[LabelledClause]:
    """Enough to fit heads that can be told apart, in a moment."""
    return [clause for place, clause in enumerate(shipped_fit_part()) if place % 20 == 0]


@pytest.fixture(scope="module")
def fitted() -> Callable[[EmbeddingEndpoint], Heads]:
    """Heads for the server's model, fitted once."""
    vectors = packaged().embed([clause.text for clause in few()])
    return lambda endpoint: fit(few(), endpoint, vectors=vectors)


async def keep(units: Units, name: str, heads: Heads) -> None:
    async with units() as unit:
        values = {"sha256": heads.sha256, "embedder": name, "corpus_sha256": heads.corpus_sha256, "labels": 0,
                  "body": heads.to_bytes(), "measured": {}, "fitted_at": unit.now}  # fmt: skip
        await unit.connection.execute(classifier.insert().values(values))
        active = {"embedder": name, "sha256": heads.sha256, "activated_at": unit.now}
        await unit.connection.execute(classifier_active.insert().values(active))
        await arranged(unit.connection)


async def judged(judge: LocalJudge, text: str = TEXT) -> Result:
    (result,) = await judge.judge(CONSTITUTION, [Subject("Minutes", text)])
    assert isinstance(result, Result)
    return result


def by_name(result: Result) -> dict[str, object]:
    return {analyser.name: analyser for analyser in result.analysers}


async def test_an_endpoint_without_heads_of_its_own_is_passed_over(
    endpoint: EmbeddingEndpoint, units: Units
) -> None:
    judge = LocalJudge(Models([endpoint], StoredHeads(units), Stored(units)))
    result = await judged(judge)
    assert judge.models.wanted is endpoint, "a fit is for it"
    told = by_name(result)["classifier"]
    assert packaged().name in told.model and "test/model: no heads were fitted for it yet." in told.why


async def test_heads_of_the_endpoint_are_used_while_it_answers(
    server: EmbeddingServer,
    endpoint: EmbeddingEndpoint,
    units: Units,
    fitted: Callable[[EmbeddingEndpoint], Heads],
) -> None:
    heads = fitted(endpoint)
    await keep(units, endpoint.name, heads)
    judge = LocalJudge(Models([endpoint], StoredHeads(units), Stored(units)))
    first = await judged(judge)
    assert first.basis_sha256 == await judge.basis(CONSTITUTION)
    told = by_name(first)
    assert heads.sha256[:12] in told["classifier"].model and told["semantic"].model.startswith("test/model")
    server.answers = "failing"
    second = await judged(judge, "Something entirely new is said about tea in the garden.")
    told = by_name(second)
    assert packaged().name in told["classifier"].model and "answered 500" in told["classifier"].why
    assert second.basis_sha256 == await judge.basis(CONSTITUTION) != first.basis_sha256
    assert await judge.stands(CONSTITUTION, first.basis_sha256), "what the better one judged is not made anew"
    assert await judge.stands(CONSTITUTION, second.basis_sha256)
    server.answers = "well"
    endpoint.breaker.succeeded()
    third = await judged(judge)
    assert third.basis_sha256 == first.basis_sha256
    assert not await judge.stands(CONSTITUTION, second.basis_sha256), "the fallback's is"
    assert not await judge.stands(CONSTITUTION, "0" * 64)


async def test_heads_fitted_again_take_the_place_of_those_shipped(units: Units) -> None:
    judge = LocalJudge(Models((), StoredHeads(units)))
    before = await judge.basis(CONSTITUTION)
    again = fit(few(), None)
    await keep(units, WORDS, again)
    assert await judge.basis(CONSTITUTION) == before, "those of another embedder change nothing"
    heads = fit(few(), packaged(), vectors=packaged().embed([clause.text for clause in few()]))
    await keep(units, packaged().name, heads)
    assert await judge.basis(CONSTITUTION) != before
    assert heads.sha256[:12] in by_name(await judged(judge))["classifier"].model


async def test_heads_that_count_on_a_reader_of_before_give_way_to_those_shipped(units: Units) -> None:
    before = Reader(msgspec.structs.replace(shipped_reader()._trained, corpus_sha256="0" * 64), packaged())
    vectors = packaged().embed([clause.text for clause in few()])
    heads = fit(few(), packaged(), vectors=vectors, reader=before)
    await keep(units, packaged().name, heads)
    judge = LocalJudge(Models((), StoredHeads(units)))
    told = by_name(await judged(judge))["classifier"]
    assert shipped_heads(packaged()).sha256[:12] in told.model
    assert f"its heads {heads.sha256[:12]} count on a reader of before" in told.why
    assert await judge.basis(CONSTITUTION) == await LocalJudge(Models()).basis(CONSTITUTION)


async def test_heads_of_an_endpoint_count_on_the_reader_too(
    endpoint: EmbeddingEndpoint, units: Units
) -> None:
    vectors = packaged().embed([clause.text for clause in few()])
    heads = fit(few(), endpoint, vectors=vectors, reader=shipped_reader())
    await keep(units, endpoint.name, heads)
    judge = LocalJudge(Models([endpoint], StoredHeads(units), Stored(units)))
    told = by_name(await judged(judge))["classifier"]
    assert f"on test/model and reader@{shipped_reader().model_sha256[:12]}" in told.model
    async with units() as unit:  # what the reader said is kept as vectors are
        kept = await unit.connection.execute(
            sa.select(embedding.c.vector).where(embedding.c.model_sha256 == shipped_reader().model_sha256)
        )
        assert {len(row[0]) for row in kept} == {4 * len(shipped_reader().principles)}


async def test_heads_that_are_not_what_they_are_named_are_not_used(units: Units) -> None:
    heads = fit(few(), None)
    async with units() as unit:
        values = {"sha256": "a" * 64, "embedder": packaged().name, "corpus_sha256": heads.corpus_sha256, "labels": 0,
                  "body": heads.to_bytes(), "measured": {}, "fitted_at": unit.now}  # fmt: skip
        await unit.connection.execute(classifier.insert().values(values))
        active = {"embedder": packaged().name, "sha256": "a" * 64, "activated_at": unit.now}
        await unit.connection.execute(classifier_active.insert().values(active))
        await arranged(unit.connection)
    with pytest.raises(Unavailable, match="cannot be used"):
        await judged(LocalJudge(Models((), StoredHeads(units))))


async def test_the_last_of_the_chain_weighs_words(monkeypatch: pytest.MonkeyPatch) -> None:
    judge = LocalJudge(Models())

    def away(*_: object) -> None:
        raise Unavailable("The packaged model cannot be loaded.")

    monkeypatch.setattr(judge.models.chain[0].embedder.__class__, "embed", away)
    told = by_name(await judged(judge, "A sentence that nobody embedded before."))
    assert WORDS in told["classifier"].model and "cannot be loaded" in told["classifier"].why
    assert not told["semantic"].present and "No embedder" in told["semantic"].why


@settings(max_examples=30, deadline=None)
@given(st.binary(max_size=200))
def test_no_body_breaks_the_reading(body: bytes) -> None:
    endpoint = EmbeddingEndpoint("http://127.0.0.1:9/v1", "test/model")
    try:
        endpoint._read(body, 1)
    except Unavailable as error:
        assert "test/model" in error.detail
