"""Which Solana cluster, program and key the portal speaks to, and how the key is read without ever showing it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

from solders.keypair import Keypair
from solders.pubkey import Pubkey

DEFAULT_PROGRAM_ID = Pubkey.from_string("8eRUCnQsDxqK7vjp5XsYs7C3NGpdhzzaMW8QQGzfTUV4")
LOCALNET = "localnet"


class KeypairError(ValueError):
    """ANCHOR_KEYPAIR cannot be used. The message never contains what was given."""


@dataclass(frozen=True)
class ChainConfig:
    """One cluster. `cluster` is localnet, devnet, testnet, mainnet-beta or a name of the operator's own."""

    rpc_url: str
    cluster: str = LOCALNET
    program_id: Pubkey = DEFAULT_PROGRAM_ID
    authority: Keypair | None = field(default=None, repr=False)  # its repr is the secret itself
    authority_problem: str | None = None  # why ANCHOR_KEYPAIR could not be read, in plain words
    ws_url: str | None = field(default=None, repr=False)
    explorer_rpc_url: str | None = None  # under which a visitor's browser reaches this node; public
    timeout: float = 10.0  # seconds for one question to the node

    def __post_init__(self) -> None:
        if urlsplit(self.rpc_url).scheme not in ("http", "https"):
            raise ValueError("the Solana RPC address must begin with http:// or https://")

    @property
    def authority_address(self) -> Pubkey | None:
        return self.authority.pubkey() if self.authority else None

    @property
    def public_rpc_url(self) -> str:
        """Scheme, host and port only: providers put access keys into user info, path and query alike."""
        parts = urlsplit(self.rpc_url)
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        return f"{parts.scheme}://{host}{f':{parts.port}' if parts.port else ''}"

    @property
    def is_local(self) -> bool:
        return self.cluster == LOCALNET


@dataclass(frozen=True)
class AnchorPolicy:
    """When a checkpoint of the audit log goes on chain, in wall-clock time."""

    interval: timedelta = timedelta(seconds=60)  # at least this between one anchored checkpoint and the next
    late: timedelta = timedelta(
        minutes=15
    )  # an entry that waits longer than this for finality raises an alert
    durable_every: timedelta = timedelta(
        days=1
    )  # how often one also becomes an account, which outlives history


def parse_keypair(value: str) -> Keypair:
    """A keypair from a Solana CLI file's path, from that file's JSON, or from base58.

    Raises KeypairError, whose message says what is wrong and never quotes the input.
    """
    text = value.strip()
    if not text:
        raise KeypairError("ANCHOR_KEYPAIR is empty.")
    if text.startswith("["):
        return _from_json(text, "ANCHOR_KEYPAIR")
    try:
        file = Path(text).expanduser()
        exists = file.is_file()
    except (OSError, RuntimeError, ValueError):
        exists = False
    if exists:
        try:
            return _from_json(file.read_text("utf-8"), "The file that ANCHOR_KEYPAIR names")
        except (OSError, UnicodeDecodeError) as error:
            raise KeypairError("The file that ANCHOR_KEYPAIR names cannot be read.") from error
    try:
        return Keypair.from_base58_string(text)
    except BaseException as error:
        # solders raises a PanicException, which is no Exception, for a wrong length.
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
    raise KeypairError("ANCHOR_KEYPAIR is neither a readable file, nor a JSON array, nor a base58 keypair.")


def _from_json(text: str, source: str) -> Keypair:
    try:
        numbers = json.loads(text)
        secret = bytes(numbers) if isinstance(numbers, list) else b""
    except (ValueError, TypeError):
        raise KeypairError(f"{source} is not a JSON array of bytes.") from None
    if len(secret) != 64:
        raise KeypairError(f"{source} has {len(secret)} bytes; a Solana keypair has 64.")
    try:
        return Keypair.from_bytes(secret)
    except ValueError:
        raise KeypairError(f"{source} has 64 bytes, but they are no keypair.") from None
