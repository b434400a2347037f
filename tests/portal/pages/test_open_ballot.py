"""Under a constitution whose annex says that ballots are open, that is said before voting, and names come at the close."""

from __future__ import annotations

import dataclasses
import hashlib
import json

import pytest
import sqlalchemy as sa

from tests.portal.conftest import PERSONAS
from tests.portal.pages.html import check_page, send, text_of
from tests.portal.pages.test_policy_pages import move_clock, propose, review
from workflows.constitution.document import load
from workflows.storage.tables import audit_entry

SEALED = "| ballot_mode | sealed |"


@pytest.fixture
def settings(settings, tmp_path):
    text = load().text
    assert SEALED in text
    file = tmp_path / "constitution.md"
    file.write_text(text.replace(SEALED, "| ballot_mode | open |"))
    return dataclasses.replace(settings, constitution_file=file)


async def test_an_open_ballot_says_so_before_voting_and_names_its_voters_after(app, client, as_persona):
    chidi, dana, ada = [await as_persona(name) for name in ("chidi", "dana", "ada")]
    ref = await propose(chidi, risk_strategy="")
    await review(dana, ref)
    api, warning = f"/api/v1/policies/{ref}", "your name and your choice are published at the close"
    page = await ada.get(f"/policies/{ref}/ballot")
    assert warning in text_of(check_page(page))
    assert "What an open ballot hides, and what it does not" in page.text
    assert (await client.get(f"{api}/ballot")).json()["mode"] == "open"
    cast = await send(ada, page, f"/policies/{ref}/ballot/votes", choice="against")
    assert "Your vote is recorded" in cast.text and warning in text_of(check_page(cast))
    assert (await client.get(f"{api}/openings/names")).status_code == 409

    await move_clock(ada, "P7D")
    name = PERSONAS["ada"][0]
    named = (await client.get(f"{api}/openings/names")).json()["items"]
    assert [(item["name"], item["choice"]) for item in named] == [(name, "against")]
    result = text_of(check_page(await client.get(f"/policies/{ref}/results")))
    assert "Who voted how (1)" in result and name in result
    published = await client.get(f"{api}/openings")
    assert published.content == (await client.get(f"/policies/{ref}/results/openings.json")).content
    assert published.json()["mode"] == "open" and name not in published.text
    async with app.state.services.engine.connect() as connection:
        query = sa.select(audit_entry.c.body).where(audit_entry.c.type == "ballot.closed")
        closed = json.loads((await connection.execute(query)).scalar_one())["payload"]
    assert closed["mode"] == "open"
    assert closed["openings_sha256"] == hashlib.sha256(published.content).hexdigest()
