"""Anchors as the worker sees them: of a policy's record, of a checkpoint of the audit log, or of an amended constitution."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from chain.config import ChainConfig
from workflows.kinds import AnchorKind, AnchorState, Category, Priority, WorkflowStatus
from workflows.storage.tables import amendment, anchor, policy, policy_version, workflow
from workflows.storage.unit import Unit

OPEN = (AnchorState.QUEUED, AnchorState.SUBMITTED, AnchorState.CONFIRMED)
SENT = (AnchorState.SUBMITTED, AnchorState.CONFIRMED)


@dataclass(frozen=True, kw_only=True)
class Row:
    """An anchor, whatever it is of."""

    id: UUID
    kind: AnchorKind
    state: AnchorState
    record: bytes
    record_sha256: str
    chain_policy_id: int  # of the account it is about: a deactivation's policy, a checkpoint's audit record
    memo: str
    constitution_sha256: str
    cluster: str | None
    genesis_hash: str | None
    program_id: str | None
    account: str | None
    signature: str | None
    transaction: bytes | None
    last_valid_block_height: int | None
    slot: int | None
    attempts: int
    error: str | None
    submitted_at: datetime | None

    def due(self, now: datetime) -> bool:
        """Whether its back-off is over: 2, 4, 8, … seconds after the last attempt, at most 60."""
        return self.wait(now) <= timedelta()

    def wait(self, now: datetime) -> timedelta:
        if not self.attempts or self.submitted_at is None:
            return timedelta()
        return self.submitted_at + timedelta(seconds=min(2 ** min(self.attempts, 6), 60)) - now


@dataclass(frozen=True, kw_only=True)
class PolicyRow(Row):
    """Of a policy's record, or of its deactivation."""

    ref: str
    category: Category
    priority: Priority
    workflow_id: UUID
    executing: bool  # whether the workflow stands at its implementation
    policy_finalized: bool  # whether the policy's own anchor is finalized

    @property
    def name(self) -> str:
        return self.ref


@dataclass(frozen=True, kw_only=True)
class CheckpointRow(Row):
    """Of the audit log at `checkpoint_size` entries. Once it was signed, `durable` says what stands in the transaction."""

    checkpoint_size: int
    durable: bool

    @property
    def name(self) -> str:
        return f"checkpoint {self.checkpoint_size}"


@dataclass(frozen=True, kw_only=True)
class ConstitutionRow(Row):
    """Of the hash of an amended constitution; amendments are written in the order of their `number`."""

    ref: str  # of the policy that amended it
    number: int
    sha256: str
    previous_sha256: str
    later: tuple[str, ...]  # hashes of the documents adopted since

    @property
    def name(self) -> str:
        return f"constitution {self.sha256[:16]}"


AnyRow = PolicyRow | CheckpointRow | ConstitutionRow
_target = anchor.alias("target")


def statement() -> sa.Select:
    """Anchors with, where they are a policy's, that policy and its own anchor, on which a deactivation waits."""
    about = (
        (_target.c.policy_id == anchor.c.policy_id)
        & (_target.c.version == anchor.c.version)
        & (_target.c.kind == AnchorKind.POLICY)
    )
    version = (policy_version.c.policy_id == anchor.c.policy_id) & (
        policy_version.c.number == anchor.c.version
    )
    adopted = (
        (amendment.c.policy_id == anchor.c.policy_id)
        & (amendment.c.version == anchor.c.version)
        & (anchor.c.kind == AnchorKind.CONSTITUTION)
    )
    joined = (
        anchor.outerjoin(policy, policy.c.id == anchor.c.policy_id)
        .outerjoin(workflow, workflow.c.id == policy.c.workflow_id)
        .outerjoin(policy_version, version)
        .outerjoin(_target, about)
        .outerjoin(amendment, adopted)
    )
    own = set(Row.__dataclass_fields__) | {"checkpoint_size", "durable"}
    since = amendment.alias("since")
    later = sa.select(since.c.sha256).where(since.c.number > amendment.c.number).order_by(since.c.number)
    return sa.select(
        *(anchor.c[name] for name in sorted(own)),
        policy.c.ref,
        policy.c.priority,
        policy.c.workflow_id,
        policy_version.c.category,
        (workflow.c.status == WorkflowStatus.EXECUTING).label("executing"),
        sa.func.coalesce(_target.c.state == AnchorState.FINALIZED, False).label("policy_finalized"),
        amendment.c.number,
        amendment.c.sha256,
        amendment.c.previous_sha256,
        sa.func.array(later.scalar_subquery(), type_=pg.ARRAY(sa.Text)).label("later"),
    ).select_from(joined)


_MADE: dict[AnchorKind, type[AnyRow]] = {
    AnchorKind.CHECKPOINT: CheckpointRow,
    AnchorKind.CONSTITUTION: ConstitutionRow,
}


def row(found: sa.RowMapping) -> AnyRow:
    values = dict(found)
    values["kind"], values["state"] = AnchorKind(values["kind"]), AnchorState(values["state"])
    values["chain_policy_id"] = int(values["chain_policy_id"])
    values["record"] = bytes(values["record"])
    made = _MADE.get(values["kind"], PolicyRow)
    if made is ConstitutionRow:
        values["later"] = tuple(values["later"])
    if made is PolicyRow:
        values["category"], values["priority"] = Category(values["category"]), Priority(values["priority"])
    return made(**{name: values[name] for name in made.__dataclass_fields__})


async def open_rows(unit: Unit) -> list[AnyRow]:
    """Everything that is not at an end, oldest first."""
    found = statement().where(anchor.c.state.in_(OPEN)).order_by(anchor.c.queued_at, anchor.c.id)
    return [row(item) for item in await unit.rows(found)]


async def finalized_amendments(unit: Unit, config: ChainConfig) -> list[ConstitutionRow]:
    """Those that stood on this cluster and program, newest first."""
    found = (
        statement()
        .where(
            anchor.c.kind == AnchorKind.CONSTITUTION,
            anchor.c.state == AnchorState.FINALIZED,
            anchor.c.cluster == config.cluster,
            anchor.c.program_id == str(config.program_id),
        )
        .order_by(amendment.c.number.desc())
    )
    return [item for item in map(row, await unit.rows(found)) if isinstance(item, ConstitutionRow)]


async def finalized_policies(unit: Unit, config: ChainConfig, limit: int) -> list[PolicyRow]:
    """The newest finalized anchors of policies on this cluster and program."""
    found = (
        statement()
        .where(
            anchor.c.policy_id.is_not(None),  # has an index; of checkpoints there are half a million a year
            anchor.c.state == AnchorState.FINALIZED,
            anchor.c.cluster == config.cluster,
            anchor.c.program_id == str(config.program_id),
        )
        .order_by(anchor.c.finalized_at.desc())
        .limit(limit)
    )
    return [item for item in map(row, await unit.rows(found)) if isinstance(item, PolicyRow)]
