"""From what rules say to one decision: properties that hold whatever they say, and the same through both engines."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workflows.kinds import Ladder, Outcome, Severity
from workflows.policy_enforcement.combine import Restricting, RuleInForce, combine
from workflows.policy_enforcement.engines import datalog
from workflows.policy_enforcement.engines.datalog import compile, decide
from workflows.policy_enforcement.engines.rego import RegoRules
from workflows.policy_enforcement.engines.rego_gate import check
from workflows.policy_enforcement.engines.worker import Load, Loaded, Question, Rule
from workflows.policy_enforcement.says import Declared, Obligation, Reason, Said
from workflows.storage.unit import new_id

LENIENCY = [Outcome.DENY, Outcome.CONDITIONAL_ALLOW, Outcome.ALLOW]
DECLARED = Declared("r", ["a"], {"known": Reason("It is known.", "high")})
CODES = st.sampled_from(["known", "A sentence."])
SAID = st.builds(
    Said,
    allow=st.booleans(),
    deny=st.lists(CODES, max_size=2),
    obligations=st.lists(st.just(Obligation("o", "Do it.", 60)), max_size=1),
    error=st.sampled_from(["", "", "", "it failed"]),
)
WORLDS = st.lists(SAID, max_size=5)


def rules(count: int) -> list[RuleInForce]:
    return [RuleInForce(f"POL-2026-{n:04}", 1, "0" * 64, "rego", "0" * 64, DECLARED) for n in range(count)]


def outcome(said: list[Said], **options: Any) -> Outcome:
    in_force = rules(len(said))
    return combine(
        in_force, {rule.policy: one for rule, one in zip(in_force, said, strict=True)}, **options
    ).outcome


def at_most(after: Outcome, before: Outcome) -> bool:
    return LENIENCY.index(after) <= LENIENCY.index(before)


@given(WORLDS, SAID)
def test_one_more_denial_or_failure_never_makes_it_milder(said: list[Said], more: Said) -> None:
    denying = Said(allow=more.allow, deny=[*more.deny, "known"], obligations=more.obligations)
    assert outcome([*said, denying]) == Outcome.DENY
    assert outcome([*said, Said(allow=True, error="it failed")]) == Outcome.DENY
    assert at_most(outcome([*said, Said(deny=more.deny)]), outcome(said)), "what only denies never allows"


@given(WORLDS, st.integers(0, 4))
def test_taking_an_allowance_back_never_makes_it_milder(said: list[Said], at: int) -> None:
    if at < len(said) and not said[at].obligations:
        without = [*said]
        without[at] = Said(deny=said[at].deny, error=said[at].error)
        # Fewer allowances may only leave out obligations when they leave an allowance without any.
        before, after = outcome(said), outcome(without)
        assert after == before or at_most(after, before) or before == Outcome.ALLOW


@given(WORLDS)
def test_nothing_is_allowed_that_no_rule_allows(said: list[Said]) -> None:
    found = outcome(said)
    allowing = any(one.allow and not one.error for one in said)
    clean = not any(one.deny or one.error for one in said)
    assert (found != Outcome.DENY) == (allowing and clean)


@given(WORLDS)
def test_a_restriction_denies_whatever_rules_say(said: list[Said]) -> None:
    for level in (Ladder.TEMPORARY_RESTRICTION, Ladder.IMMEDIATE_BLOCK, Ladder.EMERGENCY_LOCKDOWN):
        limit = Restricting(new_id(), level, "VIO-2026-0001", datetime(2026, 12, 1, tzinfo=UTC))
        assert outcome(said, restrictions=[limit]) == Outcome.DENY


@given(WORLDS, st.integers(0, 4))
def test_under_a_policy_only_that_one_allows(said: list[Said], at: int) -> None:
    ref = f"POL-2026-{at:04}"
    found = outcome(said, under=ref)
    assert at_most(found, outcome(said)) or found == Outcome.ALLOW
    mine = said[at] if at < len(said) else Said()
    assert (found != Outcome.DENY) <= (mine.allow and not mine.error)


@given(WORLDS)
def test_there_is_always_a_reason_and_its_severity_is_the_decision_s(said: list[Said]) -> None:
    in_force = rules(len(said))
    found = combine(in_force, {rule.policy: one for rule, one in zip(in_force, said, strict=True)})
    assert found.reasons and all(reason.text for reason in found.reasons)
    order = list(Severity)
    assert found.severity == max((reason.severity for reason in found.reasons), key=order.index)
    assert (found.outcome == Outcome.DENY) == any(reason.code != "allowed" for reason in found.reasons)
    assert (found.outcome == Outcome.CONDITIONAL_ALLOW) == bool(found.obligations)


@given(WORLDS, st.randoms())
def test_the_order_of_rules_does_not_matter(said: list[Said], dice: random.Random) -> None:
    shuffled = [*said]
    dice.shuffle(shuffled)
    assert outcome(said) == outcome(shuffled)


# The same rules in both languages. Input: {"action": {"type", "amount", "signed", "body"}, "subject": {"id"}}.
FACTS = {
    "mandate": ["ada", "ben"],
    "belongs": [["ada", "b2"], ["cyd", "b1"]],
    "owns": [["b1", "b2"], ["b2", "b3"]],
    "blocked": ["eve"],
}
REGO = """package policies.x

actions := {"pay"}

reasons := {"blocked": {"message": "Blocked.", "severity": "high"}, "interest": {"message": "Interest.", "severity": "high"}}

default allow := false

signers := {s | some s in input.action.signed; s in data.facts.mandate}

