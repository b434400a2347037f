"""Whether the software keeps to the constitution, as a page and for programs: before the first look, after it, and broken."""

from __future__ import annotations

from functools import partial
from typing import Any

import httpx
import sqlalchemy as sa
from litestar import Litestar

from portal import worker
from portal.database import begin_unit
from tests.conftest import appointed, arranged
from tests.portal.pages.html import check_page, links, text_of
from workflows.constitution import conformance
from workflows.storage.tables import conformance as kept
from workflows.storage.tables import person

PATH = "/constitution/conformance"


async def look(app: Litestar) -> None:
    held = app.state.services
    async with held.rulebook.units() as unit:
        await appointed(unit.connection)
        await conformance.look(unit, held.constitution.figures)


async def test_nothing_is_claimed_before_it_was_looked_at(client: httpx.AsyncClient) -> None:
    text = text_of(check_page(await client.get(PATH)))
    assert "Not checked yet" in text and "Every check holds" not in text
    assert "A tie fails." in text


async def test_each_clause_stands_with_its_code_and_its_last_check(
    client: httpx.AsyncClient, app: Litestar
) -> None:
    await look(app)
    page = check_page(await client.get(PATH))
    text = text_of(page)
    assert "Every check holds" in text or "Nothing to check yet" in text
    assert "workflows.roles.may_review" in text
    assert "No check" in text and "Nothing here holds" not in text, "each clause without a check says why"
    assert "voting days" in text, "the figures and their floors"
    assert PATH in links(check_page(await client.get("/constitution")))
    items: list[dict[str, Any]] = (await client.get("/api/v1/constitution/conformance")).json()["items"]
    states = {check["state"] for item in items for check in item["checks"]}
    assert states <= {"holds", "nothing"}


async def test_what_is_broken_says_so_first(client: httpx.AsyncClient, app: Litestar) -> None:
    await look(app)
    async with app.state.services.engine.begin() as connection:
        values = {"counted": 3, "broken": ["POL-2026-0001"]}
        await connection.execute(sa.update(kept).where(kept.c.key == "quorum").values(**values))
    page = check_page(await client.get(PATH))
    assert "1 check finds rows that break a clause" in text_of(page)
    assert "/policies/POL-2026-0001" in links(page)
    assert "governance_constitution_checks_broken 1.0" in (await client.get("/metrics")).text


async def test_what_contradicts_the_trail_is_told_on_every_page_until_it_is_mended(
    client: httpx.AsyncClient, app: Litestar
) -> None:
    """An office that nobody gave: made behind the portal's back, by the very entry that no act wrote."""
    held = app.state.services
    units = partial(begin_unit, held.engine, constitution=held.constitution)
    await look(app)

    async def with_roles(roles: list[str]) -> None:
        async with held.engine.begin() as connection:
            await connection.execute(sa.update(person).where(person.c.username == "ada").values(roles=roles))
            await arranged(connection)

    await with_roles(["member", "admin"])
    await worker.hold(units, held)
    assert (
        "1 check finds rows that contradict the constitution or the audit trail."
        in (await client.get("/")).text
    )
    page = text_of(check_page(await client.get(PATH)))
    assert (
        "Everybody has the offices that the trail says they were given" in page
        and "Broken by: person:" in page
    )
    await with_roles(["member"])
    await worker.hold(units, held)
    assert "contradict the constitution" not in (await client.get("/")).text
