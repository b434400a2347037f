"""`python -m portal` as a newcomer runs it: it starts, keeps going whatever is killed, keeps its data, and leaves nothing."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.reliability

ROOT = Path(__file__).parents[2]
UNSET = (
    "DATABASE_URL",
    "REDIS_URL",
    "SOLANA_RPC_URL",
    "SOLANA_CLUSTER",
    "DEMO",
    "JWT_SECRET",
    "ANCHOR_KEYPAIR",
)
PATIENCE = 180  # seconds; a busy machine of two cores


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def processes_of(directory: Path) -> dict[int, str]:
    """Every process that names the directory in its command or environment, except this one: id → command."""
    mark = os.fsencode(directory)
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes()
                if mark in command or mark in (entry / "environ").read_bytes():
                    found[int(entry.name)] = command.replace(b"\0", b" ").decode(errors="replace")
            except (OSError, PermissionError):
                continue
    return found


def eventually(true: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


class Portal:
    """A supervisor on a directory of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.port = directory, free_port()
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> Portal:
        environment = {name: value for name, value in os.environ.items() if name not in UNSET}
        environment |= {
            "DATA_DIR": str(self.directory / "data"),
            "GOVERNANCE_WORKFLOWS_PORT": str(self.port),
            "LOCALNET_PORT": str(free_port()),
        }
        self.output = (self.directory / "output").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "portal"],
            cwd=ROOT,
            env=environment,
            stdout=self.output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            text=True,
        )
        return self

    def said(self) -> str:
        return (self.directory / "output").read_text()

    def ready(self) -> Portal:
        def true() -> bool:
            assert self.process.poll() is None, self.said()
            return "The portal is ready" in self.said()

        eventually(true, f"it did not start:\n{self.said()}")
        return self

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def pid_of(self, words: str) -> int:
        return next((pid for pid, command in processes_of(self.directory).items() if words in command), 0)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        self.process.send_signal(number)
        assert self.process.wait(60) == 0, self.said()
        assert processes_of(self.directory) == {}


@pytest.fixture
def portal() -> Iterator[Portal]:
    # Not tmp_path: as root, PostgreSQL runs as another user, who must be able to reach the directory.
    directory = Path(tempfile.mkdtemp(prefix="acgs-portal-"))
    directory.chmod(0o755)
    made = Portal(directory)
    yield made
    for pid in processes_of(directory):
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: not processes_of(directory), "processes are left", 20)
    shutil.rmtree(directory, ignore_errors=True)


def test_a_newcomers_day(portal: Portal):
    """One long walk, as each start takes its time."""
    portal.start().ready()
    said = portal.said()
    assert f"http://127.0.0.1:{portal.port}" in said and "password: demo" in said
    assert str(portal.directory / "data") in said
    assert portal.get("/healthz")[0] == 200
    status, home = portal.get("/policies")
    assert status == 200 and "POL-" in home, "the demonstration is there"

    data = portal.directory / "data"
    for name in ("jwt.secret", "authority.json"):
        assert stat.S_IMODE((data / name).stat().st_mode) == 0o600
    secrets = (data / "jwt.secret").read_text(), (data / "authority.json").read_text()
    web = Path(f"/proc/{portal.pid_of('portal web')}/environ").read_bytes().split(b"\0")
    assert b"ANCHOR_KEYPAIR=" in web, "the web process is not given the key that signs"

    # A second one on the same data, and one on the same port, are turned away with a reason.
    second = subprocess.run(
        [sys.executable, "-m", "portal"],
        cwd=ROOT,
        env={**os.environ, "DATA_DIR": str(data), "GOVERNANCE_WORKFLOWS_PORT": str(free_port())},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert second.returncode == 1 and f"Another portal (process {portal.process.pid})" in second.stderr
    third = subprocess.run(
        [sys.executable, "-m", "portal"],
        cwd=ROOT,
        env={
            **os.environ,
            "DATA_DIR": str(portal.directory / "other"),
            "GOVERNANCE_WORKFLOWS_PORT": str(portal.port),
        },
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert third.returncode == 1 and "Set GOVERNANCE_WORKFLOWS_PORT to another one" in third.stderr

    # Whatever is killed comes back.
    for words in ("portal web", "portal worker", "chain.localnet", "valkey-server"):
        before = portal.pid_of(words)
        os.kill(before, signal.SIGKILL)
        eventually(lambda w=words, b=before: portal.pid_of(w) not in (0, b), f"{words} did not come back")
    eventually(lambda: portal.get("/readyz")[0] == 200, "it is not ready again")

    # Ctrl-C leaves no process, and the next start keeps everything.
    portal.stop(signal.SIGINT)
    portal.start().ready()
    assert ((data / "jwt.secret").read_text(), (data / "authority.json").read_text()) == secrets
    assert portal.get("/policies")[1].count("POL-") == home.count("POL-")

    # The supervisor itself is killed: its children go with it, and the next start takes over the rest.
    portal.process.kill()
    portal.process.wait()
    eventually(
        lambda: not portal.pid_of("portal web") and not portal.pid_of("portal worker"), "children are left"
    )
    portal.start().ready()
    assert portal.get("/policies")[1].count("POL-") == home.count("POL-")
    portal.stop()


def test_stopped_while_it_starts(portal: Portal):
    portal.start()
    eventually(lambda: bool(portal.pid_of("postgres")), "it did not begin")
    portal.process.send_signal(signal.SIGTERM)
    portal.process.wait(PATIENCE)
    assert processes_of(portal.directory) == {}


def test_a_setting_that_cannot_be_used_is_named():
    answer = subprocess.run(
        [sys.executable, "-m", "portal"],
        cwd=ROOT,
        env={**os.environ, "GOVERNANCE_WORKFLOWS_PORT": "many"},
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 1
    assert answer.stderr.startswith("GOVERNANCE_WORKFLOWS_PORT must be a whole number")
