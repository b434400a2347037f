"""Bytes and accounts in the encodings a client may ask for: base58, base64, base64+zstd, jsonParsed."""

import base64
import binascii
from typing import Any

from solders.account import Account
from solders.clock import Clock
from solders.pubkey import Pubkey
from solders.rent import Rent

from chain.localnet.errors import RpcError, invalid_params, invalid_request

ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
MAX_BASE58_DATA = 128
ENCODINGS = ("binary", "base64", "base58", "base64+zstd", "jsonParsed")

CLOCK = Pubkey.from_string("SysvarC1ock11111111111111111111111111111111")
RENT = Pubkey.from_string("SysvarRent111111111111111111111111111111111")


def b58encode(data: bytes) -> str:
    number = int.from_bytes(data, "big")
    digits = ""
    while number:
        number, remainder = divmod(number, 58)
        digits = ALPHABET[remainder] + digits
    zeros = len(data) - len(data.lstrip(b"\0"))
    return "1" * zeros + digits


def b58decode(text: str) -> bytes:
    """Raises ValueError for a character outside the alphabet."""
    number = 0
    for character in text:
        number = number * 58 + ALPHABET.index(character)
    zeros = len(text) - len(text.lstrip("1"))
    return b"\0" * zeros + number.to_bytes((number.bit_length() + 7) // 8, "big")


def b64encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


def b64decode(text: str) -> bytes:
    """Raises ValueError for anything but canonical base64."""
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from error


def zstd_frame(data: bytes) -> bytes:
    """One Zstandard frame (RFC 8878) of raw blocks: every decoder reads it, nothing is compressed.

    The standard library of Python 3.11 has no compressor, and the accounts served here are small.
    """
    header = (0xFD2FB528).to_bytes(4, "little") + b"\xa0" + len(data).to_bytes(4, "little")
    chunks = [data[at : at + 0x1FFFF] for at in range(0, len(data), 0x1FFFF)] or [b""]
    blocks = [
        ((len(chunk) << 3) | (index == len(chunks) - 1)).to_bytes(3, "little") + chunk
        for index, chunk in enumerate(chunks)
    ]
    return header + b"".join(blocks)


def check_encoding(encoding: Any) -> str:
    """The encoding asked for (default `binary`, the old base58 string), or -32602."""
    if encoding is None:
        return "binary"
    if encoding not in ENCODINGS:
        expected = ", ".join(f"`{name}`" for name in ENCODINGS)
        raise invalid_params(f"Invalid params: unknown variant `{encoding}`, expected one of {expected}.")
    return str(encoding)


def account_shape(
    pubkey: Pubkey, account: Account, encoding: str, data_slice: tuple[int, int] | None = None
) -> dict[str, Any]:
    """An account as `getAccountInfo` gives it; `data_slice` is (offset, length) in bytes."""
    return {
        "data": _account_data(pubkey, account, encoding, data_slice),
        "executable": account.executable,
        "lamports": account.lamports,
        "owner": str(account.owner),
        "rentEpoch": account.rent_epoch,
        "space": len(account.data),
    }


def _account_data(pubkey: Pubkey, account: Account, encoding: str, data_slice: tuple[int, int] | None) -> Any:
    if encoding == "jsonParsed":
        parsed = parse_sysvar(pubkey, account)
        if parsed is not None:
            return parsed
        encoding = "base64"
    data = bytes(account.data)
    if data_slice is not None:
        offset, length = data_slice
        data = data[offset : offset + length]
    if encoding in ("binary", "base58"):
        text = b58encode_limited(data)
        return text if encoding == "binary" else [text, encoding]
    if encoding == "base64+zstd":
        return [b64encode(zstd_frame(data)), encoding]
    return [b64encode(data), "base64"]


def b58encode_limited(data: bytes) -> str:
    """Base58 of at most 128 bytes; a node refuses more because the cost is quadratic."""
    if len(data) > MAX_BASE58_DATA:
        raise _too_long_for_base58()
    return b58encode(data)


def _too_long_for_base58() -> RpcError:
    return invalid_request(
        "Encoded binary (base 58) data should be less than 128 bytes, please use Base64 encoding."
    )


def parse_sysvar(pubkey: Pubkey, account: Account) -> dict[str, Any] | None:
    """The parsed form of the Clock and Rent sysvars; None for every other account."""
    data = bytes(account.data)
    info: dict[str, Any]
    if pubkey == CLOCK:
        clock = Clock.from_bytes(data)
        kind = "clock"
        info = {
            "slot": clock.slot,
            "epoch": clock.epoch,
            "epochStartTimestamp": clock.epoch_start_timestamp,
            "leaderScheduleEpoch": clock.leader_schedule_epoch,
            "unixTimestamp": clock.unix_timestamp,
        }
    elif pubkey == RENT:
        rent = Rent.from_bytes(data)
        kind = "rent"
        info = {
            "lamportsPerByteYear": str(rent.lamports_per_byte_year),
            "exemptionThreshold": rent.exemption_threshold,
            "burnPercent": rent.burn_percent,
        }
    else:
        return None
    return {"program": "sysvar", "parsed": {"type": kind, "info": info}, "space": len(data)}
