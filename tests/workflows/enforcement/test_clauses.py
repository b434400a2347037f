"""The clauses about applying the rules, held against what enforcement did, and broken by hand."""

from __future__ import annotations

import sqlalchemy as sa

from tests.workflows.enforcement.conftest import Enforcing, grant, rego
from tests.workflows.test_conformance import found
from workflows.kinds import Outcome
from workflows.policy_enforcement import violations


async def test_enforcement_keeps_to_its_clauses(enforcing: Enforcing) -> None:
    await enforcing.enact(rego())
    assert await enforcing.outcome(grant(500)) == Outcome.ALLOW
    ruling = await enforcing.decide(grant(500, "m1", "m2", "m9"))
    await violations.notice(enforcing.a.unit(), enforcing.a.figures, [ruling.id])
    states = {key: each.state for key, each in (await found(enforcing.a)).items()}
    for key in (
        "rules_voted_for",
        "allowed_by_a_rule",
        "restrictions_end",
        "automatic_up_to",
        "decisions_are_entered",
        "restrictions_are_entered",
    ):
        assert states[key] == "holds", key
    assert (states["lockdown_by_council"], states["own_appeal"]) == ("nothing", "nothing")
    for key, statement in {
        "allowed_by_a_rule": "UPDATE decision SET outcome = 'allow'",
        "restrictions_end": "UPDATE restriction SET expires_at = imposed_at + interval '400 days'",
        "automatic_up_to": "UPDATE restriction SET level = 'immediate_block'",
        "lockdown_by_council": "UPDATE restriction SET level = 'emergency_lockdown'",
        "rules_voted_for": "UPDATE policy SET state = 'suspended'",
        "decisions_are_entered": "UPDATE decision SET severity = 'critical'",
        "restrictions_are_entered": "UPDATE restriction SET lifted_at = now()",
    }.items():
        async with enforcing.a.connection.begin_nested() as broken:
            await enforcing.a.connection.execute(sa.text("SET LOCAL session_replication_role = replica"))
            await enforcing.a.connection.execute(sa.text(statement))
            assert (await found(enforcing.a))[key].state == "broken", key
            await broken.rollback()
