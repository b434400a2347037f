"""From vote to machine: what is found of a policy's rule before it may go to a ballot.

It compiles, its own examples come out as its author says, they still do among the rules in force, and so do the examples
of those. A version's report is kept for the bundle it was made under; another bundle asks for another report.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from workflows.errors import Unavailable
from workflows.kinds import Outcome, PolicyState
from workflows.policy_creation.views import RuleDraft
from workflows.policy_enforcement.bundle import FORMAT, Bundle, LogPoint, Manifest, revision_of
from workflows.policy_enforcement.combine import Decided, RuleInForce, combine
from workflows.policy_enforcement.engines.pool import CHECKING, TooSlow
from workflows.policy_enforcement.engines.worker import Question
from workflows.policy_enforcement.rulebook import Engine, Rulebook, Units
from workflows.policy_enforcement.says import Declared, Problem, Said, type_of
from workflows.storage.tables import policy, policy_version, rule_check

CANDIDATE = "this rule"
EXPECTS: dict[Any, tuple[Outcome, ...]] = {
    "allow": (Outcome.ALLOW,),
    "conditional_allow": (Outcome.CONDITIONAL_ALLOW,),
    "deny": (Outcome.DENY,),
    True: (Outcome.ALLOW, Outcome.CONDITIONAL_ALLOW),
    False: (Outcome.DENY,),
}
WAITING = (PolicyState.IN_REVIEW, PolicyState.PUBLIC_COMMENT)


class ExampleResult(msgspec.Struct, frozen=True):
    """An example and what came out. `among`: what came out among the rules in force; "" where it was not asked."""

    number: int  # from 1
    expect: str
    got: str
    why: str
    passed: bool
    among: str = ""


class Conflict(msgspec.Struct, frozen=True):
    """A rule in force with which this one does not go together, and by which example."""

    policy: str
    text: str


class Report(msgspec.Struct, frozen=True):
    """What was found of a rule."""

    declared: Declared | None
    problems: list[Problem]
    examples: list[ExampleResult] = []
    conflicts: list[Conflict] = []

    @property
    def passed(self) -> bool:
        return not self.problems and not self.conflicts and all(item.passed for item in self.examples)

    def summary(self) -> str:
        """The first thing that is wrong, in a sentence; empty when nothing is."""
        if self.problems:
            at = f" (line {self.problems[0].line})" if self.problems[0].line else ""
            return f"The rule cannot be run: {self.problems[0].message}{at}"
        failed = [item for item in self.examples if not item.passed]
        if failed:
            return f"Example {failed[0].number} should give {failed[0].expect} and gives {failed[0].got}."
        return self.conflicts[0].text if self.conflicts else ""


class Examined(msgspec.Struct, frozen=True):
    """The examples of a rule in force."""

    policy: str
    examples: list[dict[str, Any]]


async def examine(
    engine: Engine, rule: RuleDraft, bundle: Bundle, others: list[Examined], *, of: str = CANDIDATE
) -> Report:
    """Judge a rule under a bundle. `others` are the examples of the rules in it. Raises Unavailable."""
    checked = await engine.check(rule.engine, rule.source)
    if checked.declared is None:
        return Report(None, checked.problems)
    problems = _misread(rule.examples)
    if problems:
        return Report(checked.declared, problems)
    among = with_rule(bundle, rule, checked.declared, of)
    by_itself = alone(bundle, rule, checked.declared, of)
    try:
        return await _among(engine, rule, checked.declared, bundle, by_itself, among, others, of)
    except TooSlow:
        return Report(
            checked.declared, [Problem(0, "limit", "The examples take too long: a rule has 40 ms.")]
        )


async def _among(
    engine: Engine,
    rule: RuleDraft,
    declared: Declared,
    bundle: Bundle,
    by_itself: Bundle,
    among: Bundle,
    others: list[Examined],
    of: str,
) -> Report:
    inputs = [example["input"] for example in rule.examples]
    own = await outcomes(engine, by_itself, inputs)
    together = await outcomes(engine, among, inputs)
    examples = [
        _result(number, example["expect"], mine, among=all_)
        for number, (example, mine, all_) in enumerate(zip(rule.examples, own, together, strict=True), 1)
    ]
    conflicts = _own_conflicts(examples, together, of)
    holder = next((item for item in bundle.manifest.rules if item.declared.name == declared.name), None)
    if holder is not None and holder.policy != of:
        conflicts.append(
            Conflict(holder.policy, f"{holder.policy} has a rule with the name “{declared.name}” already.")
        )
    return Report(
        declared, [], examples, conflicts + await _others(engine, declared, bundle, among, others, of)
    )


def _misread(examples: list[dict[str, Any]]) -> list[Problem]:
    problems = []
    if not examples:
        problems.append(Problem(0, "example", "Give at least one example of what the rule decides."))
    for number, example in enumerate(examples, 1):
        if not isinstance(example["expect"], str | bool) or example["expect"] not in EXPECTS:
            message = f"Example {number} expects allow, conditional_allow or deny."
            problems.append(Problem(0, "example", message))
        elif not isinstance(example["input"], dict) or not type_of(example["input"]):
            message = f'The input of example {number} is {{"action": {{"type": …}}, …}}.'
            problems.append(Problem(0, "example", message))
    return problems


def with_rule(bundle: Bundle, rule: RuleDraft, declared: Declared, of: str) -> Bundle:
    """The bundle with the rule in it, in place of an earlier version of the same policy or a rule of the same name."""
    kept = [
        item for item in bundle.manifest.rules if item.policy != of and item.declared.name != declared.name
    ]
    return _made(bundle, kept, (rule, declared, of))


def alone(bundle: Bundle, rule: RuleDraft, declared: Declared, of: str) -> Bundle:
    """The rule with the data of the bundle, and no other rule."""
    return _made(bundle, [], (rule, declared, of))


def without(bundle: Bundle, of: str) -> Bundle:
    """The bundle without the rule of a policy, if that has one in it."""
    kept = [item for item in bundle.manifest.rules if item.policy != of]
    return bundle if len(kept) == len(bundle.manifest.rules) else _made(bundle, kept, None)


def _made(bundle: Bundle, kept: list[RuleInForce], added: tuple[RuleDraft, Declared, str] | None) -> Bundle:
    """A bundle that never becomes active, to ask what would be."""
    sources = {item.policy: bundle.sources[item.policy] for item in kept}
    mine = []
    if added:
        rule, declared, of = added
        digest = hashlib.sha256(rule.source.encode()).hexdigest()
        mine = [RuleInForce(of, 0, digest, rule.engine, digest, declared)]
        sources[of] = rule.source
    rules = sorted([*kept, *mine], key=lambda item: item.policy)
    manifest = Manifest(FORMAT, LogPoint(0, ""), rules, bundle.manifest.facts)
    return Bundle(revision_of(manifest), manifest, sources, bundle.facts)


async def outcomes(
    engine: Engine, bundle: Bundle, inputs: list[dict[str, Any]], seconds: float = CHECKING
) -> list[Decided]:
    """What a bundle decides of each input, without restrictions. Raises TooSlow, Unavailable."""
    scopes = [bundle.about(type_of(input)) for input in inputs]
    questions = [
        Question([rule.policy for rule in scope], input) for scope, input in zip(scopes, inputs, strict=True)
    ]
    said: list[dict[str, Said]] = await engine.replay(bundle, questions, seconds) if questions else []
    return [combine(scope, answer) for scope, answer in zip(scopes, said, strict=True)]


def _result(number: int, expect: Any, decided: Decided, *, among: Decided) -> ExampleResult:
    return ExampleResult(
        number=number,
        expect=_shown(expect),
        got=str(decided.outcome),
        why=" ".join(reason.text for reason in decided.reasons),
        passed=decided.outcome in EXPECTS[expect],
        among=str(among.outcome),
    )


def _shown(expect: Any) -> str:
    return {True: "allow", False: "deny"}.get(expect, expect) if isinstance(expect, bool) else str(expect)


def _own_conflicts(examples: list[ExampleResult], together: list[Decided], of: str) -> list[Conflict]:
    """Examples that hold for the rule alone and not among the rules in force."""
    found = []
    for example, decided in zip(examples, together, strict=True):
        if example.passed and example.among != example.got:
            cause = next((reason for reason in decided.reasons if reason.policy not in (None, of)), None)
            policy = (cause.policy if cause else None) or "the rules in force"
            text = f"Example {example.number} gives {example.got} by itself, and {example.among} because of {policy}."
            found.append(Conflict(policy, text))
    return found


async def _others(
    engine: Engine, declared: Declared, bundle: Bundle, among: Bundle, others: list[Examined], of: str
) -> list[Conflict]:
    """Examples of rules in force that would come out differently."""
    asked = [
        (other.policy, number, example["input"])
        for other in others
        if other.policy != of
        for number, example in enumerate(other.examples, 1)
        if type_of(example["input"]) in declared.actions or declared.actions == ["*"]
    ]
    inputs = [input for _, _, input in asked]
    before, after = await outcomes(engine, bundle, inputs), await outcomes(engine, among, inputs)
    return [
        Conflict(policy, f"Example {number} of {policy} would give {new.outcome} instead of {old.outcome}.")
        for (policy, number, _), old, new in zip(asked, before, after, strict=True)
        if old.outcome != new.outcome
    ]


async def examples_in_force(units: Units, bundle: Bundle) -> list[Examined]:
    """The voted examples of each rule in a bundle."""
    wanted = {rule.version_sha256: rule.policy for rule in bundle.manifest.rules}
    query = sa.select(policy_version.c.version_sha256, policy_version.c.rule_examples).where(
        policy_version.c.version_sha256.in_(wanted)
    )
    async with units() as unit:
        return [Examined(wanted[row[0]], row[1]) for row in await unit.connection.execute(query)]


async def judge(rulebook: Rulebook, rule: RuleDraft, *, of: str = CANDIDATE) -> Report:
    """Judge a rule under the bundle that is active now. Raises Unavailable."""
    bundle = await rulebook.load(await rulebook.look())
    return await examine(
        rulebook.engine, rule, bundle, await examples_in_force(rulebook.units, bundle), of=of
    )


async def judge_waiting(rulebook: Rulebook) -> int:
    """Judge each version on its way to a ballot that has no report under the active bundle; how many there were.

    The engine is asked outside any transaction. Rules that cannot be judged now are judged when this runs again.
    """
    revision = await rulebook.look()
    async with rulebook.units() as unit:
        rows = await unit.rows(_unjudged(revision))
    done = 0
    for row in rows:
        rule = RuleDraft(row["rule_engine"], row["rule_source"], row["rule_examples"] or [])
        try:
            report = await judge(rulebook, rule, of=row["ref"])
        except Unavailable:
            break
        await keep(rulebook.units, row["version_sha256"], revision, report)
        done += 1
    return done


def _unjudged(revision: str) -> sa.Select:
    judged = sa.exists().where(
        rule_check.c.version_sha256 == policy_version.c.version_sha256, rule_check.c.revision == revision
    )
    return (
        sa.select(
            policy.c.ref,
            policy_version.c.version_sha256,
            policy_version.c.rule_engine,
            policy_version.c.rule_source,
            policy_version.c.rule_examples,
        )
        .join(
            policy_version,
            (policy_version.c.policy_id == policy.c.id)
            & (policy_version.c.number == policy.c.current_version),
        )
        .where(policy.c.state.in_(WAITING), policy_version.c.rule_source.is_not(None), ~judged)
        .order_by(policy.c.ref)
    )


async def keep(units: Units, version_sha256: str, revision: str, report: Report) -> None:
    """Keep a version's report. It follows from what is entered in the log, so that no entry is made of it."""
    async with units() as unit:
        values = {
            "version_sha256": version_sha256,
            "revision": revision,
            "passed": report.passed,
            "report": msgspec.to_builtins(report),
            "checked_at": unit.now,
        }
        await unit.connection.execute(insert(rule_check).values(values).on_conflict_do_nothing())
