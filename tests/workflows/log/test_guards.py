"""Who may do what to the log: each role only its own part, and the triggers refuse even those who own it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.conftest import _administer
from tests.workflows.log.conftest import TestLog, log_on
from workflows.audit_transparency.checkpoints import SecondPlace

TABLES = (
    "entry",
    "pending",
    "leaf",
    "tile",
    "tree",
    "log",
    "checkpoint",
    "cosignature",
    "subject",
    "personal",
)
BODY = (
    """convert_to('{"type": "x", "subject": "x", "actor": "system", "at": "2026-03-02T09:00:00Z"}', 'UTF8')"""
)


async def refused(engine: AsyncEngine, statement: str, *settings: str) -> DBAPIError:
    """The error of a statement that must fail, in a transaction that is rolled back."""
    async with engine.connect() as connection, connection.begin():
        for setting in settings:
            await connection.exec_driver_sql(setting)
        with pytest.raises(DBAPIError) as caught:
            await connection.execute(sa.text(statement))
        return caught.value


@pytest.fixture(scope="module")
async def log(server_url: URL, template: str, tmp_path_factory: Any) -> AsyncIterator[TestLog]:
    """One for all tests here: what they try is refused or rolled back."""
    name = f"acgs_{uuid4().hex[:12]}"
    await _administer(server_url, f"CREATE DATABASE {name} TEMPLATE {template}")
    place = SecondPlace(tmp_path_factory.mktemp("place") / "checkpoint")
    made = log_on(server_url.set(database=name).render_as_string(hide_password=False), place)
    try:
        await made.grow(2)
        yield made
    finally:
        await _administer(server_url, f"DROP DATABASE {name} WITH (FORCE)")


def denied(error: DBAPIError) -> bool:
    return isinstance(error, ProgrammingError) and "permission denied" in str(error)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit.entry SET body = 'x'",
        "DELETE FROM audit.entry",
        "TRUNCATE audit.entry CASCADE",
        f"INSERT INTO audit.entry (number, body) OVERRIDING SYSTEM VALUE VALUES (9, {BODY})",
        f"INSERT INTO audit.entry (body, type) VALUES ({BODY}, DEFAULT)",
        f"INSERT INTO audit.entry (body, leaf_sha256) VALUES ({BODY}, DEFAULT)",
        "INSERT INTO audit.pending (number) VALUES (9)",
        "DELETE FROM audit.pending",
        "INSERT INTO audit.leaf VALUES (9, 1)",
        "DELETE FROM audit.leaf",
        "INSERT INTO audit.tile VALUES (0, 0, '', '')",
        "UPDATE audit.tree SET size = 9",
        "DELETE FROM audit.tree",
        "INSERT INTO audit.log VALUES (1, 'x', 'x', now())",
        "INSERT INTO audit.checkpoint VALUES (9, 'x', 'x', now())",
        "UPDATE audit.checkpoint SET note = 'x'",
        "UPDATE audit.cosignature SET line = 'x'",
        "DELETE FROM audit.cosignature",
        "INSERT INTO audit.subject (person_id) VALUES (gen_random_uuid())",
        "UPDATE audit.subject SET person_id = gen_random_uuid()",
        "DELETE FROM audit.subject",
        "UPDATE audit.personal SET sealed = ''",
    ],
)
async def test_the_portal_may_only_add_bodies(log: TestLog, statement: str) -> None:
    assert denied(await refused(log.app, statement))


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT body FROM audit.entry",
        "SELECT type FROM audit.entry",
        f"INSERT INTO audit.entry (body) VALUES ({BODY})",
        "UPDATE audit.entry SET body = 'x'",
        "DELETE FROM audit.entry",
        "INSERT INTO audit.pending (number) VALUES (9)",
        "UPDATE audit.leaf SET entry = 9",
        "DELETE FROM audit.leaf",
        "UPDATE audit.tile SET root = ''",
        "DELETE FROM audit.tile",
        "DELETE FROM audit.tree",
        "UPDATE audit.tree SET id = 1",
        "UPDATE audit.log SET origin = 'x'",
        "UPDATE audit.checkpoint SET note = 'x'",
        "DELETE FROM audit.checkpoint",
        "INSERT INTO audit.cosignature VALUES (1, 'x', 'x', now())",
        "SELECT key FROM audit.subject",
        "SELECT sealed FROM audit.personal",
        "SELECT 1 FROM policy",
    ],
)
async def test_the_sequencer_may_only_order(log: TestLog, statement: str) -> None:
    assert denied(await refused(log.sequencer, statement))


@pytest.mark.parametrize("engine", ["app", "sequencer"])
@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE audit.entry DISABLE TRIGGER append_only",
        "DROP TABLE audit.entry CASCADE",
        "DROP TRIGGER append_only ON audit.entry",
        "CREATE TABLE audit.other (x int)",
        "SET session_replication_role = 'replica'",
        "ALTER EVENT TRIGGER audit_keeps_its_guards DISABLE",
    ],
)
async def test_neither_may_change_the_guards(log: TestLog, engine: str, statement: str) -> None:
    error = str(await refused(getattr(log, engine), statement, "SET LOCAL audit.migrating = 'on'"))
    assert "must be owner" in error or "permission denied" in error


@pytest.mark.parametrize("setting", ["SELECT 1", "SET LOCAL session_replication_role = 'replica'"])
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit.entry SET body = 'x'",
        "DELETE FROM audit.entry",
        "UPDATE audit.leaf SET entry = 9",
        "DELETE FROM audit.leaf",
        "TRUNCATE audit.leaf",
        "UPDATE audit.tile SET root = ''",
        "DELETE FROM audit.tile",
        "TRUNCATE audit.tile",
        "UPDATE audit.pending SET number = 9",
        "TRUNCATE audit.pending",
        "DELETE FROM audit.tree",
        "TRUNCATE audit.tree",
        "UPDATE audit.tree SET size = size",
        "UPDATE audit.tree SET size = size - 1",
        "UPDATE audit.tree SET root = ''",
        "UPDATE audit.log SET origin = 'x'",
        "DELETE FROM audit.log",
        "UPDATE audit.checkpoint SET note = 'x'",
        "DELETE FROM audit.checkpoint",
        "TRUNCATE audit.cosignature",
    ],
)
async def test_even_a_superuser_is_refused_while_the_triggers_stand(
    log: TestLog, statement: str, setting: str
) -> None:
    error = await refused(log.superuser, statement, setting)
    assert isinstance(error, IntegrityError)
    assert "RestrictViolation" in str(error)


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE audit.entry DISABLE TRIGGER append_only",
        "ALTER TABLE audit.entry DISABLE TRIGGER ALL",
        "ALTER TABLE audit.tree DISABLE TRIGGER only_grow",
        "ALTER TABLE audit.entry ADD COLUMN other int",
        "ALTER TABLE audit.entry ALTER COLUMN type DROP EXPRESSION",
        "ALTER TABLE audit.entry RENAME TO other",
        "ALTER TABLE audit.entry SET SCHEMA public",
        "ALTER TABLE audit.leaf DROP CONSTRAINT uq_leaf_entry",
        "ALTER TABLE audit.entry DROP COLUMN type",
        "DROP TABLE audit.entry CASCADE",
        "DROP TABLE audit.personal",
        "DROP TRIGGER append_only ON audit.entry",
        "DROP INDEX audit.ix_entry_type",
        "DROP SCHEMA audit CASCADE",
        "DROP FUNCTION audit.insist_on_entry() CASCADE",
        "DROP FUNCTION refuse() CASCADE",
        "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$",
        "CREATE OR REPLACE FUNCTION audit.only_grow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$",
        "CREATE RULE silent AS ON INSERT TO audit.entry DO INSTEAD NOTHING",
        "CREATE TRIGGER other BEFORE INSERT ON audit.entry EXECUTE FUNCTION refuse('x')",
        "ALTER TABLE policy DISABLE TRIGGER audited",
        "ALTER TABLE policy ENABLE REPLICA TRIGGER audited",
        "ALTER TABLE policy DISABLE TRIGGER ALL",
        "DROP TRIGGER audited ON policy",
        "ALTER TABLE audit.entry OWNER TO acgs_app",
        "ALTER SCHEMA audit RENAME TO other",
    ],
)
async def test_even_a_superuser_does_not_drop_the_guards_by_mistake(log: TestLog, statement: str) -> None:
    assert "the audit trail keeps its guards" in str(await refused(log.superuser, statement))


async def test_every_table_of_the_log_belongs_to_a_role_nobody_signs_in_as(log: TestLog) -> None:
    query = """SELECT relname, rolname, rolcanlogin, rolsuper FROM pg_class JOIN pg_roles ON pg_roles.oid = relowner
        WHERE relnamespace = 'audit'::regnamespace AND relkind IN ('r', 'p', 'v', 'm')"""
    async with log.superuser.connect() as connection:
        rows = (await connection.exec_driver_sql(query)).all()
    assert {row.relname for row in rows} == set(TABLES)
    assert {(row.rolname, row.rolcanlogin, row.rolsuper) for row in rows} == {("acgs_owner", False, False)}


async def test_the_outbox_fills_itself(log: TestLog) -> None:
    """Not by the caller's rights, and in a way that a superuser's replica session does not switch off either."""
    async with log.superuser.begin() as connection:
        await connection.exec_driver_sql("SET LOCAL session_replication_role = 'replica'")
        await connection.exec_driver_sql(f"INSERT INTO audit.entry (body) VALUES ({BODY})")
    await log.add(1)
    async with log.app.connect() as connection:
        query = sa.text("SELECT count(*) FROM audit.pending JOIN audit.entry USING (number)")
        assert (await connection.execute(query)).scalar_one() == 2, "and the two of the tree wait no more"
