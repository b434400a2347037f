"""Evidence that comes after the submission may make a version's tier stricter until its ballot opens, never milder (§ 4.1).

The first assessment reads clauses (policy_creation.risk). Here is weighed what was found since: breaches of principles, by
how grave and how sure they are; what a rule says it is about; and how much of what was done lately it would have changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import sqlalchemy as sa

from workflows.constitution.figures import Figures
from workflows.constitutional_compliance import asking
from workflows.constitutional_compliance.findings import Finding, Result
from workflows.errors import Invalid
from workflows.kinds import (
    Compliance,
    CreationStage,
    PolicyState,
    RiskLevel,
    Severity,
    Strategy,
    ValidationCause,
    WorkflowStatus,
)
from workflows.orchestrator import stages
from workflows.policy_creation import reviews
from workflows.policy_creation.lifecycle import insist_takes
from workflows.policy_creation.loading import lock_policy, update_policy
from workflows.policy_creation.risk import LEVELS, QUOTE, STRATEGIES
from workflows.policy_creation.rules import comment_end, review_progress
from workflows.policy_creation.views import Evidence
from workflows.policy_enforcement.rules import Report
from workflows.roles import insist, may_edit
from workflows.storage.tables import impact, policy, policy_version, rule_check
from workflows.storage.unit import Unit

LIKELY = 0.5  # an unsure finding counts from here on, one step milder than a sure one
ANY_ACTION = "*"
FEW = 50  # actions: a share of fewer says nothing
# Of the last actions, how many a rule would have changed: from 1 in 100 on it is felt, from 1 in 10 it changes the ways of all.
FELT, BY_ALL = 0.01, 0.1
BY_SEVERITY = {
    Severity.CRITICAL: RiskLevel.CRITICAL,
    Severity.HIGH: RiskLevel.HIGH,
    Severity.MEDIUM: RiskLevel.MEDIUM,
    Severity.LOW: RiskLevel.LOW,
    Severity.NONE: RiskLevel.LOW,
}


def from_findings(result: Result) -> Iterator[Evidence]:
    """What breaches are evidence of. A text that was found to comply has sure ones only, if any."""
    for finding in result.findings:
        level = _gravity(finding, result.verdict)
        if level is not None and level != RiskLevel.LOW:
            span = finding.span
            yield Evidence(
                kind="compliance_finding",
                level=level,
                explanation=f"It {'breaks' if finding.sure else 'may break'} the principle "
                f"“{finding.principle.replace('_', ' ')}”, as {finding.analyser.replace('_', ' ')} found.",
                field=span.of if span else ("rule" if finding.analyser == "behaviour" else "title"),
                quote=span.quote[:QUOTE] if span else "",
                start=span.start if span else -1,
                end=min(span.end, span.start + QUOTE) if span else -1,
            )


def _gravity(finding: Finding, verdict: Compliance) -> RiskLevel | None:
    level = BY_SEVERITY[finding.severity]
    if finding.sure:
        return level
    if verdict == Compliance.COMPLIANT or finding.score < LIKELY:
        return None
    return LEVELS[max(LEVELS.index(level) - 1, 0)]


def from_scope(actions: list[str]) -> Iterator[Evidence]:
    """What a rule says it is about."""
    if ANY_ACTION in actions:
        yield Evidence(
            kind="rule_scope",
            level=RiskLevel.HIGH,
            explanation="Its rule is about every action there is.",
            field="rule",
            quote=ANY_ACTION,
        )


def from_impact(actions: int, changed: int) -> Iterator[Evidence]:
    """How much of what was done lately would have come out otherwise."""
    share = changed / actions if actions >= FEW else 0.0
    if share >= FELT:
        yield Evidence(
            kind="impact",
            level=RiskLevel.HIGH if share >= BY_ALL else RiskLevel.MEDIUM,
            explanation=f"Its rule would have changed {changed} of the last {actions} actions.",
            field="rule",
        )


async def weigh(unit: Unit, figures: Figures, row: dict[str, Any], result: Result | None = None) -> bool:
    """Make the tier of a locked policy's standing version stricter where evidence asks for it; whether it did.

    Then its text is judged anew at the stricter tier, the comment period runs as that one says, and a review that is not
    complete any more goes on.
    """
    evidence = [*(from_findings(result) if result else ()), *await _of_rule(unit, row["version_sha256"])]
    if not evidence or row["state"] not in (PolicyState.IN_REVIEW, PolicyState.PUBLIC_COMMENT):
        return False
    gravest = max(evidence, key=lambda item: LEVELS.index(item.level)).level
    wanted = STRATEGIES[LEVELS.index(gravest)]
    if STRATEGIES.index(wanted) <= STRATEGIES.index(row["strategy"]):
        return False
    await _raise(unit, figures, row, wanted, gravest, evidence)
    return True


async def _of_rule(unit: Unit, version_sha256: str) -> list[Evidence]:
    """What the newest look at a version's rule, and its newest replay, are evidence of."""
    check = (
        sa.select(rule_check.c.report)
        .where(rule_check.c.version_sha256 == version_sha256)
        .order_by(rule_check.c.checked_at.desc())
        .limit(1)
        .scalar_subquery()
    )
    replayed = (
        sa.select(impact.c.actions, impact.c.changed)
        .where(impact.c.version_sha256 == version_sha256)
        .order_by(impact.c.made_at.desc())
        .limit(1)
        .subquery()
    )
    one = sa.select(check.label("report")).subquery()
    found = await unit.row(sa.select(one.c.report, replayed).select_from(one.outerjoin(replayed, sa.true())))
    evidence: list[Evidence] = []
    if found and found["report"]:
        declared = msgspec.convert(found["report"], Report).declared
        evidence.extend(from_scope(list(declared.actions) if declared else []))
    if found and found["actions"]:
        evidence.extend(from_impact(found["actions"], found["changed"]))
    return evidence


