"""What a request's parameters may be, and the answer (-32602) to those that are not.

Shapes: Agave's `RpcContextConfig` and its kin. Every function raises RpcError.
"""

from typing import Any

from solders.hash import Hash
from solders.pubkey import Pubkey
from solders.signature import Signature

from chain.localnet.bank import COMMITMENTS, Bank, View
from chain.localnet.encoding import b58decode, b64decode
from chain.localnet.errors import invalid_params, min_context_slot_not_reached

API_VERSION = "2.2.0"
"""The version of the Solana runtime inside LiteSVM (solana-program-runtime in solders 0.26)."""


def options(config: Any) -> dict[str, Any]:
    """A configuration object; null and left out are the same."""
    if config is None:
        return {}
    if not isinstance(config, dict):
        raise invalid_params(
            f"Invalid params: invalid type: {_kind(config)}, expected a configuration object."
        )
    return config


def view(bank: Bank, config: dict[str, Any], *, key: str = "commitment", lowest: str = "processed") -> View:
    """The chain at the commitment asked for (default finalized), not older than `minContextSlot`."""
    commitment = config.get(key) or "finalized"
    if commitment not in COMMITMENTS:
        expected = ", ".join(f"`{name}`" for name in COMMITMENTS)
        raise invalid_params(f"Invalid params: unknown variant `{commitment}`, expected one of {expected}.")
    if COMMITMENTS.index(commitment) < COMMITMENTS.index(lowest):
        raise invalid_params(f"Method does not support commitment below `{lowest}`")
    found = bank.views[commitment]
    least = config.get("minContextSlot")
    if least is not None and found.slot < number(least):
        raise min_context_slot_not_reached(found.slot)
    return found


def with_context(at: View, value: Any) -> dict[str, Any]:
    """An answer and the slot it holds at."""
    return {"context": {"apiVersion": API_VERSION, "slot": at.slot}, "value": value}


def with_slot(slot: int, value: Any) -> dict[str, Any]:
    """The same for a notification, whose context has the slot alone."""
    return {"context": {"slot": slot}, "value": value}


def number(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**64:
        raise invalid_params(f"Invalid params: invalid type: {_kind(value)}, expected u64.")
    return value


def items(value: Any, limit: int, of: str = "inputs") -> list[Any]:
    if not isinstance(value, list):
        raise invalid_params(f"Invalid params: invalid type: {_kind(value)}, expected a sequence.")
    if len(value) > limit:
        raise invalid_params(f"Too many {of} provided; max {limit}")
    return value


def pubkey(value: Any) -> Pubkey:
    return Pubkey.from_bytes(_base58(value, Pubkey.LENGTH))


def signature(value: Any) -> Signature:
    return Signature.from_bytes(_base58(value, Signature.LENGTH))


def blockhash(value: Any) -> Hash:
    return Hash.from_bytes(_base58(value, Hash.LENGTH))


def data_slice(config: dict[str, Any]) -> tuple[int, int] | None:
    wanted = config.get("dataSlice")
    if wanted is None:
        return None
    wanted = options(wanted)
    return number(wanted.get("offset")), number(wanted.get("length"))


def memcmp_bytes(filter_: dict[str, Any]) -> bytes:
    """The bytes of a memcmp filter: base58 unless it says base64, or a list of numbers."""
    value, encoding = filter_.get("bytes"), filter_.get("encoding") or "base58"
    try:
        if isinstance(value, list):
            return bytes(value)
        if isinstance(value, str) and encoding in ("base58", "base64"):
            return b64decode(value) if encoding == "base64" else b58decode(value)
    except ValueError as error:
        raise invalid_params(f"Invalid param: {error}") from error
    raise invalid_params("Invalid params: memcmp needs bytes in base58 or base64.")


def _base58(value: Any, length: int) -> bytes:
    if not isinstance(value, str):
        raise invalid_params(f"Invalid params: invalid type: {_kind(value)}, expected a string.")
    try:
        decoded = b58decode(value) if len(value) <= 2 * length else b""
    except ValueError:
        raise invalid_params("Invalid param: Invalid") from None
    if len(decoded) != length:
        raise invalid_params("Invalid param: WrongSize")
    return decoded


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return f"boolean `{str(value).lower()}`"
    if isinstance(value, int | float):
        return f"{'integer' if isinstance(value, int) else 'floating point'} `{value}`"
    if isinstance(value, str):
        return f'string "{value[:80]}"'
    return "map" if isinstance(value, dict) else "sequence"
