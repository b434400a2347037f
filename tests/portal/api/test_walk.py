"""A policy's whole life through the JSON API alone: drafted, amended, reviewed, voted on, enacted and suspended."""

from __future__ import annotations

from typing import Any

from tests.portal.api.walk import DRAFT, POLICIES, is_problem, jump, keys, propose, review, vote

# What design/api.md says that each answer holds.
ADDS = {
    "policy-creation": {
        "id", "workflow_id", "workflow_type", "status", "priority", "current_stage", "stages", "progress",
        "created_at", "updated_at", "constitution", "links", "policy", "risk", "rules", "ballot", "anchors",
    },
    "/api/v1/policies/{ref}/ballot": {"mode", "opens_at", "closes_at", "quorum", "threshold", "eligible"},
    "/api/v1/policies/{ref}/results": {
        "counts", "base", "turnout", "quorum_met", "threshold", "outcome", "why", "ballot_root",
    },
    "/api/v1/anchors/{id}": {
        "kind", "state", "cluster", "genesis_hash", "signature", "slot", "program", "account", "memo", "record",
        "explorer_url",
    },
    "/api/v1/chain": {"program", "constitution", "authority", "balance_lamports", "queue"},
}  # fmt: skip


async def test_from_draft_to_queued_anchor(api: Any, client: Any) -> None:
    chidi, dana, ada, ben = [await api(name) for name in ("chidi", "dana", "ada", "ben")]

    drafted = await propose(chidi, submit=False)
    ref = drafted["policy"]["ref"]
    own = f"{POLICIES}/{ref}"
    assert drafted["policy"]["state"] == "draft"
    assert drafted["current_stage"] == "draft_creation"

    read = await chidi.get(own)
    body = {**DRAFT, "text": DRAFT["text"] + "\nIt is done within a week.\n"}
    amended = await chidi.put(own, json=body, headers={"If-Match": read.headers["etag"]})
    assert amended.status_code == 200, amended.text
    assert amended.json()["version"]["text"].endswith("within a week.\n")
    submitted = await chidi.post(f"{own}/submit", headers={"If-Match": amended.headers["etag"]})
    assert submitted.json()["state"] == "in_review"

    workflow = (await client.get(drafted["links"]["self"])).json()
    assert workflow["status"] == "waiting_approval"
    assert workflow["rules"]["reviewers"] == {
        "value": 1,
        "unit": "reviewers",
        "article": "4.2",
        "text": "1 reviewer",
    }
    is_problem(await review(await api("chidi"), workflow), 403)

    said = await ada.post(f"{own}/comments", json={"body": "**Thank** you."})
    assert said.status_code == 201
    approved = await review(dana, workflow)
    assert approved.status_code == 200, approved.text
    assert approved.json()["current_stage"] == "voting"
    assert approved.json()["review"]["complete"] is True

    for client_, choice in ((ada, "for"), (ben, "against"), (chidi, "for"), (dana, "abstain")):
        cast = await vote(client_, workflow, choice)
        assert cast.status_code == 201, cast.text
        assert cast.headers["location"] == f"/api/v1/receipts/{cast.json()['receipt']['code']}"
    is_problem(await client.get(f"{own}/results"), 409, "ballot_open")

    await jump(client)
    results = (await client.get(f"{own}/results")).json()
    assert results["counts"] == {"for": 2, "against": 1, "abstain": 1}
    assert results["outcome"] == "passed"
    assert all(condition["met"] for condition in results["why"]["all_of"])

    done = (await client.get(drafted["links"]["self"])).json()
    assert done["policy"]["state"] == "enacted"
    assert [anchor["state"] for anchor in done["anchors"]] == ["queued"]
    anchor = (await client.get(f"/api/v1/anchors/{done['anchors'][0]['id']}")).json()
    assert anchor["ref"] == ref
    assert results["ballot_root"] in anchor["record"]

    farah = await api("farah")
    suspended = await farah.post(f"{own}/suspend", json={"reason": "The door was removed."})
    assert suspended.status_code == 202, suspended.text
    assert suspended.json()["state"] == "suspended"
    assert {anchor["kind"] for anchor in suspended.json()["anchors"]} == {"policy", "deactivation"}

    assert ADDS["policy-creation"] <= set(done)
    for address, promised in ADDS.items():
        if address != "policy-creation":
            answer = (await client.get(address.replace("{ref}", ref).replace("{id}", anchor["id"]))).json()
            assert promised <= set(answer), address

    told = [item["key"] for item in (await client.get(f"{own}/timeline")).json()["items"]]
    assert told.index("policy.submitted") < told.index("ballot.opened") < told.index("policy.suspended")


