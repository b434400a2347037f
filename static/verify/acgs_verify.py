#!/usr/bin/env python3
"""Checks a policy's bundle, or the whole audit log, of an ACGS governance portal. Asks nobody; needs only Python 3.9.

    python3 acgs_verify.py POL-2026-0001-bundle.zip
    python3 acgs_verify.py log.zip --rpc https://api.devnet.solana.com

Each claim is a line: PASS, FAIL with the reason, or ABSENT where there is nothing to check yet. The formats are public
standards: RFC 6962 (Merkle tree), RFC 8785 (JSON), RFC 8032 (Ed25519), C2SP signed-note, tlog-checkpoint and
tlog-cosignature, Solana's transactions. Exit code 0: nothing failed; 1: something did; 2: this is no such file.
"""

import argparse
import base64
import hashlib
import hmac
import json
import re
import sys
import urllib.request
import zipfile

LARGEST_FILE = 64_000_000  # bytes of one file in the ZIP, unpacked
LARGEST_ZIP = 8_000_000_000  # bytes of all of them: a log of some ten million entries
MOST_FILES = 200_000
WIDTH = 256  # entries in a bundle (C2SP tlog-tiles)
AUDIT_RULE = b"ALLOW audit-checkpoint"
MEMO = "MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr"
CATEGORIES = ("constitutional", "safety", "governance", "financial")


class Wrong(Exception):
    """A claim that does not hold; the message says why."""


class Missing(Exception):
    """Nothing to check yet; the message says what is not there."""


class Unreadable(Exception):
    """This is no bundle and no log."""


def need(condition, why):
    if not condition:
        raise Wrong(why)


def sha256(data):
    return hashlib.sha256(data).digest()


