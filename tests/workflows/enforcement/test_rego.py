"""Rego as it is supported here: what the gate takes and refuses and at which line, and what rules then say (docs/rules.md)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workflows.policy_enforcement.engines import rego_gate
from workflows.policy_enforcement.engines.rego import RegoRules
from workflows.policy_enforcement.engines.worker import Load, Loaded, Question, Rule
from workflows.policy_enforcement.says import Obligation, Said

HEAD = 'package policies.x\n\nactions := {"a"}\n\ndefault allow := false\n\n'  # the body begins at line 7
FACTS = {
    "roles": {"ada": ["steward", "member"]},
    "pairs": [["ada", "board"], ["ben", "staff"]],
    "limit": {"max": 10},
}

# What the gate refuses: title, source, the line and the code of the first problem.
REFUSED: list[tuple[str, str, int, str]] = [
    ("nothing at all", "", 0, "syntax"),
    ("a comment alone", "# nothing\n", 0, "syntax"),
    ("no package", "default allow := false\n", 1, "syntax"),
    ("another package", HEAD.replace("policies.x", "x"), 1, "name"),
    ("a package too deep", HEAD.replace("policies.x", "policies.x.y"), 1, "name"),
    ("a name in capitals", HEAD.replace("policies.x", "policies.Mine"), 1, "name"),
    ("no default", HEAD.replace("default allow := false", "allow := false"), 0, "default_missing"),
    ("a default that allows", HEAD.replace(":= false", ":= true"), 5, "default_missing"),
    ("a default that is a text", HEAD.replace(":= false", ':= "no"'), 5, "default_missing"),
    ("no actions", HEAD.replace('actions := {"a"}\n', ""), 0, "actions"),
    ("actions as a text", HEAD.replace('{"a"}', '"a"'), 3, "actions"),
    ("actions that depend on the input", HEAD.replace('{"a"}', "{input.action.type}"), 3, "actions"),
    ("an action type in capitals", HEAD.replace('{"a"}', '{"Export"}'), 3, "actions"),
    ("a number as action type", HEAD.replace('{"a"}', "{1}"), 3, "actions"),
    ("allow as a set", HEAD + 'allow contains "x" if input.x\n', 5, "shape"),
    ("allow as a function", HEAD + "allow(x) if x\n", 5, "shape"),
    ("deny as a value", HEAD + "deny := true if input.x\n", 7, "shape"),
    ("deny as an object", HEAD + 'deny[x] := "y" if x := input.x\n', 7, "shape"),
    ("obligations as a value", HEAD + "obligations := [] if input.x\n", 7, "shape"),
    ("reasons that are no table", HEAD + 'reasons := {"x": "y"}\n', 7, "reasons"),
    ("a reason without severity", HEAD + 'reasons := {"x": {"message": "y"}}\n', 7, "reasons"),
    ("a severity there is not", HEAD + 'reasons := {"x": {"message": "y", "severity": "bad"}}\n', 7, "reasons"),
    ("a brace too many", HEAD + "allow if {{ input.x }\n", 8, "syntax"),
    ("a brace too few", HEAD + "allow if {\n  input.x\n", 9, "syntax"),
    ("old syntax", HEAD + "allow { input.x }\n", 7, "syntax"),
    ("an unknown function", HEAD + "allow if no_such(input.x)\n", 7, "builtin"),
    ("the network", HEAD + 'allow if http.send({"method": "get", "url": "http://x"}).status_code == 200\n', 7, "builtin"),
    ("a name looked up", HEAD + 'allow if count(net.lookup_ip_addr("x")) > 0\n', 7, "builtin"),
    ("a schema, which may name an address", HEAD + 'allow if json.match_schema(input, {"$ref": "http://x"})[0]\n', 7, "builtin"),
    ("a schema, which may name a file", HEAD + 'deny contains json.verify_schema({"$ref": "file:///etc/hostname"})[1]\n', 7, "builtin"),
    ("a schema by an index", HEAD + 'allow if json["match_schema"](input, input.schema)[0]\n', 0, "builtin"),
    ("the clock", HEAD + "allow if time.now_ns() > 5\n", 7, "builtin"),
    ("chance", HEAD + 'allow if rand.intn("x", 5) == 1\n', 7, "builtin"),
    ("a fresh id", HEAD + 'allow if uuid.rfc4122("x") != ""\n', 7, "builtin"),
    ("where it runs", HEAD + "allow if opa.runtime().env.HOME\n", 7, "builtin"),
    ("a parser", HEAD + 'allow if rego.parse_module("x", input.x)\n', 7, "builtin"),
    ("trace", HEAD + 'allow if trace("x")\n', 7, "builtin"),
    ("print", HEAD + 'allow if { print("x"); input.x }\n', 7, "builtin"),
    ("a forbidden call two levels down", HEAD + "allow if count([1 | x := {y | y := time.now_ns()}; x]) > 0\n", 7, "builtin"),
    ("with that replaces", HEAD + 'allow if data.facts.roles with data.facts.roles as {"x": 1}\n', 7, "reference"),
    ("another rule's data", HEAD + "allow if data.policies.other.allow\n", 7, "reference"),
    ("all data", HEAD + "allow if data[_]\n", 7, "reference"),
    ("all facts", HEAD + "allow if data.facts[_] == 1\n", 7, "reference"),
    ("data by a name from the input", HEAD + "allow if data.facts[input.x]\n", 7, "reference"),
    ("data passed on whole", HEAD + "allow if f(data)\n\nf(x) if x.a\n", 7, "reference"),
    ("an import of data", HEAD.replace("actions", "import data.facts.roles\n\nactions"), 3, "reference"),
    ("a variable that nothing sets", HEAD + "allow if input.x == y\n", 7, "unsafe"),
    ("a negated variable that nothing sets", HEAD + "allow if not input.x[y] == y\n", 7, "unsafe"),
    ("recursion", HEAD + "p if q\n\nq if p\n\nallow if p\n", 7, "recursion"),
    ("types that cannot be", HEAD + 'allow if count("x") == "y"\n', 7, "type"),
    ("arguments too many", HEAD + "allow if count([], [])\n", 7, "type"),
    ("a NUL", HEAD + "# \x00\n", 0, "limit"),
    ("far too long", HEAD + "# " + "x" * 30_000, 0, "limit"),
]  # fmt: skip


@pytest.mark.parametrize("source, line, code", [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_the_gate_refuses(source: str, line: int, code: str) -> None:
    found = rego_gate.check(source)
    assert found.declared is None
    assert (found.problems[0].line, found.problems[0].code) == (line, code), found.problems
    assert all(problem.message.endswith(".") for problem in found.problems), "a sentence a person can read"


# What rules say: title, body, input, and what is expected.
A, OWED = {"type": "a"}, Obligation("o", "Do it.", 86_400)
SAYS: list[tuple[str, str, dict[str, Any], Said]] = [
    ("nothing", "", {}, Said()),
    ("a condition that holds", "allow if input.n == 1\n", {"n": 1}, Said(allow=True)),
    ("one that does not", "allow if input.n == 1\n", {"n": 2}, Said()),
    ("one about what is not there", "allow if input.n == 1\n", {}, Said()),
    ("integers and floats are equal numbers", "allow if input.n == 1\n", {"n": 1.0}, Said(allow=True)),
    ("a number is no text", "allow if input.n == 1\n", {"n": "1"}, Said()),
    ("two ways", "allow if input.n == 1\n\nallow if input.n == 2\n", {"n": 2}, Said(allow=True)),
    ("and", "allow if {\n  input.n > 1\n  input.n < 5\n}\n", {"n": 5}, Said()),
    ("not", "allow if not input.n\n", {}, Said(allow=True)),
    ("not of false", "allow if not input.n\n", {"n": False}, Said(allow=True)),
    ("zero is a value", "allow if input.n\n", {"n": 0}, Said(allow=True)),
    ("some in a list", 'allow if "x" in input.l\n', {"l": ["y", "x"]}, Said(allow=True)),
    ("some in an object's values", 'allow if "x" in input.l\n', {"l": {"k": "x"}}, Said(allow=True)),
    ("some with index", "allow if {\n  some i, v in input.l\n  i == v\n}\n", {"l": [9, 1]}, Said(allow=True)),
    ("every", "allow if every v in input.l { v > 0 }\n", {"l": [1, 2]}, Said(allow=True)),
    ("every, broken once", "allow if every v in input.l { v > 0 }\n", {"l": [1, 0]}, Said()),
    ("every of nothing", "allow if every v in input.l { v > 0 }\n", {"l": []}, Said(allow=True)),
    ("every of what is not there", "allow if every v in input.l { v > 0 }\n", {}, Said()),
    ("a helper", "big if input.n > 10\n\nallow if not big\n", {"n": 3}, Said(allow=True)),
    ("a function", "f(x) := x * 2\n\nallow if f(input.n) == 6\n", {"n": 3}, Said(allow=True)),
    ("else", 'k := "s" if input.n < 5\n\nelse := "l"\n\nallow if k == "l"\n', {"n": 5}, Said(allow=True)),
    ("a default of its own", "default k := 3\n\nk := 4 if input.n\n\nallow if k == 3\n", {}, Said(allow=True)),
    ("a comprehension", "allow if count([x | some x in input.l; x > 1]) == 2\n", {"l": [1, 2, 3]}, Said(allow=True)),
    ("a set has each once", "allow if count({x | some x in input.l}) == 1\n", {"l": [1, 1]}, Said(allow=True)),
    ("an object comprehension", 'allow if {k: v | some k, v in input.l}[0] == "x"\n', {"l": ["x"]}, Said(allow=True)),
    ("sums", "allow if sum(input.l) <= 10\n", {"l": [4, 6]}, Said(allow=True)),
    ("regular expressions", 'allow if regex.match(`^[a-z]+$`, input.s)\n', {"s": "abc"}, Said(allow=True)),
    ("globs", 'allow if glob.match("*.org", ["."], input.s)\n', {"s": "a.org"}, Said(allow=True)),
    ("splitting", 'allow if split(input.s, "@")[1] == "b.org"\n', {"s": "a@b.org"}, Said(allow=True)),
    ("times", "allow if time.parse_rfc3339_ns(input.t) > time.parse_rfc3339_ns(\"2026-01-01T00:00:00Z\")\n",
     {"t": "2026-06-01T00:00:00Z"}, Said(allow=True)),
    ("a time that is none", "allow if time.parse_rfc3339_ns(input.t) > 0\n", {"t": "soon"}, Said(error='rules/x.rego:7: eval_builtin_error: time.parse_rfc3339_ns: parsing time "soon" as "2006-01-02T15:04:05Z07:00": cannot parse "soon" as "2006"')),
    ("versions", 'allow if semver.compare(input.v, "1.2.0") >= 0\n', {"v": "1.10.0"}, Said(allow=True)),
    ("networks", 'allow if net.cidr_contains("10.0.0.0/8", input.ip)\n', {"ip": "10.1.2.3"}, Said(allow=True)),
    ("division by zero", "allow if 1 / input.n > 0\n", {"n": 0}, Said(error="rules/x.rego:7: eval_builtin_error: div: divide by zero")),
    ("data", 'allow if "steward" in data.facts.roles[input.who]\n', {"who": "ada"}, Said(allow=True)),
    ("data that is not there", "allow if data.facts.nothing[input.who]\n", {"who": "ada"}, Said()),
    ("a relation", 'allow if [input.who, "board"] in data.facts.pairs\n', {"who": "ada"}, Said(allow=True)),
    ("reachable in a graph", 'allow if "c" in graph.reachable({"a": ["b"], "b": ["c"], "c": []}, {input.x})\n', {"x": "a"}, Said(allow=True)),
    ("a denial", 'deny contains "no" if input.n > 3\n', {"n": 4}, Said(deny=["no"])),
    ("denials, sorted", 'deny contains "b" if input.n\n\ndeny contains "a" if input.n\n', {"n": 4}, Said(deny=["a", "b"])),
    ("one that counts", 'deny contains sprintf("%d is too much", [input.n]) if input.n > 3\n', {"n": 4}, Said(deny=["4 is too much"])),
    ("both", 'allow if input.n\n\ndeny contains "no" if input.n\n', {"n": 1}, Said(allow=True, deny=["no"])),
    ("an obligation", 'allow if input.n\n\nobligations contains {"id": "o", "text": "Do it.", "within": "P1D"} if input.n\n',
     {"n": 1}, Said(allow=True, obligations=[OWED])),
    # What an answer may not be is an error, which counts as a denial.
    ("allow that is a number", "allow := input.n\n", {"n": 3}, Said(error="its allow is neither true nor false")),
    ("a denial that is a number", "deny contains input.n\n", {"n": 3}, Said(error="its deny is not a set of texts")),
    ("an obligation that is a text", 'obligations contains "x" if input.n\n', {"n": 1},
     Said(error="an obligation is {id, text, within} and nothing else")),
    ("an obligation without end", 'obligations contains {"id": "o", "text": "x", "within": "soon"} if input.n\n', {"n": 1},
     Said(error="an obligation's within is a duration as PT24H or P30D")),
    ("an obligation at once", 'obligations contains {"id": "o", "text": "x", "within": "PT0S"} if input.n\n', {"n": 1},
     Said(error="an obligation is due within ten years")),
    ("more reasons than a rule may give", "deny contains sprintf(\"%d\", [i]) if some i in numbers.range(1, 51)\n", {},
     Said(error="it says more than a rule may")),
    ("a reason too long", 'deny contains concat("", [c | some i in numbers.range(1, 501); c := "x"])\n', {},
     Said(error="it gives a reason that is too long")),
]  # fmt: skip


@pytest.mark.parametrize("body, input, expected", [row[1:] for row in SAYS], ids=[row[0] for row in SAYS])
def test_a_rule_says(body: str, input: dict[str, Any], expected: Said) -> None:
    checked = rego_gate.check(HEAD + body)
    assert checked.problems == []
    rules = RegoRules({"x": HEAD + body}, {"x": ["a"]}, FACTS)
    assert rules.ask(["x"], {"action": A, **input}) == {"x": expected}
    rules.close()


def test_two_values_of_one_thing_are_an_error_of_that_rule_alone() -> None:
    """OPA fails the whole question; the rules are then asked one by one."""
    torn = (
        HEAD.replace("policies.x", "policies.torn")
        + "k := 1 if input.a\n\nk := 2 if input.b\n\nallow if k > 0\n"
    )
    sound = HEAD + "allow if input.a\n"
    rules = RegoRules({"torn": torn, "x": sound}, {"torn": ["a"], "x": ["a"]}, {})
    said = rules.ask(["torn", "x"], {"action": A, "a": 1, "b": 1})
    assert "complete rules must not produce multiple outputs" in said["torn"].error
    assert said["x"] == Said(allow=True)
    rules.close()


def test_a_rule_is_asked_about_its_own_actions_only() -> None:
    def source(name: str, action: str) -> str:
        head = HEAD.replace("policies.x", f"policies.{name}").replace('{"a"}', f'{{"{action}"}}')
        return head + "allow if input.n\n"

    names = {"exports": "export", "grants": "grant", "all": "*"}
    sources = {name: source(name, action) for name, action in names.items()}
    rules = RegoRules(sources, {name: [action] for name, action in names.items()}, {})
    found = rules.engine.eval_document("acgs.says", {"action": {"type": "export"}, "n": 1})
    assert sorted(found["allow"]) == ["all", "exports"]
    rules.close()


def test_what_a_rule_declares() -> None:
    source = HEAD.replace('{"a"}', '{"b.c", "a"}') + (
        'reasons := {"x": {"message": "No.", "severity": "high"}}\n\nallow if data.facts.roles[input.x]\n\n'
        'deny contains "x" if data.facts.pairs[_] == input.x\n'
    )
    declared = rego_gate.check(source).declared
    assert declared is not None
    assert (declared.name, declared.actions, declared.facts) == ("x", ["a", "b.c"], ["pairs", "roles"])
    assert declared.reasons["x"].severity == "high"


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=200), st.integers(0, len(HEAD)))
def test_no_text_gets_the_gate_to_fall(text: str, at: int) -> None:
    source = HEAD[:at] + text + HEAD[at:]
    found = rego_gate.check(source)
    assert (found.declared is None) == bool(found.problems)
    lines = source.count("\n") + 2
    assert all(0 <= problem.line <= lines + 1 and problem.message for problem in found.problems)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from(["n", "l", "s", "t", "who", "v", "ip"]), JSON, max_size=5))
def test_no_input_gets_a_rule_to_fall(input: dict[str, Any]) -> None:
    """Each answer is one that a rule may give; the same question gets the same answer."""
    first = ALL_BODIES.ask(Question(["P"], {"action": A, **input}))
    assert set(first) == {"P"}
    assert first == ALL_BODIES.ask(Question(["P"], {"action": A, **input}))


_BODY = "".join(
    f"p{n} if {{\n  {body.removeprefix('allow if ').strip()}\n}}\n\n"
    for n, (_, body, _, _) in enumerate(SAYS)
    if body.startswith("allow if ") and body.count("\n") == 1
)
ALL_BODIES = Loaded(
    Load("k", [Rule("P", "x", "rego", HEAD + _BODY + "allow if p1\n", ["a"])], FACTS)
)  # many conditions at once
