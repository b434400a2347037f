"""The audit and transparency workflow for programs: reports on request, and public figures."""

from __future__ import annotations

from typing import Any

routes: list[Any] = []
