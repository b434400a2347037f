"""Live updates: events of all instances travel through one Redis stream, and each instance fans them out.

The stream keeps the last events for a while, so that a program that lost its connection takes up where it was
(`Last-Event-ID`), and a page that was just loaded misses nothing. What is told is public, and says only that something
changed: who listens reads anew what they may see.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import structlog
from litestar import Request, Response, WebSocket, get, websocket
from litestar.exceptions import WebSocketDisconnect
from litestar.params import FromQuery
from litestar.response import Stream
from redis.asyncio import Redis
from redis.exceptions import RedisError

from portal.auth.guards import public
from workflows.errors import FieldError, Invalid
from workflows.storage.unit import Event

log = structlog.get_logger(__name__)

STREAM = "acgs:events"
KEPT = 2_000  # events
MOST_TOPICS = 50
MOST_LISTENERS = 2_000  # per instance
QUEUE = 200  # events that wait for one slow listener, before it is cut off to come again
JUST_NOW = 10.0  # seconds between the making of a page and its listening
KEEP_ALIVE = 20.0  # seconds
UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
TOPIC = re.compile(
    rf"(policy|ballot|report|violation|validation):[A-Z]{{2,5}}-\d{{4}}-\d{{4,8}}|(anchor|workflow|batch):{UUID}|chain|clock|log|enforcement|compliance|constitution",
    re.ASCII,
)
EVENT_ID = re.compile(r"[0-9]{1,20}-[0-9]{1,20}")


@dataclass(frozen=True)
class Told:
    """An event with its id in the stream."""

    id: str
    topic: str
    type: str
    data: dict[str, Any]

    def json(self) -> str:
        return json.dumps({"topic": self.topic, "type": self.type, "data": self.data})


@dataclass(eq=False)
class Listener:
    topics: frozenset[str]
    queue: asyncio.Queue[Told | None] = field(default_factory=lambda: asyncio.Queue(QUEUE))


class Live:
    """This instance's end of the stream."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self.listeners: set[Listener] = set()
        self.stopping = False

    async def publish(self, events: Sequence[Event]) -> None:
        async with self.redis.pipeline(transaction=False) as pipeline:
            for event in events:
                entry = {"topic": event.topic, "type": event.type, "data": json.dumps(event.data)}
                pipeline.xadd(STREAM, entry, maxlen=KEPT, approximate=True)
            await pipeline.execute()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Read the stream for as long as the context lasts; then let all listeners go."""
        task = asyncio.create_task(self._follow())
        try:
            yield
        finally:
            # Not by cancelling alone: now and then redis-py loses a cancellation that meets the end of a block.
            self.stopping = True
            task.cancel()
            await asyncio.wait({task})
            for listener in list(self.listeners):
                self._cut(listener)

    async def _follow(self) -> None:
        last = "$"
        while not self.stopping:
            try:
                if last == "$":  # an id, so that nothing is lost between two reads
                    newest = await self.redis.xrevrange(STREAM, count=1)
                    last = newest[0][0] if newest else "0-0"
                for _, entries in await self.redis.xread({STREAM: last}, count=200, block=1_000) or []:
                    for told in _told(entries):
                        last = told.id
                        self._fan_out(told)
            except (RedisError, OSError) as error:
                log.warning("live_without_redis", error=repr(error))
                await asyncio.sleep(1)

    def _fan_out(self, told: Told) -> None:
        for listener in list(self.listeners):
            if told.topic in listener.topics:
                try:
                    listener.queue.put_nowait(told)
                except asyncio.QueueFull:
                    self._cut(listener)

    def _cut(self, listener: Listener) -> None:
        """End a listener: None is the last thing it hears."""
        self.listeners.discard(listener)
        while listener.queue.full():
            listener.queue.get_nowait()
        listener.queue.put_nowait(None)

    @asynccontextmanager
    async def listening(
        self, topics: Iterable[str], after: str | None
    ) -> AsyncIterator[AsyncIterator[Told | None]]:
        """Events of `topics` that came after the id `after`, then as they come. None: nothing came for a while."""
        if len(self.listeners) >= MOST_LISTENERS:
            raise Invalid("Too many listen at present.", code="too_many_listeners")
        listener = Listener(frozenset(topics))
        self.listeners.add(listener)  # before looking back, so that no event falls in between
        try:
            yield self._events(listener, after)
        finally:
            self.listeners.discard(listener)

    async def _events(self, listener: Listener, after: str | None) -> AsyncIterator[Told | None]:
        heard = ""
        for told in await self._missed(after):
            if told.topic in listener.topics:
                heard = told.id
                yield told
        while True:
            try:
                async with asyncio.timeout(KEEP_ALIVE):
                    told = await listener.queue.get()
            except TimeoutError:
                yield None
                continue
            if told is None:
                return
            if not heard or _order(told.id) > _order(heard):
                yield told

    async def _missed(self, after: str | None) -> list[Told]:
        if after is None:
            return []
        try:
            return _told(await self.redis.xrange(STREAM, min=f"({after}", count=KEPT))
        except (RedisError, OSError) as error:
            log.warning("live_without_redis", error=repr(error))
            return []


def _told(entries: list[tuple[str, dict[str, str]]]) -> list[Told]:
    return [Told(id, entry["topic"], entry["type"], json.loads(entry["data"])) for id, entry in entries]


def _order(id: str) -> tuple[int, int]:
    milliseconds, _, number = id.partition("-")
    return int(milliseconds), int(number)


def _just_now() -> str:
    return f"{int((time.time() - JUST_NOW) * 1000)}-0"


def topics_of(given: str) -> list[str]:
    """The topics of a comma-separated list. Raises Invalid for none, too many, or one that there cannot be."""
    topics = [topic for topic in given.split(",") if topic]
    wrong = [topic for topic in topics if not TOPIC.fullmatch(topic)]
    if wrong or not topics or len(topics) > MOST_TOPICS:
        detail = (
            f"topics must name 1 to {MOST_TOPICS} of policy:…, ballot:…, anchor:…, workflow:…, violation:…, "
            "chain, clock, log, enforcement, constitution."
        )
        raise Invalid(
            detail, errors=(FieldError("query:/topics", wrong[0][:80] if wrong else "none, or too many"),)
        )
    return topics


@websocket("/ws", guards=[public])
async def socket(socket: WebSocket) -> None:
    """`/ws?topics=policy:POL-2026-0007,chain`: messages {topic, type, data}. What is sent to it is not read."""
    try:
        topics = topics_of(socket.query_params.get("topics", ""))
    except Invalid as error:
        await socket.accept()
        await socket.close(code=4422, reason=_fitting(error.detail))
        return
    await socket.accept()
    async with socket.app.state.services.live.listening(topics, _just_now()) as events:
        gone = asyncio.create_task(_until_gone(socket))
        speaking = asyncio.create_task(_speak(socket, events))
        try:
            await asyncio.wait((gone, speaking), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (gone, speaking):
                task.cancel()
            await asyncio.gather(gone, speaking, return_exceptions=True)
    with suppress(Exception):  # it may be gone already
        await socket.close(code=1012)


def _fitting(reason: str) -> str:
    """As much of it as a close frame takes: 123 bytes (RFC 6455, § 5.5)."""
    return reason.encode()[:123].decode(errors="ignore")


async def _until_gone(socket: WebSocket) -> None:
    with suppress(WebSocketDisconnect):
        while True:
            await socket.receive_data(mode="text")


async def _speak(socket: WebSocket, events: AsyncIterator[Told | None]) -> None:
    async for told in events:
        if told is not None:
            await socket.send_data(told.json())


@get(
    "/api/v1/events",
    guards=[public],
    media_type="text/event-stream",
    tags=["Live updates"],
    summary="Follow what changes",
    description="Server-sent events of `topics`, comma-separated: policy:POL-2026-0007, ballot:…, anchor:<id>, "
    "workflow:<id>, violation:…, chain, clock, log, enforcement, constitution. With `Last-Event-ID`, first what was missed since.",
)
async def events(request: Request, topics: FromQuery[str]) -> Response:
    """Server-sent events of `topics` (comma-separated). Send `Last-Event-ID` to get what was missed since."""
    wanted = topics_of(topics)
    after = request.headers.get("last-event-id", "")
    if after and not EVENT_ID.fullmatch(after):
        raise Invalid(
            "Last-Event-ID is none of ours.", errors=(FieldError("header:/Last-Event-ID", after[:80]),)
        )

    async def stream() -> AsyncIterator[str]:
        yield "retry: 2000\n\n"
        async with request.app.state.services.live.listening(wanted, after or None) as told_events:
            async for told in told_events:
                yield (
                    f"id: {told.id}\nevent: {told.type}\ndata: {told.json()}\n\n"
                    if told
                    else ": still here\n\n"
                )

    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return Stream(stream(), media_type="text/event-stream", headers=headers)


routes = [socket, events]