async def raise_by_author(unit: Unit, figures: Figures, ref: str, strategy: str) -> None:
    """The proposer asks for a stricter tier (§ 4.1). Raises Refused, Conflict `wrong_state`, Invalid for a milder one."""
    row = await lock_policy(unit, ref)
    insist(may_edit(unit.actor, row["author_id"]))
    insist_takes(row["state"], "raise_tier")
    if strategy not in STRATEGIES or STRATEGIES.index(Strategy(strategy)) <= STRATEGIES.index(
        row["strategy"]
    ):
        raise Invalid(
            f"A tier may be made stricter and never milder (§ 4.1); it is {row['strategy'].replace('_', ' ')} now.",
            code="not_stricter",
        )
    await _raise(unit, figures, row, Strategy(strategy), None, [])


async def _raise(
    unit: Unit,
    figures: Figures,
    row: dict[str, Any],
    strategy: Strategy,
    level: RiskLevel | None,
    evidence: list[Evidence],
) -> None:
    v = policy_version.c
    here = (v.policy_id == row["id"]) & (v.number == row["current_version"])
    version = await unit.row(
        sa.select(v.risk_evidence, v.risk_level, v.created_at).where(here).with_for_update()
    )
    assert version is not None
    known = msgspec.convert(version["risk_evidence"], list[Evidence])
    added = [item for item in evidence if item not in known]
    harder = level is not None and LEVELS.index(level) > LEVELS.index(version["risk_level"])
    await unit.connection.execute(
        policy_version.update()
        .where(here)
        .values(
            strategy=strategy,
            risk_level=level if harder else version["risk_level"],
            risk_evidence=msgspec.to_builtins([*known, *added]),
        )
    )
    before, row["strategy"] = row["strategy"], strategy
    begun = max(row["submitted_at"], version["created_at"])
    ends_at = max(row["comment_ends_at"], comment_end(begun, figures, strategy, row["emergency"]))
    asked = {} if level else {"requested_strategy": strategy}
    await update_policy(
        unit, row, comment_ends_at=ends_at, **asked, **await _review_goes_on(unit, figures, row)
    )
    await unit.record(
        "policy.tier_raised",
        row["ref"],
        version=row["current_version"],
        before=str(before),
        strategy=str(strategy),
        by="evidence" if level else "proposer",
        evidence=[{"kind": item.kind, "level": str(item.level)} for item in added],
    )
    await asking.ask(unit, row, ValidationCause.TIER_RAISED)
    await unit.enqueue("deadlines", {}, due=ends_at)
    unit.publish(f"policy:{row['ref']}", "tier_raised")


async def _review_goes_on(unit: Unit, figures: Figures, row: dict[str, Any]) -> dict[str, Any]:
    """The state of a policy whose review was complete for the milder tier, and is not for the stricter one."""
    if row["state"] != PolicyState.PUBLIC_COMMENT:
        return {}
    given = await reviews.given(unit, row["id"], row["current_version"])
    if review_progress(figures.tier(row["strategy"]), row["author_id"], given).complete:
        return {}
    await stages.enter(
        unit, row["workflow_id"], CreationStage.STAKEHOLDER_REVIEW, WorkflowStatus.WAITING_APPROVAL
    )
    return {"state": PolicyState.IN_REVIEW}


async def sweep(unit: Unit, figures: Figures) -> list[str]:
    """Weigh what was found of the rules of versions on their way; the references of those whose tier became stricter."""
    p, v = policy.c, policy_version.c
    query = (
        sa.select(p.ref)
        .join(policy_version, (v.policy_id == p.id) & (v.number == p.current_version))
        .where(
            p.state.in_((PolicyState.IN_REVIEW, PolicyState.PUBLIC_COMMENT)),
            v.rule_source.is_not(None),
            v.strategy != Strategy.HUMAN_REVIEW,
        )
        .order_by(p.ref)
    )
    raised = []
    for found in await unit.rows(query):
        row = await lock_policy(unit, found["ref"])
        if await weigh(unit, figures, row):
            raised.append(found["ref"])
    return raised
