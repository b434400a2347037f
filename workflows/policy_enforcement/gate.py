"""The gate between review and ballot: a rule that cannot be run, or clashes with one in force, does not pass it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from workflows.policy_enforcement.rules import Report
from workflows.storage.tables import bundle_active, policy, policy_version, rule_check, rule_name
from workflows.storage.unit import Unit


def may_be_asked() -> sa.ColumnElement[bool]:
    """Of a policy: its standing version has no rule, or one that was judged under the active bundle."""
    version = policy_version.c
    unjudged = (
        sa.select(sa.literal(1))
        .select_from(policy_version)
        .where(
            version.policy_id == policy.c.id,
            version.number == policy.c.current_version,
            version.rule_source.is_not(None),
            ~sa.exists().where(
                rule_check.c.version_sha256 == version.version_sha256,
                rule_check.c.revision == bundle_active.c.revision,
            ),
        )
        .correlate(policy)
    )
    return ~unjudged.exists()


async def pass_through(unit: Unit, row: dict[str, Any]) -> str:
    """Let a locked policy's rule through and hold its name for it; else why not, in a sentence.

    The active bundle stays the active one until this transaction ends.
    """
    query = (
        sa.select(rule_check.c.report)
        .join(bundle_active, bundle_active.c.revision == rule_check.c.revision)
        .where(rule_check.c.version_sha256 == row["version_sha256"])
        .with_for_update(read=True, key_share=True, of=bundle_active)
    )
    found = await unit.row(query)
    if found is None:
        return "The rules in force have changed; the rule has to be looked at again."
    report = msgspec.convert(found["report"], Report)
    if not report.passed or report.declared is None:
        return report.summary()
    return await _hold_name(unit, row["id"], report.declared.name)


async def _hold_name(unit: Unit, policy_id: UUID, name: str) -> str:
    await release_name(unit, policy_id)
    held = insert(rule_name).values(name=name, policy_id=policy_id)
    kept = await unit.connection.execute(held.on_conflict_do_nothing().returning(rule_name.c.name))
    if kept.first() is not None:
        return ""
    query = sa.select(policy.c.ref).join(rule_name, rule_name.c.policy_id == policy.c.id)
    other = (await unit.connection.execute(query.where(rule_name.c.name == name))).scalar_one_or_none()
    return f"{other or 'Another policy'} has a rule with the name “{name}” already."


async def release_name(unit: Unit, policy_id: UUID) -> None:
    await unit.connection.execute(rule_name.delete().where(rule_name.c.policy_id == policy_id))
