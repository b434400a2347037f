"""JSON-RPC as a client of a real node knows it: envelopes, errors, batches, HTTP around it."""

import httpx
import pytest

from chain.localnet.methods import METHODS
from tests.chain.localnet.node import ROOT, Node, RpcFailure


def post(node: Node, body: bytes, content_type: str = "application/json") -> httpx.Response:
    return node.http.post(node.url, content=body, headers={"content-type": content_type})


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (b"{", -32700, "Parse error"),
        (b"\xff\xfe", -32700, "Parse error"),
        (b"[]", -32600, "Invalid request"),
        (b"7", -32600, "Invalid request"),
        (b'{"id": 1, "method": "getSlot"}', -32600, "Invalid request"),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "getNothing"}', -32601, "Method not found"),
    ],
)
def test_envelope_errors(node: Node, body: bytes, code: int, message: str) -> None:
    assert post(node, body).json()["error"] == {"code": code, "message": message}


@pytest.mark.parametrize(
    ("method", "parameters", "message"),
    [
        ("getBalance", [], "Invalid params"),
        ("getBalance", ["0OIl"], "Invalid param: Invalid"),
        ("getBalance", ["11"], "Invalid param: WrongSize"),
        ("getBalance", [7], "expected a string"),
        ("getBalance", ["1" * 32, {"commitment": "surely"}], "unknown variant `surely`"),
        ("getBalance", ["1" * 32, "finalized"], "expected a configuration object"),
        ("getSlot", [{}, {}, {}], "Invalid params"),
        ("getMultipleAccounts", [["1" * 32] * 101], "Too many inputs provided; max 100"),
        ("getSignatureStatuses", [["1" * 64] * 257], "Too many inputs provided; max 256"),
        ("getAccountInfo", ["1" * 32, {"encoding": "base32"}], "unknown variant `base32`"),
        ("getSignaturesForAddress", ["1" * 32, {"limit": 1001}], "Invalid limit; max 1000"),
        ("getSignaturesForAddress", ["1" * 32, {"commitment": "processed"}], "below `confirmed`"),
        ("getMinimumBalanceForRentExemption", [-1], "expected u64"),
        ("getProgramAccounts", ["1" * 32, {"filters": [{"dataSize": 1}] * 5}], "Too many filters"),
        ("getProgramAccounts", ["1" * 32, {"filters": [{"nonsense": 1}]}], "a filter is one of"),
    ],
)
def test_bad_parameters_are_32602(node: Node, method: str, parameters: list, message: str) -> None:
    with pytest.raises(RpcFailure, match=message) as failure:
        node.rpc(method, *parameters)
    assert failure.value.code == -32602


def test_batch_keeps_ids_and_order_and_omits_notifications(node: Node) -> None:
    answers = node.post(
        [
            {"jsonrpc": "2.0", "id": "a", "method": "getHealth"},
            {"jsonrpc": "2.0", "method": "getSlot"},
            {"jsonrpc": "2.0", "id": None, "method": "getNothing"},
            3,
            {"jsonrpc": "2.0", "id": 9, "method": "getIdentity"},
        ]
    )
    assert [answer["id"] for answer in answers] == ["a", None, None, 9]
    assert answers[0]["result"] == "ok"
    assert [answers[1]["error"]["code"], answers[2]["error"]["code"]] == [-32601, -32600]


def test_notification_has_no_answer(node: Node) -> None:
    assert post(node, b'{"jsonrpc": "2.0", "method": "getSlot"}').content == b""


def test_http_around_the_rpc(node: Node) -> None:
    """Health for a supervisor, CORS for explorers in a browser, limits, and the second port."""
    assert node.http.get(f"{node.url}/health").text == "ok"
    assert node.http.get(node.url).status_code == 405
    assert post(node, b"{}", "text/plain").status_code == 415
    assert post(node, b" " * 51_201).status_code == 413
    preflight = node.http.options(node.url, headers={"origin": "https://explorer.solana.com"})
    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-origin"] == "*"
    assert "content-type" in preflight.headers["access-control-allow-headers"]
    assert post(node, b"{}").headers["access-control-allow-origin"] == "*"
    assert node.http.get(f"{node.ws.replace('ws', 'http', 1)}/health").text == "ok"


def test_cluster_of_one(node: Node) -> None:
    identity = node.rpc("getIdentity")["identity"]
    assert node.rpc("getSlotLeader") == identity
    assert node.rpc("getSlotLeaders", 0, 2) == [identity, identity]
    assert [one["pubkey"] for one in node.rpc("getClusterNodes")] == [identity]
    assert node.rpc("getVoteAccounts") == {"current": [], "delinquent": []}
    assert node.rpc("getVersion")["solana-core"] == "2.2.0"
    assert node.rpc("getEpochSchedule")["slotsPerEpoch"] == 432_000
    info = node.rpc("getEpochInfo")
    assert info["absoluteSlot"] == info["blockHeight"] == info["slotIndex"]
    supply = node.rpc("getSupply")["value"]
    assert supply["total"] == supply["circulating"] + supply["nonCirculating"]


def test_min_context_slot(node: Node) -> None:
    far = node.slot() + 1_000_000
    with pytest.raises(RpcFailure, match="Minimum context slot has not been reached") as failure:
        node.rpc("getBalance", "1" * 32, {"minContextSlot": far})
    assert failure.value.code == -32016
    assert failure.value.data["contextSlot"] < far


def test_the_readme_lists_every_method(node: Node) -> None:
    readme = (ROOT / "chain/localnet/README.md").read_text()
    assert [name for name in METHODS if f"`{name}`" not in readme] == []
