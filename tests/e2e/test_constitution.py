"""One changed byte in the constitution: nothing is anchored, everyone sees why, and the portal keeps running."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.e2e.browsing import Visitor
from tests.e2e.conftest import Starting
from tests.e2e.running import Portal, wait_until
from tests.e2e.samples import TITLES, Program
from workflows.constitution.document import load


@pytest.fixture(scope="module")
def portal(start: Starting, place: Path) -> Iterator[Portal]:
    changed = place / "changed.md"
    changed.write_bytes(load().body.replace(b"makes its rules together", b"makes its rules  together", 1))
    assert changed.stat().st_size == len(load().body) + 1
    with start(CONSTITUTION_FILE=str(changed)) as portal:
        wait_until(
            lambda: portal.get("/api/v1/chain")["reason_code"] != "constitution_hash_differs",
            "nobody has compared",
        )
        yield portal


def test_a_mismatch_is_shown_on_every_page_and_the_queue_waits(
    portal: Portal, visitor: Callable[..., Visitor]
) -> None:
    v = visitor(portal)
    page = v.goto("/policies")
    expect(page.locator(".alerts")).to_contain_text("onstitution")
    expect(page.locator("footer")).to_contain_text("The chain does not hold this hash")
    v.goto("/constitution")
    expect(page.locator(".compare-different")).to_contain_text("First different byte")
    v.goto("/chain")
    v.sees("Nothing is anchored at the moment")
    assert portal.get("/api/v1/chain")["may_anchor"] is False

    ref = portal.get("/api/v1/policies", q=TITLES["voting"])["items"][0]["ref"]
    ada = Program(portal, "ada")
    ada.vote(ref, "for")
    ada.post("/api/v1/demo/clock", advance="P3D")
    assert portal.get(f"/api/v1/policies/{ref}")["state"] == "enacted"
    time.sleep(3)  # in which an anchor that may go is on the chain
    anchor = portal.get("/api/v1/anchors", ref=ref)["items"][0]
    assert (anchor["state"], anchor["signature"]) == ("queued", None)
    v.goto(f"/policies/{ref}/implementation")
    v.sees("waits in our queue")
