"""Across an amendment on a real local chain: what was decided before it, by it and after it verifies, here and offline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from litestar import Litestar

from tests.chain.localnet.node import Node
from tests.portal.api.test_bundle_on_chain import anchor_all, node, settings, verify  # noqa: F401  fixtures
from tests.portal.api.test_bundles import take
from tests.portal.api.walk import POLICIES, jump, propose, review, vote
from tests.portal.the_log import seal
from workflows.constitution.document import load

FOUNDED = load()
AMENDED = FOUNDED.text.replace("| quorum_percent | 10 |", "| quorum_percent | 20 |")


async def enact(api: Any, client: Any, title: str, *reviewers: str, **changes: Any) -> str:
    workflow = await propose(await api("chidi"), title=title, **changes)
    for reviewer in reviewers:
        assert (await review(await api(reviewer), workflow)).status_code == 200
    ref = workflow["policy"]["ref"]
    if (await client.get(f"{POLICIES}/{ref}")).json()["state"] != "voting":
        await jump(client)
    for name in ("ada", "ben"):
        assert (await vote(await api(name), workflow, "for")).status_code == 201
    await jump(client)
    assert (await client.get(f"{POLICIES}/{ref}")).json()["state"] == "enacted"
    return ref


async def test_all_of_it_verifies_before_by_and_after_an_amendment(
    app: Litestar,
    api: Any,
    client: Any,
    tmp_path: Path,
    node: Node,  # noqa: F811
) -> None:
    place = tmp_path / "checkpoint"
    # Signed in before anything is amended: a test enters a session under no document at all.
    programs = {name: await api(name) for name in ("chidi", "dana", "emre", "farah", "ada", "ben")}

    async def signed_in(name: str) -> Any:
        return programs[name]

    api = signed_in
    before = await enact(api, client, "Before", "dana")
    await anchor_all(app)
    await seal(app, place)
    await anchor_all(app)
    old = await take(app, client, before, place)
    amendment = await enact(
        api, client, "Ask for a larger quorum", "dana", "emre", "farah", category="constitutional",
        constitution={"text": AMENDED, "base_sha256": FOUNDED.sha256},
    )  # fmt: skip
    amended = (await client.get("/api/v1/constitution")).json()["sha256"]
    assert amended != FOUNDED.sha256
    after = await enact(api, client, "After", "dana")
    await (await api("farah")).post(f"{POLICIES}/{before}/suspend", json={"reason": "It does harm."})
    await anchor_all(app)
    await seal(app, place)
    await anchor_all(app)

    for ref, under in ((before, FOUNDED.sha256), (amendment, FOUNDED.sha256), (after, amended)):
        found = (await client.get(f"{POLICIES}/{ref}/verify")).json()
        wrong = [(step["key"], step["explanation"]) for step in found["steps"] if step["state"] != "pass"]
        assert wrong == [], ref
        assert found["overall"] == "verified"
        assert (await client.get(f"/policies/{ref}/verify")).status_code == 200
        bundle = await take(app, client, ref, place)
        assert bundle.about["constitution_sha256"] == under
        (tmp_path / f"{ref}.zip").write_bytes(bundle.raw)
        checked = verify(tmp_path / f"{ref}.zip", "--json", "--rpc", node.url)
        claims = {each["id"]: each for each in json.loads(checked.stdout)["claims"]}
        assert [each for each in claims.values() if each["state"] == "FAIL"] == []
        assert claims["amends"]["state"] == ("PASS" if ref == amendment else "ABSENT")
        assert claims["rpc_constitution"]["state"] == "PASS"

    (tmp_path / "old.zip").write_bytes(old.raw)  # taken away before the amendment, and still good
    checked = verify(tmp_path / "old.zip", "--json", "--rpc", node.url)
    claims = {each["id"]: each for each in json.loads(checked.stdout)["claims"]}
    assert checked.returncode == 0, checked.stdout
    assert (
        "held it since" in claims["rpc_constitution"]["why"] and amended in claims["rpc_constitution"]["why"]
    )

    (tmp_path / "log.zip").write_bytes((await client.get("/audit/log.zip")).content)
    checked = verify(tmp_path / "log.zip", "--json", "--rpc", node.url)
    claims = {each["id"]: each for each in json.loads(checked.stdout)["claims"]}
    assert claims["constitutions"]["state"] == "PASS"
    assert claims["constitutions"]["why"].startswith(f"{amended} at the end, after 1 amendment(s) by vote")
    failed = {key: each["why"] for key, each in claims.items() if each["state"] == "FAIL"}
    assert failed == {}

    chain = await client.get("/chain")
    assert chain.status_code == 200 and "What the constitution account held" in chain.text
    anchors = (await client.get("/api/v1/anchors", params={"kind": "constitution"})).json()["items"]
    assert [(item["ref"], item["state"]) for item in anchors] == [(amendment, "finalized")]
    checked_anchor = (await client.post(f"/api/v1/anchors/{anchors[0]['id']}/verify")).json()
    assert checked_anchor["overall"] == "verified"
    said = (await client.get(f"{POLICIES}/{before}/on-chain")).json()
    assert (said["checked"], said["code"]) == (True, "PolicyNotActive")
    assert (await client.get(f"{POLICIES}/{after}/on-chain")).json()["passed"] is True
