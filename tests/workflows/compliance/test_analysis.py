"""Texts held against the constitution by all that reads them, with the packaged embedder, the shipped heads and real engines."""

from __future__ import annotations

import tomllib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import rfc8785

from portal.demo import seed
from tests.workflows.enforcement.conftest import GRANT_EXAMPLES, GRANTS
from workflows.constitution.document import load
from workflows.constitutional_compliance import evidence
from workflows.constitutional_compliance.analysers import classifier
from workflows.constitutional_compliance.analysis import Enacted, LocalJudge
from workflows.constitutional_compliance.findings import Analyser, Result, Subject
from workflows.kinds import Category, Compliance, RuleEngine, Strategy
from workflows.policy_enforcement.engines.pool import EnginePool

pytestmark = pytest.mark.anyio
CONSTITUTION = load()
HARMFUL = "Ballots on travel rules are open for two days. The quorum of these ballots is five per cent."


@pytest.fixture(scope="module")
async def judge(anyio_backend: str) -> AsyncIterator[LocalJudge]:
    engines = EnginePool()
    yield LocalJudge(engine=engines)
    await engines.close()


def stories() -> dict[str, dict[str, Any]]:
    found = {}
    for path in sorted(Path(seed.POLICIES).glob("*.md")):
        _, head, text = path.read_text(encoding="utf-8").split("+++\n", 2)
        found[path.stem] = tomllib.loads(head) | {"text": text}
    return found


# What the demonstration has stopped, or people asked about.
DOUBTFUL = {"23-maintainers-votes", "24-forum", "25-close-early"}


async def one(judge: LocalJudge, subject: Subject, **options: Any) -> Result:
    (result,) = await judge.judge(CONSTITUTION, [subject], **options)
    assert isinstance(result, Result)
    return result


def named(result: Result) -> dict[str, Analyser]:
    return {analyser.name: analyser for analyser in result.analysers}


async def test_ordinary_policies_pass_and_the_one_that_publishes_votes_does_not(judge: LocalJudge) -> None:
    told = stories()
    subjects = [Subject(each["title"], each["text"], category=each["category"]) for each in told.values()]
    found = dict(zip(told, await judge.judge(CONSTITUTION, subjects), strict=True))
    assert all(isinstance(result, Result) for result in found.values())
    ordinary = [
        name
        for name, each in told.items()
        if each["category"] != "constitutional" and each["title"].isascii()
    ]
    passed = [name for name in ordinary if found[name].verdict == Compliance.COMPLIANT]
    assert not DOUBTFUL & set(passed)
    assert len(passed) >= 0.8 * len(set(ordinary) - DOUBTFUL), "people are asked for what deserves it"
    stopped = [name for name in ordinary if found[name].verdict == Compliance.NON_COMPLIANT]
    assert stopped == ["23-maintainers-votes"], "the demonstration has one that is meant to be"
    published = found["19-rejected"]
    assert published.verdict == Compliance.REQUIRES_REVIEW, "a constitutional one, so that people decide"
    assert any(item.sure and item.principle == "secret_ballot" for item in published.findings)
    assert found["07-arabic-summaries"].verdict == Compliance.REQUIRES_REVIEW
    assert "language" in " ".join(found["07-arabic-summaries"].why)


async def test_what_surely_breaks_is_stopped_with_place_and_reason(judge: LocalJudge) -> None:
    result = await one(judge, Subject("Ballots on travel", HARMFUL, category=Category.GOVERNANCE))
    assert (result.verdict, result.recommendation.step) == (Compliance.NON_COMPLIANT, "stop")
    sure = [item for item in result.findings if item.sure]
    assert {item.principle for item in sure} == {"fair_ballot"}
    for item in result.findings:
        if item.span is not None:
            assert HARMFUL[item.span.start : item.span.end] == item.span.quote
    amending = await one(judge, Subject("Ballots on travel", HARMFUL, category=Category.CONSTITUTIONAL))
    assert amending.verdict == Compliance.REQUIRES_REVIEW
    assert any("§ 10" in reason for reason in amending.why)


async def test_a_result_is_plain_data_and_the_same_each_time(judge: LocalJudge) -> None:
    result = await one(judge, Subject("Ballots", HARMFUL))
    assert msgspec.convert(msgspec.to_builtins(result), Result) == result
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(result), type=Result) == result
    assert rfc8785.dumps(msgspec.to_builtins(result))
    again = await one(judge, Subject("Ballots", HARMFUL))
    assert (again.verdict, again.score, again.why, again.findings) == (
        result.verdict,
        result.score,
        result.why,
        result.findings,
    )
    assert again.basis_sha256 == result.basis_sha256 == await judge.basis(CONSTITUTION)


