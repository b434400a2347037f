"""The database keeps its own promises: the migration yields the tables, and what must not change cannot."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path
from uuid import uuid4

import anyio
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool
from sqlalchemy.schema import CreateTable

import migrations
from tests.conftest import arranged
from workflows.storage.tables import audit_entry, metadata

ROOT = Path(__file__).parents[2]


async def test_the_migration_yields_exactly_the_tables(connection: AsyncConnection) -> None:
    def differences(sync: sa.Connection) -> list[object]:
        options = {"include_schemas": True, "compare_type": True, "compare_server_default": True}
        found = compare_metadata(MigrationContext.configure(sync, opts=options), metadata)
        # PgQueuer brings its own tables, which are no business of ours.
        return [difference for difference in found if "pgqueuer" not in str(difference)]

    assert await connection.run_sync(differences) == []


async def test_the_migration_has_every_check_of_the_tables(connection: AsyncConnection) -> None:
    rows = await connection.execute(sa.text("SELECT conname FROM pg_constraint WHERE contype = 'c'"))
    stored = set(rows.scalars())
    declared = {
        str(constraint.name)
        for table in metadata.tables.values()
        for constraint in table.constraints
        if isinstance(constraint, sa.CheckConstraint)
    } | {
        word
        for table in metadata.tables.values()
        for word in str(CreateTable(table).compile(dialect=connection.dialect)).split()
        if word.startswith("ck_")
    }
    assert declared
    assert declared <= stored


async def test_several_instances_may_upgrade_at_once(server_url: URL) -> None:
    name = f"acgs_{uuid4().hex[:12]}"
    admin = create_async_engine(server_url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    async with admin.connect() as connection:
        await connection.exec_driver_sql(f"CREATE DATABASE {name}")
    url = server_url.set(database=name)
    environment = os.environ | {"DATABASE_URL": url.render_as_string(hide_password=False)}
    command = [sys.executable, "-m", "alembic", "upgrade", "head"]
    try:
        async with anyio.create_task_group() as tasks:
            for _ in range(2):
                tasks.start_soon(partial(anyio.run_process, command, env=environment, cwd=ROOT))
        await migrations.upgrade(url)
        engine = create_async_engine(url, poolclass=NullPool)
        async with engine.connect() as connection:
            assert (
                await connection.exec_driver_sql("SELECT count(*) FROM governance_clock")
            ).scalar_one() == 1
            assert (await connection.exec_driver_sql("SELECT count(*) FROM pgqueuer")).scalar_one() == 0
    finally:
        async with admin.connect() as connection:
            await connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.parametrize(
    "statement, refusal",
    [
        ("UPDATE audit.entry SET body = 'x'", "the audit trail is append-only"),
        ("DELETE FROM audit.entry", "the audit trail is append-only"),
        # Without CASCADE, what refers to the entries is in the way before the trigger is asked.
        ("TRUNCATE audit.entry", "cannot truncate a table referenced in a foreign key constraint"),
        ("TRUNCATE audit.entry CASCADE", "append-only"),
    ],
)
async def test_the_trail_cannot_be_rewritten(
    connection: AsyncConnection, statement: str, refusal: str
) -> None:
    await arranged(connection)
    with pytest.raises(DBAPIError, match=refusal):
        await connection.execute(sa.text(statement))


async def test_the_leaf_is_hashed_by_the_database(connection: AsyncConnection) -> None:
    from workflows.audit_transparency.merkle import leaf_hash

    await arranged(connection)
    leaf, body = (await connection.execute(sa.select(audit_entry.c.leaf_sha256, audit_entry.c.body))).one()
    assert leaf == leaf_hash(body)


# Why a change of these needs no entry in the same transaction. Every other table of ours is under the trigger `audited`.
UNAUDITED = {
    "alert": "what is wrong with the portal's surroundings: no act of anybody",
    "chain_status": "what was last seen of the chain",
    "chain_compliance": "what the program on chain last said of an entered record, which can be asked anew",
    "embedding": "follows from a text and a model, and can be made anew",
    "impact": "a replay of entered decisions, which can be made anew",
    "conformance": "what a check found in the rows, which can be found anew",
    "rule_check": "what the gate found of an entered version, which can be found anew",
    "idempotency": "answers kept for a client that asks again; the act itself was entered",
    "reference_counter": "the next number of a reference; what bears it is entered",
    "refresh_used": "tokens of a session that were used up; auth.refreshed is entered with the session's own row",
    "audit.entry": "the entries themselves: append-only",
    "audit.pending": "follows from the entries, by a trigger",
    "audit.leaf": "the order of the entries: append-only",
    "audit.tile": "follows from the entries: append-only",
    "audit.tree": "follows from the entries: only grows",
    "audit.log": "written once, with the first checkpoint",
    "audit.checkpoint": "an entry about one would need another one, for ever: append-only",
    "audit.cosignature": "a statement of others, signed by them: append-only",
}
# Rows that come by themselves with others, which are audited.
FILLED_BY_TRIGGER = {("audit.subject", "INSERT")}
ENTERS_NOTHING = "this transaction changes {} and enters nothing in the audit trail"


def _value(kind: sa.types.TypeEngine) -> str:
    """Some value of a column's type, in SQL."""
    if isinstance(kind, pg.ARRAY):
        return "'{}'"
    values = {
        sa.Uuid: "gen_random_uuid()",
        sa.DateTime: "now()",
        sa.Interval: "'1 second'",
        sa.Boolean: "false",
        sa.Float: "1",
        sa.Integer: "1",
        sa.Numeric: "1",
        sa.LargeBinary: "'\\x00'",
        pg.JSONB: "'{}'",
        sa.Text: "'x'",
    }
    return next(value for known, value in values.items() if isinstance(kind, known))


