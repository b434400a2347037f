"""What synthesis needs: engines, a constitution, and wishes."""

from __future__ import annotations

from tests.workflows.enforcement.conftest import enforcing, pool

__all__ = ["enforcing", "pool"]
