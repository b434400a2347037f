"""Our own decoded view of transactions and accounts, and links to a Solana explorer that shows the same."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from anchorpy_core.idl import IdlTypeSimple
from pyheck import snake
from solders.message import Message, MessageV0
from solders.pubkey import Pubkey
from solders.system_program import ID as SYSTEM_PROGRAM
from solders.transaction import VersionedTransaction

from chain import quantumagi, rpc
from chain.config import ChainConfig
from chain.quantumagi import IDL, MEMO_PROGRAM, NotQuantumagi
from chain.rpc import Account, Landed
from workflows.errors import Invalid, NotFound, Unavailable
from workflows.storage.unit import rfc3339

EXPLORER = "https://explorer.solana.com"
_INSTRUCTIONS = {snake(item.name): item for item in IDL.instructions}
_ACCOUNTS: dict[str, Any] = {item.name: item.ty.fields for item in IDL.accounts}  # type: ignore[union-attr]
_PROGRAMS = {
    MEMO_PROGRAM: "SPL Memo",
    SYSTEM_PROGRAM: "System program",
    Pubkey.from_string("ComputeBudget111111111111111111111111111111"): "Compute budget",
}


# Links


def transaction_url(config: ChainConfig, signature: str) -> str | None:
    """The transaction in explorer.solana.com; None where no browser could reach the cluster's node."""
    return _url(config, f"tx/{signature}")


def address_url(config: ChainConfig, address: Pubkey | str) -> str | None:
    """An account in explorer.solana.com; None where no browser could reach the cluster's node."""
    return _url(config, f"address/{address}")


def _url(config: ChainConfig, path: str) -> str | None:
    if config.cluster == "mainnet-beta":
        return f"{EXPLORER}/{path}"
    if config.cluster in ("devnet", "testnet"):
        return f"{EXPLORER}/{path}?cluster={config.cluster}"
    # An address that may hold an access key is never put into a public link.
    node = config.explorer_rpc_url or (config.rpc_url if config.is_local else None)
    return f"{EXPLORER}/{path}?cluster=custom&customUrl={quote(node, safe='')}" if node else None


# Views


async def transaction_view(config: ChainConfig, signature: str) -> dict[str, Any]:
    """A transaction read anew and decoded. Raises Invalid, NotFound or Unavailable."""
    try:
        async with rpc.connect(config) as node:
            landed = await node.transaction(signature)
            status = (await node.statuses([signature]))[0]
    except ValueError as error:
        raise Invalid("That is not a transaction's signature.") from error
    except (rpc.Unreachable, rpc.NodeRefused) as error:
        raise Unavailable(str(error), code="chain_unreachable") from error
    if landed is None:
        raise NotFound("The cluster does not know this transaction, or no longer.")
    return decoded_transaction(config, landed) | {"status": status.level if status else None}


def decoded_transaction(config: ChainConfig, landed: Landed) -> dict[str, Any]:
    """Plain JSON: what it is, who signed, and its instructions by name."""
    transaction = VersionedTransaction.from_bytes(landed.raw)
    message = transaction.message
    signers = message.header.num_required_signatures
    return {
        "signature": landed.signature,
        "slot": landed.slot,
        "block_time": _moment(landed.block_time),
        "error": str(quantumagi.failure(landed.error)) if landed.error else None,
        "fee_lamports": landed.fee,
        "size": len(landed.raw),
        "signatures_valid": all(transaction.verify_with_results()),
        "signers": [str(key) for key in message.account_keys[:signers]],
        "recent_blockhash": str(message.recent_blockhash),
        "instructions": decode_transaction(config.program_id, transaction),
        "logs": list(landed.logs),
        "explorer_url": transaction_url(config, landed.signature),
    }


def decode_transaction(program_id: Pubkey, transaction: VersionedTransaction) -> list[dict[str, Any]]:
    """The instructions in order: program, instruction, args, accounts by name, and the text of a memo."""
    message = transaction.message
    keys = message.account_keys
    return [
        _instruction(
            program_id,
            # Addresses from lookup tables are not in the bytes; our transactions use none.
            keys[item.program_id_index],
            bytes(item.data),
            [
                {
                    "address": str(keys[index]) if index < len(keys) else None,
                    "signer": message.is_signer(index),
                    "writable": _writable(message, index),
                }
                for index in item.accounts
            ],
        )
        for item in message.instructions
    ]


