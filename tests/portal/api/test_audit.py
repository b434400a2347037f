"""The audit log over the JSON API: how it stands, its checkpoints, proofs that hold, and open data."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
import rfc8785
import sqlalchemy as sa
from litestar import Litestar

from tests.portal.api.walk import is_problem, propose, review, vote
from tests.portal.the_log import LOG_ORIGIN, happen, seal
from workflows.audit_transparency import merkle
from workflows.audit_transparency.notes import Checkpoint, Signer, VerifierKey, open_note
from workflows.storage.tables import audit_cosignature

PATH = "/api/v1/audit"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "checkpoint"


def hashes(proof: dict[str, Any]) -> list[bytes]:
    return [base64.b64decode(item, validate=True) for item in proof["hashes"]]


async def lines(client: httpx.AsyncClient, query: str = "") -> list[dict[str, Any]]:
    response = await client.get(f"{PATH}/export.ndjson{query}")
    assert response.status_code == 200, response.text
    return [json.loads(line) for line in response.text.splitlines()]


async def test_how_the_log_stands(app: Litestar, client: httpx.AsyncClient, place: Path) -> None:
    before = (await client.get(f"{PATH}/log")).json()
    assert (before["origin"], before["checkpoint"], before["anchor"], before["size"]) == (None, None, None, 0)
    assert before["pending"] > 0
    is_problem(await client.get(f"{PATH}/entries/0/proof"), 404)
    is_problem(await client.get(f"{PATH}/proofs/inclusion?index=0"), 404, "no_checkpoint")
    is_problem(await client.get(f"{PATH}/export.ndjson"), 404, "no_checkpoint")
    signed = await seal(app, place)
    assert signed is not None
    response = await client.get(f"{PATH}/log")
    after = response.json()
    assert (after["origin"], after["size"], after["pending"]) == (LOG_ORIGIN, signed.size, 0)
    assert after["checkpoint"]["root"] == signed.root.hex()
    assert after["oldest_unanchored"]["index"] == 0
    assert after["verifier_key"] == (await client.get("/audit/key")).text.strip()
    read = await client.get(f"{PATH}/checkpoints/{signed.size}")
    again = await client.get(
        f"{PATH}/checkpoints/{signed.size}", headers={"If-None-Match": read.headers["etag"]}
    )
    assert again.status_code == 304


async def test_witnesses_that_are_asked_are_shown_with_what_they_cosigned(
    app: Litestar, client: httpx.AsyncClient, place: Path
) -> None:
    awake, asleep = Signer("awake.example", b"w" * 32), Signer("asleep.example", b"s" * 32)
    asked = tuple((_cosigner(each), "http://localhost:1") for each in (awake, asleep))
    app.state.services = dataclasses.replace(
        app.state.services, settings=app.state.settings.with_(log_witnesses=asked)
    )
    signed = await seal(app, place)
    assert signed is not None
    line = awake.cosign(signed.note.partition("\n\n")[0] + "\n", 1_700_000_000)
    async with app.state.services.engine.begin() as connection:
        await connection.execute(
            audit_cosignature.insert().values(
                size=signed.size, witness=asked[0][0], line=line, received_at=sa.func.clock_timestamp()
            )
        )
    shown = (await client.get(f"{PATH}/log")).json()["witnesses"]
    assert [(each["name"], each["size"]) for each in shown] == [
        ("awake.example", signed.size),
        ("asleep.example", None),
    ]
    assert (await client.get("/audit/checkpoint")).text == f"{signed.note}{line}\n"
    assert (await client.get(f"{PATH}/checkpoints/{signed.size}")).json()["note"].endswith(f"{line}\n")


def _cosigner(signer: Signer) -> str:
    return str(signer.cosigner_key)


async def test_checkpoints_are_listed_and_read(app: Litestar, client: httpx.AsyncClient, place: Path) -> None:
    sizes = []
    for _ in range(3):
        await happen(app, 2)
        signed = await seal(app, place)
        assert signed is not None
        sizes.append(signed.size)
    first = (await client.get(f"{PATH}/checkpoints?limit=2")).json()
    assert [item["size"] for item in first["items"]] == sizes[:0:-1]
    second = (await client.get(f"{PATH}/checkpoints?limit=2&cursor={first['page']['next']}")).json()
    assert [item["size"] for item in second["items"]] == sizes[:1]
    key = VerifierKey.parse((await client.get("/audit/key")).text.strip())
    for item in first["items"]:
        read = (await client.get(f"{PATH}/checkpoints/{item['size']}")).json()
        assert read == item
        text, _ = open_note(read["note"], [key])
        assert Checkpoint.parse(text) == Checkpoint(LOG_ORIGIN, read["size"], bytes.fromhex(read["root"]))
    for wrong, status in ((sizes[0] - 1, 404), (10**17, 404), (2**63, 422), (-1, 422)):
        is_problem(await client.get(f"{PATH}/checkpoints/{wrong}"), status)


async def test_proofs_hold(app: Litestar, client: httpx.AsyncClient, place: Path) -> None:
    await happen(app, 300)
    old = await seal(app, place)
    await happen(app, 50)
    new = await seal(app, place)
    assert old is not None and new is not None
    bodies = {item["index"]: item for item in await lines(client)}
    for index, size in ((0, new.size), (299, old.size), (old.size, new.size), (5, 6), (7, 200)):
        proof = (await client.get(f"{PATH}/proofs/inclusion?index={index}&size={size}")).json()
        leaf = bytes.fromhex(proof["leaf_sha256"])
        assert leaf.hex() == bodies[index]["leaf_sha256"]
        merkle.verify_inclusion(leaf, index, size, hashes(proof), bytes.fromhex(proof["root"]))
        assert (proof["checkpoint"] is not None) == (size in (old.size, new.size))
    newest = (await client.get(f"{PATH}/proofs/inclusion?index=3")).json()
    assert (newest["size"], newest["root"]) == (new.size, new.root.hex())
    for older, newer in ((old.size, new.size), (1, new.size), (0, old.size), (17, 250), (new.size, new.size)):
        proof = (await client.get(f"{PATH}/proofs/consistency?from={older}&to={newer}")).json()
        roots = bytes.fromhex(proof["from_root"]), bytes.fromhex(proof["to_root"])
        merkle.verify_consistency(older, newer, *roots, hashes(proof))
    both = (await client.get(f"{PATH}/proofs/consistency?from={old.size}")).json()
    assert (both["from_checkpoint"], both["to_checkpoint"]) == (old.note, new.note)


async def test_nothing_is_proven_that_nobody_signed(
    app: Litestar, client: httpx.AsyncClient, place: Path
) -> None:
    await happen(app, 5)
    signed = await seal(app, place)
    assert signed is not None
    await happen(app, 5)
    await seal(app, place, sign=False)
    size = signed.size
    for query in (
        f"inclusion?index={size}",
        f"inclusion?index=0&size={size + 1}",
        f"consistency?from=1&to={size + 1}",
    ):
        is_problem(await client.get(f"{PATH}/proofs/{query}"), 404, "not_in_tree")
    is_problem(await client.get(f"{PATH}/entries/{size}/proof"), 404)
    is_problem(await client.get(f"{PATH}/proofs/consistency?from={size}&to=1"), 422)
    for query in ("inclusion", "inclusion?index=-1", f"inclusion?index={2**64}", "consistency?from=x&to=1"):
        is_problem(await client.get(f"{PATH}/proofs/{query}"), 422)
    assert len(await lines(client)) == size


async def test_an_entry_is_proven_by_one_file(app: Litestar, client: httpx.AsyncClient, place: Path) -> None:
    await happen(app, 20)
    signed = await seal(app, place)
    assert signed is not None
    response = await client.get(f"{PATH}/entries/11/proof")
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    head, _, note = response.text.partition("\n\n")
    version, index, *path = head.split("\n")
    assert (version, index, note) == ("c2sp.org/tlog-proof@v1", "index 11", signed.note)
    leaf = bytes.fromhex((await lines(client))[11]["leaf_sha256"])
    merkle.verify_inclusion(leaf, 11, signed.size, [base64.b64decode(item) for item in path], signed.root)
    again = await client.get(f"{PATH}/entries/11/proof", headers={"If-None-Match": response.headers["etag"]})
    assert again.status_code == 304


async def test_open_data_is_the_log_itself_and_its_taking_is_entered(
    app: Litestar, client: httpx.AsyncClient, place: Path
) -> None:
    await happen(app, 1500)  # more than is read at once
    signed = await seal(app, place)
    assert signed is not None
    response = await client.get(f"{PATH}/export.ndjson")
    assert response.headers["content-type"].startswith("application/x-ndjson")
    assert response.headers["ratelimit-policy"].startswith('"export";')
    rows = [json.loads(line) for line in response.text.splitlines()]
    assert [row["index"] for row in rows] == list(range(signed.size))
    for line, row in zip(response.content.splitlines(), rows, strict=True):
        body = line[line.index(b'"entry":') + 8 : -1]
        assert hashlib.sha256(b"\x00" + body).hexdigest() == row["leaf_sha256"]
    assert merkle.root_of([bytes.fromhex(row["leaf_sha256"]) for row in rows]) == signed.root
    await seal(app, place)
    made = [row["entry"] for row in await lines(client) if row["entry"]["type"] == "export.made"]
    assert [(each["subject"], each["actor"]) for each in made] == [("log", "visitor")]
    assert (await client.head(f"{PATH}/export.ndjson")).status_code == 200
    assert len(await lines(client)) == signed.size + 1, "looking at the head takes nothing"


async def test_open_data_of_a_period(app: Litestar, client: httpx.AsyncClient, place: Path) -> None:
    await happen(app, 3)
    await seal(app, place)
    moments = [row["entry"]["at"] for row in await lines(client)]
    middle = sorted(moments)[len(moments) // 2]
    assert len(await lines(client, f"?from={middle}")) == sum(each >= middle for each in moments)
    assert len(await lines(client, f"?to={middle}")) == sum(each < middle for each in moments)
    today = middle[:10]
    assert len(await lines(client, f"?from={today}&to={today}")) == sum(
        each[:10] == today for each in moments
    )
    assert await lines(client, "?to=2020-01-01") == []
    for wrong in ("yesterday", "2026-13-01", "2026-01-01T00:00:00", "9999-12-31", "0001-01-01"):
        problem = is_problem(await client.get(f"{PATH}/export.ndjson?from={wrong}"), 422)
        assert problem["errors"][0]["pointer"] == "/from"


async def test_no_vote_names_its_ballot_and_no_words_of_anybody_go_out(
    app: Litestar, client: httpx.AsyncClient, api: Any, place: Path
) -> None:
    workflow = await propose(await api("chidi"))
    await review(await api("dana"), workflow, reason="Words of Dana's own.")
    for name in ("ada", "ben"):
        assert (await vote(await api(name), workflow, "for")).status_code == 201
    await seal(app, place)
    rows = [row["entry"] for row in await lines(client)]
    ref, about = workflow["policy"]["ref"], [row for row in rows if row["type"] == "ballot.opened"]
    ballot = about[0]["payload"]["ballot"]
    cast = [row for row in rows if row["type"] == "vote.cast"]
    assert len(cast) == 2
    for row in cast:
        assert ref not in json.dumps(row) and ballot not in json.dumps(row)
        assert (row["actor"], row["request_id"]) == ("voter", "")
    reviewed = next(row for row in rows if row["type"] == "review.approved")
    assert "Dana" not in json.dumps(rows)
    assert set(reviewed["personal"]) == {"reason"}
    bare = hashlib.sha256(b"Words of Dana's own.").hexdigest()
    assert reviewed["personal"]["reason"] not in (bare, "Words of Dana's own.")
    tiles = (await client.get(f"/audit/tile/entries/000.p/{len(rows)}")).content
    assert b"Words of Dana" not in tiles and ballot.encode() in tiles


async def test_entries_are_found_followed_and_read(
    app: Litestar, client: httpx.AsyncClient, api: Any, place: Path
) -> None:
    workflow = await propose(await api("chidi"))
    await review(await api("dana"), workflow, reason="Words of Dana's own.")
    ref = workflow["policy"]["ref"]
    assert (await client.get(f"{PATH}/entries")).json()["items"] == [], "nothing has its place yet"
    await happen(app, 5)
    signed = await seal(app, place)
    assert signed is not None
    seen, query = [], f"{PATH}/entries?limit=4"
    while query:
        response = await client.get(query)
        page = response.json()
        seen += [item["index"] for item in page["items"]]
        following = page["page"]["next"]
        assert (following is not None) == ('rel="next"' in response.headers.get("link", ""))
        query = f"{PATH}/entries?limit=4&cursor={following}" if following else ""
    assert seen == list(range(signed.size))[::-1]

    async def types(filters: str) -> list[str]:
        answer = await client.get(f"{PATH}/entries?{filters}")
        assert answer.status_code == 200, answer.text
        return [item["type"] for item in answer.json()["items"]]

    of_policy = await types(f"subject={ref}")
    assert of_policy[-2:] == ["policy.submitted", "policy.drafted"] and "review.approved" in of_policy
    assert await types("type=policy.drafted") == ["policy.drafted"]
    assert await types(f"type=policy.&subject={ref}") == ["policy.submitted", "policy.drafted"]
    assert await types("q=TEST.happened&type=test.&from=2020-01-01") == ["test.happened"] * 5
    assert await types("to=2020-01-01") == [] == await types("subject=POL-1999-0001")
    (item,) = (await client.get(f"{PATH}/entries?type=review.approved")).json()["items"]
    assert (item["actor_name"], item["words"]) == ("Dana Whitlock", {"reason": "Words of Dana's own."})
    assert await types(f"actor={item['actor']}&type=review.") == ["review.approved"]
    read = await client.get(item["links"]["self"])
    assert read.json() == item
    assert hashlib.sha256(b"\x00" + rfc8785.dumps(item["body"])).hexdigest() == item["leaf_sha256"]
    known = {"If-None-Match": read.headers["etag"]}
    assert (await client.get(item["links"]["self"], headers=known)).status_code == 304
    assert (await client.get(item["links"]["proof"])).status_code == 200
    is_problem(await client.get(f"{PATH}/entries/{signed.size}"), 404, "no_entry")
    for wrong in (
        "from=never",
        "to=2026-99-99",
        "limit=0",
        "limit=201",
        "cursor=abc",
        "q=%00",
        "q=" + "x" * 201,
    ):
        is_problem(await client.get(f"{PATH}/entries?{wrong}"), 422)
