"""A ballot that is due closes once, although the worker that closes it is killed."""

from __future__ import annotations

import pytest

from tests.conftest import NOW
from tests.reliability.house import House
from workflows.storage.unit import Unit


@pytest.mark.parametrize("point", ["closing", "closed"])
def test_a_due_ballot_closes_once(house: House, point: str) -> None:
    """`closing` is inside the transaction, `closed` after it, before the job is struck off."""
    ref = house.voted(f"The worker dies when the ballot is {point}")
    before = house.pid("worker")
    house.order(point, "die")
    falls_due(house)
    house.until(lambda: house.pid("worker") not in (None, before), "the worker did not die")
    own = f"/api/v1/policies/{ref}"
    house.until(lambda: house.get(own).json()["state"] == "enacted", "the ballot does not close")
    house.finalized(ref)
    results = house.get(f"{own}/results").json()
    assert (results["counts"], results["outcome"]) == ({"for": 5, "against": 0, "abstain": 0}, "passed")
    audited = house.audited(ref)
    assert audited.count("ballot.closed") == audited.count("policy.enacted") == 1
    assert audited.count("anchor.finalized") == 1
    assert list(house.anchors(ref)) == ["policy"]


def falls_due(house: House) -> None:
    """The seven days are over and the durable timer goes off; nobody but the worker is there to act on it."""
    house.rows(
        # No governance change commits without an entry, not even one by hand.
        "WITH entered AS (INSERT INTO audit.entry (body) VALUES ($1)) "
        "INSERT INTO governance_clock (id, ahead) VALUES (1, '7 days') "
        "ON CONFLICT (id) DO UPDATE SET ahead = governance_clock.ahead + '7 days'",
        Unit(connection=None, now=NOW, constitution_sha256="0" * 64).entry("test.arranged", "test", {}),  # type: ignore[arg-type]
    )
    house.rows(
        "UPDATE pgqueuer SET execute_after = now() WHERE entrypoint = 'deadlines' AND status = 'queued'"
    )
