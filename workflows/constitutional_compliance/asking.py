"""Asking for validations: by submitting a version, by handing in any text, or up to 500 of them together."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec
import sqlalchemy as sa

from workflows.errors import Conflict, FieldError, GovernanceError, Invalid, NotFound
from workflows.kinds import (
    ComplianceStage,
    PolicyState,
    Priority,
    Strategy,
    ValidationCause,
    WorkflowStatus,
    WorkflowType,
)
from workflows.orchestrator import stages
from workflows.policy_creation.loading import lock_policy, storable
from workflows.policy_creation.records import text_sha256
from workflows.roles import Actor, insist, may_ask_validation, may_operate
from workflows.storage.references import next_references
from workflows.storage.tables import policy, policy_version, validation, validation_batch, workflow
from workflows.storage.unit import Unit, new_id

JOB = "compliance"
TOPIC = "compliance"
MOST_AT_ONCE = 500
LONGEST = 100_000  # characters, as of a policy's text
# Who asks for one text has it judged by the process that was asked, after the commit; the worker does if that dies.
UNLESS_DONE = timedelta(seconds=20)


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be judged: any text, or a policy's version (the one that stands, without a number)."""

    text: str | None = None
    policy_ref: str | None = None
    version: int | None = None
    level: Strategy | None = None


class Asked(msgspec.Struct, frozen=True):
    id: UUID
    ref: str
    workflow_id: UUID


async def ask(unit: Unit, row: dict[str, Any], cause: ValidationCause) -> str:
    """Have the version that `row` names (of a locked policy) held against the constitution; the reference."""
    values = {
        "policy_id": row["id"],
        "version": row["current_version"],
        "text_sha256": row["text_sha256"],
        "level": row["strategy"],
        "cause": cause,
    }
    (asked,) = await _insert(unit, [values], row["priority"])
    await unit.record(
        "validation.asked",
        row["ref"],
        validation=asked.ref,
        cause=str(cause),
        version=row["current_version"],
        text_sha256=row["text_sha256"],
        level=str(row["strategy"]),
    )
    await unit.enqueue(JOB, {})
    tell(unit, asked.ref, row["ref"], "asked")
    return asked.ref


async def ask_one(unit: Unit, item: Item) -> Asked:
    """Have something judged for oneself: it decides about no ballot. Raises Refused, NotFound, Invalid."""
    insist(may_ask_validation(unit.actor))
    _check(item)
    values = _requested(unit, item, await _versions(unit, [item]))
    (asked,) = await _insert(unit, [values], Priority.NORMAL)
    await unit.record(
        "validation.requested", asked.ref, policy=item.policy_ref or "", level=str(values["level"])
    )
    await unit.enqueue(JOB, {}, due=unit.now + UNLESS_DONE)
    tell(unit, asked.ref, None, "asked")
    return asked


async def ask_many(unit: Unit, items: Sequence[Item]) -> UUID:
    """Have up to 500 judged; the batch's id. An item that cannot be is kept with its problem, and stops no other."""
    insist(may_ask_validation(unit.actor))
    if not 1 <= len(items) <= MOST_AT_ONCE:
        raise Invalid(
            "The batch cannot be taken.", errors=(FieldError("/items", f"1 to {MOST_AT_ONCE} items."),)
        )
    versions = await _versions(unit, items)
    batch_id = new_id()
    problems: list[dict[str, Any]] = []
    good: list[dict[str, Any]] = []
    for position, item in enumerate(items):
        try:
            _check(item, f"/items/{position}")
            values = _requested(unit, item, versions)
            good.append({**values, "batch_id": batch_id, "position": position})
        except GovernanceError as error:
            problems.append({"position": position, **_problem(error)})
    await unit.connection.execute(
        validation_batch.insert().values(
            id=batch_id,
            asked_by=unit.actor.id,
            total=len(items),
            problems=problems,
            created_at=unit.now,
        )
    )
    asked = await _insert(unit, good, Priority.LOW) if good else []
    await unit.record(
        "validation.batch_requested",
        f"batch:{batch_id}",
        total=len(items),
        validations=[each.ref for each in asked],
    )
    await unit.enqueue(JOB, {})
    unit.publish(TOPIC, "asked")
    return batch_id


def _problem(error: GovernanceError) -> dict[str, Any]:
    """As the API says it (RFC 9457), without what belongs to a request."""
    return {
        "type": "about:blank",
        "title": error.title,
        "status": error.status,
        "code": error.code,
        "detail": error.detail,
        "errors": [{"pointer": each.pointer, "message": each.message} for each in error.errors],
    }


