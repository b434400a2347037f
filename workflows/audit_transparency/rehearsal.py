"""A rehearsal of tampering: as the database's superuser, change something in the log, and see what the check finds.

All of it happens inside one transaction that is rolled back, so nothing stays.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from workflows.audit_transparency.check import Finding, check
from workflows.errors import Conflict

LARGEST = 50_000  # entries: the check reads them all
# What is done, and the SQL that does it to the entry in the middle of the log (:entry its number, :index its leaf).
KINDS: dict[str, tuple[str, ...]] = {
    "byte": (
        "Change one byte of an entry",
        # In its id, so that it stays JSON: what breaks the form would be found even by its reader.
        'UPDATE audit.entry SET body = set_byte(body, position(\'"id":"\'::bytea IN body) + 8, '
        'get_byte(body, position(\'"id":"\'::bytea IN body) + 8) # 1) WHERE number = CAST(:entry AS bigint)',
    ),
    "swap": (
        "Swap two entries",
        "UPDATE audit.leaf SET index = -1 WHERE index = CAST(:index AS bigint)",
        "UPDATE audit.leaf SET index = CAST(:index AS bigint) WHERE index = CAST(:index AS bigint) + 1",
        "UPDATE audit.leaf SET index = CAST(:index AS bigint) + 1 WHERE index = -1",
    ),
    "remove": ("Remove an entry", "DELETE FROM audit.leaf WHERE index = CAST(:index AS bigint)"),
    "root": ("Change the tree’s root", "UPDATE audit.tree SET root = sha256(root)"),
    "checkpoint": (
        "Change a signed checkpoint",
        "UPDATE audit.checkpoint SET note = replace(note, E'\\n' || size || E'\\n', E'\\n' || size + 1 || E'\\n') "
        "WHERE size = (SELECT max(size) FROM audit.checkpoint)",
    ),
}
_SET_ASIDE = (
    "SET LOCAL ROLE NONE",
    "SET LOCAL audit.migrating = 'on'",
    "ALTER TABLE audit.entry DISABLE TRIGGER ALL",
    "ALTER TABLE audit.leaf DISABLE TRIGGER ALL",
    "ALTER TABLE audit.tree DISABLE TRIGGER ALL",
    "ALTER TABLE audit.checkpoint DISABLE TRIGGER ALL",
)


@dataclass(frozen=True)
class Outcome:
    """What was done, to which leaf, and what the check found before and while it was so."""

    kind: str
    index: int
    number: int
    refused: str  # what the database answered before its guards were set aside
    before: list[Finding]
    found: list[Finding]
    after: list[Finding]


async def rehearse(engine: AsyncEngine, kind: str) -> Outcome:
    """Raises Conflict for a log that is empty or too large, and where the connection is no superuser's."""
    # One state of the database for each look at it, as the check asks for.
    steady = engine.execution_options(isolation_level="REPEATABLE READ")
    before = await _checked(steady)
    async with steady.connect() as connection:
        transaction = await connection.begin()
        try:
            index, number = await _middle(connection)
            refused = await _refusal(connection, kind, index, number)
            for statement in _SET_ASIDE:
                await connection.execute(sa.text(statement))
            await _tamper(connection, kind, index, number)
            found = await check(connection)
        finally:
            await transaction.rollback()
    return Outcome(kind, index, number, refused, before, found, await _checked(steady))


async def _checked(engine: AsyncEngine) -> list[Finding]:
    async with engine.connect() as connection:
        return await check(connection)


async def _middle(connection: AsyncConnection) -> tuple[int, int]:
    size = (await connection.execute(sa.text("SELECT size FROM audit.tree"))).scalar_one()
    if not 2 < size <= LARGEST:
        raise Conflict(f"A rehearsal needs a log of 3 to {LARGEST:,} entries; this one has {size:,}.")
    superuser = "SELECT rolsuper FROM pg_roles WHERE rolname = session_user"
    if not (await connection.execute(sa.text(superuser))).scalar_one():
        raise Conflict("This database's user is no superuser, and so cannot even rehearse it.")
    query = sa.text("SELECT entry FROM audit.leaf WHERE index = :index")
    return size // 2, (await connection.execute(query, {"index": size // 2})).scalar_one()


async def _refusal(connection: AsyncConnection, kind: str, index: int, number: int) -> str:
    """What happens without setting the guards aside: the database says no."""
    try:
        async with connection.begin_nested():
            await _tamper(connection, kind, index, number)
    except sa.exc.DBAPIError as error:
        return str(error.orig.__cause__ or error.orig).splitlines()[0]
    return ""


async def _tamper(connection: AsyncConnection, kind: str, index: int, number: int) -> None:
    values = {"index": index, "entry": number}
    for text in KINDS[kind][1:]:
        wanted = {name: value for name, value in values.items() if f":{name} " in text}
        await connection.execute(sa.text(text), wanted)
