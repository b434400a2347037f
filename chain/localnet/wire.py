"""A transaction as it comes over the wire: the encodings, the 1232-byte limit, the sanity checks."""

from typing import Any

from solders.transaction import VersionedTransaction

from chain.localnet.encoding import b58decode, b64decode
from chain.localnet.errors import invalid_params

PACKET_DATA_SIZE = 1232
"""The most bytes a transaction may have: an IPv6 MTU less its headers."""
MAX_ENCODED = {"base58": 1683, "base64": 1644}
TYPE_NAME = "solana_transaction::versioned::VersionedTransaction"


def decode_transaction(data: Any, encoding: Any) -> VersionedTransaction:
    """Decode, deserialise and sanitise; -32602 in a node's words when it is not a transaction."""
    if encoding not in MAX_ENCODED:
        raise invalid_params(f"unsupported encoding: {encoding}. Supported encodings: base58, base64")
    if not isinstance(data, str):
        raise invalid_params("Invalid params: invalid type, expected a string.")
    most = MAX_ENCODED[encoding]
    if len(data) > most:
        raise invalid_params(
            f"{encoding} encoded {TYPE_NAME} too large: {len(data)} bytes (max: encoded/raw {most}/{PACKET_DATA_SIZE})"
        )
    try:
        wire = b58decode(data) if encoding == "base58" else b64decode(data)
    except ValueError as error:
        raise invalid_params(f"invalid {encoding} encoding: {error}") from error
    if len(wire) > PACKET_DATA_SIZE:
        raise invalid_params(
            f"decoded {TYPE_NAME} too large: {len(wire)} bytes (max: {PACKET_DATA_SIZE} bytes)"
        )
    try:
        transaction = VersionedTransaction.from_bytes(wire)
    except Exception as error:
        raise invalid_params(f"failed to deserialize {TYPE_NAME}: {error}") from error
    try:
        transaction.sanitize()
    except Exception as error:
        raise invalid_params(
            "invalid transaction: Transaction failed to sanitize accounts offsets correctly"
        ) from error
    return transaction
