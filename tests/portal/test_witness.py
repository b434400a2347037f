"""The witness: it cosigns one history of a log, refuses every other, and remembers across a kill. A process of its own."""

from __future__ import annotations

import asyncio
import base64
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa
from litestar import Litestar

from portal.database import SEQUENCER, begin_unit, create_engine
from portal.keys import log_key
from portal.log import WitnessRefused, keep_log, keep_witnessed, submit
from portal.services import Services
from portal.settings import Settings
from tests.portal.test_worker import until
from workflows.audit_transparency import checkpoints, merkle
from workflows.audit_transparency.checkpoints import SecondPlace
from workflows.audit_transparency.notes import Checkpoint, Signer, VerifierKey, open_note
from workflows.audit_transparency.sequencer import sequence
from workflows.storage.tables import alert, audit_cosignature

ROOT = Path(__file__).parents[2]
LOG = Signer("example.org/log", b"l" * 32)
STRANGER = Signer("example.org/log", b"s" * 32)
LEAVES = [merkle.leaf_hash(bytes([number])) for number in range(40)]
OTHERS = [merkle.leaf_hash(b"other" + bytes([number])) for number in range(40)]


class Running:
    def __init__(self, state: Path, log: VerifierKey) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        arguments = ["--name", "example.net/witness", "--log", str(log), "--state", str(state)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "portal.witness", *arguments, "--port", str(self.port)],
            stdout=subprocess.PIPE,
            cwd=ROOT,
            text=True,
        )
        self.key = VerifierKey.parse(self.process.stdout.readline().strip())
        self.address = f"http://127.0.0.1:{self.port}"
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.05)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def add(self, old: int, proof: list[bytes], note: str) -> httpx.Response:
        lines = [f"old {old}", *(base64.b64encode(item).decode() for item in proof), "", note]
        return self.post("\n".join(lines).encode())

    def post(self, body: bytes, path: str = "/add-checkpoint") -> httpx.Response:
        return httpx.post(self.address + path, content=body, timeout=10)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    running: list[Running] = []

    def make(log: VerifierKey = LOG.verifier_key) -> Running:
        running.append(Running(tmp_path / "witness", log))
        return running[-1]

    yield make
    for each in running:
        each.kill()


def note(size: int, leaves: list[bytes] = LEAVES, signer: Signer = LOG) -> str:
    return signer.sign(Checkpoint(signer.name, size, merkle.root_of(leaves[:size])).text())


def proof(old: int, new: int, leaves: list[bytes] = LEAVES) -> list[bytes]:
    return [merkle.root_of(leaves[first:last]) for first, last in merkle.consistency_ranges(old, new)]


def test_it_cosigns_what_extends_what_it_signed(start: Callable[..., Running]):
    witness = start()
    assert witness.add(0, [], note(7)).status_code == 200
    answer = witness.add(7, proof(7, 21), note(21))
    assert answer.status_code == 200
    _, signatures = open_note(note(21).partition("\n\n")[0] + "\n\n" + answer.text, [witness.key])
    assert [item.key.algorithm for item in signatures] == [4]
    assert abs(signatures[0].timestamp - time.time()) < 60
    assert witness.add(21, [], note(21)).status_code == 200, "the same once more does no harm"


def test_it_refuses_a_fork_and_remembers_across_a_kill(start: Callable[..., Running]):
    witness = start()
    assert witness.add(0, [], note(7)).status_code == 200
    witness.kill()
    witness = start()
    fork = witness.add(7, proof(7, 21, OTHERS), note(21, OTHERS))
    assert fork.status_code == 422
    assert witness.add(7, [], note(7, OTHERS)).status_code == 409, "another root of the size it signed"
    answer = witness.add(0, [], note(21))
    assert answer.status_code == 409 and answer.text == "7\n"
    assert answer.headers["content-type"] == "text/x.tlog.size"
    assert witness.add(7, proof(7, 21), note(21)).status_code == 200


def test_it_knows_whose_log_it_is(start: Callable[..., Running]):
    witness = start()
    assert witness.add(0, [], note(7, signer=STRANGER)).status_code == 403
    assert witness.add(0, [], note(7, signer=Signer("example.com/else", b"e" * 32))).status_code == 404
    assert witness.add(0, [], note(7)).status_code == 200


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"old 7", 400),
        (b"new 0\n\n" + note(7).encode(), 400),
        (b"old 00\n\n" + note(7).encode(), 400),
        (b"old -1\n\n" + note(7).encode(), 400),
        (b"old 8\n\n" + note(7).encode(), 400),
        (b"old " + b"9" * 40 + b"\n\n" + note(7).encode(), 400),
        (b"old 0\nnot base64\n\n" + note(7).encode(), 400),
        (b"old 0\n" + base64.b64encode(bytes(31)) + b"\n\n" + note(7).encode(), 400),
        (b"old 0\n" + (base64.b64encode(bytes(32)) + b"\n") * 64 + b"\n" + note(7).encode(), 400),
        (b"old 0\n" + base64.b64encode(bytes(32)) + b"\n\n" + note(7).encode(), 422),
        (b"old 0\n\n\xff\xfe", 400),
        (b"old 0\n\n" + note(7).replace("7", "8", 1).encode(), 403),
        (b"x" * 64_001, 413),
    ],
)
def test_what_is_no_request_is_told_so(start: Callable[..., Running], body: bytes, status: int):
    witness = start()
    assert witness.post(body).status_code == status
    assert witness.add(0, [], note(7)).status_code == 200, "and nothing is kept of it"


