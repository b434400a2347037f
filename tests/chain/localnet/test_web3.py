"""@solana/web3.js and @coral-xyz/anchor, as any wallet or explorer uses them, with the project's IDL as it is."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chain.localnet.node import PROGRAM_ID, ROOT, Node, missing_tool

HERE = Path(__file__).parent / "web3"
MODULES = Path(os.environ.get("DATA_DIR") or ROOT / ".data") / "test-node"


@pytest.fixture(scope="session")
def modules() -> Path:
    """The pinned packages, installed once beside the other data; no lock file, it would name a registry."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip(missing_tool("node with npm"))
    wanted = (HERE / "package.json").read_text()
    installed = MODULES / "installed.json"
    if not installed.exists() or installed.read_text() != wanted:
        MODULES.mkdir(parents=True, exist_ok=True)
        (MODULES / "package.json").write_text(wanted)
        command = ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts"]
        done = subprocess.run(command, cwd=MODULES, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"{missing_tool('an npm registry')}: {done.stderr[-300:]}")
        installed.write_text(wanted)
    return MODULES / "node_modules"


def test_web3_and_anchor_walk(make_node: Callable[..., Node], modules: Path) -> None:
    """Airdrop, subscribe, initialise, propose + enact + memo, read, refuse (6001), simulate, v0, resend."""
    node = make_node()
    arguments = [node.url, node.ws, str(ROOT / "chain/idl/quantumagi_core.json"), str(PROGRAM_ID)]
    walked = subprocess.run(
        ["node", str(HERE / "walk.cjs"), *arguments],
        env=os.environ | {"NODE_PATH": str(modules)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert walked.returncode == 0, walked.stderr
    seen = json.loads(walked.stdout)
    assert seen["rule"] == "ALLOW read"
    assert seen["slots"] > 3
    assert seen["logs"] >= 2
    assert node.reach(seen["signature"], "finalized")["err"] is None
