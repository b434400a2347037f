"""What surrounds a wish: the policies in force that a draft may begin with, and the names of rules that are taken."""

from __future__ import annotations

import sqlalchemy as sa

from workflows.constitution.document import Constitution
from workflows.kinds import PolicyState
from workflows.policy_creation.synthesis.shapes import Setting, Standing, Wish
from workflows.policy_creation.views import RuleDraft
from workflows.policy_enforcement.rulebook import Units
from workflows.storage.tables import policy, policy_version, rule_name

MOST, LARGEST = 200, 2_000_000  # policies, the newest; characters of all their texts


async def look(units: Units, constitution: Constitution, wish: Wish) -> Setting:
    chosen = set(wish.principles)
    async with units() as unit:
        taken = (await unit.connection.execute(sa.select(rule_name.c.name))).scalars().all()
        rows = await unit.rows(_in_force())
    return Setting(
        standing=tuple(_bounded([_standing(row) for row in rows])),
        taken=tuple(taken),
        principles=tuple(item for item in constitution.principles if item.key in chosen),
        appeal_hours=constitution.figures.appeal_hours.value,
        voting_days=constitution.figures.voting_days.value,
    )


def _in_force() -> sa.Select:
    version = policy_version.c
    return (
        sa.select(
            policy.c.ref,
            version.number,
            version.version_sha256,
            version.title,
            version.summary,
            version.text,
            version.category,
            version.rule_engine,
            version.rule_source,
            version.rule_examples,
        )
        .join(
            policy_version, (version.policy_id == policy.c.id) & (version.number == policy.c.current_version)
        )
        .where(policy.c.state == PolicyState.ENACTED)
        .order_by(policy.c.enacted_at.desc(), policy.c.ref)
        .limit(MOST)
    )


def _standing(row: sa.RowMapping) -> Standing:
    rule = (
        RuleDraft(row["rule_engine"], row["rule_source"], row["rule_examples"])
        if row["rule_source"]
        else None
    )
    return Standing(
        ref=row["ref"],
        version=row["number"],
        version_sha256=row["version_sha256"],
        title=row["title"],
        summary=row["summary"],
        text=row["text"],
        category=row["category"],
        rule=rule,
    )


def _bounded(standing: list[Standing]) -> list[Standing]:
    kept, size = [], 0
    for item in standing:
        size += len(item.text)
        if size > LARGEST:
            break
        kept.append(item)
    return kept
