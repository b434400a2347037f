"""Decisions on the real engines and database: by the rules in force, in the log before the answer, and recomputable."""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta
from typing import Any

import pytest
import rfc8785
import sqlalchemy as sa

from tests.workflows.enforcement.conftest import GRANTS, TREASURY, Away, Enforcing, grant, rego
from workflows.errors import Invalid, Refused
from workflows.kinds import DecisionMode, Ladder, Outcome, Severity
from workflows.policy_creation import implementation
from workflows.policy_creation.views import RuleDraft
from workflows.policy_enforcement import bundle as bundles
from workflows.policy_enforcement import decisions, facts, violations
from workflows.policy_enforcement.decisions import Asked
from workflows.storage.tables import (
    audit_checkpoint,
    audit_entry,
    bundle,
    decision,
    obligation,
    policy_version,
    restriction,
)
from workflows.storage.unit import new_id


async def entries(e: Enforcing, kind: str) -> list[dict[str, Any]]:
    query = sa.select(audit_entry.c.body).where(audit_entry.c.type == kind).order_by(audit_entry.c.number)
    return [json.loads(body) for body in (await e.a.connection.execute(query)).scalars()]


async def test_what_no_rule_allows_is_denied(enforcing: Enforcing) -> None:
    ruling = await enforcing.decide(grant())
    assert ruling.decided.outcome == Outcome.DENY
    assert [reason.code for reason in ruling.decided.reasons] == ["no_rule"]
    assert "§ 8.1" in ruling.decided.reasons[0].text
    assert ruling.decided.severity == Severity.LOW


async def test_enacting_puts_exactly_the_voted_bytes_in_force(enforcing: Enforcing) -> None:
    ref = await enforcing.enact(rego())
    held = await enforcing.rulebook.load(await enforcing.rulebook.look())
    assert [rule.policy for rule in held.manifest.rules] == [ref]
    voted = (await enforcing.a.connection.execute(sa.select(policy_version.c.rule_source))).scalar_one()
    assert held.sources[ref] == voted == GRANTS
    assert held.manifest.rules[0].source_sha256 == hashlib.sha256(voted.encode()).hexdigest()
    assert held.revision == hashlib.sha256(held.manifest.canonical()).hexdigest()
    assert (await entries(enforcing, "bundle.activated"))[-1]["payload"]["revision"] == held.revision
    allowed = await enforcing.decide(grant(500))
    assert (allowed.decided.outcome, allowed.revision) == (Outcome.ALLOW, held.revision)


async def test_the_four_answers_with_their_reasons(enforcing: Enforcing) -> None:
    ref = await enforcing.enact(rego())
    assert await enforcing.outcome(grant(500)) == Outcome.ALLOW
    owed = await enforcing.decide(grant(1500))
    assert owed.decided.outcome == Outcome.CONDITIONAL_ALLOW
    assert [(item.id, item.policy) for item in owed.obligations] == [("report", ref)]
    assert owed.obligations[0].due_at == owed.made_at + timedelta(days=180)
    denied = await enforcing.decide(grant(500, "m1", "m2", "m9"))
    (why,) = denied.decided.reasons
    assert (why.code, why.text, why.severity) == ("own_grant", "Nobody decides on their own grant.", "high")
    assert (why.policy, why.version, why.rule) == (ref, 1, "grants")
    assert [(rule.policy, rule.said) for rule in denied.matched] == [(ref, "deny")]
    assert (await enforcing.decide(grant(9000))).decided.reasons[0].code == "no_rule"


async def test_suspending_takes_the_rule_out(enforcing: Enforcing) -> None:
    ref = await enforcing.enact(rego())
    assert await enforcing.outcome(grant()) == Outcome.ALLOW
    await implementation.suspend(enforcing.a.unit(enforcing.a.farah), ref, "It has a flaw.")
    assert await enforcing.outcome(grant()) == Outcome.DENY
    # Its name is free again.
    await enforcing.enact(rego(), title="The same again")
    assert await enforcing.outcome(grant()) == Outcome.ALLOW


