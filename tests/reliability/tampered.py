"""A log with something of everything in it, and what it takes to change it behind its back."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncConnection

from tests.conftest import NOW, _administer, with_pseudonym
from tests.workflows.log.conftest import ORIGIN, TestLog, log_on
from workflows.audit_transparency import checkpoints
from workflows.audit_transparency.check import Finding, check
from workflows.audit_transparency.checkpoints import SecondPlace
from workflows.audit_transparency.notes import Signer
from workflows.roles import Actor, Role
from workflows.storage import tables as t
from workflows.storage.unit import Unit, new_id

GUARDED = (
    "entry",
    "pending",
    "leaf",
    "tile",
    "tree",
    "log",
    "checkpoint",
    "cosignature",
    "subject",
    "personal",
)
SIZES = (100, 280, 300)  # checkpoints: within the full tile, and two beyond it
SPOKEN, SPOKEN_LATE = 60, 290  # leaves of acts with a reason in words
WITNESS = Signer("witness.example/w1", b"w" * 32)


@asynccontextmanager
async def filled(server: URL, template: str, place: Path) -> AsyncIterator[TestLog]:
    """300 entries in a tree with three checkpoints, 4 that wait, words, a cosignature and an anchor."""
    name = f"acgs_{uuid4().hex[:12]}"
    await _administer(server, f"CREATE DATABASE {name} TEMPLATE {template}")
    made = log_on(server.set(database=name).render_as_string(hide_password=False), SecondPlace(place))
    try:
        await fill(made)
        yield made
    finally:
        await _administer(server, f"DROP DATABASE {name} WITH (FORCE)")


async def fill(log: TestLog) -> None:
    speaker, _ = await a_person(log, "dana"), await a_person(log, "emre")
    await log.add(SPOKEN - 2)
    await log.sequence()
    await speak(log, speaker, "Too many exceptions.")
    await log.grow(SIZES[0] - SPOKEN - 1)
    await log.grow(SIZES[1] - SIZES[0])
    await log.add(SPOKEN_LATE - SIZES[1])
    await log.sequence()
    await speak(log, speaker, "I changed my mind.")
    last = await log.grow(SIZES[2] - SPOKEN_LATE - 1)
    assert last.size == SIZES[2]
    await log.add(4)
    line = WITNESS.cosign(last.note.partition("\n\n")[0] + "\n", 1_772_442_000)
    action = f"audit-checkpoint {ORIGIN} 100 {base64.b64encode((await first(log)).root).decode()} constitution {'0' * 64}"
    async with log.app.begin() as connection:
        cosigned = {"size": last.size, "witness": str(WITNESS.cosigner_key), "line": line, "received_at": NOW}
        await connection.execute(sa.insert(t.audit_cosignature).values(cosigned))
        anchored = {
            "id": new_id(),
            "kind": "checkpoint",
            "state": "queued",
            "checkpoint_size": 100,
            "record": action.encode(),
            "record_sha256": hashlib.sha256(action.encode()).hexdigest(),
            "chain_policy_id": 1,
            "memo": (await first(log)).note,
            "constitution_sha256": "0" * 64,
            "queued_at": NOW,
        }
        await connection.execute(sa.insert(t.anchor).values(anchored))


async def first(log: TestLog) -> checkpoints.SignedCheckpoint:
    async with log.app.connect() as connection:
        return await checkpoints.at(connection, SIZES[0])


async def a_person(log: TestLog, name: str) -> Actor:
    """Their being added is an entry."""
    id = new_id()
    async with log.app.begin() as connection:
        row = {"id": id, "username": name, "name": name.capitalize(), "roles": ["reviewer"], "expertise": []}
        await connection.execute(sa.insert(t.person).values(**row, active=True, created_at=NOW))
        await Unit(connection, NOW, "0" * 64).record("person.added", "person")
        return await with_pseudonym(connection, Actor(id, name, row["name"], frozenset({Role.REVIEWER})))


async def speak(log: TestLog, speaker: Actor, words: str) -> None:
    async with log.app.begin() as connection:
        unit = Unit(connection, NOW, "0" * 64, actor=speaker)
        await unit.record("review.returned", "POL-2026-0001", personal={"reason": words})
    await log.sequence()


async def unguarded(connection: AsyncConnection) -> None:
    """What it takes: a superuser who says so, and switches off each trigger."""
    await connection.exec_driver_sql("SET LOCAL audit.migrating = 'on'")
    for table in GUARDED:
        await connection.exec_driver_sql(f"ALTER TABLE audit.{table} DISABLE TRIGGER ALL")
    await connection.exec_driver_sql("ALTER TABLE anchor DISABLE TRIGGER ALL")


async def after(log: TestLog, *statements: str) -> list[Finding]:
    """What a check finds once somebody did that. Nothing of it stays."""
    engine = log.superuser.execution_options(isolation_level="REPEATABLE READ")
    async with engine.connect() as connection:
        transaction = await connection.begin()
        await unguarded(connection)
        for statement in statements:
            result = await connection.exec_driver_sql(statement)
            assert not statement.startswith(("UPDATE", "DELETE", "INSERT")) or result.rowcount > 0, statement
        found = await check(connection)
        await transaction.rollback()
    return found


def column(name: str) -> str:
    """Makes a generated column one that can be written."""
    return f"ALTER TABLE audit.entry ALTER COLUMN {name} DROP EXPRESSION"


def entry(index: int) -> str:
    return f"(SELECT entry FROM audit.leaf WHERE index = {index})"


def changed(index: int, old: str, new: str) -> str:
    return (
        f"UPDATE audit.entry SET body = convert_to(replace(convert_from(body, 'UTF8'), '{old}', '{new}'), 'UTF8') "
        f"WHERE number = {entry(index)}"
    )


FLIP = "set_byte({0}, {1}, get_byte({0}, {1}) # 1)"
