"""One file that proves an entry: C2SP tlog-proof, its index, its path, and a checkpoint that covers it."""

from __future__ import annotations

import base64

from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.audit_transparency import checkpoints, tree
from workflows.errors import NotFound

HEADER = "c2sp.org/tlog-proof@v1"


async def tlog_proof(connection: AsyncConnection, index: int) -> str:
    """The proof of entry `index` against the newest checkpoint, with its cosignatures.

    Raises NotFound for an entry that no checkpoint covers yet.
    """
    newest = await checkpoints.latest(connection)
    if newest is None or not 0 <= index < newest.size:
        raise NotFound(f"No checkpoint covers entry {index} yet.", code="not_in_tree")
    path = await tree.inclusion_proof(connection, index, newest.size)
    lines = [HEADER, f"index {index}", *(base64.b64encode(item).decode() for item in path), ""]
    return "\n".join(lines) + "\n" + await checkpoints.note(connection, newest.size)
