"""The transparency pages: public figures, and reports with the rows behind each number."""

from __future__ import annotations

from typing import Any

routes: list[Any] = []
