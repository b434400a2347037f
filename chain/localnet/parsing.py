"""Transactions as a client reads them: json, jsonParsed, base58 and base64, with their meta."""

from typing import Any

from solders.message import Message, MessageV0
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from chain.localnet.encoding import b58decode, b58encode, b64encode
from chain.localnet.errors import invalid_params, unsupported_transaction_version
from chain.localnet.ledger import Landed
from chain.localnet.runtime import SYSTEM, AnyMessage, writable_flags

MEMO_PROGRAMS = {
    Pubkey.from_string("MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr"): "spl-memo",
    Pubkey.from_string("Memo1UhkJRfHyvLMcVucJwxXeuD728EqVDDwQDxFMNo"): "spl-memo",
}
TRANSACTION_ENCODINGS = ("json", "jsonParsed", "base58", "base64", "binary")


def check_transaction_encoding(encoding: Any) -> str:
    """The encoding asked for (default `json`), or -32602."""
    if encoding is None:
        return "json"
    if encoding not in TRANSACTION_ENCODINGS:
        expected = ", ".join(f"`{name}`" for name in TRANSACTION_ENCODINGS)
        raise invalid_params(f"Invalid params: unknown variant `{encoding}`, expected one of {expected}.")
    return str(encoding)


def max_version_of(config: dict[str, Any]) -> int | None:
    """The newest transaction version the client says it reads; only 0 exists besides legacy."""
    version = config.get("maxSupportedTransactionVersion")
    if version is not None and not (isinstance(version, int) and 0 <= version <= 127):
        raise invalid_params("Invalid params: maxSupportedTransactionVersion is a number from 0 to 127.")
    return version


def transaction_with_meta(landed: Landed, encoding: str, max_version: int | None) -> dict[str, Any]:
    """{transaction, meta} and, when the client states which versions it reads, the version.

    Raises -32015 for a versioned transaction the client did not say it can read.
    """
    transaction = VersionedTransaction.from_bytes(landed.wire)
    versioned = isinstance(transaction.message, MessageV0)
    if versioned and max_version is None:
        raise unsupported_transaction_version(0)
    keys = account_keys(transaction.message, landed.meta)
    meta = landed.meta
    if encoding == "jsonParsed":
        inner = [
            {"index": group["index"], "instructions": parse_inner(group["instructions"], keys)}
            for group in meta["innerInstructions"]
        ]
        meta = {key: value for key, value in meta.items() if key != "loadedAddresses"}
        meta["innerInstructions"] = inner
    shape = {"transaction": encode_transaction(transaction, encoding, landed), "meta": meta}
    return shape if max_version is None else shape | {"version": 0 if versioned else "legacy"}


def encode_transaction(transaction: VersionedTransaction, encoding: str, landed: Landed) -> Any:
    if encoding == "binary":
        return b58encode(landed.wire)
    if encoding == "base58":
        return [b58encode(landed.wire), "base58"]
    if encoding == "base64":
        return [b64encode(landed.wire), "base64"]
    message = transaction.message
    body = _parsed_message(message, landed) if encoding == "jsonParsed" else _raw_message(message)
    if isinstance(message, MessageV0):
        body["addressTableLookups"] = [
            {
                "accountKey": str(lookup.account_key),
                "writableIndexes": list(bytes(lookup.writable_indexes)),
                "readonlyIndexes": list(bytes(lookup.readonly_indexes)),
            }
            for lookup in message.address_table_lookups
        ]
    return {"signatures": [str(signature) for signature in transaction.signatures], "message": body}


def account_keys(message: AnyMessage, meta: dict[str, Any]) -> list[Pubkey]:
    """Every account of a landed transaction, in the order its instructions count them."""
    loaded = meta["loadedAddresses"]
    return [
        *message.account_keys,
        *(Pubkey.from_string(key) for key in loaded["writable"]),
        *(Pubkey.from_string(key) for key in loaded["readonly"]),
    ]


def account_list(message: AnyMessage, meta: dict[str, Any]) -> list[dict[str, Any]]:
    """The accounts as jsonParsed lists them: who signed, what was writable, where the address came from."""
    listed = [
        {
            "pubkey": str(key),
            "signer": at < message.header.num_required_signatures,
            "source": "transaction",
            "writable": writable,
        }
        for at, (key, writable) in enumerate(zip(message.account_keys, writable_flags(message), strict=True))
    ]
    for kind in ("writable", "readonly"):
        listed += [
            {"pubkey": key, "signer": False, "source": "lookupTable", "writable": kind == "writable"}
            for key in meta["loadedAddresses"][kind]
        ]
    return listed


