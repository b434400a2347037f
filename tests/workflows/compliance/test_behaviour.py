"""What a rule does when it is asked, by the real engines: what it allows is the evidence."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.workflows.enforcement.conftest import GRANT_EXAMPLES, GRANTS, TREASURY
from workflows.constitution.document import load
from workflows.constitutional_compliance.analysers import behaviour
from workflows.constitutional_compliance.findings import Analyser, Subject
from workflows.errors import Unavailable
from workflows.kinds import RuleEngine
from workflows.policy_enforcement.engines.pool import EnginePool
from workflows.policy_enforcement.rules import Conflict
from workflows.policy_enforcement.says import Checked

pytestmark = pytest.mark.anyio
CONSTITUTION = load()


@pytest.fixture(scope="module")
async def engines(anyio_backend: str) -> AsyncIterator[EnginePool]:
    pool = EnginePool()
    yield pool
    await pool.close()


def carrying(source: str, examples: list[dict[str, Any]], engine: RuleEngine = RuleEngine.REGO) -> Subject:
    return Subject("A rule", "It is a rule.", rule_engine=engine, rule_source=source, rule_examples=examples)


def rego(name: str, actions: str, body: str) -> str:
    return f"package policies.{name}\n\nactions := {{{actions}}}\n\nreasons := {{}}\n\ndefault allow := false\n\n{body}\n"


async def asked(engines: EnginePool, subject: Subject) -> Analyser:
    return await behaviour.analyse(engines, subject, CONSTITUTION)


async def found(engines: EnginePool, subject: Subject) -> dict[str, bool]:
    """Principle → whether it is sure."""
    return {item.principle: item.sure for item in (await asked(engines, subject)).findings}


async def test_harmless_rules_do_nothing_that_is_found(engines: EnginePool) -> None:
    treasury = [
        {"input": {"action": {"type": "payment", "amount": 9000, "signed": ["ada"]}}, "expect": "deny"}
    ]
    for subject in (carrying(GRANTS, GRANT_EXAMPLES), carrying(TREASURY, treasury, RuleEngine.DATALOG)):
        analyser = await asked(engines, subject)
        assert (analyser.present, analyser.findings, analyser.score) == (True, (), None), analyser
        assert analyser.why, "that nothing was found tells little, and it says so"


async def test_a_rule_about_everything_that_allows_the_unheard_of(engines: EnginePool) -> None:
    source = rego("all", '"*"', "allow if true")
    examples = [{"input": {"action": {"type": "publish"}}, "expect": "allow"}]
    assert await found(engines, carrying(source, examples)) == {"human_control": True, "lasting_trail": True}
    analyser = await asked(engines, carrying(source, examples))
    assert (analyser.score, analyser.confidence) == (0.0, 1.0)
    assert all(
        behaviour.STRANGER in item.explanation or "denied nothing" in item.explanation
        for item in analyser.findings
    )


async def test_a_rule_about_everything_that_allows_little(engines: EnginePool) -> None:
    source = rego("all", '"*"', 'allow if input.action.type == "publish"')
    examples = [
        {"input": {"action": {"type": "publish"}}, "expect": "allow"},
        {"input": {"action": {"type": "sell"}}, "expect": "deny"},
    ]
    assert await found(engines, carrying(source, examples)) == {}


async def test_entries_of_the_trail_may_not_go(engines: EnginePool) -> None:
    examples = [{"input": {"action": {"type": "audit.delete", "age": 400}}, "expect": "allow"},
                {"input": {"action": {"type": "audit.delete", "age": 4}}, "expect": "deny"}]  # fmt: skip
    source = rego("tidy", '"audit.delete"', "allow if input.action.age > 365")
    assert await found(engines, carrying(source, examples)) == {"lasting_trail": True}


async def test_nobody_decides_on_their_own_behalf(engines: EnginePool) -> None:
    source = rego("approving", '"policy.approve"', "allow if count(input.action.approved_by) >= 1")
    examples = [{"input": {"action": {"type": "policy.approve", "author": "ada", "approved_by": ["ben"]}}, "expect": "allow"},
                {"input": {"action": {"type": "policy.approve", "author": "ada", "approved_by": []}}, "expect": "deny"}]  # fmt: skip
    assert await found(engines, carrying(source, examples)) == {"separation_of_duties": True}
    careful = rego(
        "approving",
        '"policy.approve"',
        "allow if {\n count(input.action.approved_by) >= 1\n not input.action.author in input.action.approved_by\n}",
    )
    assert await found(engines, carrying(careful, examples)) == {}


async def test_a_lockdown_is_the_councils(engines: EnginePool) -> None:
    source = rego("lock", '"lockdown.order"', 'allow if input.action.reason != ""')
    examples = [{"input": {"action": {"type": "lockdown.order", "reason": "x"}, "subject": {"id": "a", "roles": ["council"]}}, "expect": "allow"},
                {"input": {"action": {"type": "lockdown.order", "reason": ""}}, "expect": "deny"}]  # fmt: skip
    assert await found(engines, carrying(source, examples)) == {"graduated_response": True}
    councils = rego("lock", '"lockdown.order"', 'allow if "council" in input.subject.roles')
    assert await found(engines, carrying(councils, examples)) == {}


async def test_conflicts_with_rules_in_force_are_for_people(engines: EnginePool) -> None:
    conflict = Conflict("POL-2026-0001", "Example 1 of POL-2026-0001 would give deny instead of allow.")
    analyser = await behaviour.analyse(
        engines, carrying(GRANTS, GRANT_EXAMPLES), CONSTITUTION, conflicts=[conflict]
    )
    (finding,) = analyser.findings
    assert (finding.policy, finding.sure, finding.explanation) == ("POL-2026-0001", False, conflict.text)


async def test_it_is_absent_with_why(engines: EnginePool) -> None:
    without = await asked(engines, Subject("Tea", "Tea is served."))
    broken = await asked(engines, carrying("package nonsense", []))
    nowhere = await behaviour.analyse(None, carrying(GRANTS, GRANT_EXAMPLES), CONSTITUTION)

    class Away(EnginePool):
        async def check(self, engine: str, source: str) -> Checked:
            raise Unavailable("All engines are busy.")

    busy = await behaviour.analyse(Away(), carrying(GRANTS, GRANT_EXAMPLES), CONSTITUTION)
    for analyser, why in (
        (without, "no rule"),
        (broken, "cannot be run"),
        (nowhere, "no engine"),
        (busy, "busy"),
    ):
        assert not analyser.present and analyser.score is None and why in analyser.why, analyser
