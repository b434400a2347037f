"""Transactions sent, refused, landed, simulated and found again, as on a real node."""

import base64
from collections.abc import Callable

import pytest
from solders.compute_budget import set_compute_unit_limit, set_compute_unit_price
from solders.hash import Hash
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.message import Message, MessageV0, to_bytes_versioned
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from chain.localnet.encoding import b58encode
from chain.localnet.runtime import LOOKUP_TABLES, SYSTEM
from tests.chain.localnet.node import PROCESSED, PROGRAM_ID, SOL, Node, RpcFailure, memo, pay, until, wire


def refused(node: Node, transaction: VersionedTransaction, **config: object) -> RpcFailure:
    with pytest.raises(RpcFailure) as failure:
        node.send(transaction, **config)
    return failure.value


def test_a_payment_with_a_memo_in_full(node: Node) -> None:
    payer, target = node.rich(10 * SOL), Keypair().pubkey()
    transaction = node.signed(payer, pay(payer, target, SOL), memo("hello, chain"))
    signature = node.send(transaction)
    assert signature == str(transaction.signatures[0])
    found = node.transaction(signature)
    meta = found["meta"]
    assert meta["err"] is None
    assert meta["status"] == {"Ok": None}
    assert meta["fee"] == 5000
    keys = found["transaction"]["message"]["accountKeys"]
    balances = {
        key: (pre, post)
        for key, pre, post in zip(keys, meta["preBalances"], meta["postBalances"], strict=True)
    }
    assert balances[str(payer.pubkey())] == (10 * SOL, 9 * SOL - 5000)
    assert balances[str(target)] == (0, SOL)
    assert 'Program log: Memo (len 12): "hello, chain"' in meta["logMessages"]
    assert meta["computeUnitsConsumed"] > 0
    assert found["version"] == "legacy"
    assert found["blockTime"] == node.rpc("getBlockTime", found["slot"])
    assert node.balance(target) == SOL


def test_encodings_of_a_transaction(node: Node) -> None:
    payer, target = node.rich(), Keypair().pubkey()
    transaction = node.signed(payer, pay(payer, target, SOL), memo("m"))
    signature = node.send(transaction)
    raw = bytes(transaction)
    assert node.transaction(signature, encoding="base64")["transaction"] == [wire(transaction), "base64"]
    assert node.transaction(signature, encoding="base58")["transaction"] == [b58encode(raw), "base58"]
    message = node.transaction(signature, encoding="json")["transaction"]["message"]
    assert message["header"]["numRequiredSignatures"] == 1
    assert message["recentBlockhash"] == str(transaction.message.recent_blockhash)
    first, second = node.transaction(signature, encoding="jsonParsed")["transaction"]["message"][
        "instructions"
    ]
    info = {"source": str(payer.pubkey()), "destination": str(target), "lamports": SOL}
    assert first["program"] == "system"
    assert first["parsed"] == {"type": "transfer", "info": info}
    assert (second["program"], second["parsed"]) == ("spl-memo", "m")
    listed = node.transaction(signature, encoding="jsonParsed")["transaction"]["message"]["accountKeys"]
    assert listed[0] == {
        "pubkey": str(payer.pubkey()),
        "signer": True,
        "source": "transaction",
        "writable": True,
    }


def test_base58_is_the_default_to_send(node: Node) -> None:
    payer = node.rich()
    transaction = node.signed(payer, memo("in base58"))
    signature = node.rpc(
        "sendTransaction", b58encode(bytes(transaction)), {"preflightCommitment": "processed"}
    )
    assert node.status(signature)["err"] is None


def test_too_large(node: Node) -> None:
    payer = node.rich()
    transaction = node.signed(payer, memo("x" * 1100))
    size = len(wire(transaction))
    failure = refused(node, transaction)
    assert failure.code == -32602
    assert failure.message == (
        "base64 encoded solana_transaction::versioned::VersionedTransaction too large: "
        f"{size} bytes (max: encoded/raw 1644/1232)"
    )


