"""How fast decisions are: the engines by number of rules and data beside a bare engine, and all of it with database and HTTP.

`PERFORMANCE_POLICIES=10000` adds bundles up to that size; without it they go up to 1,000 rules.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import httpx
import rfc8785

from portal.auth.tokens import service_token
from portal.database import begin_unit, create_engine
from portal.settings import VARIABLES
from tests.e2e.running import ROOT, Portal, free_port, wait_until
from tests.performance.measuring import Timings, Wire, at_once, bare_pool, web_process
from tests.performance.test_votes import sign_in
from tests.reliability.house import database_url
from workflows.constitution.document import load
from workflows.errors import Unavailable
from workflows.kinds import DecisionMode
from workflows.policy_enforcement import decisions
from workflows.policy_enforcement.bundle import FORMAT, Bundle, FactInForce, LogPoint, Manifest, revision_of
from workflows.policy_enforcement.combine import RuleInForce, combine
from workflows.policy_enforcement.decisions import Asked
from workflows.policy_enforcement.engines import datalog
from workflows.policy_enforcement.engines.pgc import PgcService
from workflows.policy_enforcement.engines.pool import EnginePool
from workflows.policy_enforcement.engines.rego import RegoRules
from workflows.policy_enforcement.rulebook import Rulebook
from workflows.policy_enforcement.says import Declared
from workflows.roles import Actor, Role

SIZES = [
    size for size in (10, 100, 1_000, 10_000) if size <= int(os.environ.get("PERFORMANCE_POLICIES", 1_000))
]
PEOPLE = 10_000  # data entries: who holds which roles
WORLDS = [(size, PEOPLE) for size in SIZES] + [(SIZES[-1], 100), (SIZES[-1], 100_000)]  # rules, data entries
ROWS = (100, 10_000, 100_000)  # of a relation that a Datalog rule follows
PER_ACTION = 4  # rules that are about one action type
QUESTIONS = 3_000
SECONDS = 3.0
GIVEN_UP = 600.0  # seconds after which a bundle counts as one that is never loaded
SECRET = "a secret of the measurement, long enough for HS256"
ENTRY = 700  # bytes: a decision's audit entry


def rule(number: int) -> tuple[RuleInForce, str]:
    """Every second rule allows by role, the others deny above a limit."""
    name, action = f"r{number}", f"act{number // PER_ACTION}"
    body = (
        f'allow if "role{number % 20}" in data.facts.roles[input.subject.id]\n'
        if number % 2
        else f'deny contains "limit" if input.action.amount > {1000 + number}\n'
    )
    source = f'package policies.{name}\n\nactions := {{"{action}"}}\n\ndefault allow := false\n\n{body}'
    policy, digest = f"POL-2026-{number:05}", hashlib.sha256(source.encode()).hexdigest()
    declared = Declared(name, [action], {}, ["roles"] if number % 2 else [])
    return RuleInForce(policy, 1, digest, "rego", digest, declared), source


def bundle_of(size: int, people: int) -> Bundle:
    made = [rule(number) for number in range(size)]
    roles = {f"p{n}": [f"role{n % 20}", f"role{n % 7}"] for n in range(people)}
    facts = [FactInForce("roles", hashlib.sha256(rfc8785.dumps(roles)).hexdigest())]
    manifest = Manifest(FORMAT, LogPoint(size, ""), [each for each, _ in made], facts)
    sources = {each.policy: source for each, source in made}
    return Bundle(revision_of(manifest), manifest, sources, {"roles": roles})


def questions(size: int, people: int) -> list[dict[str, Any]]:
    dice = random.Random(size)
    return [
        {
            "action": {
                "type": f"act{dice.randrange(max(1, size // PER_ACTION))}",
                "amount": dice.randrange(3_000),
            },
            "subject": {"id": f"p{dice.randrange(people)}"},
            "context": {"now": "2026-11-24T12:00:00Z"},
        }
        for _ in range(QUESTIONS)
    ]


def test_engines_by_size(report: Callable[..., None]) -> None:
    rows = [row for size, people in WORLDS for row in asyncio.run(by_size(size, people))]
    assert len(rows) == 5 * len(WORLDS)
    columns = [
        "rules",
        "data",
        "",
        "per second",
        "of the bare engine",
        "p50 ms",
        "p95 ms",
        "p99 ms",
        "next rule s",
        "next data s",
    ]
    report(f"Rego, {PER_ACTION} rules about each action", columns, rows)


async def by_size(size: int, people: int) -> list[list[str]]:
    """A bare OPA library in this process, asked through its own entrypoint; then ours, one at a time and eight at once; then
    the same over HTTP, by a PGC service.
    """
    bundle, asked = bundle_of(size, people), questions(size, people)
    began = time.perf_counter()
    bare_rules = {each.declared.name: bundle.sources[each.policy] for each in bundle.manifest.rules}
    about = {each.declared.name: each.declared.actions for each in bundle.manifest.rules}
    bare = RegoRules(bare_rules, about, bundle.facts)
    bare_ready = time.perf_counter() - began
    for input in asked[:50]:
        bare._document("acgs.says", input)
    direct = Timings()
    began = time.perf_counter()
    for input in asked:
        before = time.perf_counter()
        bare._document("acgs.says", input)
        direct.each.append(time.perf_counter() - before)
    direct.together = time.perf_counter() - began
    bare.close()

    pool = EnginePool()
    rulebook = Rulebook(pool, None)  # type: ignore[arg-type] – asked with a bundle, it opens no transaction
    await rulebook.said(bundle, asked[:1])
    async with asyncio.timeout(GIVEN_UP):  # the others load it, too, and are free when they have
        while pool.free.qsize() <= pool.size:  # noqa: ASYNC110 – a queue tells nobody that it is full
            await asyncio.sleep(0.1)
    found = [await asking(rulebook, bundle, asked, clients) for clients in (1, 8)]
    following = [bundle_of(size + 1, people), bundle_of(size, people + 1)]
    here = [await until_decided(rulebook, each, asked[:1]) for each in following]
    await pool.close()
    with pgc_service() as url:
        service = PgcService(url, lambda: {"Authorization": f"Bearer {service_token(SECRET, 'pgc')}"})
        away = Rulebook(service, None)  # type: ignore[arg-type]
        await until_decided(away, bundle, asked[:1])
        over_http = [await asking(away, bundle, asked[:1000], clients) for clients in (1, 8)]
        there = [await until_decided(away, each, asked[:1]) for each in following]
        await service.close()
    named = [
        ("bare engine", direct, [bare_ready, bare_ready]),
        ("one at a time", found[0], here),
        ("eight at once", found[1], here),
        ("over HTTP", over_http[0], there),
        ("over HTTP, eight at once", over_http[1], there),
    ]
    return [
        [f"{size:,}", f"{people:,}", name, f"{each.per_second:,.0f}", f"{each.per_second / direct.per_second:.2f}",
         *(f"{each.percentile(percent) * 1000:.2f}" for percent in (50, 95, 99)), *(f"{each:.2f}" for each in seconds)]
        for name, each, seconds in named
    ]  # fmt: skip


async def until_decided(rulebook: Rulebook, bundle: Bundle, asked: list[dict[str, Any]]) -> float:
    """Seconds from a bundle's activation, of which the engines are told, to the first decision under it."""
    began = time.perf_counter()
    preparing = asyncio.create_task(rulebook.engine.prepare(bundle))
    while True:
        try:
            await rulebook.said(bundle, asked)
            break
        except Unavailable:  # fails closed while it loads for longer than a decision waits
            assert time.perf_counter() - began < GIVEN_UP
            await asyncio.sleep(0.1)
    ready = time.perf_counter() - began
    await preparing
    return ready


