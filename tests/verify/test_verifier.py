"""The stand-alone Python verifier: what is true passes, every lie fails where it was told, and no input makes it stumble."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.verify.sealing import FILE, sealed
from tests.verify.tampering import BUNDLE, LOG, SAMPLES, Lie, files_of, packed, settled

VERIFIER = FILE.with_name("acgs_verify.py")


def verify(file: Path, *options: str) -> tuple[int, dict[str, dict[str, str]], str]:
    """Exit code, claims by id, and what it said, as a stranger runs it: in a process that has nothing of ours."""
    command = [sys.executable, "-I", str(VERIFIER), "--json", *options, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    claims = json.loads(done.stdout)["claims"] if done.returncode != 2 else []
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, {claim["id"]: claim for claim in claims}, done.stdout + done.stderr


def loaded() -> Any:
    """The verifier as a module, for what would take too long as processes."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("acgs_verify", VERIFIER)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


acgs_verify = loaded()


@pytest.mark.parametrize("name", ["bundle.zip", "log.zip"])
def test_what_the_portal_handed_out_holds(name: str) -> None:
    code, claims, said = verify(SAMPLES / name)
    assert code == 0, said
    absent = {key for key, claim in claims.items() if claim["state"] == "ABSENT"}
    assert absent <= {"witnesses", "verifier", "amends"}
    assert len(claims) == (20 if name == "bundle.zip" else 11)


def told(
    tmp_path: Path, sample: str, lie: Lie, *, settle: bool = True
) -> tuple[int, dict[str, dict[str, str]], str]:
    files = files_of(sample)
    lie(files)
    path = tmp_path / sample
    path.write_bytes(packed(settled(files) if settle else files))
    return verify(path)


@pytest.mark.parametrize(("lie", "claim"), [item[1:] for item in BUNDLE], ids=[item[0] for item in BUNDLE])
def test_each_lie_about_a_policy_fails_where_it_was_told(tmp_path: Path, lie: Lie, claim: str) -> None:
    code, claims, said = told(tmp_path, "bundle.zip", lie)
    assert code == 1, said
    assert claims[claim]["state"] == "FAIL" and claims[claim]["why"], said


@pytest.mark.parametrize(("lie", "claim"), [item[1:] for item in LOG], ids=[item[0] for item in LOG])
def test_each_lie_about_the_log_fails_where_it_was_told(tmp_path: Path, lie: Lie, claim: str) -> None:
    code, claims, said = told(tmp_path, "log.zip", lie)
    if claim:
        assert code == 1 and claims[claim]["state"] == "FAIL", said
    else:
        assert code == 2, said


@pytest.mark.parametrize("sample", ["bundle.zip", "log.zip"])
def test_a_byte_changed_in_any_file_is_found(sample: str) -> None:
    for name in files_of(sample):
        files = files_of(sample)
        if not files[name] or name in ("bundle.json", "log.json"):
            continue
        files[name] = files[name][:-1] + bytes([files[name][-1] ^ 1])
        claims = run_inside(packed(files))
        assert claims["files"]["state"] == "FAIL" and name in claims["files"]["why"]


def run_inside(data: bytes) -> dict[str, dict[str, str]]:
    """The claims, in this process; empty where the verifier calls it unreadable."""
    claims = acgs_verify.Claims(None)
    options = acgs_verify.options_of(["-"])
    try:
        files = acgs_verify.Files(io.BytesIO(data))
        own = "bundle.json" if "bundle.json" in files else "log.json"
        about = files.json(own)
        identity = acgs_verify.Identity(about, options)
        check = acgs_verify.check_bundle if own == "bundle.json" else acgs_verify.check_whole
        check(files, about, identity, claims, options)
    except (
        acgs_verify.Unreadable,
        acgs_verify.Wrong,
        acgs_verify.Missing,
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
    ):
        return {}
    return {claim["id"]: claim for claim in claims.found}


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_no_input_makes_it_stumble_or_pass(data: st.DataObject) -> None:
    """Any file replaced by any bytes: unreadable, or a claim that fails; never an exception of another kind."""
    sample = data.draw(st.sampled_from(["bundle.zip", "log.zip"]))
    files = files_of(sample)
    name = data.draw(st.sampled_from(sorted(files)))
    old = files[name]
    if data.draw(st.booleans()):
        at = data.draw(st.integers(0, max(0, len(old) - 1)))
        files[name] = (
            old[:at] + data.draw(st.binary(min_size=1, max_size=8)) + old[at + data.draw(st.integers(0, 9)) :]
        )
    else:
        files[name] = data.draw(st.binary(max_size=200))
    claims = run_inside(packed(files))
    if claims and files[name] != old:
        assert any(claim["state"] == "FAIL" for claim in claims.values())


