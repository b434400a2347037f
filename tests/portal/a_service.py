"""One of the portal's services in a process of its own, to be started, killed and stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from portal.settings import VARIABLES
from tests.e2e.running import ROOT, free_port
from tests.portal.conftest import SECRET

PATIENCE = 120.0  # seconds to start on a busy machine


class Service:
    """`python -m portal --service NAME`, with more of the environment as it is given."""

    def __init__(self, name: str, data_dir: Path, **environment: str) -> None:
        self.name, self.url = name, f"http://127.0.0.1:{free_port()}"
        kept = {key: value for key, value in os.environ.items() if key not in VARIABLES}
        own = {f"{name.upper()}_SERVICE_URL": self.url, "JWT_SECRET": SECRET, "DATA_DIR": str(data_dir)}
        self.environment = kept | own | environment

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "portal", "--service", self.name], cwd=ROOT, env=self.environment
        )
        deadline = time.monotonic() + PATIENCE
        while not self.ready():
            assert time.monotonic() < deadline and self.process.poll() is None
            time.sleep(0.1)

    def ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", timeout=60).status_code == 200
        except httpx.TransportError:
            return False

    def metrics(self) -> str:
        return httpx.get(f"{self.url}/metrics").text

    def send(self, number: int) -> None:
        self.process.send_signal(number)
        if number == signal.SIGKILL:
            self.process.wait()


@contextmanager
def serving(name: str, data_dir: Path, **environment: str) -> Iterator[Service]:
    """It runs, and stops in order at the end."""
    service = Service(name, data_dir, **environment)
    service.start()
    yield service
    service.process.terminate()
    assert service.process.wait(30) == 0
