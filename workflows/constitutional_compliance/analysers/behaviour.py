"""Runs a policy's own rule and looks at what it allows: beyond its examples, in the trail, on one's own behalf.

Each probe is an input that the rule is asked, as machines will ask it; what comes out is the evidence. The rule runs alone,
in the engine that will run it when it is in force.
"""

from __future__ import annotations

import copy
import json
import re
import time
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from workflows.constitution.document import Constitution
from workflows.constitutional_compliance.analysers.contradictions import CONSISTENCY
from workflows.constitutional_compliance.analysers.structural import concluded
from workflows.constitutional_compliance.findings import SEVERITIES, Analyser, Finding, Subject
from workflows.errors import Unavailable
from workflows.kinds import Outcome, Severity
from workflows.policy_creation.views import RuleDraft
from workflows.policy_enforcement.bundle import EMPTY, Bundle, revision_of
from workflows.policy_enforcement.combine import Decided
from workflows.policy_enforcement.engines.pool import TooSlow
from workflows.policy_enforcement.rulebook import Engine
from workflows.policy_enforcement.rules import CANDIDATE, Conflict, alone, outcomes
from workflows.policy_enforcement.says import ANY_ACTION, Declared, Input, type_of

NAME = "behaviour"
HUMAN = "human_control"
STRANGER = "somebody-nobody-knows"
UNHEARD = "something.no-rule-speaks-of"
NOTHING_WRONG = "Nothing of what it was asked is wrong to allow. That tells little, so that it has no part in the consensus."
_TRAIL = re.compile(r"(?:^|[._-])(?:audit|log|trail|entry|entries|record)s?(?:[._-]|$)", re.I)
_DESTROYS = re.compile(
    r"(?:delete|erase|purge|wipe|overwrite|rewrite|truncate|backdate|edit|alter|remove)", re.I
)
_DECIDERS = re.compile(
    r"^(?:approv|review|decid|judg|assess|granted_by|authoris|authoriz|panel|signed_off)", re.I
)
_OWNED = re.compile(r"(?:polic|proposal|draft|appeal|amendment|violation)", re.I)
_LOCKDOWN = re.compile(r"lockdown", re.I)


class Probe(msgspec.Struct, frozen=True):
    """An input, and what it says of a rule that allows it."""

    input: Input
    principle: str
    says: str
    sure: bool
    score: float


EVERYTHING = Bundle(revision_of(EMPTY), EMPTY, {}, {})


async def analyse(
    engine: Engine | None,
    subject: Subject,
    constitution: Constitution,
    bundle: Bundle = EVERYTHING,
    conflicts: Sequence[Conflict] = (),
) -> Analyser:
    """`bundle` holds the data that the rule may read; `conflicts` are those with rules in force that the gate found."""
    began = time.perf_counter()
    absent = Analyser(NAME, "engine", subject.rule_engine or "", present=False)
    if subject.rule_engine is None or not subject.rule_source:
        return msgspec.structs.replace(absent, why="The text carries no rule.")
    if engine is None:
        return msgspec.structs.replace(absent, why="There is no engine that could run the rule.")
    rule = RuleDraft(subject.rule_engine, subject.rule_source, subject.rule_examples)
    try:
        checked = await engine.check(rule.engine, rule.source)
        if checked.declared is None:
            return msgspec.structs.replace(
                absent, why=f"The rule cannot be run: {checked.problems[0].message}"
            )
        findings = await _probed(engine, rule, checked.declared, constitution, bundle)
    except TooSlow:
        return msgspec.structs.replace(absent, why="The rule takes too long to answer.")
    except Unavailable as error:
        return msgspec.structs.replace(absent, why=error.detail)
    clashes = tuple(_clash(conflict) for conflict in conflicts)
    found = msgspec.structs.replace(absent, present=True, findings=(*findings, *clashes))
    return concluded(found, NOTHING_WRONG, time.perf_counter() - began)


