"""Fits the classifier anew, with what people said of clauses, and puts it to use where it is no worse on texts it never saw.

Fitting takes its time and happens outside any transaction. Labels of policies that are held back are never fitted to, as
clauses of the shipped corpus are not: by them old and new heads are measured alike.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from workflows.constitutional_compliance import corpus, labels, queries
from workflows.constitutional_compliance.asking import TOPIC
from workflows.constitutional_compliance.corpus import LabelledClause
from workflows.constitutional_compliance.evaluation import Report, evaluate
from workflows.constitutional_compliance.heads import Heads, fit, shipped_heads
from workflows.constitutional_compliance.reader import shipped_reader
from workflows.constitutional_compliance.validations import Units
from workflows.constitutional_compliance.views import LabelView
from workflows.kinds import LabelKind
from workflows.ports import Embedder, Vectors
from workflows.roles import insist, may_operate
from workflows.storage.tables import classifier, classifier_active
from workflows.storage.unit import Unit

JOB = "classifier"
WORDS = "tf-idf"  # the name of heads that need no embedder


class Fitted(msgspec.Struct, frozen=True):
    """New heads, how they do on the held part, and how those do that were in use."""

    heads: Heads
    report: Report
    before: Report
    labels: int

    @property
    def no_worse(self) -> bool:
        """Within the interval of what was in use: less would be a step back that people's labels do not excuse."""
        return self.report.accuracy.value >= self.before.accuracy.low


async def request(unit: Unit) -> None:
    """Have it fitted anew by the worker. For operators."""
    insist(may_operate(unit.actor))
    await unit.record("classifier.requested", "classifier")
    await unit.enqueue(JOB, {})


async def refit(
    units: Units, embedder: Embedder | None, shipped: Sequence[LabelledClause] | None = None
) -> Fitted:
    """Fit heads for an embedder, measure them, keep them, and put them to use if they are no worse; all of it entered."""
    async with units() as unit:
        said = await queries.all_labels(unit.connection)
        in_use = await _active(unit, embedder)
    clauses = list(shipped) if shipped is not None else corpus.shipped()
    fitted = await asyncio.to_thread(_fit, clauses, said, embedder, in_use)
    async with units() as unit:
        await _keep(unit, embedder, fitted)
    return fitted


async def _active(unit: Unit, embedder: Embedder | None) -> bytes | None:
    a, c = classifier_active.c, classifier.c
    query = (
        sa.select(c.body).join(classifier_active, a.sha256 == c.sha256).where(a.embedder == _name(embedder))
    )
    return (await unit.connection.execute(query)).scalar_one_or_none()


def _name(embedder: Embedder | None) -> str:
    return embedder.name if embedder else WORDS


def _fit(
    shipped: list[LabelledClause], said: list[LabelView], embedder: Embedder | None, in_use: bytes | None
) -> Fitted:
    clauses = [*shipped, *as_clauses(said)]
    fit_part, held = corpus.fit_part(clauses), corpus.held_part(clauses)
    principles = sorted({principle for clause in shipped for principle in clause.breaks})
    heads = fit(fit_part, embedder, principles=principles, reader=shipped_reader() if embedder else None)
    current = _usable(in_use, embedder) or _before(shipped, embedder, principles)
    texts = [clause.text for clause in held]
    vectors = embedder.embed(texts) if embedder else None
    readings = shipped_reader().embed(texts) if embedder else None
    report, before = (measure(one, held, vectors, readings) for one in (heads, current))
    return Fitted(heads, report, before, len(said))


def _usable(in_use: bytes | None, embedder: Embedder | None) -> Heads | None:
    """None for heads that count on a reader of before: what they say cannot be measured any more."""
    heads = Heads.from_bytes(in_use, embedder) if in_use else None
    return heads if heads and heads.reader in {None, shipped_reader().model_sha256} else None


def _before(shipped: list[LabelledClause], embedder: Embedder | None, principles: list[str]) -> Heads:
    """The heads that were shipped; of another embedder, or of another corpus, those that are fitted without any label."""
    heads = (
        shipped_heads(embedder) if embedder is None or embedder.name == "all-MiniLM-L6-v2-onnx-int8" else None
    )
    part = corpus.fit_part(shipped)
    if heads is not None and heads.corpus_sha256 == corpus.corpus_sha256(part):
        return heads
    return fit(part, embedder, principles=principles, reader=shipped_reader() if embedder else None)


def as_clauses(said: Sequence[LabelView]) -> list[LabelledClause]:
    """People's labels as clauses of a corpus, each text once, with all principles that it is said to break."""
    broken: dict[tuple[str, str], set[str]] = {}
    about: dict[tuple[str, str], str] = {}
    for each in labels.consolidated(said):
        key = (each.policy_ref, each.text)
        about.setdefault(key, each.principle)
        broken.setdefault(key, set())
        if each.label == LabelKind.BREAKS:
            broken[key].add(each.principle)
    return [
        LabelledClause(
            id=corpus.identity(policy, text),
            principle=about[policy, text],
            policy=policy,
            kind="people",
            breaks=tuple(sorted(principles)),
            text=text,
        )
        for (policy, text), principles in broken.items()
    ]


def measure(
    heads: Heads, held: Sequence[LabelledClause], vectors: Vectors | None, readings: Vectors | None
) -> Report:
    """How heads do on clauses of policies that no fitting saw."""
    return evaluate(
        heads.principles,
        heads.probabilities([clause.text for clause in held], vectors, readings),
        np.array([[principle in clause.breaks for principle in heads.principles] for clause in held]),
        [clause.policy for clause in held],
        [heads.calibrations[principle] for principle in heads.principles],
    )


async def _keep(unit: Unit, embedder: Embedder | None, fitted: Fitted) -> None:
    name, sha256 = _name(embedder), fitted.heads.sha256
    measured: dict[str, Any] = msgspec.to_builtins(fitted.report)
    values = {
        "sha256": sha256,
        "embedder": name,
        "corpus_sha256": fitted.heads.corpus_sha256,
        "labels": fitted.labels,
        "body": fitted.heads.to_bytes(),
        "measured": measured,
        "fitted_at": unit.now,
    }
    await unit.connection.execute(insert(classifier).values(values).on_conflict_do_nothing())
    entered = {
        "classifier_sha256": sha256,
        "embedder": name,
        "labels": fitted.labels,
        "accuracy_percent": fitted.report.accuracy.value,
        "before_percent": fitted.before.accuracy.value,
    }
    if not fitted.no_worse:
        await unit.record("classifier.left_out", "classifier", **entered)
        return
    active = {"embedder": name, "sha256": sha256, "activated_at": unit.now}
    statement = insert(classifier_active).values(active)
    await unit.connection.execute(statement.on_conflict_do_update(index_elements=["embedder"], set_=active))
    await unit.record("classifier.activated", "classifier", **entered)
    unit.publish(TOPIC, "classifier")
