"""A person at a real browser: what they do on every page, and what no page may do to them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Error,
    Locator,
    Page,
    Playwright,
    Response,
    expect,
)

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

HARMLESS = (
    "Failed to load resource",  # refused addresses, which _response judges
    "htmx:sendAbort",  # htmx says so when one goes on typing and a newer question replaces the last
    "htmx:afterRequest",
)


def launch(playwright: Playwright) -> Browser:
    """Playwright's own Chromium, else the system's, else one that is installed now; else a loud skip, which CI forbids."""
    for executable in _executables():
        with suppress(Error):
            return playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
    message = "NO BROWSER: the portal was NOT tested in a browser. Install chromium."
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


def _executables() -> Iterator[str | None]:
    yield None
    yield shutil.which("chromium") or "/usr/bin/chromium"
    subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"], check=False)
    yield None
    if os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(["apt-get", "install", "-y", "-qq", "chromium"], check=False)
        yield shutil.which("chromium")


class Visitor:
    """One browser profile with one page. `complaints` is everything that went wrong behind the page's back."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.context, self.url = context, url
        self.complaints: list[str] = []
        self.refusals: set[int] = set()  # statuses from 400 to 499 that this test asks for
        context.on("console", self._console)
        context.on("weberror", lambda error: self.complaints.append(f"script: {error.error}"))
        context.on("response", self._response)
        self.page: Page = context.new_page()

    def _console(self, line: ConsoleMessage) -> None:
        if line.type == "error" and not line.text.startswith(HARMLESS):
            self.complaints.append(f"console on {line.page.url if line.page else '?'}: {line.text}")

    def _response(self, response: Response) -> None:
        if response.status >= 400 and response.status not in self.refusals:
            self.complaints.append(f"{response.status} {response.request.method} {response.url}")
        if not response.url.startswith(("data:", self.url)):
            self.complaints.append(f"loaded from elsewhere: {response.url}")

    # --- what everyone does ---

    def goto(self, path: str) -> Page:
        self.page.goto(self.url + path)
        return self.page

    @property
    def path(self) -> str:
        return urlsplit(self.page.url).path

    def press(self, name: str, within: Locator | None = None) -> None:
        (within or self.page).get_by_role("button", name=name, exact=True).click()

    def sees(self, text: str | re.Pattern[str], within: Locator | None = None) -> None:
        expect(within or self.page.locator("main")).to_contain_text(text)

    def comes_to_see(self, text: str, seconds: float = 120) -> None:
        """What a worker brings about: on a busy machine, or where no script follows, the page is asked for again."""
        deadline = time.monotonic() + seconds
        while text not in self.page.locator("main").inner_text() and time.monotonic() < deadline:
            time.sleep(0.5)
            self.page.reload()
        self.sees(text)

    def told(self, text: str | re.Pattern[str]) -> None:
        """The notice about what this person has just done."""
        expect(self.page.locator("#notices")).to_contain_text(text)

    def act_as(self, username: str) -> None:
        """By the demonstration's banner, which comes back to the same page."""
        if self.page.url == "about:blank":
            self.goto("/")
        who = self.page.locator("#persona")
        if not who.is_visible():  # in a narrow window the banner is folded
            self.page.get_by_text("Who and when").click()
        who.select_option(username)
        self.press("Switch")
        self.told("You act as")

    def move_clock(self, duration: str) -> None:
        self.page.select_option("#advance", duration)
        self.press("Move")
        self.told("The clock moved")
