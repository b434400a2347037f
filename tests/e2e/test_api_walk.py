"""The main job as programs do it: over HTTP with bearer tokens, from a draft to a verified record, and a suspension.

The in-process tests hold the API to its contract; this one holds the running portal, its worker and its chain together.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest

from tests.e2e.conftest import Starting
from tests.e2e.running import Portal, wait_until
from tests.e2e.samples import TITLES, Program
from tests.judging import settle_from_outside

DRAFT = {
    "title": "Bicycles may be borrowed",
    "summary": "Members borrow the Assembly's bicycles for a day.",
    "text": "## Rule\n\nA bicycle is lent for one day and comes back clean.\n",
    "category": "governance",
}


@pytest.fixture(scope="module")
def portal(start: Starting) -> Iterator[Portal]:
    with start() as portal:
        yield portal


@pytest.fixture
def people(portal: Portal) -> dict[str, Program]:
    return {name: Program(portal, name) for name in ("ada", "chidi", "dana", "farah")}


def test_a_program_walks_from_draft_to_a_ballot(portal: Portal, people: dict[str, Program]) -> None:
    chidi, dana = people["chidi"], people["dana"]
    first = chidi.http.post(
        "/api/v1/workflows/policy-creation", json=DRAFT, headers={"Idempotency-Key": "bicycles"}
    )
    again = chidi.http.post(
        "/api/v1/workflows/policy-creation", json=DRAFT, headers={"Idempotency-Key": "bicycles"}
    )
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.headers["Idempotency-Replayed"] == "true" and again.json() == first.json()
    workflow, ref = first.json(), first.json()["policy"]["ref"]
    assert workflow["policy"]["text_sha256"] == hashlib.sha256(DRAFT["text"].encode()).hexdigest()
    assert workflow["rules"]["voting_days"] | {"text": ""} == {
        "value": 7,
        "unit": "days",
        "article": "5.2",
        "text": "",
    }

    address = first.headers["Location"]
    decision = {"decision": "approve", "reason": "Good.", "version_sha256": "0" * 64}
    stale = dana.http.post(f"{address}/approve", json=decision)
    assert stale.status_code == 409 and stale.headers["content-type"].startswith("application/problem+json")
    own = dana.post("/api/v1/workflows/policy-creation", **{**DRAFT, "title": "Dana's own bicycle"})
    mine = decision | {"version_sha256": own["policy"]["version_sha256"]}
    assert dana.http.post(f"{own['links']['self']}/approve", json=mine).json()["code"] == "author_reviews"

    settle_from_outside(
        lambda path: chidi.get(path), lambda name, path, body: Program(portal, name).post(path, **body), ref
    )
    decision["version_sha256"] = workflow["policy"]["version_sha256"]
    after = dana.post(f"{address}/approve", **decision)
    assert after["current_stage"] == "voting" and after["policy"]["state"] == "voting"
    assert people["ada"].get(f"/api/v1/policies/{ref}/ballot")["eligible"]["can_vote"] is True


def test_a_vote_tips_the_quorum_and_the_record_is_verified(
    portal: Portal, people: dict[str, Program]
) -> None:
    ada, farah = people["ada"], people["farah"]
    found = portal.get("/api/v1/policies", q=TITLES["voting"])["items"]
    ref = found[0]["ref"]
    first, second = ada.vote(ref, "against"), ada.vote(ref, "for")
    assert portal.get(f"/api/v1/receipts/{first}")["counting"] is False
    hidden = ada.http.get(f"/api/v1/policies/{ref}/results")
    assert (hidden.status_code, hidden.json()["code"]) == (409, "ballot_open")

    before = portal.get("/api/v1/policies", state="enacted", limit=200)["items"]
    ada.post("/api/v1/demo/clock", advance="P3D")
    results = portal.get(f"/api/v1/policies/{ref}/results")
    counts = results["counts"]
    assert results["outcome"] == "passed" and results["quorum_met"]
    # Without that one vote there would have been none: those for and abstaining make the quorum, to the very vote.
    needed = -(-results["quorum_percent"] * results["electorate"] // 100)
    assert counts["for"] + counts["abstain"] == needed
    assert portal.get(f"/api/v1/receipts/{second}")["in_root"] is True
    after = portal.get("/api/v1/policies", state="enacted", limit=200)["items"]
    assert ref in {item["ref"] for item in after} - {item["ref"] for item in before}

    anchor = final_anchor(portal, ref, "policy")
    assert results["ballot_root"] in anchor["record"] and anchor["memo"] and anchor["explorer_url"]
    transaction = portal.get(f"/api/v1/chain/transactions/{anchor['signature']}")
    assert [each["instruction"] for each in transaction["instructions"]] == [
        "propose_policy",
        "enact_policy",
        "memo",
    ]
    assert portal.get(f"/api/v1/chain/accounts/{anchor['account']}")["fields"]["is_active"] is True
    assert verdict(portal, ref) == "verified"

    assert farah.post(f"/api/v1/policies/{ref}/suspend", reason="A licence in it is unlawful.")
    final_anchor(portal, ref, "deactivation")
    assert portal.get(f"/api/v1/chain/accounts/{anchor['account']}")["fields"]["is_active"] is False
    assert verdict(portal, ref) == "verified"


def final_anchor(portal: Portal, ref: str, kind: str) -> dict:
    wait_until(portal.unfinished_anchors, f"{kind} of {ref} does not become final")
    items = portal.get("/api/v1/anchors", ref=ref)["items"]
    return next(each for each in items if each["kind"] == kind)


def verdict(portal: Portal, ref: str) -> str:
    found = portal.get(f"/api/v1/policies/{ref}/verify")
    assert all(step["state"] == "pass" for step in found["steps"]), found["summary"]
    return found["overall"]
