"""Decisions: each is in the log before anyone hears of it, whatever dies; a new bundle decides everywhere at once."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from tests.e2e.running import ROOT, free_port
from tests.reliability import logbook
from tests.reliability.house import House, database_url, vote, votes_path

DECIDE = "/api/v1/workflows/policy-enforcement"
RULE = """package policies.{name}

actions := {{"{name}"}}

reasons := {{"too_much": {{"message": "It is too much.", "severity": "low"}}}}

default allow := false

allow if input.action.amount <= 10

deny contains "too_much" if input.action.amount > 10
"""


def enact(house: House, name: str) -> str:
    """A rule about the action `name` in force; its policy."""
    examples = [
        {"input": {"action": {"type": name, "amount": 1}}, "expect": "allow"},
        {"input": {"action": {"type": name, "amount": 11}}, "expect": "deny"},
    ]
    rule = {"engine": "rego", "source": RULE.format(name=name), "examples": examples}
    body = {
        "title": f"What {name} may be",
        "summary": "It is kept small.",
        "text": "It is at most ten.\n",
        "category": "governance",
        "rule": rule,
    }
    workflow = house.done("chidi", "/api/v1/workflows/policy-creation", body)
    ref = workflow["policy"]["ref"]
    house.complies(ref)
    decision = {
        "decision": "approve",
        "reason": "Clear.",
        "version_sha256": workflow["policy"]["version_sha256"],
    }
    for reviewer in ("dana", "emre"):
        if house.get(f"/api/v1/policies/{ref}").json()["state"] == "in_review":
            house.done(reviewer, workflow["links"]["approve"], decision)
    if house.get(f"/api/v1/policies/{ref}").json()["state"] != "voting":
        house.jump("P10D")  # past a comment period; its end waits for the rule to be judged
        house.until(
            lambda: house.get(f"/api/v1/policies/{ref}").json()["state"] == "voting", "no ballot opens", 150
        )
    for who in ("ada", "ben", "lea", "farah", "gita"):
        house.done(who, votes_path(workflow), vote(workflow, "for"))
    house.jump()
    house.until(
        lambda: house.get(f"/api/v1/policies/{ref}").json()["state"] == "enacted", "it is not enacted"
    )
    return ref


@pytest.fixture(scope="module")
def ruled(house: House) -> House:
    enact(house, "spend")
    return house


@dataclass
class Program:
    """Asks for decisions until it is told to stop; keeps what it was answered."""

    url: str
    token: str
    answers: list[dict[str, Any]] = field(default_factory=list)
    interruptions: int = 0

    def run(self, stop: threading.Event) -> None:
        dice = random.Random(id(self))
        headers = {"Authorization": f"Bearer {self.token}"}
        while not stop.is_set():
            action = {"type": "spend", "amount": dice.randrange(20)}
            try:
                answer = httpx.post(self.url + DECIDE, json={"action": action}, headers=headers, timeout=20)
            except httpx.TransportError:
                self.interruptions += 1
                time.sleep(0.05)
                continue
            if answer.status_code == 200:
                self.answers.append({**answer.json(), "asked": action})
            else:
                assert answer.status_code == 503, answer.text
                self.interruptions += 1


@contextmanager
def deciding(house: House, *urls: str) -> Iterator[list[Program]]:
    stop = threading.Event()
    programs = [Program(url, house.token("jon")) for url in urls or (house.url,) * 4]
    threads = [threading.Thread(target=each.run, args=(stop,)) for each in programs]
    for thread in threads:
        thread.start()
    try:
        yield programs
    finally:
        stop.set()
        for thread in threads:
            thread.join(40)


def engines(house: House) -> list[int]:
    """The processes in which the web's rules run."""
    web = house.pid("web")
    found = subprocess.run(["pgrep", "-P", str(web), "-f", "engines.worker"], capture_output=True, text=True)
    return [int(line) for line in found.stdout.split()]


