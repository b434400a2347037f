"""Finding, paging, voting, receipts and recounting, the constitution and the chain, as programs see them."""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode
from typing import Any

import rfc8785
import sqlalchemy as sa

from tests.conftest import arranged
from tests.portal.api.walk import DRAFT, POLICIES, WORKFLOWS, is_problem, jump, propose, review, vote
from workflows.audit_transparency.merkle import root
from workflows.storage.tables import chain_status, constitution_document

# Lists


async def test_filters_find_what_they_name(api: Any, client: Any) -> None:
    chidi, ada = await api("chidi"), await api("ada")
    spelling = await propose(chidi)
    budget = await propose(
        ada, title="Yearly budget", category="financial", risk_strategy="multi_model_consensus"
    )
    draft = await propose(chidi, title="Not yet said", submit=False)
    await review(await api("dana"), spelling)

    async def found(query: str) -> set[str]:
        response = await client.get(f"{POLICIES}?{query}")
        assert response.status_code == 200, response.text
        return {item["ref"] for item in response.json()["items"]}

    refs = {name: each["policy"]["ref"] for name, each in (("s", spelling), ("b", budget), ("d", draft))}
    assert await found("") == {refs["s"], refs["b"]}
    assert await found("q=BUDGET") == {refs["b"]}
    assert await found("q=office+hours") == {refs["s"]}
    assert await found("q=%25") == set()  # a wildcard is only a character
    assert await found("state=voting") == {refs["s"]}
    assert await found("category=financial") == {refs["b"]}
    assert await found("strategy=standard") == {refs["s"]}
    assert await found("author=chidi") == {refs["s"], refs["d"]}
    assert await found("state=draft") == {refs["d"]}
    assert await found("category=financial&state=voting") == set()


async def test_pages_hold_each_item_once_while_the_list_grows(api: Any, client: Any) -> None:
    chidi = await api("chidi")
    before = [(await propose(chidi, title=f"Number {number}"))["policy"]["ref"] for number in range(7)]
    first = await client.get(f"{POLICIES}?limit=3&category=governance")
    body = first.json()
    assert [item["ref"] for item in body["items"]] == before[:-4:-1]
    assert body["page"]["prev"] is None
    assert body["page"]["has_more"] is True
    assert body["page"]["limit"] == 3

    await propose(chidi, title="Came meanwhile")
    seen = [item["ref"] for item in body["items"]]
    response = first
    while 'rel="next"' in response.headers.get("link", ""):
        address = next(part for part in response.headers["link"].split(", ") if 'rel="next"' in part)
        response = await client.get(address.partition(">")[0].removeprefix("<"))
        seen += [item["ref"] for item in response.json()["items"]]
    assert seen == before[::-1]
    assert response.json()["page"]["has_more"] is False
    assert response.json()["page"]["next"] is None

    back = await client.get(
        f"{POLICIES}?limit=3&category=governance&cursor={response.json()['page']['prev']}"
    )
    assert [item["ref"] for item in back.json()["items"]] == seen[3:6]


# Previews


async def test_a_preview_says_what_proposing_then_does(api: Any, client: Any) -> None:
    chidi = await api("chidi")
    body = {**DRAFT, "category": "constitutional"}
    preview = (await chidi.post(f"{POLICIES}/preview", json=body)).json()
    assert preview["risk"]["strategy"] == "human_review"
    assert preview["rules"]["comment_days"] == {
        "value": 7, "unit": "days", "article": "4.5", "text": "7 days for public comments"
    }  # fmt: skip
    assert preview["rules"]["threshold"]["value"] == 67
    assert (await client.get(POLICIES)).json()["items"] == []
    proposed = await propose(chidi, category="constitutional")
    assert {key: proposed[key] for key in ("risk", "rules")} == {
        key: preview[key] for key in ("risk", "rules")
    }
    assert proposed["policy"]["text_sha256"] == preview["text_sha256"]
    assert proposed["policy"]["text_sha256"] == hashlib.sha256(DRAFT["text"].encode()).hexdigest()


