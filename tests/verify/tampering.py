"""A bundle and a log as the portal handed them out, and ways to lie about them: each with the claim that must not hold.

`samples/` came from `tests/portal/api/test_bundle_on_chain.py`, whose own run holds the present code against the verifier.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import rfc8785

SAMPLES = Path(__file__).with_name("samples")
Files = dict[str, bytes]
Lie = Callable[[Files], None]


def files_of(name: str) -> Files:
    with zipfile.ZipFile(SAMPLES / name) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist()}


def packed(files: Files) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def settled(files: Files) -> Files:
    """The digests in bundle.json or log.json made to fit: a liar does that much."""
    own = "bundle.json" if "bundle.json" in files else "log.json"
    about = json.loads(files[own])
    about["files"] = {
        name: hashlib.sha256(content).hexdigest() for name, content in files.items() if name != own
    }
    files[own] = rfc8785.dumps(about)
    return files


def change(name: str, *path: str | int, to: Any) -> Lie:
    """Put another value at a path of a JSON file; `to` may be a function of the old one."""

    def lie(files: Files) -> None:
        document = json.loads(files[name])
        place = document
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = to(place[path[-1]]) if callable(to) else to
        files[name] = rfc8785.dumps(document)

    return lie


def flip(name: str, at: float = 0.5) -> Lie:
    def lie(files: Files) -> None:
        data = bytearray(files[name])
        data[int(at * (len(data) - 1))] ^= 1
        files[name] = bytes(data)

    return lie


def flip_inside(name: str, member: str, at: int) -> Lie:
    """One bit of base64 data in a JSON file."""

    def twisted(old: str) -> str:
        data = bytearray(base64.b64decode(old))
        data[at] ^= 1
        return base64.b64encode(bytes(data)).decode()

    return change(name, member, to=twisted)


def drop(name: str) -> Lie:
    def lie(files: Files) -> None:
        del files[name]

    return lie


def entry(kind: str) -> str:
    """The file of the last entry of that type in the sample."""
    found = [
        name
        for name, content in files_of("bundle.zip").items()
        if name.startswith("entries/") and json.loads(content)["type"] == kind
    ]
    return sorted(found)[-1]


def proof_of(kind: str) -> str:
    return entry(kind).replace("entries/", "proofs/").replace(".json", ".txt")


def other_hex(old: str) -> str:
    return ("0" if old[0] != "0" else "1") + old[1:]


def swap(one: str, two: str) -> Lie:
    def lie(files: Files) -> None:
        files[one], files[two] = files[two], files[one]

    return lie


def without_first(name: str, member: str | None = None) -> Lie:
    def lie(files: Files) -> None:
        document = json.loads(files[name])
        (document if member is None else document[member]).pop(0)
        files[name] = rfc8785.dumps(document)

    return lie


OPENINGS, VOTES = "ballot/openings.json", "ballot/votes.json"
POLICY, DOWN, HEAD = "policy_anchor.json", "deactivation_anchor.json", "log_anchor.json"
# (name of the lie, what it does, a claim that must fail); all digests are made to fit afterwards
BUNDLE: list[tuple[str, Lie, str]] = [
    ("another constitution", flip("constitution.md"), "constitution"),
    ("its hash in the index", change("bundle.json", "constitution_sha256", to=other_hex), "constitution"),
    ("another reference", change("bundle.json", "ref", to="POL-2026-0002"), "texts"),
    ("another authority", change("bundle.json", "authority", to="1" * 32), "on_chain"),
    ("another program", change("bundle.json", "program_id", to="So11111111111111111111111111111111111111112"), "on_chain"),
    ("another size", change("bundle.json", "checkpoint_size", to=lambda n: n + 1), "checkpoint"),
    ("another text", change("versions/1.json", "text", to=lambda t: t.replace("Wednesday", "Thursday")), "texts"),
    ("another title", change("versions/1.json", "record", "title", to="Another"), "texts"),
    ("a rule where there was none", change("versions/1.json", "rule", to={"engine": "rego", "source": "", "examples": []}), "texts"),
    ("no version", drop("versions/1.json"), "texts"),
    ("a checkpoint's size", lambda f: f.update({"checkpoint.txt": f["checkpoint.txt"].replace(b"\n24\n", b"\n25\n")}), "checkpoint"),
    ("a checkpoint's root", flip("checkpoint.txt", 0.2), "checkpoint"),
    ("a checkpoint's signature", flip("checkpoint.txt", 0.85), "checkpoint"),
    ("no checkpoint", drop("checkpoint.txt"), "entries"),
    ("a review of something else", change(entry("review.approved"), "payload", "version_sha256", to=other_hex), "entries"),
    ("a tally in the log", change(entry("ballot.closed"), "payload", "votes", "for", to=9), "entries"),
    ("who did it", change(entry("policy.enacted"), "actor", to="visitor"), "entries"),
    ("when it was done", change(entry("ballot.opened"), "at", to="2020-01-01T00:00:00.000000Z"), "entries"),
    ("two entries swapped", swap(entry("ballot.opened"), entry("ballot.closed")), "entries"),
    ("a proof", flip(proof_of("ballot.closed"), 0.1), "entries"),
    ("a proof cut short", lambda f: f.update({proof_of("ballot.closed"): f[proof_of("ballot.closed")].partition(b"\n")[2]}), "entries"),
    ("a proof too long", lambda f: f.update({proof_of("ballot.closed"): f[proof_of("ballot.closed")] + base64.b64encode(bytes(32)) + b"\n"}), "entries"),
    ("an entry without its proof", drop(proof_of("ballot.closed")), "entries"),
    ("spaces in an entry", lambda f: f.update({entry("ballot.closed"): f[entry("ballot.closed")].replace(b",", b", ", 1)}), "entries"),
    ("no openings", drop(OPENINGS), "openings"),
    ("no list of votes", drop(VOTES), "votes_in_log"),
    ("no transaction, though it is final", drop(POLICY), "on_chain"),
    ("no suspension, though it is final", drop(DOWN), "taken_back"),
    ("a choice", change(OPENINGS, "openings", 0, "choice", to="against"), "openings"),
    ("a salt", change(OPENINGS, "openings", 0, "salt", to=other_hex), "openings"),
    ("a vote left out", without_first(OPENINGS, "openings"), "openings"),
    ("a vote called replaced no more", without_first(OPENINGS, "superseded"), "openings"),
    ("the mode", change(OPENINGS, "mode", to="open"), "openings"),
    ("a vote's leaf", change(VOTES, 0, "index", to=0), "votes_in_log"),
    ("a vote not listed", without_first(VOTES), "votes_in_log"),
    ("a record", change(POLICY, "record", to=lambda r: r.replace('"version":1', '"version":2')), "on_chain"),
    ("a transaction's signature", flip_inside(POLICY, "transaction", 5), "on_chain"),
    ("a transaction's message", flip_inside(POLICY, "transaction", 300), "on_chain"),
    ("a transaction cut off", change(POLICY, "transaction", to=lambda t: t[:400]), "on_chain"),
    ("which transaction", change(POLICY, "signature", to=lambda s: s[:-1] + ("1" if s[-1] != "1" else "2")), "on_chain"),
    ("which account", change(POLICY, "account", to="1" * 32), "on_chain"),
    ("a memo", change(POLICY, "memo", to=lambda m: m + "."), "on_chain"),
    ("a suspension's record", change(DOWN, "record", to=lambda r: r + " "), "taken_back"),
    ("a suspension's transaction", flip_inside(DOWN, "transaction", 200), "taken_back"),
    ("a head's size", change(HEAD, "size", to=lambda n: n + 1), "log_anchor"),
    ("a head's root", change(HEAD, "root", to=base64.b64encode(bytes(32)).decode()), "log_anchor"),
    ("a head's action", change(HEAD, "action", to=lambda a: other_hex(a)), "log_anchor"),
    ("a head's memo", change(HEAD, "memo", to=lambda m: m.replace("\n24\n", "\n25\n")), "log_anchor"),
    ("a head's transaction", flip_inside(HEAD, "transaction", 400), "log_anchor"),
    ("whether it lasts", change(HEAD, "durable", to=lambda d: not d), "log_anchor"),
    ("a history that does not fit", lambda f: f.update({"consistency.txt": base64.b64encode(bytes(32)) + b"\n"}), "consistency"),
]  # fmt: skip
LOG: list[tuple[str, Lie, str]] = [
    ("a byte of an entry", flip("entries/000.p/24", 0.3), "entries"),
    ("the last byte", flip("entries/000.p/24", 1.0), "entries"),
    ("an entry cut off", lambda f: f.update({"entries/000.p/24": f["entries/000.p/24"][:-3]}), "entries"),
    ("something after the last", lambda f: f.update({"entries/000.p/24": f["entries/000.p/24"] + b"x"}), "entries"),
    ("no entries", drop("entries/000.p/24"), "entries"),
    ("an anchor's root", change("anchors.json", 0, "root", to=base64.b64encode(bytes(32)).decode()), "anchors"),
    ("an anchor's transaction", change("anchors.json", 0, "transaction", to=lambda t: t[:100] + "AAAA" + t[104:]), "anchors"),
    ("a history that does not fit", lambda f: f.update({"consistency/24.txt": base64.b64encode(bytes(32)) + b"\n"}), "consistency"),
    ("a checkpoint's signature", flip("checkpoint.txt", 0.85), "checkpoint"),
    ("another key", change("log.json", "verifier_key", to=lambda k: k.replace(k.split("+")[1], "00000000")), ""),
]  # fmt: skip
