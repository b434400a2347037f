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
from sqlalchemy.engine import URL
from sqlalchemy.exc import IntegrityError
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
    "statement",
    ["UPDATE audit.entry SET body = 'x'", "DELETE FROM audit.entry", "TRUNCATE audit.entry"],
)
async def test_the_trail_cannot_be_rewritten(connection: AsyncConnection, statement: str) -> None:
    await arranged(connection)
    with pytest.raises(IntegrityError, match="append-only"):
        await connection.execute(sa.text(statement))


async def test_the_leaf_is_hashed_by_the_database(connection: AsyncConnection) -> None:
    from workflows.audit_transparency.merkle import leaf_hash

    await arranged(connection)
    leaf, body = (await connection.execute(sa.select(audit_entry.c.leaf_sha256, audit_entry.c.body))).one()
    assert leaf == leaf_hash(body)
