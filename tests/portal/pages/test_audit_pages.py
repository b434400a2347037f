"""The log's pages: sentences with their proofs, what can be searched, and a rehearsal that leaves nothing changed."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from litestar import Litestar

from portal.settings import Settings
from tests.portal.api.walk import jump, propose, review, vote
from tests.portal.conftest import with_forms
from tests.portal.pages.html import check_page, text_of
from tests.portal.statements import counted
from tests.portal.the_log import seal
from workflows.audit_transparency import rehearsal

SignIn = Callable[[str], Awaitable[httpx.AsyncClient]]
ATOM = "{http://www.w3.org/2005/Atom}"


@pytest.fixture
async def ref(app: Litestar, api: SignIn, client: httpx.AsyncClient, tmp_path: Path) -> str:
    """A policy that passed, all of it ordered and signed in two checkpoints."""
    workflow = await propose(await api("chidi"))
    await seal(app, tmp_path / "checkpoint")
    await review(await api("dana"), workflow, reason="Because <b>it</b> is clear.")
    await vote(await api("ada"), workflow, "for")
    await jump(client)
    await seal(app, tmp_path / "checkpoint")
    return workflow["policy"]["ref"]


async def shown(client: httpx.AsyncClient, path: str, status: int = 200) -> Any:
    answer = await client.get(path)
    assert answer.status_code == status, f"{path}: {answer.status_code}"
    return check_page(answer)


async def test_the_log_is_read_as_sentences(ref: str, client: httpx.AsyncClient) -> None:
    page = text_of(await shown(client, "/audit"))
    assert "In force." in page and "A vote was cast." in page and "Signed" in page
    assert "Because <b>it</b> is clear." in page, "what was said stands beside it, as text"
    about = text_of(await shown(client, f"/audit?subject={ref}"))
    assert "Submitted for review." in about and "A vote was cast" not in about
    assert "Chidi" in about


@pytest.mark.parametrize(
    ("query", "there", "not_there"),
    [
        ("type=ballot.", "The ballot opened", "Submitted for review"),
        ("type=policy.enacted", "In force.", "The ballot opened"),
        ("actor=voter", "A vote was cast", "In force."),
        ("q=SPELLING", "", "In force."),
        ("q=openings_sha256", "The ballot closed", "In force."),
        ("from=2020-01-01&to=2020-02-01", "No entry fits", "In force."),
        ("subject=POL-1999-0001", "No entry fits", "In force."),
        ("q=_%25_", "No entry fits", "In force."),
    ],
)
async def test_it_can_be_searched(
    ref: str, client: httpx.AsyncClient, query: str, there: str, not_there: str
) -> None:
    page = text_of(await shown(client, f"/audit?{query}"))
    assert there in page and not_there not in page


async def test_pages_follow_one_another_without_gap(
    ref: str, client: httpx.AsyncClient, app: Any, tmp_path: Path
) -> None:
    for _ in range(15):
        await jump(client, "PT1S")
    await seal(app, tmp_path / "checkpoint")
    seen: list[int] = []
    path: str | None = "/audit"
    while path:
        text = (await client.get(path)).text
        seen += [int(index) for index in re.findall(r'href="/audit/entries/(\d+)"', text)]
        following = re.search(r'rel="next" href="([^"]+)"', text)
        path = following[1].replace("&amp;", "&") if following else None
    assert seen == sorted(seen, reverse=True) and len(seen) == len(set(seen)) == seen[0] + 1


@pytest.mark.parametrize("query", ["from=yesterday", "to=2026-13-01", "cursor=nonsense", "from=0001-01-01"])
async def test_what_cannot_be_searched_says_why(ref: str, client: httpx.AsyncClient, query: str) -> None:
    page = await shown(client, f"/audit?{query}", 422)
    assert "Nothing was searched" in text_of(page)


async def test_an_entry_comes_with_a_proof_that_leads_to_the_signed_root(
    ref: str, client: httpx.AsyncClient
) -> None:
    last = int(re.search(r"/audit/entries/(\d+)", (await client.get("/audit")).text)[1])  # type: ignore[index]
    for index in range(last + 1):
        page = await shown(client, f"/audit/entries/{index}")
        assert "All 32 bytes equal" in text_of(page), index
    assert (await client.get(f"/audit/entries/{last + 1}")).status_code == 404
    assert (await client.get("/audit/entries/99999999999999999999")).status_code == 404


async def test_words_are_shown_with_their_commitment(ref: str, client: httpx.AsyncClient) -> None:
    found = re.search(r"/audit/entries/(\d+)", (await client.get("/audit?type=review.approved")).text)
    assert found is not None
    page = text_of(await shown(client, f"/audit/entries/{found[1]}"))
    assert "Fits its commitment in the log" in page and "Because <b>it</b> is clear." in page


async def test_checkpoints_and_consistency(ref: str, client: httpx.AsyncClient) -> None:
    text = (await client.get("/audit/checkpoints")).text
    sizes = [int(size) for size in re.findall(r'href="/audit/checkpoints/(\d+)"', text)]
    assert len(sizes) == 2 and sizes[0] > sizes[1]
    await shown(client, "/audit/checkpoints")
    await shown(client, f"/audit/checkpoints/{sizes[0]}")
    assert (await client.get("/audit/checkpoints/1")).status_code == 404
    assert "Nothing was rewritten" in text_of(await shown(client, f"/audit/consistency?from={sizes[1]}"))
    for wrong in (
        "from=0",
        f"from={sizes[0] + 1}",
        "from=x",
        f"from={sizes[0]}&to={sizes[1]}",
        "from=-1",
        "from=٣",
    ):
        await shown(client, f"/audit/consistency?{wrong}", 422)


async def test_before_anything_is_signed_the_pages_say_so(client: httpx.AsyncClient) -> None:
    for path in ("/audit", "/audit/checkpoints", "/audit/consistency", "/audit/anchors", "/audit/verify"):
        await shown(client, path)
    assert "No entries yet" in (await client.get("/audit")).text
    assert (await client.get("/audit/entries/0")).status_code == 404


async def test_the_feed_is_atom(ref: str, client: httpx.AsyncClient) -> None:
    answer = await client.get(f"/audit/feed.atom?subject={ref}")
    assert answer.headers["content-type"].startswith("application/atom+xml")
    feed = ET.fromstring(answer.content)
    assert feed.tag == f"{ATOM}feed"
    for name in ("id", "title", "updated"):
        assert feed.findtext(f"{ATOM}{name}")
    entries = feed.findall(f"{ATOM}entry")
    assert entries
    for entry in entries:
        assert all(entry.findtext(f"{ATOM}{name}") for name in ("id", "title", "updated"))
        assert entry.findtext(f"{ATOM}author/{ATOM}name")
        assert (entry.find(f"{ATOM}link").get("href") or "").startswith("http")  # type: ignore[union-attr]
    assert len({entry.findtext(f"{ATOM}id") for entry in entries}) == len(entries)


async def test_the_verifiers_can_be_had_with_their_digests(ref: str, client: httpx.AsyncClient) -> None:
    import hashlib

    page = (await client.get("/audit/verify")).text
    for name in ("acgs_verify.py", "acgs-verify.html"):
        file = (await client.get(f"/static/verify/{name}")).content
        assert hashlib.sha256(file).hexdigest() in page.replace("</span><span>", "")


@pytest.mark.parametrize("kind", list(rehearsal.KINDS))
async def test_tampering_is_rehearsed_found_and_undone(
    ref: str, client: httpx.AsyncClient, app: Any, kind: str
) -> None:
    with_forms(client)
    await shown(client, "/audit/rehearsal")
    answer = await client.post("/audit/rehearsal", data={"kind": kind})
    assert answer.status_code == 200, answer.text
    page = text_of(check_page(answer))
    assert "Found" in page and "Refused" in page and "permission denied" in page
    assert page.count("All of it fits") == 2, "before, and after it was put back"
    assert (await client.post("/audit/rehearsal", data={"kind": "nothing"})).status_code == 422


async def test_there_is_no_rehearsal_outside_the_demonstration(
    client: httpx.AsyncClient, app: Any, settings: Settings
) -> None:
    with_forms(client)
    app.state.settings = app.state.services.settings
    object.__setattr__(app.state.services, "settings", settings.with_(demo=False))
    assert (await client.get("/audit/rehearsal")).status_code == 404
    assert (await client.post("/audit/rehearsal", data={"kind": "byte"})).status_code == 404


async def test_no_page_asks_more_the_more_it_shows(ref: str, client: httpx.AsyncClient) -> None:
    for path, most in (
        ("/audit", 11),
        (f"/audit?subject={ref}", 11),
        ("/audit/entries/3", 11),
        ("/audit/anchors", 5),
        ("/transparency", 6),
    ):
        with counted() as said:
            assert (await client.get(path)).status_code == 200
        assert 0 < len(said) <= most, (path, len(said), said)
