"""What the log costs: appends by many at once beside a bare insert, the way into the tree, proofs and checks of a large log.

`PERFORMANCE_ENTRIES=1000000` measures the size that docs/performance.md gives figures for; by default a smaller one.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import asyncpg
import pytest
import rfc8785
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from portal.database import SEQUENCER, begin_read, create_engine
from portal.log import VERIFIERS
from tests.e2e.running import Portal
from tests.performance.measuring import Timings, at_once
from tests.reliability.house import database_url
from workflows.audit_transparency import archive, checkpoints, merkle, tree
from workflows.audit_transparency.bundle import ChainIdentity
from workflows.audit_transparency.check import check
from workflows.audit_transparency.checkpoints import SecondPlace
from workflows.audit_transparency.notes import Signer
from workflows.audit_transparency.reports.analysis import Scope, parts
from workflows.audit_transparency.reports.shapes import Section
from workflows.audit_transparency.sequencer import sequence
from workflows.constitution.document import load
from workflows.storage.unit import ENTRY_SCHEMA, new_id

ACTORS = (1, 50, 200, 1000)
POOL = 40
SECONDS = 3.0
SAMPLED = 25  # of so many appends one is followed into the tree
ENTRIES = int(os.environ.get("PERFORMANCE_ENTRIES", "20000"))


def body() -> bytes:
    """An entry as an act writes it, of the usual length."""
    return rfc8785.dumps(
        {
            "schema": ENTRY_SCHEMA,
            "id": str(new_id()),
            "type": "comment.added",
            "subject": "POL-2026-0001",
            "actor": "00000000-0000-4000-8000-000000000000",
            "at": "2026-03-02T09:00:00.000000Z",
            "constitution_sha256": "0" * 64,
            "request_id": str(new_id()),
            "idempotency_key_sha256": "",
            "payload": {"comment": str(new_id()), "version": 1, "sha256": "0" * 64},
            "personal": {},
        }
    )


@dataclass
class Log:
    """The portal's database as the application sees it, with a table that has no guards beside the log."""

    pool: asyncpg.Pool
    line: (
        asyncio.Semaphore
    )  # whoever came first is served first: asyncpg's pool lets who just had a connection go before
    indexed: list[float]  # seconds from an append's commit to its leaf

    async def bare(self, client: int, turn: int) -> None:
        async with self.line:
            await self.pool.execute("INSERT INTO public.bare (body) VALUES ($1)", body())

    async def append(self, client: int, turn: int) -> None:
        async with self.line:
            number = await self.pool.fetchval(
                "INSERT INTO audit.entry (body) VALUES ($1) RETURNING number", body()
            )
        if (client + turn) % SAMPLED == 0 and len(self.indexed) < 200:
            await self._follow(number)

    async def _follow(self, number: int) -> None:
        committed = time.perf_counter()
        while not await self.pool.fetchval("SELECT EXISTS (SELECT FROM audit.leaf WHERE entry = $1)", number):
            assert time.perf_counter() - committed < 60, "the entry does not come into the tree"
            await asyncio.sleep(0.005)
        self.indexed.append(time.perf_counter() - committed)


async def measured(portal: Portal, actors: int) -> tuple[Timings, Timings, list[float]]:
    """Bare inserts, then appends, by so many actors over a pool of connections; and the way into the tree."""
    admin = await asyncpg.connect(database_url(portal.data_dir))
    await admin.execute(
        "CREATE TABLE public.bare (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body bytea)"
    )
    await admin.execute("GRANT ALL ON public.bare TO acgs_app")
    pool = await asyncpg.create_pool(
        database_url(portal.data_dir), min_size=POOL, max_size=POOL, server_settings={"role": "acgs_app"}
    )
    try:
        log = Log(pool, asyncio.Semaphore(POOL), [])
        bare = await at_once(actors, SECONDS, log.bare, os.getpid())
        appended = await at_once(actors, SECONDS, log.append, os.getpid())
        return bare, appended, log.indexed
    finally:
        await pool.close()
        await admin.execute("DROP TABLE public.bare")
        await admin.close()


def test_appends_by_many_actors(portal: Portal, report: Callable[..., None]) -> None:
    rows = []
    for actors in ACTORS:
        bare, appended, indexed = asyncio.run(measured(portal, actors))
        assert appended.each and indexed
        waited = Timings(indexed)
        rows.append(
            [
                f"{actors}",
                f"{bare.per_second:.0f}",
                f"{appended.per_second:.0f}",
                f"{appended.per_second / bare.per_second:.2f}",
                *(f"{appended.percentile(percent) * 1000:.0f}" for percent in (50, 95)),
                *(f"{waited.percentile(percent) * 1000:.0f}" for percent in (50, 95)),
            ]
        )
    columns = [
        "actors",
        "bare INSERT/s",
        "appends/s",
        "ratio",
        "commit p50 ms",
        "p95",
        "indexed after p50 ms",
        "p95",
    ]
    report(
        f"Appends to the log, each its own commit in one round trip, over {POOL} connections", columns, rows
    )


# A large log

_LOAD = sa.text("""
INSERT INTO audit.entry (body) SELECT convert_to(
    '{"actor":"' || (ARRAY['system', 'visitor', 'voter'])[1 + n % 3]
    || '","at":"' || to_char(timestamp '2026-01-01' + n * interval '20 seconds', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
    || '","constitution_sha256":"' || repeat('0', 64) || '","id":"' || gen_random_uuid()
    || '","idempotency_key_sha256":"","payload":{"version":' || n % 7 || '},"personal":{},"request_id":"'
    || gen_random_uuid() || '","schema":"acgs.audit.entry/2","subject":"POL-2026-' || lpad((n % 500)::text, 4, '0')
    || '","type":"' || (ARRAY['comment.added', 'review.approved', 'policy.submitted', 'ballot.opened', 'auth.signed_in',
       'access.refused'])[1 + n % 6] || '"}', 'UTF8')
FROM generate_series(CAST(:first AS bigint), CAST(:last AS bigint)) AS n
""")


