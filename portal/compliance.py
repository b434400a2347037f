"""What the portal adds to compliance: judging at once what somebody just asked for, and how accurate what judges now is."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import msgspec
import structlog

from portal.database import begin_read
from portal.services import Services
from workflows.alerts import raise_alert, resolve_alert
from workflows.constitutional_compliance import queries, validations
from workflows.constitutional_compliance.measured import ordinary_report
from workflows.constitutional_compliance.validations import Units

log = structlog.get_logger(__name__)
SOON = 2.0  # seconds for which an answer waits for the analysis
ACCURATE = 95.0  # per cent; the mission's
ALERT = "compliance.accuracy"
# Accuracy on clauses of policies that no fitting saw: of those that machines decide alone, and if they decided all.
SCOPES = {"decided": "clauses_decided_accuracy", "all": "accuracy"}
_running: set[asyncio.Task[int]] = set()  # held, so that none is collected while it runs


async def judged_soon(held: Services, id: UUID) -> None:
    """Begin to judge a validation, and wait for it as long as somebody may be kept waiting. It goes on after that; should
    this process end first, the worker judges it.
    """
    units, judge = held.rulebook.units, held.judge
    task = asyncio.create_task(validations.assess_waiting(units, judge, held.constitution, [id]))
    _running.add(task)
    task.add_done_callback(_done)
    await asyncio.wait({task}, timeout=SOON)


def _done(task: asyncio.Task[int]) -> None:
    _running.discard(task)
    if not task.cancelled() and (error := task.exception()):
        log.warning("not_judged_here", error=repr(error))  # it waits, and is judged by the worker


async def measured(held: Services) -> dict[str, Any]:
    """What was measured of the very heads that judge now, on texts that no fitting saw; {} where nothing was."""
    models = getattr(held.judge, "models", None)
    if models is None:
        return {}
    heads = (await models.using())[-1].heads
    async with begin_read(held.engine) as reader:
        found = await queries.measured(reader, heads.sha256)
    return found or msgspec.to_builtins(ordinary_report(heads) or {})


def accuracies(found: dict[str, Any]) -> dict[str, float]:
    """By scope, in per cent; those that were measured."""
    return {scope: found[key]["value"] for scope, key in SCOPES.items() if key in found}


async def watch_accuracy(units: Units, held: Services) -> None:
    """Raise an alert while what machines decide alone is right less often than it has to be, and resolve it after."""
    decided = accuracies(await measured(held)).get("decided")
    async with units() as unit:
        if decided is None or decided >= ACCURATE:
            await resolve_alert(unit, ALERT)
            return
        message = f"Of the clauses that the classifier decides alone it gets {decided:.1f} % right, below {ACCURATE:.0f} %."
        await raise_alert(unit, ALERT, "warning", message, "/compliance")
