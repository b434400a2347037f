"""What is wrong and needs somebody: raised once, kept up to date while it lasts, resolved when it is over."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from workflows.storage.tables import alert
from workflows.storage.unit import Unit, new_id


async def raise_alert(unit: Unit, code: str, severity: str, message: str, href: str) -> bool:
    """Raise an alert, or bring its message up to date while it is open. True when it is new."""
    row = {"code": code, "severity": severity, "message": message, "href": href, "raised_at": unit.now}
    statement = insert(alert).values(id=new_id(), **row)
    added = await unit.connection.execute(
        statement.on_conflict_do_nothing(
            index_elements=["code"], index_where=alert.c.resolved_at.is_(None)
        ).returning(alert.c.id)
    )
    if added.first() is not None:
        return True
    await unit.connection.execute(
        sa.update(alert).where(alert.c.code == code, alert.c.resolved_at.is_(None)).values(message=message)
    )
    return False


async def resolve_alert(unit: Unit, code: str) -> bool:
    """True when it was open."""
    done = await unit.connection.execute(
        sa.update(alert)
        .where(alert.c.code == code, alert.c.resolved_at.is_(None))
        .values(resolved_at=unit.now)
    )
    return done.rowcount > 0
