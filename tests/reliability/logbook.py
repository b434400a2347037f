"""The audit log of a portal that things were done to: all of it, once, in a tree that begins with every tree ever signed."""

from __future__ import annotations

import asyncio

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from migrations import async_url
from tests.reliability.house import House, database_url
from workflows.audit_transparency.check import Finding, check
from workflows.audit_transparency.notes import Checkpoint


def is_whole(house: House) -> int:
    """Every committed entry is one leaf, signed and in the second place, and nothing contradicts it. The size."""
    house.until(lambda: _all_signed(house), "the log is not signed")
    assert asyncio.run(_findings(house)) == []
    # In one statement: the worker goes on entering what it does.
    ((size, leaves, last),) = house.rows(
        "SELECT (SELECT size FROM audit.tree), count(*), max(index) FROM audit.leaf"
    )
    assert (leaves, last) == (size, size - 1)
    held = Checkpoint.parse((house.data_dir / "checkpoint").read_text().partition("\n\n")[0] + "\n")
    root = house.value("SELECT root FROM audit.checkpoint WHERE size = $1", held.size)
    assert held.root == bytes(root)
    return size


def _all_signed(house: House) -> bool:
    return house.value(
        "SELECT NOT EXISTS (SELECT FROM audit.pending) AND (SELECT max(size) FROM audit.checkpoint) = "
        "(SELECT count(*) FROM audit.entry)"
    )


async def _findings(house: House) -> list[Finding]:
    engine = create_async_engine(async_url(database_url(house.data_dir)), poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            await connection.execute(sa.text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
            return await check(connection)
    finally:
        await engine.dispose()
