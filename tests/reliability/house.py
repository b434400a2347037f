"""A real portal with its parts, for tests that end them: who runs, what the database holds, what stands on the chain."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import httpx

from portal.auth.tokens import issue
from portal.settings import VARIABLES
from tests.e2e.running import ROOT, free_port, survivors
from tests.judging import settle_from_outside

SECRET = "a secret of the tests, long enough for HS256"
PATIENCE = 120.0  # seconds; the machine may be busy with others
COMMANDS = {
    "web": b"portal\0web",
    "worker": b"mortal_worker",
    "localnet": b"chain.localnet",
}
# A member's vote may be cast under load, faster than any person; that limits work is tested elsewhere.
LIMITS = {"RATE_LIMIT_READ": "1000000", "RATE_LIMIT_ACT": "1000000", "RATE_LIMIT_SIGN_IN": "1000000"}
T = TypeVar("T")


class House:
    """One data directory, and the portal that runs on it between `start` and `end` or `kill("supervisor")`."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.orders = data_dir / "orders"
        self.orders.mkdir(parents=True)
        self.output = data_dir.with_suffix(".out")
        self.port, self.localnet_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._tokens: dict[str, str] = {}
        self.numbers = count(1)

    # Processes

    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name not in VARIABLES}
        return kept | LIMITS | {
            "DATA_DIR": str(self.data_dir),
            "GOVERNANCE_WORKFLOWS_PORT": str(self.port),
            "LOCALNET_PORT": str(self.localnet_port),
            "JWT_SECRET": SECRET,
            # The log goes to the chain once, and then stays out of the way of the anchors that tests strike at.
            "ANCHOR_INTERVAL": "604800",
        }  # fmt: skip

    def spawn(self) -> None:
        """Start the portal in a session of its own, as a terminal would hold it."""
        with self.output.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.reliability.mortal"],
                cwd=ROOT,
                env=self.environment(),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def start(self) -> None:
        """Until the new portal answers: one killed a moment ago may still answer in its place."""
        self.spawn()
        self.until(lambda: self.pid("web") and self.ready(), "the portal is not ready")

    def end(self, number: int = signal.SIGTERM) -> int:
        """Stop it as a person or a service manager would; its exit code."""
        self.process.send_signal(number)
        return self.process.wait(40)

    def sweep(self) -> None:
        """End what a failed test left."""
        self.process.kill()
        self.process.wait()
        for pid in survivors(self.data_dir):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def pid(self, part: str) -> int | None:
        """The process that is now the web, worker, localnet, postgres, valkey or supervisor; None while there is none."""
        if part == "supervisor":
            return self.process.pid
        if part in COMMANDS:
            return next((pid for pid in _children(self.process.pid) if COMMANDS[part] in _command(pid)), None)
        file = self.data_dir / {"postgres": "postgres/postmaster.pid", "valkey": "valkey/valkey.pid"}[part]
        with suppress(FileNotFoundError, IndexError, ValueError):
            pid = int(file.read_text().split()[0])
            return pid if _command(pid) else None
        return None

    def kill(self, part: str) -> None:
        """SIGKILL, and wait until it is gone."""
        pid = self.until(lambda: self.pid(part), f"there is no {part} to kill")
        os.kill(pid, signal.SIGKILL)
        if part == "supervisor":
            self.process.wait()
        self.until(lambda: not _command(pid), f"{part} does not die")

    def comes_back(self, *, from_without: str) -> None:
        self.until(self.ready, f"the portal does not come back from without {from_without}")
        if from_without == "postgres":
            # It finds out by itself, within 20 s, that nobody tells it of jobs any more; the tests need not wait.
            self.kill("worker")

    @contextmanager
    def nobody_tends(self) -> Iterator[None]:
        """Meanwhile the supervisor stands still, so that what dies stays dead."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def until(self, condition: Callable[[], T], what: str, seconds: float = PATIENCE) -> T:
        """Ask until the answer is true; the answer. What cannot be asked at the moment counts as no."""
        deadline = time.monotonic() + seconds
        while True:
            with suppress(httpx.TransportError, httpx.HTTPStatusError, OSError, asyncpg.PostgresError):
                if found := condition():
                    return found
            assert self.process.poll() is None, f"the portal ended: {self.output.read_text()[-3000:]}"
            assert time.monotonic() < deadline, f"{what}{self.logs()}"
            time.sleep(0.05)

    def logs(self) -> str:
        files = (self.output, *sorted(self.data_dir.glob("logs/*.log")))
        return "".join(f"\n--- {file.name}\n{file.read_text(errors='replace')[-1500:]}" for file in files)

    # Orders to the worker

    def order(self, point: str, what: str) -> None:
        (self.orders / point).write_text(what)

    def reached(self, point: str) -> None:
        self.until((self.orders / f"{point}.held").exists, f"the worker does not come to {point}")

    def release(self, point: str) -> None:
        (self.orders / f"{point}.held").unlink()

    @contextmanager
    def struck(self, point: str, *victims: str) -> Iterator[None]:
        """What is begun in the block loses `victims` (worker, web, localnet) when the worker is at `point`."""
        self.order(point, "hold")
        yield
        self.reached(point)
        for part in victims:
            self.kill(part)
        self.release(point)
        self.until(self.ready, "the portal does not come back")
        self.until(self.chain, "the local chain does not come back")

    # HTTP

    def ready(self) -> bool:
        return httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200

    def chain(self, method: str = "getHealth", *parameters: Any) -> Any:
        """What the local chain answers."""
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}
        answer = httpx.post(f"http://127.0.0.1:{self.localnet_port}", json=body, timeout=20).json()
        assert "error" not in answer, answer
        return answer["result"]

    def get(self, path: str, **options: Any) -> httpx.Response:
        """As a visitor."""
        return httpx.get(self.url + path, timeout=15, **options)

    def token(self, username: str) -> str:
        if not self._tokens:
            found = self.rows(
                "SELECT p.username, p.id, s.id FROM session s JOIN person p ON p.id = s.person_id"
            )
            day = timedelta(days=1)
            self._tokens = {
                name: issue(SECRET, session, person, "api", day) for name, person, session in found
            }
        return self._tokens[username]

    def post(self, who: str, path: str, body: dict[str, Any], *, key: str | None = None) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.token(who)}"}
        if key:
            headers["Idempotency-Key"] = key
        return httpx.post(self.url + path, json=body, headers=headers, timeout=15)

    def done(self, who: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        response = self.post(who, path, body)
        assert response.is_success, f"{response.status_code}: {response.text}"
        return response.json()

    # PostgreSQL, as its superuser, whom no trigger stops

    def rows(self, statement: str, *values: Any) -> list[asyncpg.Record]:
        return asyncio.run(self._ask(statement, values))

    def value(self, statement: str, *values: Any) -> Any:
        ((found,),) = self.rows(statement, *values)
        return found

    async def _ask(self, statement: str, values: tuple[Any, ...]) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(database_url(self.data_dir), timeout=15, command_timeout=30)
        try:
            return await connection.fetch(statement, *values)
        finally:
            await connection.close(timeout=5)

    # A policy's way

    def proposed(self, why: str) -> dict[str, Any]:
        """A policy of low risk whose ballot is open: the workflow that its author was answered with.

        `why` it is wanted is told by its reviewer, whose words are not judged: what the house goes through sounds like breaches.
        """
        number = next(self.numbers)
        draft = {
            "title": f"The notice on floor {number}",
            "summary": "The notice at the door says “Wendesday”.",
            "text": f"The notice on floor {number} is corrected to say “Wednesday”.\n",
            "category": "governance",
        }
        workflow = self.done("chidi", "/api/v1/workflows/policy-creation", draft)
        self.complies(workflow["policy"]["ref"])
        body = {"decision": "approve", "reason": f"It is clear. {why}.", "version_sha256": _version(workflow)}
        decided = self.done("dana", workflow["links"]["approve"], body)
        assert decided["current_stage"] == "voting", decided
        return workflow

    def complies(self, ref: str) -> None:
        """The worker has judged it, and people have where it asked them."""
        settle_from_outside(lambda path: self.get(path).json(), self.done, ref)

    def voted(self, why: str) -> str:
        """The reference of a policy that will pass when its ballot closes."""
        workflow = self.proposed(why)
        for who in ("ada", "ben", "lea", "farah", "gita"):
            self.done(who, votes_path(workflow), vote(workflow, "for"))
        return workflow["policy"]["ref"]

    def jump(self, duration: str = "P7D") -> None:
        response = httpx.post(f"{self.url}/api/v1/demo/clock", json={"advance": duration}, timeout=30)
        assert response.is_success, response.text

    def suspend(self, ref: str) -> None:
        self.done("farah", f"/api/v1/policies/{ref}/suspend", {"reason": "The door was removed."})

    def anchors(self, ref: str) -> dict[str, asyncpg.Record]:
        """The anchors of a policy by kind; there is never more than one of a kind."""
        found = self.rows(
            "SELECT a.* FROM anchor a JOIN policy p ON p.id = a.policy_id WHERE p.ref = $1 ORDER BY a.queued_at",
            ref,
        )
        assert len({row["kind"] for row in found}) == len(found)
        return {row["kind"]: row for row in found}

    def finalized(self, ref: str, kind: str = "policy") -> None:
        def final() -> bool:
            row = self.anchors(ref).get(kind)
            return row is not None and row["state"] == "finalized"

        self.until(final, f"the {kind} anchor of {ref} does not become final")

    def audited(self, ref: str) -> list[str]:
        """The types of the audit entries about a policy, in order."""
        return [
            row["type"]
            for row in self.rows("SELECT type FROM audit.entry WHERE subject = $1 ORDER BY number", ref)
        ]


def database_url(data_dir: Path) -> str:
    """Of the embedded PostgreSQL that runs on this data directory. Raises OSError while there is none."""
    # The lines of postmaster.pid: process, data directory, start, port, socket directory, address, …
    lines = (data_dir / "postgres" / "postmaster.pid").read_text().splitlines()
    if len(lines) < 5:
        raise FileNotFoundError("postmaster.pid is being written")
    return f"postgresql://postgres@/postgres?host={lines[4]}&port={lines[3]}"


def vote(workflow: dict[str, Any], choice: str) -> dict[str, Any]:
    return {"choice": choice, "version_sha256": _version(workflow)}


def votes_path(workflow: dict[str, Any]) -> str:
    return f"/api/v1/policies/{workflow['policy']['ref']}/ballot/votes"


def _version(workflow: dict[str, Any]) -> str:
    return workflow["policy"]["version_sha256"]


def _children(parent: int) -> list[int]:
    with suppress(FileNotFoundError):
        tasks = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        return [int(pid) for pid in tasks]
    return []


def _command(pid: int) -> bytes:
    """Empty for a process that has ended, reaped or not."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""
