"""How many votes a second one instance takes, and what each layer costs beside the least a durable vote could cost.

The least is one INSERT of one row of the size of an audit entry, committed, on the same database in the same run.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx

from portal.auth import sessions
from portal.auth.tokens import issue
from portal.database import begin_unit, create_engine
from tests.conftest import arranged
from tests.e2e.running import Portal
from tests.judging import settle_from_outside
from tests.performance.measuring import Timings, Wire, at_once, bare_pool, web_process
from tests.reliability.house import database_url
from workflows.constitution.document import load
from workflows.kinds import Choice
from workflows.policy_creation import ballots
from workflows.roles import Actor, Role

SECONDS = 4.0
CLIENTS = (1, 16)
ENTRY = 600  # bytes: a vote's audit entry


def test_votes(portal: Portal, report: Callable[..., None]) -> None:
    ref, digest = open_ballot(portal)
    rows: list[list[str]] = []
    for clients in CLIENTS:
        bare, core, http = asyncio.run(measure(portal, ref, digest, clients))
        for name, timings in (
            ("INSERT and COMMIT", bare),
            ("`ballots.cast`", core),
            ("HTTP API", http),
        ):
            ratio = f"{timings.per_second / bare.per_second:.2f}"
            rows.append([name, str(clients), f"{timings.per_second:.0f}", ratio, *timings.cells()])
        assert len(core.each) + len(http.each) > 0
    counted = portal.get(f"/api/v1/policies/{ref}/ballot")
    assert counted["state"] == "open"
    columns = ["layer", "at once", "per second", "of the bare INSERT", "p50 ms", "p95 ms", "processor ms"]
    report("Votes", columns, rows)


def open_ballot(portal: Portal) -> tuple[str, str]:
    """A policy of low risk, submitted and approved: its reference, and the hash that votes name."""
    with httpx.Client(base_url=portal.url, timeout=30) as client:

        def send(who: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
            token = client.post(
                "/api/v1/auth/token", json={"username": who, "password": "demo"}
            ).raise_for_status()
            bearer = {"Authorization": f"Bearer {token.json()['access_token']}"}
            return client.post(path, json=body, headers=bearer).raise_for_status().json()

        draft = {
            "title": "Correct the spelling of the office hours notice",
            "summary": "The notice at the door says “Wendesday”.",
            "text": "The notice is corrected to say “Wednesday”.\n",
            "category": "governance",
        }
        workflow = send("chidi", "/api/v1/workflows/policy-creation", draft)
        digest = workflow["policy"]["version_sha256"]
        settle_from_outside(
            lambda path: client.get(path).raise_for_status().json(), send, workflow["policy"]["ref"]
        )
        approval = {"decision": "approve", "reason": "It is clear.", "version_sha256": digest}
        send("dana", workflow["links"]["approve"], approval)
    return workflow["policy"]["ref"], digest


async def measure(portal: Portal, ref: str, digest: str, clients: int) -> tuple[Timings, Timings, Timings]:
    pool = await bare_pool(portal.data_dir, clients)
    engine = create_engine(database_url(portal.data_dir))
    constitution = load()
    members = await pool.fetch(
        "SELECT id, username, name, pseudonym FROM person JOIN audit.subject ON person_id = id "
        "WHERE 'member' = ANY(roles) AND active"
    )
    actors = [
        Actor(
            row["id"],
            row["username"],
            row["name"],
            frozenset([Role.MEMBER]),
            pseudonym=str(row["pseudonym"]),
        )
        for row in members
    ]
    bearers = await sign_in(portal, engine, [row["id"] for row in members])
    wires = [Wire(portal.url) for _ in range(clients)]

    def turn_of(client: int, turn: int) -> int:
        """Each client has members of its own: nobody waits for another's row."""
        return (client + turn * clients) % (len(actors) - len(actors) % clients)

    async def insert(client: int, turn: int) -> None:
        await pool.execute("INSERT INTO bare (body) VALUES ($1)", bytes(ENTRY))

    async def cast(client: int, turn: int) -> None:
        actor = actors[turn_of(client, turn)]
        async with begin_unit(engine, constitution=constitution, actor=actor) as unit:
            await ballots.cast(unit, ref, list(Choice)[turn % 3], digest)

    async def post(client: int, turn: int) -> None:
        body = {"choice": list(Choice)[turn % 3], "version_sha256": digest}
        path = f"/api/v1/policies/{ref}/ballot/votes"
        status, answer = await wires[client].request("POST", path, bearers[turn_of(client, turn)], body)
        assert status == 201, answer

    await pool.execute("CREATE TABLE bare (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body bytea)")
    try:
        found = []
        web = web_process(portal.process.pid)
        for act, worker in ((insert, os.getpid()), (cast, os.getpid()), (post, web)):
            await at_once(clients, 0.5, act, worker)  # connections, plans and caches are made
            found.append(await at_once(clients, SECONDS, act, worker))
        return found[0], found[1], found[2]
    finally:
        for wire in wires:
            wire.close()
        await pool.execute("DROP TABLE bare")
        await pool.close()
        await engine.dispose()


async def sign_in(portal: Portal, engine: Any, people: list[UUID]) -> list[dict[str, str]]:
    """An Authorization header for each; the sessions are made in the database, as signing in costs a password hash."""
    secret, day = (portal.data_dir / "jwt.secret").read_text().strip(), timedelta(days=1)
    headers = []
    async with engine.begin() as connection:
        await arranged(connection)
        for person in people:
            session = await sessions.create(connection, person, "bearer", day)
            headers.append({"Authorization": f"Bearer {issue(secret, session, person, 'api', day)}"})
    return headers