@pytest.fixture
async def large(fresh_database: str) -> AsyncIterator[tuple[AsyncEngine, AsyncEngine]]:
    """A database with ENTRIES entries that wait for the tree: engines of the application and of the sequencer."""
    app, sequencer = create_engine(fresh_database), create_engine(fresh_database, role=SEQUENCER)
    for first in range(1, ENTRIES + 1, 50_000):
        async with app.begin() as connection:
            await connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
            await connection.execute(_LOAD, {"first": first, "last": min(first + 49_999, ENTRIES)})
    yield app, sequencer
    await app.dispose()
    await sequencer.dispose()


async def timed(act: Callable[[], Awaitable[Any]]) -> tuple[float, Any]:
    began = time.perf_counter()
    result = await act()
    return time.perf_counter() - began, result


async def test_a_large_log(
    large: tuple[AsyncEngine, AsyncEngine], report: Callable[..., None], tmp_path: Path
) -> None:
    app, sequencer = large

    async def all_in_the_tree() -> None:
        while await sequence(sequencer):
            pass

    seconds, _ = await timed(all_in_the_tree)
    rows = [["into the tree", f"{ENTRIES / seconds:.0f}/s", f"{seconds:.1f} s in all"]]
    async with app.connect() as connection:
        size, root = await tree.head(connection)
        assert size == ENTRIES
        rows.append(await _proofs(connection, size, root))
        rows.append(await _consistency(connection, size, root))
        await connection.rollback()
        await connection.execute(sa.text("SET statement_timeout = 0"))
        seconds, findings = await timed(lambda: check(connection))
        assert findings == []
        rows.append(
            ["everything recomputed", f"{ENTRIES / seconds:.0f} entries/s", f"{seconds:.1f} s in all"]
        )
    rows.append(await _reported(app))
    rows += await _verified(app, sequencer, tmp_path)
    report(f"A log of {ENTRIES} entries", ["what", "figure", ""], rows)


async def _reported(app: AsyncEngine) -> list[str]:
    """All sections of a report on the whole time of the log."""
    async with app.connect() as connection:
        await connection.execute(sa.text("SET statement_timeout = 0"))
        begin, end = datetime(2026, 1, 1, tzinfo=UTC), datetime(2028, 1, 1, tzinfo=UTC)
        scope = Scope(connection, begin, end, ENTRIES)
        seconds, made = await timed(lambda: parts(scope, list(Section)))
    counted = {figure.key: figure.value for part in made for figure in part.figures}
    assert counted["comment.added"] == len(range(6, ENTRIES + 1, 6))
    return ["report, all sections", f"{seconds:.1f} s", ""]


async def _verified(app: AsyncEngine, sequencer: AsyncEngine, place: Path) -> list[list[str]]:
    """The whole log taken away, and checked by the stand-alone verifier in a process of its own."""
    signer = Signer("measured.example/log", bytes(32))
    await checkpoints.sign(sequencer, signer, signer.name, SecondPlace(place / "checkpoint"))
    readers = partial(begin_read, app)
    async with readers() as connection:
        chain = ChainIdentity("8eRUCnQsDxqK7vjp5XsYs7C3NGpdhzzaMW8QQGzfTUV4", None, "localnet", None)
        fixed = await archive.outline(connection, load(), chain)
    assert fixed is not None
    file = place / "log.zip"

    async def take() -> None:
        with file.open("wb") as out:
            async for piece in archive.pieces(readers, fixed):
                out.write(piece)

    taken, _ = await timed(take)
    began = time.perf_counter()
    done = await anyio.run_process([sys.executable, "-I", str(VERIFIERS[0]), str(file)], check=False)
    checked = time.perf_counter() - began
    assert done.returncode == 0, done.stdout
    return [
        ["log.zip", f"{taken:.1f} s", f"{file.stat().st_size / 1e6:.0f} MB"],
        ["acgs_verify.py on it", f"{checked:.1f} s", f"{ENTRIES / checked:.0f} entries/s"],
    ]


async def _proofs(connection: Any, size: int, root: bytes) -> list[str]:
    chance = random.Random(6962)
    timings = Timings()
    for index in (chance.randrange(size) for _ in range(300)):
        seconds, proof = await timed(lambda index=index: tree.inclusion_proof(connection, index, size))
        timings.each.append(seconds)
        query = "SELECT leaf_sha256 FROM audit.entry JOIN audit.leaf ON entry = number WHERE index = CAST(:index AS bigint)"
        leaf = (await connection.execute(sa.text(query), {"index": index})).scalar_one()
        merkle.verify_inclusion(leaf, index, size, proof, root)
    return [
        "inclusion proof",
        *(f"p{percent} {timings.percentile(percent) * 1000:.1f} ms" for percent in (50, 95)),
    ]


async def _consistency(connection: Any, size: int, root: bytes) -> list[str]:
    chance = random.Random(9162)
    timings = Timings()
    for old in (chance.randrange(1, size) for _ in range(100)):
        before = await tree.root_at(connection, old)
        seconds, proof = await timed(lambda old=old: tree.consistency_proof(connection, old, size))
        timings.each.append(seconds)
        merkle.verify_consistency(old, size, before, root, proof)
    return [
        "consistency proof",
        *(f"p{percent} {timings.percentile(percent) * 1000:.1f} ms" for percent in (50, 95)),
    ]
