"""Signed notes: bytes that others published verify here, what we sign verifies by other code, and nothing malformed passes."""

from __future__ import annotations

import base64
import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from workflows.audit_transparency.notes import (
    COSIGNATURE,
    ED25519,
    Checkpoint,
    NoteError,
    Signer,
    VerifierKey,
    open_note,
    signature_lines,
)

# golang.org/x/mod/sumdb/note: its example key pair and note.
NEUMANN = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
NEUMANN_SEED = base64.b64decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")[1:]
NEUMANN_NOTE = """If you think cryptography is the answer to your problem,
then you don't know what your problem is.

— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=
"""
# The Go checksum database's own key, and a tree head it signed in 2023 (C2SP's examples are made from it).
GOLANG = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"
GOLANG_NOTE = """go.sum database tree
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— sum.golang.org Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
"""
LOG = Signer("assembly.example/audit", bytes(range(32)))
WITNESS = Signer("witness.example/w1", b"w" * 32)
HEAD = Checkpoint("assembly.example/audit", 300, hashlib.sha256(b"root").digest())
NOTE = LOG.sign(HEAD.text())
LINE = NOTE.splitlines()[-1]


@pytest.mark.parametrize("vkey, note", [(NEUMANN, NEUMANN_NOTE), (GOLANG, GOLANG_NOTE)])
def test_what_others_signed_verifies(vkey: str, note: str) -> None:
    key = VerifierKey.parse(vkey)
    assert str(key) == vkey
    text, signatures = open_note(note, [key])
    assert text == note[: note.rindex("\n\n") + 1]
    assert [(item.key, item.timestamp) for item in signatures] == [(key, None)]
    assert [item.line for item in signatures] == signature_lines(note)


def test_what_we_sign_is_byte_for_byte_what_others_sign() -> None:
    signer = Signer("PeterNeumann", NEUMANN_SEED)
    assert str(signer.verifier_key) == NEUMANN
    assert signer.sign(NEUMANN_NOTE.partition("\n\n")[0] + "\n") == NEUMANN_NOTE


def test_a_foreign_tree_head_is_a_checkpoint() -> None:
    text, _ = open_note(GOLANG_NOTE, [VerifierKey.parse(GOLANG)])
    head = Checkpoint.parse(text)
    assert (head.origin, head.size) == ("go.sum database tree", 20852163)
    assert head.text() == text


def test_a_checkpoint_is_three_lines_and_a_signature() -> None:
    assert f"assembly.example/audit\n300\n{base64.b64encode(HEAD.root).decode()}\n\n{LINE}\n" == NOTE
    dash, name, encoded = LINE.split(" ")
    packed = base64.b64decode(encoded)
    key = LOG.verifier_key
    assert (dash, name, len(packed)) == ("\u2014", "assembly.example/audit", 68)
    assert packed[:4] == hashlib.sha256(b"assembly.example/audit\n\x01" + key.key).digest()[:4] == key.key_id
    Ed25519PublicKey.from_public_bytes(key.key).verify(packed[4:], HEAD.text().encode())
    assert Checkpoint.parse(open_note(NOTE, [key])[0]) == HEAD


def test_a_cosignature_says_when_and_under_a_key_id_of_its_own() -> None:
    line = WITNESS.cosign(HEAD.text(), 1679315147)
    packed = base64.b64decode(line.split(" ")[2])
    key = WITNESS.cosigner_key
    assert (key.algorithm, WITNESS.verifier_key.algorithm) == (COSIGNATURE, ED25519)
    assert packed[:4] == hashlib.sha256(b"witness.example/w1\n\x04" + key.key).digest()[:4]
    assert packed[:4] != WITNESS.verifier_key.key_id
    assert int.from_bytes(packed[4:12], "big") == 1679315147
    message = b"cosignature/v1\ntime 1679315147\n" + HEAD.text().encode()
    Ed25519PublicKey.from_public_bytes(key.key).verify(packed[12:], message)
    text, signatures = open_note(f"{NOTE}{line}\n", [LOG.verifier_key, key])
    assert text == HEAD.text()
    assert [(item.key.name, item.timestamp) for item in signatures] == [
        (LOG.name, None),
        (WITNESS.name, 1679315147),
    ]
    assert VerifierKey.parse(str(key)) == key


