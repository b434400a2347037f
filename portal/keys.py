"""Secrets that the portal makes for itself, once, where none were given: files in DATA_DIR that only its user can read."""

from __future__ import annotations

import base64
import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from solders.keypair import Keypair
from solders.pubkey import Pubkey

from chain.config import ChainConfig, KeypairError, parse_keypair
from portal.settings import LOCALNET, Settings, SettingsError


def with_jwt_secret(settings: Settings) -> Settings:
    """The settings with a JWT secret: theirs, or the one kept in DATA_DIR."""
    if settings.jwt_secret:
        return settings
    kept = made_once(settings.data_dir / "jwt.secret", lambda: secrets.token_urlsafe(48))
    return settings.with_(jwt_secret=kept.read_text("ascii").strip())


def with_authority(settings: Settings) -> Settings:
    """On a local chain, the settings with an authority key: theirs, or the one kept in DATA_DIR."""
    if settings.anchor_keypair or settings.cluster != LOCALNET:
        return settings
    kept = made_once(settings.data_dir / "authority.json", lambda: json.dumps(list(bytes(Keypair()))))
    return settings.with_(anchor_keypair=str(kept))


def log_key(settings: Settings) -> bytes:
    """The 32-byte seed of the key that signs the log's checkpoints: theirs, or the one kept in DATA_DIR."""
    kept = settings.log_key or made_once(
        settings.data_dir / "log.key", lambda: base64.b64encode(secrets.token_bytes(32)).decode()
    )
    try:
        seed = base64.b64decode(kept.read_text("ascii").strip(), validate=True)
    except (OSError, ValueError) as error:
        raise SettingsError(f"LOG_KEY: {kept} is not a readable file with 32 bytes in base64.") from error
    if len(seed) != 32:
        raise SettingsError(f"LOG_KEY: {kept} holds {len(seed)} bytes, not 32.")
    return seed


def chain_config(settings: Settings) -> ChainConfig:
    """The cluster as chain/ wants it. A keypair that cannot be read stops anchoring, with its reason, not the portal."""
    authority = problem = None
    if settings.anchor_keypair:
        try:
            authority = parse_keypair(settings.anchor_keypair)
        except KeypairError as error:
            problem = str(error)
    return ChainConfig(
        rpc_url=settings.rpc_url,
        ws_url=settings.solana_ws_url,
        explorer_rpc_url=settings.solana_explorer_rpc_url,
        cluster=settings.cluster,
        program_id=Pubkey.from_string(settings.quantumagi_program_id),
        authority=authority,
        authority_problem=problem,
    )


def made_once(path: Path, make: Callable[[], str]) -> Path:
    """The file, after making it if need be: whole or not at all, by one of those who try at once."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(make())
            file.flush()
            os.fsync(descriptor)
        try:
            os.link(draft, path)
        except FileExistsError:
            pass  # somebody else was first, and theirs holds
        finally:
            draft.unlink()
    return path
