"""What the process that runs rules keeps from one bundle to the next, and that parts of a bundle answer like the whole."""

from __future__ import annotations

import random
from typing import Any

import pytest

from workflows.policy_enforcement.engines import worker
from workflows.policy_enforcement.engines.worker import (
    KEPT,
    Ask,
    Load,
    Loaded,
    Question,
    Rule,
    Worker,
    shards,
)
from workflows.policy_enforcement.says import Said

ACTIONS = 40


def rego(number: int, limit: int = 50) -> Rule:
    name = f"r{number}"
    actions = ["*"] if number % 17 == 0 else [f"a{number % ACTIONS}", f"a{(number * 7) % ACTIONS}"]
    reads = ["people"] if number % 3 == 0 else []
    body = "allow if input.who in data.facts.people\n" if reads else f"allow if input.n > {limit + number}\n"
    listed = ", ".join(f'"{action}"' for action in actions)
    source = f"package policies.{name}\n\nactions := {{{listed}}}\n\ndefault allow := false\n\n{body}"
    return Rule(f"P{number}", name, "rego", source, sorted({*actions}), reads)


def datalog(number: int) -> Rule:
    name = f"d{number}"
    source = f'name("{name}"). actions("a{number % ACTIONS}").\nallow :- input("who", X), people(X).\n'
    return Rule(f"P{number}", name, "datalog", source, [f"a{number % ACTIONS}"], ["people"])


RULES = [datalog(number) if number % 29 == 0 else rego(number) for number in range(1, 121)]
FACTS = {"people": ["ada", "ben"], "others": ["eve"]}


def asked() -> list[Question]:
    dice = random.Random(1)
    found = []
    for _ in range(60):
        action = f"a{dice.randrange(ACTIONS)}"
        about = [rule.policy for rule in RULES if {"*", action} & {*rule.actions}]
        input = {"action": {"type": action}, "who": dice.choice(["ada", "eve"]), "n": dice.randrange(200)}
        found.append(Question(dice.sample(about, dice.randint(0, len(about))), input))
    return found


def test_in_parts_it_says_what_it_says_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Loaded(Load("whole", RULES, FACTS))
    monkeypatch.setattr(worker, "WHOLE", 10)
    parts = Loaded(Load("parts", RULES, FACTS))
    assert len(parts.parts) > 10 > len(whole.parts)
    for question in asked():
        assert parts.ask(question) == whole.ask(question)


def test_much_data_is_held_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "WHOLE", 10)
    in_rego = {rule.policy for rule in RULES if rule.engine == "rego"}
    assert len([each for each in shards(RULES, worker.SPLIT_DATA) if each[0].policy in in_rego]) > 1
    (together,) = [each for each in shards(RULES, worker.SPLIT_DATA + 1) if each[0].policy in in_rego]
    assert {rule.policy for rule in together} == in_rego
    little = Loaded(Load("little", RULES, FACTS))
    monkeypatch.setattr(worker, "SPLIT_DATA", 10)
    much = Loaded(Load("much", RULES, FACTS))
    assert len(much.parts) < len(little.parts)
    for question in asked():
        assert much.ask(question) == little.ask(question)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Worker:
    monkeypatch.setattr(worker, "WHOLE", 10)
    found = Worker()
    found.handle(Load("1", RULES, FACTS))
    return found


def compiled_anew(held: Worker, key: str, rules: list[Rule], facts: dict[str, Any]) -> set[str]:
    before = {id(part) for bundle in held.bundles.values() for part in bundle.parts.values()}
    assert not held.handle(Load(key, rules, facts)).error
    return {
        policy
        for policy, part in held.bundles[key].part_of.items()
        if id(held.bundles[key].parts[part]) not in before
    }


def test_a_rule_that_comes_has_its_own_part_compiled_anew(held: Worker) -> None:
    new = rego(500)
    changed = compiled_anew(held, "2", [*RULES, new], FACTS)
    (part,) = [shard for shard in shards([*RULES, new]) if new in shard]
    assert changed == {rule.policy for rule in part}
    assert held.handle(
        Ask("2", [Question(["P500"], {"action": {"type": new.actions[0]}, "n": 900})])
    ).said == [{"P500": Said(allow=True)}]
    assert compiled_anew(held, "3", RULES, FACTS) == set(), (
        "it goes, and what was there before is there still"
    )


def test_data_that_is_set_has_its_readers_compiled_anew(held: Worker) -> None:
    assert compiled_anew(held, "2", RULES, {**FACTS, "others": ["fox"]}) == set()
    changed = compiled_anew(held, "3", RULES, {**FACTS, "people": ["eve"]})
    assert {rule.policy for rule in RULES if rule.facts} <= changed
    question = Question(["P3"], {"action": {"type": RULES[2].actions[0]}, "who": "eve"})
    assert held.handle(Ask("3", [question])).said == [{"P3": Said(allow=True)}]
    assert held.handle(Ask("1", [question])).said == [{"P3": Said()}], "the earlier bundle keeps its own"


def test_old_bundles_go(held: Worker) -> None:
    for number in range(2, KEPT + 2):
        held.handle(Load(str(number), RULES[:number], FACTS))
    assert held.handle(Ask("1", [])).missing
    assert len(held.bundles) == KEPT
