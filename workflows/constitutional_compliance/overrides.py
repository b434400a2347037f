"""The council may bring a version to its ballot that was found not to comply: by the part of it that the annex names,
each member with a reason (Constitution § 4.11).
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from workflows.constitution.figures import Figures
from workflows.constitutional_compliance import gate
from workflows.constitutional_compliance.asking import tell
from workflows.errors import Conflict, NotFound
from workflows.kinds import PolicyState
from workflows.policy_creation.loading import check_reason, lock_policy
from workflows.roles import Role, insist, may_override
from workflows.storage.tables import compliance_override, person, policy, validation
from workflows.storage.unit import Unit

ON_ITS_WAY = (PolicyState.IN_REVIEW, PolicyState.PUBLIC_COMMENT)


class Tally(msgspec.Struct, frozen=True):
    """How far an override is: `members` of the council count, its author does not; `needed` of them have to be for it."""

    members: int
    needed: int
    supporting: int
    against: int

    @property
    def passed(self) -> bool:
        return self.members > 0 and self.supporting >= self.needed


def needed(members: int, percent: int) -> int:
    """The fewest members that are `percent` of them: never rounded down, and never nobody."""
    return max(-(-members * percent // 100), 1)


async def vote(unit: Unit, figures: Figures, ref: str, support: bool, reason: str) -> Tally:
    """Say whether the version that validation `ref` stopped should come to its ballot all the same. It may be said
    otherwise until the override has passed.

    Raises NotFound, Refused (no council member, the author), Conflict `overridden` or `not_blocked`.
    """
    query = sa.select(validation.c.id, policy.c.ref).join(policy, policy.c.id == validation.c.policy_id)
    about = await unit.row(query.where(validation.c.ref == ref))
    if about is None:
        raise NotFound(f"There is no validation {ref} of a policy.", code="no_validation")
    row = await lock_policy(unit, about["ref"])
    insist(may_override(unit.actor, row["author_id"]))
    said = check_reason(reason)
    await _insist_blocked(unit, ref, row)
    values = {
        "validation_id": about["id"],
        "person_id": unit.actor.id,
        "support": support,
        "made_at": unit.now,
    }
    statement = insert(compliance_override).values(values)
    again = {"support": support, "made_at": unit.now}
    await unit.connection.execute(
        statement.on_conflict_do_update(index_elements=["validation_id", "person_id"], set_=again)
    )
    await unit.record(
        "compliance.override_voted",
        row["ref"],
        validation=ref,
        version=row["current_version"],
        support=support,
        personal={"reason": said},
    )
    found = await tally(unit, figures, about["id"], row["author_id"])
    if found.passed:
        await _pass(unit, figures, about["id"], ref, row, found)
    tell(unit, ref, row["ref"], "override")
    return found


async def _insist_blocked(unit: Unit, ref: str, row: dict[str, Any]) -> None:
    """There is something to override: the version that stands, stopped by this very validation."""
    standing = await gate.stands(unit, row["ref"])
    if standing.state == "overridden":
        raise Conflict("The council has overridden the finding already.", code="overridden")
    blocked = standing.state in gate.BLOCKED and standing.validation == ref
    if row["state"] not in ON_ITS_WAY or not blocked:
        raise Conflict(
            f"{ref} stops no ballot, so there is nothing to override. {standing.why}", code="not_blocked"
        )


async def tally(unit: Unit, figures: Figures, validation_id: UUID, author_id: UUID) -> Tally:
    """As the council is now: who left it does not count any more."""
    statement = counted(validation_id, author_id)
    members, supporting, against = (await unit.connection.execute(statement)).one()
    percent = figures.compliance_override_percent.value
    return Tally(members, needed(members, percent), supporting, against)


def counted(validation_id: UUID, author_id: UUID) -> sa.Select[Any]:
    """Members of the council but the author, those of them for an override, and those against it."""
    o = compliance_override.c
    return (
        sa.select(
            sa.func.count(),
            sa.func.count().filter(o.support),
            sa.func.count().filter(~o.support),
        )
        .select_from(person)
        .outerjoin(compliance_override, (o.person_id == person.c.id) & (o.validation_id == validation_id))
        .where(person.c.active, person.c.roles.contains([str(Role.COUNCIL)]), person.c.id != author_id)
    )


async def _pass(
    unit: Unit, figures: Figures, validation_id: UUID, ref: str, row: dict[str, Any], found: Tally
) -> None:
    await unit.connection.execute(
        validation.update().where(validation.c.id == validation_id).values(overridden_at=unit.now)
    )
    await unit.record(
        "compliance.overridden",
        row["ref"],
        validation=ref,
        version=row["current_version"],
        supporting=found.supporting,
        members=found.members,
        percent=figures.compliance_override_percent.value,
    )
    await unit.enqueue("deadlines", {})
