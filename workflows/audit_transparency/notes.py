"""Signed notes and checkpoints, byte for byte as C2SP signed-note, tlog-checkpoint and tlog-cosignature describe them."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from workflows.audit_transparency.merkle import LARGEST_SIZE, LENGTH

ED25519, COSIGNATURE = 0x01, 0x04  # signature types: a note's own, and a witness's with a time
LONGEST_NOTE = 1_000_000  # bytes
MOST_SIGNATURES = 100
MARK = "— "


class NoteError(ValueError):
    """A note, checkpoint or key that is not one, or that nobody trusted signed; the message says why."""


@dataclass(frozen=True)
class VerifierKey:
    """Who may have signed: a name, what kind of signature, and 32 bytes of Ed25519 public key."""

    name: str
    algorithm: int
    key: bytes

    def __post_init__(self) -> None:
        _insist_on_name(self.name)
        if self.algorithm not in (ED25519, COSIGNATURE):
            raise NoteError(f"no signature of type {self.algorithm:#04x} is known here")
        if len(self.key) != 32:
            raise NoteError("an Ed25519 key has 32 bytes")

    @classmethod
    def parse(cls, vkey: str) -> VerifierKey:
        """From `<name>+<key id in hex>+<base64 of type and key>`. Raises NoteError, also where the id is another's."""
        name, *rest = vkey.split("+", 2)
        if len(rest) != 2:
            raise NoteError("a verifier key is a name, an id and a key, with + between them")
        packed = _base64(rest[1])
        key = cls(name, packed[0] if packed else 0, packed[1:])
        if rest[0] != key.key_id.hex():
            raise NoteError("the verifier key's id is not that of its name and key")
        return key

    @property
    def key_id(self) -> bytes:
        """Four bytes by which signature lines name the key."""
        return hashlib.sha256(self.name.encode() + b"\n" + self._packed()).digest()[:4]

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(self._packed()).decode()}"

    def _packed(self) -> bytes:
        return bytes([self.algorithm]) + self.key


@dataclass(frozen=True)
class Signature:
    """A signature that holds, its line (without newline), and when a witness says it cosigned (POSIX seconds)."""

    key: VerifierKey
    line: str
    timestamp: int | None


class Signer:
    """Signs notes under a name with an Ed25519 key (RFC 8032), given as its 32 bytes of seed."""

    def __init__(self, name: str, seed: bytes) -> None:
        if len(seed) != 32:
            raise NoteError("an Ed25519 seed has 32 bytes")
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        public = self._private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.verifier_key = VerifierKey(name, ED25519, public)
        self.cosigner_key = VerifierKey(name, COSIGNATURE, public)

    @property
    def name(self) -> str:
        return self.verifier_key.name

    def sign(self, text: str) -> str:
        """The whole note over a text, which ends with a newline."""
        line = _line(self.verifier_key, self._private.sign(_text_bytes(text)))
        return f"{text}\n{line}\n"

    def cosign(self, text: str, timestamp: int) -> str:
        """A witness's line, without newline, for a checkpoint's text: as of that POSIX second it is the newest seen."""
        if not 0 <= timestamp < 2**63:
            raise NoteError("a time is a number of seconds below 2^63")
        _text_bytes(text)
        signature = self._private.sign(_cosigned(text, timestamp))
        return _line(self.cosigner_key, timestamp.to_bytes(8, "big") + signature)


