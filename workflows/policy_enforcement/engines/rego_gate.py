"""What a Rego rule may be, judged before it is ever asked: OPA parses and compiles it, and we look at its syntax tree.

A rule may read its input, its own definitions and `data.facts`, and use functions that depend on nothing else: the same
input under the same bundle gives the same answer at any time and anywhere (docs/rules.md).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from opa_bindings import OpaEngine
from opa_bindings.engine import OpaError, OpaUndefinedError

from workflows.kinds import Severity
from workflows.policy_enforcement.says import ANY_ACTION, Checked, Declared, Problem, Reason

FILE = "rule.rego"
MOST_RULES, LONGEST_SOURCE, MOST_ACTIONS = 300, 20_000, 200
NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
ACTION = re.compile(r"[a-z0-9][a-z0-9._:-]{0,99}|\*")
IMPORTS = re.compile(r"rego\.v1|future\.keywords(\.[a-z]+)?")
# Functions of OPA that depend on their arguments alone, by family; what is not here is refused.
OPERATORS = frozenset(
    [
        "eq",
        "equal",
        "neq",
        "lt",
        "lte",
        "gt",
        "gte",
        "assign",
        "plus",
        "minus",
        "mul",
        "div",
        "rem",
        "and",
        "or",
        "abs",
        "ceil",
        "floor",
        "round",
        "numbers.range",
        "numbers.range_step",
        "internal.member_2",
        "internal.member_3",
        "count",
        "sum",
        "product",
        "max",
        "min",
        "sort",
        "concat",
        "contains",
        "endswith",
        "startswith",
        "indexof",
        "indexof_n",
        "lower",
        "upper",
        "replace",
        "split",
        "sprintf",
        "substring",
        "trim",
        "trim_left",
        "trim_prefix",
        "trim_right",
        "trim_space",
        "trim_suffix",
        "format_int",
        "to_number",
        "walk",
        "intersection",
        "union",
        "type_name",
        "is_array",
        "is_boolean",
        "is_null",
        "is_number",
        "is_object",
        "is_set",
        "is_string",
        "urlquery.decode",
        "urlquery.encode",
        "crypto.md5",
        "crypto.sha1",
        "crypto.sha256",
        "crypto.hmac.sha256",
        "crypto.hmac.sha512",
        "crypto.hmac.equal",
        "time.add_date",
        "time.clock",
        "time.date",
        "time.diff",
        "time.format",
        "time.parse_duration_ns",
        "time.parse_ns",
        "time.parse_rfc3339_ns",
        "time.weekday",
        "internal.template_string",
    ]
)
FAMILIES = (
    "array.",
    "object.",
    "strings.",
    "json.filter",
    "json.is_valid",
    "json.marshal",
    "json.patch",
    "json.remove",
    "json.unmarshal",
    "base64.",
    "base64url.",
    "hex.",
    "yaml.is_valid",
    "regex.",
    "glob.",
    "bits.",
    "units.",
    "semver.",
    "graph.",
    "net.cidr_",
)
WHY_NOT = {
    "http.send": "a rule reaches nothing outside",
    "net.lookup_ip_addr": "a rule reaches nothing outside",
    "opa.runtime": "a rule does not depend on where it runs",
    "json.match_schema": "a schema may name an address or a file, and a rule reaches nothing outside",
    "json.verify_schema": "a schema may name an address or a file, and a rule reaches nothing outside",
    "time.now_ns": "the time is input.context.now, so that a decision can be recomputed",
    "rand.intn": "a decision is not left to chance",
    "uuid.rfc4122": "a decision is not left to chance",
    "trace": "it has no effect on a decision",
    "print": "it has no effect on a decision",
}


def check(source: str) -> Checked:
    """Judge a rule. Never raises; each problem has the line it is at, or 0."""
    if len(source) > LONGEST_SOURCE or "\x00" in source:
        return _only(0, "limit", f"At most {LONGEST_SOURCE:,} characters of plain text.")
    engine = OpaEngine()
    try:
        try:
            (found,) = engine.eval_query(
                f'x := rego.parse_module("{FILE}", input.source)', {"source": source}
            )
        except OpaError as error:
            return Checked(None, _told(error.message, "syntax"))
        except ValueError:  # an empty module is no module
            return _only(0, "syntax", "There is no rule in it.")
        module = found["x"]
        problems = [*_shape(module, source), *_references(module, source)]
        declared = None if problems else _declared(module)
        problems = problems or _compile(engine, source, _name(module))
    except (RecursionError, UnicodeError, OpaError) as error:
        return _only(0, "syntax", f"The rule cannot be read: {type(error).__name__}.")
    finally:
        engine.close()
    return Checked(None, problems) if problems else Checked(declared)


def _only(line: int, code: str, message: str) -> Checked:
    return Checked(None, [Problem(line, code, message)])


def _told(message: str, code: str) -> list[Problem]:
    """OPA's own errors, `rule.rego:5: rego_parse_error: …` and what follows, as problems in the order of their lines.

    OPA goes through the rules of a circle in any order.
    """
    found = re.findall(rf"{re.escape(FILE)}:(\d+): (?:rego_(\w+?)_error: )?([^\n]*)", message)
    if not found:
        return [Problem(0, code, " ".join(message.split())[:300])]
    codes = {"unsafe_var": "unsafe", "type": "type", "parse": "syntax", "recursion": "recursion"}
    problems = [
        Problem(int(line), codes.get(kind, code), f"{text[:1].upper()}{text[1:300]}.".replace("..", "."))
        for line, kind, text in found
    ]
    return sorted(problems, key=lambda problem: problem.line)


def _compile(engine: OpaEngine, source: str, name: str) -> list[Problem]:
    try:
        engine.add_policy(FILE, source)
        engine.eval_document(f"policies.{name}.allow", {"action": {"type": ""}, "subject": {}, "context": {}})
    except OpaUndefinedError:
        return []
    except OpaError as error:
        return _told(error.message, "compile")
    return []


def _name(module: dict[str, Any]) -> str:
    path = [part.get("value") for part in module["package"]["path"]]
    return path[2] if len(path) == 3 and path[1] == "policies" and isinstance(path[2], str) else ""


def _rules(module: dict[str, Any]) -> list[dict[str, Any]]:
    return module.get("rules") or []


def _named(module: dict[str, Any], name: str) -> list[dict[str, Any]]:
    return [rule for rule in _rules(module) if rule["head"].get("name") == name]


def _shape(module: dict[str, Any], source: str) -> list[Problem]:
    """The name, and the definitions that every rule has in the same form."""
    problems = []
    if not NAME.fullmatch(_name(module)):
        message = "Begin with “package policies.<name>”, the name in small letters, digits and _."
        problems.append(Problem(_line(source, r"package\b") or 1, "name", message))
    if len(_rules(module)) > MOST_RULES:
        problems.append(Problem(0, "limit", f"At most {MOST_RULES} definitions."))
    for each in module.get("imports") or []:
        path = ".".join(str(part.get("value")) for part in each["path"]["value"])
        if not IMPORTS.fullmatch(path):
            line = _line(source, rf"import\s+{re.escape(path)}")
            problems.append(
                Problem(line, "reference", f"Leave out “import {path}”; write data.facts.<name> in full.")
            )
    allows = _named(module, "allow")
    defaults = [rule for rule in allows if rule.get("default")]
    if not defaults or defaults[0]["head"]["value"] != {"type": "boolean", "value": False}:
        message = "“default allow := false” is needed: what no rule allows is denied (§ 8.1)."
        problems.append(Problem(_line(source, r"default\s+allow"), "default_missing", message))
    if any("key" in rule["head"] or "args" in rule["head"] for rule in allows):
        problems.append(
            Problem(_line(source, r"allow\b"), "shape", "allow is true or false, no set and no function.")
        )
    for name in ("deny", "obligations"):
        if any("key" not in rule["head"] or "value" in rule["head"] for rule in _named(module, name)):
            message = f"{name} is a set: write “{name} contains … if …”."
            problems.append(Problem(_line(source, rf"{name}\b"), "shape", message))
    return [*problems, *_constants(module, source)]


def _constants(module: dict[str, Any], source: str) -> list[Problem]:
    problems = []
    actions = _constant(module, "actions")
    if not isinstance(actions, list) or not actions or not all(isinstance(item, str) for item in actions):
        message = 'Say what the rule is about: “actions := {"data.export"}”, a set of plain texts.'
        problems.append(Problem(_line(source, r"actions\b"), "actions", message))
    elif len(actions) > MOST_ACTIONS or not all(ACTION.fullmatch(item) for item in actions):
        message = f"At most {MOST_ACTIONS} action types of small letters, digits and . _ : -, or “*” for all."
        problems.append(Problem(_line(source, r"actions\b"), "actions", message))
    reasons = _constant(module, "reasons") if _named(module, "reasons") else {}
    if not isinstance(reasons, dict) or not all(_is_reason(item) for item in reasons.values()):
        message = (
            'reasons is a plain table: {"code": {"message": "…", "severity": "high"}}, severity low, medium, high or '
            "critical."
        )
        problems.append(Problem(_line(source, r"reasons\b"), "reasons", message))
    return problems


def _is_reason(value: Any) -> bool:
    grave = {str(item) for item in Severity} - {Severity.NONE}
    return (
        isinstance(value, dict)
        and set(value) == {"message", "severity"}
        and isinstance(value["message"], str)
        and 0 < len(value["message"]) <= 500
        and value["severity"] in grave
    )


def _constant(module: dict[str, Any], name: str) -> Any:
    """The value of a definition that is written out; None where it is missing, repeated or computed."""
    found = _named(module, name)
    if len(found) != 1 or found[0]["body"] != [{"index": 0, "terms": {"type": "boolean", "value": True}}]:
        return None
    head = found[0]["head"]
    return None if "key" in head or "args" in head else _literal(head.get("value"))


def _literal(term: Any) -> Any:
    """A term as plain JSON; None where something in it is computed."""
    kind, value = (term or {}).get("type"), (term or {}).get("value")
    if kind in ("string", "number", "boolean"):
        return value
    if kind in ("set", "array"):
        items = [_literal(item) for item in value]
        return None if None in items else items
    if kind == "object":
        pairs = [(_literal(key), _literal(item)) for key, item in value]
        computed = any(item is None or not isinstance(key, str) for key, item in pairs)
        return None if computed else dict(pairs)
    return None


def _references(module: dict[str, Any], source: str) -> list[Problem]:
    """What it calls and what data it reads."""
    own = {rule["head"].get("name") for rule in _rules(module)}
    problems: dict[str, Problem] = {}
    for node in _nodes(_rules(module)):
        for called in _called(node):
            if called not in own and not called.startswith(FAMILIES) and called not in OPERATORS:
                why = WHY_NOT.get(called) or "it is not among the functions that a rule may use"
                line = _line(source, re.escape(called))
                problems[called] = Problem(line, "builtin", f"{called} is not to be used: {why}.")
        if "with" in node and isinstance(node["with"], list):
            problems["with"] = Problem(_line(source, r"\bwith\b"), "reference", "“with” is not to be used.")
        if _reads(node) == "":
            line = _line(source, r"\bdata\b(?!\.facts\.)") or _line(source, r"\bdata\b")
            message = "Of data, a rule reads data.facts.<name> only, with the name written out."
            problems["data"] = Problem(line, "reference", message)
    return list(problems.values())


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    """Every object in a part of the syntax tree."""
    todo = [value]
    while todo:
        each = todo.pop()
        if isinstance(each, dict):
            yield each
            # The head of a data reference was looked at with the reference itself.
            todo.extend(item for key, item in each.items() if not (key == "value" and _reads(each)))
            if _reads(each):
                todo.extend(each["value"][3:])
        elif isinstance(each, list):
            todo.extend(each)


def _called(node: dict[str, Any]) -> Iterator[str]:
    terms = node.get("terms") if isinstance(node.get("terms"), list) else None
    if node.get("type") == "call":
        terms = node["value"]
    if terms and isinstance(terms[0], dict) and terms[0].get("type") == "ref":
        yield ".".join(str(part.get("value")) for part in terms[0]["value"])


def _reads(node: dict[str, Any]) -> str | None:
    """The document of `data.facts` that a node refers to; "" for any other part of data; None for no reference to data."""
    if node.get("type") == "var" and node.get("value") == "data":
        return ""
    parts = node.get("value")
    if node.get("type") != "ref" or not isinstance(parts, list) or not parts:
        return None
    if parts[0] != {"type": "var", "value": "data"}:
        return None
    if (
        len(parts) >= 3
        and parts[1] == {"type": "string", "value": "facts"}
        and parts[2].get("type") == "string"
    ):
        return str(parts[2]["value"])
    return ""


def _declared(module: dict[str, Any]) -> Declared:
    reasons = _constant(module, "reasons") if _named(module, "reasons") else {}
    read = {found for node in _nodes(_rules(module)) if (found := _reads(node))}
    actions = set(_constant(module, "actions"))
    return Declared(
        name=_name(module),
        actions=[ANY_ACTION] if ANY_ACTION in actions else sorted(actions),
        reasons={code: Reason(**row) for code, row in sorted(reasons.items())},
        facts=sorted(read),
    )


def _line(source: str, pattern: str) -> int:
    """The first line with the pattern outside comments; 0 where there is none."""
    for number, line in enumerate(source.splitlines(), 1):
        if re.search(pattern, line.split("#", 1)[0]):
            return number
    return 0
