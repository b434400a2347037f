"""The active bundle: which rules and which data decide, under one revision that is bound to the log (Constitution § 8.1).

Its manifest names the voted bytes of each rule in force and each data document by hash; the revision is the hash of the
manifest. Enacting, suspending and setting data make the next bundle in their own transaction. A decision is only ever
kept under the bundle that is active at that moment, so that one row switches all instances at once.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import Any

import msgspec
import rfc8785
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.errors import Conflict, NotFound
from workflows.kinds import PolicyState
from workflows.policy_creation.loading import check_reason
from workflows.policy_enforcement.combine import RuleInForce
from workflows.policy_enforcement.says import ANY_ACTION, Declared, Facts
from workflows.roles import insist, may_roll_back
from workflows.storage.tables import (
    audit_checkpoint,
    bundle,
    bundle_active,
    fact,
    policy,
    policy_version,
    rule_check,
)
from workflows.storage.unit import Unit

FORMAT = "acgs.bundle/1"
TOPIC = "enforcement"


class FactInForce(msgspec.Struct, frozen=True):
    name: str
    sha256: str


class LogPoint(msgspec.Struct, frozen=True):
    """The newest checkpoint when the bundle was made: {size, root}; size 0 before the first."""

    size: int
    root: str


class Manifest(msgspec.Struct, frozen=True):
    format: str
    log: LogPoint
    rules: list[RuleInForce]  # by policy reference
    facts: list[FactInForce]  # by name

    def canonical(self) -> bytes:
        return rfc8785.dumps(msgspec.to_builtins(self))


class Bundle(msgspec.Struct, frozen=True, dict=True):
    """All that is needed to decide: the manifest, each rule's voted source by policy, and the data by name."""

    revision: str
    manifest: Manifest
    sources: dict[str, str]
    facts: Facts

    @cached_property
    def _places(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {ANY_ACTION: []}
        for place, rule in enumerate(self.manifest.rules):
            for action in rule.declared.actions:
                found.setdefault(action, []).append(place)
        return found

    def about(self, action_type: str) -> list[RuleInForce]:
        """The rules that are about an action type, in the bundle's order."""
        places = {*self._places[ANY_ACTION], *self._places.get(action_type, ())}
        return [self.manifest.rules[place] for place in sorted(places)]


EMPTY = Manifest(FORMAT, LogPoint(0, ""), [], [])


def revision_of(manifest: Manifest) -> str:
    return hashlib.sha256(manifest.canonical()).hexdigest()


async def active_revision(connection: AsyncConnection) -> str | None:
    return (await connection.execute(sa.select(bundle_active.c.revision))).scalar_one_or_none()


async def ensure_active(unit: Unit) -> str:
    """The active revision; where there was none yet, that of the bundle made now."""
    return await active_revision(unit.connection) or await renew(unit, "first use")


async def renew(unit: Unit, cause: str) -> str:
    """Make the bundle of what is in force now and activate it, in this transaction. Answers with its revision."""
    await unit.connection.execute(sa.text("SELECT pg_advisory_xact_lock(hashtext('acgs.bundle'))"))
    manifest = Manifest(FORMAT, await _log_point(unit), await _rules(unit), await _facts(unit))
    revision = revision_of(manifest)
    made = insert(bundle).values(
        revision=revision,
        manifest=manifest.canonical(),
        cause=cause,
        log_size=manifest.log.size,
        made_at=unit.now,
    )
    await unit.connection.execute(made.on_conflict_do_nothing())
    await _activate(unit, revision, rolled_back=False)
    await unit.record(
        "bundle.activated",
        f"bundle:{revision[:16]}",
        revision=revision,
        cause=cause,
        rules=len(manifest.rules),
        facts=len(manifest.facts),
        log_size=manifest.log.size,
    )
    return revision


async def bind(unit: Unit) -> bool:
    """Make the active bundle anew once there is a checkpoint, if it is from before the first; whether it was made."""
    query = (
        sa.select(bundle.c.revision)
        .join(bundle_active, bundle_active.c.revision == bundle.c.revision)
        .where(
            bundle.c.log_size == 0,
            ~bundle_active.c.rolled_back,
            sa.exists(sa.select(audit_checkpoint.c.size).where(audit_checkpoint.c.size > 0)),
        )
    )
    if await unit.row(query) is None:
        return False
    await renew(unit, "the first checkpoint")
    return True


async def roll_back(unit: Unit, revision: str, reason: str) -> None:
    """Activate an earlier bundle again. It stands until the next change of rules or data.

    Raises Refused, NotFound, Conflict `already_active`, and Conflict `rule_not_in_force` for a bundle with a rule that
    was suspended since: what the council took out of force does not come back by a side door (§ 6.4).
    """
    insist(may_roll_back(unit.actor))
    said = check_reason(reason)
    await unit.connection.execute(sa.text("SELECT pg_advisory_xact_lock(hashtext('acgs.bundle'))"))
    row = await unit.row(sa.select(bundle).where(bundle.c.revision == revision))
    if row is None:
        raise NotFound(f"There is no bundle {revision[:16]}.", code="no_bundle")
    before = await active_revision(unit.connection)
    if before == revision:
        raise Conflict("This bundle is the active one.", code="already_active")
    manifest = msgspec.json.decode(row["manifest"], type=Manifest)
    in_force = {(rule.policy, rule.version) for rule in await _rules(unit)}
    gone = [rule.policy for rule in manifest.rules if (rule.policy, rule.version) not in in_force]
    if gone:
        raise Conflict(f"{gone[0]} is not in force any more.", code="rule_not_in_force")
    await _activate(unit, revision, rolled_back=True)
    await unit.record(
        "bundle.rolled_back",
        f"bundle:{revision[:16]}",
        revision=revision,
        before=before,
        personal={"reason": said},
    )


async def _activate(unit: Unit, revision: str, *, rolled_back: bool) -> None:
    values = {"revision": revision, "activated_at": unit.now, "rolled_back": rolled_back}
    statement = insert(bundle_active).values(id=1, **values)
    await unit.connection.execute(statement.on_conflict_do_update(index_elements=["id"], set_=values))
    unit.publish(TOPIC, "activated", revision=revision)


async def _log_point(unit: Unit) -> LogPoint:
    query = sa.select(audit_checkpoint.c.size, audit_checkpoint.c.root).order_by(
        audit_checkpoint.c.size.desc()
    )
    row = (await unit.connection.execute(query.limit(1))).one_or_none()
    return LogPoint(row.size, row.root.hex()) if row else LogPoint(0, "")


async def _rules(unit: Unit) -> list[RuleInForce]:
    """The rules of enacted policies; what each declares was found by the check that let it on its ballot."""
    declared = (
        sa.select(rule_check.c.report["declared"])
        .where(rule_check.c.version_sha256 == policy_version.c.version_sha256, rule_check.c.passed)
        .order_by(rule_check.c.checked_at.desc())
        .limit(1)
        .scalar_subquery()
    )
    query = (
        sa.select(
            policy.c.ref,
            policy_version.c.number,
            policy_version.c.version_sha256,
            policy_version.c.rule_engine,
            policy_version.c.rule_source,
            declared.label("declared"),
        )
        .join(
            policy_version,
            (policy_version.c.policy_id == policy.c.id)
            & (policy_version.c.number == policy.c.current_version),
        )
        .where(policy.c.state == PolicyState.ENACTED, policy_version.c.rule_source.is_not(None))
        .order_by(policy.c.ref)
    )
    return [
        RuleInForce(
            policy=row["ref"],
            version=row["number"],
            version_sha256=row["version_sha256"],
            engine=row["rule_engine"],
            source_sha256=hashlib.sha256(row["rule_source"].encode()).hexdigest(),
            declared=msgspec.convert(row["declared"], Declared),
        )
        for row in await unit.rows(query)
        if row["declared"]
        is not None  # enacted before rules were run: its text is in force, its rule never was
    ]


async def _facts(unit: Unit) -> list[FactInForce]:
    query = sa.select(fact.c.name, fact.c.sha256).where(fact.c.superseded_at.is_(None)).order_by(fact.c.name)
    return [FactInForce(row["name"], row["sha256"]) for row in await unit.rows(query)]


async def load(connection: AsyncConnection, revision: str) -> Bundle:
    """A bundle with the bytes it names. Raises NotFound."""
    row = (
        await connection.execute(sa.select(bundle.c.manifest).where(bundle.c.revision == revision))
    ).scalar_one_or_none()
    if row is None:
        raise NotFound(f"There is no bundle {revision[:16]}.", code="no_bundle")
    manifest = msgspec.json.decode(row, type=Manifest)
    wanted = {rule.version_sha256: rule.policy for rule in manifest.rules}
    query = sa.select(policy_version.c.version_sha256, policy_version.c.rule_source).where(
        policy_version.c.version_sha256.in_(wanted)
    )
    sources = {wanted[sha256]: source for sha256, source in await connection.execute(query)}
    documents = sa.select(fact.c.name, fact.c.sha256, fact.c.body).where(
        fact.c.name.in_([item.name for item in manifest.facts])
    )
    kept = {(name, sha256): body for name, sha256, body in await connection.execute(documents)}
    facts: dict[str, Any] = {
        item.name: msgspec.json.decode(kept[item.name, item.sha256]) for item in manifest.facts
    }
    return Bundle(revision, manifest, sources, facts)