async def _probed(
    engine: Engine, rule: RuleDraft, declared: Declared, constitution: Constitution, bundle: Bundle
) -> tuple[Finding, ...]:
    by_itself = alone(bundle, rule, declared, CANDIDATE)
    examples = [example["input"] for example in rule.examples if isinstance(example.get("input"), dict)]
    of_examples = await outcomes(engine, by_itself, examples)
    allowed = [input for input, decided in zip(examples, of_examples, strict=True) if _allows(decided)]
    probes = [*probes_of(declared, allowed)]
    decided = await outcomes(engine, by_itself, [probe.input for probe in probes])
    found = {
        (probe.principle, probe.says): probe
        for probe, each in zip(probes, decided, strict=True)
        if _allows(each)
    }
    findings = [_finding(probe, constitution) for probe in found.values()]
    allows_all = any(item and item.principle == HUMAN for item in findings)
    if (
        examples
        and not allows_all
        and not any(each.outcome == Outcome.DENY for each in (*of_examples, *decided))
    ):
        everything = f"It denied nothing of {len(examples) + len(probes)} things it was asked."
        findings.append(_finding(Probe(examples[0], HUMAN, everything, False, 0.5), constitution))
    return tuple(item for item in findings if item is not None)


def probes_of(declared: Declared, allowed: Sequence[Input]) -> Iterator[Probe]:
    """What a rule is asked: `allowed` are the inputs of its examples that it allows."""
    anything = declared.actions == [ANY_ACTION]
    actions = ["audit.delete", "log.entry.erase"] if anything else declared.actions
    if anything:
        yield Probe(
            _bare(UNHEARD),
            HUMAN,
            "It is about all actions, and allows one that nobody has heard of.",
            True,
            1.0,
        )
    for action in actions:
        if _TRAIL.search(action) and _DESTROYS.search(action):
            yield Probe(
                _bare(action),
                "lasting_trail",
                f"It allows “{action}”, which takes entries from the trail.",
                True,
                1.0,
            )
        elif _LOCKDOWN.search(action):
            says = f"It allows “{action}” to somebody who is not of the council."
            yield Probe(_bare(action), "graduated_response", says, True, 1.0)
        elif not anything:
            says = f"It allows “{action}” to anybody, with nothing said about it."
            yield Probe(_bare(action), HUMAN, says, False, 0.5)
    for input in allowed:
        yield from _varied(input)


def _varied(input: Input) -> Iterator[Probe]:
    """An allowed example, asked again on behalf of one who decides about it, or who is nobody."""
    kind = type_of(input)
    if _TRAIL.search(kind) and _DESTROYS.search(kind):
        yield Probe(
            input, "lasting_trail", f"It allows “{kind}”, which takes entries from the trail.", True, 1.0
        )
    for field in _deciders(input.get("action", {})):
        own = copy.deepcopy(input)
        own["subject"] = {**(own.get("subject") or {}), "id": STRANGER}
        held = own["action"][field]
        own["action"][field] = [STRANGER, *held[1:]] if isinstance(held, list) else STRANGER
        for maker in ("author", "proposer", "owner", "applicant", "requested_by"):
            if maker in own["action"]:
                own["action"][maker] = STRANGER
        sure = bool(_OWNED.search(kind))
        says = f"It allows “{kind}” where the one it is for stands in “{field}”: they decide on their own behalf."
        yield Probe(own, "separation_of_duties", says, sure, 1.0 if sure else 0.6)
    if _LOCKDOWN.search(kind):
        other = copy.deepcopy(input)
        other["subject"] = {"id": STRANGER, "roles": ["operator"]}
        yield Probe(other, "graduated_response", f"It allows “{kind}” to an operator.", True, 1.0)


def _deciders(action: Any) -> list[str]:
    """The fields of an action that name who decides about it."""
    if not isinstance(action, dict):
        return []
    return [
        name
        for name, held in action.items()
        if _DECIDERS.search(name)
        and (
            (isinstance(held, str) and held)
            or (isinstance(held, list) and held and all(isinstance(item, str) for item in held))
        )
    ]


def _bare(action: str) -> Input:
    return {"action": {"type": action}, "subject": {"id": STRANGER}, "context": {}}


def _allows(decided: Decided) -> bool:
    return decided.outcome != Outcome.DENY


def _finding(probe: Probe, constitution: Constitution) -> Finding | None:
    principle = next((item for item in constitution.principles if item.key == probe.principle), None)
    if principle is None:
        return None
    return Finding(
        principle=principle.key,
        severity=SEVERITIES[principle.weight],
        explanation=f"{probe.says} Asked: {json.dumps(probe.input, ensure_ascii=False, sort_keys=True)[:400]}",
        analyser=NAME,
        score=probe.score,
        sure=probe.sure,
        articles=principle.articles,
    )


def _clash(conflict: Conflict) -> Finding:
    return Finding(CONSISTENCY, Severity.MEDIUM, conflict.text, NAME, 0.6, False, policy=conflict.policy)