@dataclass(frozen=True)
class Checkpoint:
    """A tree head as a log says it: who it is, how many leaves, and the root of 32 bytes."""

    origin: str
    size: int
    root: bytes

    def __post_init__(self) -> None:
        if not self.origin or any(ord(sign) < 0x20 for sign in self.origin):
            raise NoteError("an origin is a line of its own")
        if not 0 <= self.size <= LARGEST_SIZE or len(self.root) != LENGTH:
            raise NoteError("a checkpoint has a size from 0 to 2^63 - 1 and a root of 32 bytes")

    def text(self) -> str:
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Raises NoteError unless the text is exactly three lines; extension lines, which nobody could audit, are none."""
        lines = text.split("\n")
        if len(lines) != 4 or lines[3]:
            raise NoteError("a checkpoint's text is three lines: origin, size and root")
        origin, size, head = lines[:3]
        if not (size.isascii() and size.isdecimal()) or len(size) > 19 or str(int(size)) != size:
            raise NoteError("a checkpoint's size is a decimal number without leading zeroes")
        return cls(origin, int(size), _base64(head))


def open_note(note: str, keys: Iterable[VerifierKey]) -> tuple[str, list[Signature]]:
    """The text of a note, and those of its signatures that are by one of `keys`, each key once.

    Raises NoteError where the note is malformed, a signature of one of the keys does not hold, or there is none.
    """
    text, lines = _parts(note)
    known = {(key.name, key.key_id): key for key in keys}
    found: dict[VerifierKey, Signature] = {}
    for line in lines:
        name, packed = _named(line)
        key = known.get((name, packed[:4]))
        if key is not None and key not in found:
            found[key] = Signature(key, line, _verified(key, text, packed[4:]))
    if not found:
        raise NoteError("nobody whose key is known here has signed this note")
    return text, list(found.values())


def signature_lines(note: str) -> list[str]:
    """All signature lines of a note, by whomever, without newlines. Raises NoteError where it is malformed."""
    return _parts(note)[1]


def _parts(note: str) -> tuple[str, list[str]]:
    try:
        length = len(note.encode())
    except UnicodeEncodeError:
        raise NoteError("a note is Unicode text") from None
    if length > LONGEST_NOTE or any(ord(sign) < 0x20 and sign != "\n" for sign in note):
        raise NoteError("a note is at most a million bytes of text without control characters")
    text, separator, signed = note.rpartition("\n\n")
    if not separator or not signed.endswith("\n"):
        raise NoteError("a note is a text, an empty line, and signature lines")
    lines = signed[:-1].split("\n")
    if len(lines) > MOST_SIGNATURES:
        raise NoteError(f"a note has at most {MOST_SIGNATURES} signatures")
    for line in lines:
        _named(line)
    return text + "\n", lines


def _named(line: str) -> tuple[str, bytes]:
    """The name in a signature line, and the bytes after it: four of key id, and the signature."""
    name, space, encoded = line.removeprefix(MARK).partition(" ")
    if not line.startswith(MARK) or not space:
        raise NoteError("a signature line is a dash, a name and a signature")
    _insist_on_name(name)
    packed = _base64(encoded)
    if len(packed) < 5:
        raise NoteError("a signature begins with four bytes of key id")
    return name, packed


def _verified(key: VerifierKey, text: str, signature: bytes) -> int | None:
    """The time in a cosignature; None for a log's own signature, which has none. Raises NoteError."""
    timestamp, signed = None, text.encode()
    if key.algorithm == COSIGNATURE:
        timestamp = int.from_bytes(signature[:8], "big")
        if len(signature) != 72 or timestamp >= 2**63:
            raise NoteError(f"the cosignature of {key.name} is malformed")
        signed, signature = _cosigned(text, timestamp), signature[8:]
    try:
        Ed25519PublicKey.from_public_bytes(key.key).verify(signature, signed)
    except (InvalidSignature, ValueError):
        raise NoteError(f"the signature of {key.name} does not hold") from None
    return timestamp


def _cosigned(text: str, timestamp: int) -> bytes:
    return f"cosignature/v1\ntime {timestamp}\n{text}".encode()


def _line(key: VerifierKey, signature: bytes) -> str:
    return f"{MARK}{key.name} {base64.b64encode(key.key_id + signature).decode()}"


def _text_bytes(text: str) -> bytes:
    if not text.endswith("\n") or any(ord(sign) < 0x20 and sign != "\n" for sign in text):
        raise NoteError("a note's text ends with a newline and has no control characters")
    return text.encode()


def _insist_on_name(name: str) -> None:
    if not name or "+" in name or any(sign.isspace() or ord(sign) < 0x20 for sign in name):
        raise NoteError("a key's name is not empty and has neither spaces nor plus")


def _base64(text: str) -> bytes:
    """Standard base64 with padding (RFC 4648 § 4), and only the one spelling of its bytes."""
    try:
        decoded = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, ValueError):
        raise NoteError("this is not base64") from None
    if base64.b64encode(decoded).decode() != text:
        raise NoteError("this is not base64 as it is written")
    return decoded