def test_only_known_keys_are_asked_and_each_once() -> None:
    stranger = Signer("stranger.example", b"s" * 32)
    line = stranger.sign(HEAD.text()).splitlines()[-1]
    # Same name and another key, same key and another name: neither is the key we know.
    namesake = Signer(LOG.name, b"n" * 32).sign(HEAD.text()).splitlines()[-1]
    note = f"{NOTE}{line}\n{namesake}\n{LINE}\n"
    _, signatures = open_note(note, [LOG.verifier_key, WITNESS.cosigner_key])
    assert [item.line for item in signatures] == [LINE]
    assert signature_lines(note) == [LINE, line, namesake, LINE]
    with pytest.raises(NoteError, match="nobody whose key is known"):
        open_note(note, [WITNESS.cosigner_key])
    with pytest.raises(NoteError, match="nobody whose key is known"):
        open_note(NOTE, [])


def test_a_signature_of_a_known_key_that_does_not_hold_spoils_the_note() -> None:
    bad = WITNESS.cosign(HEAD.text().replace("300", "301"), 1)
    with pytest.raises(NoteError, match=r"signature of witness\.example/w1 does not hold"):
        open_note(f"{NOTE}{bad}\n", [LOG.verifier_key, WITNESS.cosigner_key])
    assert open_note(f"{NOTE}{bad}\n", [LOG.verifier_key])[0] == HEAD.text()


def test_a_cosignature_is_no_signature_of_the_log() -> None:
    """Nor the other way round, though the keys are the same."""
    line = LOG.cosign(HEAD.text(), 1)
    note = f"{HEAD.text()}\n{line}\n"
    with pytest.raises(NoteError, match="nobody"):
        open_note(note, [LOG.verifier_key])
    relabelled = base64.b64encode(LOG.verifier_key.key_id + base64.b64decode(line.split(" ")[2])[4:]).decode()
    with pytest.raises(NoteError, match="does not hold"):
        open_note(f"{HEAD.text()}\n\u2014 {LOG.name} {relabelled}\n", [LOG.verifier_key])
    relabelled = base64.b64encode(LOG.cosigner_key.key_id + base64.b64decode(LINE.split(" ")[2])[4:]).decode()
    with pytest.raises(NoteError, match="malformed"):
        open_note(f"{HEAD.text()}\n\u2014 {LOG.name} {relabelled}\n", [LOG.cosigner_key])


@given(st.integers(0, len(NOTE) - 1), st.characters())
def test_any_changed_character_is_noticed(place: int, sign: str) -> None:
    """In the text, the name, the key id and the signature alike."""
    changed = NOTE[:place] + sign + NOTE[place + 1 :]
    if changed != NOTE:
        with pytest.raises(NoteError):
            open_note(changed, [LOG.verifier_key])


@given(st.integers(0, len(NOTE)), st.text(min_size=1, max_size=3))
def test_anything_put_in_is_noticed(place: int, added: str) -> None:
    with pytest.raises(NoteError):
        open_note(NOTE[:place] + added + NOTE[place:], [LOG.verifier_key])


@given(st.integers(0, len(NOTE) - 1), st.integers(1, 5))
def test_anything_left_out_is_noticed(place: int, count: int) -> None:
    with pytest.raises(NoteError):
        open_note(NOTE[:place] + NOTE[place + count :], [LOG.verifier_key])


@given(st.text())
def test_no_text_is_a_note_by_chance(text: str) -> None:
    with pytest.raises(NoteError):
        open_note(text, [LOG.verifier_key])


@pytest.mark.parametrize(
    "note",
    [
        "",
        "\n",
        HEAD.text(),
        f"{HEAD.text()}\n",
        NOTE[:-1],
        f"{NOTE}\n",
        NOTE.replace("\u2014", "-"),
        NOTE.replace("\u2014 ", "\u2014"),
        NOTE.replace("\n\n", "\n\r\n"),
        NOTE.replace("300", "300\t"),
        f"{NOTE}\u2014 name\n",
        f"{NOTE}\u2014  AAAAAAA=\n",
        f"{NOTE}\u2014 na+me AAAAAAA=\n",
        f"{NOTE}\u2014 na\u00a0me AAAAAAA=\n",
        f"{NOTE}\u2014 name AAAAAA==\n",
        f"{NOTE}\u2014 name AAAAAAB=\n",
        f"{NOTE}\u2014 name AAAAAAA\n",
        f"{NOTE}\u2014 name AAAA AAA=\n",
        f"{NOTE}\u2014 name AAAAAAA= \n",
        f"{NOTE}text\n",
        NOTE.replace("300", "\udc00"),
        NOTE + f"{LINE}\n" * 100,
        "x" * 1_000_000 + f"\n\n{LINE}\n",
    ],
)
def test_what_is_no_note(note: str) -> None:
    with pytest.raises(NoteError):
        open_note(note, [LOG.verifier_key])


