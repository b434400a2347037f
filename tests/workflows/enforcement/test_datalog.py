"""Datalog as it is supported here: what the gate takes and refuses, what rules say, and that an oracle says the same."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.workflows.enforcement import oracle
from workflows.policy_enforcement.engines import datalog
from workflows.policy_enforcement.engines.datalog_gate import read
from workflows.policy_enforcement.says import Obligation, Said

HEAD = 'name("x"). actions("a").\n'  # the body begins at line 2
REFUSED: list[tuple[str, str, int, str]] = [
    ("nothing at all", "", 0, "syntax"),
    ("no name", 'actions("a").\nallow :- input("n", 1).\n', 0, "name"),
    ("two names", HEAD + 'name("y").\nallow :- input("n", 1).\n', 1, "name"),
    ("a name in capitals", 'name("Mine"). actions("a").\nallow.\n', 1, "name"),
    ("no actions", 'name("x").\nallow.\n', 0, "actions"),
    ("an action type in capitals", 'name("x"). actions("Export").\nallow.\n', 1, "actions"),
    ("actions that depend on something", 'name("x").\nactions(X) :- input("t", X).\nallow.\n', 2, "shape"),
    ("neither allow nor deny", HEAD + 'p :- input("n", 1).\n', 0, "default_missing"),
    ("no full stop", HEAD + 'allow :- input("n", 1)', 3, "syntax"),
    ("a letter that is none of clingo's, of which it quotes half", HEAD + "allow :- é.\n", 2, "syntax"),
    ("a file of ours", HEAD + 'allow.\n#include "/etc/passwd".\n', 3, "refused"),
    ("a stray word", HEAD + "allow allow.\n", 2, "syntax"),
    ("a variable as head", HEAD + "X :- input(X, 1).\n", 2, "syntax"),
    ("a choice", HEAD + '{allow} :- input("n", 1).\n', 2, "refused"),
    ("an alternative", HEAD + 'allow ; deny("x") :- input("n", 1).\n', 2, "refused"),
    ("a constraint", HEAD + 'allow.\n:- input("n", 1).\n', 3, "refused"),
    ("a negated head", HEAD + '-allow :- input("n", 1).\n', 2, "refused"),
    ("a double negation", HEAD + "allow :- not not p.\np.\n", 2, "refused"),
    ("an aggregate", HEAD + "allow :- #count { X : input(X, 1) } > 2.\n", 2, "refused"),
    ("an interval", HEAD + "p(1..5).\nallow :- p(2).\n", 2, "refused"),
    ("a pool", HEAD + "p(1;2).\nallow :- p(2).\n", 2, "refused"),
    ("a function symbol", HEAD + "p(f(X)) :- p(X).\nallow :- p(1).\n", 2, "refused"),
    ("a sum in a head", HEAD + "p(X+1) :- p(X).\nallow :- p(1).\n", 2, "refused"),
    ("a sum that sets a variable", HEAD + 'allow :- input("n", X), Y = X + 1, p(Y).\n', 2, "refused"),
    ("a script", HEAD + "#script (python)\nprint(1)\n#end.\nallow.\n", 2, "refused"),
    ("an include", HEAD + '#include "x.lp".\nallow.\n', 2, "refused"),
    ("an external", HEAD + "#external p.\nallow :- p.\n", 2, "refused"),
    ("a minimisation", HEAD + "allow.\n#minimize { 1 : allow }.\n", 3, "refused"),
    ("a show", HEAD + "allow.\n#show allow/0.\n", 3, "refused"),
    ("a constant", HEAD + "#const n = 3.\nallow.\n", 2, "refused"),
    ("input as a head", HEAD + 'input("n", 1).\nallow.\n', 2, "refused"),
    ("input with three terms", HEAD + 'allow :- input("a", "b", 1).\n', 2, "arity"),
    ("deny without a code", HEAD + 'deny :- input("n", 1).\n', 2, "arity"),
    ("a predicate with two shapes", HEAD + "p(1). p(1, 2).\nallow :- p(1).\n", 2, "arity"),
    ("a severity there is not", HEAD + 'reason("x", "y", "bad").\nallow.\n', 2, "reasons"),
    ("an unsafe head", HEAD + 'deny(X) :- input("n", 1).\n', 2, "unsafe"),
    ("an anonymous head", HEAD + 'deny(_) :- input("n", 1).\n', 2, "unsafe"),
    ("an unsafe negation", HEAD + "allow :- not p(X).\np(1).\n", 2, "unsafe"),
    ("an unsafe comparison", HEAD + 'allow :- input("n", X), Y < X.\n', 2, "unsafe"),
    ("a negation that goes round", HEAD + "p :- not q.\nq :- not p.\nallow :- p.\n", 2, "unstratified"),
    ("a negation that goes round far", HEAD + "p(X) :- input(X, 1), not q(X).\nq(X) :- r(X).\nr(X) :- p(X).\nallow :- p(1).\n", 2, "unstratified"),
    ("a NUL", HEAD + "% \x00\n", 0, "limit"),
    ("far too long", HEAD + "% " + "x" * 30_000, 0, "limit"),
]  # fmt: skip


@pytest.mark.parametrize("source, line, code", [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_the_gate_refuses(source: str, line: int, code: str) -> None:
    found = datalog.check(source)
    assert found.declared is None
    assert (found.problems[0].line, found.problems[0].code) == (line, code), found.problems


FACTS = {
    "holder": ["ada"],
    "delegates": [["ada", "ben"], ["ben", "cyd"], ["eve", "fox"]],
    "blocked": ["cyd"],
    "inherits": [["chair", "member"], ["member", "guest"]],
    "has": [["ada", "chair"], ["ben", "guest"]],
    "owns": [["b1", "b2"], ["b2", "b3"], ["b3", "b1"]],
    "belongs": [["ada", "b3"]],
    "limit": [["travel", 500]],
}
DELEGATION = """acts(S) :- input("subject.id", S).
may(P) :- holder(P).
may(Q) :- may(P), delegates(P, Q).
allow :- acts(S), may(S), not blocked(S).
deny("blocked") :- acts(S), blocked(S).
"""
INHERITANCE = """acts(S) :- input("subject.id", S).
is(R) :- acts(S), has(S, R).
is(Q) :- is(R), inherits(R, Q).
allow :- is("member").
"""
CONFLICT = """about(B) :- input("action.body", B).
part(B) :- about(B).
part(C) :- part(B), owns(B, C).
interested :- input("subject.id", S), part(B), belongs(S, B).
allow :- about(_), not interested.
deny("interest") :- interested.
"""
SAYS: list[tuple[str, str, dict[str, Any], Said]] = [
    ("a fact about the input", 'allow :- input("n", 1).\n', {"n": 1}, Said(allow=True)),
    ("another value", 'allow :- input("n", 1).\n', {"n": 2}, Said()),
    ("a text is no number", 'allow :- input("n", 1).\n', {"n": "1"}, Said()),
    ("a whole float is a text of its own", 'allow :- input("n", 1).\n', {"n": 1.0}, Said()),
    ("true is the text true", 'allow :- input("n", "true").\n', {"n": True}, Said(allow=True)),
    ("nothing is the text null", 'allow :- input("n", "null").\n', {"n": None}, Said(allow=True)),
    ("beyond 32 bits it is a text", 'allow :- input("n", "4294967296").\n', {"n": 2**32}, Said(allow=True)),
    ("deeper down", 'allow :- input("a.b.c", 1).\n', {"a": {"b": {"c": 1}}}, Said(allow=True)),
    ("each of a list", 'allow :- input("l", 2).\n', {"l": [1, 2]}, Said(allow=True)),
    ("two of a list", 'allow :- input("l", X), input("l", Y), X != Y.\n', {"l": [1, 1]}, Said()),
    ("comparisons", 'allow :- input("n", X), X <= 10.\n', {"n": 10}, Said(allow=True)),
    ("sums in comparisons", 'allow :- input("n", X), X * 2 + 1 < 10.\n', {"n": 4}, Said(allow=True)),
    ("negative numbers", 'allow :- input("n", -3).\n', {"n": -3}, Said(allow=True)),
    ("negation", 'allow :- input("action.type", "a"), not p.\np :- input("n", 1).\n', {"n": 2}, Said(allow=True)),
    ("what is not there", 'allow :- input("m", 1).\n', {"n": 1}, Said()),
    ("delegation", DELEGATION, {"subject": {"id": "ben"}}, Said(allow=True)),
    ("delegation that ends", DELEGATION, {"subject": {"id": "fox"}}, Said()),
    ("delegation, blocked", DELEGATION, {"subject": {"id": "cyd"}}, Said(deny=["blocked"])),
    ("inheritance", INHERITANCE, {"subject": {"id": "ada"}}, Said(allow=True)),
    ("inheritance goes one way", INHERITANCE, {"subject": {"id": "ben"}}, Said()),
    ("conflict of interest round a circle", CONFLICT, {"subject": {"id": "ada"}, "action": {"type": "a", "body": "b1"}}, Said(deny=["interest"])),
    ("no conflict", CONFLICT, {"subject": {"id": "ben"}, "action": {"type": "a", "body": "b1"}}, Said(allow=True)),
    ("no body at all", CONFLICT, {"subject": {"id": "ben"}}, Said()),
    ("data with numbers", 'allow :- input("n", X), limit("travel", L), X <= L.\n', {"n": 500}, Said(allow=True)),
    ("an obligation", 'allow.\noblige("o", "Do it.", 60) :- input("n", 1).\n', {"n": 1}, Said(allow=True, obligations=[Obligation("o", "Do it.", 60)])),
    ("allow and deny", 'allow.\ndeny("x") :- input("n", 1).\n', {"n": 1}, Said(allow=True, deny=["x"])),
    ("a denial with a name of data", 'deny(X) :- input("subject.id", X).\n', {"subject": {"id": "eve"}}, Said(deny=["eve"])),
    ("an obligation without time", 'allow.\noblige("o", "Do it.", 0).\n', {}, Said(error="an obligation’s third term is a number of seconds above 0")),
    ("more reasons than a rule may give", "deny(X) :- input(_, X).\n", {"l": list(range(51))}, Said(error="it says more than a rule may")),
]  # fmt: skip


@pytest.mark.parametrize("body, input, expected", [row[1:] for row in SAYS], ids=[row[0] for row in SAYS])
def test_a_rule_says(body: str, input: dict[str, Any], expected: Said) -> None:
    assert datalog.check(HEAD + body).problems == []
    asked = {"action": {"type": "a"}, **input}
    assert datalog.decide(datalog.compile(HEAD + body, FACTS), asked) == expected
    if not expected.error:
        allow, deny, owed = oracle.decide(read(HEAD + body).clauses, FACTS, asked)
        assert (allow, deny, len(owed)) == (expected.allow, expected.deny, len(expected.obligations))


def a_program(dice: random.Random) -> str:
    """A stratified, safe program over a few predicates: a level negates lower ones only."""
    variables, constants = ["X", "Y", "Z"], ["a", "b", "c", "d"]
    arity = {"e": 2, "f": 1} | {f"p{level}": dice.choice([1, 2]) for level in range(4)}

    def atom(name: str, terms: list[str]) -> str:
        return f"{name}({', '.join(dice.choice(terms) for _ in range(arity[name]))})"

    lines = []
    for level, _ in itertools.product(range(4), range(2)):
        below = ["e", "f", *(f"p{n}" for n in range(level))]
        terms = [*variables, f'"{dice.choice(constants)}"']
        body = [atom(dice.choice([*below, f"p{level}"]), terms) for _ in range(dice.choice([1, 2]))]
        if dice.random() < 0.6:
            body.append(f'input("who", {dice.choice(variables)})')
        bound = sorted({name for name in variables if any(name in literal for literal in body)})
        if not bound:
            continue
        if dice.random() < 0.5:
            body.append("not " + atom(dice.choice(below), bound))
        if dice.random() < 0.3:
            body.append(f'{dice.choice(bound)} != "{dice.choice(constants)}"')
        lines.append(f"{atom(f'p{level}', bound)} :- {', '.join(body)}.")
    lines.append('allow :- input("who", X), p3(' + ("X" if arity["p3"] == 1 else "X, _") + ").")
    lines.append("deny(X) :- p2(" + ("X" if arity["p2"] == 1 else "_, X") + ").")
    return HEAD + "\n".join(lines) + "\n"


@pytest.mark.parametrize("seed", range(200))
def test_a_random_world_is_decided_as_the_oracle_does(seed: int) -> None:
    """Bottom-up over all the data, by another program: so the slicing leaves out nothing that matters."""
    dice = random.Random(seed)
    source = a_program(dice)
    names = ["a", "b", "c", "d", "g", "h"]
    facts = {
        "e": [[dice.choice(names), dice.choice(names)] for _ in range(dice.randrange(8))],
        "f": [dice.choice(names) for _ in range(dice.randrange(4))],
    }
    checked = datalog.check(source)
    assert checked.problems == [], source
    compiled, clauses = datalog.compile(source, facts), read(source).clauses
    for who in names:
        input = {"action": {"type": "a"}, "who": who}
        said = datalog.decide(compiled, input)
        assert said.error == ""
        assert (said.allow, said.deny, []) == oracle.decide(clauses, facts, input), source


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=200), st.integers(0, len(HEAD + DELEGATION)))
def test_no_text_gets_the_gate_to_fall(text: str, at: int) -> None:
    source = (HEAD + DELEGATION)[:at] + text + (HEAD + DELEGATION)[at:]
    found = datalog.check(source)
    assert (found.declared is None) == bool(found.problems)
    assert all(problem.message for problem in found.problems)


def test_what_a_rule_declares() -> None:
    declared = datalog.check(HEAD + 'reason("blocked", "Not now.", "high").\n' + DELEGATION).declared
    assert declared is not None
    assert (declared.name, declared.actions) == ("x", ["a"])
    assert declared.facts == ["blocked", "delegates", "holder"]
    assert declared.reasons["blocked"].severity == "high"


def test_a_world_that_hangs_together_too_much_is_refused() -> None:
    facts = {"e": [["hub", f"n{i}"] for i in range(30_000)]}
    source = HEAD + 'r(X) :- input("who", X).\nr(Y) :- r(X), e(X, Y).\nallow :- r("n29999").\n'
    compiled = datalog.compile(source, facts)
    assert "too many facts" in datalog.decide(compiled, {"action": {"type": "a"}, "who": "hub"}).error
    assert datalog.decide(compiled, {"action": {"type": "a"}, "who": "n29999"}) == Said(allow=True)
