"""Methods that send, simulate and look up transactions."""

import contextlib
import time
from typing import Any

from solders.instruction import Instruction
from solders.message import Message, from_bytes_versioned
from solders.pubkey import Pubkey
from solders.system_program import TransferParams, transfer
from solders.transaction import VersionedTransaction

from chain.localnet import arguments
from chain.localnet.bank import Bank, View
from chain.localnet.encoding import account_shape, b64decode
from chain.localnet.errors import (
    TransactionRejected,
    invalid_params,
    preflight_failure,
    signature_verification_failure,
)
from chain.localnet.methods.accounts import read_account
from chain.localnet.parsing import (
    MEMO_PROGRAMS,
    check_transaction_encoding,
    max_version_of,
    memo_of,
    parse_inner,
    transaction_with_meta,
)
from chain.localnet.runtime import Outcome
from chain.localnet.wire import decode_transaction

MAX_STATUSES = 256
MAX_SIGNATURES = 1_000
STATUS_CACHE_SLOTS = 300
"""How long getSignatureStatuses knows a transaction without `searchTransactionHistory`."""
MEMO = next(iter(MEMO_PROGRAMS))


def send_transaction(bank: Bank, data: Any, config: Any = None) -> Any:
    """Without preflight a transaction that cannot land is dropped unseen, as the network does."""
    config = arguments.options(config)
    transaction = decode_transaction(data, config.get("encoding") or "base58")
    if not config.get("skipPreflight"):
        _preflight(bank, transaction, arguments.view(bank, config, key="preflightCommitment"))
    with contextlib.suppress(TransactionRejected):
        bank.submit(transaction)
    return str(transaction.signatures[0])


def _preflight(bank: Bank, transaction: VersionedTransaction, view: View) -> None:
    if not all(transaction.verify_with_results()):
        raise signature_verification_failure()
    try:
        outcome = bank.simulate(transaction, view, check_blockhash=True, check_signatures=False)
    except TransactionRejected as rejected:
        raise preflight_failure(rejected.error, simulation_shape(rejected.error, None)) from rejected
    if outcome.error is not None:
        raise preflight_failure(outcome.error, simulation_shape(outcome.error, outcome))


def simulate_transaction(bank: Bank, data: Any, config: Any = None) -> Any:
    config = arguments.options(config)
    replace, verify = bool(config.get("replaceRecentBlockhash")), bool(config.get("sigVerify"))
    transaction = decode_transaction(data, config.get("encoding") or "base58")
    view = arguments.view(bank, config)
    if replace and verify:
        raise invalid_params("sigVerify may not be used with replaceRecentBlockhash")
    if verify and not all(transaction.verify_with_results()):
        raise signature_verification_failure()
    outcome: Outcome | None = None
    try:
        outcome = bank.simulate(transaction, view, check_blockhash=not replace, check_signatures=False)
        error = outcome.error
    except TransactionRejected as rejected:
        error = rejected.error
    shape = simulation_shape(error, outcome)
    if replace:
        blockhash, last_valid = bank.latest_blockhash(view)
        shape["replacementBlockhash"] = {"blockhash": str(blockhash), "lastValidBlockHeight": last_valid}
    if config.get("innerInstructions") and outcome:
        shape["innerInstructions"] = [
            {"index": group["index"], "instructions": parse_inner(group["instructions"], outcome.keys.all)}
            for group in outcome.inner
        ]
    if config.get("accounts") is not None:
        shape["accounts"] = _simulated_accounts(view, outcome, arguments.options(config["accounts"]))
    return arguments.with_context(view, shape)


def simulation_shape(error: Any, outcome: Outcome | None) -> dict[str, Any]:
    """A simulation's result; without an outcome nothing ran, and the logs are empty."""
    return {
        "accounts": None,
        "err": error,
        "innerInstructions": None,
        "logs": outcome.logs if outcome else [],
        "replacementBlockhash": None,
        "returnData": outcome.return_data if outcome else None,
        "unitsConsumed": outcome.units if outcome else 0,
    }


def _simulated_accounts(view: View, outcome: Outcome | None, config: dict[str, Any]) -> list[Any]:
    """The accounts asked for as the simulation left them; all null when it failed."""
    encoding = config.get("encoding") or "base64"
    if encoding in ("base58", "binary"):
        raise invalid_params("base58 encoding not supported")
    addresses = [
        arguments.pubkey(item) for item in arguments.items(config.get("addresses") or [], 64, "accounts")
    ]
    if outcome is None or outcome.error is not None:
        return [None] * len(addresses)
    left = outcome.after
    return [
        (account_shape(address, left[address], encoding) if left[address].lamports else None)
        if address in left
        else read_account(view, address, {"encoding": encoding})
        for address in addresses
    ]