def _insert(table: sa.Table) -> str:
    """A row of made-up values; columns that may be empty or have a default are left to that."""
    needed = [column for column in table.c if not column.nullable and column.server_default is None]
    names = ", ".join(f'"{column.name}"' for column in needed)
    return f"INSERT INTO {table.fullname} ({names}) VALUES ({', '.join(_value(column.type) for column in needed)})"


async def _only_the_audit_is_asked(connection: AsyncConnection, table: sa.Table) -> None:
    """Take away what else would refuse made-up rows or bare changes: keys, checks, guards. On a database of its own."""
    await connection.exec_driver_sql("SET LOCAL audit.migrating = 'on'")
    triggers = await connection.execute(
        sa.text("SELECT tgname FROM pg_trigger WHERE tgrelid = CAST(CAST(:table AS text) AS regclass)"),
        {"table": table.fullname},
    )
    for name in triggers.scalars().all():
        if not name.startswith("audited"):
            await connection.exec_driver_sql(f'ALTER TABLE {table.fullname} DISABLE TRIGGER "{name}"')
    checks = await connection.execute(
        sa.text(
            "SELECT conname FROM pg_constraint WHERE contype = 'c' "
            "AND conrelid = CAST(CAST(:table AS text) AS regclass)"
        ),
        {"table": table.fullname},
    )
    for name in checks.scalars().all():
        await connection.exec_driver_sql(f"ALTER TABLE {table.fullname} DROP CONSTRAINT {name}")


async def test_no_table_changes_without_an_entry(fresh_database: str) -> None:
    """Every table, every kind of change: COMMIT refuses it bare, and takes it with an entry."""
    engine = create_async_engine(fresh_database, poolclass=NullPool)
    for table in metadata.tables.values():
        if table.fullname in UNAUDITED:
            continue
        key = table.c[0].name
        async with engine.begin() as connection:
            await _only_the_audit_is_asked(connection, table)
            await connection.exec_driver_sql(f"DELETE FROM {table.fullname}")
            await arranged(connection)
        for kind, statement in (
            ("INSERT", _insert(table)),
            ("UPDATE", f'UPDATE {table.fullname} SET "{key}" = "{key}"'),
            ("DELETE", f"DELETE FROM {table.fullname}"),
        ):
            async with engine.connect() as connection:
                if (table.fullname, kind) not in FILLED_BY_TRIGGER:
                    transaction = await connection.begin()
                    assert (await connection.exec_driver_sql(statement)).rowcount == 1, statement
                    full = table.fullname if table.schema else f"public.{table.name}"
                    with pytest.raises(IntegrityError, match=ENTERS_NOTHING.format(full)):
                        await transaction.commit()
            async with engine.begin() as connection:
                assert (await connection.exec_driver_sql(statement)).rowcount == 1, statement
                await arranged(connection)


