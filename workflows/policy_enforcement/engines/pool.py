"""Keeps the processes in which rules run, and ends the one that takes too long: a runaway rule harms no other decision.

The deadline is 40 ms of the process's own time: on a machine so busy that the process was not given that much, it is
waited for up to ten times as long before the decision is a denial for want of time.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import msgspec
import structlog

from workflows.errors import Unavailable
from workflows.policy_enforcement.bundle import Bundle
from workflows.policy_enforcement.engines.worker import (
    HEADER,
    KEPT,
    Answer,
    Ask,
    Check,
    Load,
    Question,
    Rule,
)
from workflows.policy_enforcement.says import Checked, Problem, Said

log = structlog.get_logger(__name__)

ROOT = Path(__file__).parents[3]
SIZE = 2  # processes that decide; one more stands by
DEADLINE = 0.040  # seconds of the process's time for one decision
SHARE = 0.002  # seconds more for each further one of a batch: ten times what one usually takes
PATIENCE = 10  # times the deadline, by the clock on the wall
LOADING = 30.0  # seconds for a bundle
CHECKING = 2.0  # seconds for the gate, and for a rule's examples
START_AGAIN = 0.5  # seconds after a process that died before it was of use
WAITING = 2.0  # seconds for a process that is free


def allotted(questions: int, deadline: float = DEADLINE) -> float:
    """Seconds of the process's time for so many questions at once. A batch that needs more is asked one by one."""
    return deadline + SHARE * max(0, questions - 1)


class TooSlow(Exception):
    """The process was ended, because a rule did not answer in time."""


class Died(TooSlow):
    """The process ended by itself or was killed: by a rule that took all its memory, or by somebody."""


