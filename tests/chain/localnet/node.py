"""A localnet as the tests use it: a real process on free ports, and a plain JSON-RPC client."""

import base64
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import httpx
from solders.hash import Hash
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.message import Message
from solders.pubkey import Pubkey
from solders.system_program import TransferParams, transfer
from solders.transaction import VersionedTransaction

ROOT = Path(__file__).parents[3]
PROGRAM_ID = Pubkey.from_string("8eRUCnQsDxqK7vjp5XsYs7C3NGpdhzzaMW8QQGzfTUV4")
MEMO = Pubkey.from_string("MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr")
SOL = 1_000_000_000
PROCESSED = {"commitment": "processed"}
T = TypeVar("T")


class RpcFailure(Exception):
    """A JSON-RPC error answer."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(f"{error['code']}: {error['message']}")
        self.code, self.message, self.data = error["code"], error["message"], error.get("data")


class Node:
    """One localnet process on a ledger; `start` again after `kill` goes on with the same ledger and port."""

    def __init__(self, ledger: Path, slot_ms: int = 50, finality_slots: int = 6) -> None:
        self.ledger = ledger
        self.options = ["--slot-ms", str(slot_ms), "--finality-slots", str(finality_slots)]
        self.slot_seconds = slot_ms / 1000
        self.port = 0
        self.start()

    def start(self) -> None:
        for _ in range(10):  # the port above a free one may be taken; then try another pair
            self.process = self.spawn()
            line = self.process.stdout.readline().split()
            if line[:2] == ["localnet", "ready:"]:
                break
            self.process.wait()
        else:
            raise AssertionError("the localnet did not start")
        self.url, self.ws = line[2], line[3]
        self.port = int(self.url.rpartition(":")[2])
        self.http = httpx.Client(timeout=20)

    def spawn(self, **popen: Any) -> subprocess.Popen[str]:
        command = [
            sys.executable,
            "-m",
            "chain.localnet",
            "--ledger",
            str(self.ledger),
            "--port",
            str(self.port),
        ]
        return subprocess.Popen(
            [*command, *self.options], cwd=ROOT, stdout=subprocess.PIPE, text=True, **popen
        )

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait; the exit code."""
        self.http.close()
        self.process.send_signal(number)
        code = self.process.wait(timeout=10)
        self.process.stdout.close()
        return code

    def post(self, body: Any) -> Any:
        answer = self.http.post(self.url, json=body)
        assert answer.status_code == 200
        return answer.json()

    def rpc(self, method: str, *parameters: Any) -> Any:
        answer = self.post({"jsonrpc": "2.0", "id": 1, "method": method, "params": list(parameters)})
        assert answer["jsonrpc"] == "2.0"
        assert answer["id"] == 1
        if "error" in answer:
            raise RpcFailure(answer["error"])
        return answer["result"]

    def slot(self, commitment: str = "processed") -> int:
        return self.rpc("getSlot", {"commitment": commitment})

    def balance(self, key: Pubkey, commitment: str = "processed") -> int:
        return self.rpc("getBalance", str(key), {"commitment": commitment})["value"]

    def blockhash(self, commitment: str = "processed") -> Hash:
        value = self.rpc("getLatestBlockhash", {"commitment": commitment})["value"]
        return Hash.from_string(value["blockhash"])

    def rich(self, lamports: int = 10 * SOL) -> Keypair:
        """A key with money, processed."""
        key = Keypair()
        self.rpc("requestAirdrop", str(key.pubkey()), lamports)
        return key

    def signed(
        self, payer: Keypair, *instructions: Instruction, signers: tuple[Keypair, ...] = ()
    ) -> VersionedTransaction:
        message = Message.new_with_blockhash(list(instructions), payer.pubkey(), self.blockhash())
        return VersionedTransaction(message, [payer, *signers])

    def send(self, transaction: VersionedTransaction, **config: Any) -> str:
        """Send base64, preflight at processed; the signature."""
        config = {"encoding": "base64", "preflightCommitment": "processed"} | config
        return self.rpc("sendTransaction", wire(transaction), config)

    def status(self, signature: str) -> dict[str, Any] | None:
        return self.rpc("getSignatureStatuses", [signature], {"searchTransactionHistory": True})["value"][0]

    def reach(self, signature: str, commitment: str) -> dict[str, Any]:
        """Wait until a transaction has reached a commitment; its status."""
        levels = ["processed", "confirmed", "finalized"]
        wanted = levels[levels.index(commitment) :]
        return until(
            lambda: (found := self.status(signature)) and found["confirmationStatus"] in wanted and found
        )

    def transaction(self, signature: str, **config: Any) -> dict[str, Any]:
        self.reach(signature, "confirmed")
        config = {"commitment": "confirmed", "maxSupportedTransactionVersion": 0} | config
        return self.rpc("getTransaction", signature, config)


def wire(transaction: VersionedTransaction) -> str:
    return base64.b64encode(bytes(transaction)).decode()


def pay(source: Keypair, target: Pubkey, lamports: int) -> Instruction:
    return transfer(TransferParams(from_pubkey=source.pubkey(), to_pubkey=target, lamports=lamports))


def memo(text: str) -> Instruction:
    return Instruction(MEMO, text.encode(), [])


def until(condition: Callable[[], T], seconds: float = 15) -> T:
    """Wait for a condition to hold; what it gave."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)
    return found


def missing_tool(name: str) -> str:
    """Why a test cannot run without a tool; fails instead where CI promises to have everything."""
    assert not os.environ.get("CI"), f"{name} is missing, and CI must not skip"
    return f"{name} is missing on this machine"
