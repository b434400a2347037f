"""The log as C2SP tlog-tiles serves it, so that other people's tools work against us unmodified."""

from __future__ import annotations

from typing import Any

routes: list[Any] = []
