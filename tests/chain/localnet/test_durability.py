"""Whatever was acknowledged survives kill -9, exactly once, byte for byte; and a ledger has one master."""

import resource
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from solders.keypair import Keypair

from tests.chain.localnet.node import PROGRAM_ID, SOL, Node, RpcFailure, memo, pay, until, wire

pytestmark = pytest.mark.reliability


def accounts_of(node: Node, keys: list[Keypair]) -> list[dict]:
    addresses = [str(key.pubkey()) for key in keys] + [str(PROGRAM_ID)]
    return node.rpc("getMultipleAccounts", addresses, {"commitment": "processed", "encoding": "base64"})[
        "value"
    ]


def test_kill_in_mid_load_loses_nothing_acknowledged(make_node: Callable[..., Node]) -> None:
    """Eight clients send until the kill; each acknowledged payment is there once, and no other moved money
    but one that was under way."""
    node = make_node()
    payers = [node.rich(10 * SOL) for _ in range(8)]
    target = Keypair()
    acknowledged: list[list[str]] = [[] for _ in payers]

    def load(payer: Keypair, mine: list[str]) -> None:
        with httpx.Client(timeout=5) as http:
            for number in range(100_000):
                transaction = node.signed(payer, pay(payer, target.pubkey(), 1_000_000), memo(str(number)))
                config = {"encoding": "base64", "preflightCommitment": "processed"}
                request = {"method": "sendTransaction", "params": [wire(transaction), config]}
                answer = http.post(node.url, json=request | {"jsonrpc": "2.0", "id": 1}).json()
                mine.append(answer["result"])

    def until_killed(payer: Keypair, mine: list[str]) -> None:
        with pytest.raises(httpx.HTTPError):
            load(payer, mine)

    threads = [
        threading.Thread(target=until_killed, args=pair) for pair in zip(payers, acknowledged, strict=True)
    ]
    for thread in threads:
        thread.start()
    until(lambda: sum(map(len, acknowledged)) > 150)
    node.process.kill()
    for thread in threads:
        thread.join()
    node.process.wait()
    node.start()

    sent = [signature for mine in acknowledged for signature in mine]
    assert len(set(sent)) == len(sent)
    statuses = []
    for at in range(0, len(sent), 256):
        listed = node.rpc("getSignatureStatuses", sent[at : at + 256], {"searchTransactionHistory": True})
        statuses += listed["value"]
    assert all(status and status["err"] is None for status in statuses)
    landed = 0
    for payer, mine in zip(payers, acknowledged, strict=True):
        history = node.rpc("getSignaturesForAddress", str(payer.pubkey()), {"commitment": "confirmed"})
        signatures = [entry["signature"] for entry in history]
        assert len(set(signatures)) == len(signatures)
        payments = [one for one in signatures if one in mine]
        assert sorted(payments) == sorted(mine)
        assert len(signatures) - 1 - len(mine) <= 1, "besides the airdrop, at most the one that was under way"
        landed += len(signatures) - 1
        assert node.balance(payer.pubkey()) == 10 * SOL - (len(signatures) - 1) * 1_005_000
    assert node.balance(target.pubkey()) == landed * 1_000_000


