"""A log on a database of the test's own: entries by the application's role, the tree by the sequencer's, and its key."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from tests.conftest import NOW
from workflows.audit_transparency import checkpoints
from workflows.audit_transparency.checkpoints import SecondPlace, SignedCheckpoint
from workflows.audit_transparency.notes import Signer
from workflows.audit_transparency.sequencer import sequence
from workflows.storage.tables import audit_entry
from workflows.storage.unit import Unit

ORIGIN = "assembly.example/audit"


@dataclass
class TestLog:
    """`app` and `sequencer` are engines as those roles, `superuser` one that may do everything."""

    __test__ = False

    app: AsyncEngine
    sequencer: AsyncEngine
    superuser: AsyncEngine
    signer: Signer
    place: SecondPlace

    async def add(self, count: int, type: str = "test.happened") -> None:
        """That many committed entries, told apart by their payload."""
        async with self.app.begin() as connection:
            unit = Unit(connection, NOW, "0" * 64)
            bodies = []
            for number in range(count):
                unit.now = NOW + timedelta(seconds=number)
                bodies.append({"body": unit.entry(type, f"POL-2026-{number % 7:04}", {"number": number})})
            await connection.execute(sa.insert(audit_entry), bodies)

    async def sequence(self, limit: int = 8192) -> int:
        """All that waits, `limit` at a time; how many."""
        done = 0
        while batch := await sequence(self.sequencer, limit):
            done += batch
        return done

    async def sign(self) -> SignedCheckpoint | None:
        return await checkpoints.sign(self.sequencer, self.signer, ORIGIN, self.place)

    async def grow(self, count: int) -> SignedCheckpoint:
        """That many more entries, in the tree and signed."""
        await self.add(count)
        await self.sequence()
        signed = await self.sign()
        assert signed is not None
        return signed

    async def leaf_hashes(self) -> list[bytes]:
        """Of the whole tree in its order, from the entries."""
        query = "SELECT leaf_sha256 FROM audit.leaf JOIN audit.entry ON entry = number ORDER BY index"
        async with self.app.connect() as connection:
            return [bytes(item) for item in (await connection.exec_driver_sql(query)).scalars()]


def engine_as(url: str, role: str | None = None) -> AsyncEngine:
    settings = {"server_settings": {"role": role}} if role else {}
    return create_async_engine(url, poolclass=NullPool, connect_args=settings)


def log_on(url: str, place: SecondPlace) -> TestLog:
    return TestLog(
        app=engine_as(url, "acgs_app"),
        sequencer=engine_as(url, "acgs_sequencer"),
        superuser=engine_as(url),
        signer=Signer(ORIGIN, bytes(range(32))),
        place=place,
    )


@pytest.fixture
def log(fresh_database: str, tmp_path: Path) -> TestLog:
    return log_on(fresh_database, SecondPlace(tmp_path / "place" / "checkpoint"))