async def test_what_may_change_without_an_entry_is_listed_with_a_reason(connection: AsyncConnection) -> None:
    query = """SELECT CASE nspname WHEN 'public' THEN relname ELSE nspname || '.' || relname END FROM pg_trigger
        JOIN pg_class ON pg_class.oid = tgrelid JOIN pg_namespace ON pg_namespace.oid = relnamespace
        WHERE tgname = 'audited' AND tgenabled = 'O' AND tgdeferrable AND tginitdeferred"""
    audited = set((await connection.execute(sa.text(query))).scalars())
    assert audited | set(UNAUDITED) == set(metadata.tables)
    assert not audited & set(UNAUDITED)


async def test_no_governed_table_is_emptied(connection: AsyncConnection) -> None:
    """TRUNCATE fires no row trigger. Refused to a superuser, and in a replica session, as well."""
    await connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
    for table in metadata.tables.values():
        if table.fullname in UNAUDITED:
            continue
        savepoint = await connection.begin_nested()
        with pytest.raises(DBAPIError, match=r"rows of it go one by one|append-only"):
            await connection.exec_driver_sql(f"TRUNCATE {table.fullname} CASCADE")
        await savepoint.rollback()


async def test_an_entry_of_another_transaction_is_no_entry(fresh_database: str) -> None:
    """Not one that waits, nor one that another transaction is just writing."""
    engine = create_async_engine(fresh_database, poolclass=NullPool)
    async with engine.begin() as waiting:
        await arranged(waiting)
    async with engine.connect() as other, engine.connect() as connection:
        await other.begin()
        await arranged(other)
        transaction = await connection.begin()
        await connection.exec_driver_sql("UPDATE governance_clock SET ahead = '1 day'")
        with pytest.raises(IntegrityError, match=r"public\.governance_clock"):
            await transaction.commit()


async def test_an_entry_that_was_rolled_back_is_no_entry(fresh_database: str) -> None:
    engine = create_async_engine(fresh_database, poolclass=NullPool)
    async with engine.connect() as connection:
        transaction = await connection.begin()
        savepoint = await connection.begin_nested()
        await arranged(connection)
        await savepoint.rollback()
        await connection.exec_driver_sql("UPDATE governance_clock SET ahead = '1 day'")
        with pytest.raises(IntegrityError, match="enters nothing"):
            await transaction.commit()


async def test_the_state_of_a_checkpoints_anchor_is_no_entry_but_its_removal_is(fresh_database: str) -> None:
    """An entry about it would make the log grow, and so need another anchor."""
    engine = create_async_engine(fresh_database, poolclass=NullPool)
    async with engine.begin() as connection:
        await connection.exec_driver_sql("INSERT INTO audit.checkpoint VALUES (1, 'x', 'x', now())")
        await connection.exec_driver_sql(
            """INSERT INTO anchor (id, kind, state, checkpoint_size, record, record_sha256, chain_policy_id, memo,
                constitution_sha256, queued_at) VALUES (gen_random_uuid(), 'checkpoint', 'queued', 1, 'x',
                repeat('0', 64), 1, 'x', repeat('0', 64), now())"""
        )
    async with engine.begin() as connection:
        await connection.exec_driver_sql("UPDATE anchor SET state = 'submitted'")
    async with engine.connect() as connection:
        transaction = await connection.begin()
        await connection.exec_driver_sql("DELETE FROM anchor")
        with pytest.raises(IntegrityError, match=r"public\.anchor"):
            await transaction.commit()
