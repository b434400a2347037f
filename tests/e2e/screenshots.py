"""`python -m tests.e2e.screenshots`: takes docs/screenshots/ anew, of a fresh portal with the demonstration."""

from __future__ import annotations

import tempfile
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from tests.e2e.browsing import Visitor, launch
from tests.e2e.running import ROOT, Portal, running, wait_until
from tests.e2e.samples import names_in

TO = ROOT / "docs" / "screenshots"
DESKTOP, PHONE = (1280, 900), (390, 844)
LARGEST = 200_000  # bytes

# file → (persona, address, window, theme, what to bring into view)
SHOTS: dict[str, tuple[str | None, str, tuple[int, int], str, str | None]] = {
    "home": (None, "/", DESKTOP, "light", None),
    "proposal": (None, "/policies/{ruled}", DESKTOP, "light", ".stepper"),
    "vote": ("ben", "/policies/{voted}/ballot", DESKTOP, "light", ".stepper"),
    "vote-phone": ("ben", "/policies/{voted}/ballot", PHONE, "light", ".vote"),
    "results": (None, "/policies/{enacted}/results", DESKTOP, "light", "#results-title"),
    "verify": (None, "/policies/{enacted}/verify", DESKTOP, "light", "#verify-title"),
    "timeline-dark": (None, "/policies/{voted}/timeline", DESKTOP, "dark", "#timeline-title"),
    "audit": (None, "/audit", DESKTOP, "light", None),
    "entry-dark": (None, "/audit/entries/700", DESKTOP, "dark", None),
    "transparency": (None, "/transparency", DESKTOP, "light", None),
    "report-phone": (None, "/transparency/reports/REP-{year}-0001", PHONE, "light", ".report-part"),
    "enforcement": (None, "/enforcement", DESKTOP, "light", None),
    "review-rule": ("dana", "/policies/{voting}/review", DESKTOP, "light", "#both-title"),
    "violation-phone": ("farah", "/violations/{violation}", PHONE, "light", "#done-title"),
    "compliance-asked": ("dana", "/policies/{asked}/compliance", DESKTOP, "light", "#marked-title"),
    "compliance-stopped-phone": ("gita", "/policies/{stopped}/compliance", PHONE, "dark", "#marked-title"),
    "compliance": (None, "/compliance", DESKTOP, "light", None),
    "constitution-dark": (None, "/constitution", DESKTOP, "dark", None),
}


def main() -> None:
    TO.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="acgs-shots-", ignore_cleanup_errors=True) as place:
        Path(place).chmod(0o755)  # as root PostgreSQL runs as somebody else
        with running(Path(place) / "data") as portal, sync_playwright() as playwright:
            wait_until(portal.unfinished_anchors, "the demonstration's records are not final")
            take_all(portal, launch(playwright))


def take_all(portal: Portal, browser: Browser) -> None:
    names = names_in(portal)
    for name, shot in SHOTS.items():
        file = TO / f"{name}.png"
        take(portal, browser, names, file, *shot)
        assert file.stat().st_size < LARGEST, f"{file} is too large for the README"
        print(f"{file.relative_to(ROOT)}: {file.stat().st_size // 1000} kB")


def take(
    portal: Portal,
    browser: Browser,
    names: dict[str, str],
    file: Path,
    who: str | None,
    address: str,
    window: tuple[int, int],
    theme: str,
    at: str | None,
) -> None:
    size = {"width": window[0], "height": window[1]}
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme=theme)
    visitor = Visitor(context, portal.url)
    if who:
        visitor.act_as(who)
    page = visitor.page
    page.set_viewport_size(size)
    visitor.goto(address.format(**names))
    show(page, at)
    page.screenshot(path=file)
    context.close()
    assert not visitor.complaints


def show(page: Page, at: str | None) -> None:
    """With fonts loaded and `at` near the top of the window."""
    page.evaluate("document.fonts.ready")
    if at:
        page.locator(at).first.evaluate(
            "element => scrollTo(0, element.getBoundingClientRect().top + scrollY - 32)"
        )


if __name__ == "__main__":
    main()
