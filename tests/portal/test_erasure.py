"""Erasing a person: nothing that says who they are is left in any table, every proof holds, and the trail says it was done."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import sqlalchemy as sa
from litestar import Litestar

from tests.conftest import arranged
from tests.portal.api.walk import POLICIES, is_problem, jump, propose, review, vote
from workflows.audit_transparency.personal import ERASED
from workflows.storage.tables import audit_entry, audit_subject, metadata, person

SignIn = Callable[[str], Awaitable[httpx.AsyncClient]]
WORDS = "Because my neighbour Quirinius complained."


async def everything(app: Litestar) -> str:
    """All rows of all tables as text, bytes as what they hold."""
    found = []
    async with app.state.services.engine.connect() as connection:
        for table in metadata.sorted_tables:
            for row in await connection.execute(sa.select(table)):
                found += [
                    item.decode(errors="replace") if isinstance(item, bytes) else str(item) for item in row
                ]
        jobs = await connection.exec_driver_sql("SELECT payload FROM pgqueuer")
        found += [bytes(row[0]).decode() for row in jobs if row[0]]
    return "\n".join(found)


async def leaves(app: Litestar) -> list[bytes]:
    async with app.state.services.engine.connect() as connection:
        query = sa.select(audit_entry.c.leaf_sha256).order_by(audit_entry.c.number)
        return [bytes(leaf) for leaf in (await connection.execute(query)).scalars()]


async def acted(api: SignIn, client: httpx.AsyncClient) -> dict[str, Any]:
    """Emre reviews, comments, votes and signs in, with words of his own."""
    emre = await api("emre")
    workflow = await propose(await api("chidi"))
    own = f"{POLICIES}/{workflow['policy']['ref']}"
    key = {"Idempotency-Key": "k" * 20}
    assert (await emre.post(f"{own}/comments", json={"body": WORDS}, headers=key)).is_success
    assert (await review(emre, workflow, reason=WORDS)).is_success
    assert (await vote(emre, workflow, "for", reason=WORDS)).status_code == 201
    assert (await vote(await api("ada"), workflow, "for")).status_code == 201
    return workflow


async def test_nothing_of_a_person_is_left_and_the_log_stays(
    api: SignIn, client: httpx.AsyncClient, app: Litestar
) -> None:
    workflow = await acted(api, client)
    own = f"{POLICIES}/{workflow['policy']['ref']}"
    assert WORDS in (await client.get(f"{own}/timeline")).text
    before = await leaves(app)
    async with app.state.services.engine.connect() as connection:
        emre = (await connection.execute(sa.select(person).where(person.c.username == "emre"))).one()
    said = await everything(app)
    assert WORDS in said and emre.name in said

    answer = await (await api("emre")).post("/api/v1/auth/me/erase", json={"username": "emre"})
    assert answer.status_code == 200, answer.text
    assert answer.json()["words"] == 2 and answer.json()["comments"] == answer.json()["reviews"] == 1

    said = await everything(app)
    for trace in (WORDS, "Quirinius", emre.name, "emre"):
        assert trace not in said, trace
    assert (await leaves(app))[: len(before)] == before, "no leaf changed"
    timeline = (await client.get(f"{own}/timeline")).json()["items"]
    approved = next(item for item in timeline if item["key"] == "review.approved")
    assert (approved["actor"], approved["detail"]) == (None, ERASED)
    assert ERASED in (await client.get(f"{own}/comments")).text
    assert "A former member" in (await client.get(f"{own}/reviews")).text
    await jump(client)
    assert (await client.get(f"{own}/results")).json()["counts"]["for"] == 2, "the vote counts on"


async def test_the_pseudonym_leads_nowhere_and_the_trail_says_it_was_done(api: SignIn, app: Litestar) -> None:
    emre = await api("emre")
    async with app.state.services.engine.connect() as connection:
        query = sa.select(audit_subject.c.pseudonym).join(person).where(person.c.username == "emre")
        pseudonym = str((await connection.execute(query)).scalar_one())
    assert (await emre.post("/api/v1/auth/me/erase", json={"username": "emre"})).is_success
    assert (await emre.get("/api/v1/auth/me")).status_code == 401, "signed out at once"
    async with app.state.services.engine.connect() as connection:
        body = (
            await connection.execute(
                sa.select(audit_entry.c.body).where(audit_entry.c.type == "subject.erased")
            )
        ).scalar_one()
        kept = (await connection.execute(sa.select(audit_subject).where(audit_subject.c.key.is_(None)))).one()
    entry = json.loads(bytes(body))
    assert (entry["subject"], entry["actor"]) == (f"person:{pseudonym}", pseudonym)
    assert (kept.pseudonym, kept.erased_at is not None) == (None, True)


async def test_nobody_is_erased_by_mistake_or_by_somebody_else(
    api: SignIn, as_persona: SignIn, client: Any
) -> None:
    dana = await api("dana")
    is_problem(await dana.post("/api/v1/auth/me/erase", json={"username": "emre"}), 422)
    made = await dana.post("/api/v1/auth/tokens", json={"name": "t", "scopes": ["read"], "days": 1})
    narrow = {"Authorization": f"Bearer {made.json()['token']}"}
    answer = await client.post("/api/v1/auth/me/erase", json={"username": "dana"}, headers=narrow)
    is_problem(answer, 403, "scope_missing")
    browser = await as_persona("dana")
    page = await browser.get("/me/erase")
    assert page.status_code == 200 and "for good" in page.text
    assert (await browser.post("/me/erase", data={"username": "somebody"})).status_code == 422
    assert (await browser.get("/me")).status_code == 200


async def test_the_last_administrator_stays(api: SignIn, app: Litestar) -> None:
    async with app.state.services.engine.begin() as connection:
        await arranged(connection)
        query = sa.select(person.c.username).where(person.c.roles.contains(["admin"]), person.c.active)
        names = (await connection.execute(query)).scalars().all()
    for name in names[:-1]:
        assert (await (await api(name)).post("/api/v1/auth/me/erase", json={"username": name})).is_success
    last = await (await api(names[-1])).post("/api/v1/auth/me/erase", json={"username": names[-1]})
    is_problem(last, 409)


async def test_what_was_asked_about_a_person_goes_and_the_reasons_stay(
    api: SignIn, client: httpx.AsyncClient, app: Litestar
) -> None:
    """A decision keeps its outcome, reasons and commitment; the salt that would prove a guess is destroyed."""
    asked = {"action": {"type": "export", "note": WORDS}, "subject": {"id": "emre"}}
    decided = (await (await api("jon")).post("/api/v1/workflows/policy-enforcement", json=asked)).json()
    own = f"/api/v1/enforcement/decisions/{decided['decision_id']}"
    hal = await api("hal")
    before = (await hal.get(own)).json()
    assert before["subject"] == "emre"
    emre = await api("emre")
    assert (await emre.post("/api/v1/auth/me/erase", json={"username": "emre"})).is_success
    after = (await hal.get(own)).json()
    assert (after["erased"], after["subject"], after["input"], after["salt"]) == (True, None, None, None)
    for kept in ("outcome", "why", "input_commitment", "revision"):
        assert after[kept] == before[kept]
    assert is_problem(await client.get(f"{own}/recomputed"), 422, "erased")
    assert WORDS not in await everything(app)