async def test_a_decision_is_in_the_log_with_its_input_committed(enforcing: Enforcing) -> None:
    await enforcing.enact(rego())
    ruling = await enforcing.decide(grant(1500))
    row = (await enforcing.a.connection.execute(sa.select(decision))).mappings().one()
    entry = (await entries(enforcing, "decision.made"))[-1]
    payload = entry["payload"]
    assert entry["subject"] == f"decision:{ruling.id}"
    assert payload["bundle"] == ruling.revision
    assert payload["input_commitment"] == decisions.commitment(row["salt"], row["input"])
    assert payload["why_sha256"] == hashlib.sha256(rfc8785.dumps(row["why"])).hexdigest()
    assert "m9" not in json.dumps(payload), "whoever it is about is not in the log"
    assert json.loads(row["input"])["context"]["now"].startswith("2026-")
    owed = (await enforcing.a.connection.execute(sa.select(obligation))).mappings().one()
    assert owed["decision_id"] == ruling.id


async def test_a_decision_recomputes_after_the_rules_have_changed(enforcing: Enforcing) -> None:
    ref = await enforcing.enact(rego())
    ruling = await enforcing.decide(grant(1500))
    await implementation.suspend(enforcing.a.unit(enforcing.a.farah), ref, "It has a flaw.")
    kept, again = await decisions.recompute(enforcing.rulebook, ruling.id)
    assert kept == again == ruling.decided


async def test_a_decision_changed_by_hand_does_not_recompute(enforcing: Enforcing) -> None:
    await enforcing.enact(rego())
    ruling = await enforcing.decide(grant(9000))
    forged = sa.text("UPDATE decision SET why = jsonb_set(why, '{outcome}', '\"allow\"')")
    await enforcing.a.connection.execute(forged)
    kept, again = await decisions.recompute(enforcing.rulebook, ruling.id)
    assert (kept.outcome, again.outcome) == (Outcome.ALLOW, Outcome.DENY)


async def test_what_no_engine_was_asked_about_is_not_said_to_come_out_otherwise(
    enforcing: Enforcing, monkeypatch: pytest.MonkeyPatch
) -> None:
    await enforcing.enact(rego())
    ruling = await enforcing.decide(grant(500, "m1", "m2", "m9"))
    await violations.notice(enforcing.a.unit(), enforcing.a.figures, [ruling.id])  # restricts m9
    with monkeypatch.context() as patch:
        patch.setattr(enforcing.rulebook, "engine", Away())
        away = [await enforcing.decide(grant(500, who=who)) for who in ("m9", "m8")]
    assert [[reason.code for reason in each.decided.reasons] for each in away] == [
        ["restricted", "engine_away"],
        ["engine_away"],
    ]
    for each in away:
        with pytest.raises(Invalid, match="no engine could be asked"):
            await decisions.recompute(enforcing.rulebook, each.id)


async def test_a_rule_that_was_too_slow_is_taken_as_it_was(enforcing: Enforcing) -> None:
    source = (
        GRANTS
        + "\nallow if count([1 | some a in input.many; some b in input.many; some c in input.many; a + b + c > 1]) > 0\n"
    )
    await enforcing.enact(rego(source.replace("input.many", "input.action.many")))
    slow = {"action": {**grant(5000)["action"], "many": list(range(2000))}, "subject": {"id": "m9"}}
    ruling = await enforcing.decide(slow)
    assert [reason.code for reason in ruling.decided.reasons] == ["rule_error"]
    kept, again = await decisions.recompute(enforcing.rulebook, ruling.id)
    assert kept == again
    enforcing.rulebook.left_out.clear()
    assert await enforcing.outcome(grant(500, who="m7")) == Outcome.ALLOW


async def test_both_engines_decide_together(enforcing: Enforcing) -> None:
    await facts.put(enforcing.a.unit(enforcing.operator), "mandate", ["ada", "ben"])
    examples = [
        {"input": {"action": {"type": "payment", "amount": 100, "signed": ["ada"]}}, "expect": "allow"},
        {"input": {"action": {"type": "payment", "amount": 9000, "signed": ["ada"]}}, "expect": "deny"},
    ]
    await enforcing.enact(RuleDraft("datalog", TREASURY, examples))
    await enforcing.enact(rego(
        'package policies.freeze\n\nactions := {"payment"}\n\ndefault allow := false\n\n'
        'deny contains "The treasury is closed." if input.context.closed\n',
        [{"input": {"action": {"type": "payment"}, "context": {"closed": True}}, "expect": "deny"}],
    ), title="Closed treasury")  # fmt: skip
    pay = {"action": {"type": "payment", "amount": 9000, "signed": ["ada", "ben"]}}
    assert await enforcing.outcome(pay) == Outcome.ALLOW
    closed = await enforcing.decide({**pay, "context": {"closed": True}})
    assert [reason.text for reason in closed.decided.reasons] == ["The treasury is closed."]
    assert await enforcing.outcome({"action": {**pay["action"], "signed": ["ada", "eve"]}}) == Outcome.DENY


