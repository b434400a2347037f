"""While the Solana node does not answer: what can be said is said, and nothing on chain passes."""

from __future__ import annotations

from typing import Any

import pytest

from portal.settings import Settings
from tests.portal.api.walk import POLICIES, is_problem, jump, propose, review, vote
from tests.portal.conftest import ORIGIN, SECRET


@pytest.fixture
def settings(fresh_database: str, valkey_url: str) -> Settings:
    return Settings(
        database_url=fresh_database,
        redis_url=valkey_url,
        jwt_secret=SECRET,
        base_url=ORIGIN,
        demo=True,
        solana_rpc_url="http://127.0.0.1:1",  # nobody listens there
    )


async def test_with_the_node_away_verification_says_so_and_passes_nothing_on_chain(
    api: Any, client: Any
) -> None:
    workflow = await propose(await api("chidi"))
    await review(await api("dana"), workflow)
    await vote(await api("ada"), workflow, "for")
    await vote(await api("ben"), workflow, "for")
    await jump(client)
    own = f"{POLICIES}/{workflow['policy']['ref']}"
    anchor = (await client.get(f"/api/v1/anchors?ref={workflow['policy']['ref']}")).json()["items"][0]
    for answer in (
        await client.get(f"{own}/verify"),
        await client.post(f"/api/v1/anchors/{anchor['id']}/verify"),
    ):
        assert answer.status_code == 200, answer.text
        said = answer.json()
        assert said["overall"] == "incomplete"
        states = {step["key"]: step["state"] for step in said["steps"]}
        assert states["text"] == states["version"] == states["ballot"] == "pass"
        assert states["account"] in ("absent", "pending")
    is_problem(await client.get(f"/api/v1/chain/accounts/{'1' * 32}"), 503)
    is_problem(await (await api("jon")).post(f"/api/v1/anchors/{anchor['id']}/retry"), 409)
