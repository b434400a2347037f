"""What pages and the API show of enforcement: what is in force, decisions, how fast they were made."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.errors import NotFound
from workflows.kinds import DecisionMode, Outcome, Severity, ViolationState
from workflows.policy_creation.views import Page
from workflows.policy_enforcement.bundle import Manifest
from workflows.policy_enforcement.combine import Decided
from workflows.policy_enforcement.rules import Report
from workflows.storage import paging
from workflows.storage.tables import (
    bundle,
    bundle_active,
    decision,
    obligation,
    policy,
    rule_check,
    violation,
    violation_decision,
)

RECENT = timedelta(hours=24)  # over which counts and latencies are taken


class BundleView(msgspec.Struct, frozen=True):
    """A bundle: which change made it, when, and the checkpoint of the log it is bound to."""

    revision: str
    cause: str
    rules: int
    facts: int
    log_size: int
    made_at: datetime
    active: bool
    activated_at: datetime | None = None
    rolled_back: bool = False  # active because the council went back to it


class Standing(msgspec.Struct, frozen=True):
    """How enforcement stands. Latencies in microseconds, None where nothing was decided in the time."""

    bundle: BundleView | None
    rules: list[dict[str, Any]]  # policy, version, engine, name, actions, title
    decisions: dict[str, int]  # by outcome, in the last 24 hours, binding ones
    tried: int  # that only tried it out
    latency_us: dict[str, int | None]  # p50, p95, p99
    open_violations: int
    since: datetime


class OwedView(msgspec.Struct, frozen=True):
    """An obligation of a grant."""

    id: UUID
    key: str
    text: str
    policy_ref: str
    due_at: datetime
    met_at: datetime | None
    missed_at: datetime | None


class DecisionView(msgspec.Struct, frozen=True):
    """A decision. `input` is None for whoever may not see it, or when it was erased."""

    id: UUID
    mode: DecisionMode
    outcome: Outcome
    severity: Severity
    action_type: str
    revision: str
    why: Decided
    latency_us: int
    made_at: datetime
    input_commitment: str
    subject: str | None
    input: dict[str, Any] | None
    salt: str | None  # hex; with the input, it opens the commitment
    erased: bool
    lapses_at: datetime | None
    lapsed_at: datetime | None
    obligations: list[OwedView] = []
    violations: list[str] = []


async def standing(connection: AsyncConnection, now: datetime) -> Standing:
    """What is in force, and the figures of the last 24 hours of governance time."""
    since = now - RECENT
    current = await active(connection)
    held = (
        msgspec.json.decode(await manifest(connection, current.revision), type=Manifest) if current else None
    )
    d = decision.c
    binding = d.mode == DecisionMode.ENFORCE
    shares = [sa.func.percentile_disc(share).within_group(d.latency_us) for share in (0.5, 0.95, 0.99)]
    counts = [sa.func.count().filter(binding, d.outcome == outcome) for outcome in Outcome]
    query = sa.select(*counts, sa.func.count().filter(~binding), *shares).where(d.made_at >= since)
    row = (await connection.execute(query)).one()
    opened = sa.select(sa.func.count()).select_from(violation).where(violation.c.state == ViolationState.OPEN)
    return Standing(
        bundle=current,
        rules=await _rules(connection, held) if held else [],
        decisions=dict(zip([str(item) for item in Outcome], row[:3], strict=True)),
        tried=row[3],
        latency_us=dict(zip(("p50", "p95", "p99"), row[4:], strict=True)),
        open_violations=(await connection.execute(opened)).scalar_one(),
        since=since,
    )


async def manifest(connection: AsyncConnection, revision: str) -> bytes:
    """The manifest's bytes, whose SHA-256 is the revision. Raises NotFound."""
    query = sa.select(bundle.c.manifest).where(bundle.c.revision == revision)
    body = (await connection.execute(query)).scalar_one_or_none()
    if body is None:
        raise NotFound(f"There is no bundle {revision[:16]}.", code="no_bundle")
    return body


async def _rules(connection: AsyncConnection, found: Manifest) -> list[dict[str, Any]]:
    refs = [rule.policy for rule in found.rules]
    query = sa.select(policy.c.ref, policy.c.title).where(policy.c.ref.in_(refs))
    titles = {row[0]: row[1] for row in await connection.execute(query)}
    return [
        {
            "policy": rule.policy,
            "title": titles[rule.policy],
            "version": rule.version,
            "engine": rule.engine,
            "name": rule.declared.name,
            "actions": rule.declared.actions,
        }
        for rule in found.rules
    ]


class Hour(msgspec.Struct, frozen=True):
    """Binding decisions of one hour, by outcome."""

    since: datetime
    allow: int
    conditional_allow: int
    deny: int

    @property
    def total(self) -> int:
        return self.allow + self.conditional_allow + self.deny


async def hours(connection: AsyncConnection, now: datetime) -> list[Hour]:
    """The last 24 hours of governance time, oldest first; hours without decisions are there, too."""
    d = decision.c
    binding = (d.mode == DecisionMode.ENFORCE, d.made_at > now - RECENT, d.made_at <= now)
    age = sa.func.floor(sa.extract("epoch", sa.literal(now) - d.made_at) / 3600)
    counts = [sa.func.count().filter(d.outcome == outcome) for outcome in Outcome]
    query = sa.select(age, *counts).where(*binding).group_by(age)
    found = {int(row[0]): row[1:] for row in await connection.execute(query)}
    return [Hour(now - timedelta(hours=back + 1), *found.get(back, (0, 0, 0))) for back in range(23, -1, -1)]


