"""The tables of the audit trail, all in the schema `audit` (docs/audit.md).

None of it is ever updated or deleted, but for `pending`, `tree` and what an erasure takes away.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from workflows.storage.columns import XID8, metadata
from workflows.storage.columns import time_column as _time


def _audit(name: str, *parts: sa.schema.SchemaItem) -> sa.Table:
    return sa.Table(name, metadata, *parts, schema="audit")


def _from_body(name: str, type: sa.types.TypeEngine, function: str = "audit.field") -> sa.Column:
    """For finding entries. The database takes it from the body, and whatever a page shows is read from the body."""
    return sa.Column(name, type, sa.Computed(f"{function}(body, '{name}')", persisted=True), nullable=False)


# `body` is RFC 8785 canonical JSON, kept as bytes; the application may insert nothing but the body.
audit_entry = _audit(
    "entry",
    sa.Column("number", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column(
        "body",
        sa.LargeBinary,
        # The length of an entry is 16 bits wide in C2SP tlog-tiles.
        sa.CheckConstraint("octet_length(body) <= 65535", "body"),
        nullable=False,
    ),
    sa.Column(
        "leaf_sha256",
        sa.LargeBinary,
        sa.Computed("sha256('\\x00'::bytea || body)", persisted=True),
        nullable=False,
    ),
    _from_body("type", sa.Text()),
    _from_body("subject", sa.Text()),
    _from_body("actor", sa.Text()),
    _from_body("at", sa.DateTime(timezone=True), "audit.moment"),
    sa.Index("ix_entry_subject", "subject", "number"),
    sa.Index("ix_entry_type", "type", "number"),
    sa.Index("ix_entry_actor", "actor", "number"),
    sa.Index("ix_entry_at", "at"),
)
# The outbox: entries that are in no tree yet. A trigger on `entry` fills it, the sequencer empties it.
audit_pending = _audit(
    "pending",
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    # The transaction that wrote the entry: a governance change without one cannot commit.
    sa.Column("xid", XID8(), nullable=False, server_default=sa.text("pg_current_xact_id()")),
    sa.Index("ix_pending_xid", "xid"),
)
# The order of the log: entry `entry` is leaf `index`, counted from 0.
audit_leaf = _audit(
    "leaf",
    sa.Column("index", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("entry", sa.BigInteger, sa.ForeignKey("audit.entry.number"), nullable=False, unique=True),
)
# Full tiles of C2SP tlog-tiles: 256 hashes of 32 bytes, and the root of the subtree over them.
audit_tile = _audit(
    "tile",
    sa.Column("level", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("position", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column(
        "hashes", sa.LargeBinary, sa.CheckConstraint("octet_length(hashes) = 8192", "hashes"), nullable=False
    ),
    sa.Column("root", sa.LargeBinary, sa.CheckConstraint("octet_length(root) = 32", "root"), nullable=False),
)
# One row. `frontier`: the roots of the perfect subtrees that the tree consists of, largest first, 32 bytes each.
audit_tree = _audit(
    "tree",
    sa.Column("id", sa.SmallInteger, sa.CheckConstraint("id = 1", "single"), primary_key=True),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("root", sa.LargeBinary, nullable=False),
    sa.Column("frontier", sa.LargeBinary, nullable=False),
)
# Who the log is, for as long as it lives: its C2SP origin and verifier key. One row, written at its first checkpoint.
audit_log = _audit(
    "log",
    sa.Column("id", sa.SmallInteger, sa.CheckConstraint("id = 1", "single"), primary_key=True),
    sa.Column("origin", sa.Text, nullable=False),
    sa.Column("verifier_key", sa.Text, nullable=False),
    _time("founded_at"),
)
# Signed tree heads: `note` is the C2SP tlog-checkpoint, byte for byte as it was signed.
audit_checkpoint = _audit(
    "checkpoint",
    sa.Column("size", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("root", sa.LargeBinary, nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    _time("signed_at"),
)
# A witness's signature line for a checkpoint (C2SP tlog-cosignature).
audit_cosignature = _audit(
    "cosignature",
    sa.Column("size", sa.BigInteger, sa.ForeignKey("audit.checkpoint.size"), primary_key=True),
    sa.Column("witness", sa.Text, primary_key=True),
    sa.Column("line", sa.Text, nullable=False),
    _time("received_at"),
)
# Which pseudonym in the log is which person, and the key of what the log holds of them only as a commitment.
# A trigger on `person` fills it; an erasure empties it, and nothing leads from the log to the person any more.
audit_subject = _audit(
    "subject",
    sa.Column("person_id", pg.UUID(as_uuid=True), sa.ForeignKey("person.id"), primary_key=True),
    sa.Column("pseudonym", pg.UUID(as_uuid=True), unique=True),
    sa.Column("key", sa.LargeBinary),
    _time("erased_at", nullable=True),
)
# Words that a person wrote into an act, outside the leaf that commits to them, sealed with the person's key.
audit_personal = _audit(
    "personal",
    sa.Column("entry_id", pg.UUID(as_uuid=True), primary_key=True),  # the body's `id`
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("person_id", pg.UUID(as_uuid=True), sa.ForeignKey("person.id"), nullable=False),
    sa.Column("sealed", sa.LargeBinary, nullable=False),
    sa.Index("ix_personal_person_id", "person_id"),
)
