"""A policy's bundle in each state of its life: what is in it, that its proofs hold, and that it says no more than is signed."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import zipfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import rfc8785
import sqlalchemy as sa
from litestar import Litestar

from tests.portal.api.walk import POLICIES, is_problem, jump, propose, review, vote
from tests.portal.statements import counted
from tests.portal.the_log import LOG_ORIGIN, seal
from workflows.audit_transparency import merkle
from workflows.audit_transparency.notes import Checkpoint, VerifierKey, open_note

Api = Callable[[str], Awaitable[httpx.AsyncClient]]


@dataclass
class Bundle:
    """An unpacked bundle, whose digests, checkpoint and proofs were found to hold."""

    raw: bytes
    names: list[str]
    files: dict[str, bytes]
    about: dict[str, Any]

    def json(self, name: str) -> Any:
        assert rfc8785.dumps(json.loads(self.files[name])) == self.files[name], "not canonical"
        return json.loads(self.files[name])

    @property
    def entries(self) -> dict[int, dict[str, Any]]:
        return {
            int(name[8:-5]): json.loads(body)
            for name, body in self.files.items()
            if name.startswith("entries/")
        }

    @property
    def types(self) -> list[str]:
        return [entry["type"] for _, entry in sorted(self.entries.items())]


def unpack(raw: bytes) -> Bundle:
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        assert archive.testzip() is None
        infos = archive.infolist()
        files = {info.filename: archive.read(info) for info in infos}
    assert {info.date_time for info in infos} == {(1980, 1, 1, 0, 0, 0)}
    about = json.loads(files["bundle.json"])
    found = Bundle(raw, [info.filename for info in infos], files, about)
    digests = {name: hashlib.sha256(body).hexdigest() for name, body in files.items()}
    assert about["files"] == {name: digest for name, digest in digests.items() if name != "bundle.json"}
    assert about["constitution_sha256"] == digests["constitution.md"]
    text, _ = open_note(files["checkpoint.txt"].decode(), [VerifierKey.parse(about["verifier_key"])])
    head = Checkpoint.parse(text)
    assert (head.origin, head.size) == (about["origin"], about["checkpoint_size"]) == (LOG_ORIGIN, head.size)
    proven = 0
    for name, body in files.items():
        if name.startswith("entries/"):
            place = name[8:-5]
            path = [base64.b64decode(line) for line in files[f"proofs/{place}.txt"].split()]
            merkle.verify_inclusion(merkle.leaf_hash(body), int(place), head.size, path, head.root)
            proven += 1
    assert proven == sum(name.startswith("proofs/") for name in files)
    return found


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "checkpoint"


async def take(app: Litestar, client: httpx.AsyncClient, ref: str, place: Path) -> Bundle:
    """The bundle, once all that has happened is signed."""
    await seal(app, place)
    response = await client.get(f"{POLICIES}/{ref}/bundle.zip")
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/zip"
    return unpack(response.content)


async def test_a_policy_in_review(app: Litestar, client: httpx.AsyncClient, api: Api, place: Path) -> None:
    workflow = await propose(await api("chidi"))
    ref = workflow["policy"]["ref"]
    own = f"{POLICIES}/{ref}/bundle.zip"
    is_problem(await client.get(own), 404, "no_checkpoint")
    found = await take(app, client, ref, place)
    assert found.about["ref"] == ref
    assert found.types == ["policy.drafted", "policy.submitted", "validation.asked", "validation.made"]
    version = found.json("versions/1.json")
    record = rfc8785.dumps(version["record"])
    assert hashlib.sha256(record).hexdigest() == workflow["policy"]["version_sha256"]
    assert hashlib.sha256(version["text"].encode()).hexdigest() == version["record"]["text_sha256"]
    assert version["rule"] is None
    assert not [name for name in found.files if "anchor" in name or name.startswith("ballot/")]
    assert found.names[:3] == ["bundle.json", "constitution.md", "versions/1.json"]
    assert found.names[-1] == "checkpoint.txt"
    is_problem(await client.get(f"{POLICIES}/POL-1999-0001/bundle.zip"), 404, "no_policy")


async def test_versions_with_a_rule_and_after_an_amendment(
    app: Litestar, client: httpx.AsyncClient, api: Api, place: Path
) -> None:
    chidi = await api("chidi")
    rule = {"engine": "rego", "source": "package a\n", "examples": [{"input": {"n": 1}, "expect": {}}]}
    workflow = await propose(chidi, rule=rule)
    ref = workflow["policy"]["ref"]
    read = await chidi.get(f"{POLICIES}/{ref}")
    amended = await chidi.put(
        f"{POLICIES}/{ref}",
        headers={"If-Match": read.headers["etag"]},
        json={
            "title": "Another title",
            "summary": "s",
            "text": "Ein anderer Text: ä.\n",
            "category": "governance",
            "rule": rule,
        },
    )
    assert amended.status_code == 200, amended.text
    found = await take(app, client, ref, place)
    versions = (await client.get(f"{POLICIES}/{ref}/versions")).json()["items"]
    assert len(versions) == 2
    for item in versions:
        version = found.json(f"versions/{item['number']}.json")
        assert hashlib.sha256(rfc8785.dumps(version["record"])).hexdigest() == item["version_sha256"]
        assert hashlib.sha256(rfc8785.dumps(version["rule"])).hexdigest() == version["record"]["rule_sha256"]


async def to_ballot(api: Api) -> dict[str, Any]:
    workflow = await propose(await api("chidi"))
    await review(await api("dana"), workflow)
    return workflow


async def test_nothing_of_a_vote_before_the_close(
    app: Litestar, client: httpx.AsyncClient, api: Api, place: Path
) -> None:
    workflow = await to_ballot(api)
    for name in ("ada", "ben"):
        assert (await vote(await api(name), workflow, "for")).status_code == 201
    found = await take(app, client, workflow["policy"]["ref"], place)
    assert "ballot.opened" in found.types and "vote.cast" not in found.types
    assert not [name for name in found.files if name.startswith("ballot/")]


async def test_an_enacted_policy_has_its_ballot(
    app: Litestar, client: httpx.AsyncClient, api: Api, place: Path
) -> None:
    workflow = await to_ballot(api)
    ref = workflow["policy"]["ref"]
    for name, choice in (("ada", "against"), ("ben", "for"), ("lea", "for"), ("ada", "for")):
        assert (await vote(await api(name), workflow, choice)).status_code == 201
    await seal(app, place)
    await jump(client)
    assert (await client.get(f"{POLICIES}/{ref}")).json()["state"] == "enacted"
    early = unpack((await client.get(f"{POLICIES}/{ref}/bundle.zip")).content)
    assert not [name for name in early.files if name.startswith("ballot/")], "the close is not signed yet"

    found = await take(app, client, ref, place)
    openings, votes = found.json("ballot/openings.json"), found.json("ballot/votes.json")
    assert len(openings["openings"]) == 3 and len(openings["superseded"]) == 1
    everyone = {item["commitment"] for item in openings["openings"] + openings["superseded"]}
    assert {item["commitment"] for item in votes} == everyone
    for item in votes:
        assert found.entries[item["index"]]["payload"]["commitment"] == item["commitment"]
    assert found.types.count("vote.cast") == 4
    closed = next(entry["payload"] for entry in found.entries.values() if entry["type"] == "ballot.closed")
    assert closed["openings_sha256"] == hashlib.sha256(found.files["ballot/openings.json"]).hexdigest()
    counting = [bytes.fromhex(item["commitment"]) for item in openings["openings"]]
    assert merkle.root(sorted(counting)).hex() == closed["ballot_root"]
    assert "policy_anchor.json" not in found.files, "absent while nothing is final on chain"


async def test_a_rejected_and_a_suspended_policy(
    app: Litestar, client: httpx.AsyncClient, api: Api, place: Path
) -> None:
    rejected = await to_ballot(api)
    for name in ("ada", "ben"):
        await vote(await api(name), rejected, "against")
    enacted = await to_ballot(api)
    for name in ("ada", "ben"):
        await vote(await api(name), enacted, "for")
    await jump(client)
    ref = enacted["policy"]["ref"]
    farah = await api("farah")
    answer = await farah.post(f"{POLICIES}/{ref}/suspend", json={"reason": "It does harm."})
    assert answer.status_code == 202, answer.text
    suspended = await take(app, client, ref, place)
    assert suspended.types[-1] == "policy.suspended"
    assert b"It does harm" not in suspended.files[max(n for n in suspended.names if n.startswith("entries/"))]
    other = await take(app, client, rejected["policy"]["ref"], place)
    assert "policy.enacted" not in other.types and other.types.count("vote.cast") == 2
    assert not set(other.entries) & set(suspended.entries), "each has only its own"


async def test_the_same_state_gives_the_same_bytes_and_taking_it_is_entered(
    app: Litestar, client: httpx.AsyncClient, api: Api, place: Path
) -> None:
    workflow = await to_ballot(api)
    ref = workflow["policy"]["ref"]
    found = await take(app, client, ref, place)
    own = f"{POLICIES}/{ref}/bundle.zip"
    again = await (await api("hal")).get(own)
    assert again.content == found.raw
    assert again.headers["etag"] == f'"{hashlib.sha256(found.raw).hexdigest()}"'
    kept = await client.get(own, headers={"If-None-Match": again.headers["etag"]})
    assert (kept.status_code, kept.content) == (304, b"")
    assert (await client.head(own)).headers["etag"] == again.headers["etag"]
    async with app.state.services.engine.connect() as connection:
        query = "SELECT convert_from(body, 'UTF8')::jsonb FROM audit.entry WHERE type = 'export.made' ORDER BY number"
        made = (await connection.execute(sa.text(query))).scalars().all()
    assert [each["payload"]["sha256"] for each in made] == [hashlib.sha256(found.raw).hexdigest()] * 2
    assert made[0]["actor"] == "visitor" != made[1]["actor"]
    assert all(ref in each["payload"]["what"] and each["subject"] == "log" for each in made)
    later = await take(app, client, ref, place)
    assert later.entries == found.entries, "an export is no act on the policy"
    assert later.about["checkpoint_size"] > found.about["checkpoint_size"]


async def test_what_is_not_signed_is_not_in_it(
    app: Litestar, client: httpx.AsyncClient, api: Api, place: Path
) -> None:
    chidi = await api("chidi")
    workflow = await propose(chidi)
    ref = workflow["policy"]["ref"]
    before = await take(app, client, ref, place)
    await chidi.post(f"{POLICIES}/{ref}/comments", json={"body": "Hm."})
    read = await chidi.get(f"{POLICIES}/{ref}")
    changed = {"title": "T", "summary": "s", "text": "Another text.\n", "category": "governance"}
    answer = await chidi.put(f"{POLICIES}/{ref}", headers={"If-Match": read.headers["etag"]}, json=changed)
    assert answer.status_code == 200, answer.text
    now = unpack((await client.get(f"{POLICIES}/{ref}/bundle.zip")).content)
    assert now.raw == before.raw
    await seal(app, place, sign=False)
    ordered = unpack((await client.get(f"{POLICIES}/{ref}/bundle.zip")).content)
    assert ordered.raw == before.raw, "in the tree is not yet signed"
    after = await take(app, client, ref, place)
    assert "versions/2.json" in after.files and "comment.added" in after.types


async def test_more_entries_take_no_more_statements(
    app: Litestar, client: httpx.AsyncClient, api: Api, place: Path
) -> None:
    chidi = await api("chidi")
    workflow = await propose(chidi)
    ref = workflow["policy"]["ref"]
    counts = []
    for _ in range(2):
        for number in range(15):
            assert (
                await chidi.post(f"{POLICIES}/{ref}/comments", json={"body": f"Comment {number}."})
            ).status_code == 201
        await seal(app, place)
        with counted() as statements:
            assert (await client.get(f"{POLICIES}/{ref}/bundle.zip")).status_code == 200
        counts.append(len(statements))
    assert 0 < counts[0] == counts[1] <= 25, counts
