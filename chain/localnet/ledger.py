"""The ledger: all the chain must still know after a kill -9, in one SQLite file.

Written ahead (WAL) and synchronous=FULL: what `commit` returned from is on the disk. One process at a
time holds it; the lock belongs to the open file, so the kernel frees it however the process ends.
"""

import fcntl
import os
import sqlite3
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from solders.account import Account
from solders.hash import Hash
from solders.pubkey import Pubkey
from solders.signature import Signature

FORMAT = 1
EMPTY_SLOTS_KEPT = 216_000
"""Slots without a transaction are kept for a day (at 400 ms) and then dropped; all others stay."""

SCHEMA = """
CREATE TABLE genesis (key TEXT PRIMARY KEY, value BLOB NOT NULL);
CREATE TABLE slot (slot INTEGER PRIMARY KEY, time INTEGER NOT NULL, blockhash BLOB);
CREATE TABLE account (pubkey BLOB PRIMARY KEY, account BLOB NOT NULL);
CREATE TABLE landed (
    signature BLOB PRIMARY KEY, slot INTEGER NOT NULL, position INTEGER NOT NULL,
    message_hash BLOB NOT NULL UNIQUE, wire BLOB NOT NULL, meta BLOB NOT NULL,
    UNIQUE (slot, position)
);
CREATE TABLE mention (
    pubkey BLOB NOT NULL, slot INTEGER NOT NULL, position INTEGER NOT NULL,
    PRIMARY KEY (pubkey, slot, position)
) WITHOUT ROWID;
"""


class LedgerError(Exception):
    """The ledger cannot be used; the message says why and what to do."""


@dataclass(frozen=True)
class Landed:
    """One transaction in a block. `meta` is the `meta` object of getTransaction, `wire` its bytes."""

    signature: Signature
    slot: int
    position: int
    message_hash: Hash
    wire: bytes
    meta: dict[str, Any]


