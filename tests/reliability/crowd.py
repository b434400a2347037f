"""Members who vote all at once, each vote with an Idempotency-Key, and who ask again until they are answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from portal.demo.people import members
from tests.reliability.house import PATIENCE, House, vote, votes_path
from tests.reliability.mortal import MEMBERS

CHOICES = ("for", "against", "abstain")


@dataclass
class Crowd:
    """What the members know: a receipt for each key that was answered with 201, in the order of the answers."""

    house: House
    workflow: dict[str, Any]
    rounds: int
    receipts: dict[str, dict[str, Any]] = field(default_factory=dict)
    replays: int = 0  # answers to a second asking, from what was kept at the first
    refusals: list[str] = field(default_factory=list)  # what should never be answered
    interruptions: int = 0

    def __post_init__(self) -> None:
        self.names = [username for username, _ in members()[:MEMBERS]]
        self.tokens = {name: self.house.token(name) for name in self.names}

    def vote(self, *blows: Callable[[], None]) -> None:
        """All rounds of all members; each blow falls when its share of the votes is acknowledged."""
        asyncio.run(self._vote(blows))

    async def _vote(self, blows: tuple[Callable[[], None], ...]) -> None:
        voting = asyncio.gather(*(self._member(name) for name in self.names))
        for number, blow in enumerate(blows, 1):
            due = self.rounds * len(self.names) * number // (len(blows) + 1)
            while len(self.receipts) < due and not voting.done():  # noqa: ASYNC110 – an Event would be set by each vote
                await asyncio.sleep(0.005)
            assert not voting.done(), "the votes were over before the blow fell"
            await asyncio.to_thread(blow)
        await voting

    async def _member(self, name: str) -> None:
        async with httpx.AsyncClient(
            base_url=self.house.url, headers={"Authorization": f"Bearer {self.tokens[name]}"}, timeout=15
        ) as client:
            for number in range(self.rounds):
                key = f"{name}-{number}-{self.workflow['policy']['ref']}"
                await self._cast(client, key, self.choice(name, number))

    def choice(self, name: str, number: int) -> str:
        return CHOICES[(self.names.index(name) + number) % 3]

    async def _cast(self, client: httpx.AsyncClient, key: str, choice: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                answer = await client.post(
                    votes_path(self.workflow),
                    json=vote(self.workflow, choice),
                    headers={"Idempotency-Key": key},
                )
            except httpx.TransportError:
                self.interruptions += 1
                await asyncio.sleep(0.1)
                continue
            if answer.status_code == 201:
                self.receipts[key] = answer.json()["receipt"]
                self.replays += "idempotency-replayed" in answer.headers
                return
            self.interruptions += 1
            if answer.status_code != 503:
                self.refusals.append(f"{answer.status_code}: {answer.text[:300]}")
            await asyncio.sleep(0.1)
        raise AssertionError(f"{key} was never answered{self.house.logs()}")


def is_whole(house: House, crowd: Crowd) -> None:
    """Every acknowledged vote is there once, with its entry; there is no other; each voter's last one counts."""
    ballot = house.value(
        "SELECT b.id FROM ballot b JOIN policy p ON p.id = b.policy_id WHERE p.ref = $1",
        crowd.workflow["policy"]["ref"],
    )
    stored = house.rows(
        "SELECT v.receipt_code, v.choice, v.commitment, v.superseded_at IS NULL AS counts, p.username FROM vote v "
        "JOIN person p ON p.id = v.voter_id WHERE v.ballot_id = $1",
        ballot,
    )
    acknowledged = {receipt["code"]: receipt for receipt in crowd.receipts.values()}
    assert len(acknowledged) == len(crowd.receipts) == crowd.rounds * len(crowd.names)
    assert sorted(row["receipt_code"] for row in stored) == sorted(acknowledged)
    assert all(acknowledged[row["receipt_code"]]["commitment"] == row["commitment"] for row in stored)

    recorded = house.rows(
        "SELECT v.receipt_code, convert_from(e.body, 'UTF8')::jsonb->'payload'->>'commitment' AS commitment "
        "FROM vote v JOIN audit.entry e ON e.number = v.entry WHERE e.type = 'vote.cast' AND v.ballot_id = $1",
        ballot,
    )
    pairs = sorted((row["receipt_code"], row["commitment"]) for row in stored)
    assert sorted((row["receipt_code"], row["commitment"]) for row in recorded) == pairs
    # … and no vote of any ballot is entered twice, or without being one.
    assert house.value("SELECT count(*) FROM audit.entry WHERE type = 'vote.cast'") == house.value(
        "SELECT count(DISTINCT entry) FROM vote"
    )

    counting = {row["username"]: row["receipt_code"] for row in stored if row["counts"]}
    last = {name: f"{name}-{crowd.rounds - 1}-{crowd.workflow['policy']['ref']}" for name in crowd.names}
    assert counting == {name: crowd.receipts[key]["code"] for name, key in last.items()}
    assert house.value("SELECT count(*) FROM idempotency WHERE status = 0") == 0


def gets_the_same_receipts(house: House, crowd: Crowd) -> None:
    """The same key once more gives the same receipt, however long ago, and votes for nobody."""
    for key in list(crowd.receipts)[:: len(crowd.receipts) // 10]:
        name, number, _ = key.split("-", 2)
        body = vote(crowd.workflow, crowd.choice(name, int(number)))
        answer = house.post(name, votes_path(crowd.workflow), body, key=key)
        assert answer.status_code == 201, answer.text
        assert answer.headers["idempotency-replayed"] == "true"
        assert answer.json()["receipt"] == crowd.receipts[key]
