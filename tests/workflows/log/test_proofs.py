"""A proof in one file, as C2SP tlog-proof has it, and what an entry's bytes and columns must be."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime
from typing import Any

import pytest
import rfc8785
import sqlalchemy as sa

from tests.conftest import NOW
from tests.workflows.log.conftest import TestLog
from workflows.audit_transparency import merkle
from workflows.audit_transparency.bodies import faults
from workflows.audit_transparency.notes import Checkpoint, Signer, open_note
from workflows.audit_transparency.proofs import tlog_proof
from workflows.errors import NotFound
from workflows.storage.tables import audit_cosignature


async def test_a_proof_stands_alone(log: TestLog) -> None:
    signed = await log.grow(300)
    witness = Signer("witness.example/w1", b"w" * 32)
    line = witness.cosign(signed.note.partition("\n\n")[0] + "\n", 1_772_442_000)
    async with log.app.begin() as connection:
        cosigned = {"size": 300, "witness": str(witness.cosigner_key), "line": line, "received_at": NOW}
        await connection.execute(sa.insert(audit_cosignature).values(cosigned))
    await log.add(1)
    await log.sequence()
    hashes = await log.leaf_hashes()
    async with log.app.connect() as connection:
        for index in (0, 255, 256, 299):
            proof = await tlog_proof(connection, index)
            head, _, note = proof.partition("\n\n")
            first, place, *path = head.split("\n")
            assert (first, place) == ("c2sp.org/tlog-proof@v1", f"index {index}")
            text, signatures = open_note(note, [log.signer.verifier_key, witness.cosigner_key])
            assert len(signatures) == 2
            checkpoint = Checkpoint.parse(text)
            assert checkpoint.size == 300
            merkle.verify_inclusion(
                hashes[index], index, 300, [base64.b64decode(item) for item in path], checkpoint.root
            )
        for index in (300, -1, 10**18):
            with pytest.raises(NotFound):
                await tlog_proof(connection, index)


async def test_the_proof_of_the_only_entry_has_no_path(log: TestLog) -> None:
    signed = await log.grow(1)
    async with log.app.connect() as connection:
        assert await tlog_proof(connection, 0) == f"c2sp.org/tlog-proof@v1\nindex 0\n\n{signed.note}"


async def test_without_a_checkpoint_there_is_no_proof(log: TestLog) -> None:
    await log.add(1)
    await log.sequence()
    async with log.app.connect() as connection:
        with pytest.raises(NotFound, match="No checkpoint covers"):
            await tlog_proof(connection, 0)


BODY: dict[str, Any] = {
    "schema": "acgs.audit.entry/2",
    "id": "018f0000-0000-7000-8000-000000000000",
    "type": "test.happened",
    "subject": "POL-2026-0001",
    "actor": "system",
    "at": "2026-03-02T09:00:00.000000Z",
    "payload": {},
    "personal": {},
}
COLUMNS = ("test.happened", "POL-2026-0001", "system", datetime(2026, 3, 2, 9, tzinfo=UTC))


def wrong(body: bytes) -> list[str]:
    return faults(body, hashlib.sha256(b"\0" + body).digest(), *COLUMNS)[1]


@pytest.mark.parametrize(
    "payload",
    [
        {"plain": "text", "number": 5, "none": None, "list": [True, False, {}]},
        {"escaped": 'quote " backslash \\ newline \n tab \t control \x01 delete \x7f'},
        {"fractions": [0.1, 1e21, 1e-7, -0.0, 5e-324, 100.0]},
        {"large": 2**53 - 1, "small": -(2**53) + 1},
        {"letters": "ü € 𝄞 עברית", "\ue000": 1, "😀": 2},
        {"": "", "a": {"b": {"c": []}}},
    ],
)
def test_canonical_bodies_are_right(payload: dict[str, Any]) -> None:
    assert wrong(rfc8785.dumps({**BODY, "payload": payload})) == []


@pytest.mark.parametrize(
    "old, new",
    [
        (b'"payload":{}', b'"payload": {}'),
        (b'"payload":{}', b'"payload":{"a":1.0}'),
        (b'"payload":{}', b'"payload":{"a":1e2}'),
        (b'"payload":{}', b'"payload":{"a":0.10}'),
        (b'"payload":{}', b'"payload":{"a":-0}'),
        (b'"payload":{}', b'"payload":{"b":1,"a":2}'),
        (b'"payload":{}', b'"payload":{"a":1,"a":1}'),
        (b'"payload":{}', b'"payload":{"a":"\\u0061"}'),
        (b'"payload":{}', b'"payload":{"a":"\\/"}'),
        (b'"payload":{}', b'"payload":{"a":"\\u00fc"}'),
        (b'"payload":{}', '"payload":{"\U0001f600":2,"\ue000":1}'.encode().replace(b"\xee\x80\x80", b"a")),
        (b'"payload":{}', b'"payload":{"a":12345678901234567890}'),
        (b'"payload":{}', b'"payload":{"a":NaN}'),
        (b'"payload":{}', b'"payload":{"a":1e400}'),
    ],
)
def test_other_spellings_are_not_canonical(old: bytes, new: bytes) -> None:
    body = rfc8785.dumps(BODY)
    assert old in body
    assert wrong(body.replace(old, new)) == ["The body is not canonical JSON (RFC 8785)."]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"{}",
        b"[]",
        b"null",
        rfc8785.dumps({**BODY, "at": "yesterday"}),
        rfc8785.dumps({**BODY, "at": 5}),
        rfc8785.dumps({**BODY, "personal": {"reason": "x"}}),
        rfc8785.dumps({**BODY, "personal": ["x"]}),
        rfc8785.dumps({key: value for key, value in BODY.items() if key != "personal"}),
    ],
)
def test_what_is_no_entry(body: bytes) -> None:
    decoded, found = faults(body, merkle.leaf_hash(body), *COLUMNS)
    assert decoded is None
    assert "not that of an entry" in found[0]


def test_entries_from_before_the_tree_hold_no_words() -> None:
    before = {**BODY, "schema": "acgs.audit.entry/1"}
    del before["personal"]
    assert wrong(rfc8785.dumps(before)) == []


@pytest.mark.parametrize(
    "at", ["2026-03-02T09:00:00.000001Z", "2026-03-02T09:00:00", "2026-03-02T09:00:00+01:00"]
)
def test_a_time_beside_the_body_is_the_bodys(at: str) -> None:
    assert wrong(rfc8785.dumps({**BODY, "at": at})) == [
        f"The column “at” says 2026-03-02T09:00:00+00:00, the body {at}."
    ]