def whole(house: House, programs: list[Program]) -> None:
    """Every answer that anybody got is a decision that is kept and entered, as it was answered."""
    answers = [answer for each in programs for answer in each.answers]
    assert answers
    ids = [answer["decision_id"] for answer in answers]
    kept = {
        str(row["id"]): row["outcome"]
        for row in house.rows("SELECT id, outcome FROM decision WHERE id = ANY($1::uuid[])", ids)
    }
    assert [answer["decision"] for answer in answers] == [kept.get(id) for id in ids]
    entered = house.rows(
        "SELECT subject, count(*) AS n FROM audit.entry WHERE type = 'decision.made' AND subject = ANY($1) GROUP BY subject",
        [f"decision:{id}" for id in ids],
    )
    assert Counter({row["subject"]: row["n"] for row in entered}) == Counter(f"decision:{id}" for id in ids)
    logbook.is_whole(house)


@pytest.mark.parametrize("victim", ["web", "postgres"])
def test_no_answered_decision_is_lost(ruled: House, victim: str) -> None:
    with deciding(ruled) as programs:
        for _ in range(2):
            time.sleep(1.5)
            ruled.kill(victim)
            ruled.until(ruled.ready, f"it does not come back from without {victim}")
        time.sleep(1.5)
    assert any(each.interruptions for each in programs)
    ruled.comes_back(from_without=victim)
    whole(ruled, programs)
    for answer in (answer for each in programs for answer in each.answers):
        assert answer["decision"] in ("deny", "allow" if answer["asked"]["amount"] <= 10 else "deny")


def test_an_engine_that_is_killed_allows_nothing_and_is_replaced(ruled: House) -> None:
    with deciding(ruled) as programs:
        time.sleep(1)
        for _ in range(6):
            for pid in engines(ruled)[:2]:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.7)
        ruled.until(lambda: engines(ruled), "no engine is started again")
        time.sleep(2)
        told = [len(each.answers) for each in programs]
        time.sleep(1)
    whole(ruled, programs)
    last = [answer for each, n in zip(programs, told, strict=True) for answer in each.answers[n:]]
    for answer in last:
        assert answer["decision"] == ("allow" if answer["asked"]["amount"] <= 10 else "deny"), answer
    for answer in (answer for each in programs for answer in each.answers):
        codes = {reason["code"] for reason in answer["reasons"]}
        assert answer["decision"] == "deny" or codes == {"allowed"}
        assert codes <= {"allowed", "too_much", "engine_away"}, answer


@contextmanager
def another_web(house: House) -> Iterator[str]:
    """A second web process on the same database and Valkey; its address."""
    port = free_port()
    environment = house.environment() | {
        "GOVERNANCE_WORKFLOWS_PORT": str(port),
        "DATABASE_URL": database_url(house.data_dir),
        "REDIS_URL": _valkey(house),
        "DEMO": "true",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "portal", "web"], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{port}"
    try:
        house.until(lambda: httpx.get(f"{url}/readyz", timeout=5).status_code == 200, "no second web")
        yield url
    finally:
        process.terminate()
        process.wait(20)


def _valkey(house: House) -> str:
    """Its address, from the environment of the process that uses it."""
    pid = house.pid("web")
    with open(f"/proc/{pid}/environ", "rb") as file:
        pairs = dict(item.split(b"=", 1) for item in file.read().split(b"\0") if b"=" in item)
    return pairs[b"REDIS_URL"].decode()


def after(seconds: float, condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


def test_two_instances_never_decide_by_different_bundles(ruled: House) -> None:
    """From the moment an answer carries the new revision, no later question is answered under the old one, anywhere."""
    with another_web(ruled) as second, deciding(ruled, ruled.url, second, ruled.url, second) as programs:
        assert after(20, lambda: all(each.answers for each in programs))
        before = programs[0].answers[-1]["bundle"]["revision"]
        fact = {"value": [[f"row {time.time()}", "x"]]}
        headers = {"Authorization": f"Bearer {ruled.token('jon')}"}
        answer = httpx.put(
            f"{ruled.url}/api/v1/enforcement/facts/rows", json=fact, headers=headers, timeout=20
        )
        assert answer.is_success
        new = answer.json()["revision"]
        known = [len(each.answers) for each in programs]
        time.sleep(2)
    assert new != before
    for each, n in zip(programs, known, strict=True):
        # One question was on its way when the bundle was activated.
        assert {item["bundle"]["revision"] for item in each.answers[n + 1 :]} == {new}
        assert len(each.answers) > n + 1
        assert {item["decision"] for item in each.answers[n + 1 :]} <= {"allow", "deny"}
        assert all(item["reasons"][0]["code"] != "engine_away" for item in each.answers[n + 1 :])
