"""The WebSocket half: subscriptions and their notifications, in the shapes of Agave's pubsub."""

import asyncio
import itertools
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

import msgspec
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from chain.localnet import arguments
from chain.localnet.bank import Bank
from chain.localnet.encoding import account_shape, check_encoding
from chain.localnet.errors import RpcError, invalid_params
from chain.localnet.ledger import Landed
from chain.localnet.methods.accounts import select
from chain.localnet.parsing import account_keys

MAX_BACKLOG = 10_000
"""Notifications a client may leave unread before it is cut off."""


class Connection:
    """One client's socket, seen from here: a queue of messages to send."""

    def __init__(self) -> None:
        self.outbox: asyncio.Queue[bytes | None] = asyncio.Queue(MAX_BACKLOG)

    def send(self, message: Any) -> None:
        """Queue a message; None closes. A client too slow to keep up is closed."""
        try:
            self.outbox.put_nowait(None if message is None else msgspec.json.encode(message))
        except asyncio.QueueFull:
            while not self.outbox.empty():
                self.outbox.get_nowait()
            self.outbox.put_nowait(None)


@dataclass(eq=False)
class Subscription:
    """What one client wants to hear. `subject` is what the kind is about: an account, a signature, mentions."""

    id: int
    kind: str
    connection: Connection
    commitment: str = "finalized"
    subject: Any = None
    config: dict[str, Any] = field(default_factory=dict)

    def notify(self, result: Any) -> None:
        self.connection.send(
            {
                "jsonrpc": "2.0",
                "method": f"{self.kind}Notification",
                "params": {"result": result, "subscription": self.id},
            }
        )


