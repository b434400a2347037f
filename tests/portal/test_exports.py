"""What matters is entered before it is answered: whatever is taken away as a file, and who signs in. No entry, no answer."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from litestar import Litestar

import portal
from portal.database import begin_unit
from tests.portal.api.walk import jump, propose, review, vote
from tests.portal.conftest import PASSWORD, with_forms
from tests.portal.enforcing import in_force
from tests.portal.the_log import seal
from workflows.audit_transparency.reports import making
from workflows.constitution.document import load
from workflows.storage.tables import audit_entry
from workflows.storage.unit import Unit

SignIn = Callable[[str], Awaitable[httpx.AsyncClient]]
SEALED = "| ballot_mode | sealed |"


@pytest.fixture
def settings(settings: Any, tmp_path: Path) -> Any:
    """Ballots are open, so that there are names to be taken too."""
    file = tmp_path / "constitution.md"
    file.write_text(load().text.replace(SEALED, "| ballot_mode | open |"))
    return dataclasses.replace(settings, constitution_file=file)


async def exports(app: Litestar) -> list[str]:
    query = (
        sa.select(audit_entry.c.body)
        .where(audit_entry.c.type == "export.made")
        .order_by(audit_entry.c.number)
    )
    async with app.state.services.engine.connect() as connection:
        return [bytes(body).decode() for body in (await connection.execute(query)).scalars()]


@pytest.fixture
async def files(app: Litestar, api: SignIn, client: httpx.AsyncClient, tmp_path: Path) -> dict[str, str]:
    """Every file there is to take, of a portal with a decided ballot, a report and a rule in force; what its entry says."""
    workflow = await propose(await api("chidi"))
    ref = workflow["policy"]["ref"]
    await review(await api("dana"), workflow)
    await vote(await api("ada"), workflow, "for")
    await jump(client)
    await in_force(app, api, client)
    period = {"period": {"from": "2026-01-01", "to": "2027-12-31"}}
    report = (await (await api("hal")).post("/api/v1/workflows/audit-transparency", json=period)).json()[
        "report"
    ]
    await seal(app, tmp_path / "checkpoint")
    held = app.state.services
    await making.make_due(partial(begin_unit, held.engine, constitution=held.constitution))
    await seal(app, tmp_path / "checkpoint")
    return {
        f"/api/v1/policies/{ref}/bundle.zip": f"bundle of {ref}",
        f"/api/v1/policies/{ref}/openings": f"openings of {ref}",
        f"/api/v1/policies/{ref}/openings/names": f"names beside the openings of {ref}",
        f"/policies/{ref}/results/openings.json": f"openings of {ref}",
        "/audit/log.zip": "log.zip of ",
        "/api/v1/audit/export.ndjson": "audit.ndjson of ",
        f"/transparency/reports/{report}.json": f"{report}.json",
        f"/transparency/reports/{report}.csv": f"{report}.csv",
        f"/transparency/reports/{report}.pdf": f"{report}.pdf",
        "/api/v1/enforcement/opa/bundles/acgs.tar.gz": "OPA bundle ",
    }


async def test_every_file_is_entered_before_it_is_answered_or_not_answered(
    files: dict[str, str], app: Litestar, api: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    auditor = await api("hal")
    for path, what in files.items():
        before = len(await exports(app))
        assert (await auditor.head(path)).status_code == 200, path
        assert len(await exports(app)) == before, f"{path}: who asks for the headers takes nothing"
        taken = await auditor.get(path)
        assert (taken.status_code, bool(taken.content)) == (200, True), path
        found = await exports(app)
        assert len(found) == before + 1, path
        assert f'"what":"{what}' in found[-1], path
        if "etag" in taken.headers:
            known = await auditor.get(path, headers={"If-None-Match": taken.headers["etag"]})
            assert (known.status_code, len(await exports(app))) == (304, before + 1), path
        assert "max-age" not in taken.headers.get("cache-control", ""), f"{path}: no cache hands it on unseen"

    async def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("the log takes nothing")

    monkeypatch.setattr(Unit, "record", fail)
    for path in files:
        refused = await auditor.get(path)
        assert refused.status_code == 500, path
        assert refused.headers["content-type"].startswith(("application/problem+json", "text/html")), path


def test_no_handler_hands_out_a_file_without_entering_it() -> None:
    """Whoever adds a download comes by here."""
    silent = []
    for file in Path(portal.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if not isinstance(node, ast.AsyncFunctionDef):
                continue
            parts = list(ast.walk(node))
            texts = [
                item.value for item in parts if isinstance(item, ast.Constant) and isinstance(item.value, str)
            ]
            names = {item.id for item in parts if isinstance(item, ast.Name)}
            if any(text.startswith("attachment;") for text in texts) and "record_export" not in names:
                silent.append(f"{file.name}: {node.name}")
    assert silent == []


@pytest.mark.parametrize("way", ["page", "token"])
async def test_nobody_is_signed_in_whom_the_log_does_not_name(
    client: httpx.AsyncClient, app: Litestar, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    credentials = {"username": "dana", "password": PASSWORD}

    async def forgetful(self: Unit, *_: Any, **__: Any) -> None:
        """Our own mistake: the act goes on without its entry."""

    with monkeypatch.context() as patched:
        patched.setattr(Unit, "record", forgetful)
        if way == "page":
            with_forms(client)
            answer = await client.post("/login", data=credentials)
        else:
            answer = await client.post("/api/v1/auth/token", json=credentials)
    assert answer.status_code == 500
    assert "session" not in answer.headers.get("set-cookie", "")
    assert "access_token" not in answer.text
    async with app.state.services.engine.connect() as connection:
        query = sa.text(
            "SELECT count(*) FROM session JOIN person ON person.id = person_id WHERE username = 'dana'"
        )
        assert (await connection.execute(query)).scalar_one() == 0


async def test_a_wrong_password_is_entered_before_it_is_told(
    client: httpx.AsyncClient, app: Litestar
) -> None:
    answer = await client.post("/api/v1/auth/token", json={"username": "dana", "password": "no such word"})
    assert answer.status_code == 401
    async with app.state.services.engine.connect() as connection:
        query = sa.select(audit_entry.c.actor).where(audit_entry.c.type == "auth.refused")
        assert (await connection.execute(query)).scalars().all() == ["visitor"]
