"""`python -m portal rehearse [KIND]`: change the demonstration's log as a cheating administrator would, and see it found."""

from __future__ import annotations

import argparse
import asyncio
import sys

from portal.database import create_engine
from portal.embedded import running_database
from portal.settings import Settings
from workflows.audit_transparency.rehearsal import KINDS, Outcome, rehearse
from workflows.errors import Conflict, Unavailable


def main(settings: Settings, arguments: list[str]) -> None:
    """Works on DATABASE_URL, or on the embedded database of the portal that runs on DATA_DIR."""
    parser = argparse.ArgumentParser(prog="python -m portal rehearse", description=__doc__)
    parser.add_argument("kind", nargs="?", default="byte", choices=KINDS, help="what to change")
    given = parser.parse_args(arguments)
    address = settings.database_url or running_database(settings.data_dir)
    try:
        _tell(asyncio.run(_run(address, given.kind)))
    except (Conflict, Unavailable) as error:
        sys.exit(error.detail)


async def _run(address: str, kind: str) -> Outcome:
    engine = create_engine(address, pool_size=1)
    try:
        return await rehearse(engine, kind)
    finally:
        await engine.dispose()


def _tell(outcome: Outcome) -> None:
    about = f"entry {outcome.index}" if outcome.kind in ("byte", "swap", "remove") else "the log"
    print(
        "1. Everything was recomputed:", "all of it fits." if not outcome.before else _listed(outcome.before)
    )
    print(f"2. {KINDS[outcome.kind][0]} ({about}), as anyone of the portal would:")
    print(f"   the database refuses: {outcome.refused}" if outcome.refused else "   it was not refused!")
    print("3. The same with all guards set aside, as only a superuser can: it is changed.")
    print("4. Everything was recomputed again:", _listed(outcome.found) if outcome.found else "NOT FOUND.")
    print("5. It was put back:", "all of it fits." if not outcome.after else _listed(outcome.after))


def _listed(findings: list) -> str:
    return "".join(f"\n   {item.where}: {item.what}" for item in findings[:20])
