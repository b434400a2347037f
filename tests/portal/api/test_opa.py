"""What an OPA server pulls, who may, and that a waiting one hears of the next bundle at once."""

from __future__ import annotations

import asyncio
import dataclasses
import io
import tarfile
import time

import httpx
import pytest
from litestar import Litestar

from tests.portal.enforcing import SignIn, in_force
from tests.workflows.enforcement.conftest import GRANTS

PATH = "/api/v1/enforcement/opa/bundles/acgs.tar.gz"
TOKEN = "a token of the tests that is long enough"


@pytest.fixture
async def ref(app: Litestar, api: SignIn, client: httpx.AsyncClient) -> str:
    held = app.state.services
    app.state.services = dataclasses.replace(
        held, settings=dataclasses.replace(held.settings, opa_bundle_token=TOKEN)
    )
    return await in_force(app, api, client)


async def test_a_server_pulls_the_voted_bytes(ref: str, client: httpx.AsyncClient) -> None:
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    answer = await client.get(PATH, headers=bearer)
    assert answer.headers["content-type"] == "application/vnd.openpolicyagent.bundles"
    with tarfile.open(fileobj=io.BytesIO(answer.content), mode="r:gz") as tar:
        assert tar.extractfile("/rules/grants.rego").read() == GRANTS.encode()  # type: ignore[union-attr]
    status = (await client.get("/api/v1/workflows/policy-enforcement/status")).json()
    assert answer.headers["etag"] == f'"{status["bundle"]["revision"]}"'
    again = await client.get(PATH, headers={**bearer, "If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


async def test_the_data_is_not_for_everybody(ref: str, client: httpx.AsyncClient, api: SignIn) -> None:
    assert (await client.get(PATH)).status_code == 401
    assert (await client.get(PATH, headers={"Authorization": "Bearer x"})).status_code == 401
    assert (await (await api("ada")).get(PATH)).status_code == 403
    assert (await (await api("hal")).get(PATH)).status_code == 200


async def test_who_waits_hears_of_the_next_bundle(ref: str, app: Litestar, api: SignIn) -> None:
    operator = await api("jon")
    tag = (await operator.get(PATH)).headers["etag"]
    waiting = {"If-None-Match": tag, "Prefer": "modes=snapshot,delta;wait=30"}
    started = time.monotonic()
    task = asyncio.create_task(operator.get(PATH, headers=waiting))
    await asyncio.sleep(0.3)
    assert not task.done()
    actor = await api("jon")
    assert (await actor.put("/api/v1/enforcement/facts/roles", json={"value": [["ada", "board"]]})).is_success
    answer = await asyncio.wait_for(task, 20)
    assert (answer.status_code, answer.headers["etag"] != tag) == (200, True)
    assert time.monotonic() - started < 20, "it did not wait for its time to be over"
    same = {"If-None-Match": answer.headers["etag"], "Prefer": "wait=1"}
    assert (await operator.get(PATH, headers=same)).status_code == 304
