"""What the program on chain answered when it was last asked about a policy's record, and why it was not where it was not."""

from __future__ import annotations

from datetime import datetime

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.errors import NotFound
from workflows.kinds import AnchorKind, AnchorState
from workflows.storage.tables import anchor, chain_compliance, policy


class OnChain(msgspec.Struct, frozen=True, kw_only=True):
    """`checked`: the program was asked. `code` is ok or its error's name, `at` governance time."""

    checked: bool
    says: str
    passed: bool | None = None
    code: str | None = None
    slot: int | None = None
    at: datetime | None = None


async def of_policy(connection: AsyncConnection, ref: str) -> OnChain:
    """Raises NotFound."""
    statement = (
        sa.select(
            anchor.c.state,
            chain_compliance.c.passed,
            chain_compliance.c.code,
            chain_compliance.c.says,
            chain_compliance.c.slot,
            chain_compliance.c.checked_at.label("at"),
        )
        .select_from(policy)
        .outerjoin(anchor, (anchor.c.policy_id == policy.c.id) & (anchor.c.kind == AnchorKind.POLICY))
        .outerjoin(chain_compliance, chain_compliance.c.anchor_id == anchor.c.id)
        .where(policy.c.ref == ref)
    )
    row = (await connection.execute(statement)).mappings().one_or_none()
    if row is None:
        raise NotFound(f"There is no policy {ref}.", code="no_policy")
    if row["state"] is None:
        return OnChain(checked=False, says="It is not in force, so there is nothing of it on chain.")
    if row["state"] != AnchorState.FINALIZED:
        return OnChain(checked=False, says="Its record is not final on chain yet.")
    if row["at"] is None:
        return OnChain(checked=False, says="The program was not asked yet.")
    return OnChain(checked=True, **{name: row[name] for name in ("passed", "code", "says", "slot", "at")})
