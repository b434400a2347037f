"""Keeps a web process ready to decide: the active bundle is loaded as soon as it is activated, not with the next decision."""

from __future__ import annotations

import asyncio

import structlog

from portal.live import Live
from workflows.errors import GovernanceError
from workflows.policy_enforcement.bundle import TOPIC
from workflows.policy_enforcement.engines.pool import TooSlow
from workflows.policy_enforcement.rulebook import Rulebook

log = structlog.get_logger(__name__)
AGAIN = 5.0  # seconds after a failure


async def keep_ready(rulebook: Rulebook, live: Live) -> None:
    """For as long as the process lives. Nothing depends on it but the wait of the first decision."""
    while True:
        try:
            async with live.listening([TOPIC], None) as events:
                await _prepare(rulebook)
                async for told in events:
                    if told is not None and told.type == "activated":
                        await _prepare(rulebook)
            return  # live ends with the process
        except (GovernanceError, TooSlow, OSError) as error:
            log.warning("rules_not_ready", error=repr(error))
            await asyncio.sleep(AGAIN)


async def _prepare(rulebook: Rulebook) -> None:
    if await rulebook.peek():
        await rulebook.prepare()
