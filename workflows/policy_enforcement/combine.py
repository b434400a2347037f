"""From what each rule says, and the restrictions in force, to one decision with its reasons. Pure (Constitution § 8.1).

What no rule allows is denied; a denial by any rule, and a rule that cannot be asked, stand above every allowance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from workflows.kinds import Ladder, Outcome, Severity
from workflows.policy_enforcement.says import Declared, Obligation, Said

SILENT = Severity.MEDIUM  # where a rule's table does not say how grave a denial is
UNRULED = Severity.LOW  # nothing allows it, and nothing forbids it either
CANNOT_BE_ASKED = Severity.HIGH


class RuleInForce(msgspec.Struct, frozen=True):
    """A rule as a bundle names it."""

    policy: str  # POL-2026-0007
    version: int
    version_sha256: str
    engine: str
    source_sha256: str
    declared: Declared


class Restricting(msgspec.Struct, frozen=True):
    """A restriction as a decision sees it."""

    id: UUID
    level: Ladder
    violation: str | None
    expires_at: datetime


class WhyOne(msgspec.Struct, frozen=True):
    """One reason. `policy` is None where no policy is behind it: default deny, a restriction, an engine that is away."""

    code: str  # the rule's own, or allowed, no_rule, restricted, rule_error, engine_away, bad_input
    text: str
    severity: Severity
    policy: str | None = None
    version: int | None = None
    rule: str | None = None
    restriction: UUID | None = None


class OwedObligation(msgspec.Struct, frozen=True):
    policy: str
    version: int
    id: str
    text: str
    within_seconds: int


class Decided(msgspec.Struct, frozen=True):
    """The decision, and all it follows from: `said` by policy, and the restrictions that applied."""

    outcome: Outcome
    severity: Severity
    reasons: list[WhyOne]
    obligations: list[OwedObligation]
    said: dict[str, Said]
    restrictions: list[Restricting] = []
    under: str | None = None


def combine(
    rules: Sequence[RuleInForce],
    said: Mapping[str, Said],
    restrictions: Sequence[Restricting] = (),
    *,
    under: str | None = None,
) -> Decided:
    """Decide. `rules` are those in scope; one that is missing from `said` counts as one that could not be asked.

    With `under`, only that policy may allow; any may deny.
    """
    answers = {rule.policy: said.get(rule.policy, Said(error="it was not asked")) for rule in rules}
    denials = [_restricted(item) for item in restrictions]
    for rule in rules:
        denials.extend(_denials(rule, answers[rule.policy]))
    allowing = [
        rule
        for rule in rules
        if answers[rule.policy].allow and not answers[rule.policy].error and under in (None, rule.policy)
    ]
    reasons, obligations = denials, []
    if not denials and not allowing:
        reasons = [_unruled(rules, under)]
    elif not denials:
        reasons = [_allowed(rule) for rule in allowing]
        obligations = [_owed(rule, owed) for rule in allowing for owed in answers[rule.policy].obligations]
    if denials or not allowing:
        outcome = Outcome.DENY
    else:
        outcome = Outcome.CONDITIONAL_ALLOW if obligations else Outcome.ALLOW
    return Decided(
        outcome=outcome,
        severity=max((reason.severity for reason in reasons), key=list(Severity).index),
        reasons=reasons,
        obligations=obligations,
        said=answers,
        restrictions=list(restrictions),
        under=under,
    )


def refused(code: str, text: str, severity: Severity = CANNOT_BE_ASKED) -> Decided:
    """A denial without any rule having been asked: the engine is away, or the input cannot be read."""
    return Decided(Outcome.DENY, severity, [WhyOne(code, text, severity)], [], {})


def _denials(rule: RuleInForce, said: Said) -> list[WhyOne]:
    if said.error:
        text = f"The rule could not be asked: {said.error}."
        return [_why(rule, "rule_error", text, CANNOT_BE_ASKED)]
    found = []
    for code in said.deny:
        row = rule.declared.reasons.get(code)
        text, severity = (row.message, Severity(row.severity)) if row else (code, SILENT)
        found.append(_why(rule, code, text, severity))
    return found


def _why(rule: RuleInForce, code: str, text: str, severity: Severity) -> WhyOne:
    return WhyOne(code, text, severity, rule.policy, rule.version, rule.declared.name)


def _restricted(item: Restricting) -> WhyOne:
    what = {
        Ladder.TEMPORARY_RESTRICTION: "A temporary restriction",
        Ladder.IMMEDIATE_BLOCK: "A block",
        Ladder.EMERGENCY_LOCKDOWN: "An emergency lockdown",
    }[item.level]
    text = f"{what} is in force until {item.expires_at:%Y-%m-%d %H:%M} UTC."
    return WhyOne("restricted", text, SILENT, restriction=item.id)


def _unruled(rules: Sequence[RuleInForce], under: str | None) -> WhyOne:
    about = "No rule in force is about this action" if not rules else "No rule in force allows this"
    if under is not None:
        about = f"{under} does not allow this"
    return WhyOne("no_rule", f"{about}, and what no rule allows is denied (§ 8.1).", UNRULED)


def _allowed(rule: RuleInForce) -> WhyOne:
    return _why(rule, "allowed", f"{rule.policy} allows it.", Severity.NONE)


def _owed(rule: RuleInForce, owed: Obligation) -> OwedObligation:
    return OwedObligation(rule.policy, rule.version, owed.id, owed.text, owed.within_seconds)


def to_json(decided: Decided) -> dict[str, Any]:
    """As it is stored."""
    return msgspec.to_builtins(decided)
