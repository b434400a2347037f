"""The bank: slots that follow the clock, one state per commitment, and transactions run on the newest.

A transaction is processed at once, confirmed when its slot is CONFIRMATION_SLOTS old and finalized when it
is `finality_slots` old. Each commitment has a LiteSVM of its own, so that whatever is read or simulated
at a commitment sees the accounts as they were then. Nothing is announced or answered before it is on disk.
"""

import asyncio
import hashlib
import os
import time
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Protocol

from solders.account import Account
from solders.clock import Clock
from solders.epoch_schedule import EpochSchedule
from solders.hash import Hash
from solders.keypair import Keypair
from solders.litesvm import LiteSVM
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from chain.localnet.errors import TransactionRejected
from chain.localnet.ledger import Landed, Ledger
from chain.localnet.runtime import (
    Outcome,
    all_mentioned,
    compute_budget,
    execute,
    priority_fee,
    resolve,
    restore,
    signature_fee,
)

CONFIRMATION_SLOTS = 2
BLOCKHASH_LIFE = 150
"""Slots after which a blockhash is no longer accepted (MAX_PROCESSING_AGE)."""
REMEMBERED_BLOCKHASHES = 512
"""As many as the SlotHashes sysvar holds."""
FAUCET_LAMPORTS = 500_000_000 * 1_000_000_000
COMMITMENTS = ("processed", "confirmed", "finalized")


class View:
    """The accounts at one commitment, as of `slot`."""

    def __init__(self) -> None:
        self.svm = LiteSVM().with_sigverify(False).with_blockhash_check(False).with_transaction_history(0)
        self.svm.set_epoch_schedule(EpochSchedule.without_warmup())
        self.slot = 0
        self._owner: dict[Pubkey, Pubkey] = {}
        self._owned: dict[Pubkey, set[Pubkey]] = {}

    def get(self, pubkey: Pubkey) -> Account | None:
        account = self.svm.get_account(pubkey)
        return account if account is not None and account.lamports > 0 else None

    def put(self, accounts: dict[Pubkey, Account]) -> None:
        restore(self.svm, accounts)
        self.index(accounts)

    def index(self, accounts: dict[Pubkey, Account]) -> None:
        """Take note of who owns accounts that `svm` already holds."""
        for pubkey, account in accounts.items():
            self._owned.get(self._owner.pop(pubkey, pubkey), set()).discard(pubkey)
            if account.lamports > 0:
                self._owner[pubkey] = account.owner
                self._owned.setdefault(account.owner, set()).add(pubkey)

    def owned_by(self, program: Pubkey) -> list[Pubkey]:
        return sorted(self._owned.get(program, ()), key=bytes)

    def supply(self) -> int:
        """Lamports in all accounts of the ledger."""
        return sum(self.svm.get_balance(pubkey) or 0 for pubkey in self._owner)

    def move_to(self, slot: int, unix_time: int, slot_hashes: list[tuple[int, Hash]]) -> None:
        """Set the slot and the sysvars that follow from it."""
        self.slot = slot
        schedule = self.svm.get_epoch_schedule()
        epoch = schedule.get_epoch(slot)
        self.svm.set_clock(Clock(slot, 0, epoch, schedule.get_leader_schedule_epoch(slot), unix_time))
        self.svm.set_slot_hashes(slot_hashes)


@dataclass
class Block:
    """A slot and what ran in it: the transactions, the accounts they left, the prices they bid."""

    slot: int
    time: int
    landed: list[Landed] = field(default_factory=list)
    accounts: dict[Pubkey, Account] = field(default_factory=dict)
    bids: list[tuple[int, frozenset[Pubkey]]] = field(default_factory=list)


class Listener(Protocol):
    """Who wants to know; called only once what happened is on disk."""

    def changed(
        self, commitment: str, slot: int, landed: list[Landed], accounts: Collection[Pubkey]
    ) -> None: ...

    def slot_began(self, slot: int, parent: int, root: int) -> None: ...