async def test_no_answer_tells_a_count_before_the_close(api: Any, client: Any) -> None:
    """Every address that speaks of an open ballot says the same after three votes as after none, but for times."""
    chidi, dana, ada = [await api(name) for name in ("chidi", "dana", "ada")]
    workflow = await propose(chidi)
    await review(dana, workflow)
    own = f"{POLICIES}/{workflow['policy']['ref']}"
    parts = ("", "/versions", "/comments", "/reviews", "/timeline", "/ballot", "/openings", "/results")
    paths = [workflow["links"]["self"], POLICIES, "/api/v1/anchors", *(own + part for part in parts)]
    paths += [f"/api/v1/workflows/{workflow['id']}"]

    async def everything() -> dict[str, Any]:
        return {path: _steady((await client.get(path)).json()) for path in paths}

    before = await everything()
    for name, choice in (("ada", "for"), ("ben", "against"), ("lea", "for")):
        assert (await vote(await api(name), workflow, choice)).status_code == 201
    assert await everything() == before

    hidden = {
        "counts",
        "turnout",
        "votes_for",
        "votes_against",
        "votes_abstain",
        "openings",
        "choice",
        "salt",
        "outcome",
    }
    for path, body in before.items():
        assert not hidden & set(keys(body)), path
    mine = (await ada.get(f"{own}/ballot")).json()
    assert mine["your_receipt"]["choice"] is None
    assert mine["your_receipt"]["salt"] is None


def _steady(value: Any) -> Any:
    """Without what an answer says about itself (each problem has a trace of its own)."""
    return {key: item for key, item in value.items() if key != "trace_id"}


async def test_a_ballot_nobody_votes_in_fails(api: Any, client: Any) -> None:
    workflow = await propose(await api("chidi"))
    await review(await api("dana"), workflow)
    await jump(client)
    own = f"{POLICIES}/{workflow['policy']['ref']}"
    results = (await client.get(f"{own}/results")).json()
    assert results["outcome"] == "failed"
    assert results["counts"] == {"for": 0, "against": 0, "abstain": 0}
    assert (await client.get(own)).json()["state"] == "rejected"
    assert (await client.get("/api/v1/anchors")).json()["items"] == []


async def test_an_amendment_voids_approvals_and_a_stale_approval_shows_the_difference(
    api: Any, client: Any
) -> None:
    chidi, dana, emre = [await api(name) for name in ("chidi", "dana", "emre")]
    workflow = await propose(chidi, risk_strategy="enhanced_validation")
    assert workflow["risk"]["strategy"] == "enhanced_validation"
    assert (await review(dana, workflow)).status_code == 200
    own = f"{POLICIES}/{workflow['policy']['ref']}"
    tag = (await chidi.get(own)).headers["etag"]
    changed = {**DRAFT, "risk_strategy": "enhanced_validation", "text": "The notice says “Thursday”.\n"}
    assert (await chidi.put(own, json=changed, headers={"If-Match": tag})).json()["version"]["number"] == 2

    problem = is_problem(await review(emre, workflow), 409, "stale_version")
    assert problem["links"]["diff"] == f"/policies/{workflow['policy']['ref']}/changes?from=1&to=2"
    assert [each["void"] for each in (await client.get(f"{own}/reviews")).json()["items"]] == [True]
    assert (await client.get(workflow["links"]["self"])).json()["review"]["approvals"] == 0

    diff = (await client.get(f"{own}/diff")).json()
    assert (diff["from_version"], diff["to_version"]) == (1, 2)
    assert {field["field"] for field in diff["fields"] if field["changed"]} == {"text"}
    assert [each["number"] for each in (await client.get(f"{own}/versions")).json()["items"]] == [1, 2]
    first = (await client.get(f"{own}/versions/1")).json()
    assert first["text"] == DRAFT["text"]


async def test_a_returned_policy_says_why_and_a_rejected_one_ends(api: Any, client: Any) -> None:
    chidi, dana = [await api(name) for name in ("chidi", "dana")]
    returned = await propose(chidi)
    assert (await review(dana, returned, "return", "Say who corrects it.")).status_code == 200
    policy = (await client.get(returned["links"]["policy"])).json()
    assert (policy["state"], policy["state_reason"]) == ("returned", "Say who corrects it.")

    rejected = await propose(chidi, title="Another title")
    assert (await review(dana, rejected, "reject", "There is no such notice.")).status_code == 200
    assert (await client.get(rejected["links"]["policy"])).json()["state"] == "rejected"
    is_problem(await review(await api("emre"), rejected), 422, "wrong_stage")


async def test_an_author_withdraws(api: Any, client: Any) -> None:
    chidi = await api("chidi")
    workflow = await propose(chidi)
    gone = await chidi.post(f"{workflow['links']['policy']}/withdraw", json={"reason": "Somebody fixed it."})
    assert gone.json()["state"] == "withdrawn"
    assert (await client.get(workflow["links"]["self"])).json()["status"] == "cancelled"
    is_problem(
        await (await api("ada")).post(f"{workflow['links']['policy']}/withdraw", json={"reason": "x"}), 403
    )