def test_the_largest_that_fits(node: Node) -> None:
    payer = node.rich()
    length = 1232 - len(bytes(node.signed(payer, memo("x" * 500)))) + 500
    transaction = node.signed(
        payer, set_compute_unit_limit(1_400_000), memo("x" * (length - 41))
    )  # 40 for the budget program's key and instruction, 1 for the longer counts
    assert len(bytes(transaction)) <= 1232
    node.send(transaction)
    with pytest.raises(RpcFailure, match=r"decoded .* too large: 1233 bytes \(max: 1232 bytes\)"):
        node.rpc("sendTransaction", base64.b64encode(bytes(1233)).decode(), {"encoding": "base64"})


@pytest.mark.parametrize(
    ("data", "config", "message"),
    [
        ("!!", {"encoding": "base64"}, "invalid base64 encoding"),
        ("0", {}, "invalid base58 encoding"),
        ("AAAA", {"encoding": "base64"}, "failed to deserialize solana_transaction"),
        ("AAAA", {"encoding": "jsonParsed"}, "unsupported encoding: jsonParsed"),
        (7, {}, "expected a string"),
    ],
)
def test_not_a_transaction(node: Node, data: object, config: dict, message: str) -> None:
    with pytest.raises(RpcFailure, match=message) as failure:
        node.rpc("sendTransaction", data, config)
    assert failure.value.code == -32602


def test_bad_signature(node: Node) -> None:
    payer = node.rich()
    good = node.signed(payer, memo("signed"))
    bad = VersionedTransaction.populate(good.message, [Keypair().sign_message(b"else")])
    failure = refused(node, bad)
    assert (failure.code, failure.message) == (-32003, "Transaction signature verification failure")
    signature = node.send(bad, skipPreflight=True)
    assert node.status(signature) is None, "the network drops it unseen"


def test_preflight_failure_tells_why(node: Node) -> None:
    payer = node.rich(SOL)
    failure = refused(node, node.signed(payer, pay(payer, Keypair().pubkey(), 5 * SOL)))
    assert failure.code == -32002
    assert failure.message == (
        "Transaction simulation failed: Error processing Instruction 0: custom program error: 0x1"
    )
    assert failure.data["err"] == {"InstructionError": [0, {"Custom": 1}]}
    assert failure.data["unitsConsumed"] == 150
    assert any("insufficient lamports" in line for line in failure.data["logs"])
    assert node.balance(payer.pubkey()) == SOL, "nothing is paid for what was not sent"


def test_a_failed_transaction_lands_and_pays(node: Node) -> None:
    payer = node.rich(SOL)
    signature = node.send(node.signed(payer, pay(payer, Keypair().pubkey(), 5 * SOL)), skipPreflight=True)
    found = node.transaction(signature)
    assert found["meta"]["err"] == {"InstructionError": [0, {"Custom": 1}]}
    assert found["meta"]["status"] == {"Err": found["meta"]["err"]}
    assert node.status(signature)["err"] == found["meta"]["err"]
    assert node.balance(payer.pubkey()) == SOL - 5000
    history = node.rpc("getSignaturesForAddress", str(payer.pubkey()), {"commitment": "confirmed"})
    assert [entry["err"] for entry in history] == [found["meta"]["err"], None]


def test_duplicates(node: Node) -> None:
    payer, target = node.rich(), Keypair().pubkey()
    transaction = node.signed(payer, pay(payer, target, SOL))
    signature = node.send(transaction)
    failure = refused(node, transaction)
    assert failure.message == "Transaction simulation failed: This transaction has already been processed"
    assert failure.data["err"] == "AlreadyProcessed"
    assert node.send(transaction, skipPreflight=True) == signature
    assert node.balance(target) == SOL


def test_preflight_sees_the_chain_at_its_commitment(make_node: Callable[..., Node]) -> None:
    """The trap of every newcomer: a processed blockhash is unknown to a finalized preflight."""
    node = make_node(slot_ms=300, finality_slots=20)
    payer = node.rich()
    node.rpc("getBalance", str(payer.pubkey()), PROCESSED)
    until(lambda: node.slot() > 2)
    failure = refused(node, node.signed(payer, memo("too new")), preflightCommitment="finalized")
    assert failure.data["err"] == "BlockhashNotFound"
    assert failure.data["logs"] == []