def test_sixteen_signatures_are_a_note() -> None:
    """C2SP: verifiers must take at least that many."""
    lines = [Signer(f"witness.example/{n}", bytes([n]) * 32).cosign(HEAD.text(), n) for n in range(16)]
    assert open_note(NOTE + "".join(f"{line}\n" for line in lines), [LOG.verifier_key])[0] == HEAD.text()


def test_a_text_may_have_empty_lines() -> None:
    """What separates is the last one."""
    note = LOG.sign("first\n\nsecond\n")
    assert open_note(note, [LOG.verifier_key])[0] == "first\n\nsecond\n"


@pytest.mark.parametrize("text", ["", "no newline", "a\tb\n", "a\r\n", "a\x00\n"])
def test_what_cannot_be_signed(text: str) -> None:
    with pytest.raises(NoteError):
        LOG.sign(text)
    with pytest.raises(NoteError):
        LOG.cosign(text, 1)


@pytest.mark.parametrize("timestamp", [-1, 2**63])
def test_a_time_that_is_none(timestamp: int) -> None:
    with pytest.raises(NoteError):
        WITNESS.cosign(HEAD.text(), timestamp)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "origin\n300\n",
        HEAD.text()[:-1],
        HEAD.text() + "extension\n",
        HEAD.text() + "\n",
        HEAD.text().replace("assembly.example/audit", ""),
        HEAD.text().replace("300", "0300"),
        HEAD.text().replace("300", "+300"),
        HEAD.text().replace("300", "-1"),
        HEAD.text().replace("300", " 300"),
        HEAD.text().replace("300", "3_0"),
        HEAD.text().replace("300", "٣٠٠"),
        HEAD.text().replace("300", ""),
        HEAD.text().replace("300", str(2**63)),
        HEAD.text().replace("=\n", "\n"),
        f"origin\n300\n{base64.b64encode(bytes(31)).decode()}\n",
        f"origin\n300\n{base64.b64encode(bytes(33)).decode()}\n",
        f"origin\n300\n{base64.urlsafe_b64encode(bytes([255]) * 32).decode()}\n",
    ],
)
def test_what_is_no_checkpoint(text: str) -> None:
    with pytest.raises(NoteError):
        Checkpoint.parse(text)


@given(
    st.text(st.characters(min_codepoint=0x20, exclude_categories=["Cs"]), min_size=1),
    st.integers(0, 2**63 - 1),
)
def test_every_checkpoint_is_read_as_it_was_written(origin: str, size: int) -> None:
    head = Checkpoint(origin, size, bytes(32))
    assert Checkpoint.parse(head.text()) == head


@pytest.mark.parametrize(
    "vkey",
    [
        "",
        "name",
        "name+c74f20a3",
        NEUMANN.replace("c74f20a3", "c74f20a4"),
        NEUMANN.replace("c74f20a3", "C74F20A3"),
        NEUMANN.replace("Peter", "peter"),
        NEUMANN.replace("PeterNeumann", "Peter Neumann"),
        NEUMANN.replace("+AR", "+BR"),
        NEUMANN[:-4],
        NEUMANN + "AAAA",
        NEUMANN + "\n",
        "+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "name+00000000+",
    ],
)
def test_what_is_no_verifier_key(vkey: str) -> None:
    with pytest.raises(NoteError):
        VerifierKey.parse(vkey)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\nb", "a\u2003b"])
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(NoteError):
        Signer(name, bytes(32))


def test_a_seed_has_32_bytes() -> None:
    for length in (0, 31, 33, 64):
        with pytest.raises(NoteError):
            Signer("name", bytes(length))