class Ledger:
    """Genesis, slots, accounts and transactions; writes are grouped until `commit`."""

    def __init__(self, directory: Path) -> None:
        """Open or create the ledger in `directory`. Raises LedgerError when locked or of another format."""
        directory.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(directory / "lock")
        path = directory / "ledger.sqlite3"
        self._db = sqlite3.connect(path, isolation_level=None)
        try:
            self.is_new = _prepare(self._db, path)
        except sqlite3.DatabaseError as error:
            raise LedgerError(f"{path} is not a ledger: {error}") from error

    def close(self) -> None:
        self.commit()
        self._db.close()
        self._lock.close()

    @property
    def dirty(self) -> bool:
        """True while something was written that is not on the disk yet."""
        return self._db.in_transaction

    def commit(self) -> None:
        if self._db.in_transaction:
            self._execute("COMMIT")

    def _write(self, sql: str, *parameters: Any) -> None:
        if not self._db.in_transaction:
            self._execute("BEGIN")
        self._execute(sql, *parameters)

    def _execute(self, sql: str, *parameters: Any) -> None:
        """Write, or die as if killed: with a ledger behind the state in memory, no later answer could be true."""
        try:
            self._db.execute(sql, parameters)
        except sqlite3.OperationalError as error:
            print(f"localnet: the ledger cannot be written: {error}", file=sys.stderr, flush=True)
            os._exit(1)

    # genesis

    def set_genesis(self, key: str, value: bytes) -> None:
        self._write("INSERT INTO genesis VALUES (?, ?)", key, value)

    def genesis(self, key: str) -> bytes:
        (value,) = self._db.execute("SELECT value FROM genesis WHERE key = ?", (key,)).fetchone()
        return bytes(value)

    # slots

    def open_slot(self, slot: int, time: int) -> None:
        """Begin a slot at a Unix time; it has no blockhash until it is closed."""
        self._write("INSERT INTO slot VALUES (?, ?, NULL)", slot, time)

    def close_slot(self, slot: int, blockhash: Hash) -> None:
        self._write("UPDATE slot SET blockhash = ? WHERE slot = ?", bytes(blockhash), slot)
        self._write(
            "DELETE FROM slot WHERE slot = ?1 AND slot > 0 AND NOT EXISTS (SELECT 1 FROM landed WHERE slot = ?1)",
            slot - EMPTY_SLOTS_KEPT,
        )

    def last_slot(self) -> tuple[int, int, Hash | None]:
        """The newest slot: (slot, Unix time, blockhash or None while open)."""
        row = self._db.execute("SELECT slot, time, blockhash FROM slot ORDER BY slot DESC LIMIT 1").fetchone()
        return row[0], row[1], row[2] and Hash.from_bytes(row[2])

    def slot(self, slot: int) -> tuple[int, Hash | None] | None:
        """(Unix time, blockhash) of a slot, None when it is not kept."""
        row = self._db.execute("SELECT time, blockhash FROM slot WHERE slot = ?", (slot,)).fetchone()
        return row and (row[0], row[1] and Hash.from_bytes(row[1]))

    def recent_blockhashes(self, count: int) -> list[tuple[int, Hash]]:
        """(slot, blockhash) of the newest closed slots, newest first."""
        rows = self._db.execute(
            "SELECT slot, blockhash FROM slot WHERE blockhash IS NOT NULL ORDER BY slot DESC LIMIT ?",
            (count,),
        )
        return [(slot, Hash.from_bytes(blockhash)) for slot, blockhash in rows]

    def slots(self, first: int, last: int, limit: int) -> list[int]:
        rows = self._db.execute(
            "SELECT slot FROM slot WHERE slot BETWEEN ? AND ? ORDER BY slot LIMIT ?", (first, last, limit)
        )
        return [slot for (slot,) in rows]

    # accounts

    def put_accounts(self, accounts: Iterable[tuple[Pubkey, Account | None]]) -> None:
        """Write accounts as they now are; None is an account that no longer exists."""
        for pubkey, account in accounts:
            if account is None:
                self._write("DELETE FROM account WHERE pubkey = ?", bytes(pubkey))
            else:
                self._write("INSERT OR REPLACE INTO account VALUES (?, ?)", bytes(pubkey), bytes(account))

    def accounts(self) -> Iterator[tuple[Pubkey, Account]]:
        for pubkey, account in self._db.execute("SELECT pubkey, account FROM account"):
            yield Pubkey.from_bytes(pubkey), Account.from_bytes(account)

    # transactions

    def add(self, landed: Landed, mentioned: Iterable[Pubkey]) -> None:
        """Append a transaction to its slot and index it under every account it mentions."""
        self._write(
            "INSERT INTO landed VALUES (?, ?, ?, ?, ?, ?)",
            bytes(landed.signature),
            landed.slot,
            landed.position,
            bytes(landed.message_hash),
            landed.wire,
            msgspec.json.encode(landed.meta),
        )
        for pubkey in mentioned:
            self._write("INSERT INTO mention VALUES (?, ?, ?)", bytes(pubkey), landed.slot, landed.position)

    def find(self, signature: Signature) -> Landed | None:
        return next(self._landed("WHERE signature = ?", bytes(signature)), None)

    def in_slot(self, slot: int) -> list[Landed]:
        """The transactions of a slot, in the order they ran."""
        return list(self._landed("WHERE slot = ? ORDER BY position", slot))

    def mentioning(
        self, pubkey: Pubkey, newest: int, before: Landed | None, until: Landed | None, limit: int
    ) -> list[Landed]:
        """Transactions of an account up to slot `newest`, newest first; both bounds exclusive."""
        below = (before.slot, before.position) if before else (newest + 1, -1)
        above = (until.slot, until.position) if until else (-1, -1)
        return list(
            self._landed(
                "JOIN mention USING (slot, position) WHERE mention.pubkey = ? AND slot <= ?"
                " AND (slot, position) < (?, ?) AND (slot, position) > (?, ?)"
                " ORDER BY slot DESC, position DESC LIMIT ?",
                *(bytes(pubkey), newest, *below, *above, limit),
            )
        )

    def slot_of_message(self, message_hash: Hash) -> int | None:
        """The slot in which this very message landed, under whatever signatures."""
        row = self._db.execute(
            "SELECT slot FROM landed WHERE message_hash = ?", (bytes(message_hash),)
        ).fetchone()
        return None if row is None else int(row[0])

    def transaction_count(self, slot: int) -> int:
        """How many transactions landed up to and including a slot."""
        (count,) = self._db.execute("SELECT count(*) FROM landed WHERE slot <= ?", (slot,)).fetchone()
        return int(count)

    def _landed(self, where: str, *parameters: Any) -> Iterator[Landed]:
        columns = "signature, slot, position, message_hash, wire, meta"
        for row in self._db.execute(f"SELECT {columns} FROM landed {where}", parameters):  # noqa: S608
            yield Landed(
                Signature.from_bytes(row[0]),
                row[1],
                row[2],
                Hash.from_bytes(row[3]),
                row[4],
                msgspec.json.decode(row[5]),
            )


def _lock(path: Path) -> Any:
    handle = path.open("a")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        handle.close()
        raise LedgerError(f"another process holds the ledger in {path.parent}") from error
    return handle


def _prepare(db: sqlite3.Connection, path: Path) -> bool:
    """Set the durability, check the format, make the tables. True when the ledger is new."""
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    (found,) = db.execute("PRAGMA user_version").fetchone()
    (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if tables == 0:
        db.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version = {FORMAT}; COMMIT;")
    elif found != FORMAT:
        raise LedgerError(
            f"{path} has ledger format {found}, this program reads format {FORMAT}; "
            "move the ledger directory away to start a new chain"
        )
    (slots,) = db.execute("SELECT count(*) FROM (SELECT 1 FROM slot LIMIT 1)").fetchone()
    return bool(slots == 0)