async def test_only_the_council_shortens_a_vote(api: Any) -> None:
    is_problem(
        await (await api("chidi")).post(WORKFLOWS, json={**DRAFT, "emergency": True}),
        403,
    )
    workflow = await propose(await api("farah"), emergency=True)
    assert workflow["rules"]["voting_days"]["value"] == 3
    assert workflow["rules"]["voting_days"]["article"] == "5.3"


# Ballots


async def test_a_ballot_says_whether_you_may_vote_and_why(api: Any, client: Any) -> None:
    chidi, dana, ada = [await api(name) for name in ("chidi", "dana", "ada")]
    workflow = await propose(chidi)
    own = f"{POLICIES}/{workflow['policy']['ref']}"
    is_problem(await client.get(f"{own}/ballot"), 404)
    is_problem(await vote(ada, workflow, "for"), 409, "not_open")
    await review(dana, workflow)

    async def reason(who: Any) -> str:
        return (await who.get(f"{own}/ballot")).json()["eligible"]["reason_code"]

    assert await reason(client) == "sign_in"
    assert await reason(await api("kim")) == "not_member"
    assert await reason(ada) == "may_vote"
    assert (await vote(ada, workflow, "for")).status_code == 201
    assert await reason(ada) == "may_change"
    is_problem(await vote(await api("kim"), workflow, "for"), 403, "not_member")
    stale = {"policy": {**workflow["policy"], "version_sha256": "0" * 64}}
    is_problem(await vote(ada, stale, "for"), 409, "stale_version")
    is_problem(await vote(ada, workflow, "maybe"), 422)
    await jump(client)
    assert await reason(ada) == "ballot_closed"
    is_problem(await vote(ada, workflow, "against"), 409, "ballot_closed")


async def test_a_changed_vote_counts_once_and_only_its_voter_opens_it(api: Any, client: Any) -> None:
    ada, ben = await api("ada"), await api("ben")
    workflow = await propose(await api("chidi"))
    await review(await api("dana"), workflow)
    own = f"{POLICIES}/{workflow['policy']['ref']}"
    first = (await vote(ada, workflow, "against")).json()["receipt"]
    last = (await vote(ada, workflow, "for", reason="A second thought.")).json()["receipt"]
    assert first["code"] != last["code"]

    async def shown(who: Any, code: str, reveal: bool = False) -> dict[str, Any]:
        return (await who.get(f"/api/v1/receipts/{code}{'?reveal=true' if reveal else ''}")).json()

    assert (await shown(client, first["code"]))["counting"] is False
    assert (await shown(client, last["code"].lower().replace("-", "")))["counting"] is True
    for who in (client, ben):
        secret = await shown(who, last["code"], reveal=True)
        assert (secret["choice"], secret["salt"], secret["mine"]) == (None, None, False)
    assert (await shown(ada, last["code"]))["choice"] is None
    mine = await shown(ada, last["code"], reveal=True)
    assert (mine["choice"], mine["salt"]) == ("for", last["salt"])
    await jump(client)
    counted = await shown(client, last["code"])
    assert (counted["in_root"], counted["leaf_index"]) == (True, 0)
    assert (await shown(client, first["code"]))["in_root"] is False
    assert (await client.get(f"{own}/results")).json()["counts"] == {"for": 1, "against": 0, "abstain": 0}
    assert "second thought" not in (await client.get(f"{own}/openings")).text


async def test_a_stranger_recounts_a_ballot_with_nothing_but_the_answers(api: Any, client: Any) -> None:
    workflow = await propose(await api("chidi"))
    await review(await api("dana"), workflow)
    own = f"{POLICIES}/{workflow['policy']['ref']}"
    cast = {"ada": "for", "ben": "against", "lea": "for", "chidi": "abstain"}
    for name, choice in cast.items():
        await vote(await api(name), workflow, choice)
    is_problem(await client.get(f"{own}/openings"), 409, "ballot_open")
    await jump(client)
    results = (await client.get(f"{own}/results")).json()
    openings = (await client.get(f"{own}/openings")).json()["openings"]
    ballot = next(
        item
        for item in (await client.get(f"{own}/timeline")).json()["items"]
        if item["key"] == "ballot.closed"
    )
    assert ballot["entry"] > 0
    leaves = sorted(bytes.fromhex(each["commitment"]) for each in openings)
    assert root(leaves).hex() == results["ballot_root"]
    chosen = [each["choice"] for each in openings]
    assert {choice: chosen.count(choice) for choice in ("for", "against", "abstain")} == results["counts"]
    for each in openings:
        message = rfc8785.dumps({"ballot": results["ballot_id"], "choice": each["choice"]})
        assert (
            hmac.new(bytes.fromhex(each["salt"]), message, hashlib.sha256).hexdigest() == each["commitment"]
        )


