"""Loads and clocks: many at once doing the same for a while, how long each took, and what that amounts to."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from typing import Any
from urllib.parse import urlsplit

import asyncpg

from tests.reliability.house import database_url


@dataclass
class Timings:
    """Seconds that each of many took, and the seconds that all of them took together."""

    each: list[float] = field(default_factory=list)
    together: float = 0.0
    processor: float = 0.0  # seconds of processor that the process which did the work took for all of them

    @property
    def per_second(self) -> float:
        return len(self.each) / self.together

    def percentile(self, percent: int) -> float:
        return quantiles(self.each, n=100, method="inclusive")[percent - 1]

    def cells(self) -> list[str]:
        """p50, p95 and processor time of one, in milliseconds."""
        seconds = (self.percentile(50), self.percentile(95), self.processor / len(self.each))
        return [f"{each * 1000:.1f}" for each in seconds]


async def at_once(
    clients: int, seconds: float, act: Callable[[int, int], Awaitable[None]], worker: int
) -> Timings:
    """`act(client, turn)` again and again, by each of so many clients, for so long. Nothing may fail.

    `worker` is the process whose processor time is taken.
    """
    timings = Timings()
    began, processor = time.perf_counter(), processor_time(worker)

    async def client(number: int) -> None:
        turn = 0
        while (before := time.perf_counter()) < began + seconds:
            await act(number, turn)
            timings.each.append(time.perf_counter() - before)
            turn += 1

    await asyncio.gather(*(client(number) for number in range(clients)))
    timings.together = time.perf_counter() - began
    timings.processor = processor_time(worker) - processor
    return timings


def processor_time(pid: int) -> float:
    """Seconds of processor that a process has taken so far, by its own code and by the kernel for it (proc(5))."""
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")


def web_process(supervisor: int) -> int:
    """The one web process of a running portal."""
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
    (pid,) = (int(pid) for pid in children if b"portal\0web" in Path(f"/proc/{pid}/cmdline").read_bytes())
    return pid


class Wire:
    """One keep-alive HTTP connection. As little as will do: a full client would take more of the machine than the portal."""

    def __init__(self, url: str) -> None:
        self.host, self.port = str(urlsplit(url).hostname), int(urlsplit(url).port or 80)
        self.reader: asyncio.StreamReader | None = None

    async def request(
        self, method: str, path: str, headers: dict[str, str] | None = None, body: Any = None
    ) -> tuple[int, bytes]:
        """The status and the body of the answer."""
        if self.reader is None:
            self.reader, self.writer = await asyncio.open_connection(self.host, self.port)
        content = json.dumps(body).encode() if body is not None else b""
        sent = {"Host": f"{self.host}:{self.port}", "Content-Length": str(len(content)), **(headers or {})}
        if content:
            sent["Content-Type"] = "application/json"
        head = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
        self.writer.write(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + content)
        status, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        given = dict(line.lower().split(": ", 1) for line in lines if line)
        return int(status.split()[1]), await self.reader.readexactly(int(given.get("content-length", 0)))

    def close(self) -> None:
        if self.reader is not None:
            self.writer.close()


async def bare_pool(data_dir: Path, size: int) -> asyncpg.Pool:
    return await asyncpg.create_pool(database_url(data_dir), min_size=size, max_size=size)
