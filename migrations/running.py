"""Runs a migration's plain SQL."""

from __future__ import annotations

from alembic import op


def run(script: str) -> None:
    """Several statements at once, which only asyncpg's own simple-query call takes, in the open transaction."""
    op.get_bind().connection.dbapi_connection.run_async(lambda connection: connection.execute(script))