class CheckedRule(msgspec.Struct, frozen=True):
    """The newest check of a version's rule. `current`: made under the bundle that is active now."""

    found: Report
    passed: bool
    checked_at: datetime
    current: bool


async def checked(connection: AsyncConnection, version_sha256: str) -> CheckedRule | None:
    """What the gate found of a version's rule; None where it did not look yet."""
    query = (
        sa.select(rule_check, bundle_active.c.id.is_not(None).label("current"))
        .outerjoin(bundle_active, bundle_active.c.revision == rule_check.c.revision)
        .where(rule_check.c.version_sha256 == version_sha256)
        .order_by(bundle_active.c.id.is_(None), rule_check.c.checked_at.desc())
        .limit(1)
    )
    row = (await connection.execute(query)).mappings().one_or_none()
    if row is None:
        return None
    found = msgspec.convert(row["report"], Report)
    return CheckedRule(found, row["passed"], row["checked_at"], row["current"])


async def active(connection: AsyncConnection) -> BundleView | None:
    """The active bundle; None before the first."""
    found = await bundles(connection, only_active=True)
    return found[0] if found else None


async def bundles(
    connection: AsyncConnection, *, only_active: bool = False, limit: int = 50
) -> list[BundleView]:
    """The newest bundles."""
    query = (
        sa.select(bundle, bundle_active.c.activated_at, bundle_active.c.rolled_back)
        .outerjoin(bundle_active, bundle_active.c.revision == bundle.c.revision)
        .order_by(bundle.c.made_at.desc(), bundle.c.revision)
        .limit(limit)
    )
    if only_active:
        query = query.where(bundle_active.c.id.is_not(None))
    views = []
    for row in (await connection.execute(query)).mappings():
        held = msgspec.json.decode(row["manifest"], type=Manifest)
        views.append(
            BundleView(
                revision=row["revision"],
                cause=row["cause"],
                rules=len(held.rules),
                facts=len(held.facts),
                log_size=row["log_size"],
                made_at=row["made_at"],
                active=row["activated_at"] is not None,
                activated_at=row["activated_at"],
                rolled_back=bool(row["rolled_back"]),
            )
        )
    return views


async def decisions(
    connection: AsyncConnection,
    *,
    limit: int = 50,
    cursor: str | None = None,
    outcome: Outcome | None = None,
    action_type: str | None = None,
    policy_ref: str | None = None,
    sees_inputs: bool = False,
) -> Page[DecisionView]:
    """Decisions, newest first. `policy_ref`: those in which that policy's rule was asked."""
    query = sa.select(decision)
    if outcome:
        query = query.where(decision.c.outcome == outcome)
    if action_type:
        query = query.where(decision.c.action_type == action_type)
    if policy_ref:
        query = query.where(decision.c.why["said"].has_key(policy_ref))
    rows, after, before = await paging.page_of(
        connection, query, decision.c.made_at, decision.c.id, limit=limit, cursor=cursor
    )
    items = [_view(row, sees_inputs=sees_inputs) for row in rows]
    return Page(items=items, next=after, prev=before, limit=limit, has_more=after is not None)


async def one(connection: AsyncConnection, decision_id: UUID, *, sees_inputs: bool) -> DecisionView:
    """A decision with its obligations and the violations it is part of. Raises NotFound."""
    row = (
        (await connection.execute(sa.select(decision).where(decision.c.id == decision_id)))
        .mappings()
        .one_or_none()
    )
    if row is None:
        raise NotFound(f"There is no decision {decision_id}.", code="no_decision")
    o = obligation.c
    owed = sa.select(o.id, o.key, o.text, o.policy_ref, o.due_at, o.met_at, o.missed_at).where(
        o.decision_id == decision_id
    )
    part = (
        sa.select(violation.c.ref)
        .join(violation_decision, violation_decision.c.violation_id == violation.c.id)
        .where(violation_decision.c.decision_id == decision_id)
        .order_by(violation.c.ref)
    )
    return msgspec.structs.replace(
        _view(row, sees_inputs=sees_inputs),
        obligations=[
            OwedView(**item) for item in (await connection.execute(owed.order_by(o.due_at))).mappings()
        ],
        violations=list((await connection.execute(part)).scalars()),
    )


def _view(row: sa.RowMapping, *, sees_inputs: bool) -> DecisionView:
    shown = sees_inputs and row["input"] is not None
    return DecisionView(
        id=row["id"],
        mode=DecisionMode(row["mode"]),
        outcome=Outcome(row["outcome"]),
        severity=Severity(row["severity"]),
        action_type=row["action_type"],
        revision=row["revision"],
        why=msgspec.convert(row["why"], Decided),
        latency_us=row["latency_us"],
        made_at=row["made_at"],
        input_commitment=row["input_commitment"],
        subject=row["subject"] if shown else None,
        input=msgspec.json.decode(row["input"]) if shown else None,
        salt=row["salt"].hex() if shown else None,
        erased=row["input"] is None,
        lapses_at=row["lapses_at"],
        lapsed_at=row["lapsed_at"],
    )
