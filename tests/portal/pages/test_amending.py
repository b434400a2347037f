"""The constitution is amended by forms alone: written, compared, reviewed, voted on, in force for everybody, and kept."""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import suppress

import pytest
import sqlalchemy as sa

from portal.governing import Governing
from tests.portal.api.walk import WORKFLOWS, is_problem, pointers
from tests.portal.pages.html import check_page, send
from tests.portal.pages.test_policy_pages import move_clock, review
from workflows.constitution.document import load

TEXT = load().text
FOUNDED = load().sha256
STRICTER = TEXT.replace("| quorum_percent | 10 |", "| quorum_percent | 20 |")
FILLED = {
    "title": "Ask for a quorum of twenty per cent",
    "summary": "A ballot counts when a fifth of the members took part.",
    "text": "The quorum in the annex becomes twenty per cent.",
    "category": "constitutional",
    "priority": "normal",
    "risk_strategy": "",
}


async def write(client, document: str = STRICTER, **filled: str):
    """Hand in an amendment by the form; the answer."""
    page = await client.get("/policies/new")
    given = {**FILLED, "amends": "true", "constitution_text": document, "do": "submit", **filled}
    return await send(client, page, "/policies", **given)


async def carry(as_persona, ref: str) -> None:
    """Review, comments, ballot and close."""
    for reviewer in ("dana", "emre", "farah"):
        assert (await review(await as_persona(reviewer), ref)).status_code == 200
    ada = await as_persona("ada")
    await move_clock(ada, "P7D")
    for voter in ("ada", "ben"):
        client = await as_persona(voter)
        page = await client.get(f"/policies/{ref}/ballot")
        await send(client, page, f"/policies/{ref}/ballot/votes", choice="for")
    await move_clock(ada, "P7D")


@pytest.fixture
async def chidi(as_persona):
    return await as_persona("chidi")


async def test_the_editor_begins_with_the_document_in_force(chidi) -> None:
    page = await chidi.get("/policies/new")
    check_page(page)
    assert "The amended constitution" in page.text
    assert FOUNDED in page.text
    assert "A ballot is open for seven days." in page.text


async def test_an_amendment_by_forms_alone(chidi, as_persona, client, app) -> None:
    answer = await write(chidi)
    assert answer.status_code == 200, answer.text
    ref = answer.url.path.removeprefix("/policies/")
    for tab in ("", "/review", "/changes", "/versions/1"):
        page = await client.get(f"/policies/{ref}{tab}")
        check_page(page)
        assert "Quorum percent: from 10 to 20." in page.text, tab
        assert "<del>10</del>" in page.text and "<ins>20</ins>" in page.text, tab
    await carry(as_persona, ref)
    amended = hashlib.sha256(STRICTER.encode()).hexdigest()
    page = await client.get("/constitution")
    check_page(page)
    assert page.headers["x-constitution-hash"] == amended
    assert amended in page.text and FOUNDED in page.text and ref in page.text
    for path in (
        f"/policies/{ref}",
        "/chain",
        "/constitution/conformance",
        "/constitution/principles",
        "/policies/new",
    ):
        page = await client.get(path) if path != "/policies/new" else await chidi.get(path)
        assert page.status_code == 200, path
        check_page(page)
    document = await client.get("/constitution/document")
    assert document.content == STRICTER.encode()
    view = (await client.get("/api/v1/constitution")).json()
    assert view["figures"]["quorum_percent"]["value"] == 20
    assert [(item["number"], item["sha256"], item["in_force"]) for item in view["documents"]] == [
        (1, amended, True),
        (0, FOUNDED, False),
    ]
    for sha256, body in ((FOUNDED, TEXT), (amended, STRICTER)):
        kept = await client.get(f"/api/v1/constitution/documents/{sha256}")
        assert kept.content == body.encode()
    other = (await (await as_persona("chidi")).get("/policies/new")).text
    assert "| quorum_percent | 20 |" in other
    version = (await client.get(f"/api/v1/policies/{ref}")).json()["version"]
    assert version["constitution"] == {"text": STRICTER, "sha256": amended, "base_sha256": FOUNDED}
    on_chain = (await client.get(f"/api/v1/policies/{ref}/on-chain")).json()
    assert (on_chain["checked"], on_chain["passed"]) == (False, None)
    async with app.state.services.engine.connect() as connection:
        kinds = (await connection.execute(sa.text("SELECT kind FROM anchor ORDER BY kind"))).scalars().all()
    assert kinds == ["constitution", "policy"]


