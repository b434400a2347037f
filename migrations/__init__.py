"""Brings a database to the schema this version of the portal needs: `await migrations.upgrade(url)`."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy.engine import URL, Connection, make_url
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

__all__ = ["async_url", "upgrade"]


def async_url(url: str | URL) -> URL:
    """The same database through asyncpg, whichever `postgres…://` spelling the caller has."""
    text = url.render_as_string(hide_password=False) if isinstance(url, URL) else url
    scheme, _, rest = text.partition("://")
    if scheme.split("+")[0] not in ("postgres", "postgresql"):
        raise ValueError(f"not a PostgreSQL address: {scheme}://…")
    return make_url(f"postgresql+asyncpg://{rest}")


def configuration() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.set_main_option("path_separator", "os")
    return config


async def upgrade(url: str | URL) -> None:
    """Apply what is missing, in one transaction. Safe from several instances at once: they queue for a lock."""
    engine = create_async_engine(async_url(url), poolclass=NullPool)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(_upgrade)
    finally:
        await engine.dispose()


def _upgrade(connection: Connection) -> None:
    config = configuration()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
