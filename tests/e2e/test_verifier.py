"""The verifier in a browser, from a file on disk: it says what the Python one says, of what is true and of every lie."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.verify.sealing import FILE
from tests.verify.tampering import BUNDLE, LOG, SAMPLES, files_of, packed, settled
from tests.verify.test_verifier import run_inside


@pytest.fixture
def page(browser: Browser) -> Page:
    context = browser.new_context(viewport={"width": 390, "height": 800})
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on(
        "request",
        lambda request: (
            problems.append(request.url) if not request.url.startswith(("file:", "blob:")) else None
        ),
    )
    page.goto(FILE.as_uri())
    yield page
    assert problems == []
    context.close()


def claims(page: Page) -> list[tuple[str, str]]:
    script = "lines => lines.map(line => [line.dataset.id, line.dataset.state])"
    return [(key, state) for key, state in page.eval_on_selector_all("#claims li", script)]


def give(page: Page, file: Path) -> None:
    page.set_input_files("#file", file)
    expect(page.locator("#results, #status:has-text('cannot be checked')").first).to_be_visible(
        timeout=30_000
    )
    page.wait_for_function("!/Checking|Reading/.test(document.getElementById('status').textContent)")


@pytest.mark.parametrize("name", ["bundle.zip", "log.zip"])
def test_what_is_true_holds(page: Page, name: str) -> None:
    give(page, SAMPLES / name)
    expected = run_inside((SAMPLES / name).read_bytes())
    assert claims(page) == [(key, claim["state"]) for key, claim in expected.items()]
    assert "Everything that is there holds" in page.locator("#status").inner_text()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_it_judges_every_lie_as_the_other_one_does(page: Page, tmp_path: Path) -> None:
    for sample, lies in (("bundle.zip", BUNDLE), ("log.zip", LOG)):
        for name, lie, claim in lies:
            files = files_of(sample)
            lie(files)
            data = packed(settled(files))
            expected = run_inside(data)
            file = tmp_path / "lie.zip"
            file.write_bytes(data)
            page.set_input_files("#file", [])
            give(page, file)
            if not claim:
                assert "cannot be checked" in page.locator("#status").inner_text(), name
                continue
            assert claims(page) == [(key, item["state"]) for key, item in expected.items()], name


def test_one_byte_is_changed_and_found(page: Page) -> None:
    give(page, SAMPLES / "bundle.zip")
    page.select_option("#which", "versions/1.json")
    page.click("#tamper-form button")
    expect(page.locator("#verdict")).to_contain_text("do not hold")
    failed = [key for key, state in claims(page) if state == "FAIL"]
    assert "files" in failed and "texts" in failed
    assert page.evaluate("document.activeElement.id") == "results-title"


def test_what_is_no_zip_is_said_to_be_none(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "x.zip"
    file.write_bytes(b"nothing")
    give(page, file)
    assert "This is no ZIP" in page.locator("#status").inner_text()