@pytest.mark.parametrize(
    "content",
    [b"", b"PK", b"no zip at all", packed({}), packed({"bundle.json": b"{}"}), packed({"bundle.json": b"[" * 100_000}),
     packed({"log.json": b'{"schema": 1e999}'}), packed({"bundle.json": b"\xff"})],
)  # fmt: skip
def test_what_is_no_bundle_is_called_so(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "x.zip"
    file.write_bytes(content)
    code, _, said = verify(file)
    assert code == 2 and "cannot be checked" in said


def test_a_zip_that_would_fill_the_memory_is_not_unpacked(tmp_path: Path) -> None:
    file = tmp_path / "bomb.zip"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bundle.json", b" " * 70_000_000)
    code, _, said = verify(file)
    assert code == 2 and "too large" in said


def test_a_pinned_log_is_the_only_one_that_holds(tmp_path: Path) -> None:
    about = json.loads(files_of("bundle.zip")["bundle.json"])
    good = verify(SAMPLES / "bundle.zip", "--origin", about["origin"], "--key", about["verifier_key"])
    assert good[0] == 0
    other = verify(SAMPLES / "bundle.zip", "--origin", "example.org/other")
    assert (other[0], other[1]["identity"]["state"]) == (1, "FAIL")
    constitution = tmp_path / "constitution.md"
    constitution.write_bytes(files_of("bundle.zip")["constitution.md"])
    assert verify(SAMPLES / "bundle.zip", "--constitution", str(constitution))[0] == 0
    constitution.write_bytes(b"another")
    assert (
        verify(SAMPLES / "bundle.zip", "--constitution", str(constitution))[1]["constitution"]["state"]
        == "FAIL"
    )


def test_ed25519_is_that_of_rfc_8032() -> None:
    """Held against another implementation, and strict about what has two spellings."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    for number in range(20):
        private = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(bytes([number])).digest())
        key, message = private.public_key().public_bytes_raw(), bytes(range(number))
        signature = private.sign(message)
        assert acgs_verify.signed_by(key, message, signature)
        assert not acgs_verify.signed_by(key, message + b"x", signature)
        for at in (0, 31, 32, 63):
            changed = bytearray(signature)
            changed[at] ^= 1
            assert not acgs_verify.signed_by(key, message, bytes(changed))
        s = int.from_bytes(signature[32:], "little") + acgs_verify.L
        assert not acgs_verify.signed_by(key, message, signature[:32] + s.to_bytes(32, "little"))
    assert not acgs_verify.signed_by(b"\xff" * 32, b"", bytes(64))


def test_addresses_are_those_of_solana() -> None:
    from solders.pubkey import Pubkey

    program = Pubkey.from_string("8eRUCnQsDxqK7vjp5XsYs7C3NGpdhzzaMW8QQGzfTUV4")
    for rule in (b"ALLOW audit-checkpoint", b"x", bytes(100)):
        seed = hashlib.sha256(rule).digest()[:8]
        expected = Pubkey.find_program_address([b"policy", seed], program)[0]
        assert acgs_verify.policy_address(rule, bytes(program)) == str(expected)


def test_the_page_names_its_own_script_and_style() -> None:
    html = FILE.read_text("utf-8")
    assert sealed(html) == html, "run `python -m tests.verify.sealing`"
    assert "default-src 'none'" in html
    assert not any(
        word in html for word in ("fetch(", "XMLHttpRequest", "WebSocket", "import(", "src=", "@import")
    )


def test_it_needs_nothing_but_the_standard_library() -> None:
    import ast

    tree = ast.parse(VERIFIER.read_text("utf-8"), feature_version=(3, 9))
    modules = {
        name.name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for name in node.names
    }
    modules |= {
        (node.module or "").partition(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)
    }
    assert modules <= set(sys.stdlib_module_names)


def entry(under: str, kind: str = "policy.drafted", **payload: str) -> tuple[str, dict[str, Any]]:
    return kind, {"constitution_sha256": under, "payload": payload}


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        ([entry("a"), entry("a", "constitution.adopted", previous_sha256="a", sha256="b"), entry("b")], "b at the end, after 1"),
        ([entry("a"), entry("a", "constitution.adopted", previous_sha256="a", sha256="b"), entry("a")], None),
        ([entry("a"), entry("a", "constitution.adopted", previous_sha256="c", sha256="b")], None),
        ([entry("a"), entry("c"), entry("c")], "otherwise than by vote at entry [1]"),
        (
            [
                entry("a", "constitution.adopted", previous_sha256="a", sha256="b"),
                entry("b", "constitution.adopted", previous_sha256="b", sha256="a"),
                entry("a"),
            ],
            "a at the end, after 2",
        ),
    ],
)  # fmt: skip
def test_entries_name_the_constitution_of_their_time(entries: list[Any], told: str | None) -> None:
    log = acgs_verify.Log({}, {}, None)
    try:
        for index, (kind, body) in enumerate(entries):
            log._take_constitution(index, kind, body)
        said = log.constitutions()
    except acgs_verify.Wrong:
        assert told is None
    else:
        assert told is not None and told in said
