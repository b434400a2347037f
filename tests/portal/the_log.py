"""What the worker does for the log, done once: order what was committed, and sign the tree."""

from __future__ import annotations

from pathlib import Path

from litestar import Litestar

from portal.database import SEQUENCER, create_engine
from workflows.audit_transparency import checkpoints
from workflows.audit_transparency.checkpoints import SecondPlace, SignedCheckpoint
from workflows.audit_transparency.notes import Signer
from workflows.audit_transparency.sequencer import sequence

LOG_ORIGIN = "portal.test/audit"
SEED = bytes(range(32))


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
