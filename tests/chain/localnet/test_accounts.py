"""Accounts in every encoding, slices and filters, and as they were at each commitment."""

import base64
import shutil
import subprocess
from collections.abc import Callable

import pytest
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.system_program import CreateAccountParams, create_account

from chain.localnet.encoding import b58decode, b58encode, zstd_frame
from tests.chain.localnet.node import MEMO, PROGRAM_ID, ROOT, SOL, Node, RpcFailure, missing_tool, pay, until

OWNER = Pubkey.from_string("Config1111111111111111111111111111111111111")
PROCESSED = {"commitment": "processed"}


def make_account(node: Node, size: int, owner: Pubkey = OWNER) -> Pubkey:
    """An account of `size` zero bytes, processed."""
    payer, account = node.rich(), Keypair()
    rent = node.rpc("getMinimumBalanceForRentExemption", size)
    create = create_account(
        CreateAccountParams(
            from_pubkey=payer.pubkey(), to_pubkey=account.pubkey(), lamports=rent, space=size, owner=owner
        )
    )
    node.send(node.signed(payer, create, signers=(account,)))
    return account.pubkey()


@pytest.mark.parametrize("data", [b"", b"\0", b"\0\0\1", bytes(range(256))])
def test_base58_round_trip(data: bytes) -> None:
    assert b58decode(b58encode(data)) == data


def test_base58_agrees_with_solders() -> None:
    key = Keypair().pubkey()
    assert b58encode(bytes(key)) == str(key)


@pytest.mark.parametrize("size", [0, 1, 131_071, 131_072, 400_000])
def test_zstd_frames_are_read_by_zstd(size: int) -> None:
    if not shutil.which("zstd"):
        pytest.skip(missing_tool("zstd"))
    data = bytes(at % 251 for at in range(size))
    read = subprocess.run(["zstd", "-dc"], input=zstd_frame(data), capture_output=True, check=True)
    assert read.stdout == data


def test_rent_is_what_solana_asks(node: Node) -> None:
    """(bytes + 128) × 6960 lamports."""
    assert node.rpc("getMinimumBalanceForRentExemption", 94) == (94 + 128) * 6960


def test_the_program_is_there(node: Node) -> None:
    """The bytes committed to the project are the bytes on chain."""
    account = node.rpc("getAccountInfo", str(PROGRAM_ID), {"encoding": "base64"})["value"]
    assert account["executable"] is True
    assert base64.b64decode(account["data"][0]) == (ROOT / "chain/program/quantumagi.so").read_bytes()


def test_encodings_and_slices(node: Node) -> None:
    key = str(make_account(node, 100))

    def data(**config: object) -> object:
        return node.rpc("getAccountInfo", key, PROCESSED | config)["value"]["data"]

    assert data() == "1" * 100
    assert data(encoding="base58") == ["1" * 100, "base58"]
    assert data(encoding="base64") == [base64.b64encode(bytes(100)).decode(), "base64"]
    assert data(encoding="base64+zstd") == [
        base64.b64encode(zstd_frame(bytes(100))).decode(),
        "base64+zstd",
    ]
    assert data(encoding="jsonParsed")[1] == "base64"
    assert data(encoding="base64", dataSlice={"offset": 90, "length": 32}) == [
        base64.b64encode(bytes(10)).decode(),
        "base64",
    ]
    account = node.rpc("getAccountInfo", key, PROCESSED | {"encoding": "base64"})["value"]
    assert account["owner"] == str(OWNER)
    assert account["space"] == 100


def test_base58_of_a_long_account_is_refused(node: Node) -> None:
    key = str(make_account(node, 129))
    with pytest.raises(RpcFailure, match="less than 128 bytes") as failure:
        node.rpc("getAccountInfo", key, PROCESSED | {"encoding": "base58"})
    assert failure.value.code == -32600
    sliced = PROCESSED | {"encoding": "base58", "dataSlice": {"offset": 0, "length": 8}}
    assert node.rpc("getAccountInfo", key, sliced)["value"]["data"] == ["1" * 8, "base58"]


def test_clock_is_parsed_and_on_time(node: Node) -> None:
    config = {"encoding": "jsonParsed", "commitment": "processed"}
    value = node.rpc("getAccountInfo", "SysvarC1ock11111111111111111111111111111111", config)
    clock = value["value"]["data"]["parsed"]["info"]
    assert clock["slot"] == value["context"]["slot"]
    time = until(lambda: node.slot("confirmed") >= clock["slot"]) and node.rpc("getBlockTime", clock["slot"])
    assert clock["unixTimestamp"] == time


def test_absent_accounts_are_null(node: Node) -> None:
    nobody = str(Keypair().pubkey())
    assert node.rpc("getAccountInfo", nobody)["value"] is None
    assert node.rpc("getBalance", nobody)["value"] == 0
    found = node.rpc("getMultipleAccounts", [nobody, str(MEMO)])["value"]
    assert found[0] is None
    assert found[1]["executable"] is True


def test_program_accounts_filtered(node: Node) -> None:
    small, large = make_account(node, 33), make_account(node, 44)

    def found(**config: object) -> set[str]:
        listed = node.rpc("getProgramAccounts", str(OWNER), PROCESSED | {"encoding": "base64"} | config)
        return {one["pubkey"] for one in listed}

    assert {str(small), str(large)} <= found()
    assert found(filters=[{"dataSize": 33}]) == {str(small)}
    zeros = {"memcmp": {"offset": 30, "bytes": b58encode(bytes(14))}}
    assert str(large) in found(filters=[zeros])
    assert str(small) not in found(filters=[zeros])
    ones = {"memcmp": {"offset": 0, "bytes": base64.b64encode(b"\1").decode(), "encoding": "base64"}}
    assert found(filters=[ones]) == set()
    with_context = node.rpc(
        "getProgramAccounts", str(OWNER), PROCESSED | {"withContext": True, "encoding": "base64"}
    )
    assert set(with_context) == {"context", "value"}


def test_commitments_see_their_own_state(make_node: Callable[..., Node]) -> None:
    """A payment is seen processed at once, confirmed later, finalized last; never the other way round."""
    node = make_node(slot_ms=300, finality_slots=4)
    target = Keypair().pubkey()
    payer = node.rich()
    node.send(node.signed(payer, pay(payer, target, SOL)))
    seen = []
    while not seen or not all(seen[-1]):
        one = {"jsonrpc": "2.0", "id": 0, "method": "getBalance"}
        levels = ("processed", "confirmed", "finalized")
        batch = [one | {"params": [str(target), {"commitment": level}]} for level in levels]
        state = tuple(answer["result"]["value"] == SOL for answer in node.post(batch))
        if not seen or seen[-1] != state:
            seen.append(state)
    assert seen == [(True, False, False), (True, True, False), (True, True, True)]


def test_a_closed_account_is_gone(node: Node) -> None:
    key, target = node.rich(SOL), Keypair().pubkey()
    node.send(node.signed(key, pay(key, target, SOL - 5000)))
    assert node.rpc("getAccountInfo", str(key.pubkey()), PROCESSED)["value"] is None
