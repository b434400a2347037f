"""The JSON-RPC methods, by what they are about: each takes the bank and the request's parameters."""

from collections.abc import Callable
from typing import Any

from chain.localnet.methods import accounts, blocks, cluster, transactions

METHODS: dict[str, Callable[..., Any]] = {}
for about in (accounts, blocks, cluster, transactions):
    METHODS.update(about.METHODS)
