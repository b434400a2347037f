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


# Each function that a rule may call, by an expression that holds.
FUNCTIONS = """abs(-1) == 1
ceil(1.2) == 2
floor(1.8) == 1
round(1.5) == 2
7 % 4 == 3
6 / 4 == 1.5
numbers.range(3, 1) == [3, 2, 1]
numbers.range_step(0, 4, 2) == [0, 2, 4]
{1, 2} & {2, 3} == {2}
{1} | {2} == {1, 2}
{1, 2} - {2} == {1}
count("straße") == 6
sum([1, 2.5]) == 3.5
product([2, 3]) == 6
max({3, 1}) == 3
min([3, 1]) == 1
sort({3, 1}) == [1, 3]
concat(", ", ["a", "b"]) == "a, b"
contains("abc", "b")
endswith("abc", "c")
startswith("abc", "a")
indexof("abc", "c") == 2
indexof_n("aba", "a") == [0, 2]
lower("ÄB") == "äb"
upper("äb") == "ÄB"
replace("aba", "a", "c") == "cbc"
split("a.b", ".") == ["a", "b"]
sprintf("%s-%03d", ["a", 7]) == "a-007"
substring("abc", 1, -1) == "bc"
trim("xax", "x") == "a"
trim_left("xax", "x") == "ax"
trim_right("xax", "x") == "xa"
trim_prefix("xax", "xa") == "x"
trim_suffix("xax", "ax") == "x"
trim_space(" a ") == "a"
format_int(255, 16) == "ff"
to_number("1.5") == 1.5
walk({"a": 1}, [["a"], 1])
intersection({{1, 2}, {2}}) == {2}
union({{1}, {2}}) == {1, 2}
type_name({}) == "object"
is_array([])
is_boolean(false)
is_null(null)
is_number(1)
is_object({})
is_set(set())
is_string("")
urlquery.encode("a b&c") == "a+b%26c"
urlquery.decode("a+b") == "a b"
crypto.md5("a") == "0cc175b9c0f1b6a831c399e269772661"
crypto.sha1("a") == "86f7e437faa5a7fce15d1ddcb9eaeaea377667b8"
crypto.sha256("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
count(crypto.hmac.sha256("a", "k")) == 64
count(crypto.hmac.sha512("a", "k")) == 128
crypto.hmac.equal("a", "a")
time.add_date(0, 0, 1, 0) == 2678400000000000
time.clock(3661000000000) == [1, 1, 1]
time.date(0) == [1970, 1, 1]
time.diff(86400000000000, 0) == [0, 0, 1, 0, 0, 0]
time.format(0) == "1970-01-01T00:00:00Z"
time.parse_duration_ns("1m") == 60000000000
time.parse_ns("2006-01-02", "1970-01-02") == 86400000000000
time.parse_rfc3339_ns("1970-01-01T00:00:01Z") == 1000000000
time.weekday(0) == "Thursday"
array.concat([1], [2]) == [1, 2]
array.reverse([1, 2]) == [2, 1]
array.slice([1, 2, 3], 1, 3) == [2, 3]
object.get({"a": {"b": 1}}, ["a", "b"], 0) == 1
object.keys({"a": 1}) == {"a"}
object.remove({"a": 1, "b": 2}, ["a"]) == {"b": 2}
object.filter({"a": 1, "b": 2}, ["a"]) == {"a": 1}
object.union({"a": 1}, {"b": 2}) == {"a": 1, "b": 2}
object.union_n([{"a": 1}, {"a": 2}]) == {"a": 2}
object.subset({"a": 1, "b": 2}, {"a": 1})
strings.any_prefix_match("abc", ["x", "a"])
strings.any_suffix_match("abc", {"c"})
strings.count("aba", "a") == 2
strings.replace_n({"a": "b"}, "aa") == "bb"
strings.reverse("ab") == "ba"
strings.render_template("{{.x}}", {"x": 1}) == "1"
json.filter({"a": 1, "b": 2}, ["a"]) == {"a": 1}
json.is_valid("[]")
json.marshal({"a": [1]}) == `{"a":[1]}`
json.patch({"a": 1}, [{"op": "replace", "path": "/a", "value": 2}]) == {"a": 2}
json.remove({"a": 1, "b": 2}, ["a"]) == {"b": 2}
json.unmarshal("[1]") == [1]
base64.encode("a?") == "YT8="
base64.decode("YT8=") == "a?"
base64.is_valid("YT8=")
base64url.encode("a?>") == "YT8-"
base64url.encode_no_pad("a") == "YQ"
base64url.decode("YT8-") == "a?>"
hex.encode("a") == "61"
hex.decode("61") == "a"
yaml.is_valid("a: 1")
regex.match(`^a+$`, "aa")
regex.is_valid(`a(`) == false
regex.split(`,`, "a,b") == ["a", "b"]
regex.find_n(`a.`, "abac", -1) == ["ab", "ac"]
regex.find_all_string_submatch_n(`a(.)`, "ab", -1) == [["ab", "b"]]
regex.replace("aba", `a`, "c") == "cbc"
regex.template_match("urn:{.*}", "urn:x", "{", "}")
regex.globs_match("a.*", "ab.*")
glob.match("*.org", ["."], "a.org")
glob.quote_meta("*") == `\\*`
bits.and(6, 3) == 2
bits.or(6, 3) == 7
bits.xor(6, 3) == 5
bits.negate(0) == -1
bits.lsh(1, 3) == 8
bits.rsh(8, 3) == 1
units.parse("2K") == 2000
units.parse_bytes("1KiB") == 1024
semver.compare("1.10.0", "1.9.0") == 1
semver.is_valid("1.0.0")
graph.reachable({"a": ["b"], "b": []}, {"a"}) == {"a", "b"}
graph.reachable_paths({"a": ["b"], "b": []}, {"a"}) == {["a", "b"]}
net.cidr_contains("10.0.0.0/8", "10.1.2.3")
net.cidr_contains_matches("10.0.0.0/8", "10.1.2.3") == {["10.0.0.0/8", "10.1.2.3"]}
net.cidr_intersects("10.0.0.0/8", "10.1.0.0/16")
net.cidr_expand("10.0.0.0/31") == {"10.0.0.0", "10.0.0.1"}
net.cidr_merge(["10.0.0.0/9", "10.128.0.0/9"]) == {"10.0.0.0/8"}
net.cidr_is_valid("10.0.0.0/8")""".splitlines()