# Ed25519 (RFC 8032), to verify only. Slow and simple: nothing here is secret.

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
SQRT_M1 = pow(2, (P - 1) // 4, P)


def _recover_x(y, sign):
    if y >= P:
        return None  # only the one spelling of each point
    x2 = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(x2, (P + 3) // 8, P)
    if (x * x - x2) % P:
        x = x * SQRT_M1 % P
    if (x * x - x2) % P or (x == 0 and sign):
        return None
    return P - x if x & 1 != sign else x


def _point(data):
    """Extended coordinates of an encoded point; None for what is none."""
    y = int.from_bytes(data, "little")
    x = _recover_x(y & ((1 << 255) - 1), y >> 255)
    y &= (1 << 255) - 1
    return None if x is None else (x, y, 1, x * y % P)


def _add(a, b):
    e, f = (a[1] - a[0]) * (b[1] - b[0]) % P, (a[1] + a[0]) * (b[1] + b[0]) % P
    g, h = 2 * a[3] * b[3] * D % P, 2 * a[2] * b[2] % P
    s, t, u, v = f - e, h - g, h + g, f + e
    return (s * t % P, u * v % P, t * u % P, s * v % P)


def _times(n, point):
    result = (0, 1, 1, 0)
    while n:
        if n & 1:
            result = _add(result, point)
        point, n = _add(point, point), n >> 1
    return result


_BASE_Y = 4 * pow(5, P - 2, P) % P
BASE = (_recover_x(_BASE_Y, 0), _BASE_Y, 1, _recover_x(_BASE_Y, 0) * _BASE_Y % P)


def signed_by(key, message, signature):
    """Whether `signature` (64 bytes) of `message` is by the Ed25519 public `key` (32 bytes)."""
    if len(key) != 32 or len(signature) != 64:
        return False
    a, r, s = _point(key), _point(signature[:32]), int.from_bytes(signature[32:], "little")
    if a is None or r is None or s >= L:
        return False
    h = int.from_bytes(hashlib.sha512(signature[:32] + key + message).digest(), "little") % L
    left, right = _times(s, BASE), _add(r, _times(h, a))
    return not (
        (left[0] * right[2] - right[0] * left[2]) % P or (left[1] * right[2] - right[1] * left[2]) % P
    )


# The Merkle tree (RFC 6962, RFC 9162 § 2.1)


def leaf_hash(body):
    return sha256(b"\x00" + body)


def node_hash(left, right):
    return sha256(b"\x01" + left + right)


class Tree:
    """A tree that grows leaf by leaf and remembers only the roots of its perfect subtrees."""

    def __init__(self):
        self.size, self.subtrees = 0, []

    def add(self, leaf):
        level, node = self.size, leaf
        while level & 1:
            node, level = node_hash(self.subtrees.pop(), node), level >> 1
        self.subtrees.append(node)
        self.size += 1

    def root(self):
        if not self.subtrees:
            return sha256(b"")
        node = self.subtrees[-1]
        for left in reversed(self.subtrees[:-1]):
            node = node_hash(left, node)
        return node


def root_of(leaves):
    tree = Tree()
    for leaf in leaves:
        tree.add(leaf)
    return tree.root()


def check_inclusion(leaf, index, size, proof, root):
    """Raises Wrong unless the proof leads from leaf `index` to the root of `size` leaves."""
    need(0 <= index < size, "the entry lies outside the checkpoint")
    node, last, value = index, size - 1, leaf
    for neighbour in proof:
        need(last, "the proof is too long")
        if node & 1 or node == last:
            value = node_hash(neighbour, value)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            value = node_hash(value, neighbour)
        node, last = node >> 1, last >> 1
    need(not last, "the proof is too short")
    need(value == root, "the proof leads to another root")


def check_consistency(old, new, old_root, new_root, proof):
    """Raises Wrong unless the log of `old` entries is the beginning of the log of `new`."""
    need(0 < old <= new, "the sizes are out of order")
    if old == new:
        need(not proof and old_root == new_root, "two roots for one size")
        return
    path = list(proof) if old & (old - 1) else [old_root, *proof]
    need(path, "the proof is empty")
    node, last = old - 1, new - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    before = after = path[0]
    for value in path[1:]:
        need(last, "the proof is too long")
        if node & 1 or node == last:
            before, after = node_hash(value, before), node_hash(value, after)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            after = node_hash(after, value)
        node, last = node >> 1, last >> 1
    need(not last, "the proof is too short")
    need(before == old_root, "the older root is another: history was rewritten")
    need(after == new_root, "the newer root is another")


def hashes(text):
    """One base64 hash of 32 bytes a line."""
    found = [unbase64(line) for line in text.decode("ascii").splitlines()]
    need(all(len(item) == 32 for item in found), "a hash has not 32 bytes")
    return found


def unbase64(text):
    try:
        decoded = base64.b64decode(text, validate=True)
    except (ValueError, TypeError) as error:
        raise Wrong("this is not base64") from error
    need(base64.b64encode(decoded).decode() == text, "this is not base64 as it is written")
    return decoded


# Signed notes (C2SP signed-note, tlog-checkpoint, tlog-cosignature)


class Key:
    """`name+id+base64(type, key)`, as C2SP writes verifier keys."""

    def __init__(self, text):
        name, _, rest = text.partition("+")
        number, _, packed = rest.partition("+")
        data = unbase64(packed)
        need(name and len(data) == 33 and data[0] in (1, 4), "this is no verifier key")
        self.name, self.kind, self.key = name, data[0], data[1:]
        self.id = sha256(name.encode() + b"\n" + data)[:4]
        need(self.id.hex() == number, "the verifier key's id is not that of its name and key")


class Note:
    """A signed checkpoint: origin, size, root, and its signature lines."""

    def __init__(self, text):
        body, separator, signed = text.rpartition("\n\n")
        need(separator and signed.endswith("\n"), "this is no signed note")
        self.body = body + "\n"
        lines = self.body.split("\n")
        need(len(lines) == 4 and not lines[3], "a checkpoint has three lines")
        need(re.fullmatch("0|[1-9][0-9]{0,18}", lines[1]), "a checkpoint's size is a number")
        self.origin, self.size, self.root = lines[0], int(lines[1]), unbase64(lines[2])
        need(len(self.root) == 32, "a root has 32 bytes")
        self.signatures = []
        for line in signed[:-1].split("\n"):
            match = re.fullmatch("\u2014 ([^ +]+) ([A-Za-z0-9+/=]+)", line)
            need(match, "a signature line is malformed")
            packed = unbase64(match[2])
            self.signatures.append((match[1], packed[:4], packed[4:]))

    def insist_signed(self, key):
        """Raises Wrong unless the log's own key signed it."""
        need(self.origin == key.name, "the checkpoint is of another log: %s" % self.origin)
        for name, number, signature in self.signatures:
            if (name, number) == (key.name, key.id):
                need(signed_by(key.key, self.body.encode(), signature), "the log's signature does not hold")
                return
        raise Wrong("the log's key did not sign it")

    def cosigners(self, log):
        """Names of the others who signed, in order; their keys are not ours to know."""
        return [name for name, number, _ in self.signatures if number != log.id]


# Canonical JSON (RFC 8785), of objects, lists, text, whole numbers, true, false and null


def canonical(value):
    if isinstance(value, bool) or value is None:
        return {True: b"true", False: b"false", None: b"null"}[value]
    if isinstance(value, int):
        need(abs(value) < 2**53, "a number is too large for JSON")
        return str(value).encode()
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\x7f").encode()
    if isinstance(value, list):
        return b"[" + b",".join(map(canonical, value)) + b"]"
    if isinstance(value, dict):
        order = sorted(value, key=lambda name: name.encode("utf-16-be"))
        return b"{" + b",".join(canonical(name) + b":" + canonical(value[name]) for name in order) + b"}"
    raise Wrong("a number with a fraction has no one spelling")


def parse(data, what):
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Wrong("%s is no JSON" % what) from error


# Solana


ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def base58(data):
    number, text = int.from_bytes(data, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        text = ALPHABET[digit] + text
    return "1" * (len(data) - len(data.lstrip(b"\0"))) + text


def unbase58(text):
    need(isinstance(text, str) and 0 < len(text) < 100 and set(text) <= set(ALPHABET), "this is no base58")
    number = 0
    for sign in text:
        number = number * 58 + ALPHABET.index(sign)
    plain = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return b"\0" * (len(text) - len(text.lstrip("1"))) + plain


def find_address(seeds, program):
    """A program-derived address: the first, from bump 255 down, that is no point of the curve."""
    for bump in range(255, -1, -1):
        found = sha256(b"".join(seeds) + bytes([bump]) + program + b"ProgramDerivedAddress")
        if _point(found) is None:
            return found
    raise Wrong("there is no such address")


def policy_id(rule):
    return int.from_bytes(sha256(rule)[:8], "little")


def policy_address(rule, program):
    return base58(find_address([b"policy", policy_id(rule).to_bytes(8, "little")], program))


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        piece = self.data[self.at : self.at + count]
        need(len(piece) == count, "the transaction ends too early")
        self.at += count
        return piece

    def compact(self):
        """Solana's compact-u16."""
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7
            need(shift < 21, "a length is malformed")

    def number(self, count):
        return int.from_bytes(self.take(count), "little")

    def text(self):
        return self.take(self.number(4))


class Transaction:
    """A legacy transaction: who signed it, and its instructions as (program, accounts, data), addresses in base58."""

    def __init__(self, raw):
        reader = Reader(raw)
        self.signatures = [reader.take(64) for _ in range(reader.compact())]
        self.message = raw[reader.at :]
        need(self.message and self.message[0] < 128, "only legacy transactions are read here")
        reader.take(3)
        keys = [reader.take(32) for _ in range(reader.compact())]
        reader.take(32)
        self.instructions = []
        for _ in range(reader.compact()):
            program = reader.take(1)[0]
            accounts = list(reader.take(reader.compact()))
            data = reader.take(reader.compact())
            need(all(place < len(keys) for place in [program, *accounts]), "an account is not in the list")
            self.instructions.append(
                (base58(keys[program]), [base58(keys[place]) for place in accounts], data)
            )
        need(reader.at == len(raw), "something follows the transaction")
        need(0 < len(self.signatures) <= len(keys), "nobody signed it")
        self.signers = keys[: len(self.signatures)]

    def insist_signed(self, authority, signature):
        """Raises Wrong unless the authority paid for and signed it, under that signature."""
        need(base58(self.signers[0]) == authority, "somebody else signed it: %s" % base58(self.signers[0]))
        need(base58(self.signatures[0]) == signature, "it has another signature than is said")
        for key, signed in zip(self.signers, self.signatures):
            need(signed_by(key, self.message, signed), "its signature does not hold")

    def of(self, program, name):
        """(accounts, the data after its discriminator) of each such instruction of the Quantumagi program."""
        mark = sha256(b"global:" + name.encode())[:8]
        return [
            (accounts, data[8:])
            for at, accounts, data in self.instructions
            if at == program and data[:8] == mark
        ]

    def memos(self):
        return [data.decode("utf-8", "replace") for program, _, data in self.instructions if program == MEMO]


def proposed(data):
    """(policy id, rule, category) of propose_policy's arguments."""
    reader = Reader(data)
    number, rule = reader.number(8), reader.text()
    return number, rule, reader.take(1)[0]


# A ZIP, read with suspicion


class Files:
    def __init__(self, path):
        try:
            self.zip = zipfile.ZipFile(path)
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise Unreadable("%s is no ZIP: %s" % (path, error)) from error
        infos = self.zip.infolist()
        if len(infos) > MOST_FILES or sum(info.file_size for info in infos) > LARGEST_ZIP:
            raise Unreadable("This ZIP would unpack to more than a log can be.")
        self.infos = {info.filename: info for info in infos}
        if len(self.infos) != len(infos):
            raise Unreadable("This ZIP names a file twice.")

    def __contains__(self, name):
        return name in self.infos

    def read(self, name):
        """Raises Missing for a file that is not there, Wrong for one that cannot be read."""
        if name not in self.infos:
            raise Missing("there is no %s" % name)
        need(self.infos[name].file_size <= LARGEST_FILE, "%s is too large" % name)
        try:
            with self.zip.open(name) as file:
                data = file.read(LARGEST_FILE + 1)
        except Exception as error:  # zipfile raises many kinds for broken archives
            raise Wrong("%s cannot be unpacked: %s" % (name, error)) from error
        need(len(data) <= LARGEST_FILE, "%s is too large" % name)
        return data

    def insist(self, name, why):
        """Like `read`, of a file that the log says there must be."""
        need(name in self, "there is no %s, though %s" % (name, why))
        return self.read(name)

    def json(self, name):
        return parse(self.read(name), name)


class Claims:
    """What was claimed and how it came out, in order."""

    def __init__(self, out):
        self.found, self.out = [], out

    def check(self, key, text, act):
        """Run `act`; its answer, None where the claim failed or there was nothing. Whatever it stumbles over is a FAIL."""
        result = None
        try:
            result = act()
            state, why = "PASS", result if isinstance(result, str) else ""
        except Missing as missing:
            state, why = "ABSENT", str(missing)
        except Wrong as wrong:
            state, why = "FAIL", str(wrong)
        except (
            KeyError,
            TypeError,
            ValueError,
            IndexError,
            AttributeError,
            RecursionError,
            OverflowError,
        ) as error:
            state, why = (
                "FAIL",
                "it is not in the form it should have: %s %s" % (type(error).__name__, str(error)[:120]),
            )
        self.found.append({"id": key, "state": state, "claim": text, "why": why})
        if self.out:
            print("%-6s  %s%s" % (state, text, ": " + why if why else ""), file=self.out)
        return result if state == "PASS" else None

    def code(self):
        return 1 if any(item["state"] == "FAIL" for item in self.found) else 0


# What a bundle and the whole log have in common


class Identity:
    """Whose log it is, as the file says and as the caller pinned it."""

    def __init__(self, about, pinned):
        self.about, self.pinned = about, pinned
        self.key = Key(about["verifier_key"])
        self.program, self.authority = unbase58(about["program_id"]), about["authority"]

    def check(self):
        need(self.key.kind == 1 and self.key.name == self.about["origin"], "the key is not this log's")
        for name, given, found in (
            ("origin", self.pinned.origin, self.about["origin"]),
            ("key", self.pinned.key, self.about["verifier_key"]),
        ):
            need(given in (None, found), "you pinned another %s: %s, not %s" % (name, given, found))
        known = "as you pinned it" if self.pinned.key else "as the file says; pin it with --key"
        return "%s, %s" % (self.about["origin"], known)


def check_files(files, about, own):
    listed = about["files"]
    need(set(files.infos) - {own} == set(listed), "the files are not those that are listed")
    for name in sorted(listed):
        need(sha256(files.read(name)).hex() == listed[name], "%s is another than listed" % name)
    return "%d files" % len(listed)


def check_constitution(files, about, path):
    digest = sha256(files.read("constitution.md")).hex()
    need(digest == about["constitution_sha256"], "its bytes hash to %s" % digest)
    if path:
        with open(path, "rb") as file:
            need(sha256(file.read()).hex() == digest, "it is another than %s" % path)
    return digest


def check_checkpoint(files, identity):
    note = Note(files.read("checkpoint.txt").decode())
    note.insist_signed(identity.key)
    need(note.size == identity.about["checkpoint_size"], "it is of another size than is said")
    return note


def check_witnesses(note, identity):
    if note is None:
        raise Missing("without a checkpoint there is nothing to cosign")
    names = note.cosigners(identity.key)
    if not names:
        raise Missing("no witness cosigned this checkpoint")
    return "%d: %s (their keys are not checked here)" % (len(names), ", ".join(names))


def check_log_anchor(anchor, identity, constitution):
    """The note in an anchor of a checkpoint, after all that the transaction must hold."""
    note = Note(anchor["memo"])
    note.insist_signed(identity.key)
    need(
        (note.size, base64.b64encode(note.root).decode()) == (anchor["size"], anchor["root"]),
        "its note is of another head",
    )
    wanted = "audit-checkpoint %s %d %s constitution " % (note.origin, note.size, anchor["root"])
    need(anchor["action"].startswith(wanted), "its action names another head")
    under = anchor["action"][len(wanted) :]
    need(re.fullmatch("[0-9a-f]{64}", under), "its action names no constitution")
    need(constitution in (None, under), "it was written under another constitution, %s" % under)
    if not anchor["transaction"]:
        raise Missing("its transaction is not there")
    transaction = Transaction(unbase64(anchor["transaction"]))
    transaction.insist_signed(identity.authority, anchor["signature"])
    program = base58(identity.program)
    checks = transaction.of(program, "check_compliance")
    need(len(checks) == 1, "it does not ask the program once")
    accounts, data = checks[0]
    need(accounts[0] == policy_address(AUDIT_RULE, identity.program), "it asks of another record")
    need(Reader(data).text().decode() == anchor["action"], "it asks for another action")
    need(transaction.memos() == [anchor["memo"]], "its memo is another")
    rules = [proposed(data) for _, data in transaction.of(program, "propose_policy")]
    lasting = [
        rule for number, rule, _ in rules if rule == anchor["action"].encode() and number == policy_id(rule)
    ]
    need(bool(lasting) == bool(anchor["durable"]), "its lasting record is not as is said")
    return note


# A policy's bundle


class Bundle:
    def __init__(self, files, about, identity):
        self.files, self.about, self.identity = files, about, identity
        self.bodies, self.note, self.versions, self.anchor_note = {}, None, {}, None

    def payloads(self, kind):
        """Payloads of the entries of that type, in the log's order."""
        return [body["payload"] for _, body in sorted(self.bodies.items()) if body["type"] == kind]

    def entries(self):
        """Every entry is in the log that was signed."""
        need(self.note is not None, "there is no checkpoint to hold them against")
        names = sorted(name for name in self.files.infos if name.startswith("entries/"))
        proofs = sorted(name for name in self.files.infos if name.startswith("proofs/"))
        need(names, "there are no entries")
        need([n[8:-5] for n in names] == [n[7:-4] for n in proofs], "not each entry has one proof")
        for name in names:
            match = re.fullmatch(r"entries/([0-9]{12})\.json", name)
            need(match, "%s is no entry" % name)
            body, index = self.files.read(name), int(match[1])
            proof = hashes(self.files.read("proofs/%s.txt" % match[1]))
            try:
                check_inclusion(leaf_hash(body), index, self.note.size, proof, self.note.root)
            except Wrong as wrong:
                raise Wrong("entry %d: %s" % (index, wrong)) from wrong
            decoded = parse(body, name)
            need(canonical(decoded) == body, "entry %d is not canonical JSON" % index)
            self.bodies[index] = decoded
        return "%d entries" % len(names)

    def texts(self):
        """Every version is the one that the log speaks of."""
        said = {}
        for kind in ("policy.drafted", "policy.edited", "policy.submitted", "policy.amended"):
            for payload in self.payloads(kind):
                said[payload["version_sha256"]] = payload
        names = [name for name in self.files.infos if name.startswith("versions/")]
        need(names, "there is no version")
        for name in sorted(names):
            content = self.files.json(name)
            record, rule = content["record"], content["rule"]
            digest = sha256(canonical(record)).hex()
            need(
                sha256(content["text"].encode()).hex() == record["text_sha256"],
                "%s: its text is another" % name,
            )
            found = sha256(canonical(rule)).hex() if rule else None
            need(found == record["rule_sha256"], "%s: its rule is another" % name)
            if "constitution_sha256_new" in record:
                amended = sha256(content["constitution"].encode()).hex()
                need(amended == record["constitution_sha256_new"], "%s: its constitution is another" % name)
            need(record["ref"] == self.about["ref"], "%s is of another policy" % name)
            need(digest in said, "%s: the log knows no such version" % name)
            need(said[digest]["text_sha256"] == record["text_sha256"], "%s: the log says another text" % name)
            self.versions[digest] = record
        return "%d version(s)" % len(names)

    def enacted(self):
        found = self.payloads("policy.enacted")
        if not found:
            raise Missing("the policy is not in force")
        return found[-1]

    def reviews(self):
        """The approvals are of the very version that came to the ballot."""
        opened = self.payloads("ballot.opened")
        if not opened:
            raise Missing("no ballot has opened")
        version = opened[-1]["version_sha256"]
        need(version in self.versions, "the version voted on is not here")
        approved = [item for item in self.payloads("review.approved") if item["version_sha256"] == version]
        need(approved, "nobody approved the version that was voted on")
        return "%d approval(s) of version %d" % (len(approved), self.versions[version]["version"])

    def final(self, kind):
        """Whether the log says that an anchor of that kind is final."""
        return any(item["kind"] == kind for item in self.payloads("anchor.finalized"))

    def closed(self):
        found = self.payloads("ballot.closed")
        if not found:
            raise Missing("no ballot has closed")
        return found[-1]

    def openings(self):
        closed = self.closed()
        data = self.files.insist("ballot/openings.json", "the ballot closed")
        need(sha256(data).hex() == closed["openings_sha256"], "they are not those that the log binds")
        return parse(data, "the openings"), closed

    def commitments(self):
        """Each published vote opens its commitment."""
        document, closed = self.openings()
        need(document["ballot"] == closed["ballot"], "they are of another ballot")
        for item in document["openings"]:
            message = canonical({"ballot": document["ballot"], "choice": item["choice"]})
            made = hmac.new(bytes.fromhex(item["salt"]), message, hashlib.sha256).hexdigest()
            need(made == item["commitment"], "the vote %s does not open" % item["commitment"])
        made = [item["commitment"] for item in document["openings"]]
        need(made == sorted(set(made)), "they are not sorted, or one stands there twice")
        return "%d votes" % len(made)

    def ballot_root(self):
        document, closed = self.openings()
        leaves = [leaf_hash(bytes.fromhex(item["commitment"])) for item in document["openings"]]
        need(root_of(leaves).hex() == closed["ballot_root"], "they give another root")
        return closed["ballot_root"]

    def recount(self):
        """The votes add up to the tally in the log, and there are no more than electors."""
        document, closed = self.openings()
        chosen = [item["choice"] for item in document["openings"]]
        counts = {choice: chosen.count(choice) for choice in ("for", "against", "abstain")}
        need(sum(counts.values()) == len(chosen), "a vote is for nothing that can be chosen")
        need(counts == closed["votes"], "they add up to %s" % counts)
        need(len(chosen) <= closed["electorate"], "more votes than electors")
        return "%(for)d for, %(against)d against, %(abstain)d abstaining" % counts

    def votes_in_log(self):
        """Each vote, also a replaced one, is a leaf between the opening and the close."""
        document, closed = self.openings()
        made = {item["commitment"]: None for item in document["openings"]}
        made.update({item["commitment"]: item["by"] for item in document["superseded"]})
        places = {
            item["commitment"]: item["index"]
            for item in parse(self.files.insist("ballot/votes.json", "the ballot closed"), "the votes")
        }
        need(set(made) == set(places), "the votes listed are not those published")
        need(len(set(places.values())) == len(places), "two votes share a leaf")
        begin, end = (
            self.place("ballot.opened", closed["ballot"]),
            self.place("ballot.closed", closed["ballot"]),
        )
        earlier = {by: commitment for commitment, by in made.items() if by}
        for commitment, index in places.items():
            body = self.bodies.get(index)
            need(body and body["type"] == "vote.cast", "leaf %s is no vote" % index)
            need(body["payload"]["commitment"] == commitment, "leaf %d is of another vote" % index)
            need(
                body["payload"]["supersedes"] == earlier.get(commitment),
                "leaf %d replaces another vote" % index,
            )
            need(begin < index < end, "leaf %d is not between opening and close" % index)
            by = made[commitment]
            need(by is None or by in made, "the vote %s was replaced by one that is not here" % commitment)
        return "%d leaves" % len(places)

    def place(self, kind, ballot):
        for index, body in self.bodies.items():
            if body["type"] == kind and body["payload"]["ballot"] == ballot:
                return index
        raise Wrong("the log has no %s of this ballot" % kind)

    def outcome(self):
        """Quorum and threshold, evaluated anew from what the ballot opened with."""
        closed = self.closed()
        terms = [item for item in self.payloads("ballot.opened") if item["ballot"] == closed["ballot"]][0]
        votes, electorate = closed["votes"], terms["electorate"]
        need(electorate == closed["electorate"], "the electorate changed")
        f, a, n = votes["for"], votes["against"], votes["abstain"]
        # Votes against do not count towards the quorum, so that one of them can never help.
        passed = all(
            (
                f + a + n > 0,
                100 * (f + n) >= terms["quorum_percent"] * electorate,
                f > a,
                100 * f >= terms["threshold_percent"] * (f + a),
            )
        )
        need(passed == closed["passed"], "by these figures it %s" % ("passed" if passed else "did not pass"))
        need(passed or not self.payloads("policy.enacted"), "it is in force and did not pass")
        return "passed" if passed else "did not pass"

    def record(self):
        """What goes on chain says what the log says."""
        enacted, closed = self.enacted(), self.closed()
        version = self.versions.get(enacted["version_sha256"])
        need(version, "the version in force is not here")
        votes = closed["votes"]
        record = canonical(
            {
                "kind": "policy",
                "ref": self.about["ref"],
                "version": enacted["version"],
                "text_sha256": version["text_sha256"],
                "version_sha256": enacted["version_sha256"],
                "tally": [votes["for"], votes["against"], votes["abstain"]],
                "electorate": closed["electorate"],
                "ballot_root": closed["ballot_root"],
                "constitution_sha256": self.about["constitution_sha256"],
            }
        )
        need(sha256(record).hex() == enacted["record_sha256"], "the log says another record was enacted")
        return record

    def on_chain(self):
        """The transaction that wrote it, signed by the authority: proposes this record, enacts it, says so."""
        record = self.record()
        if self.final("policy"):
            self.files.insist("policy_anchor.json", "the log says that it is final")
        anchor = self.files.json("policy_anchor.json")
        need(anchor["record"].encode() == record, "it is of another record")
        if not anchor["transaction"]:
            raise Missing("the node no longer had the transaction")
        transaction = Transaction(unbase64(anchor["transaction"]))
        transaction.insist_signed(self.identity.authority, anchor["signature"])
        program, address = base58(self.identity.program), policy_address(record, self.identity.program)
        need(anchor["account"] == address, "its account is not the record's: %s" % address)
        rules = [
            (accounts[0], *proposed(data)) for accounts, data in transaction.of(program, "propose_policy")
        ]
        version = self.versions[self.enacted()["version_sha256"]]
        category = CATEGORIES.index(version["category"])
        need(
            not rules or rules == [(address, policy_id(record), record, category)],
            "it proposes another record",
        )
        enacts = transaction.of(program, "enact_policy")
        need(len(enacts) == 1 and enacts[0][0][0] == address, "it does not enact this record")
        need(transaction.memos() == [anchor["memo"]], "its memo is another")
        need(version["text_sha256"] in anchor["memo"], "its memo names another text")
        return "%s in slot %s" % (anchor["signature"], anchor["slot"])

    def taken_back(self):
        """A suspension: the transaction deactivates the same account."""
        if not self.payloads("policy.suspended"):
            raise Missing("it was not suspended")
        if self.final("deactivation"):
            self.files.insist("deactivation_anchor.json", "the log says that it is final")
        anchor = self.files.json("deactivation_anchor.json")
        need(anchor["transaction"], "the transaction is not there")
        transaction = Transaction(unbase64(anchor["transaction"]))
        transaction.insist_signed(self.identity.authority, anchor["signature"])
        address = policy_address(self.record(), self.identity.program)
        found = transaction.of(base58(self.identity.program), "deactivate_policy")
        need(len(found) == 1 and found[0][0][0] == address, "it deactivates another record")
        need(
            sha256(anchor["record"].encode()).hex() in " ".join(transaction.memos()),
            "its memo names another record",
        )
        return anchor["signature"]

    def amends(self):
        """An amendment: the document voted on came into force, and the authority put its hash into the account."""
        found = self.payloads("constitution.adopted")
        if not found:
            raise Missing("it amends no constitution")
        adopted, version = found[-1], self.versions[self.enacted()["version_sha256"]]
        wanted = version.get("constitution_sha256_new"), version.get("constitution_sha256_base")
        need((adopted["sha256"], adopted["previous_sha256"]) == wanted, "another document was voted on")
        need(
            wanted[1] == self.about["constitution_sha256"],
            "it was enacted under another document than it amends",
        )
        if self.final("constitution"):
            self.files.insist("constitution_anchor.json", "the log says that it is final")
        anchor = self.files.json("constitution_anchor.json")
        if not anchor["transaction"]:
            raise Missing("the node no longer had the transaction")
        transaction = Transaction(unbase64(anchor["transaction"]))
        transaction.insist_signed(self.identity.authority, anchor["signature"])
        address = base58(find_address([b"constitution"], self.identity.program))
        written = transaction.of(base58(self.identity.program), "update_constitution")
        need(
            len(written) == 1 and written[0][0][0] == address, "it does not write to the constitution account"
        )
        need(written[0][1].hex() == adopted["sha256"], "it writes another hash: %s" % written[0][1].hex())
        return "%s, in place of %s" % wanted

    def log_anchor(self):
        anchor = self.files.json("log_anchor.json")
        self.anchor_note = check_log_anchor(anchor, self.identity, None)
        covers = "covers" if self.anchor_note.size > max(self.bodies, default=0) else "does not cover all of"
        return "%d entries, which %s this bundle; block of %s" % (
            self.anchor_note.size,
            covers,
            anchor["block_time"],
        )

    def consistency(self):
        if self.anchor_note is None:
            raise Missing("no anchor to compare with")
        one, two = sorted((self.anchor_note, self.note), key=lambda note: note.size)
        check_consistency(one.size, two.size, one.root, two.root, hashes(self.files.read("consistency.txt")))
        return "%d and %d entries" % (one.size, two.size)


def check_bundle(files, about, identity, claims, options):
    bundle = Bundle(files, about, identity)
    check = claims.check
    check("files", "The files are those that are listed", lambda: check_files(files, about, "bundle.json"))
    check("identity", "The log is", identity.check)
    check("constitution", "The constitution", lambda: check_constitution(files, about, options.constitution))
    bundle.note = check(
        "checkpoint", "The checkpoint is signed by the log", lambda: check_checkpoint(files, identity)
    )
    check("witnesses", "Witnesses", lambda: check_witnesses(bundle.note, identity))
    check("entries", "Every entry stands in the signed log", bundle.entries)
    check("texts", "The texts are those that the log speaks of", bundle.texts)
    check("reviews", "Reviewers approved what was voted on", bundle.reviews)
    check("openings", "The published votes are those that the log binds", lambda: bundle.openings() and "")
    check("commitments", "Each published vote opens its commitment", bundle.commitments)
    check("ballot_root", "They give the ballot's root", bundle.ballot_root)
    check("recount", "They add up to the tally", bundle.recount)
    check("votes_in_log", "Each vote was entered while the ballot was open", bundle.votes_in_log)
    check("outcome", "Quorum and threshold give the outcome", bundle.outcome)
    check(
        "record", "The record of its enactment follows from all that", lambda: sha256(bundle.record()).hex()
    )
    check("on_chain", "The authority wrote it to Solana", bundle.on_chain)
    check("taken_back", "Its suspension was written to Solana", bundle.taken_back)
    check("amends", "The constitution it amends was amended on Solana", bundle.amends)
    check("log_anchor", "A head of the log stands on Solana", bundle.log_anchor)
    check("consistency", "It and the checkpoint are of one history", bundle.consistency)


# The whole log


class Log:
    def __init__(self, files, about, identity):
        self.files, self.about, self.identity = files, about, identity
        self.note, self.roots, self.verifiers, self.ids, self.votes = None, {}, [], set(), {}
        self.under, self.adopted, self.voted, self.unvoted, self.astray = None, None, 0, [], None
        self.asked = set()  # sizes at which the chain has a head, whether or not the file says so

    def entries(self):
        """All bodies, from the first to the last, into one tree; its root at each anchored size is kept."""
        need(self.note is not None, "there is no checkpoint to hold them against")
        wanted = {item["size"] for item in self.files.json("anchors.json")} | {self.note.size} | self.asked
        tree, position = Tree(), 0
        while tree.size < self.note.size:
            width = min(WIDTH, self.note.size - tree.size)
            data, at = self.files.insist("entries/" + tile_name(position, width), "the log has them"), 0
            for _ in range(width):
                length = int.from_bytes(data[at : at + 2], "big")
                body = data[at + 2 : at + 2 + length]
                need(at + 2 <= len(data) and len(body) == length, "entry %d is cut off" % tree.size)
                at += 2 + length
                self._take(tree.size, body)
                tree.add(leaf_hash(body))
                if tree.size in wanted:
                    self.roots[tree.size] = tree.root()
            need(at == len(data), "something follows entry %d" % (tree.size - 1))
            position += 1
        need(tree.root() == self.note.root, "all entries together give another root than was signed")
        return "%d entries" % tree.size

    def _take(self, index, body):
        try:
            decoded = json.loads(body)
            kind, number = decoded["type"], decoded["id"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise Wrong("entry %d is no entry" % index) from error
        need(number not in self.ids, "entry %d has the id of another" % index)
        self.ids.add(number)
        self._take_constitution(index, kind, decoded)
        if canonical_fast(decoded) != body:
            need(canonical(decoded) == body, "entry %d is not canonical JSON" % index)
        if kind == "verifier.published":
            self.verifiers.append((index, decoded["payload"]))
        elif kind == "vote.cast":
            made = decoded["payload"]["commitment"]
            need(made not in self.votes, "entry %d casts a vote again" % index)
            self.votes[made] = index

    def _take_constitution(self, index, kind, decoded):
        """Each entry names the document in force at its time: after an adoption, the one that was adopted."""
        under = decoded.get("constitution_sha256")
        if self.adopted is not None and under != self.adopted:
            self.astray = self.astray or "entry %d names another document than was adopted before it" % index
        elif self.adopted is None and self.under not in (None, under):
            self.unvoted.append(index)
        self.under, self.adopted = under, None
        if kind == "constitution.adopted":
            payload = decoded["payload"]
            if payload["previous_sha256"] != under:
                self.astray = self.astray or "entry %d amends another document than was in force" % index
            self.adopted, self.voted = payload["sha256"], self.voted + 1

    def constitutions(self):
        """How the document in force changed; a change that no vote made is named."""
        need(self.under is not None, "there are no entries")
        need(self.astray is None, self.astray)
        changed = ", and otherwise than by vote at entry %s" % self.unvoted if self.unvoted else ""
        return "%s at the end, after %d amendment(s) by vote%s" % (
            self.adopted or self.under,
            self.voted,
            changed,
        )

    def votes_cast(self):
        return "%d votes, each with a commitment of its own" % len(self.votes)

    def anchors(self):
        """Every anchor's head is one that these entries give."""
        found = self.files.json("anchors.json")
        if not found:
            raise Missing("nothing of the log stands on Solana yet")
        final = 0
        for item in found:
            try:
                if item["state"] == "finalized":
                    note, final = check_log_anchor(item, self.identity, None), final + 1
                    need(note.size <= self.note.size, "it is larger than this log")
                    need(self.roots.get(note.size) == note.root, "these entries give another root: a fork")
            except Wrong as wrong:
                raise Wrong("the anchor of %s entries: %s" % (item["size"], wrong)) from wrong
        return "%d final, of %d" % (final, len(found))

    def consistency(self):
        sizes = sorted({item["size"] for item in self.files.json("anchors.json")})
        if not sizes:
            raise Missing("no anchor to compare with")
        for size in sizes:
            proof = hashes(self.files.read("consistency/%d.txt" % size))
            need(size in self.roots, "the head of %d entries is not known" % size)
            check_consistency(size, self.note.size, self.roots[size], self.note.root, proof)
        return "%d proofs" % len(sizes)

    def own_digest(self):
        """The log says that this very file was published."""
        with open(__file__, "rb") as file:
            digest = sha256(file.read()).hex()
        if not self.verifiers:
            raise Missing("no verifier was published")
        for index, payload in self.verifiers:
            if payload["sha256"] == digest:
                return "%s, entry %d" % (digest, index)
        raise Wrong("this file's SHA-256, %s, is none of the %d in the log" % (digest, len(self.verifiers)))


def tile_name(position, width):
    """`<N>[.p/<W>]` of C2SP tlog-tiles."""
    groups, rest = ["%03d" % (position % 1000)], position // 1000
    while rest:
        groups.insert(0, "x%03d" % (rest % 1000))
        rest //= 1000
    return "/".join(groups) + ("" if width == WIDTH else ".p/%d" % width)


_ENCODE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode


def canonical_fast(value):
    """The same bytes as `canonical` for nearly all entries, and much quicker; where it differs, the slow one decides."""
    return _ENCODE(value).encode()


def check_whole(files, about, identity, claims, options):
    log = Log(files, about, identity)
    log.asked = {size for size, _, _ in options.heads}
    check = claims.check
    check("files", "The files are those that are listed", lambda: check_files(files, about, "log.json"))
    check("identity", "The log is", identity.check)
    check("constitution", "The constitution", lambda: check_constitution(files, about, options.constitution))
    log.note = check(
        "checkpoint", "The checkpoint is signed by the log", lambda: check_checkpoint(files, identity)
    )
    check("witnesses", "Witnesses", lambda: check_witnesses(log.note, identity))
    check("entries", "All entries, recomputed, give the signed root", log.entries)
    check("constitutions", "Entries name the constitution of their time", log.constitutions)
    check("votes", "Votes", log.votes_cast)
    check("anchors", "Every head on Solana is one of these entries'", log.anchors)
    check("consistency", "Each of them is the beginning of this log", log.consistency)
    check("verifier", "This verifier is one that the log published", log.own_digest)
    return log


# Reading the chain oneself (--rpc)


class Chain:
    def __init__(self, url):
        self.url, self.count = url, 0

    def ask(self, method, *parameters):
        self.count += 1
        body = json.dumps(
            {"jsonrpc": "2.0", "id": self.count, "method": method, "params": parameters}
        ).encode()
        request = urllib.request.Request(self.url, body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                said = json.loads(answer.read(LARGEST_FILE))
        except (OSError, ValueError) as error:
            raise Wrong("the node does not answer: %s" % error) from error
        need("result" in said, "the node refuses %s: %s" % (method, said.get("error")))
        return said["result"]

    def account(self, address):
        found = self.ask("getAccountInfo", address, {"encoding": "base64", "commitment": "finalized"})[
            "value"
        ]
        need(found, "there is no account %s" % address)
        return found["owner"], base64.b64decode(found["data"][0])

    def transaction(self, signature):
        options = {"encoding": "base64", "commitment": "finalized", "maxSupportedTransactionVersion": 0}
        found = self.ask("getTransaction", signature, options)
        need(found, "the node has no transaction %s (any more)" % signature)
        need(found["meta"]["err"] is None, "the transaction %s failed" % signature)
        return base64.b64decode(found["transaction"][0])

    def signatures(self, address):
        """All successful ones, newest first, page after page."""
        before = None
        while True:
            options = {"limit": 1000, "commitment": "finalized", **({"before": before} if before else {})}
            page = self.ask("getSignaturesForAddress", address, options)
            yield from (item["signature"] for item in page if item["err"] is None)
            if len(page) < 1000:
                return
            before = page[-1]["signature"]


def check_chain_constitution(chain, identity, about):
    address = base58(find_address([b"constitution"], identity.program))
    owner, data = chain.account(address)
    need(owner == base58(identity.program), "the account belongs to another program")
    need(data[:8] == sha256(b"account:Constitution")[:8] and len(data) >= 77, "it is no constitution account")
    need(base58(data[8:40]) == identity.authority, "its authority is %s" % base58(data[8:40]))
    held, version = data[40:72].hex(), int.from_bytes(data[72:76], "little")
    if held == about["constitution_sha256"]:
        return "%s holds the same hash, version %d" % (address, version)
    signature = find_in_history(chain, identity, address, about["constitution_sha256"])
    return "%s held it since %s, and holds %s by amendment since, version %d" % (
        address,
        signature,
        held,
        version,
    )


def find_in_history(chain, identity, address, wanted):
    """The transaction that wrote this hash into the constitution account, among all that touched it."""
    program, founded = base58(identity.program), False
    for signature in chain.signatures(address):
        transaction = Transaction(chain.transaction(signature))
        for name in ("update_constitution", "initialize"):
            for accounts, data in transaction.of(program, name):
                if accounts[0] == address:
                    founded = founded or name == "initialize"
                    if data[:32].hex() == wanted:
                        return signature
    need(not founded, "it holds another hash, and no transaction ever wrote %s" % wanted)
    raise Missing("it holds another hash, and the node no longer has its whole history")


def check_chain_archived(chain, anchors):
    if not anchors:
        raise Missing("there is no archived transaction")
    for item in anchors:
        need(
            chain.transaction(item["signature"]) == unbase64(item["transaction"]),
            "%s is another on chain" % item["signature"],
        )
    return "%d transaction(s) are on chain as archived" % len(anchors)


def list_heads(chain, identity):
    """Every head of this log that the authority ever wrote: (size, root, signature), newest first."""
    program, record = base58(identity.program), policy_address(AUDIT_RULE, identity.program)
    for signature in chain.signatures(identity.authority):
        transaction = Transaction(chain.transaction(signature))
        if base58(transaction.signers[0]) != identity.authority:
            continue
        for accounts, data in transaction.of(program, "check_compliance"):
            words = Reader(data).text().decode("utf-8", "replace").split(" ")
            if accounts[0] == record and words[0] == "audit-checkpoint" and len(words) == 6:
                if words[1] == identity.about["origin"]:
                    yield int(words[2]), words[3], signature


def read_heads(chain, identity):
    """What `list_heads` gives, and why it could not be read; before the entries, which are to be held against all of it."""
    try:
        return list(list_heads(chain, identity)), None
    except (Wrong, Missing, KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        return [], error


def check_chain_heads(heads, known, size_here, named, out):
    """Lists them all; two roots for one size, or one that these entries do not give, is a fork."""
    seen, forks = {}, set()
    for size, root, signature in heads:
        if out:
            print("        %10d entries  %s  %s" % (size, root, signature), file=out)
        if seen.setdefault(size, root) != root:
            forks.add(size)
        if size in known and base64.b64encode(known[size]).decode() != root:
            forks.add(size)
    need(not forks, "the chain holds another root at %s entries: a fork" % sorted(forks))
    if not seen:
        raise Missing("the authority has written no head of this log")
    said = "%d on chain" % len(seen)
    beyond = sum(size > size_here for size in seen)
    if beyond:
        said += ", %d of more entries than are here: this file is older, or was cut short" % beyond
    hidden = (
        sorted(size for size in seen if size <= size_here and size not in named) if named is not None else ()
    )
    if hidden:
        said += ", and this file names none at %s entries" % ", ".join(map(str, hidden[:10]))
    return said


def check_chain(chain, files, about, identity, claims, options, log):
    check = claims.check
    check(
        "rpc_constitution",
        "The constitution on chain",
        lambda: check_chain_constitution(chain, identity, about),
    )
    names = ("policy_anchor.json", "deactivation_anchor.json", "log_anchor.json")
    archived = [files.json(name) for name in names if name in files]
    if "anchors.json" in files:
        archived = [item for item in files.json("anchors.json") if item["state"] == "finalized"]
    held = [item for item in archived if item["transaction"]]
    check("rpc_transactions", "The archived transactions", lambda: check_chain_archived(chain, held))

    def heads():
        if options.unread:
            raise Wrong("they cannot be read: %s" % options.unread)
        note = Note(files.read("checkpoint.txt").decode())
        known = {**dict(log.roots if log else ()), note.size: note.root}
        named = {item["size"] for item in held} if log else None
        return check_chain_heads(options.heads, known, note.size, named, claims.out)

    check("rpc_heads", "All heads that the authority wrote", heads)


def options_of(arguments):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("file", help="a policy's bundle, or log.zip")
    parser.add_argument("--origin", help="the log's name, as you noted it from somewhere you trust")
    parser.add_argument("--key", help="the log's verifier key, noted likewise")
    parser.add_argument("--constitution", help="a file that must be the constitution, byte for byte")
    parser.add_argument("--rpc", metavar="URL", help="a Solana node, to read the chain as well")
    parser.add_argument("--json", action="store_true", help="print the claims as JSON")
    parser.set_defaults(heads=[], unread=None)
    return parser.parse_args(arguments)


def main(arguments=None):
    options = options_of(arguments)
    claims = Claims(None if options.json else sys.stdout)
    try:
        files = Files(options.file)
        own = next((name for name in ("bundle.json", "log.json") if name in files), None)
        if own is None:
            raise Unreadable("It holds neither bundle.json nor log.json.")
        about = files.json(own)
        identity = Identity(about, options)
        need(
            about["schema"] == {"bundle.json": "acgs.bundle/1", "log.json": "acgs.log/1"}[own],
            "of another form",
        )
        check, chain = check_bundle if own == "bundle.json" else check_whole, None
        if options.rpc:
            chain = Chain(options.rpc)
            options.heads, options.unread = read_heads(chain, identity)
        log = check(files, about, identity, claims, options)
        if chain:
            check_chain(chain, files, about, identity, claims, options, log)
    except (Unreadable, Wrong, Missing, KeyError, TypeError, AttributeError, ValueError, OSError) as error:
        print("This cannot be checked: %s" % (error or type(error).__name__), file=sys.stderr)
        return 2
    if options.json:
        json.dump({"file": options.file, "claims": claims.found}, sys.stdout, indent=1)
        print()
    elif claims.code():
        print("\nSomething does not hold.")
    else:
        print(
            "\nEverything that is there holds. Times are bounds: not before the entries before, not after the block."
        )
    return claims.code()


if __name__ == "__main__":
    sys.exit(main())
