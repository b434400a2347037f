"""What a reader is bound to, that it says of a text what it was trained to say, and how one is trained."""

from __future__ import annotations

import os
from collections.abc import Sequence
from types import ModuleType

import msgspec
import numpy as np
import pytest

from workflows.constitutional_compliance import corpus, heads, reader
from workflows.constitutional_compliance.corpus import LabelledClause, identity
from workflows.constitutional_compliance.embedding import packaged
from workflows.constitutional_compliance.heads import Heads, fit
from workflows.constitutional_compliance.reader import Matrix, Reader, WrongReader, shipped_reader

TEXTS = [
    "The office deletes the log of every grant.",
    "No office may delete the log of a grant.",
    "",
    "Ёлка 木 " + "x" * 300,
]


@pytest.fixture(scope="module")
def training() -> ModuleType:
    """Needs PyTorch (`make fitting`), which is no part of what the portal needs."""
    if "CI" not in os.environ:
        pytest.importorskip("torch", reason="make fitting brings it")
    from workflows.constitutional_compliance import reader_training

    return reader_training


def clause(policy: str, text: str, *breaks: str) -> LabelledClause:
    return LabelledClause(identity(policy, text), None, policy, "plain", breaks, text)


def swapped() -> list[LabelledClause]:
    """Breaches and near misses of the same words: who oversees whom is in their order alone."""
    above, below = ("council", "court", "auditors", "members"), ("board", "office", "chair", "staff")
    clauses = []
    for one in above:
        for other in below:
            policy = f"{one} and {other}"
            clauses.append(clause(policy, f"The {other} oversees the {one}.", "human_control"))
            clauses.append(clause(policy, f"The {one} oversees the {other}."))
    return clauses


def test_a_reader_comes_back_from_bytes_as_it_was():
    there = shipped_reader()
    again = Reader.from_bytes(there.to_bytes(), packaged())
    assert again.model_sha256 == there.model_sha256
    assert np.array_equal(again.embed(TEXTS), there.embed(TEXTS))


def test_what_it_says_of_a_text_does_not_depend_on_the_others():
    there = shipped_reader()
    texts = [*TEXTS, *(clause.text for clause in corpus.shipped()[: reader.AT_ONCE])]
    together = there.embed(texts)
    assert together.shape == (len(texts), len(there.principles))
    assert np.isfinite(together).all()
    for row, text in enumerate(texts):
        assert np.allclose(there.embed([text])[0], together[row], atol=1e-4)
    assert there.embed([]).shape == (0, len(there.principles))


def test_it_is_refused_on_another_model_and_in_another_format():
    class Other(type(packaged())):
        model_sha256 = "ab" * 32

    with pytest.raises(WrongReader, match="abababab"):
        Reader.from_bytes(shipped_reader().to_bytes(), Other())
    later = Reader(msgspec.structs.replace(shipped_reader()._trained, format=9), packaged())
    with pytest.raises(WrongReader, match="format 9"):
        Reader.from_bytes(later.to_bytes(), packaged())


def test_the_shipped_one_has_seen_what_may_be_seen_and_nothing_held():
    there, fit_part = shipped_reader(), corpus.shipped_fit_part()
    assert there.corpus_sha256 == corpus.corpus_sha256(fit_part)
    assert set(there._trained.unseen) == {one.id for one in fit_part}
    assert not {one.id for one in corpus.held_part(corpus.shipped())} & set(there._trained.unseen)


def test_of_clauses_it_was_trained_on_it_tells_what_others_said_that_had_not_seen_them():
    there, known = shipped_reader(), list(corpus.shipped_fit_part()[:40])
    new = clause("nobody's", "Nobody may look at the votes of others.")
    said = there.unseen([*known, new])
    assert np.array_equal(said[-1], there.embed([new.text])[0])
    its_own = there.embed([one.text for one in known])
    assert not np.allclose(said[:-1], its_own, atol=0.05)
    truth = np.array([[key in one.breaks for key in there.principles] for one in known])
    assert loss(its_own, truth) < loss(said[:-1], truth)  # it remembers; that is why it may not be asked


def loss(scores: np.ndarray, truth: np.ndarray) -> float:
    return float(np.logaddexp(0, np.where(truth, -scores, scores)).mean())


