"""The portal looks at its own log: what was changed raises an alert by itself, and what the chain remembers of a cut log too."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from portal import self_check
from portal.database import begin_unit
from portal.self_check import CHAIN_ALERT, CONTRADICTED_ALERT, Units
from portal.services import Services
from tests.reliability.tampered import changed, unguarded
from tests.workflows.log.conftest import TestLog, log_on
from workflows.audit_transparency.checkpoints import SecondPlace
from workflows.storage.tables import alert

ROOT = Path(__file__).parents[2]


@pytest.fixture
def held(app: object) -> Services:
    return app.state.services  # type: ignore[attr-defined]


@pytest.fixture
def units(held: Services) -> Units:
    return partial(begin_unit, held.engine, constitution=held.constitution)


@pytest.fixture
def log(fresh_database: str, tmp_path: Path) -> TestLog:
    return log_on(fresh_database, SecondPlace(tmp_path / "place" / "checkpoint"))


async def told(held: Services) -> dict[str, str]:
    query = sa.select(alert.c.code, alert.c.message).where(alert.c.resolved_at.is_(None))
    async with held.engine.connect() as connection:
        return {code: message for code, message in await connection.execute(query)}  # noqa: C416


async def tamper(connection: AsyncConnection, *statements: str) -> None:
    await unguarded(connection)
    for statement in statements:
        await connection.exec_driver_sql(statement)


def command(database: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"DATABASE_URL": database, "DATA_DIR": str(tmp_path)}
    return subprocess.run(
        [sys.executable, "-m", "portal", "check"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


async def test_a_changed_byte_raises_an_alert_by_itself_and_the_command_names_it(
    held: Services, units: Units, log: TestLog, fresh_database: str, tmp_path: Path
) -> None:
    await log.grow(300)
    await self_check.recompute(units, held)
    assert await told(held) == {}
    sound = command(fresh_database, tmp_path)
    assert (sound.returncode, sound.stdout) == (
        0,
        "Everything in the log was recomputed, and all of it fits.\n",
    )
    superuser = create_async_engine(fresh_database, poolclass=NullPool)
    async with superuser.begin() as connection:
        await tamper(connection, changed(9, "happened", "happenee"))
    await self_check.recompute(units, held)
    message = (await told(held))[CONTRADICTED_ALERT]
    assert "tile 0 of level 0, leaf 9" in message and "more." in message
    found = command(fresh_database, tmp_path)
    assert found.returncode == 1
    assert "tile 0 of level 0, leaf 9: The entry's hash is another than the tile's." in found.stdout
    assert "do not fit" in found.stderr
    async with superuser.begin() as connection:
        await connection.exec_driver_sql("SET LOCAL audit.migrating = 'on'")
        await connection.exec_driver_sql(changed(9, "happenee", "happened"))
    await superuser.dispose()
    await self_check.recompute(units, held)
    assert await told(held) == {}


async def test_with_the_chain_away_nothing_is_claimed(held: Services, units: Units, log: TestLog) -> None:
    await log.grow(1)
    await self_check.ask_chain(units, held)
    assert CHAIN_ALERT not in await told(held)