def _writable(message: Message | MessageV0, index: int) -> bool:
    """As the header says it: signers first, and in each half the read-only ones last."""
    header = message.header
    signers = header.num_required_signatures
    if index < signers:
        return index < signers - header.num_readonly_signed_accounts
    return index < len(message.account_keys) - header.num_readonly_unsigned_accounts


def _instruction(
    program_id: Pubkey, program: Pubkey, data: bytes, accounts: list[dict[str, Any]]
) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "program": "Quantumagi" if program == program_id else _PROGRAMS.get(program, "Unknown program"),
        "program_id": str(program),
        "instruction": None,
        "args": {},
        "accounts": [{"name": None, **account} for account in accounts],
        "text": None,
        "data": data.hex(),
    }
    if program == MEMO_PROGRAM:
        shown["instruction"], shown["text"] = "memo", data.decode("utf-8", errors="replace")
        names: Iterable[str] = ("signer",) * len(accounts)
    elif program == program_id:
        try:
            parsed = quantumagi.decode_instruction(data)
        except NotQuantumagi:
            return shown
        described = _INSTRUCTIONS[parsed.name]
        shown["instruction"], shown["args"] = parsed.name, _fields(described.args, parsed.data)
        names = [snake(item.name) for item in described.accounts]
    else:
        return shown
    for account, name in zip(shown["accounts"], names, strict=False):
        account["name"] = name
    return shown


async def account_view(config: ChainConfig, address: str) -> dict[str, Any]:
    """An account read anew and decoded. Raises Invalid, NotFound or Unavailable."""
    try:
        key = Pubkey.from_string(address)
    except ValueError as error:
        raise Invalid("That is not an account's address.") from error
    try:
        async with rpc.connect(config) as node:
            account = await node.account(key)
    except (rpc.Unreachable, rpc.NodeRefused) as error:
        raise Unavailable(str(error), code="chain_unreachable") from error
    if account is None:
        raise NotFound("There is no account at this address on the cluster.")
    return decoded_account(config, account)


def decoded_account(config: ChainConfig, account: Account) -> dict[str, Any]:
    """Plain JSON: owner, balance, and the fields by name where it is one of Quantumagi's."""
    name, fields = None, {}
    if account.owner == config.program_id:
        try:
            name, data = quantumagi.decode(account.data)
            fields = _fields(_ACCOUNTS[name], data)
        except NotQuantumagi:
            pass
    return {
        "address": str(account.address),
        "owner": str(account.owner),
        "lamports": account.lamports,
        "executable": account.executable,
        "size": len(account.data),
        "type": name,
        "fields": fields,
        "explorer_url": address_url(config, account.address),
    }


def _fields(described: Iterable[Any], values: Any) -> dict[str, Any]:
    """By name, as plain JSON: u64 as decimal string, bytes as hex, enums by variant, `…_at` also as time."""
    shown = {}
    for item in described:
        name = snake(item.name)
        shown[name] = _plain(item.ty, getattr(values, name))
        if name.endswith("_at") and shown[name] is not None:
            shown[name] = {"unix": shown[name], "time": _moment(shown[name])}
    return shown


def _plain(kind: Any, value: Any) -> Any:
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, Pubkey):
        return str(value)
    if isinstance(value, int):
        return str(value) if kind == IdlTypeSimple.U64 else value
    if isinstance(value, bytes | list):
        return bytes(value).hex()
    if hasattr(value, "__dataclass_fields__"):  # ActionContext
        return {key: _plain(None, getattr(value, key)) for key in value.__dataclass_fields__}
    return type(value).__name__  # a variant of an enum


def _moment(seconds: int | None) -> str | None:
    if seconds is None:
        return None
    try:
        return rfc3339(datetime.fromtimestamp(seconds, UTC))
    except (OverflowError, OSError, ValueError):
        return None