async def test_only_the_policy_that_is_named_may_allow(enforcing: Enforcing) -> None:
    ref = await enforcing.enact(rego())
    assert await enforcing.outcome(grant(), under=ref) == Outcome.ALLOW
    other = await enforcing.decide(grant(), under="POL-2026-0099")
    assert other.decided.outcome == Outcome.DENY
    assert "POL-2026-0099 does not allow this" in other.decided.reasons[0].text


async def test_who_may_ask(enforcing: Enforcing) -> None:
    asked = [Asked({"type": "grant"})]
    member = enforcing.a.members[0]
    with pytest.raises(Refused):
        await decisions.decide(enforcing.rulebook, enforcing.acting(member), asked, member)
    tried = [Asked({"type": "grant"}, mode=DecisionMode.DRY_RUN)]
    (ruling,) = await decisions.decide(enforcing.rulebook, enforcing.acting(member), tried, member)
    assert ruling.decided.outcome == Outcome.DENY
    with pytest.raises(Refused):
        await decisions.decide(enforcing.rulebook, enforcing.units, tried, None)


@pytest.mark.parametrize(
    "action, subject, context, at",
    [
        ({}, {}, {}, "/action/type"),
        ({"type": ""}, {}, {}, "/action/type"),
        ({"type": "x" * 101}, {}, {}, "/action/type"),
        ({"type": "a"}, {"id": 7}, {}, "/subject/id"),
        ({"type": "a"}, {}, {"n": 2**60}, "/"),
        ({"type": "a"}, {}, {"n": float("nan")}, "/"),
        ({"type": "a"}, {}, {"s": "\x00"}, "/"),
        ({"type": "a"}, {}, {"s": "\ud800"}, "/"),
        ({"type": "a"}, {}, {"s": "x" * 70_000}, "/"),
        ({"type": "a"}, {}, {"d": json.loads("[" * 30 + "]" * 30)}, "/"),
    ],
)
async def test_input_that_cannot_be_asked_about_allows_nothing(
    enforcing: Enforcing, action: Any, subject: Any, context: Any, at: str
) -> None:
    asked = [Asked(action, subject, context)]
    with pytest.raises(Invalid, match="nothing is allowed") as refusal:
        await decisions.decide(
            enforcing.rulebook, enforcing.acting(enforcing.operator), asked, enforcing.operator
        )
    assert [error.pointer for error in refusal.value.errors] == [at]


async def test_the_time_is_the_portals_own(enforcing: Enforcing) -> None:
    source = (
        'package policies.hours\n\nactions := {"open"}\n\ndefault allow := false\n\n'
        'allow if time.parse_rfc3339_ns(input.context.now) < time.parse_rfc3339_ns("2026-06-01T00:00:00Z")\n'
    )
    example = {
        "input": {"action": {"type": "open"}, "context": {"now": "2026-05-01T00:00:00Z"}},
        "expect": True,
    }
    await enforcing.enact(rego(source, [example]))
    ask = {"action": {"type": "open"}, "context": {"now": "2020-01-01T00:00:00Z"}}
    assert await enforcing.outcome(ask) == Outcome.ALLOW
    enforcing.a.later(days=120)  # the process still believes it is spring; the log's clock decides
    assert await enforcing.outcome(ask) == Outcome.DENY


async def test_a_restriction_denies_on_the_same_path(enforcing: Enforcing) -> None:
    await enforcing.enact(rego())
    now = enforcing.a.now

    async def impose(**values: Any) -> None:
        row = {"id": new_id(), "level": Ladder.TEMPORARY_RESTRICTION, "imposed_at": now,
               "expires_at": now + timedelta(hours=1), "subject": "m9", "action_type": "grant"}  # fmt: skip
        await enforcing.a.connection.execute(restriction.insert().values({**row, **values}))

    await impose(level=Ladder.LOG_WARNING)
    await impose(subject="m8")
    await impose(action_type="payment")
    await impose(lifted_at=now)
    assert await enforcing.outcome(grant()) == Outcome.ALLOW, "none of these applies"
    await impose()
    denied = await enforcing.decide(grant())
    assert [reason.code for reason in denied.decided.reasons] == ["restricted"]
    assert denied.decided.restrictions[0].level == Ladder.TEMPORARY_RESTRICTION
    kept, again = await decisions.recompute(enforcing.rulebook, denied.id)
    assert kept == again
    enforcing.a.later(hours=2)
    assert await enforcing.outcome(grant()) == Outcome.ALLOW, "every restriction expires"


