"""Looks at our own log as a stranger would, by the clock and on request: recomputes it, and asks the chain what it was told.

`python -m portal check` prints what does not fit, and ends with 1 if anything does not.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from chain import listing
from chain.listing import Disagreement
from portal.database import begin_read, create_engine
from portal.services import Services
from portal.settings import Settings
from workflows.alerts import raise_alert, resolve_alert
from workflows.audit_transparency import checkpoints
from workflows.audit_transparency.check import Finding, check
from workflows.errors import GovernanceError
from workflows.storage.unit import Unit

log = structlog.get_logger(__name__)

CONTRADICTED_ALERT = "log.contradicted"
CHAIN_ALERT = "log.differs_on_chain"
NEWEST = 120  # transactions of the authority that are read each hour: more than it sends in one
SHOWN = 20  # findings that are printed
Units = Callable[[], AbstractAsyncContextManager[Unit]]


async def recompute(units: Units, held: Services) -> None:
    """Recompute all of the log, and raise an alert for what contradicts it; resolve the one before where nothing does."""
    found = await _findings(held.engine)
    async with units() as unit:
        if not found:
            await resolve_alert(unit, CONTRADICTED_ALERT)
            return
        first = found[0]
        more = f" And {len(found) - 1:,} more." if len(found) > 1 else ""
        message = f"The log was recomputed, and does not fit. {first.where}: {first.what}{more}"
        await raise_alert(unit, CONTRADICTED_ALERT, "critical", message, "/audit")
    log.error("log_contradicted", findings=len(found), first=f"{first.where}: {first.what}")


async def ask_chain(units: Units, held: Services) -> None:
    """Hold what our key lately wrote on chain about this log against it: a fork or a cut shows, whatever this database says.

    As after a backup was restored together with the second place: only others remember what came after.
    """
    try:
        found = await listing.read_newest(held.chain, NEWEST)
    except GovernanceError:
        return  # away, or nothing there; chain.inspection says so
    wrong = await _disagreements(held.engine, found)
    async with units() as unit:
        if not wrong:
            await resolve_alert(unit, CHAIN_ALERT)
            return
        more = f" And {len(wrong) - 1:,} more." if len(wrong) > 1 else ""
        message = f"What stands on Solana contradicts this log. {wrong[0].what}{more}"
        await raise_alert(unit, CHAIN_ALERT, "critical", message, "/chain/checkpoints")
    log.error("log_differs_on_chain", disagreements=len(wrong), first=wrong[0].what)


async def _findings(engine: AsyncEngine) -> list[Finding]:
    async with begin_read(engine) as reader:
        return await check(reader)


async def _disagreements(engine: AsyncEngine, found: listing.Listing) -> list[Disagreement]:
    """About this log: one that the same key kept before under another origin is none of it."""
    async with begin_read(engine) as reader:
        known = await checkpoints.identity(reader)
        if known is None:
            return []
        own = [
            item for item in found.items if any(head.origin == known.origin for head in item.written.claims)
        ]
        return await listing.compare(reader, replace(found, items=own))


def main(settings: Settings, arguments: list[str]) -> None:
    """Works on DATABASE_URL, or on the embedded database of the portal that runs on DATA_DIR."""
    from portal.embedded import running_database  # what starts servers is no business of a worker's

    argparse.ArgumentParser(prog="python -m portal check", description=__doc__).parse_args(arguments)
    found = asyncio.run(_check(settings.database_url or running_database(settings.data_dir)))
    for item in found[:SHOWN]:
        print(f"{item.where}: {item.what}")
    if found:
        sys.exit(f"{len(found):,} things in the log do not fit.")
    print("Everything in the log was recomputed, and all of it fits.")


async def _check(address: str) -> list[Finding]:
    engine = create_engine(address, pool_size=1)
    try:
        return await _findings(engine)
    finally:
        await engine.dispose()
