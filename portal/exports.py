"""Exports are entered in the audit trail before they are answered: what was taken, never by which visitor."""

from __future__ import annotations

from litestar import Request

from portal.database import begin_unit
from portal.services import services
from workflows.roles import VISITOR


async def record_export(request: Request, what: str, subject: str, sha256: str | None = None) -> None:
    """Enter `export.made` about `subject`, in a transaction of its own. Raises Unavailable with the database away.

    Who asks for the headers alone takes nothing. `what` names the kind of file. `sha256` is of its bytes, where they are known before they are sent.
    """
    if request.scope["state"].get("head_only"):
        return
    held = services(request)
    async with begin_unit(
        held.engine,
        constitution=held.governing,
        actor=request.scope.get("user") or VISITOR,
        request_id=request.scope["state"]["request_id"],
    ) as unit:
        await unit.record("export.made", subject, what=what, sha256=sha256)
