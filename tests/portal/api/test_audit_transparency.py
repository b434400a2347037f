"""Reports and public figures over HTTP: asked for, followed, downloaded in every form, and bound to the log."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from litestar import Litestar

from portal.database import begin_unit
from tests.portal.api.walk import is_problem, jump, pointers, propose, review, vote
from tests.portal.pages.html import check_page
from tests.portal.the_log import seal
from workflows.audit_transparency.reports import making
from workflows.storage.tables import audit_entry

SignIn = Callable[[str], Awaitable[httpx.AsyncClient]]
PATH = "/api/v1/workflows/audit-transparency"
PERIOD = {"from": "2026-01-01", "to": "2027-12-31"}


async def make(app: Litestar, place: Path) -> None:
    """What the worker does."""
    await seal(app, place / "checkpoint")
    held = app.state.services
    assert not await making.make_due(partial(begin_unit, held.engine, constitution=held.constitution))


@pytest.fixture
async def made(app: Litestar, api: SignIn, client: httpx.AsyncClient, tmp_path: Path) -> dict[str, Any]:
    """A policy that passed, and the report on it."""
    workflow = await propose(await api("chidi"), title="Écriture, “quoted” =SUM(A1)")
    await review(await api("dana"), workflow)
    for name in ("ada", "ben", "lea"):
        await vote(await api(name), workflow, "for")
    await jump(client)
    asked = await (await api("hal")).post(PATH, json={"period": PERIOD})
    assert asked.status_code == 202, asked.text
    assert asked.headers["location"] == asked.json()["links"]["self"]
    await make(app, tmp_path)
    return asked.json()


async def test_a_report_is_asked_for_and_followed(made: dict[str, Any], client: httpx.AsyncClient) -> None:
    assert made["workflow_type"] == "audit_transparency"
    assert [stage["key"] for stage in made["stages"]] == [
        "data_collection", "audit_analysis", "transparency_assessment", "public_reporting",
    ]  # fmt: skip
    done = (await client.get(made["links"]["self"])).json()
    assert (done["status"], done["report"], done["progress"]["percent"]) == ("completed", made["report"], 100)
    listed = (await client.get(f"{PATH}/reports")).json()["items"]
    assert [item["ref"] for item in listed] == [made["report"]]


async def test_its_downloads_are_what_the_log_says(
    made: dict[str, Any], client: httpx.AsyncClient, app: Any
) -> None:
    (listed,) = (await client.get(f"{PATH}/reports")).json()["items"]
    body = (await client.get(listed["links"]["json"])).content
    assert hashlib.sha256(body).hexdigest() == listed["sha256"]
    async with app.state.services.engine.connect() as connection:
        query = sa.select(audit_entry.c.body).where(audit_entry.c.type.in_(("report.made", "export.made")))
        entries = [
            json.loads(bytes(item))
            for item in (await connection.execute(query.order_by(audit_entry.c.number))).scalars()
        ]
    assert entries[0]["payload"]["body_sha256"] == listed["sha256"]
    assert entries[1]["payload"] == {"what": f"{made['report']}.json", "sha256": listed["sha256"]}
    assert entries[1]["actor"] == "visitor"
    checkpoint = (await client.get(f"/api/v1/audit/checkpoints/{listed['checkpoint_size']}")).json()
    assert json.loads(body)["checkpoint"]["root"] == checkpoint["root"]


async def test_the_csv_opens_in_a_spreadsheet_and_runs_nothing(
    made: dict[str, Any], client: httpx.AsyncClient
) -> None:
    answer = await client.get(f"/transparency/reports/{made['report']}.csv")
    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.reader(io.StringIO(answer.content.decode("utf-8-sig"))))
    assert all(len(row) == 7 for row in rows)
    assert not any(cell.startswith(("=", "@", "+")) for row in rows for cell in row)
    votes = next(row for row in rows if row[3].startswith("Votes cast"))
    assert votes[4] == "3" and "/audit?type=vote.cast" in votes[6]


async def test_the_pdf_has_text_links_bookmarks_and_a_language(
    made: dict[str, Any], client: httpx.AsyncClient
) -> None:
    answer = await client.get(f"/transparency/reports/{made['report']}.pdf")
    assert answer.headers["content-type"] == "application/pdf"
    body = answer.content
    assert body.startswith(b"%PDF-") and body.rstrip().endswith(b"%%EOF")
    for mark in (b"/Outlines", b"/Lang (en)", b"/Title", b"/URI"):
        assert mark in body, mark


async def test_pages_show_it_and_the_figures(
    made: dict[str, Any], client: httpx.AsyncClient, as_persona: SignIn
) -> None:
    report = check_page(await client.get(f"/transparency/reports/{made['report']}"))
    assert report is not None
    text = (await client.get(f"/transparency/reports/{made['report']}")).text
    assert "Constitutional compliance" in text and "Absent" not in text
    check_page(await client.get("/transparency"))
    hal = await as_persona("hal")
    page = await hal.get("/transparency")
    assert 'action="/transparency/reports"' in page.text
    wrong = await hal.post("/transparency/reports", data={"from": "2027-01-01", "to": "2026-01-01"})
    assert wrong.status_code == 422
    check_page(wrong)
    assert (await hal.post("/transparency/reports", data={"from": "", "to": "x"})).status_code == 422
    asked = await hal.post("/transparency/reports", data={"from": "2026-01-01", "to": "2026-02-01"})
    assert asked.status_code == 303
    under_way = await client.get(asked.headers["location"])
    check_page(under_way)
    assert "It is being made" in under_way.text
    assert (await client.get(asked.headers["location"] + ".pdf")).status_code == 409
    assert (await client.get(asked.headers["location"] + ".exe")).status_code == 422


async def test_public_figures_need_no_sign_in_and_lead_to_rows(
    made: dict[str, Any], client: httpx.AsyncClient
) -> None:
    figures = {figure["key"]: figure for figure in (await client.get(f"{PATH}/public")).json()["figures"]}
    assert (figures["enacted"]["value"], figures["closed"]["value"]) == (1, 1)
    (ballot,) = (await client.get("/api/v1/policies?state=enacted")).json()["items"]
    electorate = (await client.get(f"/api/v1/policies/{ballot['ref']}/results")).json()["electorate"]
    assert figures["turnout"]["value"] == 1000 * 3 // electorate
    assert (figures["violations"]["value"], figures["violations"]["rows"]) == (0, "/violations?state=open")
    for figure in figures.values():
        if figure["rows"]:
            assert (await client.get(figure["rows"])).status_code == 200, figure


async def test_what_cannot_be_asked_says_why(api: SignIn, client: httpx.AsyncClient) -> None:
    hal = await api("hal")
    is_problem(await client.post(PATH, json={"period": PERIOD}), 401)
    late = await hal.post(PATH, json={"period": {"from": "2027-01-01", "to": "2026-01-01"}})
    is_problem(late, 422)
    assert pointers(late) == {"/period/from", "/period/to"}, "the period has not begun either"
    bad = await hal.post(PATH, json={"period": {"from": "yesterday", "to": "2026-01-01"}})
    assert pointers(bad) == {"/period/from"}
    unknown = await hal.post(PATH, json={"period": PERIOD, "sections": ["gossip"]})
    is_problem(unknown, 422)
    is_problem(
        await client.get("/transparency/reports/REP-2026-9999", headers={"Accept": "application/json"}), 404
    )


async def test_asking_twice_with_one_key_makes_one(api: SignIn, client: httpx.AsyncClient) -> None:
    hal = await api("hal")
    key = {"Idempotency-Key": "report-of-the-year"}
    first = await hal.post(PATH, json={"period": PERIOD}, headers=key)
    again = await hal.post(PATH, json={"period": PERIOD}, headers=key)
    assert again.headers["idempotency-replayed"] == "true"
    assert first.json()["report"] == again.json()["report"]
    assert len((await client.get(f"{PATH}/reports")).json()["items"]) == 1
