"""The public discussion of a policy."""

from __future__ import annotations

from uuid import UUID

import sqlalchemy as sa

from workflows.errors import FieldError, Invalid
from workflows.policy_creation.lifecycle import insist_takes
from workflows.policy_creation.loading import lock_policy, storable
from workflows.roles import insist, may_comment
from workflows.storage.tables import comment as comments
from workflows.storage.unit import Unit, new_id

LIMIT = 10_000  # characters


async def comment(unit: Unit, ref: str, body: str, reply_to: UUID | None = None) -> UUID:
    """Add a comment (Markdown) on the version that stands, or an answer to another comment on the policy."""
    row = await lock_policy(unit, ref)
    insist(may_comment(unit.actor))
    insist_takes(row["state"], "comment")
    kept = body.replace("\r\n", "\n").strip()
    if not kept or len(kept) > LIMIT or not storable(kept):
        message = f"Write something, of at most {LIMIT:,} characters."
        raise Invalid("The comment cannot be kept.", errors=(FieldError("/body", message),))
    if reply_to is not None and not await _is_on(unit, reply_to, row["id"]):
        error = FieldError("/reply_to", "There is no such comment on this policy.")
        raise Invalid("The comment cannot be kept.", errors=(error,))
    comment_id = new_id()
    await unit.connection.execute(
        comments.insert().values(
            id=comment_id,
            policy_id=row["id"],
            version=row["current_version"],
            author_id=unit.actor.id,
            reply_to=reply_to,
            body=kept,
            created_at=unit.now,
        )
    )
    # The words stay outside the trail, which cannot forget; a commitment to them is in it.
    await unit.record(
        "comment.added",
        ref,
        version=row["current_version"],
        comment=str(comment_id),
        personal={"comment": kept},
    )
    unit.publish(f"policy:{ref}", "commented", comment=str(comment_id))
    return comment_id


async def _is_on(unit: Unit, comment_id: UUID, policy_id: UUID) -> bool:
    statement = sa.select(comments.c.id).where(comments.c.id == comment_id, comments.c.policy_id == policy_id)
    return await unit.row(statement) is not None
