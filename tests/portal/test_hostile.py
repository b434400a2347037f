"""Whatever is sent, wherever: the answer is never a 5xx. Every route, hostile in address, query, headers and body."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import httpx
import pytest
from litestar import Litestar

from portal.settings import Settings

SignIn = Callable[[str], Awaitable[httpx.AsyncClient]]

# The portal's own: other tests add routes to the same application, some of which fail on purpose.
ROUTES = {line[7:] for line in (Path(__file__).parents[1] / "routes.txt").read_text().splitlines()}
UUID = "01a20824-bb5b-77a1-96f8-f56de625dd2d"
VALUES = {
    "str": [
        "POL-2026-0001",
        "%00",
        "%ED%A0%80",
        "'%20OR%201=1--",
        "x" * 3000,
        "..%2f..%2f",
        "%F0%9F%92%A9",
        "-1",
    ],
    "uuid": [UUID, "%00", "0", "not-one"],
    "path": ["0/000", "entries/x%00/000", "63/" + "x999/" * 300 + "999", "..%2f..%2f", "%ED%A0%80/000"],
    "int": ["1", "0", "-1", "99999999999999999999", "٧", "1e9", "%00"],
}
QUERIES = [
    "q=%00&cursor=%00&limit=0",
    "limit=99999999999999999999&cursor=" + "A" * 600,
    "cursor=%ED%A0%80&state=nothing&category=%FF&strategy[]=x",
    "from=-1&to=99999999999&next=%0d%0aSet-Cookie:x=1",
    "from=a&to=b&limit=1e3&q=" + "%25" * 300,
    "version=0&from=1&to=1&topics=chain&cursor=eyJ4IjoxfQ",
]
BODIES = [
    b"",
    b"null",
    b"[]",
    b'{"a": NaN}',
    b'{"title": "\\u0000", "summary": 1, "text": [], "category": "x", "choice": {}, "advance": "P1D"}',
    json.dumps(
        {
            "title": "t" * 300,
            "summary": "s",
            "text": "x\ud83d\ude00" * 3,
            "category": "safety",
            "rule": {"engine": "rego", "source": "", "examples": [1]},
            "reason": "\x7f" * 10,
            "version_sha256": "0" * 64,
            "decision": "approve",
            "choice": "for",
            "body": "b",
            "reply_to": UUID,
        }
    ).encode(),
]
FORMS = [
    b"",
    b"title=%00&text=%00",
    b"title=a&summary=b&text=c&category=none&priority=none&risk_strategy=none&rule_engine=x&do=submit",
    b"choice=for&version_sha256=x&decision=approve&reason=&body=%ED%A0%80&revision=99999999999999999999",
    b"advance=P9999999999D&username=%00&theme=%00&next=//x&days=99999999999999999999&scopes=x&name="
    + b"n" * 500,
]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.with_(rate_limit_act=1_000_000, rate_limit_read=1_000_000, rate_limit_sign_in=1_000_000)


def addresses(application: Litestar, method: str) -> Iterator[tuple[str, bool]]:
    """Every route that takes `method`, first with harmless values (True), then with each hostile one in its place."""
    for route in application.routes:
        if method not in route.methods or route.path not in ROUTES or route.path.startswith("/static"):
            continue
        slots = re.findall(r"\{\w+:(\w+)\}", route.path)
        harmless = iter([VALUES[slot][0] for slot in slots])
        yield re.sub(r"\{\w+:\w+\}", lambda _: next(harmless), route.path), True  # noqa: B023
        for position in range(len(slots)):
            for value in VALUES[slots[position]][1:]:
                filled = iter(value if i == position else VALUES[slot][0] for i, slot in enumerate(slots))
                yield re.sub(r"\{\w+:\w+\}", lambda _: next(filled), route.path), False  # noqa: B023


async def test_no_address_and_no_query_is_our_fault(app: Litestar, as_persona: SignIn, api: SignIn):
    browser, program = await as_persona("chidi"), await api("chidi")
    wrong = []
    for address, harmless in addresses(app, "GET"):
        if address in ("/api/v1/events", "/readyz"):
            continue  # goes on for ever; says 503 of itself where it must
        client = program if address.startswith("/api/") else browser
        for query in ["", *QUERIES] if harmless else [""]:
            answer = await client.get(f"{address}?{query}" if query else address)
            if answer.status_code >= 500 and answer.status_code != 503:
                wrong.append((answer.status_code, address[:80], query[:60]))
    assert not wrong


async def test_no_body_is_our_fault(app: Litestar, as_persona: SignIn, api: SignIn):
    wrong = []
    for who in ("farah", "jon"):
        browser, program = await as_persona(who), await api(who)
        for method in ("POST", "PUT", "DELETE"):
            for address, harmless in addresses(app, method):
                of_api = address.startswith("/api/")
                kind = "application/json" if of_api else "application/x-www-form-urlencoded"
                for body in (BODIES if of_api else FORMS)[0 if harmless else -1 :]:
                    headers = {"Content-Type": kind, "If-Match": '"1"'}
                    client = program if of_api else browser
                    if address in ("/logout", "/api/v1/auth/revoke"):
                        continue  # would end the walk
                    answer = await client.request(method, address, content=body, headers=headers)
                    if answer.status_code >= 500 and answer.status_code != 503:
                        wrong.append((answer.status_code, method, address[:80], body[:60]))
    assert not wrong