async def test_a_bundle_from_before_the_first_checkpoint_is_bound_to_it(enforcing: Enforcing) -> None:
    await enforcing.enact(rego())
    before = await enforcing.rulebook.look()
    assert not await bundles.bind(enforcing.a.unit()), "there is no checkpoint yet"
    root = bytes(range(32))
    await enforcing.a.connection.execute(
        audit_checkpoint.insert().values(size=7, root=root, note="", signed_at=enforcing.a.now)
    )
    assert await bundles.bind(enforcing.a.unit())
    after = await enforcing.rulebook.load(await enforcing.rulebook.look())
    assert after.revision != before
    assert (after.manifest.log.size, after.manifest.log.root) == (7, root.hex())
    assert not await bundles.bind(enforcing.a.unit()), "once"
    assert await enforcing.outcome(grant()) == Outcome.ALLOW


async def test_rolling_back_to_an_earlier_bundle(enforcing: Enforcing) -> None:
    first = await enforcing.enact(rego())
    before = await enforcing.rulebook.look()
    source = GRANTS.replace("policies.grants", "policies.freeze").replace(
        'deny contains "own_grant" if input.subject.id in input.action.decided_by',
        'deny contains "Frozen." if input.context.frozen',
    )
    example = {"input": {**grant(), "context": {"frozen": True}}, "expect": "deny"}
    await enforcing.enact(rego(source, [example]), title="A second rule")
    frozen = {**grant(), "context": {"frozen": True}}
    assert await enforcing.outcome(frozen) == Outcome.DENY
    unit = enforcing.a.unit(enforcing.a.farah)
    with pytest.raises(Refused):
        await bundles.roll_back(enforcing.a.unit(enforcing.operator), before, "I want to.")
    await bundles.roll_back(unit, before, "It freezes too much.")
    assert await enforcing.outcome(frozen) == Outcome.ALLOW
    assert (await entries(enforcing, "bundle.rolled_back"))[-1]["payload"]["revision"] == before
    await implementation.suspend(enforcing.a.unit(enforcing.a.farah), first, "It has a flaw.")
    with pytest.raises(Exception, match="not in force any more"):
        await bundles.roll_back(enforcing.a.unit(enforcing.a.farah), before, "Back again.")


async def test_data_is_part_of_the_bundle(enforcing: Enforcing) -> None:
    unit = enforcing.a.unit(enforcing.operator)
    one = await facts.put(unit, "board", ["ada"])
    two = await facts.put(unit, "board", ["ada", "ben"])
    assert one != two
    held = await enforcing.rulebook.load(two)
    assert held.facts == {"board": ["ada", "ben"]}
    assert (await enforcing.rulebook.load(one)).facts == {"board": ["ada"]}, (
        "earlier data stays for recomputing"
    )
    for name, value in [
        ("input", []),
        ("Board", []),
        ("board", 3),
        ("board", ["ada", "ben"]),
        ("n", [2**60]),
    ]:
        with pytest.raises(Invalid):
            await facts.put(unit, name, value)
    await facts.remove(unit, "board")
    assert (await enforcing.rulebook.load(await enforcing.rulebook.look())).facts == {}
    revisions = (await enforcing.a.connection.execute(sa.select(bundle.c.revision))).scalars().all()
    assert {one, two} <= set(revisions)


async def test_a_batch_is_decided_in_order_and_whole(enforcing: Enforcing) -> None:
    await enforcing.enact(rego())
    amounts = [500, 2500, 1500]
    asked = [Asked(grant(n)["action"], {"id": "m9"}) for n in amounts]
    acting = enforcing.acting(enforcing.operator)
    rulings = await decisions.decide(enforcing.rulebook, acting, asked, enforcing.operator)
    assert [ruling.decided.outcome for ruling in rulings] == ["allow", "deny", "conditional_allow"]
    with pytest.raises(Invalid) as refusal:
        await decisions.decide(enforcing.rulebook, acting, [*asked, Asked({})], enforcing.operator)
    assert refusal.value.errors[0].pointer == "/3/action/type"
    assert len(await entries(enforcing, "decision.made")) == 3
