"""What the portal says about itself: structured logs, metrics, health."""

from __future__ import annotations

routes: list = []


class Metrics:
    pass
