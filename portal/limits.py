"""Rate limits, counted in Redis for all instances together."""

from __future__ import annotations

from portal.settings import Settings


class Limiter:
    def __init__(self, settings: Settings) -> None:
        self.settings = settings
