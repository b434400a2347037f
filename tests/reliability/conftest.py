"""Portals that are there to be killed: one that all tests of a run share and keep alive, and `fresh` ones."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.running import survivors
from tests.reliability.house import House


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.reliability)


@pytest.fixture(scope="session")
def place() -> Iterator[Path]:
    """Not pytest's own: as root PostgreSQL runs as somebody else, who must be able to get there."""
    place = Path(tempfile.mkdtemp(prefix="acgs-mortal-"))
    place.chmod(0o755)
    yield place
    shutil.rmtree(place, ignore_errors=True)


@pytest.fixture(scope="session")
def house(place: Path) -> Iterator[House]:
    """The portal that most tests kill parts of. Whatever they did, it must end cleanly and leave nothing."""
    house = House(place / "shared")
    try:
        house.start()
        yield house
        assert house.end() == 0
        assert not survivors(house.data_dir)
    finally:
        house.sweep()


@pytest.fixture
def fresh(place: Path) -> Iterator[Callable[[], House]]:
    """`fresh()`: the house of a portal that was not started yet."""
    made: list[House] = []

    def make() -> House:
        made.append(House(place / f"fresh-{place.stat().st_nlink}"))
        return made[-1]

    yield make
    for house in made:
        house.sweep()
