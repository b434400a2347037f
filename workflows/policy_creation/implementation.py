"""Implementation: a passed policy is in force and on its way to the chain; the council may suspend it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import sqlalchemy as sa

from workflows.constitution import amendments
from workflows.kinds import AnchorKind, AnchorState, CreationStage, PolicyState, WorkflowStatus
from workflows.orchestrator import stages
from workflows.policy_creation import records
from workflows.policy_creation.lifecycle import insist_takes
from workflows.policy_creation.loading import check_reason, lock_policy, update_policy
from workflows.policy_creation.tally import Counts
from workflows.policy_enforcement import bundle, gate
from workflows.roles import insist, may_suspend
from workflows.storage.tables import anchor, policy, workflow
from workflows.storage.unit import Unit, new_id


async def enact(unit: Unit, row: dict[str, Any], counts: Counts, electorate: int, ballot_root: str) -> None:
    """Put the locked policy of a ballot that just passed in force, its rule too, and queue its record for the chain."""
    ref, version = row["ref"], row["current_version"]
    record = records.policy_record(
        ref=ref,
        version=version,
        text_hash=row["text_sha256"],
        version_hash=row["version_sha256"],
        tally=(counts.votes_for, counts.votes_against, counts.votes_abstain),
        electorate=electorate,
        root_hash=ballot_root,
        constitution_sha256=unit.constitution_sha256,
    )
    memo = records.policy_memo(
        ref=ref,
        version=version,
        text_hash=row["text_sha256"],
        constitution_sha256=unit.constitution_sha256,
    )
    await update_policy(
        unit, row, state=PolicyState.ENACTED, state_reason=None, decided_at=unit.now, enacted_at=unit.now
    )
    await stages.enter(unit, row["workflow_id"], CreationStage.IMPLEMENTATION, WorkflowStatus.EXECUTING)
    anchor_id = await _queue(
        unit, row, AnchorKind.POLICY, record, memo, chain_policy_id=records.chain_policy_id(record)
    )
    await unit.record(
        "policy.enacted",
        ref,
        version=version,
        version_sha256=row["version_sha256"],
        record_sha256=records.sha256_hex(record),
        anchor=str(anchor_id),
    )
    if row["rule_engine"]:
        await bundle.renew(unit, f"enacted {ref}")
    unit.publish(f"policy:{ref}", "enacted", anchor=str(anchor_id))
    if row["constitution_base_sha256"]:
        await amendments.adopt(unit, row)


async def suspend(unit: Unit, ref: str, reason: str) -> None:
    """Take an enacted policy out of force, and queue its deactivation on chain (Constitution § 6.4)."""
    row = await lock_policy(unit, ref)
    insist(may_suspend(unit.actor))
    insist_takes(row["state"], "suspend")
    said = check_reason(reason)
    version = row["current_version"]
    enacted = await unit.row(
        sa.select(anchor.c.record_sha256, anchor.c.chain_policy_id).where(
            anchor.c.policy_id == row["id"], anchor.c.version == version, anchor.c.kind == AnchorKind.POLICY
        )
    )
    assert enacted is not None, "an enacted policy has its anchor from the same transaction"
    record = records.deactivation_record(
        ref=ref,
        version=version,
        policy_record_sha256=enacted["record_sha256"],
        reason=said,
        constitution_sha256=unit.constitution_sha256,
    )
    memo = records.deactivation_memo(
        ref=ref,
        version=version,
        record_hash=records.sha256_hex(record),
        constitution_sha256=unit.constitution_sha256,
    )
    await update_policy(unit, row, state=PolicyState.SUSPENDED, state_reason=said, suspended_at=unit.now)
    # The account to deactivate is the one that enacting created, hence its id.
    anchor_id = await _queue(
        unit, row, AnchorKind.DEACTIVATION, record, memo, chain_policy_id=int(enacted["chain_policy_id"])
    )
    await unit.record(
        "policy.suspended", ref, version=version, anchor=str(anchor_id), personal={"reason": said}
    )
    if row["rule_engine"]:
        await gate.release_name(unit, row["id"])
        await bundle.renew(unit, f"suspended {ref}")
    unit.publish(f"policy:{ref}", "suspended", anchor=str(anchor_id))


async def anchored(unit: Unit, anchor_id: UUID) -> None:
    """An anchor reached finality: with a policy's record its workflow is complete.

    Part of the chain's step, which records it; harmless when it happens twice.
    """
    statement = (
        sa.select(policy.c.workflow_id)
        .join(anchor, anchor.c.policy_id == policy.c.id)
        .join(workflow, workflow.c.id == policy.c.workflow_id)
        .where(
            anchor.c.id == anchor_id,
            anchor.c.kind == AnchorKind.POLICY,
            workflow.c.status == WorkflowStatus.EXECUTING,
        )
    )
    row = await unit.row(statement)
    if row is not None:
        await stages.complete(unit, row["workflow_id"])


async def _queue(
    unit: Unit, row: dict[str, Any], kind: AnchorKind, record: bytes, memo: str, *, chain_policy_id: int
) -> UUID:
    anchor_id = new_id()
    await unit.connection.execute(
        anchor.insert().values(
            id=anchor_id,
            kind=kind,
            state=AnchorState.QUEUED,
            policy_id=row["id"],
            version=row["current_version"],
            record=record,
            record_sha256=records.sha256_hex(record),
            chain_policy_id=chain_policy_id,
            memo=memo,
            constitution_sha256=unit.constitution_sha256,
            queued_at=unit.now,
        )
    )
    await unit.enqueue("anchoring", {})
    unit.publish(f"anchor:{anchor_id}", AnchorState.QUEUED, ref=row["ref"])
    return anchor_id