def request_airdrop(bank: Bank, address: Any, lamports: Any, config: Any = None) -> Any:
    """A signed transfer from the faucet. Its memo makes two like it in one slot two transactions."""
    arguments.options(config)
    faucet, recipient = bank.faucet, arguments.pubkey(address)
    amount = arguments.number(lamports)
    instructions = [
        transfer(TransferParams(from_pubkey=faucet.pubkey(), to_pubkey=recipient, lamports=amount)),
        Instruction(MEMO, f"airdrop {time.time_ns()}".encode(), []),
    ]
    view = bank.views["processed"]
    blockhash, _ = bank.latest_blockhash(view)
    message = Message.new_with_blockhash(instructions, faucet.pubkey(), blockhash)
    transaction = VersionedTransaction(message, [faucet])
    _preflight(bank, transaction, view)
    return str(bank.submit(transaction).signature)


def get_signature_statuses(bank: Bank, signatures: Any, config: Any = None) -> Any:
    whole_history = arguments.options(config).get("searchTransactionHistory")
    view = bank.views["processed"]
    oldest = 0 if whole_history else bank.root - STATUS_CACHE_SLOTS
    statuses: list[dict[str, Any] | None] = []
    for item in arguments.items(signatures, MAX_STATUSES):
        landed = bank.ledger.find(arguments.signature(item))
        if landed is None or landed.slot < oldest:
            statuses.append(None)
            continue
        statuses.append(
            {
                "slot": landed.slot,
                "confirmations": None if landed.slot <= bank.root else bank.slot - landed.slot,
                "err": landed.meta["err"],
                "status": landed.meta["status"],
                "confirmationStatus": bank.commitment_of(landed.slot),
            }
        )
    return arguments.with_context(view, statuses)


def get_transaction(bank: Bank, signature: Any, config: Any = None) -> Any:
    """None when there is no such transaction at the commitment asked for (confirmed or finalized)."""
    config = {"encoding": config} if isinstance(config, str) else arguments.options(config)
    encoding = check_transaction_encoding(config.get("encoding"))
    view = arguments.view(bank, config, lowest="confirmed")
    landed = bank.ledger.find(arguments.signature(signature))
    if landed is None or landed.slot > view.slot:
        return None
    shape = transaction_with_meta(landed, encoding, max_version_of(config))
    return {"slot": landed.slot, "blockTime": bank.block_time(landed.slot)} | shape


def get_signatures_for_address(bank: Bank, address: Any, config: Any = None) -> Any:
    config = arguments.options(config)
    view = arguments.view(bank, config, lowest="confirmed")
    limit = MAX_SIGNATURES if config.get("limit") is None else arguments.number(config["limit"])
    if not 1 <= limit <= MAX_SIGNATURES:
        raise invalid_params(f"Invalid limit; max {MAX_SIGNATURES}")
    bounds = {
        key: bank.ledger.find(arguments.signature(config[key])) if config.get(key) else None
        for key in ("before", "until")
    }
    if config.get("before") and bounds["before"] is None:
        return []
    found = bank.ledger.mentioning(
        arguments.pubkey(address), view.slot, bounds["before"], bounds["until"], limit
    )
    return [
        {
            "signature": str(landed.signature),
            "slot": landed.slot,
            "err": landed.meta["err"],
            "memo": memo_of(landed),
            "blockTime": bank.block_time(landed.slot),
            "confirmationStatus": bank.commitment_of(landed.slot),
        }
        for landed in found
    ]


def get_fee_for_message(bank: Bank, message: Any, config: Any = None) -> Any:
    """Null for a message whose blockhash is not (or no longer) known."""
    view = arguments.view(bank, arguments.options(config))
    try:
        decoded = from_bytes_versioned(b64decode(message))
    except Exception as error:
        raise invalid_params(f"failed to deserialize solana_message::VersionedMessage: {error}") from error
    known = bank.is_blockhash_valid(decoded.recent_blockhash, view)
    return arguments.with_context(view, bank.fee(decoded) if known else None)


def get_recent_prioritization_fees(bank: Bank, addresses: Any = None) -> Any:
    """For each recent slot the least price bid (micro-lamports a compute unit), by account when any is named."""
    wanted = [arguments.pubkey(item) for item in arguments.items(addresses or [], 128)]

    def least(bids: list[tuple[int, frozenset[Pubkey]]]) -> int:
        floors = [min((price for price, _ in bids), default=0)]
        floors += [min((price for price, written in bids if key in written), default=0) for key in wanted]
        return max(floors)

    return [{"slot": slot, "prioritizationFee": least(bids)} for slot, bids in bank.bids]


METHODS: dict[str, Any] = {
    "sendTransaction": send_transaction,
    "simulateTransaction": simulate_transaction,
    "requestAirdrop": request_airdrop,
    "getSignatureStatuses": get_signature_statuses,
    "getTransaction": get_transaction,
    "getSignaturesForAddress": get_signatures_for_address,
    "getFeeForMessage": get_fee_for_message,
    "getRecentPrioritizationFees": get_recent_prioritization_fees,
}
