"""The demonstration's clock: it moves for all, forward only, and what falls due then happens."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import httpx
import pytest
import sqlalchemy as sa
from litestar import Litestar

from portal.clock import read_duration
from workflows.errors import Invalid
from workflows.storage.tables import audit_entry
from workflows.storage.unit import governance_now

SignIn = Callable[[str], Awaitable[httpx.AsyncClient]]


async def now(app: Litestar) -> datetime:
    async with app.state.services.engine.connect() as connection:
        return await governance_now(connection)


async def test_the_clock_moves_for_everybody(client: httpx.AsyncClient, app: Litestar, as_persona: SignIn):
    before = await now(app)
    answer = await client.post("/api/v1/demo/clock", json={"advance": "P7D"})
    assert answer.status_code == 200, answer.text
    said = datetime.fromisoformat(answer.json()["now"])
    assert timedelta(days=7) <= said - before < timedelta(days=7, minutes=5)
    browser = await as_persona("dana")
    assert "7 days ahead" in (await browser.get("/me")).text
    moved = await browser.post("/demo/clock", data={"advance": "PT36H", "next": "/me"})
    assert (moved.status_code, moved.headers["location"]) == (303, "/me")
    assert "8 days 12 hours ahead" in (await browser.get("/me")).text
    async with app.state.services.engine.connect() as connection:
        types = (
            (
                await connection.execute(
                    sa.select(audit_entry.c.type).where(audit_entry.c.type != "test.arranged")
                )
            )
            .scalars()
            .all()
        )
        jobs = (await connection.exec_driver_sql("SELECT entrypoint FROM pgqueuer")).scalars().all()
    assert (types, jobs) == (["clock.moved"] * 2, ["deadlines"] * 2)


async def test_a_jump_signs_nobody_out(as_persona: SignIn):
    browser = await as_persona("dana")
    await browser.post("/demo/clock", data={"advance": "P366D"})
    assert (await browser.get("/me")).status_code == 200


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("PT1S", timedelta(seconds=1)),
        ("P7D", timedelta(days=7)),
        ("P1W", timedelta(weeks=1)),
        ("P1DT12H30M5S", timedelta(days=1, hours=12, minutes=30, seconds=5)),
        (" PT90M ", timedelta(minutes=90)),
    ],
)
def test_durations(text: str, span: timedelta):
    assert read_duration(text) == span


@pytest.mark.parametrize(
    "text", ["", "P", "PT", "P1", "7D", "-P1D", "P-1D", "P0D", "P367D", "P1Y", "P1DT", "P٧D"]
)
def test_what_is_no_duration_forward(text: str):
    with pytest.raises(Invalid):
        read_duration(text)


async def test_a_bad_duration_is_the_callers_fault(client: httpx.AsyncClient, as_persona: SignIn):
    answer = await client.post("/api/v1/demo/clock", json={"advance": "yesterday"})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/advance")
    assert (await (await as_persona("dana")).post("/demo/clock", data={})).status_code == 422
