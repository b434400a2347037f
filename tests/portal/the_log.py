"""What the worker does for the log, done once: order what was committed, and sign the tree."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from litestar import Litestar

from portal.database import SEQUENCER, create_engine
from workflows.audit_transparency import checkpoints
from workflows.audit_transparency.checkpoints import SecondPlace, SignedCheckpoint
from workflows.audit_transparency.notes import Signer
from workflows.audit_transparency.sequencer import sequence
from workflows.storage.tables import audit_entry
from workflows.storage.unit import Unit, governance_now

LOG_ORIGIN = "portal.test/audit"
SEED = bytes(range(32))


async def happen(app: Litestar, count: int) -> None:
    """That many more entries."""
    async with app.state.services.engine.begin() as connection:
        unit = Unit(connection, await governance_now(connection), "0" * 64)
        bodies = [
            {"body": unit.entry("test.happened", "test", {"n": n, "words": "é" * (n % 5)})}
            for n in range(count)
        ]
        await connection.execute(sa.insert(audit_entry), bodies)


async def seal(app: Litestar, place: Path, *, sign: bool = True) -> SignedCheckpoint | None:
    """The new checkpoint; None where nothing was new, or nothing was to be signed."""
    engine = create_engine(app.state.settings.database_url, pool_size=1, role=SEQUENCER)
    try:
        while await sequence(engine):
            pass
        signer = Signer(LOG_ORIGIN, SEED)
        return await checkpoints.sign(engine, signer, LOG_ORIGIN, SecondPlace(place)) if sign else None
    finally:
        await engine.dispose()