async def test_a_comment_is_safe_and_can_be_answered(api: Any, client: Any) -> None:
    own = (await propose(await api("chidi")))["links"]["policy"]
    ada = await api("ada")
    first = await ada.post(
        f"{own}/comments", json={"body": "<script>alert(1)</script> **so** [x](javascript:y)"}
    )
    body = first.json()["body_html"]
    assert "<strong>so</strong>" in body
    assert "<script" not in body
    assert "javascript:" not in body or "href" not in body
    answer = await ada.post(f"{own}/comments", json={"body": "Yes.", "reply_to": first.json()["id"]})
    assert answer.json()["reply_to"] == first.json()["id"]
    assert [each["body"] for each in (await client.get(f"{own}/comments")).json()["items"]][1] == "Yes."
    other = (await propose(await api("chidi"), title="Another"))["links"]["policy"]
    is_problem(await ada.post(f"{other}/comments", json={"body": "No.", "reply_to": first.json()["id"]}), 422)


# Constitution and chain


async def test_the_constitutions_bytes_are_those_that_were_hashed(app: Any, client: Any) -> None:
    said = (await client.get("/api/v1/constitution")).json()
    raw = await client.get("/api/v1/constitution/document")
    digest = hashlib.sha256(raw.content)
    assert digest.hexdigest() == said["sha256"] == raw.headers["x-constitution-hash"]
    assert (
        b64decode(raw.headers["repr-digest"].removeprefix("sha-256=:").removesuffix(":")) == digest.digest()
    )
    assert said["document"].encode() == raw.content
    assert said["bytes"] == len(raw.content)
    assert said["figures"]["quorum_percent"] == {"value": 10, "article": "5.4"}
    assert said["figures"]["tiers"]["human_review"]["article"] == "4.5"
    assert (said["problem"], said["chain"]["matches"]) == (None, None)

    earlier = b"# An earlier one\n"
    row = {"sha256": hashlib.sha256(earlier).hexdigest(), "body": earlier, "source": "old.md"}
    async with app.state.services.engine.begin() as connection:
        await arranged(connection)
        await connection.execute(
            constitution_document.insert().values(**row, first_seen_at=sa.func.clock_timestamp())
        )
    assert (await client.get(f"/api/v1/constitution/documents/{row['sha256']}")).content == earlier
    assert (await client.get(f"/api/v1/constitution/documents/{said['sha256']}")).content == raw.content


async def test_the_chain_is_shown_as_it_was_last_seen(app: Any, api: Any, client: Any) -> None:
    unseen = (await client.get("/api/v1/chain")).json()
    assert (unseen["reachable"], unseen["matches"], unseen["checked_at"]) == (None, None, None)
    assert unseen["queue"] == dict.fromkeys(("queued", "submitted", "confirmed", "finalized", "failed"), 0)
    seen = {"constitution": {"address": "F", "exists": True, "hash": "0" * 64}, "balance_lamports": 7}
    async with app.state.services.engine.begin() as connection:
        await arranged(connection)
        await connection.execute(
            chain_status.insert().values(
                id=1, reachable=True, may_anchor=False, reason_code="constitution_hash_differs",
                reason="Not ours.", seen=seen, checked_at=sa.func.clock_timestamp(),
            )
        )  # fmt: skip
    said = (await client.get("/api/v1/chain")).json()
    assert (said["matches"], said["may_anchor"], said["reason"], said["balance_lamports"]) == (
        False, False, "Not ours.", 7
    )  # fmt: skip
    assert (await client.get("/api/v1/constitution")).json()["chain"]["matches"] is False
