"""Reads pages as a browser without JavaScript does: checks what every page promises, fills in and sends its forms."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any
from urllib.parse import urljoin, urlsplit
from xml.etree.ElementTree import Element

import html5lib
import httpx

XHTML = "{http://www.w3.org/1999/xhtml}"
CONTROLS = ("input", "select", "textarea")


def parse(text: str) -> Element:
    """The page's tree. Fails on any parse error of the HTML standard."""
    parser = html5lib.HTMLParser(namespaceHTMLElements=False)
    document = parser.parse(text)
    lines = text.splitlines()
    faults = [(code, lines[at[0] - 1].strip()[:200]) for at, code, _ in parser.errors]
    assert not faults, faults
    return document


def text_of(element: Element) -> str:
    return re.sub(r"\s+", " ", "".join(element.itertext())).strip()


def check_page(response: httpx.Response) -> Element:
    """What notifications-admin calls the checks on every GET, and a few of ours."""
    assert response.headers["content-type"].startswith("text/html"), response.headers
    document = parse(response.text)
    assert text_of(document.find(".//title")), "no title"
    assert len(document.findall(".//h1")) == 1
    ids = [element.get("id") for element in document.iter() if element.get("id") is not None]
    assert sorted(set(ids)) == sorted(ids), [id for id in ids if ids.count(id) > 1]
    _check_headings(document)
    _check_references(document, set(ids))
    _check_forms(document)
    assert not document.findall(".//*[@autofocus]")
    assert not document.findall(".//style") and not document.findall(".//*[@style]")
    assert all(script.get("src") for script in document.iter("script"))
    return document


def _check_headings(document: Element) -> None:
    levels = [int(e.tag[1]) for e in document.iter() if re.fullmatch(r"h[1-6]", str(e.tag))]
    for before, after in pairwise(levels):
        assert after <= before + 1, f"h{before} is followed by h{after}"


def _check_references(document: Element, ids: set[str]) -> None:
    for element in document.iter():
        for attribute in ("for", "aria-labelledby", "aria-describedby"):
            for id in (element.get(attribute) or "").split():
                assert id in ids, f"{attribute}={id} leads nowhere"
        href = element.get("href") or ""
        if element.tag == "a" and href.startswith("#"):
            assert href[1:] in ids, f"{href} leads nowhere"


def _check_forms(document: Element) -> None:
    labelled = {label.get("for") for label in document.iter("label")}
    for form in document.iter("form"):
        assert form.get("action"), "a form without an action"
        if form.get("method", "get").lower() == "post":
            assert form.find(".//input[@name='_csrf_token']").get("value"), form.get("action")
        for control in form.iter():
            if control.tag not in CONTROLS or control.get("type") in ("hidden", "submit"):
                continue
            named = control.get("id") in labelled or control.get("aria-label")
            assert named, f"{control.get('name')} in {form.get('action')} has no label"


def find_form(document: Element, action: str) -> Element:
    """The form that is sent to `action`."""
    found = [form for form in document.iter("form") if form.get("action") == action]
    assert found, f"no form for {action}, but {[form.get('action') for form in document.iter('form')]}"
    return found[0]


def values(form: Element) -> dict[str, str]:
    """What a browser would send if nobody touched the form; no button."""
    sent = {}
    for control in form.iter():
        name, kind = control.get("name"), control.get("type")
        if control.tag not in CONTROLS or not name or kind == "submit":
            continue
        if kind in ("radio", "checkbox"):
            if control.get("checked") is not None:
                sent[name] = control.get("value", "on")
        elif control.tag == "select":
            options = control.findall(".//option")
            chosen = [option for option in options if option.get("selected") is not None] or options[:1]
            sent[name] = chosen[0].get("value", "") if chosen else ""
        else:
            sent[name] = (control.text or "") if control.tag == "textarea" else control.get("value", "")
    return sent


async def send(client: httpx.AsyncClient, page: httpx.Response, action: str, **filled: Any) -> httpx.Response:
    """Fill in the form on `page` that goes to `action`, send it and follow where it leads."""
    form = find_form(parse(page.text), action)
    fields = {**values(form), **{name.rstrip("_"): value for name, value in filled.items()}}
    url = urljoin(str(page.url), action)
    # The token stands in the form; the header is what scripts send.
    headers = {"X-CSRF-Token": "", "Referer": str(page.url)}
    if form.get("method", "get").lower() == "get":
        return await client.get(url, params=fields)
    assert fields["_csrf_token"]
    del headers["X-CSRF-Token"]
    return await client.post(url, data=fields, headers=headers, follow_redirects=True)


def links(document: Element) -> set[str]:
    """The paths of ours that a page leads to."""
    found = {urlsplit(a.get("href", "")) for a in document.iter("a")}
    return {part.path for part in found if not part.netloc and part.path}
