"""The audit log's pages: what happened, each entry with its proof."""

from __future__ import annotations

from typing import Any

routes: list[Any] = []
