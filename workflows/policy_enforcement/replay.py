"""Impact replay: had this rule been in force for the last actions, these would have been decided otherwise.

Both sides are asked anew, under the rules that are active now and under those with the rule in question beside them, so
that nothing else makes a difference. Actions that the rule is not about cannot change, and are counted without being asked.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from workflows.errors import Unavailable
from workflows.kinds import DecisionMode, Outcome, PolicyState
from workflows.policy_creation.views import RuleDraft
from workflows.policy_enforcement import rules
from workflows.policy_enforcement.bundle import Bundle
from workflows.policy_enforcement.engines.pool import TooSlow
from workflows.policy_enforcement.rulebook import Rulebook, Units
from workflows.policy_enforcement.says import ANY_ACTION, Declared
from workflows.storage.tables import decision, impact, policy, policy_version, rule_check

LAST = 5_000  # actions that are looked at
SHOWN = 500  # changes that are kept with their decision
BATCH = 500
SECONDS = 20.0  # for one batch
WAITING = (PolicyState.IN_REVIEW, PolicyState.PUBLIC_COMMENT, PolicyState.VOTING)


class Change(msgspec.Struct, frozen=True):
    """An action that would have been decided otherwise."""

    decision: UUID
    action_type: str
    made_at: datetime
    before: Outcome
    after: Outcome
    why: str


class Replayed(msgspec.Struct, frozen=True):
    """What a rule would have changed. `counts` are of before → after pairs as "allow>deny"."""

    actions: int
    in_scope: int
    changed: int
    counts: dict[str, int]
    changes: list[Change]  # the newest SHOWN
    first_at: datetime | None
    last_at: datetime | None


class Action(msgspec.Struct, frozen=True):
    """A recorded action as it was asked about."""

    id: UUID
    action_type: str
    made_at: datetime
    input: dict[str, Any]


async def recorded(units: Units, limit: int = LAST, since: datetime | None = None) -> list[Action]:
    """The last binding decisions whose input is still there, newest first; with `since`, those made after it."""
    d = decision.c
    query = (
        sa.select(d.id, d.action_type, d.made_at, d.input)
        .where(d.mode == DecisionMode.ENFORCE, d.input.is_not(None))
        .order_by(d.made_at.desc(), d.id.desc())
        .limit(limit)
    )
    if since is not None:
        query = query.where(d.made_at > since)
    async with units() as unit:
        return [
            Action(row["id"], row["action_type"], row["made_at"], msgspec.json.decode(row["input"]))
            for row in await unit.rows(query)
        ]


async def replay(
    rulebook: Rulebook,
    rule: RuleDraft,
    declared: Declared,
    *,
    of: str,
    limit: int = LAST,
    since: datetime | None = None,
) -> Replayed:
    """Ask about the last actions with and without the rule. `of` is its policy. Raises Unavailable, TooSlow."""
    bundle = await rulebook.load(await rulebook.look())
    actions = await recorded(rulebook.units, limit, since)
    about = [
        item for item in actions if ANY_ACTION in declared.actions or item.action_type in declared.actions
    ]
    changes = []
    for start in range(0, len(about), BATCH):
        changes.extend(await _changes(rulebook, bundle, rule, declared, about[start : start + BATCH], of))
    counts: dict[str, int] = {}
    for change in changes:
        key = f"{change.before}>{change.after}"
        counts[key] = counts.get(key, 0) + 1
    return Replayed(
        actions=len(actions),
        in_scope=len(about),
        changed=len(changes),
        counts=counts,
        changes=changes[:SHOWN],
        first_at=actions[-1].made_at if actions else None,
        last_at=actions[0].made_at if actions else None,
    )


async def _changes(
    rulebook: Rulebook, bundle: Bundle, rule: RuleDraft, declared: Declared, actions: list[Action], of: str
) -> list[Change]:
    inputs = [item.input for item in actions]
    without = rules.without(bundle, of)
    among = rules.with_rule(bundle, rule, declared, of)
    before = await rules.outcomes(rulebook.engine, without, inputs, SECONDS)
    after = await rules.outcomes(rulebook.engine, among, inputs, SECONDS)
    return [
        Change(
            action.id,
            action.action_type,
            action.made_at,
            old.outcome,
            new.outcome,
            " ".join(reason.text for reason in new.reasons)[:500],
        )
        for action, old, new in zip(actions, before, after, strict=True)
        if old.outcome != new.outcome
    ]


async def replay_waiting(rulebook: Rulebook) -> int:
    """Replay each version before or on its ballot that was judged sound and has no replay under the active bundle."""
    revision = await rulebook.look()
    async with rulebook.units() as unit:
        rows = await unit.rows(_unreplayed(revision))
    done = 0
    for row in rows:
        report = msgspec.convert(row["report"], rules.Report)
        rule = RuleDraft(row["rule_engine"], row["rule_source"], row["rule_examples"] or [])
        if report.declared is None:
            continue
        try:
            found = await replay(rulebook, rule, report.declared, of=row["ref"])
        except (Unavailable, TooSlow):
            break
        await keep(rulebook.units, row["version_sha256"], revision, found)
        done += 1
    return done


def _unreplayed(revision: str) -> sa.Select:
    v = policy_version.c
    done = sa.exists().where(impact.c.version_sha256 == v.version_sha256, impact.c.revision == revision)
    latest = (
        sa.select(rule_check.c.report)
        .where(rule_check.c.version_sha256 == v.version_sha256)
        .order_by(rule_check.c.checked_at.desc())
        .limit(1)
        .scalar_subquery()
    )
    return (
        sa.select(
            policy.c.ref,
            v.version_sha256,
            v.rule_engine,
            v.rule_source,
            v.rule_examples,
            latest.label("report"),
        )
        .join(policy_version, (v.policy_id == policy.c.id) & (v.number == policy.c.current_version))
        .where(policy.c.state.in_(WAITING), v.rule_source.is_not(None), ~done, latest.is_not(None))
        .order_by(policy.c.ref)
    )


async def keep(units: Units, version_sha256: str, revision: str, found: Replayed) -> None:
    """Keep a replay. It follows from decisions that are entered, so that no entry is made of it."""
    async with units() as unit:
        values = {
            "version_sha256": version_sha256,
            "revision": revision,
            "actions": found.actions,
            "changed": found.changed,
            "report": msgspec.to_builtins(found),
            "made_at": unit.now,
        }
        await unit.connection.execute(insert(impact).values(values).on_conflict_do_nothing())