@pytest.fixture(scope="module")
def held() -> Any:
    """Which of the expressions hold, by number, all asked in one rule."""
    body = "".join(f'holds contains "{n}" if {each}\n\n' for n, each in enumerate(FUNCTIONS))
    source = HEAD + body + "deny := holds\n"
    rules = RegoRules({"x": source}, {"x": ["a"]}, {})
    yield {int(each) for each in rules._document("policies.x.holds", {"action": A})}
    rules.close()


@pytest.mark.parametrize("number", range(len(FUNCTIONS)), ids=FUNCTIONS)
def test_a_function_does_what_it_says(held: set[int], number: int) -> None:
    assert number in held


def test_every_function_that_may_be_called_is_tried() -> None:
    body = "".join(f"p{n} if {each}\n\n" for n, each in enumerate(FUNCTIONS))
    assert rego_gate.check(HEAD + body).problems == []
    called = " ".join(FUNCTIONS)
    named = [name for name in rego_gate.OPERATORS if not name.startswith("internal.") and "." in name]
    plain = {name for name in rego_gate.OPERATORS if "." not in name} - WRITTEN_AS_SIGNS
    assert [name for name in [*named, *sorted(plain), *rego_gate.FAMILIES] if name not in called] == []


WRITTEN_AS_SIGNS = {
    "eq", "equal", "neq", "lt", "lte", "gt", "gte", "assign", "plus", "minus", "mul", "div", "rem", "and", "or",
}  # fmt: skip


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
    Load("k", [Rule("P", "x", "rego", HEAD + _BODY + "allow if p1\n", ["a"], [*FACTS])], FACTS)
)  # many conditions at once
