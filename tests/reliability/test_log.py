"""The log loses nothing and forks nothing, whoever is killed while entries are ordered, signed and stored."""

from __future__ import annotations

import pytest

from tests.reliability import logbook
from tests.reliability.house import House

POINTS = ("ordering", "ordered", "second_place", "checkpointed")


def acted(house: House, times: int = 3) -> None:
    """Acts whose answers say that they are committed."""
    ref = house.value("SELECT max(ref) FROM policy")
    for number in range(times):
        house.done("ada", f"/api/v1/policies/{ref}/comments", {"body": f"A word, number {number}."})


@pytest.mark.parametrize("point", POINTS)
def test_a_worker_that_dies_keeping_the_log_leaves_it_whole(house: House, point: str) -> None:
    house.proposed(f"The worker dies at {point}")
    before = logbook.is_whole(house)
    house.order(point, "die")
    acted(house)
    house.reached(point)
    (house.orders / f"{point}.held").unlink()
    acted(house)
    assert logbook.is_whole(house) >= before + 6


@pytest.mark.parametrize("point", POINTS)
def test_a_database_that_dies_while_the_log_is_kept_leaves_it_whole(house: House, point: str) -> None:
    house.proposed(f"PostgreSQL dies at {point}")
    before = logbook.is_whole(house)
    house.order(point, "hold")
    acted(house)
    house.reached(point)
    house.kill("postgres")
    house.release(point)
    house.comes_back(from_without="postgres")
    acted(house)
    assert logbook.is_whole(house) >= before + 6
