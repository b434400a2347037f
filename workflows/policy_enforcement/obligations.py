"""Obligations that come with a grant: whoever took them on says that they are met, with what shows it."""

from __future__ import annotations

from uuid import UUID

import sqlalchemy as sa

from workflows.errors import Conflict, NotFound
from workflows.policy_creation.loading import check_reason
from workflows.policy_enforcement.bundle import TOPIC
from workflows.roles import insist, may_ask_decision
from workflows.storage.tables import obligation
from workflows.storage.unit import Unit


async def meet(unit: Unit, obligation_id: UUID, evidence: str) -> None:
    """An obligation is met. Late is late: a violation stays on record. Raises Refused, NotFound, Conflict `met`."""
    insist(may_ask_decision(unit.actor))
    row = await unit.row(sa.select(obligation).where(obligation.c.id == obligation_id).with_for_update())
    if row is None:
        raise NotFound("There is no such obligation.", code="no_obligation")
    if row["met_at"] is not None:
        raise Conflict("This obligation is met already.", code="met")
    said = check_reason(evidence)
    await unit.connection.execute(
        obligation.update().where(obligation.c.id == obligation_id).values(met_at=unit.now)
    )
    await unit.record(
        "obligation.met",
        f"decision:{row['decision_id']}",
        key=row["key"],
        policy=row["policy_ref"],
        in_time=unit.now <= row["due_at"],
        personal={"evidence": said},
    )
    unit.publish(TOPIC, "obligation_met", id=str(row["decision_id"]))