def test_heads_that_count_on_a_reader_are_not_used_without_it():
    known = swapped()
    counting = fit(known, packaged(), reader=shipped_reader())
    vectors = packaged().embed(TEXTS)
    with pytest.raises(WrongReader):
        counting.judge(TEXTS, vectors)
    with pytest.raises(WrongReader):
        counting.judge(TEXTS, vectors, shipped_reader().embed(TEXTS[:2]))
    again = Heads.from_bytes(counting.to_bytes(), packaged())
    assert (again.reader, again.sha256) == (shipped_reader().model_sha256, counting.sha256)
    assert again.judge(TEXTS, vectors, shipped_reader().embed(TEXTS))


def test_a_principle_that_the_reader_was_not_trained_for_is_judged_without_it():
    known = [*swapped(), clause("tea", "Tea is served without biscuits.", "biscuits")]
    without, counting = fit(known, packaged()), fit(known, packaged(), reader=shipped_reader())
    vectors, readings = packaged().embed(TEXTS), shipped_reader().embed(TEXTS)
    column = counting.principles.index("biscuits")
    place = shipped_reader().principles.index("human_control")
    added = counting.scores(TEXTS, vectors, readings) - without.scores(TEXTS, vectors)
    assert np.allclose(added[:, column], 0)
    assert np.allclose(added[:, 1 - column], heads.READING * readings[:, place], atol=1e-6)


def test_heads_without_a_reader_are_stored_as_they_were_before_there_were_readers():
    names = msgspec.msgpack.decode(msgspec.msgpack.encode(fit(swapped(), None)._fitted))
    assert names["format"] == heads.ALONE
    assert not {"reader", "read"} & set(names)


def test_numbers_from_minus_127_to_127_say_nearly_what_the_weights_said():
    weights = np.random.default_rng(0).normal(size=(40, 7)).astype(np.float32)
    weights[:, 3] = 0
    kept = Matrix.of(weights).weights()
    assert (np.abs(kept - weights) <= np.abs(weights).max(axis=0) / 254 + 1e-6).all()


def test_with_the_packaged_weights_it_is_the_packaged_model(training: ModuleType):
    weights = training.packaged_weights()
    texts = [
        "Members may propose a policy, but the board decides whether it is put to the vote.",
        "They vote.",
    ]
    bare = Reader(shipped_reader()._trained, packaged())
    bare._matrices = {name: value for name, value in weights.items() if value.ndim == 2}
    bare._vectors = {name: value for name, value in weights.items() if value.ndim == 1}
    halves = list(packaged().halfway(texts))
    rows, ends = np.concatenate(halves), np.array([len(halves[0])])
    for layer in reader.LAYERS:
        rows = bare._layer(f"layer.{layer}.", rows, ends)
    for own, vector in zip(np.split(rows, ends), packaged().embed(texts), strict=True):
        mean = own.mean(axis=0)
        assert np.allclose(mean / np.linalg.norm(mean), vector, atol=1e-4)


def test_training_learns_the_order_of_words_and_gives_the_same_reader_twice(
    training: ModuleType, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(training, "FOLDS", 2)
    monkeypatch.setattr(training, "EPOCHS", 30)
    monkeypatch.setattr(training, "RATE", 3e-4)
    known = swapped()
    made = train_here(training, known, monkeypatch)
    new = ["The clerks oversee the council.", "The council oversees the clerks."]
    bad, good = made.embed(new)[:, 0]
    assert bad > good
    scores = made.embed([one.text for one in known])[:, 0]
    broken = np.array([bool(one.breaks) for one in known])
    assert ((scores > 0) == broken).all()
    assert train_here(training, known, monkeypatch).model_sha256 == made.model_sha256


def train_here(
    training: ModuleType, known: Sequence[LabelledClause], monkeypatch: pytest.MonkeyPatch
) -> Reader:
    """In this process: those that are spawned would not know what was set for this test."""

    class Here:
        def __init__(self, *_: object) -> None: ...
        def __enter__(self) -> Here:
            return self

        def __exit__(self, *_: object) -> None: ...

        map = staticmethod(map)

    monkeypatch.setattr(training, "ProcessPoolExecutor", Here)
    return training.train(known, ["human_control"])


def test_what_its_file_keeps_of_clauses_not_seen_tells_breaches_from_the_rest():
    """Far better than chance; with rows or columns in another order it would not."""
    there, known = shipped_reader(), [one for one in corpus.shipped_fit_part() if one.principle is None]
    said = there.unseen(known)
    truth = np.array([[key in one.breaks for key in there.principles] for one in known])
    order = np.argsort(np.argsort(said.ravel()))
    broken = truth.ravel()
    count = broken.sum()
    area = (order[broken].sum() - count * (count - 1) / 2) / (count * (~broken).sum())
    assert area > 0.9
