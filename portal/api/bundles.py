"""A policy's bundle: everything needed to verify it, in one ZIP."""

from __future__ import annotations

from typing import Any

routes: list[Any] = []
