"""`python -m portal`: starts what is needed in order, keeps it running, and leaves nothing behind when it stops."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import migrations
from portal import embedded
from portal.database import create_engine
from portal.demo.people import PASSWORD, PERSONAS
from portal.demo.seed import seed
from portal.keys import with_authority, with_jwt_secret
from portal.settings import Settings
from workflows.constitution.document import load

PR_SET_PDEATHSIG = 1
PATIENCE = 60.0  # seconds until the portal must answer
LINGERING = 5.0  # seconds a web server may take to leave its port after its supervisor was killed
LOUD_LOG = 20_000_000  # bytes after which a log is begun anew at start


class CannotStart(RuntimeError):
    """Why the portal cannot start, for the person at the terminal."""


class Child:
    """A process of ours: started again when it dies, ever more slowly while it keeps dying."""

    def __init__(self, name: str, arguments: list[str], environment: dict[str, str], log: Path) -> None:
        self.name, self.arguments, self.environment, self.log = name, arguments, environment, log
        self.process: subprocess.Popen | None = None
        self.deaths = 0
        self.started_at = self.start_again_at = 0.0

    def start(self) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.log.exists() and self.log.stat().st_size > LOUD_LOG
        with self.log.open("wb" if fresh else "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *self.arguments],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for us; we stop them in order
                preexec_fn=_die_with(os.getpid()),
            )
        self.started_at = time.monotonic()

    def tend(self) -> None:
        if self.process is None:
            if time.monotonic() >= self.start_again_at:
                self.start()
            return
        code = self.process.poll()
        if code is None:
            return
        self.deaths = 1 if time.monotonic() - self.started_at > 60 else self.deaths + 1
        pause = min(0.25 * 2**self.deaths, 30.0)
        say(f"The {self.name} ended ({_ending(code)}); it is started again in {pause:g} s. See {self.log}.")
        self.process, self.start_again_at = None, time.monotonic() + pause

    def stop(self) -> None:
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None


def _die_with(parent: int) -> Callable[[], None]:
    """Run in the child: the kernel ends it when this supervisor dies, whatever it dies of."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def arrange() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:  # it died before we had arranged it
            os._exit(1)

    return arrange