def _raw_message(message: AnyMessage) -> dict[str, Any]:
    header = message.header
    return {
        "header": {
            "numRequiredSignatures": header.num_required_signatures,
            "numReadonlySignedAccounts": header.num_readonly_signed_accounts,
            "numReadonlyUnsignedAccounts": header.num_readonly_unsigned_accounts,
        },
        "accountKeys": [str(key) for key in message.account_keys],
        "recentBlockhash": str(message.recent_blockhash),
        "instructions": [
            {
                "programIdIndex": instruction.program_id_index,
                "accounts": list(bytes(instruction.accounts)),
                "data": b58encode(bytes(instruction.data)),
                "stackHeight": None,
            }
            for instruction in message.instructions
        ],
    }


def _parsed_message(message: Message | MessageV0, landed: Landed) -> dict[str, Any]:
    keys = account_keys(message, landed.meta)
    return {
        "accountKeys": account_list(message, landed.meta),
        "recentBlockhash": str(message.recent_blockhash),
        "instructions": [
            parse_instruction(
                keys[instruction.program_id_index],
                [keys[at] for at in bytes(instruction.accounts)],
                bytes(instruction.data),
                None,
            )
            for instruction in message.instructions
        ],
    }


def parse_inner(instructions: list[dict[str, Any]], keys: list[Pubkey]) -> list[dict[str, Any]]:
    """Inner instructions as stored (compiled), parsed."""
    return [
        parse_instruction(
            keys[entry["programIdIndex"]],
            [keys[at] for at in entry["accounts"]],
            b58decode(entry["data"]),
            entry["stackHeight"],
        )
        for entry in instructions
    ]


def parse_instruction(
    program: Pubkey, accounts: list[Pubkey], data: bytes, stack_height: int | None
) -> dict[str, Any]:
    """An instruction in words where the program is known (System, Memo), partially decoded elsewhere."""
    name, parsed = "system", None
    if program == SYSTEM:
        parsed = parse_system(accounts, data)
    elif program in MEMO_PROGRAMS:
        name, parsed = MEMO_PROGRAMS[program], data.decode(errors="replace")
    if parsed is not None:
        return {"program": name, "programId": str(program), "parsed": parsed, "stackHeight": stack_height}
    return {
        "programId": str(program),
        "accounts": [str(account) for account in accounts],
        "data": b58encode(data),
        "stackHeight": stack_height,
    }


def parse_system(accounts: list[Pubkey], data: bytes) -> Any:
    """createAccount, assign, transfer and allocate of the System program; None for any other."""
    kind = int.from_bytes(data[:4], "little")

    def number(at: int) -> int:
        return int.from_bytes(data[at : at + 8], "little")

    try:
        if kind == 0:
            info = {
                "source": str(accounts[0]),
                "newAccount": str(accounts[1]),
                "lamports": number(4),
                "space": number(12),
                "owner": str(Pubkey.from_bytes(data[20:52])),
            }
            return {"type": "createAccount", "info": info}
        if kind == 1:
            info = {"account": str(accounts[0]), "owner": str(Pubkey.from_bytes(data[4:36]))}
            return {"type": "assign", "info": info}
        if kind == 2:
            info = {"source": str(accounts[0]), "destination": str(accounts[1]), "lamports": number(4)}
            return {"type": "transfer", "info": info}
        if kind == 8:
            return {"type": "allocate", "info": {"account": str(accounts[0]), "space": number(4)}}
    except (IndexError, ValueError):
        return None
    return None


def memo_of(landed: Landed) -> str | None:
    """The memos of a transaction as getSignaturesForAddress lists them: `[length] text`, joined by `; `."""
    message = VersionedTransaction.from_bytes(landed.wire).message
    memos = [
        bytes(instruction.data)
        for instruction in message.instructions
        if message.account_keys[instruction.program_id_index] in MEMO_PROGRAMS
    ]
    return "; ".join(f"[{len(memo)}] {memo.decode(errors='replace')}" for memo in memos) or None
