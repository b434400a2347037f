"""Addresses of our static files that change with their content, so that browsers may keep them for ever."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

STATIC = Path(__file__).parent.parent / "static"


@cache
def static_url(path: str) -> str:
    """`/static/<path>?v=<hash>`. Raises FileNotFoundError for a file that is not there."""
    return f"/static/{path}?v={hashlib.sha256((STATIC / path).read_bytes()).hexdigest()[:12]}"
