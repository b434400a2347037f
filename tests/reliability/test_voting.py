"""No acknowledged vote is lost, none counts twice, and none is there by halves, whatever dies while members vote."""

from __future__ import annotations

import pytest

from tests.reliability import logbook
from tests.reliability.crowd import CHOICES, Crowd, gets_the_same_receipts, is_whole
from tests.reliability.house import House


@pytest.mark.parametrize("victim", ["web", "postgres", "valkey", "worker"])
def test_votes_survive(house: House, victim: str) -> None:
    crowd = Crowd(house, house.proposed(f"Members vote while {victim} is killed twice"), rounds=6)
    crowd.vote(lambda: house.kill(victim), lambda: house.kill(victim))
    assert crowd.refusals == []
    if victim in ("web", "postgres"):  # nothing that is asked for needs the others
        assert crowd.interruptions
    house.comes_back(from_without=victim)
    is_whole(house, crowd)
    gets_the_same_receipts(house, crowd)
    is_whole(house, crowd)
    logbook.is_whole(house)


def test_the_count_is_of_the_votes_that_were_acknowledged(house: House) -> None:
    """Web and database die while members vote; then the ballot closes, and everybody can recount it."""
    crowd = Crowd(house, house.proposed("Members vote, much dies, and the count is right"), rounds=3)
    crowd.vote(lambda: (house.kill("postgres"), house.kill("web")))  # type: ignore[arg-type, return-value]
    house.comes_back(from_without="postgres")
    ref = crowd.workflow["policy"]["ref"]
    assert house.get(f"/api/v1/policies/{ref}/results").status_code == 409
    house.jump()
    chosen = [crowd.choice(name, crowd.rounds - 1) for name in crowd.names]
    expected = {choice: chosen.count(choice) for choice in CHOICES}
    assert house.get(f"/api/v1/policies/{ref}/results").json()["counts"] == expected
    openings = house.get(f"/api/v1/policies/{ref}/openings").json()["openings"]
    assert {choice: sum(item["choice"] == choice for item in openings) for choice in CHOICES} == expected