def _check(item: Item, at: str = "") -> None:
    errors = []
    if (item.text is None) == (item.policy_ref is None):
        errors.append(FieldError(f"{at}/text", "Give either a text or a policy_ref."))
    if item.version is not None and item.policy_ref is None:
        errors.append(FieldError(f"{at}/version", "A version is of a policy_ref."))
    if item.text is not None:
        if not item.text.strip():
            errors.append(FieldError(f"{at}/text", "Something must be written here."))
        elif len(item.text) > LONGEST or not storable(item.text):
            errors.append(FieldError(f"{at}/text", f"At most {LONGEST:,} characters of plain text."))
    if errors:
        raise Invalid("This cannot be judged.", errors=tuple(errors))


async def _versions(unit: Unit, items: Sequence[Item]) -> dict[tuple[str, int], sa.RowMapping]:
    """The versions that items name; the one that stands also under 0."""
    wanted = {item.policy_ref for item in items if item.policy_ref}
    if not wanted:
        return {}
    p, v = policy.c, policy_version.c
    query = (
        sa.select(
            p.ref, p.state, p.author_id, p.current_version, v.policy_id, v.number, v.text, v.text_sha256, v.strategy
        )
        .join(policy_version, v.policy_id == p.id)
        .where(p.ref.in_(wanted))
    )  # fmt: skip
    found = {}
    for row in await unit.rows(query):
        found[row["ref"], row["number"]] = row
        if row["number"] == row["current_version"]:
            found[row["ref"], 0] = row
    return found


def _requested(unit: Unit, item: Item, versions: dict[tuple[str, int], sa.RowMapping]) -> dict[str, Any]:
    common = {"cause": ValidationCause.REQUESTED, "asked_by": unit.actor.id}
    if item.policy_ref is None:
        text = item.text or ""
        level = item.level or Strategy.ENHANCED_VALIDATION
        return {
            **common, "policy_id": None, "version": None, "text": text, "text_sha256": text_sha256(text), "level": level
        }  # fmt: skip
    row = versions.get((item.policy_ref, item.version or 0))
    if row is None or not _may_read(unit.actor, row):
        what = f"version {item.version} of {item.policy_ref}" if item.version else f"policy {item.policy_ref}"
        raise NotFound(f"There is no {what}.", code="no_policy")
    level = item.level or Strategy(row["strategy"])
    if row["state"] == PolicyState.DRAFT:  # it may change at any time: what is judged is what it says now
        return {
            **common, "policy_id": None, "version": None, "text": row["text"], "text_sha256": row["text_sha256"],
            "level": level,
        }  # fmt: skip
    return {
        **common, "policy_id": row["policy_id"], "version": row["number"], "text": None,
        "text_sha256": row["text_sha256"], "level": level,
    }  # fmt: skip


def _may_read(actor: Actor, row: sa.RowMapping) -> bool:
    return row["state"] != PolicyState.DRAFT or row["author_id"] == actor.id


async def _insert(unit: Unit, values: list[dict[str, Any]], priority: Priority) -> list[Asked]:
    refs = await next_references(unit, "VAL", len(values))
    workflows = await stages.start_many(
        unit, WorkflowType.CONSTITUTIONAL_COMPLIANCE, priority, refs, list(ComplianceStage)
    )
    rows = [
        {
            **each,
            "id": new_id(),
            "ref": ref,
            "workflow_id": workflow_id,
            "constitution_sha256": unit.constitution_sha256,
            "created_at": unit.now,
        }
        for each, ref, workflow_id in zip(values, refs, workflows, strict=True)
    ]
    await unit.connection.execute(validation.insert(), rows)
    return [Asked(row["id"], row["ref"], row["workflow_id"]) for row in rows]


def tell(unit: Unit, ref: str, policy_ref: str | None, what: str, **more: Any) -> None:
    """Let pages know that something became of a validation."""
    unit.publish(f"validation:{ref}", what, **more)
    if policy_ref:
        unit.publish(f"policy:{policy_ref}", "compliance", **more)
        unit.publish(TOPIC, what, validation=ref)


async def again(unit: Unit, ref: str) -> str:
    """Have the version of a validation that failed for a technical reason judged anew; the new one's reference.

    For operators. Raises Refused, NotFound, Conflict `not_failed` or `superseded`.
    """
    insist(may_operate(unit.actor))
    query = (
        sa.select(
            validation.c.cause, validation.c.version, policy.c.ref.label("policy_ref"), workflow.c.status
        )
        .join(workflow, workflow.c.id == validation.c.workflow_id)
        .join(policy, policy.c.id == validation.c.policy_id)
        .where(validation.c.ref == ref, validation.c.cause != ValidationCause.REQUESTED)
    )
    found = await unit.row(query)
    if found is None:
        raise NotFound(f"There is no validation {ref} of a policy on its way.", code="no_validation")
    row = await lock_policy(unit, found["policy_ref"])
    if found["status"] != WorkflowStatus.FAILED:
        raise Conflict(f"{ref} has not failed.", code="not_failed")
    if row["current_version"] != found["version"]:
        raise Conflict("Another version stands now.", code="superseded")
    return await ask(unit, row, ValidationCause(found["cause"]))
