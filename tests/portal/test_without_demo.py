"""Outside the demonstration nothing of it exists; and with https, cookies and browsers insist on it."""

from __future__ import annotations

import dataclasses

import httpx
import pytest

from portal.settings import Settings
from tests.portal.conftest import PASSWORD, with_forms


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return dataclasses.replace(settings, demo=None, base_url="https://portal.test")


async def test_no_personas_no_clock_no_banner(client: httpx.AsyncClient):
    with_forms(client)
    assert (await client.post("/demo/persona", data={"username": "dana"})).status_code == 404
    assert (await client.post("/demo/clock", data={"advance": "P7D"})).status_code == 404
    assert (await client.post("/api/v1/demo/clock", json={"advance": "P7D"})).status_code == 404
    assert "Demonstration" not in (await client.get("/login")).text


async def test_https_is_insisted_on(client: httpx.AsyncClient):
    with_forms(client)
    answer = await client.post("/login", data={"username": "dana", "password": PASSWORD})
    assert all("Secure" in cookie for cookie in answer.headers.get_list("set-cookie"))
    assert answer.headers["strict-transport-security"] == "max-age=31536000"
    assert "wss://portal.test" in answer.headers["content-security-policy"]