class Subscriptions:
    """All subscriptions; the bank's listener."""

    def __init__(self, bank: Bank) -> None:
        self._bank = bank
        self._ids = itertools.count()
        self._all: dict[int, Subscription] = {}
        self._methods: dict[str, Callable[..., Subscription]] = {
            "accountSubscribe": self._account,
            "logsSubscribe": self._logs,
            "programSubscribe": self._program,
            "rootSubscribe": self._root,
            "signatureSubscribe": self._signature,
            "slotSubscribe": self._slot,
        }

    def call(self, method: str, connection: Connection, parameters: list[Any]) -> Any:
        """Answer a `…Subscribe` or `…Unsubscribe` request; KeyError for any other method."""
        if method.endswith("Unsubscribe") and method.replace("Unsub", "Sub") in self._methods:
            return self._unsubscribe(connection, method.removesuffix("Unsubscribe"), *parameters)
        subscription = self._methods[method](connection, *parameters)
        self._all[subscription.id] = subscription
        return subscription.id

    def greet(self, subscription_id: int) -> None:
        """Notify at once of a signature that landed before its subscription; call after the id was sent."""
        subscription = self._all.get(subscription_id)
        if subscription and subscription.kind == "signature":
            landed = self._bank.ledger.find(subscription.subject)
            view = self._bank.views[subscription.commitment]
            if landed and landed.slot <= view.slot:
                self._signature_landed(subscription, view.slot, landed)

    def drop(self, connection: Connection) -> None:
        self._all = {key: one for key, one in self._all.items() if one.connection is not connection}

    # the bank's listener

    def changed(self, commitment: str, slot: int, landed: list[Landed], accounts: Collection[Pubkey]) -> None:
        for subscription in list(self._all.values()):
            if subscription.kind == "signature":
                self._signatures_changed(subscription, commitment, slot, landed)
            elif subscription.commitment != commitment:
                continue
            elif subscription.kind == "logs":
                self._logs_changed(subscription, slot, landed)
            elif subscription.kind == "account" and subscription.subject in accounts:
                self._account_changed(subscription, slot)
            elif subscription.kind == "program":
                self._program_changed(subscription, slot, accounts)

    def slot_began(self, slot: int, parent: int, root: int) -> None:
        for subscription in list(self._all.values()):
            if subscription.kind == "slot":
                subscription.notify({"slot": slot, "parent": parent, "root": root})
            elif subscription.kind == "root":
                subscription.notify(root)

    # one request each

    def _new(self, kind: str, connection: Connection, subject: Any, config: Any) -> Subscription:
        config = arguments.options(config)
        arguments.view(self._bank, config)
        check_encoding(config.get("encoding"))
        commitment = config.get("commitment") or "finalized"
        return Subscription(next(self._ids), kind, connection, commitment, subject, config)

    def _account(self, connection: Connection, address: Any, config: Any = None) -> Subscription:
        return self._new("account", connection, arguments.pubkey(address), config)

    def _program(self, connection: Connection, program: Any, config: Any = None) -> Subscription:
        select((), arguments.options(config))  # a bad filter is refused now, not at the first change
        return self._new("program", connection, arguments.pubkey(program), config)

    def _signature(self, connection: Connection, signature: Any, config: Any = None) -> Subscription:
        return self._new("signature", connection, arguments.signature(signature), config)

    def _logs(self, connection: Connection, wanted: Any, config: Any = None) -> Subscription:
        if wanted in ("all", "allWithVotes"):
            return self._new("logs", connection, None, config)
        mentions = arguments.options(wanted).get("mentions")
        if not isinstance(mentions, list) or len(mentions) != 1:
            raise invalid_params("Invalid Request: Only 1 address supported")
        return self._new("logs", connection, arguments.pubkey(mentions[0]), config)

    def _slot(self, connection: Connection) -> Subscription:
        return self._new("slot", connection, None, None)

    def _root(self, connection: Connection) -> Subscription:
        return self._new("root", connection, None, None)

    def _unsubscribe(self, connection: Connection, kind: str, subscription_id: Any) -> bool:
        found = self._all.get(subscription_id) if isinstance(subscription_id, int) else None
        if found is None or found.connection is not connection or found.kind != kind:
            raise invalid_params("Invalid subscription id.")
        del self._all[found.id]
        return True

    # one notification each

    def _signatures_changed(
        self, subscription: Subscription, commitment: str, slot: int, landed: list[Landed]
    ) -> None:
        found = next((one for one in landed if one.signature == subscription.subject), None)
        if found is None:
            return
        if commitment == "processed" and subscription.config.get("enableReceivedNotification"):
            subscription.notify(arguments.with_slot(slot, "receivedSignature"))
        if commitment == subscription.commitment:
            self._signature_landed(subscription, slot, found)

    def _signature_landed(self, subscription: Subscription, slot: int, landed: Landed) -> None:
        subscription.notify(arguments.with_slot(slot, {"err": landed.meta["err"]}))
        self._all.pop(subscription.id, None)  # a signature is heard of once

    def _logs_changed(self, subscription: Subscription, slot: int, landed: list[Landed]) -> None:
        for one in landed:
            if subscription.subject is not None and subscription.subject not in _mentioned(one):
                continue
            value = {
                "signature": str(one.signature),
                "err": one.meta["err"],
                "logs": one.meta["logMessages"],
            }
            subscription.notify(arguments.with_slot(slot, value))

    def _account_changed(self, subscription: Subscription, slot: int) -> None:
        """An account that is gone is sent empty, as a node does."""
        config = subscription.config
        account = self._bank.views[subscription.commitment].svm.get_account(subscription.subject)
        if account is None:
            return
        encoding = config.get("encoding") or "binary"
        try:
            shape = account_shape(subscription.subject, account, encoding, arguments.data_slice(config))
        except RpcError:  # too long for base58: a node sends nothing either
            return
        subscription.notify(arguments.with_slot(slot, shape))

    def _program_changed(self, subscription: Subscription, slot: int, accounts: Collection[Pubkey]) -> None:
        view = self._bank.views[subscription.commitment]
        held = ((address, view.get(address)) for address in accounts)
        owned = [(at, account) for at, account in held if account and account.owner == subscription.subject]
        for value in select(owned, subscription.config):
            subscription.notify(arguments.with_slot(slot, value))


def _mentioned(landed: Landed) -> list[Pubkey]:
    return account_keys(VersionedTransaction.from_bytes(landed.wire).message, landed.meta)
