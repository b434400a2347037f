"""An enacted policy on a real local chain, followed and verified through the JSON API; then one byte is changed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from solders.keypair import Keypair

from chain import anchoring
from portal.database import begin_unit
from portal.settings import Settings
from tests.chain.localnet.node import Node
from tests.conftest import arranged
from tests.portal.api.walk import POLICIES, is_problem, jump, propose, review, vote
from tests.portal.conftest import ORIGIN, SECRET


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


async def _anchored(app: Any, client: Any, path: str) -> dict[str, Any]:
    """The anchor at `path` once it is final, with the worker's passes done here."""
    held = app.state.services
    units = partial(begin_unit, held.engine, constitution=held.constitution)
    async with asyncio.timeout(60):
        while True:
            await anchoring.run(units, held.chain, held.constitution)
            anchor = (await client.get(path)).json()
            if anchor["state"] == "finalized":
                return anchor
            await asyncio.sleep(0.1)


async def test_a_stranger_follows_verifies_and_sees_one_changed_byte(app: Any, api: Any, client: Any) -> None:
    workflow = await propose(await api("chidi"))
    await review(await api("dana"), workflow)
    for name in ("ada", "ben"):
        await vote(await api(name), workflow, "for")
    await jump(client)
    own = f"{POLICIES}/{workflow['policy']['ref']}"
    queued = (await client.get(own)).json()["anchors"][0]
    anchor = await _anchored(app, client, f"/api/v1/anchors/{queued['id']}")

    assert anchor["cluster"] == "localnet"
    assert anchor["explorer_url"].startswith(
        f"https://explorer.solana.com/tx/{anchor['signature']}?cluster=custom"
    )
    assert (await client.get(workflow["links"]["self"])).json()["status"] == "completed"
    chain = (await client.get("/api/v1/chain")).json()
    assert (chain["matches"], chain["may_anchor"], chain["queue"]["finalized"]) == (True, True, 1)

    transaction = (await client.get(f"/api/v1/chain/transactions/{anchor['signature']}")).json()
    names = [each["instruction"] for each in transaction["instructions"]]
    assert names == ["propose_policy", "enact_policy", "memo"]
    assert transaction["instructions"][2]["text"] == anchor["memo"]
    account = (await client.get(f"/api/v1/chain/accounts/{anchor['account']}")).json()
    assert (account["type"], account["fields"]["rule"]) == ("Policy", anchor["record"])
    assert account["fields"]["is_active"] is True
    is_problem(await client.get(f"/api/v1/chain/transactions/{'1' * 64}"), 404)

    for answer in (
        await client.get(f"{own}/verify"),
        await client.post(f"/api/v1/anchors/{anchor['id']}/verify"),
    ):
        assert answer.json()["overall"] == "verified", answer.text

    async with app.state.services.engine.begin() as connection:
        await connection.execute(
            sa.text("SET ROLE NONE")
        )  # nobody but the database's owner could do what follows
        await arranged(connection)
        await connection.execute(sa.text("ALTER TABLE policy_version DISABLE TRIGGER immutable"))
        await connection.execute(sa.text("UPDATE policy_version SET text = replace(text, 'Wed', 'Wet')"))
    verified = (await client.get(f"{own}/verify")).json()
    assert verified["overall"] == "failed"
    broken = next(step for step in verified["steps"] if step["state"] == "fail")
    assert broken["key"] == "text"
    assert broken["first_difference"]["byte"] >= 0
