"""A real browser against a real portal.

The demonstration is loaded once, by a first start. A `portal` is then a second start on a copy of that data, so that every
run proves that a restart keeps everything and leaves no process. Tests that close the demonstration's ballots, by moving
the clock, have a `portal` of their module's own.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.e2e.browsing import Visitor, launch
from tests.e2e.running import Portal, copied, running, wait_until

Starting = Callable[..., AbstractContextManager[Portal]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def place() -> Iterator[Path]:
    """Where the portals keep their data. Not pytest's own: as root PostgreSQL runs as somebody else, who must get there."""
    place = Path(tempfile.mkdtemp(prefix="acgs-e2e-"))
    place.chmod(0o755)
    yield place
    shutil.rmtree(place, ignore_errors=True)


@pytest.fixture(scope="session")
def loaded(place: Path) -> Path:
    """The data of a portal that was started once and stopped when the demonstration's records were final."""
    with running(place / "first") as portal:
        wait_until(portal.unfinished_anchors, "the demonstration's records are not final")
    return place / "first"


@pytest.fixture(scope="session")
def start(loaded: Path, place: Path) -> Starting:
    """`with start() as portal:` a second start on a copy of the demonstration."""
    count = iter(range(1_000))

    @contextmanager
    def start(**variables: str) -> Iterator[Portal]:
        data_dir = copied(loaded, place / f"copy-{next(count)}")
        with running(data_dir, **variables) as portal:
            yield portal
        shutil.rmtree(data_dir, ignore_errors=True)

    return start


@pytest.fixture(scope="session")
def portal(start: Starting) -> Iterator[Portal]:
    with start() as portal:
        yield portal


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()


@pytest.fixture
def visitor(browser: Browser) -> Iterator[Callable[..., Visitor]]:
    """`visitor(portal)`: somebody who comes with an empty browser. A complaint of theirs fails the test at its end."""
    visitors: list[Visitor] = []

    def come(portal: Portal, width: int = 1280, height: int = 900, **options: Any) -> Visitor:
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        context.set_default_timeout(10_000)
        visitors.append(Visitor(context, portal.url))
        return visitors[-1]

    yield come
    complaints = [complaint for each in visitors for complaint in each.complaints]
    for each in visitors:
        each.context.close()
    assert not complaints
