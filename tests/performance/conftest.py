"""A real portal with the demonstration, measured one figure after another; the figures are printed when all is over."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.running import Portal, running, wait_until

TABLES: list[str] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.performance)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if TABLES:
        terminalreporter.write_sep("=", "measured")
        cores, load = len(os.sched_getaffinity(0)), os.getloadavg()[1]
        terminalreporter.write_line(
            f"Python {platform.python_version()}, {cores} cores, load of the last 5 minutes {load:.1f}"
        )
        for table in TABLES:
            terminalreporter.write_line(f"\n{table}")


@pytest.fixture
def report() -> Callable[[str, list[str], list[list[str]]], None]:
    """`report(title, columns, rows)`: a table for the end of the run."""

    def add(title: str, columns: list[str], rows: list[list[str]]) -> None:
        lines = [columns, ["---"] * len(columns), *rows]
        TABLES.append("\n".join([title, "", *(f"| {' | '.join(line)} |" for line in lines)]))

    return add


@pytest.fixture(scope="session")
def portal() -> Iterator[Portal]:
    """The demonstration, with its records final, so that nothing goes on beside what is measured."""
    place = Path(tempfile.mkdtemp(prefix="acgs-measured-"))
    place.chmod(0o755)  # as root PostgreSQL runs as somebody else, who must be able to get there
    try:
        with running(place / "data", RATE_LIMIT_ACT="1000000", RATE_LIMIT_READ="1000000") as portal:
            wait_until(portal.unfinished_anchors, "the demonstration's records are not final")
            yield portal
    finally:
        shutil.rmtree(place, ignore_errors=True)
