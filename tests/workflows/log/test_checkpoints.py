"""Checkpoints: each continues the one before, the second place is compared first, and a crash between the two is mended."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.workflows.log.conftest import ORIGIN, TestLog
from workflows.audit_transparency import checkpoints, merkle, tree
from workflows.audit_transparency.checkpoints import Fork, SecondPlace, WrongKey
from workflows.audit_transparency.notes import Checkpoint, Signer, open_note
from workflows.errors import Invalid, NotFound
from workflows.storage.tables import audit_checkpoint, audit_cosignature, audit_log


async def test_the_first_checkpoint_founds_the_log(log: TestLog) -> None:
    async with log.app.connect() as connection:
        assert await checkpoints.identity(connection) is None
        assert await checkpoints.latest(connection) is None
    assert await log.sign() is None, "nothing is in the tree yet"
    signed = await log.grow(3)
    hashes = await log.leaf_hashes()
    assert (signed.size, signed.root) == (3, merkle.root_of(hashes))
    text, _ = open_note(signed.note, [log.signer.verifier_key])
    assert Checkpoint.parse(text) == Checkpoint(ORIGIN, 3, signed.root)
    assert log.place.read() == signed.note
    async with log.app.connect() as connection:
        founded = await checkpoints.identity(connection)
        assert founded is not None
        assert (founded.origin, founded.verifier_key) == (ORIGIN, str(log.signer.verifier_key))
        assert await checkpoints.latest(connection) == signed
        assert await checkpoints.at(connection, 3) == signed
        assert await checkpoints.note(connection, 3) == signed.note


async def test_what_did_not_grow_is_not_signed_again(log: TestLog) -> None:
    first = await log.grow(3)
    assert await log.sign() is None
    await log.add(1)
    assert await log.sign() is None, "an entry that is not in the tree yet is not signed"
    await log.sequence()
    second = await log.sign()
    assert second is not None
    async with log.app.connect() as connection:
        proof = await tree.consistency_proof(connection, 3, 4)
    merkle.verify_consistency(3, 4, first.root, second.root, proof)


class _Died(Exception):
    pass


async def test_a_crash_before_the_database_knows_is_mended(log: TestLog, monkeypatch: Any) -> None:
    await log.grow(3)
    await log.add(2)
    await log.sequence()

    async def die(*_: Any) -> None:
        raise _Died

    with monkeypatch.context() as patched:
        patched.setattr(checkpoints, "_insert", die)
        with pytest.raises(_Died):
            await log.sign()
    promised = log.place.read()
    assert promised is not None and promised.split("\n")[1] == "5"
    adopted = await log.sign()
    assert adopted is not None and (adopted.size, adopted.note) == (5, promised)
    assert await log.sign() is None


async def test_a_crash_at_the_very_first_is_mended_too_and_growth_since_is_signed(
    log: TestLog, monkeypatch: Any
) -> None:
    await log.add(2)
    await log.sequence()

    async def die(*_: Any) -> None:
        raise _Died

    with monkeypatch.context() as patched:
        patched.setattr(checkpoints, "_insert", die)
        with pytest.raises(_Died):
            await log.sign()
    promised = log.place.read()
    signed = await log.grow(2)
    assert signed.size == 4
    async with log.app.connect() as connection:
        assert (await checkpoints.at(connection, 2)).note == promised
        assert await checkpoints.identity(connection) is not None


async def test_a_crash_before_the_second_place_has_it_signs_nothing(log: TestLog, monkeypatch: Any) -> None:
    await log.add(2)
    await log.sequence()

    def die(*_: Any) -> None:
        raise _Died

    with monkeypatch.context() as patched:
        patched.setattr(SecondPlace, "swap", die)
        with pytest.raises(_Died):
            await log.sign()
    assert log.place.read() is None
    async with log.app.connect() as connection:
        assert await checkpoints.latest(connection) is None
    assert (await log.grow(1)).size == 3


async def test_many_signers_at_once_sign_one_history(log: TestLog) -> None:
    await log.add(50)
    for _ in range(6):
        results = await asyncio.gather(
            *(log.sign() for _ in range(4)), *(log.sequence(3) for _ in range(2)), return_exceptions=True
        )
        assert [item for item in results if isinstance(item, BaseException)] == []
        await log.add(4)
    await log.sequence()
    last = await log.sign()
    hashes = await log.leaf_hashes()
    assert last is not None and last.size == len(hashes) == 74
    async with log.app.connect() as connection:
        for row in await connection.execute(sa.select(audit_checkpoint)):
            assert row.root == merkle.root_of(hashes[: row.size])


async def test_a_second_instance_with_a_place_of_its_own_signs_the_same_history(
    log: TestLog, tmp_path: Path
) -> None:
    first = await log.grow(3)
    other = SecondPlace(tmp_path / "other" / "checkpoint")
    assert await checkpoints.sign(log.sequencer, log.signer, ORIGIN, other) is None
    assert other.read() == first.note, "it knows from now on what was signed"
    await log.add(1)
    await log.sequence()
    second = await checkpoints.sign(log.sequencer, log.signer, ORIGIN, other)
    assert second is not None
    assert await log.sign() is None
    assert log.place.read() == second.note


async def test_another_key_or_origin_signs_nothing(log: TestLog, tmp_path: Path) -> None:
    await log.grow(3)
    await log.add(1)
    await log.sequence()
    empty = SecondPlace(tmp_path / "empty")
    with pytest.raises(WrongKey, match="founded with the key"):
        await checkpoints.sign(log.sequencer, Signer(ORIGIN, bytes(32)), ORIGIN, empty)
    with pytest.raises(WrongKey, match=r"founded as assembly\.example/audit"):
        await checkpoints.sign(
            log.sequencer, Signer("other.example", bytes(range(32))), "other.example", empty
        )
    with pytest.raises(WrongKey, match="under its origin"):
        await checkpoints.sign(log.sequencer, Signer("other.example", bytes(range(32))), ORIGIN, empty)
    assert empty.read() is None


@pytest.mark.parametrize("held", ["", "no note", "other.example\n3\n", "\udcff"])
async def test_a_second_place_that_holds_something_else_stops_the_log(log: TestLog, held: str) -> None:
    await log.grow(3)
    await log.add(1)
    await log.sequence()
    log.place.path.write_bytes(held.encode(errors="surrogateescape"))
    with pytest.raises(Fork):
        await log.sign()
    async with log.app.connect() as connection:
        newest = await checkpoints.latest(connection)
    assert newest is not None and newest.size == 3


async def test_a_second_place_of_another_log_under_our_name_stops_us(log: TestLog) -> None:
    signed = await log.grow(3)
    forged = Signer(ORIGIN, bytes(32)).sign(Checkpoint(ORIGIN, 3, signed.root).text())
    log.place.path.write_text(forged, "utf-8")
    with pytest.raises(WrongKey, match="not signed with this log's key"):
        await log.sign()


async def test_a_second_place_ahead_of_us_or_with_another_root_is_a_fork(log: TestLog) -> None:
    signed = await log.grow(3)
    log.place.path.write_text(log.signer.sign(Checkpoint(ORIGIN, 4, signed.root).text()), "utf-8")
    with pytest.raises(Fork, match="has 4 entries, the database only 3"):
        await log.sign()
    log.place.path.write_text(log.signer.sign(Checkpoint(ORIGIN, 2, signed.root).text()), "utf-8")
    with pytest.raises(Fork, match="another root at 2 entries"):
        await log.sign()


async def test_the_second_place_is_swapped_only_by_who_knows_it(tmp_path: Path) -> None:
    place = SecondPlace(tmp_path / "deep" / "checkpoint")
    assert place.read() is None
    place.swap(None, "one\n")
    for expected in (None, "other\n"):
        with pytest.raises(Fork, match="Somebody else signed"):
            place.swap(expected, "two\n")
    assert place.read() == "one\n"
    place.swap("one\n", "two — lines\n")
    assert place.read() == "two — lines\n"
    assert sorted(item.name for item in place.path.parent.iterdir()) == [".checkpoint.lock", "checkpoint"]


async def test_a_note_is_served_with_its_witnesses_lines(log: TestLog) -> None:
    signed = await log.grow(2)
    text = signed.note.partition("\n\n")[0] + "\n"
    witnesses = [Signer(f"witness{number}.example", bytes([number]) * 32) for number in (2, 1)]
    async with log.app.begin() as connection:
        for witness in witnesses:
            values = {
                "size": 2,
                "witness": str(witness.cosigner_key),
                "line": witness.cosign(text, 1_772_442_000),
                "received_at": sa.func.now(),
            }
            await connection.execute(sa.insert(audit_cosignature).values(values))
        served = await checkpoints.note(connection, 2)
        with pytest.raises(NotFound):
            await checkpoints.note(connection, 1)
    keys = [log.signer.verifier_key, *(witness.cosigner_key for witness in witnesses)]
    found, signatures = open_note(served, keys)
    assert found == text
    assert [signature.key.name for signature in signatures] == [
        ORIGIN,
        "witness1.example",
        "witness2.example",
    ]
    assert [signature.timestamp for signature in signatures] == [None, 1_772_442_000, 1_772_442_000]


async def test_pages_of_checkpoints_lead_back_and_forth(log: TestLog) -> None:
    for _ in range(5):
        await log.grow(2)
    async with log.app.connect() as connection:
        first = await checkpoints.page(connection, limit=2)
        assert [item.size for item in first.items] == [10, 8]
        assert first.prev is None and first.has_more
        second = await checkpoints.page(connection, limit=2, cursor=first.next)
        assert [item.size for item in second.items] == [6, 4]
        last = await checkpoints.page(connection, limit=2, cursor=second.next)
        assert [item.size for item in last.items] == [2]
        assert last.next is None and not last.has_more
        back = await checkpoints.page(connection, limit=2, cursor=last.prev)
        assert back.items == second.items and back.next and back.prev
        top = await checkpoints.page(connection, limit=2, cursor=back.prev)
        assert top.items == first.items and top.prev is None
        covering = await checkpoints.covering(connection, 5)
        assert covering is not None and covering.size == 6
        assert await checkpoints.covering(connection, 11) is None
        for cursor in ("x", "after-", "before--1", "after-" + "9" * 30, "sideways-1"):
            with pytest.raises(Invalid):
                await checkpoints.page(connection, cursor=cursor)
        for limit in (0, 201):
            with pytest.raises(Invalid):
                await checkpoints.page(connection, limit=limit)


async def test_the_log_has_one_identity(log: TestLog) -> None:
    await log.grow(1)
    async with log.sequencer.begin() as connection:
        row = {"id": 1, "origin": "other.example", "verifier_key": "x", "founded_at": sa.func.now()}
        with pytest.raises(sa.exc.IntegrityError):
            await connection.execute(sa.insert(audit_log).values(row))
