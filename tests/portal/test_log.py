"""The worker's part of the log: acts come into the tree and are signed by themselves, a fork is not, and verifiers are published."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa
from litestar import Litestar

from portal.database import SEQUENCER, begin_unit, create_engine
from portal.keys import log_key
from portal.log import FORK_ALERT, Units, keep_log, log_signer, publish_verifiers
from portal.services import Services
from portal.settings import Settings, SettingsError
from tests.portal.test_worker import until
from workflows.audit_transparency import checkpoints
from workflows.audit_transparency.notes import Checkpoint, open_note
from workflows.storage.tables import alert, audit_entry


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    return settings.with_(data_dir=tmp_path)


@pytest.fixture
def held(app: Litestar) -> Services:
    return app.state.services


@pytest.fixture
def units(held: Services) -> Units:
    return partial(begin_unit, held.engine, constitution=held.constitution, publish=held.live.publish)


@pytest.fixture
async def keeping(held: Services, units: Units) -> AsyncIterator[None]:
    task = asyncio.create_task(keep_log(units, held))
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def size_signed(held: Services) -> int:
    async with held.engine.connect() as connection:
        newest = await checkpoints.latest(connection)
    return newest.size if newest else 0


async def entries(held: Services) -> int:
    async with held.engine.connect() as connection:
        return (await connection.execute(sa.select(sa.func.count()).select_from(audit_entry))).scalar_one()


async def act(units: Units, words: str = "x") -> None:
    async with units() as unit:
        await unit.record("test.acted", "test", words=words)


async def all_signed(held: Services) -> bool:
    return await size_signed(held) == await entries(held)


async def test_what_is_committed_is_signed_by_itself(held: Services, units: Units, keeping: None):
    for number in range(3):
        await act(units, str(number))
    await until(lambda: all_signed(held))
    before = await size_signed(held)
    await act(units)
    await until(lambda: all_signed(held))
    assert await size_signed(held) == before + 1
    async with held.engine.connect() as connection:
        newest, log = await checkpoints.latest(connection), await checkpoints.identity(connection)
    engine = create_engine(held.settings.database_url or "", role=SEQUENCER)
    signer = await log_signer(held.settings, engine)
    await engine.dispose()
    text, signatures = open_note(newest.note, [signer.verifier_key])
    assert Checkpoint.parse(text) == Checkpoint(log.origin, newest.size, newest.root)
    assert len(signatures) == 1
    assert (held.settings.data_dir / "checkpoint").read_text() == newest.note


async def test_two_workers_keep_one_log(held: Services, units: Units, keeping: None):
    second = asyncio.create_task(keep_log(units, held))
    for number in range(20):
        await act(units, str(number))
    await until(lambda: all_signed(held))
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    async with held.engine.connect() as connection:
        alerts = (await connection.execute(sa.select(alert.c.code))).scalars().all()
    assert FORK_ALERT not in alerts


async def test_a_log_that_does_not_continue_what_was_signed_raises_an_alert_and_is_not_signed(
    held: Services, units: Units
):
    """As after a backup was restored: the second place knows of more than the database has."""
    engine = create_engine(held.settings.database_url or "", role=SEQUENCER)
    signer = await log_signer(held.settings, engine)
    await engine.dispose()
    future = signer.sign(Checkpoint(signer.name, 1_000, bytes(32)).text())
    (held.settings.data_dir / "checkpoint").write_text(future)
    task = asyncio.create_task(keep_log(units, held))
    try:

        async def raised() -> bool:
            async with held.engine.connect() as connection:
                query = sa.select(alert.c.code).where(alert.c.resolved_at.is_(None))
                return FORK_ALERT in (await connection.execute(query)).scalars().all()

        await until(raised)
        assert await size_signed(held) == 0
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_the_log_keeps_its_name_whatever_the_address_becomes(
    held: Services, units: Units, keeping: None
):
    await act(units)
    await until(lambda: all_signed(held))
    engine = create_engine(held.settings.database_url or "", role=SEQUENCER)
    moved = held.settings.with_(base_url="https://rules.example.org")
    assert (await log_signer(moved, engine)).name == (await log_signer(held.settings, engine)).name
    await engine.dispose()


@pytest.mark.parametrize("held_in_file", ["", "too short", "QUJD", "ä"])
def test_a_key_that_cannot_be_read_says_so(tmp_path: Path, held_in_file: str):
    file = tmp_path / "key"
    file.write_text(held_in_file)
    with pytest.raises(SettingsError, match="LOG_KEY") as caught:
        log_key(Settings(log_key=file))
    assert not held_in_file or held_in_file not in str(caught.value).replace(str(file), "")


async def test_verifiers_are_entered_once_and_again_when_they_change(
    held: Services, units: Units, tmp_path: Path
):
    file = tmp_path / "verify.py"
    file.write_text("one")
    assert await publish_verifiers(units, (file,)) == ["verify.py"]
    assert await publish_verifiers(units, (file,)) == []
    file.write_text("two")
    assert await publish_verifiers(units, (file,)) == ["verify.py"]
    payload = sa.func.convert_from(audit_entry.c.body, "UTF8").cast(sa.JSON)["payload"]["sha256"].as_string()
    query = (
        sa.select(payload).where(audit_entry.c.type == "verifier.published").order_by(audit_entry.c.number)
    )
    async with held.engine.connect() as connection:
        found = (await connection.execute(query)).scalars().all()
    assert found == [hashlib.sha256(text).hexdigest() for text in (b"one", b"two")]
