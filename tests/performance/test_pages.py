"""How long the public pages take, and how many statements each asks of the database."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import httpx

from portal.app import create_app
from portal.settings import Settings
from tests.e2e.running import Portal
from tests.performance.measuring import Timings, Wire, at_once, web_process
from tests.portal.statements import counted
from tests.reliability.house import database_url

SECONDS = 3.0
WARM_UP = 0.5


def test_public_pages(portal: Portal, report: Callable[..., None]) -> None:
    closed = portal.get("/api/v1/policies", state="enacted", limit=1)["items"][0]["ref"]
    own = f"/policies/{closed}"
    names = {
        "/": "/",
        "/policies": "/policies",
        own: "/policies/{ref}",
        f"{own}/results": "/policies/{ref}/results",
        f"{own}/timeline": "/policies/{ref}/timeline",
        "/constitution": "/constitution",
        "/chain": "/chain",
    }
    timed = asyncio.run(latencies(portal, list(names)))
    asked = asyncio.run(statements(portal, list(names)))
    rows = [
        [f"`{names[path]}`", f"{size / 1024:.0f}", *timings.cells(), str(len(asked[path]))]
        for path, (timings, size) in timed.items()
    ]
    columns = ["page", "KiB", "p50 ms", "p95 ms", "processor ms", "SQL statements"]
    report("Public pages, one visitor", columns, rows)


async def latencies(portal: Portal, paths: list[str]) -> dict[str, tuple[Timings, int]]:
    """For each page its timings over one connection, and its size in bytes, uncompressed."""
    found = {}
    web, wire = web_process(portal.process.pid), Wire(portal.url)
    for path in paths:
        sizes: list[int] = []

        async def visit(client: int, turn: int, path: str = path, sizes: list[int] = sizes) -> None:
            status, body = await wire.request("GET", path)
            assert status == 200, path
            sizes.append(len(body))

        await at_once(1, WARM_UP, visit, web)
        found[path] = await at_once(1, SECONDS, visit, web), sizes[-1]
    wire.close()
    return found


async def statements(portal: Portal, paths: list[str]) -> dict[str, list[str]]:
    """What each page asks, told by an application of our own on the portal's servers; BEGIN and COMMIT not counted."""
    settings = Settings(
        database_url=database_url(portal.data_dir),
        redis_url=f"unix://{portal.data_dir / 'valkey' / 'valkey.sock'}",
        jwt_secret="a secret of the tests, long enough for HS256",
        demo=True,
    )
    app, found = create_app(settings), {}
    async with app.lifespan():
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            for path in paths:
                with counted() as asked:
                    assert (await client.get(path)).status_code == 200
                assert asked, path
                found[path] = list(asked)
    return found
