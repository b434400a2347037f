"""Has what somebody just asked for judged by this very process, after the commit, so that they need not wait for the worker."""

from __future__ import annotations

import asyncio
from uuid import UUID

import structlog

from portal.services import Services
from workflows.constitutional_compliance import validations

log = structlog.get_logger(__name__)
SOON = 2.0  # seconds for which an answer waits for the analysis
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
