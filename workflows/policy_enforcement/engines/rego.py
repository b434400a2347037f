"""Decides by Rego: a bundle's modules in one embedded OPA, asked through one entrypoint (openpolicyagent.org, OPA 1.x).

The entrypoint is part of the bundle that an OPA server may pull, so that both give the same answers. It asks only the
rules that are about the action's type, found through an index in the data.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from opa_bindings import OpaEngine
from opa_bindings.engine import OpaError

from workflows.policy_enforcement.says import ANY_ACTION, Facts, Input, Obligation, Said, type_of

ENTRYPOINT_PATH = "acgs/main.rego"
ENTRYPOINT = """package acgs

# What every rule that is about this action says of it.
asked contains name if some name in data.index[input.action.type]

asked contains name if some name in data.index["*"]

says["allow"][name] := data.policies[name].allow if some name in asked

says["deny"][name] := data.policies[name].deny if some name in asked

says["obligations"][name] := data.policies[name].obligations if some name in asked

# The same of one rule, where another of them fails: asked with {"rule": name, "input": …}.
only["allow"] := value if {
	name := input.rule
	value := data.policies[name].allow with input as input.input
}

only["deny"] := value if {
	name := input.rule
	value := data.policies[name].deny with input as input.input
}

only["obligations"] := value if {
	name := input.rule
	value := data.policies[name].obligations with input as input.input
}

# For a caller that takes yes or no: what no rule allows is denied, and a denial stands above every allowance.
default allow := false

allow if {
	some name in asked
	data.policies[name].allow == true
	not denied
}

denied if count(data.policies[asked[_]].deny) > 0

# What rules in another language are about is not for this server alone to allow.
denied if data.elsewhere[_] in {input.action.type, "*"}
"""
MOST_DENIALS, MOST_OBLIGATIONS, LONGEST = 50, 20, 500  # codes; obligations; characters of each
_DURATION = re.compile(
    r"P(?:(?P<days>\d{1,5})D)?(?:T(?:(?P<hours>\d{1,5})H)?(?:(?P<minutes>\d{1,6})M)?(?:(?P<seconds>\d{1,8})S)?)?"
)


class RegoRules:
    """Compiled modules by rule name. Not fork-safe, like the library below it; `close` releases its memory."""

    def __init__(self, sources: Mapping[str, str], actions: Mapping[str, list[str]], facts: Facts) -> None:
        """Raises OpaError when the modules do not compile together."""
        self.engine = OpaEngine()
        self.engine.add_policy(ENTRYPOINT_PATH, ENTRYPOINT)
        for name, source in sources.items():
            self.engine.add_policy(path_of(name), source)
        self.engine.add_data(data_of(actions, facts, []))
        self.index = {action: set(named) for action, named in data_of(actions, {}, [])["index"].items()}
        for path in ("acgs.says", "acgs.only"):  # compiles, so that no decision has to wait for it
            self._document(path, {"action": {"type": ""}, "rule": "", "input": {}})

    def ask(self, names: Iterable[str], input: Input) -> dict[str, Said]:
        """What each of the named rules says. Never raises: a rule that fails is asked alone and says its error."""
        wanted = set(names)
        try:
            # The entrypoint asks all that are about the action: only where these are wanted, as one may be too slow.
            if wanted == self.index[ANY_ACTION] | self.index.get(type_of(input), set()):
                return said_of(self._document("acgs.says", input), wanted)
        except OpaError:
            pass
        return {name: self._alone(name, input) for name in wanted}

    def _alone(self, name: str, input: Input) -> Said:
        try:
            return said(self._document("acgs.only", {"rule": name, "input": input}))
        except OpaError as error:
            return Said(error=_one_line(error.message))

    def _document(self, path: str, input: Input) -> Any:
        return self.engine.eval_document(path, input)

    def close(self) -> None:
        self.engine.close()


KEYS = ("allow", "deny", "obligations")


def said_of(says: Mapping[str, Any], names: Iterable[str]) -> dict[str, Said]:
    """The entrypoint's answer by rule."""
    return {name: said({key: says.get(key, {}).get(name) for key in KEYS}) for name in names}


def path_of(name: str) -> str:
    """Where a rule's module lies in a bundle."""
    return f"rules/{name}.rego"


def data_of(actions: Mapping[str, list[str]], facts: Facts, elsewhere: Iterable[str]) -> dict[str, Any]:
    """The data beside the modules: the documents that rules read, the index from action type to rule names, and the
    action types that rules of another engine are about.
    """
    index: dict[str, list[str]] = {ANY_ACTION: []}
    for name, types in actions.items():
        for each in types:
            index.setdefault(each, []).append(name)
    return {"facts": facts, "index": index, "elsewhere": sorted(set(elsewhere))}


def said(answer: Mapping[str, Any]) -> Said:
    """An engine's answer, held against what an answer may be."""
    allow, deny = answer.get("allow"), answer.get("deny") or []
    if allow is None:
        return Said(error="it does not define allow")
    if not isinstance(allow, bool):
        return Said(error="its allow is neither true nor false")
    if not isinstance(deny, list) or not all(isinstance(code, str) for code in deny):
        return Said(error="its deny is not a set of texts")
    owed = answer.get("obligations") or []
    if len(deny) > MOST_DENIALS or not isinstance(owed, list) or len(owed) > MOST_OBLIGATIONS:
        return Said(error="it says more than a rule may")
    if any(len(code) > LONGEST for code in deny):
        return Said(error="it gives a reason that is too long")
    try:
        obligations = [obligation(item) for item in owed]
    except ValueError as error:
        return Said(error=str(error))
    return Said(
        allow=allow, deny=sorted(deny), obligations=sorted(obligations, key=lambda item: (item.id, item.text))
    )


def obligation(item: Any) -> Obligation:
    """{id, text, within}, `within` an ISO 8601 duration. Raises ValueError in words."""
    if not isinstance(item, dict) or set(item) != {"id", "text", "within"}:
        raise ValueError("an obligation is {id, text, within} and nothing else")
    id, text = item["id"], item["text"]
    if not isinstance(id, str) or not isinstance(text, str) or not 0 < len(id) <= 60 or len(text) > LONGEST:
        raise ValueError("an obligation's id and text are short texts")
    return Obligation(id, text, seconds(item["within"]))


def seconds(duration: Any) -> int:
    """An ISO 8601 duration of days, hours, minutes and seconds. Raises ValueError in words."""
    match = _DURATION.fullmatch(duration) if isinstance(duration, str) else None
    if match is None or not any(match.groups()):
        raise ValueError("an obligation's within is a duration as PT24H or P30D")
    part = {key: int(value or 0) for key, value in match.groupdict().items()}
    found = ((part["days"] * 24 + part["hours"]) * 60 + part["minutes"]) * 60 + part["seconds"]
    if not 0 < found <= 10 * 366 * 86_400:
        raise ValueError("an obligation is due within ten years")
    return found


def _one_line(message: str) -> str:
    return " ".join(message.split())[:300]
