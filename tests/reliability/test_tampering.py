"""Somebody with every right on the database changes the log: all of it is found, and where."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncConnection

from tests.reliability.tampered import (
    FLIP,
    SPOKEN,
    SPOKEN_LATE,
    after,
    changed,
    column,
    entry,
    filled,
    unguarded,
)
from tests.workflows.log.conftest import ORIGIN, TestLog
from workflows.audit_transparency.check import MOST, Finding, check
from workflows.audit_transparency.notes import Signer


@pytest.fixture(scope="module")
async def database(server_url: URL, template: str, tmp_path_factory: Any) -> AsyncIterator[TestLog]:
    """Of all tests here, which change nothing of it."""
    async with filled(server_url, template, tmp_path_factory.mktemp("place") / "checkpoint") as made:
        yield made


async def test_an_untouched_log_is_sound(database: TestLog) -> None:
    assert await after(database) == []
    async with database.app.connect() as connection:
        assert await check(connection) == [], "the portal's own role can check"


CHANGES: dict[str, tuple[list[str], str, str]] = {
    # what is done: statements, part of where it is found, part of what is said
    "a byte of a body": (
        [changed(9, "happened", "happenee")],
        "tile 0 of level 0, leaf 9",
        "hash is another",
    ),
    "a byte of a body, as a checkpoint shows": (
        [changed(9, "happened", "happenee")],
        "checkpoints 100 to 300",
        "one of the leaves 0 to 99",
    ),
    "a byte of a body past the last full tile": (
        [changed(285, "happened", "happenee")],
        "checkpoint 300",
        "one of the leaves 280 to 299",
    ),
    "a byte of a body past the last full tile, as the frontier shows": (
        [changed(285, "happened", "happenee")],
        "tree, leaves 256 to 287",
        "frontier",
    ),
    "white space in a body": ([changed(9, '"actor":', '"actor": ')], "leaf 9)", "not canonical"),
    "white space in a body that waits": (
        [
            """UPDATE audit.entry SET body = convert_to(convert_from(body, 'UTF8') || ' ', 'UTF8')
            WHERE number = (SELECT min(number) FROM audit.pending)"""
        ],
        "(not in the tree)",
        "not canonical",
    ),
    "a body that is none": (
        [
            *(column(name) for name in ("leaf_sha256", "type", "subject", "actor", "at")),
            f"UPDATE audit.entry SET body = '\\xff' WHERE number = {entry(9)}",
        ],
        "leaf 9)",
        "not that of an entry",
    ),
    "a leaf hash": (
        [
            column("leaf_sha256"),
            f"UPDATE audit.entry SET leaf_sha256 = sha256('x') WHERE number = {entry(9)}",
        ],
        "leaf 9)",
        "not that of the body",
    ),
    "the column type": (
        [column("type"), f"UPDATE audit.entry SET type = 'x' WHERE number = {entry(9)}"],
        "leaf 9)",
        "“type” says “x”, the body “test.happened”",
    ),
    "the column subject": (
        [column("subject"), f"UPDATE audit.entry SET subject = 'x' WHERE number = {entry(9)}"],
        "leaf 9)",
        "“subject” says “x”",
    ),
    "the column actor": (
        [column("actor"), f"UPDATE audit.entry SET actor = 'x' WHERE number = {entry(299)}"],
        "leaf 299)",
        "“actor” says “x”",
    ),
    "the column at": (
        [
            column("at"),
            f"UPDATE audit.entry SET at = at + interval '1 microsecond' WHERE number = {entry(9)}",
        ],
        "leaf 9)",
        "“at” says",
    ),
    "the order of two leaves": (
        [
            "UPDATE audit.leaf SET entry = CASE index WHEN 20 THEN -21 ELSE -20 END WHERE index IN (20, 21)",
            "UPDATE audit.leaf SET entry = (SELECT number FROM audit.entry ORDER BY number OFFSET -entry LIMIT 1) WHERE entry < 0",
        ],
        "leaf 21",
        "hash is another",
    ),
    "a leaf in the middle removed": (["DELETE FROM audit.leaf WHERE index = 20"], "leaf 20", "is missing"),
    "a leaf in the middle removed, and its entry": (
        ["DELETE FROM audit.leaf WHERE index = 20"],
        "(not in the tree)",
        "neither in the tree nor waits",
    ),
    "the last leaf removed": (["DELETE FROM audit.leaf WHERE index = 299"], "leaf 299", "is missing"),
    "an entry deleted": (
        [f"DELETE FROM audit.entry WHERE number = {entry(20)}"],
        "leaf 20)",
        "entry is gone",
    ),
    "an entry past the last full tile deleted": (
        [f"DELETE FROM audit.entry WHERE number = {entry(288)}"],
        "tree",
        "cannot be recomputed",
    ),
    "an entry that waits deleted": (
        ["DELETE FROM audit.entry WHERE number = (SELECT max(number) FROM audit.pending)"],
        "entry",
        "waits for the tree, but is gone",
    ),
    "an entry inserted": (
        [f"INSERT INTO audit.entry (body) SELECT body FROM audit.entry WHERE number = {entry(9)}"],
        "(not in the tree)",
        "neither in the tree nor waits",
    ),
    "an entry inserted at the end of the tree": (
        ["INSERT INTO audit.leaf SELECT 300, min(number) FROM audit.pending", "DELETE FROM audit.pending"],
        "leaf 300)",
        "beyond the tree",
    ),
    "an entry inserted in the middle": (
        [
            "UPDATE audit.leaf SET index = -index WHERE index >= 20",
            "UPDATE audit.leaf SET index = 1 - index WHERE index < 0",
            "INSERT INTO audit.leaf SELECT 20, min(number) FROM audit.pending",
            "DELETE FROM audit.pending WHERE number = (SELECT entry FROM audit.leaf WHERE index = 20)",
        ],
        "leaf 20",
        "hash is another",
    ),
    "an entry of the tree made to wait again": (
        [f"INSERT INTO audit.pending (number) VALUES ({entry(9)})"],
        "leaf 9)",
        "at the same time",
    ),
    "what waits, taken away": (
        ["DELETE FROM audit.pending WHERE number = (SELECT min(number) FROM audit.pending)"],
        "(not in the tree)",
        "neither in the tree nor waits",
    ),
    "a byte of a tile": (
        [f"UPDATE audit.tile SET hashes = {FLIP.format('hashes', 32 * 40 + 5)}"],
        "tile 0 of level 0, leaf 40",
        "hash is another",
    ),
    "a byte of a tile, as its root shows": (
        [f"UPDATE audit.tile SET hashes = {FLIP.format('hashes', 32 * 40 + 5)}"],
        "tile 0 of level 0",
        "not the root of its hashes",
    ),
    "a tile's root": (
        [f"UPDATE audit.tile SET root = {FLIP.format('root', 31)}"],
        "tile 0 of level 0",
        "not the root of its hashes",
    ),
    "a tile removed": (["DELETE FROM audit.tile"], "tile 0 of level 0", "missing"),
    "a tile too many": (
        ["INSERT INTO audit.tile SELECT 0, 1, hashes, root FROM audit.tile"],
        "tile 1 of level 0",
        "No tree of 300 leaves",
    ),
    "a tile of a level too many": (
        ["INSERT INTO audit.tile SELECT 9, 0, hashes, root FROM audit.tile"],
        "tile 0 of level 9",
        "No tree of 300 leaves",
    ),
    "the tree's root": (
        [f"UPDATE audit.tree SET root = {FLIP.format('root', 0)}"],
        "tree",
        "entries lead to",
    ),
    "the tree's frontier": (
        [f"UPDATE audit.tree SET frontier = {FLIP.format('frontier', 40)}"],
        "tree, leaves 256 to 287",
        "another hash",
    ),
    "the tree's frontier cut": (
        ["UPDATE audit.tree SET frontier = substr(frontier, 1, 64)"],
        "tree",
        "not that of 300 leaves",
    ),
    "the tree's size": (["UPDATE audit.tree SET size = 299"], "leaf 299)", "beyond the tree"),
    "the tree's size made larger": (["UPDATE audit.tree SET size = 301"], "leaf 300", "missing"),
    "the tree's row removed": (["DELETE FROM audit.tree"], "tree", "missing"),
    "a checkpoint's note": (
        ["UPDATE audit.checkpoint SET note = replace(note, '280', '281') WHERE size = 280"],
        "checkpoint 280",
        "not one that the log signed",
    ),
    "a checkpoint's note, taken from another": (
        [
            """UPDATE audit.checkpoint SET note = (SELECT note FROM audit.checkpoint WHERE size = 100)
            WHERE size = 280"""
        ],
        "checkpoint 280",
        "at 100 leaves",
    ),
    "a checkpoint's root": (
        [f"UPDATE audit.checkpoint SET root = {FLIP.format('root', 3)} WHERE size = 280"],
        "checkpoint 280",
        "another root than its row",
    ),
    "a checkpoint's root, as the entries show": (
        [f"UPDATE audit.checkpoint SET root = {FLIP.format('root', 3)} WHERE size = 280"],
        "checkpoint 280",
        "one of the leaves 100 to 279",
    ),
    "a checkpoint's size": (
        ["UPDATE audit.checkpoint SET size = 281 WHERE size = 280"],
        "checkpoint 281",
        "at 280 leaves",
    ),
    "when a checkpoint was signed": (
        ["UPDATE audit.checkpoint SET signed_at = signed_at - interval '1 year' WHERE size = 280"],
        "checkpoint 280",
        "signed before the one before it",
    ),
    "a checkpoint beyond the tree": (
        [
            "INSERT INTO audit.checkpoint SELECT 999, root, note, signed_at FROM audit.checkpoint WHERE size = 280"
        ],
        "checkpoint 999",
        "The tree has 300 leaves",
    ),
    "a cosigned checkpoint removed": (
        ["DELETE FROM audit.checkpoint WHERE size = 300"],
        "cosignature of checkpoint 300 by witness.example/w1",
        "gone",
    ),
    "an anchored checkpoint removed": (["DELETE FROM audit.checkpoint WHERE size = 100"], "anchor", "gone"),
    "a cosignature": (
        ["UPDATE audit.cosignature SET line = replace(line, '— witness', '— witnes')"],
        "cosignature of checkpoint 300",
        "does not hold",
    ),
    "a cosignature moved to another checkpoint": (
        ["UPDATE audit.cosignature SET size = 280"],
        "cosignature of checkpoint 280",
        "does not hold",
    ),
    "the log's key": (
        [f"UPDATE audit.log SET verifier_key = '{Signer(ORIGIN, bytes(32)).verifier_key}'"],
        "checkpoint 100",
        "not one that the log signed",
    ),
    "the log's origin": (["UPDATE audit.log SET origin = 'x'"], "checkpoint 100", "Its note is of"),
    "the log's identity removed": (["DELETE FROM audit.log"], "checkpoint 100", "origin and key are missing"),
    "a byte of sealed words": (
        [f"UPDATE audit.personal SET sealed = {FLIP.format('sealed', 30)}"],
        f"leaf {SPOKEN})",
        "“reason” are not those it commits to",
    ),
    "words exchanged": (
        [
            """UPDATE audit.personal SET sealed = other.sealed FROM audit.personal AS other
            WHERE other.entry_id <> personal.entry_id"""
        ],
        f"leaf {SPOKEN_LATE})",
        "not those it commits to",
    ),
    "words taken away without an erasure": (
        [
            "DELETE FROM audit.personal WHERE entry_id = (SELECT audit.field(body, 'id')::uuid FROM audit.entry "
            f"WHERE number = {entry(SPOKEN)})"
        ],
        f"leaf {SPOKEN})",
        "are gone, and nobody was erased",
    ),
    "words under another name": (
        ["UPDATE audit.personal SET name = 'other'"],
        "words “other”",
        "No entry commits to them",
    ),
    "words that nobody entered": (
        ["INSERT INTO audit.personal SELECT gen_random_uuid(), name, person_id, sealed FROM audit.personal"],
        "words “reason”",
        "No entry commits to them",
    ),
    "a person's key": (
        [f"UPDATE audit.subject SET key = {FLIP.format('key', 0)}"],
        f"leaf {SPOKEN})",
        "not those it commits to",
    ),
    "whose words they are": (
        ["UPDATE audit.personal SET person_id = (SELECT id FROM person WHERE username = 'emre')"],
        f"leaf {SPOKEN})",
        "or another person's",
    ),
    "whose pseudonym it is": (
        [
            """UPDATE audit.subject SET pseudonym = gen_random_uuid()
            WHERE person_id = (SELECT id FROM person WHERE username = 'dana')"""
        ],
        "person ",
        "leads to nobody, and no entry says they were erased",
    ),
    "a person forgotten without an entry": (
        [
            "DELETE FROM audit.personal",
            "UPDATE audit.subject SET pseudonym = NULL, key = NULL, erased_at = now()",
        ],
        "person ",
        "leads to nobody, and no entry says they were erased",
    ),
    "an anchor's memo": (["UPDATE anchor SET memo = memo || ' '"], "of checkpoint 100", "memo is not"),
    "an anchor's record": (
        [f"UPDATE anchor SET record = {FLIP.format('record', 25)}"],
        "of checkpoint 100",
        "not the action",
    ),
    "an anchor's digest": (
        ["UPDATE anchor SET record_sha256 = repeat('0', 64)"],
        "of checkpoint 100",
        "another SHA-256",
    ),
    "which checkpoint an anchor is of": (
        ["UPDATE anchor SET checkpoint_size = 280"],
        "of checkpoint 280",
        "memo is not",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_a_change_is_found_and_where(database: TestLog, change: str) -> None:
    statements, where, what = CHANGES[change]
    found = await after(database, *statements)
    assert [item for item in found if where in item.where and what in item.what], found


def places(found: list[Finding]) -> list[str]:
    return [item.where for item in found]


async def test_one_change_does_not_accuse_everything(database: TestLog) -> None:
    """Where a tile or the column beside an entry was changed, nothing else is said to be."""
    for change in ("the column type", "a leaf hash", "a byte of sealed words", "an anchor's memo"):
        statements, where, _ = CHANGES[change]
        found = await after(database, *statements)
        assert all(where in item.where or change == "a byte of sealed words" for item in found), found
    found = await after(database, *CHANGES["a byte of a tile"][0])
    assert places(found) == ["tile 0 of level 0, leaf 40", "tile 0 of level 0"]


async def test_any_byte_that_is_changed_anywhere_is_found(database: TestLog) -> None:
    """Random bytes of every table, one at a time."""
    chosen = random.Random(20260302)
    classes = {
        ("audit.entry", "body"): 40,
        ("audit.entry", "leaf_sha256"): 10,
        ("audit.tile", "hashes"): 20,
        ("audit.tile", "root"): 5,
        ("audit.tree", "root"): 5,
        ("audit.tree", "frontier"): 10,
        ("audit.checkpoint", "root"): 5,
        ("audit.checkpoint", "note"): 15,
        ("audit.cosignature", "line"): 10,
        ("audit.cosignature", "witness"): 5,
        ("audit.personal", "sealed"): 15,
        ("public.anchor", "memo"): 5,
        ("public.anchor", "record"): 5,
        ("public.anchor", "record_sha256"): 3,
    }
    engine = database.superuser.execution_options(isolation_level="REPEATABLE READ")
    async with engine.connect() as connection:
        transaction = await connection.begin()
        await unguarded(connection)
        for name in ("leaf_sha256", "type", "subject", "actor", "at"):
            await connection.exec_driver_sql(column(name))
        await connection.exec_driver_sql("ALTER TABLE anchor DROP CONSTRAINT ck_anchor_record_sha256")
        for (table, name), times in classes.items():
            rows = (
                (await connection.execute(sa.text(f"SELECT CAST(ctid AS text) FROM {table}"))).scalars().all()
            )
            for _ in range(times):
                row = chosen.choice(rows)
                savepoint = await connection.begin_nested()
                what = await _flip(connection, table, name, row, chosen)
                assert await check(connection), f"{what} of {table}.{name} at {row} was not found"
                await savepoint.rollback()
        await transaction.rollback()


async def _flip(connection: AsyncConnection, table: str, name: str, row: str, chosen: random.Random) -> str:
    """Change one byte (of text, one character) of a row's column; what was done."""
    here = f"WHERE ctid = '{row}'"
    value = (await connection.execute(sa.text(f"SELECT {name} FROM {table} {here}"))).scalar_one()
    place = chosen.randrange(len(value))
    if isinstance(value, str):
        new: Any = value[:place] + ("x" if value[place] != "x" else "y") + value[place + 1 :]
    else:
        new = value[:place] + bytes([value[place] ^ 1 << chosen.randrange(8)]) + value[place + 1 :]
    await connection.execute(sa.text(f"UPDATE {table} SET {name} = :new {here}"), {"new": new})
    return f"byte {place}"


async def test_a_list_of_findings_ends(database: TestLog) -> None:
    found = await after(
        database,
        column("type"),
        column("subject"),
        column("actor"),
        column("at"),
        "UPDATE audit.entry SET type = 'x', subject = 'x', actor = 'x', at = now()",
    )
    assert len(found) == MOST + 1
    assert "There is more" in found[-1].what
