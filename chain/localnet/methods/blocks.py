"""Methods about slots, blocks and blockhashes. Every slot has a block here, so height and slot are one."""

from typing import Any

from solders.hash import Hash
from solders.transaction import VersionedTransaction

from chain.localnet import arguments
from chain.localnet.bank import Bank
from chain.localnet.errors import block_not_available, invalid_params, slot_skipped
from chain.localnet.parsing import (
    account_list,
    check_transaction_encoding,
    max_version_of,
    transaction_with_meta,
)

MAX_BLOCK_RANGE = 500_000
DETAILS = ("full", "accounts", "signatures", "none")


def get_slot(bank: Bank, config: Any = None) -> Any:
    return arguments.view(bank, arguments.options(config)).slot


def get_block_height(bank: Bank, config: Any = None) -> Any:
    return arguments.view(bank, arguments.options(config)).slot


def get_transaction_count(bank: Bank, config: Any = None) -> Any:
    return bank.ledger.transaction_count(arguments.view(bank, arguments.options(config)).slot)


def get_latest_blockhash(bank: Bank, config: Any = None) -> Any:
    view = arguments.view(bank, arguments.options(config))
    blockhash, last_valid = bank.latest_blockhash(view)
    return arguments.with_context(view, {"blockhash": str(blockhash), "lastValidBlockHeight": last_valid})


def is_blockhash_valid(bank: Bank, blockhash: Any, config: Any = None) -> Any:
    view = arguments.view(bank, arguments.options(config))
    return arguments.with_context(view, bank.is_blockhash_valid(arguments.blockhash(blockhash), view))


def get_block_time(bank: Bank, slot: Any) -> Any:
    return _kept(bank, arguments.number(slot), bank.views["confirmed"].slot)[0]


def get_first_available_block(bank: Bank) -> Any:
    return 0


def get_blocks(bank: Bank, first: Any, last: Any = None, config: Any = None) -> Any:
    """The slots kept from `first` to `last`, both included; `last` may be left out."""
    if isinstance(last, dict):
        last, config = None, last
    newest = arguments.view(bank, arguments.options(config), lowest="confirmed").slot
    start = arguments.number(first)
    end = min(newest, newest if last is None else arguments.number(last))
    if end - start > MAX_BLOCK_RANGE:
        raise invalid_params(f"Slot range too large; max {MAX_BLOCK_RANGE}")
    return bank.ledger.slots(start, end, MAX_BLOCK_RANGE + 1)


def get_blocks_with_limit(bank: Bank, first: Any, limit: Any, config: Any = None) -> Any:
    newest = arguments.view(bank, arguments.options(config), lowest="confirmed").slot
    if arguments.number(limit) > MAX_BLOCK_RANGE:
        raise invalid_params(f"Limit too large; max {MAX_BLOCK_RANGE}")
    return bank.ledger.slots(arguments.number(first), newest, limit)


def get_block(bank: Bank, slot: Any, config: Any = None) -> Any:
    config = {"encoding": config} if isinstance(config, str) else arguments.options(config)
    newest = arguments.view(bank, config, lowest="confirmed").slot
    slot = arguments.number(slot)
    time, blockhash = _kept(bank, slot, newest)
    parent = bank.ledger.slot(slot - 1)
    block = {
        "blockHeight": slot,
        "blockTime": time,
        "blockhash": str(blockhash),
        "parentSlot": max(slot - 1, 0),
        "previousBlockhash": str(parent[1] if parent and parent[1] else Hash.default()),
    }
    if config.get("rewards") is not False:
        block["rewards"] = []
    return block | _transactions(bank, slot, config)


def _transactions(bank: Bank, slot: int, config: dict[str, Any]) -> dict[str, Any]:
    details = config.get("transactionDetails") or "full"
    if details not in DETAILS:
        expected = ", ".join(f"`{name}`" for name in DETAILS)
        raise invalid_params(f"Invalid params: unknown variant `{details}`, expected one of {expected}.")
    if details == "none":
        return {}
    landed = bank.ledger.in_slot(slot)
    if details == "signatures":
        return {"signatures": [str(one.signature) for one in landed]}
    encoding, version = check_transaction_encoding(config.get("encoding")), max_version_of(config)
    if details == "full":
        return {"transactions": [transaction_with_meta(one, encoding, version) for one in landed]}
    listed = []
    for one in landed:
        shape = transaction_with_meta(one, "json", version)
        shape["transaction"] = {
            "signatures": shape["transaction"]["signatures"],
            "accountKeys": account_list(VersionedTransaction.from_bytes(one.wire).message, one.meta),
        }
        listed.append(shape)
    return {"transactions": listed}


def _kept(bank: Bank, slot: int, newest: int) -> tuple[int, Hash | None]:
    """(time, blockhash) of a slot not above `newest`; -32004 above it, -32007 when no longer kept."""
    if slot > newest:
        raise block_not_available(slot)
    kept = bank.ledger.slot(slot)
    if kept is None:
        raise slot_skipped(slot)
    return kept


METHODS: dict[str, Any] = {
    "getSlot": get_slot,
    "getBlockHeight": get_block_height,
    "getTransactionCount": get_transaction_count,
    "getLatestBlockhash": get_latest_blockhash,
    "isBlockhashValid": is_blockhash_valid,
    "getBlockTime": get_block_time,
    "getFirstAvailableBlock": get_first_available_block,
    "minimumLedgerSlot": get_first_available_block,
    "getBlocks": get_blocks,
    "getBlocksWithLimit": get_blocks_with_limit,
    "getBlock": get_block,
}