@contextmanager
def pgc_service() -> Iterator[str]:
    """`python -m portal --service pgc`; its address."""
    url = f"http://127.0.0.1:{free_port()}"
    kept = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    environment = kept | {"PGC_SERVICE_URL": url, "JWT_SECRET": SECRET}
    process = subprocess.Popen(
        [sys.executable, "-m", "portal", "--service", "pgc"], cwd=ROOT, env=environment
    )
    try:
        wait_until(lambda: not answers(url), "the PGC service does not come up")
        yield url
    finally:
        process.terminate()
        process.wait(20)


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def test_datalog_by_data(report: Callable[..., None]) -> None:
    """Delegation in chains of ten: clingo in this process on all the data, and ours on what can matter."""
    rows = [row for count in ROWS for row in delegation(count)]
    assert len(rows) == 2 * len(ROWS)
    columns = ["rows", "", "per second", "of clingo on everything", "p50 ms", "p99 ms", "loaded s"]
    report("Datalog, delegation", columns, rows)


def delegation(count: int) -> list[list[str]]:
    source = (
        'name("sign"). actions("sign").\nmay(P) :- holder(P).\nmay(Q) :- may(P), delegates(P, Q).\n'
        'acts(S) :- input("subject.id", S).\nunder(S) :- acts(S).\nunder(P) :- under(Q), delegates(P, Q).\n'
        "allow :- acts(S), under(P), holder(P).\n"
    )
    pairs = [[f"p{n}", f"p{n + 1}"] for n in range(count) if n % 10 != 9]
    facts = {"delegates": pairs, "holder": [f"p{n}" for n in range(0, count, 10)]}
    began = time.perf_counter()
    compiled = datalog.compile(source, facts)
    loaded = time.perf_counter() - began
    dice = random.Random(count)
    asked = [{"action": {"type": "sign"}, "subject": {"id": f"p{dice.randrange(count)}"}} for _ in range(500)]
    everything = [(name, row) for name, relation in compiled.given.items() for row in relation.rows]

    def whole(input: dict[str, Any]) -> None:
        given = [("input", row) for row in datalog._leaves(input)]
        assert any(atom.name == "allow" for atom in datalog._ground(compiled.text, [*given, *everything]))

    def ours(input: dict[str, Any]) -> None:
        assert datalog.decide(compiled, input).allow

    few = asked[: max(5, 50_000 // count)]
    found = [("clingo on everything", timed(whole, few)), ("ours", timed(ours, asked))]
    base = found[0][1].per_second
    return [
        [f"{count:,}", name, f"{each.per_second:,.0f}", f"{each.per_second / base:,.1f}",
         f"{each.percentile(50) * 1000:.2f}", f"{each.percentile(99) * 1000:.2f}", f"{loaded:.2f}"]
        for name, each in found
    ]  # fmt: skip


def timed(act: Callable[[dict[str, Any]], None], inputs: list[dict[str, Any]]) -> Timings:
    timings, began = Timings(), time.perf_counter()
    for input in inputs:
        before = time.perf_counter()
        act(input)
        timings.each.append(time.perf_counter() - before)
    timings.together = time.perf_counter() - began
    return timings


async def asking(rulebook: Rulebook, bundle: Bundle, asked: list[dict[str, Any]], clients: int) -> Timings:
    """Engine and combining, as a decision has it without its transaction."""
    timings, began = Timings(), time.perf_counter()

    async def client(number: int) -> None:
        for input in asked[number::clients]:
            before = time.perf_counter()
            (said,) = await rulebook.said(bundle, [input])
            combine(bundle.about(input["action"]["type"]), said)
            timings.each.append(time.perf_counter() - before)

    await asyncio.gather(*(client(number) for number in range(clients)))
    timings.together = time.perf_counter() - began
    return timings


def test_decisions(portal: Portal, report: Callable[..., None]) -> None:
    rows: list[list[str]] = []
    for clients in (1, 16):
        layers = asyncio.run(measure(portal, clients))
        bare = layers["INSERT and COMMIT"]
        for name, timings in layers.items():
            ratio = f"{timings.per_second / bare.per_second:.2f}"
            rows.append([name, str(clients), f"{timings.per_second:.0f}", ratio, *timings.cells()])
    assert len(rows) == 8
    columns = ["layer", "at once", "per second", "of the bare INSERT", "p50 ms", "p95 ms", "processor ms"]
    report("Decisions, each in the log before it is answered (the demonstration's rules)", columns, rows)
    status = portal.get("/api/v1/workflows/policy-enforcement/status")
    latency = status["latency_us"]
    report(
        "Engine and combining in these decisions",
        ["p50 ms", "p95 ms", "p99 ms"],
        [[f"{latency[key] / 1000:.2f}" for key in ("p50", "p95", "p99")]],
    )


async def measure(portal: Portal, clients: int) -> dict[str, Timings]:
    pool = await bare_pool(portal.data_dir, clients)
    engine = create_engine(database_url(portal.data_dir))
    row = await pool.fetchrow(
        "SELECT id, username, name, pseudonym FROM person JOIN audit.subject ON person_id = id WHERE 'operator' = ANY(roles)"
    )
    actor = Actor(
        row["id"], row["username"], row["name"], frozenset([Role.OPERATOR]), pseudonym=str(row["pseudonym"])
    )
    (bearer,) = await sign_in(portal, engine, [actor.id])
    wires = [Wire(portal.url) for _ in range(clients)]
    units = partial(begin_unit, engine, constitution=load())
    rulebook = Rulebook(EnginePool(), units)
    await rulebook.prepare()
    kinds = [
        rule["actions"][0] for rule in portal.get("/api/v1/workflows/policy-enforcement/status")["rules"]
    ]
    path = "/api/v1/workflows/policy-enforcement"

    def action(client: int, turn: int) -> dict[str, Any]:
        return {"type": kinds[turn % len(kinds)], "amount": turn % 3_000, "number": client}

    async def insert(client: int, turn: int) -> None:
        await pool.execute("INSERT INTO bare (body) VALUES ($1)", bytes(ENTRY))

    async def core(client: int, turn: int) -> None:
        asked = Asked(action(client, turn), {"id": f"m{turn % 500}"}, mode=DecisionMode.DRY_RUN)
        await decisions.decide(rulebook, partial(units, actor=actor), [asked], actor)

    async def post(client: int, turn: int) -> None:
        body = {"action": action(client, turn), "subject": {"id": f"m{turn % 500}"}, "mode": "dry_run"}
        status, answer = await wires[client].request("POST", path, bearer, body)
        assert status == 200, answer

    async def batch(client: int, turn: int) -> None:
        items = [
            {"action": action(client, n), "subject": {"id": f"m{n}"}, "mode": "dry_run"} for n in range(100)
        ]
        status, answer = await wires[client].request("POST", f"{path}/batch", bearer, {"items": items})
        assert status == 200, answer

    await pool.execute("CREATE TABLE bare (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body bytea)")
    try:
        found, web = {}, web_process(portal.process.pid)
        for name, act, worker in (
            ("INSERT and COMMIT", insert, os.getpid()),
            ("`decisions.decide`", core, os.getpid()),
            ("HTTP API", post, web),
            ("HTTP API, each request a batch of 100", batch, web),
        ):
            await at_once(clients, 0.5, act, worker)
            found[name] = await at_once(clients, SECONDS, act, worker)
        return found
    finally:
        for wire in wires:
            wire.close()
        await pool.execute("DROP TABLE bare")
        await pool.close()
        await rulebook.engine.close()
        await engine.dispose()
