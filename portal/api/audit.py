"""The audit log for programs: entries, proofs and checkpoints, without signing in."""

from __future__ import annotations

from typing import Any

routes: list[Any] = []