def test_restart_goes_on_where_it_was(make_node: Callable[..., Node]) -> None:
    """Same genesis, same accounts, same history; later slots, and a clock that does not turn back."""
    node = make_node()
    keys = [node.rich((1 + number) * SOL) for number in range(3)]
    transaction = node.signed(keys[0], pay(keys[0], keys[1].pubkey(), SOL // 2), memo("before"))
    unsent = node.signed(keys[1], memo("signed before, sent after"))
    signature = node.send(transaction)
    node.reach(signature, "finalized")
    before = accounts_of(node, keys)
    genesis, slot = node.rpc("getGenesisHash"), node.slot()
    found = node.rpc("getTransaction", signature, {"encoding": "base64"})
    block = node.rpc("getBlock", found["slot"], {"maxSupportedTransactionVersion": 0})
    assert node.end(signal.SIGKILL) == -signal.SIGKILL
    node.start()

    assert node.rpc("getGenesisHash") == genesis
    assert node.slot() > slot
    assert accounts_of(node, keys) == before
    assert node.rpc("getTransaction", signature, {"encoding": "base64"}) == found
    assert node.rpc("getBlock", found["slot"], {"maxSupportedTransactionVersion": 0}) == block
    assert node.rpc("getBlocks", 0, slot) == list(range(slot + 1))
    times = [node.rpc("getBlockTime", at) for at in range(slot - 3, node.slot("confirmed") + 1)]
    assert times == sorted(times)
    assert abs(times[-1] - time.time()) < 5
    with pytest.raises(RpcFailure, match="already been processed"):
        node.send(transaction)
    node.send(unsent)
    assert node.balance(keys[1].pubkey()) == 2 * SOL + SOL // 2 - 5000


def test_the_program_works_after_a_restart(make_node: Callable[..., Node]) -> None:
    from solders.instruction import Instruction

    node = make_node()
    node.end(signal.SIGKILL)
    node.start()
    payer = node.rich()
    with pytest.raises(RpcFailure) as failure:
        node.send(node.signed(payer, Instruction(PROGRAM_ID, b"12345678", [])))
    assert failure.value.data["err"] == {"InstructionError": [0, {"Custom": 101}]}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_it_cleanly(make_node: Callable[..., Node], number: int) -> None:
    node = make_node()
    signature = node.send(node.signed(node.rich(), memo("last words")))
    assert node.end(number) == 0
    node.start()
    assert node.status(signature)["confirmationStatus"] == "finalized"


def test_a_second_process_is_refused(make_node: Callable[..., Node]) -> None:
    node = make_node()
    node.port = 0
    second = node.spawn(stderr=subprocess.PIPE)
    _, told = second.communicate(timeout=20)
    assert second.returncode == 1
    assert "another process holds the ledger" in told


def test_other_formats_are_refused(make_node: Callable[..., Node], tmp_path: Path) -> None:
    node = make_node()
    node.end()
    path = tmp_path / "ledger" / "ledger.sqlite3"
    with sqlite3.connect(path) as ledger:
        ledger.execute("PRAGMA user_version = 99")
    ledger.close()
    refused = node.spawn(stderr=subprocess.PIPE)
    _, told = refused.communicate(timeout=20)
    assert refused.returncode == 1
    assert "ledger format 99, this program reads format 1" in told
    path.write_bytes(b"no ledger at all, but long enough to be taken for a database file" * 20)
    refused = node.spawn(stderr=subprocess.PIPE)
    _, told = refused.communicate(timeout=20)
    assert refused.returncode == 1
    assert "is not a ledger" in told


def test_a_full_disk_ends_it_before_it_lies(make_node: Callable[..., Node]) -> None:
    """When the ledger cannot be written the process dies; what it had acknowledged is there afterwards."""
    node = make_node()
    payer = node.rich(100 * SOL)
    node.end()
    limit = 1_000_000  # bytes a file of the process may have
    node.process = node.spawn(
        stderr=subprocess.PIPE, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    )
    assert node.process.stdout.readline().startswith("localnet ready")
    node.http = httpx.Client(timeout=20)
    acknowledged = []
    with pytest.raises(httpx.HTTPError):
        while True:
            acknowledged.append(node.send(node.signed(payer, memo(f"{len(acknowledged)}" * 100))))
    assert node.process.wait(timeout=10) == 1
    assert "the ledger cannot be written" in node.process.stderr.read()
    node.start()
    assert acknowledged
    assert all(node.status(signature)["err"] is None for signature in acknowledged)


def test_empty_slots_are_thinned_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slots with transactions stay for ever, empty ones only as long as the ledger says."""
    from solders.hash import Hash

    import chain.localnet.ledger as module
    from chain.localnet.bank import Bank, found
    from chain.localnet.methods.transactions import request_airdrop

    monkeypatch.setattr(module, "EMPTY_SLOTS_KEPT", 5)
    ledger = module.Ledger(tmp_path)
    found(ledger, {})
    bank = Bank(ledger)
    request_airdrop(bank, str(Keypair().pubkey()), SOL)
    busy = bank.slot
    for _ in range(20):
        bank.tick()
    assert ledger.slots(0, 100, 100) == [0, busy, *range(bank.slot - 5, bank.slot + 1)]
    assert ledger.slot(0) == (ledger.slot(0)[0], Hash.from_bytes(ledger.genesis("hash")))
    bank.close()
