"""`python -m portal person`: people and offices change with an entry each, and never by a password on the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from litestar import Litestar

from portal.settings import Settings
from workflows.storage.tables import audit_entry, person

ROOT = Path(__file__).parents[2]


def person_command(settings: Settings, *arguments: str, said: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "portal", "person", *arguments],
        env={**os.environ, **settings.to_environment()},
        input=said,
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
    )


async def test_people_come_change_office_and_go(app: Litestar, settings: Settings) -> None:
    added = person_command(
        settings, "add", "nora", "--name", "Nora Lind", "--roles", "member,drafter", said="a long password\n"
    )
    assert added.returncode == 0, added.stderr
    assert person_command(settings, "roles", "nora", "member,council").returncode == 0
    assert person_command(settings, "deactivate", "nora").returncode == 0
    async with app.state.services.engine.connect() as connection:
        nora = (await connection.execute(sa.select(person).where(person.c.username == "nora"))).one()
        query = sa.select(audit_entry.c.body).where(audit_entry.c.type.like("person.%"))
        entries = [json.loads(bytes(body)) for body in (await connection.execute(query)).scalars()]
    assert (nora.name, nora.roles, nora.active) == ("Nora Lind", ["council", "member"], False)
    assert nora.password_hash.startswith("$argon2id$")
    assert [entry["type"] for entry in entries] == [
        "person.added",
        "person.roles_changed",
        "person.deactivated",
    ]
    assert entries[1]["payload"] == {"before": ["drafter", "member"], "after": ["council", "member"]}
    assert "nora" not in json.dumps(entries).lower()


@pytest.mark.parametrize(
    ("arguments", "said", "why"),
    [
        (("add", "Nora!", "--name", "Nora"), "a long password\n", "Lower-case"),
        (("add", "nora", "--name", "Nora"), "short\n", "At least 12"),
        (("add", "dana", "--name", "Dana"), "a long password\n", "already"),
        (("add", "nora", "--name", "Nora", "--roles", "king"), "a long password\n", "Not king"),
        (("roles", "nobody", "member"), "", "no nobody"),
        (("deactivate", "nobody"), "", "no nobody"),
    ],
)
async def test_what_cannot_be_done_says_why(
    app: Litestar, settings: Settings, arguments: tuple[str, ...], said: str, why: str
) -> None:
    done = person_command(settings, *arguments, said=said)
    assert done.returncode == 1 and why in done.stderr
    assert "Traceback" not in done.stderr
