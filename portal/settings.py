"""What can be set from outside, and the only code that reads the environment. `.env.example` explains each."""

# ruff: noqa: RUF009 – _var() is dataclasses.field() with the two facts each variable has
from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from workflows.kinds import ConsensusStrategy

PUBLIC_RPC = {
    "devnet": "https://api.devnet.solana.com",
    "testnet": "https://api.testnet.solana.com",
    "mainnet-beta": "https://api.mainnet-beta.solana.com",
}
LOCALNET = "localnet"


class SettingsError(ValueError):
    """A variable has a value that cannot be used; the message names it and says what would do."""


def _text(value: str) -> str:
    return value


def _flag(value: str) -> bool:
    words = {
        "true": True,
        "1": True,
        "yes": True,
        "on": True,
        "false": False,
        "0": False,
        "no": False,
        "off": False,
    }
    if value.lower() not in words:
        raise ValueError("must be true or false")
    return words[value.lower()]


def _whole(low: int, high: int) -> Callable[[str], int]:
    def parse(value: str) -> int:
        if not re.fullmatch(r"[0-9]{1,12}", value) or not low <= int(value) <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return int(value)

    return parse


def _percent(value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 100:
        raise ValueError("must be a number from 0 to 100")
    return number


def _url(*schemes: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if urlsplit(value).scheme not in schemes:
            raise ValueError(f"must be an address that starts with {' or '.join(f'{s}://' for s in schemes)}")
        return value

    return parse


def _word(*allowed: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if value not in allowed:
            raise ValueError(f"must be one of {', '.join(allowed)}")
        return value

    return parse


def _cluster(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,40}", value):
        raise ValueError(f"must be {LOCALNET}, {', '.join(PUBLIC_RPC)} or a name of your own")
    return value


def _address(value: str) -> str:
    if not re.fullmatch(r"[1-9A-HJ-NP-Za-km-z]{32,44}", value):
        raise ValueError("must be a Solana address (base58)")
    return value


def _origin(value: str) -> str:
    if not re.fullmatch(r"[!-*,-~]{1,200}", value):
        raise ValueError("must be a name without spaces or +, best a host and path as example.org/audit")
    return value


def _witnesses(value: str) -> tuple[tuple[str, str], ...]:
    """`vkey=address`, comma separated: a witness's verifier key (C2SP signed-note) and where it takes checkpoints."""
    found = []
    for item in filter(None, (part.strip() for part in value.split(","))):
        # The key's base64 may itself hold =, and an address begins with its scheme.
        match = re.fullmatch(r"([^\s,]+\+[0-9a-f]{8}\+[A-Za-z0-9+/=]+)=(https?://[^\s,]+)", item)
        if match is None:
            raise ValueError(
                "must be verifier keys with addresses, as name+hash+key=https://…, separated by commas"
            )
        found.append((match[1], match[2]))
    return tuple(found)


def _language_models(value: str) -> tuple[tuple[str, str], ...]:
    """`name=address|model`, comma separated: what people call it, and where which model is asked."""
    found = {}
    for item in filter(None, (part.strip() for part in value.split(","))):
        match = re.fullmatch(r"([a-z0-9][a-z0-9_-]{0,39})=(https?://[^\s,|]+\|[^\s,|]{1,200})", item)
        if match is None or match[1] in found:
            raise ValueError(
                "must be names with addresses and models, as name=https://host/v1|model, separated by commas"
            )
        found[match[1]] = match[2]
    return tuple(found.items())


def _secret(value: str) -> str:
    if len(value) < 32:
        raise ValueError("must be at least 32 characters long")
    return value


def _var(parse: Callable[[str], Any], default: Any, name: str | None = None, *, secret: bool = False) -> Any:
    return field(default=default, repr=not secret, metadata={"parse": parse, "name": name, "secret": secret})


@dataclass(frozen=True)
class Settings:
    """One process's settings. A field is set by the variable of its name in capitals, unless `name` says otherwise."""

    host: str = _var(_text, "127.0.0.1", "GOVERNANCE_WORKFLOWS_HOST")
    port: int = _var(_whole(1, 65535), 8008, "GOVERNANCE_WORKFLOWS_PORT")
    base_url: str | None = _var(_url("http", "https"), None)
    trusted_proxies: str = _var(_text, "127.0.0.1")
    data_dir: Path = _var(Path, Path(".data"))
    demo: bool | None = _var(_flag, None)
    log_level: str = _var(_word("debug", "info", "warning", "error"), "info")
    jwt_secret: str | None = _var(_secret, None, secret=True)

    database_url: str | None = _var(_url("postgresql", "postgres", "postgresql+asyncpg"), None, secret=True)
    redis_url: str | None = _var(_url("redis", "rediss", "unix"), None, secret=True)

    constitution_file: Path | None = _var(Path, None)
    # Judged by workflows.constitution, which shows what is wrong.
    constitution_hash: str | None = _var(_text, None)
    solana_cluster: str | None = _var(_cluster, None)
    solana_rpc_url: str | None = _var(_url("http", "https"), None)
    solana_ws_url: str | None = _var(_url("ws", "wss"), None)
    solana_explorer_rpc_url: str | None = _var(_url("http", "https"), None)
    # Judged by chain.config, which never shows it.
    anchor_keypair: str | None = _var(_text, None, secret=True)
    quantumagi_program_id: str = _var(_address, "8eRUCnQsDxqK7vjp5XsYs7C3NGpdhzzaMW8QQGzfTUV4")
    localnet_port: int = _var(_whole(1, 65534), 8899)

    log_origin: str | None = _var(_origin, None)
    # Judged by portal.keys: a file's path.
    log_key: Path | None = _var(Path, None)
    log_checkpoint_file: Path | None = _var(Path, None)
    log_witnesses: tuple[tuple[str, str], ...] = _var(_witnesses, ())
    anchor_interval: int = _var(_whole(1, 604_800), 60)
    anchor_late_alert: int = _var(_whole(1, 604_800), 900)

    prometheus_enabled: bool = _var(_flag, True)
    metrics_token: str | None = _var(_text, None, secret=True)
    metrics_export_interval: int = _var(_whole(0, 3600), 30)
    opentelemetry_enabled: bool = _var(_flag, False)

    rate_limit_sign_in: int = _var(_whole(1, 1_000_000), 60)
    rate_limit_act: int = _var(_whole(1, 1_000_000), 300)
    rate_limit_read: int = _var(_whole(1, 1_000_000), 1200)

    max_concurrent_workflows: int = _var(_whole(1, 1_000_000), 1000)
    response_time_target_ms: int = _var(_whole(1, 600_000), 500)
    availability_target_percent: float = _var(_percent, 99.9)
    embedding_url: str | None = _var(_url("http", "https"), None)
    embedding_model: str = _var(_text, "Qwen/Qwen3-Embedding-0.6B")
    embedding_key: str | None = _var(_text, None, secret=True)
    consensus_strategy: str = _var(_word(*ConsensusStrategy), "weighted_average")
    opa_url: str | None = _var(_url("http", "https"), None)
    opa_bundle_token: str | None = _var(_secret, None, secret=True)
    language_models: tuple[tuple[str, str], ...] = _var(_language_models, ())
    language_model_key: str | None = _var(_text, None, secret=True)
    gs_service_url: str | None = _var(_url("http", "https"), None)
    pgc_service_url: str | None = _var(_url("http", "https"), None)
    ac_service_url: str | None = _var(_url("http", "https"), None)
    integrity_service_url: str | None = _var(_url("http", "https"), None)

    @classmethod
    def from_environment(cls, env: Mapping[str, str] = os.environ) -> Settings:
        """Raises SettingsError for the first variable that cannot be used. An empty variable counts as unset."""
        values = {}
        for item in fields(cls):
            name = variable(item.name)
            given = env.get(name, "").strip()
            if given:
                try:
                    values[item.name] = item.metadata["parse"](given)
                except ValueError as error:
                    shown = "what it is" if item.metadata["secret"] else f"“{given}”"
                    raise SettingsError(f"{name} {error}, not {shown}.") from None
        settings = cls(**values)
        if settings.solana_rpc_url is None and settings.cluster not in (LOCALNET, *PUBLIC_RPC):
            raise SettingsError("SOLANA_RPC_URL must be set for a SOLANA_CLUSTER with a name of your own.")
        if settings.opa_url and settings.pgc_service_url:
            raise SettingsError("OPA_URL and PGC_SERVICE_URL cannot both be set: one of them runs the rules.")
        return settings

    def to_environment(self) -> dict[str, str]:
        """The variables that make another process come to the same settings."""
        env = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if value is not None:
                env[variable(item.name)] = _as_text(value)
        return env

    def with_(self, **changes: Any) -> Settings:
        return replace(self, **changes)

    @property
    def cluster(self) -> str:
        """localnet, unless SOLANA_CLUSTER says otherwise."""
        return self.solana_cluster or LOCALNET

    @property
    def rpc_url(self) -> str:
        """Where the chain is reached: SOLANA_RPC_URL, else the public address of a named cluster, else this machine."""
        return self.solana_rpc_url or PUBLIC_RPC.get(self.cluster) or f"http://127.0.0.1:{self.localnet_port}"

    @property
    def wants_localnet(self) -> bool:
        """Whether the chain is one that `python -m portal` is to start."""
        return self.solana_rpc_url is None and self.cluster == LOCALNET

    @property
    def in_demo(self) -> bool:
        return bool(self.demo)

    @property
    def https(self) -> bool:
        """Whether browsers reach the portal by https, so that cookies may insist on it."""
        return (self.base_url or "").startswith("https://")


def _as_text(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join("=".join(item) for item in value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def variable(field_name: str) -> str:
    """The environment variable of a field of Settings."""
    named = Settings.__dataclass_fields__[field_name].metadata["name"]
    return named or field_name.upper()


VARIABLES = tuple(variable(item.name) for item in fields(Settings))
