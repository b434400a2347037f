"""Loads a policy for a command: locked until the transaction ends, so that commands on one policy come one by one."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from workflows.errors import Conflict, FieldError, Invalid, NotFound
from workflows.storage.tables import policy, policy_version
from workflows.storage.unit import Unit

REASON_LIMIT = 4_000  # characters


async def lock_policy(unit: Unit, ref: str, *, revision: int | None = None) -> dict[str, Any]:
    """The policy's row, locked, with `version_sha256`, `text_sha256`, `strategy`, `rule_engine` and `constitution_base_sha256` of its
    current version.

    Raises NotFound, or Conflict `stale_revision` when `revision` is given and not the current one.
    """
    row = await unit.row(sa.select(policy).where(policy.c.ref == ref).with_for_update())
    if row is None:
        raise NotFound(f"There is no policy {ref}.", code="no_policy")
    if revision is not None and row["revision"] != revision:
        raise Conflict(
            f"{ref} has been changed since you read it. Look at it again before you change it.",
            code="stale_revision",
            links={"policy": f"/policies/{ref}"},
        )
    # A statement of its own: joined to the one that waits for the lock, it would see the versions as they were
    # before the wait.
    version = policy_version.c
    current = await unit.row(
        sa.select(
            version.version_sha256,
            version.text_sha256,
            version.strategy,
            version.rule_engine,
            version.constitution_base_sha256,
        ).where(version.policy_id == row["id"], version.number == row["current_version"])
    )
    assert current is not None
    return {**row, **current}


async def update_policy(unit: Unit, row: dict[str, Any], **values: Any) -> None:
    """Write to the locked policy and count its revision on."""
    await unit.connection.execute(
        policy.update()
        .where(policy.c.id == row["id"])
        .values(revision=policy.c.revision + 1, updated_at=unit.now, **values)
    )


def check_reason(reason: str) -> str:
    """The reason without blanks around it. Raises Invalid for an empty or endless one."""
    stripped = reason.strip()
    if not stripped:
        raise Invalid(
            "Please say why.", errors=(FieldError("/reason", "A reason is needed; it is shown publicly."),)
        )
    if len(stripped) > REASON_LIMIT or not storable(stripped):
        message = f"At most {REASON_LIMIT} characters of plain text."
        raise Invalid("The reason cannot be kept.", errors=(FieldError("/reason", message),))
    return stripped


def storable(text: str) -> bool:
    """Whether PostgreSQL and UTF-8 can hold it: no NUL, no lone surrogate."""
    return "\x00" not in text and not any("\ud800" <= character <= "\udfff" for character in text)