async def test_texts_judged_together_come_out_as_alone(judge: LocalJudge) -> None:
    subjects = [
        Subject("One", HARMFUL),
        Subject("", ""),
        Subject("Tea", "Tea is served at four in the kitchen."),
    ]
    together = await judge.judge(CONSTITUTION, subjects)
    for subject, result in zip(subjects, together, strict=True):
        alone = await one(judge, subject)
        assert isinstance(result, Result)
        assert (result.verdict, result.why) == (alone.verdict, alone.why)
        assert result.score == pytest.approx(alone.score)
    assert await judge.judge(CONSTITUTION, []) == []


async def test_the_tier_says_who_reads(judge: LocalJudge) -> None:
    subject = Subject("A rule", "Grants are small.", rule_engine=RuleEngine.REGO, rule_source=GRANTS, rule_examples=GRANT_EXAMPLES)  # fmt: skip
    mild = named(await one(judge, subject))
    assert [name for name, each in mild.items() if each.present] == ["structural", "classifier", "semantic"]
    assert "from the tier enhanced validation on" in mild["behaviour"].why
    strict = named(await one(judge, subject, level=Strategy.ENHANCED_VALIDATION))
    assert strict["behaviour"].present
    assert "LANGUAGE_MODELS" in strict["language_model"].why
    assert [item.name for item in await judge.describe()] == list(strict)


async def test_a_clash_with_a_policy_in_force_is_for_people(judge: LocalJudge) -> None:
    notes = "Notes of every council meeting are published within three working days."
    enacted = [Enacted("POL-2026-0002", "Meeting notes within three days", notes)]
    later = Subject("Notes", "Notes of every council meeting are published within ten working days.")
    result = await one(judge, later, enacted=enacted, level=Strategy.ENHANCED_VALIDATION)
    assert result.verdict == Compliance.REQUIRES_REVIEW
    (clash,) = [item for item in result.findings if item.policy]
    assert (clash.policy, clash.sure) == ("POL-2026-0002", False)
    assert "ten working days" in clash.explanation and "three working days" in clash.explanation
    for text in (
        notes,
        "Tea is served within ten working days.",
        f"This replaces POL-2026-0002. {later.text}",
    ):
        same = await one(judge, Subject("Notes", text), enacted=enacted, level=Strategy.ENHANCED_VALIDATION)
        assert not [item for item in same.findings if item.policy], text
    itself = msgspec.structs.replace(later, policy_ref="POL-2026-0002")
    own = await one(judge, itself, enacted=enacted, level=Strategy.ENHANCED_VALIDATION)
    assert not [item for item in own.findings if item.policy], "a new version of the same policy"


async def test_who_is_asked_about_a_doubtful_text_sees_what_about(judge: LocalJudge) -> None:
    """Even where no passage is likelier than not to break anything: a score alone says nothing."""
    sold = await one(judge, Subject("", "Home addresses of members are sold to sponsors."))
    assert sold.verdict == Compliance.REQUIRES_REVIEW
    assert named(sold)["classifier"].findings[0].principle == "privacy"
    fine = await one(judge, Subject("", "The kitchen is cleaned every Friday."))
    assert (fine.verdict, fine.findings) == (Compliance.COMPLIANT, ())


def test_a_passing_text_shows_nothing_that_is_unlikely_and_another_the_few_that_weigh_most() -> None:
    quiet = np.full((20, 14), 0.5)
    assert classifier._telling(quiet) == set()
    loud = quiet.copy()
    loud[3, 2], loud[4, 1] = 5_000.0, 900.0
    assert classifier._telling(loud) == {(3, 2), (4, 1)}, "without them it would pass"
    assert len(classifier._telling(np.full((20, 14), 500.0))) == classifier.TELLING


def test_more_clauses_need_stronger_evidence_and_more_evidence_weighs_more() -> None:
    quiet = np.full((20, 14), 0.5)
    loud = quiet.copy()
    loud[3, 2] = 5_000.0
    assert evidence.complies(quiet) > 0.9
    assert evidence.complies(loud) < 0.5 < evidence.complies(quiet[:1])
    assert evidence.complies(np.vstack([quiet, quiet])) < evidence.complies(quiet)
    assert evidence.complies(np.zeros((0, 14))) == 1.0
    assert evidence.complies(np.full((1, 14), 1.0)) == pytest.approx(1 - evidence.TEXTS), "what tells nothing"
    assert evidence.complies(loud[3:4]) < evidence.complies(loud), "a short text is not thought better of"
    assert 0 < evidence.breaks(1.0, 14) < 0.001 and evidence.breaks(1e9, 14) > evidence.SURE