def test_blockhashes_expire(make_node: Callable[..., Node]) -> None:
    """150 slots: valid until lastValidBlockHeight, not a block longer."""
    node = make_node(slot_ms=8, finality_slots=3)
    payer = node.rich()
    value = node.rpc("getLatestBlockhash", PROCESSED)["value"]
    message = Message.new_with_blockhash([memo("late")], payer.pubkey(), Hash.from_string(value["blockhash"]))
    late = VersionedTransaction(message, [payer])
    encoded = base64.b64encode(to_bytes_versioned(message)).decode()
    assert node.rpc("isBlockhashValid", value["blockhash"], PROCESSED)["value"] is True
    assert node.rpc("getFeeForMessage", encoded, PROCESSED)["value"] == 5000

    def valid_at() -> tuple[int, bool]:
        answer = node.rpc("isBlockhashValid", value["blockhash"], PROCESSED)
        return answer["context"]["slot"], answer["value"]

    seen = []
    while not seen or seen[-1][1]:
        seen.append(valid_at())
    assert all(slot <= value["lastValidBlockHeight"] for slot, valid in seen if valid)
    assert seen[-1][0] > value["lastValidBlockHeight"]
    failure = refused(node, late)
    assert failure.message == "Transaction simulation failed: Blockhash not found"
    assert failure.data["err"] == "BlockhashNotFound"
    assert node.rpc("getFeeForMessage", encoded, PROCESSED)["value"] is None
    assert node.status(node.send(late, skipPreflight=True)) is None


def test_no_money(node: Node) -> None:
    poor = Keypair()
    assert refused(node, node.signed(poor, memo("poor"))).data["err"] == "AccountNotFound"


def test_a_program_that_is_not_there(node: Node) -> None:
    payer = node.rich(SOL)
    call = Instruction(Pubkey.new_unique(), b"", [])
    failure = refused(node, node.signed(payer, call))
    assert failure.message.endswith("Attempt to load a program that does not exist")
    signature = node.send(node.signed(payer, call), skipPreflight=True)
    assert node.status(signature)["err"] == "ProgramAccountNotFound"
    assert node.balance(payer.pubkey()) == SOL - 5000


def test_dust_below_rent_is_refused_and_undone(node: Node) -> None:
    payer, target = node.rich(SOL), Keypair().pubkey()
    dust = pay(payer, target, 1000)
    assert refused(node, node.signed(payer, dust)).data["err"] == {
        "InsufficientFundsForRent": {"account_index": 1}
    }
    signature = node.send(node.signed(payer, dust), skipPreflight=True)
    assert node.status(signature)["err"] == {"InsufficientFundsForRent": {"account_index": 1}}
    assert node.balance(target) == 0
    assert node.balance(payer.pubkey()) == SOL - 5000


def test_priority_fees(node: Node) -> None:
    """Price × limit, rounded up, as getFeeForMessage foretells and the balance shows."""
    payer = node.rich(SOL)
    funded = node.slot()
    until(lambda: node.slot() > funded)  # the airdrop bid nothing, and the least bid of a slot is what counts
    budget = (set_compute_unit_price(1_000_001), set_compute_unit_limit(30_000))
    transaction = node.signed(payer, *budget, memo("hurry"))
    encoded = base64.b64encode(to_bytes_versioned(transaction.message)).decode()
    foretold = node.rpc("getFeeForMessage", encoded, PROCESSED)["value"]
    assert foretold == 5000 + 30_001
    signature = node.send(transaction)
    assert node.balance(payer.pubkey()) == SOL - foretold
    assert node.transaction(signature)["meta"]["fee"] == foretold
    bids = node.rpc("getRecentPrioritizationFees", [str(payer.pubkey())])
    assert 1_000_001 in [bid["prioritizationFee"] for bid in bids]


