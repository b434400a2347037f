"""Policy synthesis as a service: a real one in a process of its own, which is killed and started again."""

from __future__ import annotations

import json
import signal
from collections.abc import Awaitable, Callable, Iterator

import httpx
import msgspec
import pytest
from litestar import Litestar

from portal.auth.tokens import service_token
from portal.settings import Settings
from tests.chat_completions import Server, answering
from tests.portal.a_service import Service, serving
from tests.portal.api.walk import POLICIES, is_problem
from tests.portal.conftest import SECRET
from tests.workflows.synthesis.test_writing import ANSWER
from workflows.constitutional_compliance.consensus import agree
from workflows.constitutional_compliance.findings import Analyser
from workflows.errors import Unavailable
from workflows.kinds import ConsensusStrategy
from workflows.policy_creation.synthesis.drafting import LocalSynthesiser
from workflows.policy_creation.synthesis.gs import Agreeing, Drafting, GsService, Mending
from workflows.policy_creation.synthesis.shapes import Setting, Wish

SignIn = Callable[[str], Awaitable[httpx.AsyncClient]]
WISH = Wish(goal="A member may spend up to 2,000 euros alone, and naps")
ANALYSERS = (
    Analyser("structural", "rules", "1", True, score=0.9, confidence=0.8),
    Analyser("classifier", "head", "1", True, score=0.4, confidence=0.9),
    Analyser("semantic", "embedding", "1", False, why="It is away."),
)


@pytest.fixture(scope="module")
def model() -> Iterator[Server]:
    with answering("no", json.dumps(ANSWER)) as server:
        yield server


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, model: Server) -> Iterator[Service]:
    models = f"writer={model.url}|some/model:7b"
    with serving("gs", tmp_path_factory.mktemp("gs"), LANGUAGE_MODELS=models) as service:
        yield service


@pytest.fixture
def settings(fresh_database: str, valkey_url: str, service: Service) -> Settings:
    return Settings(
        database_url=fresh_database,
        redis_url=valkey_url,
        jwt_secret=SECRET,
        base_url="http://portal.test",
        demo=True,
        gs_service_url=service.url,
    )


async def test_the_service_drafts_and_the_portal_validates(
    app: Litestar, api: SignIn, client: httpx.AsyncClient, service: Service, model: Server
) -> None:
    """The model's first answer is none: the portal has the service mend it."""
    assert isinstance(app.state.services.synthesiser, GsService)
    answer = await (await api("chidi")).post(f"{POLICIES}/synthesise", json={"goal": WISH.goal})
    assert answer.status_code == 200, answer.text
    kinds = {item["drafted"]["source"]["kind"]: item["validation"] for item in answer.json()["candidates"]}
    assert set(kinds) == {"template", "language_model"}
    assert kinds["language_model"]["mended"] == 1 and kinds["language_model"]["rule"] == "passed"
    assert len(model.asked) == 2
    text = (await client.get("/metrics")).text
    assert 'governance_service_requests_total{outcome="answered",service="gs"}' in text
    there = service.metrics()
    assert 'governance_response_time_seconds_count{operation="draft",service="gs"}' in there
    assert 'governance_service_requests_total{outcome="answered",service="language_model:writer"}' in there


async def test_it_drafts_what_this_process_would_draft(service: Service) -> None:
    remote = GsService(service.url, lambda: {"Authorization": f"Bearer {service_token(SECRET, 'gs')}"})
    try:
        there = await remote.draft(WISH, Setting(taken=("spending_limit",)))
        here = await LocalSynthesiser((), None).draft(WISH, Setting(taken=("spending_limit",)))
        assert there.drafted == here.drafted
        for strategy in ConsensusStrategy:
            assert await remote.agree(strategy, ANALYSERS) == agree(strategy, ANALYSERS)
        with pytest.raises(Unavailable, match="404"):
            await remote.mend(WISH, Setting(), "nobody", "", [])
    finally:
        await remote.close()


async def test_while_it_is_away_there_are_no_drafts_and_it_is_said_why(
    app: Litestar, api: SignIn, as_persona: SignIn, service: Service
) -> None:
    service.process.send_signal(signal.SIGKILL)
    service.process.wait()
    chidi = await api("chidi")
    try:
        problem = is_problem(await chidi.post(f"{POLICIES}/synthesise", json={"goal": WISH.goal}), 503)
        assert "gs does not answer" in problem["detail"]
        page = await (await as_persona("chidi")).post("/policies/begin", data={"goal": WISH.goal})
        assert page.status_code == 503 and "gs does not answer" in page.text and WISH.goal in page.text
    finally:
        service.start()
    answer = await chidi.post(f"{POLICIES}/synthesise", json={"goal": WISH.goal})
    assert answer.status_code == 200, answer.text


def test_it_answers_portals_only(service: Service) -> None:
    bodies = {
        "/draft": Drafting(WISH, Setting()),
        "/mend": Mending(WISH, Setting(), "nobody", "", []),
        "/consensus": Agreeing(ConsensusStrategy.MAJORITY_VOTE, list(ANALYSERS)),
    }

    def asked(path: str, body: object, token: str) -> int:
        headers = {"Authorization": f"Bearer {token}"}
        sent = msgspec.msgpack.encode(body)
        return httpx.post(service.url + path, content=sent, headers=headers, timeout=20).status_code

    good = service_token(SECRET, "gs")
    wrong = ("none", service_token(SECRET, "pgc"), service_token("another secret, also long enough", "gs"))
    for path, body in bodies.items():
        assert [asked(path, body, token) for token in wrong] == [401, 401, 401], path
        assert asked(path, ["none of ours"], good) == 400, path
    assert asked("/consensus", bodies["/consensus"], good) == 200