def _ending(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"code {code}"


def say(text: str) -> None:
    print(text, flush=True)


def run(settings: Settings) -> None:
    """Run everything until SIGINT or SIGTERM. Raises CannotStart."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    settings = settings.with_(data_dir=settings.data_dir.resolve())
    with ExitStack() as stack:
        try:
            stack.enter_context(embedded.lock(settings.data_dir))
        except embedded.InUse as error:
            raise CannotStart(str(error)) from None
        insist_free(settings.host, settings.port, "GOVERNANCE_WORKFLOWS_PORT", LINGERING)
        settings, servers = _servers(settings, stack)
        _prepare(settings)
        children = _children(settings)
        for child in children:
            stack.callback(child.stop)
            child.start()
        if not stop.is_set() and _wait_until_ready(settings, [*servers, *children], stop):
            _welcome(settings)
        while not stop.wait(0.2):
            _tend([*servers, *children], stop)
        say("Stopping.")


def _tend(parts: list, stop: threading.Event) -> None:
    """Start again what has died. One that cannot start at the moment must not take the others with it."""
    for each in parts:
        try:
            each.tend()
        except Exception as error:
            say(f"{type(each).__name__} could not be started again; next try in 3 s: {error}")
            stop.wait(3)


def _servers(settings: Settings, stack: ExitStack) -> tuple[Settings, list]:
    """The settings with the addresses of the servers that had to be started, which the stack stops."""
    servers = []
    if settings.database_url is None:
        postgres = embedded.Postgres(settings.data_dir)
        settings = settings.with_(
            database_url=postgres.start(), demo=True if settings.demo is None else settings.demo
        )
        stack.callback(postgres.stop)
        servers.append(postgres)
    if settings.redis_url is None:
        valkey = embedded.Valkey(settings.data_dir)
        settings = settings.with_(redis_url=valkey.start())
        stack.callback(valkey.stop)
        servers.append(valkey)
    return with_authority(with_jwt_secret(settings)), servers


def _prepare(settings: Settings) -> None:
    """Bring the database up to date and, in the demonstration, fill an empty one."""
    asyncio.run(prepare(settings))


async def prepare(settings: Settings) -> None:
    await migrations.upgrade(settings.database_url or "")
    if settings.in_demo:
        engine = create_engine(settings.database_url or "")
        try:
            if await seed(engine, load(settings.constitution_file, settings.constitution_hash)):
                say("The demonstration's people and policies were written into the empty database.")
        finally:
            await engine.dispose()


def _children(settings: Settings) -> list[Child]:
    """Local chain, web and worker. The authority's key is handed to the worker alone: the web never signs."""
    children = []
    logs = settings.data_dir / "logs"
    base = {**os.environ, "PYTHONUNBUFFERED": "1"}
    if settings.wants_localnet:
        port = free_pair(settings.localnet_port)
        settings = settings.with_(
            localnet_port=port,
            solana_rpc_url=f"http://127.0.0.1:{port}",
            solana_ws_url=f"ws://127.0.0.1:{port + 1}",
        )
        arguments = [
            "--ledger",
            str(settings.data_dir / "ledger"),
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
        ]
        arguments += ["--program-id", settings.quantumagi_program_id]
        children.append(Child("local chain", ["chain.localnet", *arguments], base, logs / "localnet.log"))
    environment = {**base, **settings.to_environment()}
    children.append(Child("worker", ["portal", "worker"], environment, logs / "worker.log"))
    web = {**environment, "ANCHOR_KEYPAIR": ""}
    children.append(Child("web server", ["portal", "web"], web, logs / "web.log"))
    return children


def _wait_until_ready(settings: Settings, tended: list, stop: threading.Event) -> bool:
    deadline = time.monotonic() + PATIENCE
    while not stop.wait(0.1):
        try:
            with urllib.request.urlopen(f"{local_address(settings)}/readyz", timeout=2):  # noqa: S310
                return True
        except (urllib.error.URLError, OSError):
            pass
        _tend(tended, stop)
        if time.monotonic() > deadline:
            say(f"The portal does not answer yet. See {settings.data_dir / 'logs'}.")
            return False
    return False


def local_address(settings: Settings) -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.host, settings.host)  # noqa: S104
    return f"http://{host}:{settings.port}"


def _welcome(settings: Settings) -> None:
    say(f"\nThe portal is ready: {settings.base_url or local_address(settings)}\n")
    if settings.in_demo:
        say(f"  Sign in as (password: {PASSWORD}), or switch in the banner at the top of each page:")
        for persona in PERSONAS:
            say(f"    {persona.username:<6} {persona.name}, {persona.about}")
    say(f"  Data   {settings.data_dir} (delete it to begin anew)")
    say(f"  Logs   {settings.data_dir / 'logs'}")
    if settings.wants_localnet:
        say("  Chain  a local Solana chain; its address is on the page “Chain”")
    else:
        say(f"  Chain  {settings.cluster}")
    say("\nCtrl-C stops it.")


def insist_free(host: str, port: int, name: str, patience: float = 0.0) -> None:
    """Raises CannotStart for a port still taken after `patience` seconds, or an address that is not this machine's."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    deadline = time.monotonic() + patience
    while True:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
                return
            except OSError as error:
                if error.errno != errno.EADDRINUSE or time.monotonic() >= deadline:
                    raise CannotStart(
                        f"{host}:{port} cannot be used: {error.strerror}. Set {name} to another one."
                    ) from None
        time.sleep(0.1)


def free_pair(wanted: int) -> int:
    """The first port from `wanted` on that is free together with the one after it (RPC and WebSocket)."""
    for port in range(wanted, min(wanted + 200, 65534)):
        try:
            insist_free("127.0.0.1", port, "LOCALNET_PORT")
            insist_free("127.0.0.1", port + 1, "LOCALNET_PORT")
        except CannotStart:
            continue
        return port
    raise CannotStart(f"No two free ports from {wanted} on. Set LOCALNET_PORT to another one.")
