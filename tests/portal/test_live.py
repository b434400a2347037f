"""Live updates over a real server: WebSocket and server-sent events, from every instance to every listener."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import httpx
import pytest
import uvicorn
from litestar import Litestar
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from portal.live import QUEUE, TOPIC, Listener, Live, topics_of
from workflows.errors import Invalid
from workflows.storage.unit import Event

PATIENCE = 30.0  # seconds, on a busy machine
POLICY = "policy:POL-2026-0001"


@pytest.fixture
async def address(app: Litestar) -> AsyncIterator[str]:
    """The portal on a port, as ASGITransport speaks no WebSocket and streams nothing."""
    config = uvicorn.Config(app, port=0, lifespan="off", log_config=None, ws="websockets-sansio")
    config.timeout_graceful_shutdown = 1
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server._serve())
    while not server.started:  # noqa: ASYNC110 – uvicorn tells it no other way
        await asyncio.sleep(0.02)
    yield f"127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    await serving


async def published(app: Litestar, *events: Event) -> None:
    await app.state.services.live.publish(events)


async def test_a_socket_hears_its_topics_and_no_others(app: Litestar, address: str):
    async with connect(f"ws://{address}/ws?topics={POLICY},chain") as socket:
        await published(app, Event("policy:POL-2026-0002", "opened"), Event(POLICY, "opened", {"n": 1}))
        heard = json.loads(await asyncio.wait_for(socket.recv(), PATIENCE))
        assert heard == {"topic": POLICY, "type": "opened", "data": {"n": 1}}
        await published(app, Event("chain", "blocked"))
        assert json.loads(await asyncio.wait_for(socket.recv(), PATIENCE))["topic"] == "chain"


async def test_what_happened_while_the_page_was_loading_is_not_missed(app: Litestar, address: str):
    await published(app, Event(POLICY, "closed"))
    async with connect(f"ws://{address}/ws?topics={POLICY}") as socket:
        assert json.loads(await asyncio.wait_for(socket.recv(), PATIENCE))["type"] == "closed"


async def test_another_instance_is_heard(app: Litestar, address: str):
    other = Live(app.state.services.redis)
    async with connect(f"ws://{address}/ws?topics=chain") as socket:
        await other.publish([Event("chain", "blocked")])
        assert json.loads(await asyncio.wait_for(socket.recv(), PATIENCE))["type"] == "blocked"


async def test_a_socket_without_good_topics_is_closed(address: str):
    for topics in ("", "secrets", "policy:*", "policy:POL-2026-0001%27"):
        async with connect(f"ws://{address}/ws?topics={topics}") as socket:
            with pytest.raises(ConnectionClosed) as closed:
                await asyncio.wait_for(socket.recv(), PATIENCE)
            assert closed.value.rcvd.code == 4422


def heard_by(live: Live) -> list[Listener]:
    """Who listens to the chain; the instance itself listens for new bundles."""
    return [listener for listener in live.listeners if "chain" in listener.topics]


async def test_a_socket_that_goes_leaves_nothing(app: Litestar, address: str):
    live = app.state.services.live
    async with connect(f"ws://{address}/ws?topics=chain"):
        for _ in range(1000):
            if heard_by(live):
                break
            await asyncio.sleep(0.02)
        assert len(heard_by(live)) == 1
    for _ in range(1000):
        if not heard_by(live):
            return
        await asyncio.sleep(0.02)
    pytest.fail("the listener is still there")


async def next_event(lines: AsyncIterator[str]) -> dict[str, str]:
    event: dict[str, str] = {}
    async for line in lines:
        if not line and "data" in event:
            return event
        name, _, value = line.partition(": ")
        event[name] = value
    raise AssertionError("the stream ended")


async def test_a_program_takes_up_where_it_was(app: Litestar, address: str):
    url = f"http://{address}/api/v1/events?topics={POLICY}"
    async with httpx.AsyncClient(timeout=PATIENCE) as client:
        async with client.stream("GET", url) as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            lines = stream.aiter_lines()
            await anext(lines)
            await asyncio.sleep(0.2)
            await published(app, Event(POLICY, "opened"))
            first = await next_event(lines)
        assert (first["event"], json.loads(first["data"])["topic"]) == ("opened", POLICY)
        await published(app, Event(POLICY, "closed"), Event("chain", "x"), Event(POLICY, "enacted"))
        async with client.stream("GET", url, headers={"Last-Event-ID": first["id"]}) as stream:
            lines = stream.aiter_lines()
            assert [(await next_event(lines))["event"] for _ in range(2)] == ["closed", "enacted"]


async def test_bad_requests_for_events(client: httpx.AsyncClient):
    for path, headers in (
        ("/api/v1/events", {}),
        ("/api/v1/events?topics=nothing", {}),
        ("/api/v1/events?topics=chain", {"Last-Event-ID": "x"}),
    ):
        assert (await client.get(path, headers=headers)).status_code == 422, path


async def test_a_listener_that_does_not_listen_is_cut_off(app: Litestar):
    live = app.state.services.live
    async with live.listening(["chain"], None) as events:
        assert len(heard_by(live)) == 1
        await published(app, *[Event("chain", str(n)) for n in range(QUEUE + 50)])
        for _ in range(1000):
            if not heard_by(live):
                break
            await asyncio.sleep(0.02)
        heard = [told async for told in events]
    assert len(heard) < QUEUE, "it is told to go, and comes again to read anew"


def test_topics_are_of_public_things_only():
    assert topics_of(f"{POLICY},chain") == [POLICY, "chain"]
    for topic in (
        "inbox:dana",
        "person:1",
        "policy:",
        "workflow:1",
        "anchor:x",
        "chain ",
        "policy:POL-2026-0001/x",
    ):
        assert not TOPIC.fullmatch(topic)
        with pytest.raises(Invalid):
            topics_of(topic)
    with pytest.raises(Invalid):
        topics_of(",".join(["chain"] * 51))
