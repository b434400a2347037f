"""Live updates: events of all instances travel through one Redis stream to browsers and programs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from redis.asyncio import Redis

from workflows.storage.unit import Event

routes: list = []


class Live:
    def __init__(self, redis: Redis) -> None:
        self.redis = redis

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        yield

    async def publish(self, events: Sequence[Event]) -> None: ...