class Bank:
    """The chain. `views[commitment]` is to be read only."""

    def __init__(self, ledger: Ledger, *, slot_ms: int = 400, finality_slots: int = 32) -> None:
        """Take the chain up where the ledger left it; everything in a ledger that is opened is final."""
        self.ledger = ledger
        self.slot_seconds = slot_ms / 1000
        self.lags = {"confirmed": min(CONFIRMATION_SLOTS, finality_slots), "finalized": finality_slots}
        self.genesis_hash = Hash.from_bytes(ledger.genesis("hash"))
        self.faucet = Keypair.from_bytes(ledger.genesis("faucet"))
        self.identity = Pubkey.from_bytes(ledger.genesis("identity"))
        self.listener: Listener | None = None
        self.bids: deque[tuple[int, list[tuple[int, frozenset[Pubkey]]]]] = deque(maxlen=BLOCKHASH_LIFE)
        self.views = {commitment: View() for commitment in COMMITMENTS}
        self._fresh: list[tuple[Landed, Collection[Pubkey]]] = []
        self._settling: asyncio.Future[None] | None = None
        self._not_final: deque[Block] = deque()
        self._resume()

    def _resume(self) -> None:
        accounts = dict(self.ledger.accounts())
        for view in self.views.values():
            view.put(accounts)
        slot, began, blockhash = self.ledger.last_slot()
        self._blockhashes = dict(reversed(self.ledger.recent_blockhashes(REMEMBERED_BLOCKHASHES)))
        self._slot_of = {blockhash: at for at, blockhash in self._blockhashes.items()}
        if blockhash is None:  # the process was killed in this slot: what landed in it stays
            self._close(Block(slot, began, self.ledger.in_slot(slot)))
        for view in self.views.values():
            view.move_to(slot, began, self._slot_hashes(slot))
        self._open(slot + 1, max(began, int(time.time())))
        self.ledger.commit()

    @property
    def slot(self) -> int:
        """The slot transactions land in now."""
        return self.block.slot

    @property
    def root(self) -> int:
        return self.views["finalized"].slot

    def commitment_of(self, slot: int) -> str:
        """The highest commitment a slot has reached."""
        return next(name for name in reversed(COMMITMENTS) if slot <= self.views[name].slot)

    def block_time(self, slot: int) -> int | None:
        """Unix time at which a slot began."""
        kept = self.ledger.slot(slot)
        return kept and kept[0]

    # slots

    async def run(self) -> None:
        """Advance one slot every `slot_seconds`; after a pause (a laptop asleep) go on, without catching up."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due = max(due + self.slot_seconds, loop.time())
            await asyncio.sleep(due - loop.time())
            self.tick()

    def tick(self) -> None:
        """Close the open slot, begin the next, and let the older commitments follow."""
        self._settle()
        block = self.block
        self._close(block)
        self._not_final.append(block)
        self._open(block.slot + 1, max(block.time, int(time.time())))
        self.ledger.commit()
        for commitment, lag in self.lags.items():
            self._follow(commitment, self.slot - lag)
        if self.listener:
            self.listener.slot_began(self.slot, block.slot, self.root)

    def _open(self, slot: int, unix_time: int) -> None:
        self.ledger.open_slot(slot, unix_time)
        self.block = Block(slot, unix_time)
        self.views["processed"].move_to(slot, unix_time, self._slot_hashes(slot))

    def _close(self, block: Block) -> None:
        """Give a slot its blockhash: over the one before, its transactions, and chance, so none can foresee it."""
        digest = hashlib.sha256(bytes(self._blockhashes[block.slot - 1]))
        for landed in block.landed:
            digest.update(bytes(landed.signature))
        digest.update(os.urandom(32))
        blockhash = Hash.from_bytes(digest.digest())
        self._blockhashes[block.slot] = blockhash
        self._slot_of[blockhash] = block.slot
        if forgotten := self._blockhashes.pop(block.slot - REMEMBERED_BLOCKHASHES, None):
            del self._slot_of[forgotten]
        self.ledger.close_slot(block.slot, blockhash)
        self.bids.append((block.slot, block.bids))

    def _follow(self, commitment: str, slot: int) -> None:
        view = self.views[commitment]
        for block in list(self._not_final):
            if not view.slot < block.slot <= slot:
                continue
            view.put(block.accounts)
            view.move_to(block.slot, block.time, self._slot_hashes(block.slot))
            if commitment == "finalized":
                self._not_final.popleft()
            if self.listener:
                self.listener.changed(commitment, block.slot, block.landed, block.accounts)

    def _slot_hashes(self, slot: int) -> list[tuple[int, Hash]]:
        return [(at, blockhash) for at, blockhash in reversed(self._blockhashes.items()) if at <= slot]

    # blockhashes

    def latest_blockhash(self, view: View) -> tuple[Hash, int]:
        """(blockhash, last block height at which a transaction with it can land)."""
        slot = min(view.slot, self.slot - 1)
        return self._blockhashes[slot], slot + BLOCKHASH_LIFE

    def is_blockhash_valid(self, blockhash: Hash, view: View) -> bool:
        slot = self._slot_of.get(blockhash)
        return slot is not None and view.slot - BLOCKHASH_LIFE <= slot <= view.slot

    # transactions

    def submit(self, transaction: VersionedTransaction) -> Landed:
        """Run a transaction in the open slot. It may land failed, with its fee paid.

        Raises TransactionRejected when it cannot land. Durable only after `settled`.
        """
        outcome = self._execute(
            transaction, self.views["processed"], check_blockhash=True, check_signatures=True
        )
        landed = Landed(
            signature=transaction.signatures[0],
            slot=self.slot,
            position=len(self.block.landed),
            message_hash=transaction.message.hash(),
            wire=bytes(transaction),
            meta=outcome.meta(),
        )
        self.views["processed"].index(outcome.after)
        self.block.landed.append(landed)
        self.block.accounts.update(outcome.after)
        self.block.bids.append((compute_budget(transaction.message)[0], frozenset(outcome.keys.written)))
        self.ledger.add(landed, all_mentioned(outcome.keys))
        self.ledger.put_accounts(
            (key, account if account.lamports else None) for key, account in outcome.after.items()
        )
        self._fresh.append((landed, outcome.after.keys()))
        return landed

    def simulate(
        self, transaction: VersionedTransaction, view: View, *, check_blockhash: bool, check_signatures: bool
    ) -> Outcome:
        """Run a transaction at a commitment and undo it. Raises TransactionRejected when it could not land."""
        outcome = self._execute(transaction, view, check_blockhash, check_signatures)
        restore(view.svm, outcome.before)
        return outcome

    def _execute(
        self, transaction: VersionedTransaction, view: View, check_blockhash: bool, check_signatures: bool
    ) -> Outcome:
        message = transaction.message
        if check_signatures and not all(transaction.verify_with_results()):
            raise TransactionRejected("SignatureFailure")
        keys = resolve(view.svm, message)
        if check_blockhash:
            if not self.is_blockhash_valid(message.recent_blockhash, view):
                raise TransactionRejected("BlockhashNotFound")
            landed_in = self.ledger.slot_of_message(message.hash())
            if landed_in is not None and landed_in <= view.slot:
                raise TransactionRejected("AlreadyProcessed")
        return execute(view.svm, transaction, keys)

    def fee(self, message: object) -> int:
        """Lamports a message would pay."""
        return signature_fee(message) + priority_fee(message)  # type: ignore[arg-type]

    # durability

    async def settled(self) -> None:
        """Return once everything run so far is on disk.

        Requests that arrive together share one fsync: the commit is put at the end of the event loop's turn.
        """
        if not self.ledger.dirty:
            return
        if self._settling is None:
            loop = asyncio.get_running_loop()
            self._settling = loop.create_future()
            loop.call_soon(self._settle)
        await asyncio.shield(self._settling)

    def _settle(self) -> None:
        self.ledger.commit()
        settling, self._settling = self._settling, None
        if settling is not None:
            settling.set_result(None)
        fresh, self._fresh = self._fresh, []
        if fresh and self.listener:
            accounts = {key for _, keys in fresh for key in keys}
            self.listener.changed("processed", self.slot, [landed for landed, _ in fresh], accounts)

    def close(self) -> None:
        self._settle()
        self.ledger.close()


def found(ledger: Ledger, programs: dict[Pubkey, bytes]) -> None:
    """Write slot 0 of a new chain: the programs (address → ELF) and a faucet that holds 500 million SOL."""
    faucet, identity = Keypair(), Keypair().pubkey()
    now = int(time.time())
    svm = LiteSVM()
    digest = hashlib.sha256(bytes(faucet.pubkey()) + bytes(identity) + now.to_bytes(8, "little"))
    for address, elf in programs.items():
        svm.add_program(address, elf)
        digest.update(bytes(address) + elf)
    svm.set_account(faucet.pubkey(), Account(FAUCET_LAMPORTS, b"", Pubkey.default()))
    genesis_hash = Hash.from_bytes(digest.digest())
    ledger.set_genesis("hash", bytes(genesis_hash))
    ledger.set_genesis("faucet", bytes(faucet))
    ledger.set_genesis("identity", bytes(identity))
    ledger.put_accounts((key, svm.get_account(key)) for key in [*programs, faucet.pubkey()])
    ledger.open_slot(0, now)
    ledger.close_slot(0, genesis_hash)
    ledger.commit()
