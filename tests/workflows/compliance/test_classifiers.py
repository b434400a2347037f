"""Labels of people teach the classifier; what was held back is never fitted to, and what does worse is not put to use."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from tests.judging import Says, finding
from workflows.constitutional_compliance import (
    classifiers,
    corpus,
    labels,
    queries,
    questions,
    validations,
)
from workflows.constitutional_compliance.evaluation import Figure
from workflows.constitutional_compliance.heads import Heads
from workflows.errors import Refused
from workflows.kinds import Compliance, LabelKind, Severity
from workflows.roles import Role
from workflows.storage.tables import audit_entry, classifier, classifier_active

# Real clauses, of two principles: enough to fit heads in seconds, without an embedder.
CLAUSES = [clause for clause in corpus.shipped() if clause.principle in ("fair_ballot", "privacy")]


async def labelled(a: Any, label: LabelKind, quote: str = "Notes of every meeting") -> str:
    """A policy of which somebody who was asked labelled a clause."""
    ref = await a.create()
    says = Says(Compliance.REQUIRES_REVIEW, [finding(quote, sure=False, severity=Severity.LOW)])
    await validations.assess_waiting(a.units, says, a.constitution)
    found = await queries.for_policy(
        a.connection, ref, figures=a.figures, sha256=a.constitution.sha256, now=a.now
    )
    who = next(each for each in (a.emre, a.dana, a.farah) if each.id == found.question.asked[0].id)
    await questions.answer(
        a.unit(who), found.question.id, "compliant", "I read it.", [labels.Labelled(0, label)]
    )
    return ref


async def test_it_is_fitted_measured_kept_and_put_to_use(assembly: Any) -> None:
    a = assembly
    await labelled(a, LabelKind.HONOURS)
    fitted = await classifiers.refit(a.units, None, CLAUSES)
    assert (fitted.labels, fitted.no_worse) == (1, True)
    assert fitted.report.clauses == sum(corpus.held(clause.policy) for clause in CLAUSES)
    (row,) = await queries.classifiers(a.connection)
    assert (row.active, row.labels, row.embedder) == (True, 1, "tf-idf")
    assert row.measured["accuracy"]["value"] == fitted.report.accuracy.value
    body = (await a.connection.execute(sa.select(classifier.c.body))).scalar_one()
    heads = Heads.from_bytes(body, None)
    assert heads.sha256 == row.sha256
    assert "Notes of every meeting" in {clause.text for clause in heads.clauses}
    assert not any(corpus.held(clause.policy) for clause in heads.clauses), (
        "what is held back is not fitted to"
    )
    kinds = sa.select(audit_entry.c.type).where(audit_entry.c.type.like("classifier.%"))
    assert list((await a.connection.execute(kinds)).scalars()) == ["classifier.activated"]
    assert (await queries.measured(a.connection, row.sha256))["accuracy"] == row.measured["accuracy"]


async def test_what_does_worse_is_kept_and_not_used(assembly: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    a = assembly
    fitted = classifiers._fit(CLAUSES, [], None, None)
    better = msgspec.structs.replace(fitted.before, accuracy=Figure(100.0, 100.0, 100.0))
    worse = msgspec.structs.replace(fitted, before=better)
    assert not worse.no_worse
    async with a.units() as unit:
        await classifiers._keep(unit, None, worse)
    assert (
        await a.connection.execute(sa.select(sa.func.count()).select_from(classifier_active))
    ).scalar_one() == 0
    assert [row.active for row in await queries.classifiers(a.connection)] == [False]


async def test_most_people_count_and_a_tie_counts_for_nobody(assembly: Any) -> None:
    a = assembly
    refs = [await labelled(a, LabelKind.BREAKS), await labelled(a, LabelKind.NEUTRAL)]
    found = await queries.all_labels(a.connection)
    assert {each.policy_ref for each in found} <= set(refs)
    one = found[0]
    several = [msgspec.structs.replace(one, label=label) for label in (LabelKind.BREAKS, LabelKind.BREAKS, LabelKind.NEUTRAL)]  # fmt: skip
    assert [each.label for each in labels.consolidated(several)] == ["breaks"]
    assert labels.consolidated(several[1:]) == []
    (clause,) = classifiers.as_clauses(several)
    assert (clause.breaks, clause.kind, clause.policy) == (("fair_ballot",), "people", one.policy_ref)
    assert labels.as_corpus(several) == labels.as_corpus(several)


async def test_operators_ask_for_it(assembly: Any, people: Any, jobs: list) -> None:
    a = assembly
    with pytest.raises(Refused):
        await classifiers.request(a.unit(a.dana))
    await classifiers.request(a.unit(await people("omar", Role.OPERATOR, on=a.connection)))
    assert [job for job, _, _ in jobs] == ["classifier"]
