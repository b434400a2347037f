"""Constitutional analysis as a service: a real one in a process of its own, which is killed, stopped and started again."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Iterator

import httpx
import msgspec
import pytest

from portal.auth.tokens import service_token
from portal.telemetry import Metrics
from tests.portal.a_service import Service, serving
from tests.portal.conftest import SECRET
from workflows.constitution.document import load
from workflows.constitutional_compliance.analysis import LocalJudge
from workflows.constitutional_compliance.corpus import shipped_fit_part
from workflows.constitutional_compliance.embedding import packaged
from workflows.constitutional_compliance.findings import Result, Subject
from workflows.constitutional_compliance.heads import Heads, fit
from workflows.constitutional_compliance.models import WORDS, NoHeads
from workflows.constitutional_compliance.service import AcService, Judging
from workflows.errors import Unavailable
from workflows.kinds import RuleEngine, Strategy

pytestmark = pytest.mark.anyio
CONSTITUTION = load()
HARMLESS = Subject(
    "Minutes", "Minutes of each meeting are published within three days. Decisions stand on top."
)
HARMFUL = Subject("Ballots", "A ballot is open for two days. The quorum of a ballot is five per cent.")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving("ac", tmp_path_factory.mktemp("ac")) as service:
        yield service


class Refitted(NoHeads):
    """A HeadStore with heads for words alone, and for the packaged embedder where `both`."""

    def __init__(self, **heads: Heads) -> None:
        self.heads = heads

    async def active(self, embedder: str) -> str | None:
        return self.heads[embedder].sha256 if embedder in self.heads else None

    async def body(self, sha256: str) -> bytes:
        return next(heads.to_bytes() for heads in self.heads.values() if heads.sha256 == sha256)


def client(
    service: Service, store: NoHeads | None = None, secret: str = SECRET, metrics: Metrics | None = None
) -> AcService:
    return AcService(
        service.url,
        (packaged().name, WORDS),
        store or NoHeads(),
        None,
        lambda: {"Authorization": f"Bearer {service_token(secret, 'ac')}"},
        metrics.observe_service if metrics else None,
    )


@pytest.fixture
async def judge(service: Service) -> AsyncIterator[AcService]:
    judge = client(service)
    yield judge
    await judge.close()


async def test_it_judges_as_the_portal_itself_would(judge: AcService) -> None:
    rule = Subject("A rule", "It is a rule.", rule_engine=RuleEngine.REGO, rule_source="package nonsense")
    here = LocalJudge()
    for level in (Strategy.STANDARD, Strategy.ENHANCED_VALIDATION):
        there = await judge.judge(CONSTITUTION, [HARMLESS, HARMFUL, rule], level=level)
        ours = await here.judge(CONSTITUTION, [HARMLESS, HARMFUL, rule], level=level)
        for one, other in zip(there, ours, strict=True):
            assert isinstance(one, Result) and isinstance(other, Result)
            assert (one.verdict, one.why, one.basis_sha256) == (other.verdict, other.why, other.basis_sha256)
            assert one.score == pytest.approx(other.score) and len(one.findings) == len(other.findings)
        behaviour = there[2].analysers[3]
        assert ("cannot be run" in behaviour.why) == (level != Strategy.STANDARD), "it has engines of its own"
    assert await judge.basis(CONSTITUTION) == await here.basis(CONSTITUTION)
    assert await judge.stands(CONSTITUTION, await here.basis(CONSTITUTION))
    assert [item.name for item in await judge.describe()] == [item.name for item in await here.describe()]


async def test_it_uses_heads_that_a_portal_hands_over(service: Service) -> None:
    few = [clause for place, clause in enumerate(shipped_fit_part()) if place % 20 == 0]
    heads = fit(few, packaged(), vectors=packaged().embed([clause.text for clause in few]))
    judge = client(service, Refitted(**{packaged().name: heads}))
    (result,) = await judge.judge(CONSTITUTION, [HARMLESS])
    assert isinstance(result, Result)
    assert heads.sha256[:12] in next(item.model for item in result.analysers if item.name == "classifier")
    plain = client(service)
    assert await plain.basis(CONSTITUTION) != await judge.basis(CONSTITUTION) == result.basis_sha256
    await plain.close()
    await judge.close()


async def test_killed_it_judges_nothing_and_back_it_judges_again(service: Service) -> None:
    metrics = Metrics()
    judge = client(service, metrics=metrics)
    (before,) = await judge.judge(CONSTITUTION, [HARMLESS])
    service.send(signal.SIGKILL)
    for _ in range(7):
        with pytest.raises(Unavailable) as refusal:
            await judge.judge(CONSTITUTION, [HARMLESS])
    assert "in a row" in refusal.value.detail, "by now nobody waits for it"
    service.start()
    deadline = time.monotonic() + 60
    while True:
        try:
            (after,) = await judge.judge(CONSTITUTION, [HARMLESS])
            break
        except Unavailable:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.3)
    assert isinstance(before, Result) and isinstance(after, Result)
    assert (before.verdict, before.score) == (after.verdict, after.score)
    counted = metrics.registry.get_sample_value
    assert counted("governance_service_requests_total", {"service": "ac", "outcome": "answered"}) >= 2
    assert counted("governance_service_requests_total", {"service": "ac", "outcome": "failed"}) == 5
    await judge.close()


async def test_it_answers_no_stranger(service: Service) -> None:
    stranger = client(service, secret="another secret, which is also long enough")
    with pytest.raises(Unavailable, match="401"):
        await stranger.judge(CONSTITUTION, [HARMLESS])
    await stranger.close()


def test_it_answers_portals_only(service: Service) -> None:
    good = {"Authorization": f"Bearer {service_token(SECRET, 'ac')}"}
    wrong = {"Authorization": f"Bearer {service_token(SECRET, 'pgc')}"}
    body = msgspec.msgpack.encode(Judging(CONSTITUTION.body, {}))
    for path in ("/judge", "/basis", "/stands", "/describe", f"/heads/{'a' * 64}"):
        for headers in ({}, wrong):
            assert httpx.post(service.url + path, content=body, headers=headers).status_code == 401, path
    assert httpx.post(f"{service.url}/judge", content=b"\xc1", headers=good).status_code == 400
    many = msgspec.msgpack.encode(Judging(CONSTITUTION.body, {}, [HARMLESS] * 501, [], [[]] * 501))
    assert httpx.post(f"{service.url}/judge", content=many, headers=good).status_code == 400
    unknown = msgspec.msgpack.encode(Judging(CONSTITUTION.body, {WORDS: "b" * 64}, [HARMLESS], [], [[]]))
    assert httpx.post(f"{service.url}/judge", content=unknown, headers=good).status_code == 409
    metrics = httpx.get(f"{service.url}/metrics").text
    assert 'governance_response_time_seconds_count{operation="judge",service="ac"}' in metrics


async def test_heads_under_another_name_are_not_used(service: Service) -> None:
    class Lying(Refitted):
        async def active(self, embedder: str) -> str | None:
            return "c" * 64 if embedder == packaged().name else None

        async def body(self, sha256: str) -> bytes:
            return b"none of ours"

    judge = client(service, Lying())
    with pytest.raises(Unavailable):
        await judge.judge(CONSTITUTION, [HARMLESS])
    await judge.close()
