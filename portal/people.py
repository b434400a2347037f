"""Adding people, changing their offices, deactivating them: `python -m portal person …`, each an entry in the trail."""

from __future__ import annotations

import argparse
import asyncio
import getpass
import re
import sys
from collections.abc import Sequence

import sqlalchemy as sa

from portal.auth.passwords import hash_password
from portal.database import begin_unit, create_engine
from portal.settings import Settings, SettingsError
from workflows.constitution.document import load
from workflows.errors import Conflict, FieldError, Invalid, NotFound
from workflows.roles import Role
from workflows.storage.tables import audit_subject, person
from workflows.storage.unit import Unit, new_id

USERNAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
SHORTEST_PASSWORD = 12


async def add(unit: Unit, username: str, name: str, roles: Sequence[str], password: str | None) -> None:
    """Raises Invalid or Conflict. Without a password they cannot sign in by one."""
    if not USERNAME.fullmatch(username) or not name.strip():
        fault = FieldError("/username", "Lower-case letters, digits, dots and dashes; and a name beside it.")
        raise Invalid("The person was not added.", errors=(fault,))
    if password is not None and len(password) < SHORTEST_PASSWORD:
        fault = FieldError("/password", f"At least {SHORTEST_PASSWORD} characters.")
        raise Invalid("The person was not added.", errors=(fault,))
    held = _roles(roles)
    if await unit.row(sa.select(person.c.id).where(person.c.username == username)):
        raise Conflict(f"There is a {username} already.")
    id = new_id()
    await unit.connection.execute(
        person.insert().values(
            id=id,
            username=username,
            name=name.strip(),
            roles=held,
            password_hash=hash_password(password) if password else None,
            created_at=unit.now,
        )
    )
    await unit.record("person.added", await _subject(unit, username), roles=held)


async def change_roles(unit: Unit, username: str, roles: Sequence[str]) -> None:
    """Give them these offices in place of those they have. Raises NotFound or Invalid."""
    row, held = await _locked(unit, username), _roles(roles)
    await unit.connection.execute(person.update().where(person.c.id == row["id"]).values(roles=held))
    subject = await _subject(unit, username)
    await unit.record("person.roles_changed", subject, before=sorted(row["roles"]), after=held)


async def deactivate(unit: Unit, username: str) -> None:
    """They can no longer sign in, at once; what they did stays. Raises NotFound."""
    row = await _locked(unit, username)
    await unit.connection.execute(person.update().where(person.c.id == row["id"]).values(active=False))
    await unit.record("person.deactivated", await _subject(unit, username))


async def _locked(unit: Unit, username: str) -> sa.RowMapping:
    query = sa.select(person.c.id, person.c.roles).where(person.c.username == username, person.c.active)
    row = await unit.row(query.with_for_update())
    if row is None:
        raise NotFound(f"There is no {username}, or they are not active.")
    return row


async def _subject(unit: Unit, username: str) -> str:
    query = sa.select(audit_subject.c.pseudonym).join(person).where(person.c.username == username)
    return f"person:{(await unit.connection.execute(query)).scalar_one()}"


def _roles(given: Sequence[str]) -> list[str]:
    held = sorted({role.strip() for role in given if role.strip()})
    unknown = [role for role in held if role not in set(Role)]
    if unknown:
        fault = FieldError("/roles", f"Not {', '.join(unknown)}; there are {', '.join(Role)}.")
        raise Invalid(fault.message, errors=(fault,))
    return held


def main(settings: Settings, arguments: list[str]) -> None:
    """The command; prints what was done, or why not."""
    parser = argparse.ArgumentParser(prog="python -m portal person", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    adding = commands.add_parser("add", help="asks for a password, or reads one from standard input")
    adding.add_argument("username")
    adding.add_argument("--name", required=True)
    adding.add_argument("--roles", default=Role.MEMBER.value, help="separated by commas")
    changing = commands.add_parser("roles")
    changing.add_argument("username")
    changing.add_argument("roles", help="separated by commas; these take the place of those they have")
    commands.add_parser("deactivate").add_argument("username")
    given = parser.parse_args(arguments)
    if not settings.database_url:
        raise SettingsError("DATABASE_URL must be set to the database whose people are meant.")
    try:
        asyncio.run(_run(settings, given))
    except (Invalid, Conflict, NotFound) as error:
        sys.exit("\n".join([error.detail, *(fault.message for fault in error.errors)]))
    print(f"{given.command}: {given.username}, entered in the audit trail.")


async def _run(settings: Settings, given: argparse.Namespace) -> None:
    engine = create_engine(settings.database_url or "", pool_size=1)
    constitution = load(settings.constitution_file, settings.constitution_hash)
    try:
        async with begin_unit(engine, constitution=constitution) as unit:
            match given.command:
                case "add":
                    await add(unit, given.username, given.name, given.roles.split(","), _password())
                case "roles":
                    await change_roles(unit, given.username, given.roles.split(","))
                case "deactivate":
                    await deactivate(unit, given.username)
    finally:
        await engine.dispose()


def _password() -> str:
    """Never from the arguments, which everybody on the machine can read."""
    if sys.stdin.isatty():
        return getpass.getpass("Password: ")
    return sys.stdin.readline().rstrip("\n")
