"""Drift: whether a rule in force changes as many actions as its impact replay promised before the ballot."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa

from workflows.constitution.figures import Figures
from workflows.errors import Unavailable
from workflows.kinds import PolicyState, Severity, ViolationKind
from workflows.policy_creation.views import RuleDraft
from workflows.policy_enforcement import replay, rules, violations
from workflows.policy_enforcement.engines.pool import TooSlow
from workflows.policy_enforcement.patterns import DRIFT_LEAST, drifts
from workflows.policy_enforcement.replay import Replayed
from workflows.policy_enforcement.rulebook import Rulebook
from workflows.policy_enforcement.violations import Finding
from workflows.storage.tables import impact, policy, policy_version, rule_check

DRIFT = "drift"  # what a rule may say in its own table, for how grave it is
BEHIND = 100  # actions that are put behind a record


async def look(rulebook: Rulebook, figures: Figures) -> list[str]:
    """Compare each rule in force with its promise, and put drifts on record. Answers with the records' references.

    Both sides are counted alike: of the actions a rule is about, those that come out otherwise than without it.
    """
    async with rulebook.units() as unit:
        rows = await unit.rows(_promises())
    found = []
    for row in rows:
        try:
            finding = await _compare(rulebook, row)
        except (Unavailable, TooSlow):
            continue  # looked at again with the next look
        if finding is not None:
            async with rulebook.units() as unit:
                finding = msgspec.structs.replace(finding, at=unit.now)
                now = (
                    unit.constitution.figures if unit.constitution else figures
                )  # it may have been amended since
                if ref := await violations.put_on_record(unit, now, finding):
                    found.append(ref)
    return found


async def _compare(rulebook: Rulebook, row: sa.RowMapping) -> Finding | None:
    promised = msgspec.convert(row["promised"], Replayed)
    report = msgspec.convert(row["report"], rules.Report)
    if promised.in_scope < DRIFT_LEAST or report.declared is None:
        return None
    since: datetime = row["enacted_at"]
    rule = RuleDraft(row["rule_engine"], row["rule_source"], [])
    shown = await replay.replay(rulebook, rule, report.declared, of=row["ref"], since=since)
    if not drifts((promised.changed, promised.in_scope), (shown.changed, shown.in_scope)):
        return None
    return Finding(
        kind=ViolationKind.DRIFT,
        severity=Severity(report.declared.reasons[DRIFT].severity)
        if DRIFT in report.declared.reasons
        else Severity.MEDIUM,
        code=DRIFT,
        summary=f"The rule changes {_share(shown)} of the actions it is about; before its ballot it was {_share(promised)}.",
        subject="",
        action_type="",
        policy_ref=row["ref"],
        decisions=[change.decision for change in shown.changes[:BEHIND]],
        at=since,
    )


def _share(found: Replayed) -> str:
    return f"{round(100 * found.changed / found.in_scope)} % ({found.changed} of {found.in_scope})"


def _promises() -> sa.Select[Any]:
    """Rules in force, with the last replay before their ballot closed and the check that declared what they are about."""
    v = policy_version.c
    latest = (
        sa.select(rule_check.c.report)
        .where(rule_check.c.version_sha256 == v.version_sha256, rule_check.c.passed)
        .order_by(rule_check.c.checked_at.desc())
        .limit(1)
        .scalar_subquery()
    )
    promised = (
        sa.select(impact.c.report)
        .where(impact.c.version_sha256 == v.version_sha256, impact.c.made_at <= policy.c.enacted_at)
        .order_by(impact.c.made_at.desc())
        .limit(1)
        .scalar_subquery()
    )
    return (
        sa.select(
            policy.c.ref,
            policy.c.enacted_at,
            v.rule_engine,
            v.rule_source,
            latest.label("report"),
            promised.label("promised"),
        )
        .join(policy_version, (v.policy_id == policy.c.id) & (v.number == policy.c.current_version))
        .where(policy.c.state == PolicyState.ENACTED, latest.is_not(None), promised.is_not(None))
        .order_by(policy.c.ref)
    )
