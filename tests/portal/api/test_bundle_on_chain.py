"""From draft to suspension on a real local chain, then taken away in one file, which is all that a stranger has."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from anyio.to_thread import run_sync
from litestar import Litestar
from solders.keypair import Keypair
from solders.transaction import VersionedTransaction

from chain import anchoring, quantumagi
from chain.config import AnchorPolicy
from portal.database import begin_unit
from portal.settings import Settings
from portal.static_files import STATIC
from tests.chain.bridge import send, until
from tests.chain.localnet.node import Node
from tests.chain.test_checkpoint_verify import finality
from tests.portal.api.test_bundles import Bundle, take
from tests.portal.api.walk import POLICIES, jump, propose, review, vote
from tests.portal.conftest import ORIGIN, SECRET
from tests.portal.the_log import LOG_ORIGIN, SEED, happen, seal
from tests.verify.tampering import packed, settled
from workflows.audit_transparency import merkle
from workflows.audit_transparency.anchors import action
from workflows.audit_transparency.notes import Checkpoint, Signer

VERIFIER = STATIC / "verify" / "acgs_verify.py"


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    node = Node(tmp_path / "ledger")
    yield node
    node.end()


@pytest.fixture
def settings(fresh_database: str, valkey_url: str, node: Node, tmp_path: Path) -> Settings:
    key = tmp_path / "authority.json"
    key.write_text(json.dumps(list(bytes(Keypair()))))
    return Settings(
        database_url=fresh_database,
        redis_url=valkey_url,
        jwt_secret=SECRET,
        base_url=ORIGIN,
        demo=True,
        solana_rpc_url=node.url,
        anchor_keypair=str(key),
    )


async def anchor_all(app: Litestar) -> None:
    """Pass after pass, until nothing is open."""
    held = app.state.services
    units = partial(begin_unit, held.engine, constitution=held.constitution)
    policy = AnchorPolicy(interval=timedelta())

    async def done() -> bool:
        return await anchoring.run(units, held.chain, held.constitution, policy) is None

    await until(done)


def transaction(anchor: dict[str, Any]) -> bytes:
    """The archived transaction, whose signatures hold over its own bytes."""
    raw = base64.b64decode(anchor["transaction"])
    decoded = VersionedTransaction.from_bytes(raw)
    assert all(decoded.verify_with_results())
    assert str(decoded.signatures[0]) == anchor["signature"]
    return raw


def verify(file: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """The verifier, as a stranger runs it: another process that knows nothing of this one."""
    command = [sys.executable, "-I", str(VERIFIER), *options, str(file)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


async def test_a_policy_leaves_with_all_its_proofs(
    app: Litestar, api: Any, client: Any, tmp_path: Path
) -> None:
    place = tmp_path / "checkpoint"
    workflow = await propose(await api("chidi"))
    ref = workflow["policy"]["ref"]
    await review(await api("dana"), workflow)
    for name, choice in (("ada", "against"), ("ben", "for"), ("ada", "for")):
        await vote(await api(name), workflow, choice)
    await jump(client)
    await anchor_all(app)
    await (await api("farah")).post(f"{POLICIES}/{ref}/suspend", json={"reason": "It does harm."})
    await anchor_all(app)
    await seal(app, place)
    await anchor_all(app)
    found = await take(app, client, ref, place)

    enacting, suspending = found.json("policy_anchor.json"), found.json("deactivation_anchor.json")
    assert json.loads(enacting["record"])["ref"] == json.loads(suspending["record"])["ref"] == ref
    assert enacting["record"].encode() in transaction(enacting)
    for anchor in (enacting, suspending):
        assert anchor["memo"].encode() in transaction(anchor)
    of_log = found.json("log_anchor.json")
    sent = transaction(of_log)
    assert of_log["memo"].encode() in sent and of_log["action"].encode() in sent
    assert max(found.entries) < of_log["size"] <= found.about["checkpoint_size"]
    head = Checkpoint.parse(found.files["checkpoint.txt"].decode().partition("\n\n")[0] + "\n")
    path = [base64.b64decode(line) for line in found.files["consistency.txt"].split()]
    old_root = base64.b64decode(of_log["root"])
    merkle.verify_consistency(of_log["size"], head.size, old_root, head.root, path)
    seen = (await client.get("/api/v1/chain")).json()
    assert found.about["genesis_hash"] == seen["genesis_hash"]
    assert (found.about["authority"], found.about["cluster"]) == (seen["authority"], "localnet")

    whole = (await client.get("/audit/log.zip")).content
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        assert [each["size"] for each in json.loads(archive.read("anchors.json"))] == [of_log["size"]]
        assert archive.read(f"consistency/{of_log['size']}.txt") == found.files["consistency.txt"]
    assert f'href="/api/v1/policies/{ref}/bundle.zip"' in (await client.get(f"/policies/{ref}/verify")).text
    if not VERIFIER.exists():
        pytest.skip("All of the above holds; static/verify/acgs_verify.py is not here to be run.")
    key = (await client.get("/audit/key")).text.strip()
    for name, content in (("bundle.zip", found.raw), ("log.zip", whole)):
        (tmp_path / name).write_bytes(content)
        checked = verify(tmp_path / name, "--origin", LOG_ORIGIN, "--key", key)
        assert checked.returncode == 0, checked.stdout + checked.stderr
        assert "PASS" in checked.stdout and "FAIL" not in checked.stdout
    (tmp_path / "changed.zip").write_bytes(_with_another_text(found))
    checked = verify(tmp_path / "changed.zip", "--origin", LOG_ORIGIN, "--key", key)
    assert checked.returncode != 0 and "FAIL" in checked.stdout


def _with_another_text(bundle: Bundle) -> bytes:
    """The same file, but for one word of the policy."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in bundle.names:
            content = bundle.files[name]
            archive.writestr(
                name, content.replace(b"Wednesday", b"Thursdays") if name.startswith("versions/") else content
            )
    return out.getvalue()


