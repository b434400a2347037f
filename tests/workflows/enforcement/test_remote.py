"""Engines elsewhere: the circuit breaker, and an OPA server that pulled the bundle which the portal makes for it."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import tarfile
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest
from opa_bindings import OpaEngine
from opa_bindings.engine import OpaError, OpaUndefinedError

from tests.workflows.enforcement.conftest import GRANTS, TREASURY, Enforcing, grant, rego
from workflows.errors import Unavailable
from workflows.kinds import Outcome
from workflows.policy_creation.views import RuleDraft
from workflows.policy_enforcement import opa_bundle
from workflows.policy_enforcement.bundle import FORMAT, Bundle, LogPoint, Manifest, revision_of
from workflows.policy_enforcement.combine import RuleInForce
from workflows.policy_enforcement.engines.opa import OpaServer
from workflows.policy_enforcement.engines.pgc import PgcService
from workflows.policy_enforcement.engines.pool import EnginePool
from workflows.policy_enforcement.engines.remote import FAILURES, PAUSE, Breaker, Remote
from workflows.policy_enforcement.engines.worker import Question
from workflows.policy_enforcement.says import Declared


def test_a_breaker_opens_after_failures_in_a_row_and_lets_one_try() -> None:
    now = 0.0
    breaker = Breaker(lambda: now)
    for _ in range(FAILURES - 1):
        breaker.failed()
    breaker.succeeded()
    for _ in range(FAILURES - 1):
        breaker.failed()
        assert breaker.admits()
    breaker.failed()
    assert not breaker.admits()
    now = PAUSE
    assert breaker.admits() and not breaker.admits(), "one tries, the others are refused"
    breaker.failed()
    assert not breaker.admits()
    now = 2 * PAUSE
    assert breaker.admits()
    breaker.succeeded()
    assert breaker.admits() and breaker.admits()


async def test_a_server_that_is_away_is_not_asked_for_ever() -> None:
    seen: list[str] = []
    remote = Remote("nobody", "http://127.0.0.1:9", observe=lambda _, outcome, __: seen.append(outcome))
    for _ in range(FAILURES + 3):
        with pytest.raises(Unavailable) as away:
            await remote.post("/", 1.0)
    assert seen == ["failed"] * FAILURES + ["refused"] * 3
    assert "in a row" in away.value.detail
    await remote.close()


class Opa:
    """What an OPA server does for us, over the same library as OPA's own server: `pulled` bundles, `/v1/data`.

    There is no OPA binary on this machine. Bundle format, data API and provenance follow openpolicyagent.org.
    """

    def __init__(self) -> None:
        self.engine = OpaEngine()
        self.revision = ""
        self.hanging = threading.Event()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def pull(self, packed: bytes) -> None:
        engine = OpaEngine()
        with tarfile.open(fileobj=io.BytesIO(gzip.decompress(packed))) as tar:
            files = {item.name: tar.extractfile(item).read() for item in tar}  # type: ignore[union-attr]
        manifest = json.loads(files.pop("/.manifest"))
        data = json.loads(files.pop("/data.json"))
        assert set(data) <= set(manifest["roots"])
        engine.add_data(data)
        for name, source in files.items():
            package = source.decode().split("package ", 1)[1].split("\n", 1)[0]
            assert package.split(".")[0] in manifest["roots"]
            engine.add_policy(name, source.decode())
        self.engine, self.revision = engine, manifest["revision"]

    def close(self) -> None:
        self.hanging.set()
        self.server.shutdown()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        opa = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                path = self.path.removeprefix("/v1/data/").split("?")[0]
                asked = body["input"].get("input", body["input"])
                if asked["action"]["type"] == "wait":
                    opa.hanging.wait(2)
                status, answer = 200, {}
                try:
                    answer["result"] = opa.engine.eval_document(path.replace("/", "."), body["input"])
                except OpaUndefinedError:
                    pass
                except OpaError as error:
                    status, answer = 500, {"errors": [{"message": str(error)}]}
                if status == 200:
                    answer["provenance"] = {"bundles": {"acgs": {"revision": opa.revision}}}
                sent = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(sent)))
                self.end_headers()
                self.wfile.write(sent)

            def log_message(self, *_: Any) -> None:
                pass

        return Handler


class Stranger(BaseHTTPRequestHandler):
    """Something else at the address that was configured; the last part of the path says what it answers."""

    answer: ClassVar[tuple[int, bytes]] = (200, b"")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        status, body = self.answer
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.mark.parametrize(
    "answer",
    [
        (200, b"<html>Welcome</html>"),
        (200, b""),
        (200, b"[]"),
        (200, b"null"),
        (200, b'{"result": "yes"}'),
        (200, b'{"result": {}, "provenance": {"bundles": []}}'),
        (200, b"\x90"),  # msgpack: a list of nothing
        (200, b"\x91\xc3"),
        (404, b"<html>Not here</html>"),
        (401, b"{}"),
        (500, b"<html>Oh no</html>"),
        (502, b"<html>Bad gateway</html>"),
    ],
)
@pytest.mark.parametrize("kind", ["opa", "pgc"])
async def test_what_answers_otherwise_allows_nothing_and_says_so(
    kind: str, answer: tuple[int, bytes], pool: EnginePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workflows.policy_enforcement.engines.opa.CATCHING_UP", 0.1)
    handler = type("Handler", (Stranger,), {"answer": answer})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    engine = OpaServer(url, pool) if kind == "opa" else PgcService(url)
    rule = RuleInForce("P", 1, "0" * 64, "rego", "0" * 64, Declared("p", ["a"]))
    manifest = Manifest(FORMAT, LogPoint(0, ""), [rule], [])
    bundle = Bundle(revision_of(manifest), manifest, {"P": ""}, {})
    with pytest.raises(Unavailable):
        await engine.ask(bundle, [Question(["P"], {"action": {"type": "a"}})])
    await engine.remote.close()
    server.shutdown()


@pytest.fixture
def opa() -> Iterator[Opa]:
    server = Opa()
    yield server
    server.close()


@pytest.fixture
async def by_opa(enforcing: Enforcing, opa: Opa, pool: EnginePool) -> AsyncIterator[Enforcing]:
    """Two rules in force, one of them in Datalog; Rego is asked of the OPA server from here on."""
    await enforcing.enact(rego(), title="Grants")
    payment = {"action": {"type": "payment", "amount": 100, "signed": ["a"]}}
    rule = RuleDraft("datalog", TREASURY, [{"input": payment, "expect": "deny"}])
    await enforcing.enact(rule, title="Payments")
    server = OpaServer(opa.url, pool)
    enforcing.rulebook.engine = server
    yield enforcing
    await server.remote.close()


async def packed(e: Enforcing) -> bytes:
    """The active bundle as a server pulls it."""
    return opa_bundle.archive(await e.rulebook.load(await e.rulebook.look()))


async def test_an_opa_server_decides_like_our_own_processes(by_opa: Enforcing, opa: Opa) -> None:
    opa.pull(await packed(by_opa))
    ruling = await by_opa.decide(grant(1500))
    assert ruling.decided.outcome == Outcome.CONDITIONAL_ALLOW, ruling.decided.reasons
    assert [item.id for item in ruling.decided.obligations] == ["report"]
    assert await by_opa.outcome(grant(500)) == Outcome.ALLOW
    assert await by_opa.outcome(grant(500, "m1", "m2", "m9")) == Outcome.DENY
    payment = {"action": {"type": "payment", "amount": 100, "signed": ["a"]}}
    assert await by_opa.outcome(payment) == Outcome.DENY, "by Datalog, in our own process"


async def test_another_bundle_than_the_active_one_decides_nothing(by_opa: Enforcing, opa: Opa) -> None:
    opa.pull(await packed(by_opa))
    opa.revision = "0" * 64
    ruling = await by_opa.decide(grant(500))
    assert ruling.decided.outcome == Outcome.DENY
    assert ruling.decided.reasons[0].code == "engine_away"
    assert "has not loaded the active bundle" in ruling.decided.reasons[0].text


async def test_a_server_that_comes_to_the_active_bundle_is_waited_for(by_opa: Enforcing, opa: Opa) -> None:
    async def later() -> None:
        await asyncio.sleep(0.2)
        opa.pull(await packed(by_opa))

    coming = asyncio.create_task(later())
    assert await by_opa.outcome(grant(500)) == Outcome.ALLOW
    await coming


async def test_an_opa_server_that_is_gone_allows_nothing(by_opa: Enforcing, opa: Opa) -> None:
    opa.pull(await packed(by_opa))
    opa.server.shutdown()
    opa.server.server_close()
    ruling = await by_opa.decide(grant(500))
    assert (ruling.decided.outcome, ruling.decided.reasons[0].code) == (Outcome.DENY, "engine_away")


async def test_a_rule_that_is_slow_there_harms_no_other(by_opa: Enforcing, opa: Opa) -> None:
    source = (
        'package policies.slow\n\nactions := {"wait"}\n\ndefault allow := false\n\nallow if input.action.x\n'
    )
    slow = RuleDraft("rego", source, [{"input": {"action": {"type": "wait", "x": True}}, "expect": "allow"}])
    by_opa.rulebook.engine, own = by_opa.rulebook.engine.pool, by_opa.rulebook.engine  # type: ignore[attr-defined]
    await by_opa.enact(slow, title="Waiting")
    by_opa.rulebook.engine = own
    opa.pull(await packed(by_opa))
    ruling = await by_opa.decide({"action": {"type": "wait", "x": True}})
    assert ruling.decided.outcome == Outcome.DENY
    assert "did not answer in time" in ruling.decided.reasons[0].text
    assert await by_opa.outcome(grant(500)) == Outcome.ALLOW


async def test_the_same_bundle_is_the_same_bytes(by_opa: Enforcing) -> None:
    body, bundle = await packed(by_opa), await by_opa.rulebook.current()
    assert body == await packed(by_opa)
    with tarfile.open(fileobj=io.BytesIO(body), mode="r:gz") as tar:
        files = {item.name: tar.extractfile(item).read() for item in tar}  # type: ignore[union-attr]
    assert files["/rules/grants.rego"] == GRANTS.encode(), "the voted bytes"
    assert json.loads(files["/.manifest"])["revision"] == bundle.revision


@pytest.mark.parametrize(
    "input, allowed",
    [
        (grant(500), True),
        (grant(5000), False),
        (grant(500, "m1", "m2", "m9"), False),
        ({"action": {"type": "payment", "amount": 1}}, False),
        ({"action": {"type": "unheard"}}, False),
    ],
)
async def test_asked_directly_the_server_allows_no_more_than_we_do(
    by_opa: Enforcing, opa: Opa, input: dict[str, Any], allowed: bool
) -> None:
    """`data.acgs.allow`, for who takes yes or no: what Datalog rules are about is denied there."""
    opa.pull(await packed(by_opa))
    assert opa.engine.eval_document("acgs.allow", input) is allowed
