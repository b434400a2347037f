"""Anchors of checkpoints for a stranger: listed with size, root and cost, verified, and all that the chain has of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from solders.keypair import Keypair
from sqlalchemy.engine import URL

from chain import anchoring
from chain.config import AnchorPolicy
from portal.database import begin_unit, create_engine
from portal.self_check import CHAIN_ALERT, ask_chain
from portal.settings import Settings
from tests.chain.bridge import until
from tests.chain.localnet.node import Node
from tests.conftest import _administer
from tests.portal.api.walk import is_problem
from tests.portal.conftest import ORIGIN, SECRET
from tests.workflows.log.conftest import log_on
from workflows.audit_transparency.checkpoints import SecondPlace
from workflows.storage.tables import alert

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


async def test_a_backup_restored_with_its_second_place_is_contradicted_by_the_chain(
    app: Any, node: Node, server_url: URL, fresh_database: str, tmp_path: Path
) -> None:
    """Nothing of the portal's own remembers what came after, so it signs a fork; the hourly look at the chain finds it."""
    held = app.state.services
    units = partial(begin_unit, held.engine, constitution=held.constitution)
    log = log_on(fresh_database, SecondPlace(tmp_path / "place"))
    await log.grow(2)
    await until(lambda: _idle(held, units))
    await held.engine.dispose()
    name = f"acgs_{uuid4().hex[:12]}"
    await _administer(server_url, f"CREATE DATABASE {name} TEMPLATE {log.app.url.database}")
    address = server_url.set(database=name).render_as_string(hide_password=False)
    restored = replace(held, engine=create_engine(address))
    try:
        await log.grow(3)
        await until(lambda: _idle(held, units))
        await ask_chain(units, held)
        assert await _told(held) == []
        backup = log_on(address, SecondPlace(tmp_path / "restored too"))
        await backup.add(9, type="test.after_restoring")
        await backup.sequence()
        assert await backup.sign() is not None
        await ask_chain(partial(begin_unit, restored.engine, constitution=held.constitution), restored)
        ((code, message),) = await _told(restored)
        assert code == CHAIN_ALERT
        assert "another root than our log" in message
    finally:
        await restored.engine.dispose()
        await _administer(server_url, f"DROP DATABASE {name} WITH (FORCE)")


async def _told(held: Any) -> list[tuple[str, str]]:
    query = sa.select(alert.c.code, alert.c.message).where(alert.c.resolved_at.is_(None))
    async with held.engine.connect() as connection:
        return [tuple(row) for row in await connection.execute(query) if row.code.startswith("log.")]