# Reading the chain oneself


def claims_of(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, str]]:
    return {item["id"]: item for item in json.loads(done.stdout)["claims"]}


async def test_a_stranger_reads_the_chain_and_sees_what_is_forked_hidden_or_cut(
    app: Litestar, client: Any, node: Node, tmp_path: Path
) -> None:
    place, file = tmp_path / "checkpoint", tmp_path / "log.zip"
    sizes = []
    for _ in range(2):
        await happen(app, 5)
        signed = await seal(app, place)
        assert signed is not None
        sizes.append(signed.size)
        await anchor_all(app)
    whole = (await client.get("/audit/log.zip")).content
    file.write_bytes(whole)

    async def read(content: bytes = whole) -> tuple[int, dict[str, dict[str, str]]]:
        file.write_bytes(content)
        done = await run_sync(lambda: verify(file, "--json", "--rpc", node.url))
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, claims_of(done)

    code, claims = await read()
    assert code == 0
    assert [claims[f"rpc_{key}"]["state"] for key in ("constitution", "transactions", "heads")] == [
        "PASS"
    ] * 3
    assert claims["rpc_heads"]["why"] == "2 on chain"
    listed = (await run_sync(lambda: verify(file, "--rpc", node.url))).stdout
    assert all(f"{size} entries  " in listed for size in sizes), "each is printed"

    hidden = files_in(whole)
    hidden["anchors.json"] = json.dumps(
        [item for item in json.loads(hidden["anchors.json"]) if item["size"] != sizes[0]]
    ).encode()
    _, claims = await read(packed(settled(hidden)))
    assert f"this file names none at {sizes[0]} entries" in claims["rpc_heads"]["why"]

    await happen(app, 1)
    assert await seal(app, place) is not None
    await anchor_all(app)
    code, claims = await read()
    assert (code, claims["rpc_heads"]["state"]) == (0, "PASS")
    assert (
        "1 of more entries than are here: this file is older, or was cut short" in claims["rpc_heads"]["why"]
    )

    config = app.state.services.chain
    signer, size = (
        Signer(LOG_ORIGIN, SEED),
        sizes[1] - 1,
    )  # a size at which the file says nothing was anchored
    note = signer.sign(Checkpoint(LOG_ORIGIN, size, bytes(32)).text())
    said = action(LOG_ORIGIN, size, bytes(32), app.state.services.constitution.sha256)
    instructions, _ = quantumagi.checkpoint_anchor_instructions(
        config.program_id, config.authority_address, said, note, proposed=True, enacted=True, durable=False
    )
    await finality(config, await send(config, config.authority, *instructions))
    code, claims = await read()
    assert (code, claims["rpc_heads"]["state"]) == (1, "FAIL")
    assert f"another root at [{size}] entries: a fork" in claims["rpc_heads"]["why"]

    node.end()
    code, claims = await read()
    assert code == 1
    assert {claims[f"rpc_{key}"]["state"] for key in ("constitution", "transactions", "heads")} == {"FAIL"}
    assert "the node does not answer" in claims["rpc_heads"]["why"]


def files_in(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}