class Engine:
    """One process. Used by one question at a time; `loaded` are the keys of its bundles, oldest first."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.loaded: list[str] = []
        self.ended = False

    @classmethod
    async def spawn(cls) -> Engine:
        environment = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "workflows.policy_enforcement.engines.worker",
            stdin=PIPE,
            stdout=PIPE,
            cwd=ROOT,
            env={**environment, "GOMAXPROCS": "2"},
        )
        return cls(process)

    async def call(self, request: Load | Ask | Check, deadline: float) -> Answer:
        """Raises TooSlow, or Died. In both cases the process is gone."""
        body = msgspec.msgpack.encode(request)
        reading = asyncio.ensure_future(self._exchange(HEADER.pack(len(body)) + body))
        started, spent = time.monotonic(), self._spent()
        wait = deadline
        try:
            while True:
                done, _ = await asyncio.wait([reading], timeout=wait)
                if done:
                    return msgspec.msgpack.decode(reading.result(), type=Answer)
                elapsed = time.monotonic() - started
                if self._spent() - spent >= deadline or elapsed >= deadline * PATIENCE:
                    raise TooSlow
                wait = deadline / 4
        except (OSError, asyncio.IncompleteReadError) as error:
            self.end()
            raise Died from error
        finally:
            if not reading.done():
                self.end()
                reading.cancel()

    async def _exchange(self, frame: bytes) -> bytes:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(frame)
        await self.process.stdin.drain()
        (length,) = HEADER.unpack(await self.process.stdout.readexactly(HEADER.size))
        return await self.process.stdout.readexactly(length)

    def _spent(self) -> float:
        """Processor time of the process in seconds, all threads (clock_getcpuclockid(3))."""
        try:
            return time.clock_gettime((~self.process.pid << 3) | 2)
        except OSError:
            return 0.0  # it is gone, as who reads from it will find

    @property
    def alive(self) -> bool:
        return not self.ended and self.process.returncode is None

    def end(self) -> None:
        """Kill it; that it is dead is known only a moment later, but from now on nobody asks it."""
        self.ended = True
        if self.process.returncode is None:
            with suppress(ProcessLookupError):
                self.process.kill()


class EnginePool:
    """The embedded engines of one portal process; started when first asked."""

    def __init__(self, size: int = SIZE, deadline: float = DEADLINE) -> None:
        self.size, self.deadline = size, deadline
        self.free: asyncio.Queue[Engine] = asyncio.Queue()
        self.all: set[Engine] = set()
        self.tending: set[asyncio.Task[None]] = set()  # one for each process
        self.closed = False
        self.warm = False  # whether any process was ever of use
        self.latest: Bundle | None = None
        self.judging = asyncio.Semaphore(1)  # so that drafts and replays leave the others to decisions
        self.preparing = asyncio.Lock()  # so that a bundle asked for twice is loaded once

    async def ask(self, bundle: Bundle, questions: Sequence[Question]) -> list[dict[str, Said]]:
        """What each rule says of each question. Raises TooSlow, Unavailable."""
        self.latest = bundle
        asking, deadline = Ask(bundle.revision, list(questions)), allotted(len(questions), self.deadline)
        for _ in range(self.size):
            with suppress(Died):  # somebody may have killed it: another one answers
                return (await self._with_bundle(bundle, asking, deadline)).said
        return (await self._with_bundle(bundle, asking, deadline)).said

    async def replay(
        self, bundle: Bundle, questions: Sequence[Question], seconds: float
    ) -> list[dict[str, Said]]:
        """As `ask`, for many questions that nobody waits for in real time."""
        async with self.judging:
            return (await self._with_bundle(bundle, Ask(bundle.revision, list(questions)), seconds)).said

    async def check(self, engine: str, source: str) -> Checked:
        """The load-time gate. A source that keeps the gate itself busy has that as its problem."""
        try:
            async with self.judging:
                answer = await self._call(Check(engine, source), CHECKING)
        except TooSlow:
            return Checked(None, [Problem(0, "limit", "The rule takes too much time or memory to check.")])
        if answer.checked is None:
            return Checked(None, [Problem(0, "internal", f"The rule could not be checked: {answer.error}")])
        return answer.checked

    async def prepare(self, bundle: Bundle) -> None:
        """Load a bundle into every process that is free, so that the next decision need not wait for it."""
        self.latest = bundle
        self._top_up()
        async with self.preparing:
            for _ in range(self.free.qsize()):
                engine = await self._taken()
                try:
                    await self._loaded(engine, bundle)
                finally:
                    self._give_back(engine)

    def describe(self) -> dict[str, str]:
        """The engines by name, for people."""
        return {
            "Rego": f"OPA by opa-golib-python-bindings {version('opa-golib-python-bindings')}, embedded",
            "Datalog": f"clingo {version('clingo')}, embedded",
        }

    async def close(self) -> None:
        """End all processes, and wait until they are gone."""
        self.closed = True
        for engine in self.all:
            engine.end()
        await asyncio.gather(*self.tending, return_exceptions=True)

    async def _with_bundle(self, bundle: Bundle, request: Ask, deadline: float) -> Answer:
        engine = await self._taken()
        try:
            await self._loaded(engine, bundle)
            answer = await engine.call(request, deadline)
            if answer.missing:
                await self._load(engine, bundle)
                answer = await engine.call(request, deadline)
        finally:
            self._give_back(engine)
        if answer.error or answer.missing:
            raise Unavailable(f"The rules could not be asked: {answer.error}", code="engine_failed")
        return answer

    async def _loaded(self, engine: Engine, bundle: Bundle) -> None:
        if bundle.revision not in engine.loaded:
            await self._load(engine, bundle)

    async def _load(self, engine: Engine, bundle: Bundle) -> None:
        answer = await engine.call(_load(bundle), LOADING)
        if answer.error:
            raise Unavailable(f"The bundle cannot be loaded: {answer.error}", code="bundle_failed")
        others = [revision for revision in engine.loaded if revision != bundle.revision]
        engine.loaded = [*others, bundle.revision][-KEPT:]  # as the process itself keeps them

    async def _call(self, request: Check, deadline: float) -> Answer:
        engine = await self._taken()
        try:
            return await engine.call(request, deadline)
        finally:
            self._give_back(engine)

    async def _taken(self) -> Engine:
        if self.closed:
            raise Unavailable("The portal is stopping.", code="engine_ended")
        self._top_up()
        while True:
            try:
                # Not wait_for(): that of Python 3.11 may lose a cancellation that meets a process becoming free.
                async with asyncio.timeout(WAITING if self.warm else LOADING):
                    engine = await self.free.get()
            except TimeoutError:
                raise Unavailable("All engines are busy.", code="engine_busy") from None
            if engine.alive:
                return engine

    def _give_back(self, engine: Engine) -> None:
        if engine.alive:
            self.warm = True
            self.free.put_nowait(engine)

    def _top_up(self) -> None:
        """As many processes as wanted, and one that stands by for one that has to be ended."""
        for _ in range(self.size + 1 - len(self.tending)):
            task = asyncio.create_task(self._tend())
            self.tending.add(task)
            task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[None]) -> None:
        self.tending.discard(task)
        if task.cancelled() or task.exception():
            log.warning("engine_not_started", error=None if task.cancelled() else repr(task.exception()))
        elif not self.closed:
            self._top_up()

    async def _tend(self) -> None:
        """One process, from its start to its end."""
        engine = await Engine.spawn()
        self.all.add(engine)
        if self.closed:
            engine.end()
        try:
            if self.latest is not None:
                await self._load(engine, self.latest)
        except (Unavailable, TooSlow) as error:
            log.warning("engine_not_ready", error=repr(error))
            await asyncio.sleep(START_AGAIN)
        self._give_back(engine)  # one without the bundle is given it when it is asked
        await engine.process.wait()
        engine.end()
        self.all.discard(engine)


def _load(bundle: Bundle) -> Load:
    rules = [
        Rule(
            rule.policy,
            rule.declared.name,
            rule.engine,
            bundle.sources[rule.policy],
            rule.declared.actions,
            rule.declared.facts,
        )
        for rule in bundle.manifest.rules
    ]
    return Load(bundle.revision, rules, bundle.facts)