def test_simulation(node: Node) -> None:
    payer, target = node.rich(SOL), Keypair().pubkey()
    transaction = node.signed(payer, pay(payer, target, SOL // 2))
    accounts = {"addresses": [str(target), str(Keypair().pubkey())], "encoding": "base64"}
    config = PROCESSED | {"encoding": "base64", "sigVerify": True, "accounts": accounts}
    value = node.rpc("simulateTransaction", wire(transaction), config)["value"]
    assert value["err"] is None
    assert value["unitsConsumed"] == 150
    assert value["accounts"][0]["lamports"] == SOL // 2
    assert value["accounts"][1] is None
    assert node.balance(target) == 0
    assert node.balance(payer.pubkey()) == SOL
    assert node.send(transaction), "a simulation is not a first landing"


def test_simulation_without_signature_or_blockhash(node: Node) -> None:
    payer = node.rich(SOL)
    message = Message.new_with_blockhash([memo("draft")], payer.pubkey(), Hash.default())
    draft = VersionedTransaction.populate(message, [Keypair().sign_message(b"")])
    base = PROCESSED | {"encoding": "base64"}
    assert node.rpc("simulateTransaction", wire(draft), base)["value"]["err"] == "BlockhashNotFound"
    replaced = node.rpc("simulateTransaction", wire(draft), base | {"replaceRecentBlockhash": True})["value"]
    assert replaced["err"] is None
    assert set(replaced["replacementBlockhash"]) == {"blockhash", "lastValidBlockHeight"}
    with pytest.raises(RpcFailure, match="signature verification failure"):
        node.rpc("simulateTransaction", wire(draft), base | {"sigVerify": True})
    with pytest.raises(RpcFailure, match="sigVerify may not be used with replaceRecentBlockhash"):
        node.rpc(
            "simulateTransaction", wire(draft), base | {"sigVerify": True, "replaceRecentBlockhash": True}
        )


def test_history_is_paged(node: Node) -> None:
    payer = node.rich()
    sent = [node.send(node.signed(payer, memo(f"entry {number}"))) for number in range(7)][::-1]
    node.reach(sent[0], "confirmed")
    address = str(payer.pubkey())

    def page(**config: object) -> list[str]:
        listed = node.rpc("getSignaturesForAddress", address, {"commitment": "confirmed"} | config)
        return [entry["signature"] for entry in listed]

    assert page()[:7] == sent
    assert page(limit=3) == sent[:3]
    assert page(limit=3, before=sent[2]) == sent[3:6]
    assert page(before=sent[1], until=sent[4]) == sent[2:4]
    assert page(before=str(Keypair().sign_message(b""))) == []
    entry = node.rpc("getSignaturesForAddress", address, {"commitment": "confirmed", "limit": 1})[0]
    assert entry["memo"] == "[7] entry 6"
    assert entry["err"] is None


def test_status_climbs_to_finalized(make_node: Callable[..., Node]) -> None:
    node = make_node(slot_ms=1000, finality_slots=3)
    payer = node.rich()
    signature = node.send(node.signed(payer, memo("climb")))
    seen: list[dict] = []
    while not seen or seen[-1]["confirmationStatus"] != "finalized":
        seen.append(node.status(signature))
    levels = [status["confirmationStatus"] for status in seen]
    assert levels == sorted(levels, key=["processed", "confirmed", "finalized"].index)
    assert set(levels) == {"processed", "confirmed", "finalized"}
    assert seen[0]["confirmations"] == 0
    assert seen[-1]["confirmations"] is None
    assert node.status(str(Keypair().sign_message(b"never"))) is None


def test_get_transaction_waits_for_its_commitment(make_node: Callable[..., Node]) -> None:
    node = make_node(slot_ms=1000, finality_slots=3)
    signature = node.send(node.signed(payer := node.rich(), memo("wait")))
    assert node.rpc("getTransaction", signature) is None
    assert node.rpc("getSignaturesForAddress", str(payer.pubkey())) == []
    node.reach(signature, "finalized")
    assert node.rpc("getTransaction", signature)["slot"] == node.status(signature)["slot"]


def test_a_block_and_its_neighbours(node: Node) -> None:
    payer = node.rich()
    transaction = node.signed(payer, memo("in a block"))
    signature = node.send(transaction)
    slot = node.transaction(signature)["slot"]
    config = {"commitment": "confirmed", "maxSupportedTransactionVersion": 0}
    block = node.rpc("getBlock", slot, config)
    assert signature in [one["transaction"]["signatures"][0] for one in block["transactions"]]
    assert block["parentSlot"] == slot - 1
    signatures = node.rpc("getBlock", slot, config | {"transactionDetails": "signatures"})["signatures"]
    assert signature in signatures
    parent = node.rpc("getBlock", slot - 1, config | {"transactionDetails": "none"})
    assert block["previousBlockhash"] == parent["blockhash"]
    assert node.rpc("getBlocks", slot - 1, slot, {"commitment": "confirmed"}) == [slot - 1, slot]
    assert node.rpc("getBlocksWithLimit", 0, 3, {"commitment": "confirmed"}) == [0, 1, 2]
    accounts = node.rpc("getBlock", slot, config | {"transactionDetails": "accounts"})["transactions"]
    assert str(payer.pubkey()) in [
        key["pubkey"] for one in accounts for key in one["transaction"]["accountKeys"]
    ]
    for method, parameters in (("getBlock", [slot + 10_000]), ("getBlockTime", [slot + 10_000])):
        with pytest.raises(RpcFailure, match="Block not available") as failure:
            node.rpc(method, *parameters)
        assert failure.value.code == -32004


def test_versioned_transaction_through_a_lookup_table(node: Node) -> None:
    """The table is made and filled by the real program; a v0 transaction then pays an account it names."""
    payer, target = node.rich(10 * SOL), Keypair().pubkey()
    recent = node.slot() - 1
    table, bump = Pubkey.find_program_address(
        [bytes(payer.pubkey()), recent.to_bytes(8, "little")], LOOKUP_TABLES
    )
    metas = [
        AccountMeta(table, False, True),
        AccountMeta(payer.pubkey(), True, False),
        AccountMeta(payer.pubkey(), True, True),
        AccountMeta(SYSTEM, False, False),
    ]
    create = Instruction(LOOKUP_TABLES, bytes(4) + recent.to_bytes(8, "little") + bytes([bump]), metas)
    keys = (1).to_bytes(8, "little") + bytes(target)
    extend = Instruction(LOOKUP_TABLES, (2).to_bytes(4, "little") + keys, metas)
    extended = node.transaction(node.send(node.signed(payer, create, extend)))["slot"]
    until(lambda: node.slot() > extended)

    raw = node.rpc("getAccountInfo", str(table), PROCESSED | {"encoding": "base64"})["value"]["data"][0]
    assert base64.b64decode(raw)[56:] == bytes(target)
    message = MessageV0.try_compile(
        payer.pubkey(), [pay(payer, target, SOL)], [lookup_table(table, target)], node.blockhash()
    )
    assert target not in message.account_keys
    transaction = VersionedTransaction(message, [payer])
    signature = node.send(transaction)
    assert node.balance(target) == SOL
    found = node.transaction(signature)
    assert found["version"] == 0
    assert found["meta"]["loadedAddresses"] == {"writable": [str(target)], "readonly": []}
    assert found["transaction"]["message"]["addressTableLookups"][0]["accountKey"] == str(table)
    parsed = node.transaction(signature, encoding="jsonParsed")["transaction"]["message"]
    assert parsed["accountKeys"][-1]["source"] == "lookupTable"
    assert parsed["instructions"][0]["parsed"]["info"]["destination"] == str(target)
    listed = node.rpc("getSignaturesForAddress", str(target), {"commitment": "confirmed"})
    assert [entry["signature"] for entry in listed] == [signature]
    with pytest.raises(RpcFailure, match="maxSupportedTransactionVersion") as failure:
        node.rpc("getTransaction", signature, {"commitment": "confirmed"})
    assert failure.value.code == -32015


def lookup_table(key: Pubkey, *addresses: Pubkey) -> object:
    from solders.address_lookup_table_account import AddressLookupTableAccount

    return AddressLookupTableAccount(key, list(addresses))


def test_airdrops_in_one_slot_are_two(node: Node) -> None:
    key = Keypair().pubkey()
    first = node.rpc("requestAirdrop", str(key), SOL)
    second = node.rpc("requestAirdrop", str(key), SOL)
    assert first != second
    assert node.balance(key) == 2 * SOL


def test_errors_of_the_program(node: Node) -> None:
    """A refused instruction of Quantumagi has its Anchor number, through JSON-RPC as on chain."""
    payer = node.rich()

    failure = refused(node, node.signed(payer, Instruction(PROGRAM_ID, b"12345678", [])))
    ((_, detail),) = [failure.data["err"]["InstructionError"]]
    assert detail == {"Custom": 101}, "InstructionFallbackNotFound"