def test_there_is_nothing_else_there(start: Callable[..., Running]):
    assert start().post(b"", "/else").status_code == 404


# With the portal


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    return settings.with_(data_dir=tmp_path)


@pytest.fixture
async def grow(app: Litestar) -> AsyncIterator[Callable]:
    held: Services = app.state.services
    engine = create_engine(held.settings.database_url or "", role=SEQUENCER)
    signer = Signer("localhost/acgs-test", log_key(held.settings))
    units = partial(begin_unit, held.engine, constitution=held.constitution)

    async def act(times: int = 1) -> checkpoints.SignedCheckpoint:
        for _ in range(times):
            async with units() as unit:
                await unit.record("test.acted", "test")
        await sequence(engine)
        signed = await checkpoints.sign(
            engine, signer, signer.name, SecondPlace(held.settings.data_dir / "place")
        )
        assert signed is not None
        return signed

    yield act
    await engine.dispose()


async def test_the_portal_has_its_checkpoints_cosigned(
    app: Litestar, grow: Callable, start: Callable[..., Running]
):
    held: Services = app.state.services
    first = await grow(5)
    key = Signer("localhost/acgs-test", log_key(held.settings)).verifier_key
    witness = start(key)
    async with httpx.AsyncClient() as client:
        assert await submit(held.engine, client, witness.key, witness.address)
        assert not await submit(held.engine, client, witness.key, witness.address), "nothing new"
        newest = await grow(300)
        assert await submit(held.engine, client, witness.key, witness.address)
    async with held.engine.connect() as connection:
        sizes = (await connection.execute(sa.select(audit_cosignature.c.size))).scalars().all()
        served = await checkpoints.note(connection, newest.size)
    assert sorted(sizes) == [first.size, newest.size]
    _, signatures = open_note(served, [key, witness.key])
    assert {item.key for item in signatures} == {key, witness.key}


async def test_a_witness_that_was_shown_more_than_we_signed_is_heard(
    app: Litestar, grow: Callable, start: Callable[..., Running]
):
    """Somebody with our key has another log: our submission does not go through, and says why."""
    held: Services = app.state.services
    await grow(5)
    signer = Signer("localhost/acgs-test", log_key(held.settings))
    witness = start(signer.verifier_key)
    async with held.engine.connect() as connection:
        ours = (await checkpoints.latest(connection)).size
    bigger = [merkle.leaf_hash(b"fork" + bytes([number])) for number in range(ours + 9)]
    assert witness.add(0, [], note(ours + 9, bigger, signer)).status_code == 200
    async with httpx.AsyncClient() as client:
        with pytest.raises(WitnessRefused, match=re.compile("not ours")):
            await submit(held.engine, client, witness.key, witness.address)


async def test_a_witness_that_refuses_raises_an_alert_until_it_cosigns(
    app: Litestar, grow: Callable, start: Callable[..., Running], tmp_path: Path
):
    """Pages say it: the cosigned fork may be what others are shown. A worker that starts anew asks anew."""
    held: Services = app.state.services
    await grow(5)
    units = partial(begin_unit, held.engine, constitution=held.constitution)
    signer = Signer("localhost/acgs-test", log_key(held.settings))
    witness = start(signer.verifier_key)
    bigger = [merkle.leaf_hash(b"fork" + bytes([number])) for number in range(99)]
    assert witness.add(0, [], note(99, bigger, signer)).status_code == 200

    async def told() -> list[tuple[str, str]]:
        query = sa.select(alert.c.severity, alert.c.message).where(alert.c.resolved_at.is_(None))
        async with held.engine.connect() as connection:
            return [tuple(row) for row in await connection.execute(query)]

    async def refused() -> bool:
        return any(severity == "critical" and "not ours" in said for severity, said in await told())

    task = asyncio.create_task(keep_witnessed(units, held, witness.key, witness.address))
    try:
        await until(refused)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    witness.kill()
    for seen in (tmp_path / "witness").glob("*.checkpoint"):
        seen.unlink()
    honest = start(signer.verifier_key)
    with_honest = held.settings.with_(log_witnesses=((str(honest.key), honest.address),))
    task = asyncio.create_task(keep_log(units, replace(held, settings=with_honest)))
    try:
        await until(lambda: _cosigned(held, honest))
        assert not [said for _, said in await told() if "witness" in said]
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _cosigned(held: Services, witness: Running) -> bool:
    query = sa.select(sa.func.count()).where(audit_cosignature.c.witness == str(witness.key))
    async with held.engine.connect() as connection:
        return (await connection.execute(query)).scalar_one() > 0
