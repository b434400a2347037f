"""Everyone can use every page: axe finds nothing in light and dark, nothing scrolls sideways, the keyboard suffices."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from portal.app import create_app
from portal.settings import Settings
from tests.e2e.browsing import Visitor
from tests.e2e.running import Portal
from tests.e2e.samples import NOT_PAGES, PAGES_AMONG_THOSE, REFUSED, SAMPLES, names_in

AXE = (Path(__file__).parent / "vendor" / "axe.min.js").read_text()
STANDARDS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
NARROW = 320  # CSS pixels: 1280 at 400 % zoom (WCAG 1.4.10)
# Swagger UI is somebody else's work, vendored as it is; the page around it is ours.
NOT_OURS = "#swagger-ui"


@pytest.fixture(scope="module")
def names(portal: Portal) -> dict[str, str]:
    return names_in(portal)


@pytest.fixture
def come(portal: Portal, visitor: Callable[..., Visitor], sessions: dict[str, Any]) -> Callable[..., Visitor]:
    """`come("dana")`: somebody signed in already; signing in is tested elsewhere."""

    def come(username: str | None = None, **options: Any) -> Visitor:
        # Colours that fade would be judged on their way.
        options = {"reduced_motion": "reduce", **options}
        if username is None:
            return visitor(portal, **options)
        if username not in sessions:
            first = visitor(portal)
            first.act_as(username)
            sessions[username] = first.context.storage_state()
        return visitor(portal, storage_state=sessions[username], **options)

    return come


@pytest.fixture(scope="module")
def sessions() -> dict[str, Any]:
    return {}


def test_no_page_is_forgotten() -> None:
    """A new page must be listed in samples.py, so that it is checked here."""
    settings = Settings(
        database_url="postgresql://unused", redis_url="redis://unused", jwt_secret="unused" * 8, demo=True
    )
    routes = {route.path for route in create_app(settings).routes if "GET" in getattr(route, "methods", ())}
    pages = {r for r in routes if not r.startswith(NOT_PAGES) or r in PAGES_AMONG_THOSE}
    assert len(pages) > 20
    shown = [re.sub(r"{\w+}", "1", address).partition("?")[0] for _, address in SAMPLES]
    forgotten = {
        page for page in pages if not any(re.fullmatch(re.sub(r"{\w+:\w+}", "[^/]+", page), s) for s in shown)
    }
    assert not forgotten


@pytest.mark.parametrize(("who", "address"), SAMPLES, ids=[f"{who or 'visitor'} {at}" for who, at in SAMPLES])
def test_page(come: Callable[..., Visitor], names: dict[str, str], who: str | None, address: str) -> None:
    page = come(who).goto(address.format(**names))
    check(page, framed=not address.startswith("/api/"))


@pytest.mark.parametrize(("who", "address", "status"), REFUSED)
def test_refusal(come: Callable[..., Visitor], who: str | None, address: str, status: int) -> None:
    v = come(who)
    v.refusals = {status}
    page = v.goto(address)
    expect(page.locator("main a, main form").first).to_be_visible()  # a way on
    check(page)


def check(page: Page, framed: bool = True) -> None:
    expect(page.locator("html")).to_have_attribute("lang", re.compile(r"^[a-z]{2}"))
    for one in ("main", "main h1", *(("header.site", "footer", ".skip") if framed else ())):
        expect(page.locator(one)).to_have_count(1)
    page.evaluate("for (const fold of document.querySelectorAll('details')) fold.open = true")
    page.evaluate(AXE)
    assert not violations(page, {"runOnly": STANDARDS})
    page.emulate_media(color_scheme="dark")
    page.evaluate(
        "Promise.allSettled(document.getAnimations().map(each => each.finished))"
    )  # colours fade over
    assert not violations(page, {"runOnly": ["color-contrast", "link-in-text-block"]})
    page.set_viewport_size({"width": NARROW, "height": 640})
    assert not beyond_the_edge(page)


def violations(page: Page, options: dict[str, Any]) -> dict[str, list[str]]:
    """What axe objects to, with the places; everything else it found stays in the browser, as it is large."""
    passed, found = page.evaluate(
        """async ([exclude, options]) => {
             const report = await axe.run({exclude: [[exclude]]}, options);
             const place = (node) => `${node.html.slice(0, 200)} ${node.failureSummary.slice(0, 300)}`;
             return [report.passes.length, report.violations.map((rule) => [rule.id, rule.nodes.slice(0, 3).map(place)])];
           }""",
        [NOT_OURS, {**options, "resultTypes": ["violations"], "preload": False}],
    )
    assert passed
    return dict(found)


def beyond_the_edge(page: Page) -> list[str]:
    """What sticks out of the window, but for code and data tables, which may scroll within themselves."""
    return page.evaluate(
        """([width, notOurs]) => {
             const out = [...document.querySelectorAll("body *")].filter((e) => {
               const box = e.getBoundingClientRect();
               return box.width > 1 && (box.right > width + 1 || box.left < -1)
                 && !e.closest(`pre, table[tabindex] *, .visually-hidden, svg, .skip, ${notOurs}`);
             });
             const wide = document.documentElement.scrollWidth > width && !document.querySelector(notOurs);
             return [...out.map((e) => e.outerHTML.slice(0, 120)), ...(wide ? ["the page scrolls sideways"] : [])];
           }""",
        [NARROW, NOT_OURS],
    )


# --- direction, colours, motion ---


def test_arabic_runs_from_right_to_left(come: Callable[..., Visitor], names: dict[str, str]) -> None:
    v = come()
    direction = "element => getComputedStyle(element).direction"
    page = v.goto(f"/policies/{names['arabic']}")
    for part in ("h1 bdi", "main .prose"):
        assert page.locator(part).first.evaluate(direction) == "rtl", part
    # The first letter stands at the right of its line, and the portal's own words stay where they were.
    box, line = page.locator("main .prose p").first.bounding_box(), page.locator("main .prose").bounding_box()
    assert abs((box["x"] + box["width"]) - (line["x"] + line["width"])) < 2
    assert page.locator("footer").evaluate(direction) == "ltr"
    page = v.goto(f"/policies/{names['enacted']}")
    assert page.locator("h1 bdi").evaluate(direction) == "ltr"


@pytest.mark.parametrize(
    "address",
    ["/", "/policies/{voted}/ballot", "/policies/{enacted}/results", "/policies/{stopped}/compliance"],
)
def test_forced_colours_and_rest(come: Callable[..., Visitor], names: dict[str, str], address: str) -> None:
    page = come("ada", forced_colors="active").goto(address.format(**names))
    colour, ground = page.locator("h1").evaluate(
        "h1 => [getComputedStyle(h1).color, getComputedStyle(document.body).backgroundColor]"
    )
    assert colour != ground
    flat = page.evaluate(
        """() => [...document.querySelectorAll("main button, main .button, main .card")].filter((e) => {
             const style = getComputedStyle(e);
             return e.checkVisibility() && style.borderStyle === "none" && style.outlineStyle === "none";
           }).map((e) => e.outerHTML.slice(0, 100))"""
    )
    assert not flat, "without background colours these have no edge"
    moving = page.evaluate(
        """() => [...document.querySelectorAll("*")].filter((e) => parseFloat(getComputedStyle(e).transitionDuration) > 0
             || getComputedStyle(e).animationName !== "none").length"""
    )
    assert moving == 0