allow if {
	input.action.amount <= 100
	count(signers) > 0
}

allow if {
	input.action.amount <= 1000
	count(signers) > 1
}

deny contains "blocked" if input.subject.id in data.facts.blocked

owned := {child: {parent | some [parent, c] in data.facts.owns; c == child} | some [_, child] in data.facts.owns}

tree := {body: [c | some [b, c] in data.facts.owns; b == body] | some body in bodies}

bodies := {b | some row in data.facts.owns; some b in row}

reached contains input.action.body

reached contains b if some b in graph.reachable(tree, {input.action.body})

deny contains "interest" if {
	some [who, body] in data.facts.belongs
	who == input.subject.id
	body in reached
}

obligations contains {"id": "report", "text": "Report.", "within": "P1D"} if input.action.amount > 500
"""
DATALOG = """name("x"). actions("pay").
reason("blocked", "Blocked.", "high"). reason("interest", "Interest.", "high").
amount(A) :- input("action.amount", A).
signed(S) :- input("action.signed", S), mandate(S).
allow :- amount(A), A <= 100, signed(_).
allow :- amount(A), A <= 1000, signed(S), signed(T), S != T.
deny("blocked") :- input("subject.id", S), blocked(S).
reached(B) :- input("action.body", B).
reached(C) :- reached(B), owns(B, C).
deny("interest") :- input("subject.id", S), belongs(S, B), reached(B).
oblige("report", "Report.", 86400) :- amount(A), A > 500.
"""


@pytest.fixture(scope="module")
def both() -> Any:
    assert check(REGO).problems == []
    assert datalog.check(DATALOG).problems == []
    rego = RegoRules({"x": REGO}, {"x": ["pay"]}, FACTS)
    yield rego, compile(DATALOG, FACTS)
    rego.close()


PEOPLE, BODIES = ["ada", "ben", "cyd", "eve", "fox"], ["b1", "b2", "b3", "b4"]


@settings(max_examples=400, deadline=None)
@given(
    amount=st.sampled_from([0, 1, 99, 100, 101, 500, 501, 999, 1000, 1001, 2**31 - 1]),
    signed=st.lists(st.sampled_from(PEOPLE), max_size=4),
    who=st.sampled_from(PEOPLE),
    body=st.sampled_from(BODIES),
    missing=st.sampled_from(["", "amount", "signed", "body", "id"]),
)
def test_both_engines_decide_alike(
    both: Any, amount: int, signed: list[str], who: str, body: str, missing: str
) -> None:
    rego, compiled = both
    action = {"type": "pay", "amount": amount, "signed": signed, "body": body}
    action.pop(missing, None)
    input = {"action": action, "subject": {} if missing == "id" else {"id": who}}
    by_rego, by_datalog = rego.ask(["x"], input)["x"], decide(compiled, input)
    assert by_rego == by_datalog
    one = rules(1)
    assert combine(one, {one[0].policy: by_rego}) == combine(one, {one[0].policy: by_datalog})


# Rules of many kinds; those whose name begins with "no" never allow.
KINDS = {
    "small": ("rego", "allow if input.action.amount <= 100\n"),
    "owed": ("rego", 'allow if input.action.amount <= 500\n\nobligations contains {"id": "o", "text": "Do it.", "within": "P1D"}\n'),
    "signed": ("datalog", 'allow :- input("action.signed", X), input("subject.id", Y), X != Y.\n'),
    "torn": ("rego", "allow if 1 / input.action.amount > 0\n"),
    "nobody": ("rego", 'deny contains "no" if input.subject.id == "eve"\n'),
    "no_much": ("datalog", 'deny("much") :- input("action.amount", A), A > 200.\n'),
    "no_ever": ("rego", 'deny contains "ever"\n'),
    "no_word": ("rego", ""),
    "no_sense": ("rego", "deny contains sprintf(\"%d\", [1 / input.action.amount])\n"),
}  # fmt: skip


def _source(name: str) -> Rule:
    engine, body = KINDS[name]
    head = (
        f'package policies.{name}\n\nactions := {{"a"}}\n\ndefault allow := false\n\n'
        if engine == "rego"
        else f'name("{name}"). actions("a").\n'
    )
    return Rule(name, name, engine, head + body, ["a"])


@pytest.fixture(scope="module")
def loaded() -> Loaded:
    return Loaded(Load("k", [_source(name) for name in KINDS], {}))


@settings(max_examples=300, deadline=None)
@given(
    names=st.lists(st.sampled_from(sorted(KINDS)), unique=True, max_size=6),
    more=st.sampled_from(sorted(name for name in KINDS if name.startswith("no"))),
    amount=st.sampled_from([0, 1, 100, 101, 200, 201, 500, 501]),
    signed=st.lists(st.sampled_from(PEOPLE), max_size=2),
    who=st.sampled_from(PEOPLE),
)
def test_a_rule_that_only_denies_never_allows_through_either_engine(
    loaded: Loaded, names: list[str], more: str, amount: int, signed: list[str], who: str
) -> None:
    input = {"action": {"type": "a", "amount": amount, "signed": signed}, "subject": {"id": who}}

    def decided(policies: list[str]) -> Outcome:
        in_force = [RuleInForce(each, 1, "0" * 64, KINDS[each][0], "0" * 64, DECLARED) for each in policies]
        return combine(in_force, loaded.ask(Question(policies, input)) if policies else {}).outcome

    before, after = decided(names), decided([*names, more] if more not in names else names)
    assert at_most(after, before)
    if more == "no_ever":
        assert after == Outcome.DENY
