"""The portal as a newcomer runs it: `python -m portal` with a data directory and ports of its own, stopped by SIGTERM."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import httpx

from portal.settings import VARIABLES

ROOT = Path(__file__).parents[2]
PATIENCE = 180.0  # seconds for a first start on a busy machine, and for records to become final


@dataclass(frozen=True)
class Portal:
    url: str
    data_dir: Path
    process: subprocess.Popen[bytes]

    def get(self, path: str, **params: Any) -> Any:
        """What the JSON API answers to a visitor."""
        return httpx.get(f"{self.url}{path}", params=params, timeout=10).raise_for_status().json()

    def unfinished_anchors(self) -> list[str]:
        items = self.get("/api/v1/anchors", limit=200)["items"]
        return [f"{each['ref']} {each['state']}" for each in items if each["state"] != "finalized"]

    def sql(self, *statements: str) -> None:
        """Run statements in one transaction as the database's superuser, whom no trigger stops."""
        # In a thread: Playwright keeps an event loop of its own in the tests' thread.
        with ThreadPoolExecutor(1) as pool:
            pool.submit(asyncio.run, self._sql(statements)).result()

    async def _sql(self, statements: tuple[str, ...]) -> None:
        # The lines of postmaster.pid: process, data directory, start, port, socket directory, address, …
        lines = (self.data_dir / "postgres" / "postmaster.pid").read_text().splitlines()
        connection = await asyncpg.connect(
            host=lines[4], port=int(lines[3]), user="postgres", database="postgres"
        )
        try:
            async with connection.transaction():
                await connection.execute("SET LOCAL session_replication_role = replica")
                for statement in statements:
                    await connection.execute(statement)
        finally:
            await connection.close()


@contextmanager
def running(data_dir: Path, **variables: str) -> Iterator[Portal]:
    """A started portal; afterwards none of its processes may be left."""
    port, localnet_port = free_port(), free_port()
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    environment |= {
        "DATA_DIR": str(data_dir),
        "GOVERNANCE_WORKFLOWS_PORT": str(port),
        "LOCALNET_PORT": str(localnet_port),
        # One address asks for pages faster than any person; that limits work has tests of its own.
        "RATE_LIMIT_READ": "100000",
        "RATE_LIMIT_ACT": "10000",
        "RATE_LIMIT_SIGN_IN": "1000",
        **variables,
    }
    output = data_dir.with_suffix(".out")
    with output.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "portal"], cwd=ROOT, env=environment, stdout=log, stderr=log
        )
    portal = Portal(f"http://127.0.0.1:{port}", data_dir, process)
    try:
        wait_until_ready(portal, output)
        yield portal
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            code: int | None = process.wait(40)
        except subprocess.TimeoutExpired:
            code = None
            process.kill()
            process.wait()
        left = survivors(data_dir)
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    assert code == 0, f"ended with {code}:\n{output.read_text()[-2000:]}"
    assert not left, f"left behind: {left}"


def wait_until_ready(portal: Portal, output: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and portal.process.poll() is None:
        with suppress(httpx.TransportError):
            if httpx.get(f"{portal.url}/readyz", timeout=5).status_code == 200:
                return
        time.sleep(0.1)
    logs = "".join(
        f"\n--- {file.name}\n{file.read_text(errors='replace')[-1500:]}"
        for file in (output, *portal.data_dir.glob("logs/*.log"))
    )
    raise AssertionError(f"the portal did not become ready{logs}")


def survivors(data_dir: Path) -> dict[int, str]:
    """Processes that still know the data directory by their arguments, environment or working directory."""
    marks, found = os.fsencode(data_dir), {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        with suppress(OSError):
            command = (entry / "cmdline").read_bytes()
            known = command, (entry / "environ").read_bytes(), os.fsencode((entry / "cwd").readlink())
            # A process that has ended and waits to be reaped has no command line.
            if command and any(marks in text for text in known):
                found[int(entry.name)] = command.replace(b"\0", b" ").decode(errors="replace")[:120]
    return found


def copied(data_dir: Path, to: Path) -> Path:
    """A stopped portal's data directory, copied with its owners: PostgreSQL insists on them."""
    subprocess.run(["cp", "-a", "--reflink=auto", data_dir, to], check=True)
    return to


def wait_until(satisfied: Any, what: str, patience: float = PATIENCE) -> None:
    """Ask until there is nothing left to report; `satisfied` returns what is still missing."""
    deadline = time.monotonic() + patience
    while missing := satisfied():
        assert time.monotonic() < deadline, f"{what}: {missing}"
        time.sleep(0.25)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