async def test_whoever_writes_against_an_earlier_document_is_told_and_loses_nothing(
    chidi, as_persona
) -> None:
    opened = await chidi.get("/policies/new")
    ref = (await write(chidi)).url.path.removeprefix("/policies/")
    await carry(as_persona, ref)
    mine = TEXT.replace("| voting_days | 7 |", "| voting_days | 11 |")
    answer = await send(
        chidi, opened, "/policies", **FILLED, amends="true", constitution_text=mine, do="submit"
    )
    assert answer.status_code == 409
    check_page(answer)
    assert "The constitution was amended since you opened this" in answer.text
    assert "| voting_days | 11 |" in answer.text


async def test_what_is_wrong_with_a_document_stands_at_its_field(chidi) -> None:
    answer = await write(chidi, TEXT.replace("| quorum_percent | 10 |", "| quorum_percent | 5 |"))
    assert answer.status_code == 422
    check_page(answer)
    assert "below the programme" in answer.text
    assert "| quorum_percent | 5 |" in answer.text  # what was written is not lost


async def test_a_preview_shows_what_would_change_and_what_is_wrong(chidi) -> None:
    page = await chidi.get("/policies/new")
    answer = await send(
        chidi, page, "/policies", **FILLED, amends="true", do="preview",
        constitution_text=TEXT.replace("| appeal_hours | 48 |", "| appeal_hours | 12 |"),
    )  # fmt: skip
    check_page(answer)
    assert "Nobody could be governed by this document" in answer.text


async def test_without_its_tick_or_in_another_category_no_document_is_carried(chidi, client) -> None:
    for changed in ({"amends": ""}, {"category": "governance"}):
        answer = await write(chidi, **changed)
        assert answer.status_code == 200, answer.text
        ref = answer.url.path.removeprefix("/policies/")
        assert (await client.get(f"/api/v1/policies/{ref}")).json()["version"]["constitution"] is None


async def test_programs_amend_and_are_told_what_is_wrong(api) -> None:
    program = await api("chidi")
    body = {key: FILLED[key] for key in ("title", "summary", "text", "category")}
    for text, base, status, code, at in (
        (STRICTER, "c" * 64, 409, "constitution_changed", set()),
        (TEXT, FOUNDED, 422, None, {"/constitution/text"}),
        ("no annex", FOUNDED, 422, None, {"/constitution/text"}),
        (STRICTER, "short", 422, None, {"/constitution/base_sha256"}),
    ):
        answer = await program.post(
            WORKFLOWS, json={**body, "constitution": {"text": text, "base_sha256": base}}
        )
        is_problem(answer, status, code)
        if at:
            assert pointers(answer) == at
    safety = {**body, "category": "safety", "constitution": {"text": STRICTER, "base_sha256": FOUNDED}}
    assert pointers(await program.post(WORKFLOWS, json=safety)) == {"/constitution"}
    good = await program.post(
        WORKFLOWS, json={**body, "constitution": {"text": STRICTER, "base_sha256": FOUNDED}}
    )
    assert good.status_code == 202, good.text
    preview = await program.post(
        "/api/v1/policies/preview", json={**body, "constitution": {"text": STRICTER, "base_sha256": FOUNDED}}
    )
    assert preview.status_code == 200, preview.text


async def test_another_process_hears_of_it_at_once(chidi, as_persona, app) -> None:
    held = app.state.services
    elsewhere = Governing(load())
    following = asyncio.create_task(elsewhere.follow(held.engine, held.live))
    try:
        ref = (await write(chidi)).url.path.removeprefix("/policies/")
        await carry(as_persona, ref)
        for _ in range(200):
            if elsewhere.current.sha256 != FOUNDED:
                break
            await asyncio.sleep(0.05)
        assert elsewhere.current.figures.quorum_percent.value == 20
    finally:
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following
