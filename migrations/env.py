"""What Alembic runs: on the connection it is given, or, from its command line, on `DATABASE_URL`.

Several instances may start at once. Each takes one advisory lock first, so that the second finds the work done;
after that no statement waits long for a lock that live traffic holds, nor runs away.
"""

from __future__ import annotations

import asyncio
import os

from alembic import context
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from migrations import async_url
from workflows.storage.tables import metadata

LOCK = 0x41434753  # "ACGS": any number all instances share


def run(connection: Connection) -> None:
    # SET LOCAL, as a pooler may hand this session to somebody else afterwards.
    connection.exec_driver_sql("SET LOCAL statement_timeout = '120s'")
    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK})")
    connection.exec_driver_sql("SET LOCAL lock_timeout = '5s'")
    # Only a migration may touch the tables of the audit trail (migrations 0002).
    connection.exec_driver_sql("SET LOCAL audit.migrating = 'on'")
    connection.exec_driver_sql("SET LOCAL statement_timeout = '60s'")
    context.configure(connection=connection, target_metadata=metadata, include_schemas=True)
    with context.begin_transaction():
        context.run_migrations()


async def run_on_own_connection(url: str) -> None:
    engine = create_async_engine(async_url(url), poolclass=NullPool)
    async with engine.begin() as connection:
        await connection.run_sync(run)
    await engine.dispose()


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    asyncio.run(run_on_own_connection(os.environ["DATABASE_URL"]))
