"""Anchors of checkpoints for a stranger: listed with size, root and cost, verified, and all that the chain has of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from solders.keypair import Keypair

from chain import anchoring
from chain.config import AnchorPolicy
from portal.database import begin_unit
from portal.settings import Settings
from tests.chain.bridge import until
from tests.chain.localnet.node import Node
from tests.portal.api.walk import is_problem
from tests.portal.conftest import ORIGIN, SECRET
from tests.workflows.log.conftest import log_on
from workflows.audit_transparency.checkpoints import SecondPlace

AT_ONCE = AnchorPolicy(interval=timedelta())


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    node = Node(tmp_path / "ledger")
    yield node
    node.end()


@pytest.fixture
def settings(fresh_database: str, valkey_url: str, node: Node, tmp_path: Path) -> Settings:
    key = tmp_path / "authority.json"
    key.write_text(json.dumps(list(bytes(Keypair()))))
    return Settings(
        database_url=fresh_database,
        redis_url=valkey_url,
        jwt_secret=SECRET,
        base_url=ORIGIN,
        demo=True,
        solana_rpc_url=node.url,
        anchor_keypair=str(key),
    )


async def _idle(held: Any, units: Any) -> bool:
    """Whether nothing is open any more, after one pass of the worker's."""
    return await anchoring.run(units, held.chain, held.constitution, AT_ONCE) is None


async def test_a_stranger_finds_and_verifies_what_stands_on_chain(
    app: Any, client: Any, node: Node, fresh_database: str, tmp_path: Path
) -> None:
    log = log_on(fresh_database, SecondPlace(tmp_path / "place"))
    held = app.state.services
    units = partial(begin_unit, held.engine, constitution=held.constitution)
    signed = []
    for _ in range(2):
        signed.append(await log.grow(2))
        await until(lambda: _idle(held, units))

    listed = (await client.get("/api/v1/anchors?kind=checkpoint")).json()["items"]
    assert [each["checkpoint_size"] for each in listed] == [signed[1].size, signed[0].size]
    second, first = listed
    assert (first["kind"], first["state"], first["ref"], first["version"]) == (
        "checkpoint",
        "finalized",
        None,
        None,
    )
    assert (first["checkpoint_root"], first["memo"]) == (signed[0].root.hex(), signed[0].note)
    assert (first["durable"], second["durable"]) == (True, False)
    assert (first["cost_lamports"] > 1_000_000, second["cost_lamports"]) == (True, 5000)
    assert first["explorer_url"].startswith(f"https://explorer.solana.com/tx/{first['signature']}")
    assert (await client.get("/api/v1/anchors?kind=policy")).json()["items"] == []
    assert (await client.get(f"/api/v1/anchors/{first['id']}")).json()["checkpoint_size"] == signed[0].size
    for each in listed:
        verified = (await client.post(f"/api/v1/anchors/{each['id']}/verify")).json()
        assert (verified["overall"], verified["checkpoint_size"]) == ("verified", each["checkpoint_size"])

    there = (await client.get("/api/v1/chain/checkpoints")).json()
    assert [each["signature"] for each in there["items"]] == [second["signature"], first["signature"]]
    assert {each["known"] for each in there["items"]} == {True}
    assert (there["disagreements"], there["complete"], there["before"]) == ([], True, None)
    one = (await client.get("/api/v1/chain/checkpoints?limit=1")).json()
    assert (len(one["items"]), one["before"]) == (1, second["signature"])
    rest = (await client.get(f"/api/v1/chain/checkpoints?before={one['before']}")).json()
    assert [each["signature"] for each in rest["items"]] == [first["signature"]]
    is_problem(await client.get("/api/v1/chain/checkpoints?limit=51"), 422)
    is_problem(await client.get(f"/api/v1/chain/checkpoints?before={'1' * 88}"), 422)

    page = (await client.get("/chain")).text
    assert "Every entry of the log is covered by a final anchor." in page
    assert f"The log’s first {signed[1].size} entries" in page
    assert signed[1].root.hex()[:12] in page
    assert "0.000005 SOL" in page
    page = (await client.get("/chain/checkpoints")).text
    assert "The chain and our log agree" in page
    assert first["signature"][:12] in page

    node.end()
    is_problem(await client.get("/api/v1/chain/checkpoints"), 503)
    away = (await client.post(f"/api/v1/anchors/{first['id']}/verify")).json()
    assert away["overall"] == "incomplete"
