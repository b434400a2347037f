"""All tables, on one metadata. Times are `timestamptz`; ids are UUIDv7; enums are text with a CHECK."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from workflows.kinds import (
    AnchorKind,
    AnchorState,
    BallotMode,
    BallotState,
    Category,
    Choice,
    Decision,
    PolicyState,
    Priority,
    RiskLevel,
    RuleEngine,
    StageStatus,
    Strategy,
    WorkflowStatus,
    WorkflowType,
)
from workflows.storage.audit_tables import (  # noqa: F401  all tables are found here
    audit_checkpoint,
    audit_cosignature,
    audit_entry,
    audit_leaf,
    audit_log,
    audit_pending,
    audit_personal,
    audit_subject,
    audit_tile,
    audit_tree,
)
from workflows.storage.columns import enum_column as _enum
from workflows.storage.columns import id_column as _id
from workflows.storage.columns import metadata
from workflows.storage.columns import reference as _ref
from workflows.storage.columns import sha256_column as _sha256
from workflows.storage.columns import time_column as _time
from workflows.storage.compliance_tables import (  # noqa: F401
    chain_compliance,
    classifier,
    classifier_active,
    compliance_asked,
    compliance_label,
    compliance_override,
    compliance_question,
    embedding,
    validation,
    validation_batch,
)
from workflows.storage.enforcement_tables import (  # noqa: F401
    appeal,
    bundle,
    bundle_active,
    decision,
    fact,
    impact,
    obligation,
    restriction,
    rule_check,
    rule_name,
    violation,
    violation_decision,
)

organisation = sa.Table(
    "organisation",
    metadata,
    sa.Column("id", sa.SmallInteger, sa.CheckConstraint("id = 1", "single"), primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("description", sa.Text, nullable=False),
)

# The governance clock: the wall clock plus what the demo has jumped ahead. All processes read it here.
governance_clock = sa.Table(
    "governance_clock",
    metadata,
    sa.Column("id", sa.SmallInteger, sa.CheckConstraint("id = 1", "single"), primary_key=True),
    sa.Column("ahead", sa.Interval, nullable=False, server_default="0"),
)

person = sa.Table(
    "person",
    metadata,
    _id(),
    sa.Column("username", sa.Text, nullable=False, unique=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("roles", pg.ARRAY(sa.Text), nullable=False),
    sa.Column("expertise", pg.ARRAY(sa.Text), nullable=False, server_default="{}"),
    sa.Column("languages", pg.ARRAY(sa.Text), nullable=False, server_default="{en}"),
    sa.Column("password_hash", sa.Text),  # argon2id; none: cannot sign in by password
    sa.Column("active", sa.Boolean, nullable=False, server_default="true"),
    sa.Column("persona", sa.Text),  # what the demo's switcher says of them; none: not a persona
    _time("created_at"),
)

# A sign-in, from a browser, a program or a personal token. Revoking one works at once.
session = sa.Table(
    "session",
    metadata,
    _id(),
    _ref("person_id", "person.id"),
    sa.Column(
        "kind", sa.Text, sa.CheckConstraint("kind IN ('cookie','bearer','personal')", "kind"), nullable=False
    ),
    sa.Column("name", sa.Text, nullable=False, server_default=""),
    sa.Column("scopes", pg.ARRAY(sa.Text), nullable=False),
    sa.Column("refresh_sha256", sa.Text, unique=True),  # only the hash of the refresh token is kept
    sa.Column("user_agent", sa.Text, nullable=False, server_default=""),
    _time("created_at"),
    _time("expires_at"),
    _time("revoked_at", nullable=True),
)
# Refresh tokens that were used up: one that comes back was stolen, and its session is revoked.
refresh_used = sa.Table(
    "refresh_used",
    metadata,
    sa.Column("refresh_sha256", sa.Text, primary_key=True),
    _ref("session_id", "session.id"),
    _time("used_at"),
)

idempotency = sa.Table(
    "idempotency",
    metadata,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("person_id", pg.UUID(as_uuid=True), sa.ForeignKey("person.id"), primary_key=True),
    sa.Column("request_sha256", sa.Text, nullable=False),  # of method, path and body
    sa.Column("status", sa.SmallInteger, nullable=False),
    sa.Column("headers", pg.JSONB, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    _time("created_at"),
)

constitution_document = sa.Table(
    "constitution_document",
    metadata,
    sa.Column("sha256", sa.Text, primary_key=True),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    _time("first_seen_at"),
)

# What was found when a clause was last held against the rows (workflows.constitution.conformance).
conformance = sa.Table(
    "conformance",
    metadata,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("counted", sa.BigInteger, nullable=False),
    sa.Column("broken", pg.ARRAY(sa.Text), nullable=False),  # references of rows that break it; at most 20
    _time("checked_at"),
)

workflow = sa.Table(
    "workflow",
    metadata,
    _id(),
    _enum("workflow_type", WorkflowType),
    _enum("status", WorkflowStatus),
    _enum("priority", Priority),
    sa.Column("current_stage", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),  # the human reference of what it is about: POL-2026-0007
    _ref("created_by", "person.id", nullable=True),
    _sha256("constitution_sha256"),
    sa.Column("error", sa.Text),
    _time("created_at"),
    _time("updated_at"),
    sa.Index("ix_workflow_status_type", "status", "workflow_type"),
    sa.Index("ix_workflow_subject", "subject"),
)
workflow_stage = sa.Table(
    "workflow_stage",
    metadata,
    sa.Column("workflow_id", pg.UUID(as_uuid=True), sa.ForeignKey("workflow.id"), primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("position", sa.SmallInteger, nullable=False),
    _enum("status", StageStatus),
    _time("started_at", nullable=True),
    _time("completed_at", nullable=True),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),  # that failed
    _time("retry_at", nullable=True),  # not tried again before this
    sa.Column("error", sa.Text),
)

policy = sa.Table(
    "policy",
    metadata,
    _id(),
    sa.Column("ref", sa.Text, nullable=False, unique=True),
    sa.Column("title", sa.Text, nullable=False),  # of the current version, for lists
    sa.Column("summary", sa.Text, nullable=False),
    _enum("category", Category),
    _enum("priority", Priority),
    _enum("state", PolicyState),
    sa.Column("emergency", sa.Boolean, nullable=False),
    _enum("requested_strategy", Strategy, nullable=True),
    _ref("author_id", "person.id"),
    _ref("workflow_id", "workflow.id"),
    sa.Column("current_version", sa.Integer, nullable=False),
    _time("comment_ends_at", nullable=True),
    _time("submitted_at", nullable=True),
    _time("decided_at", nullable=True),
    _time("enacted_at", nullable=True),
    _time("suspended_at", nullable=True),
    sa.Column("state_reason", sa.Text),  # why it was returned, rejected, suspended or withdrawn
    sa.Column(
        "revision", sa.Integer, nullable=False, server_default="1"
    ),  # grows with every change: the ETag
    _time("created_at"),
    _time("updated_at"),
    sa.Index("ix_policy_state", "state"),
    sa.Index("ix_policy_updated_at", "updated_at", "id"),
    sa.Index("ix_policy_author_id", "author_id"),
)
# Each year's references count up from one row, locked by the transaction that takes the next.
reference_counter = sa.Table(
    "reference_counter",
    metadata,
    sa.Column("prefix", sa.Text, primary_key=True),  # POL-2026
    sa.Column("last", sa.Integer, nullable=False),
)
# A trigger refuses UPDATE and DELETE once the version was submitted: a voted text cannot change.
policy_version = sa.Table(
    "policy_version",
    metadata,
    sa.Column("policy_id", pg.UUID(as_uuid=True), sa.ForeignKey("policy.id"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("summary", sa.Text, nullable=False),
    _enum("category", Category),
    sa.Column("text", sa.Text, nullable=False),
    _sha256("text_sha256"),
    _sha256("version_sha256"),  # over the canonical JSON of all that is voted on: records.version_record
    _enum("rule_engine", RuleEngine, nullable=True),
    sa.Column("rule_source", sa.Text),
    sa.Column("rule_examples", pg.JSONB),
    _enum("risk_level", RiskLevel),
    _enum("strategy", Strategy),
    sa.Column("risk_evidence", pg.JSONB, nullable=False),
    sa.Column("change_note", sa.Text, nullable=False, server_default=""),
    # Of an amendment of the constitution, together: the whole document it yields, and the one it was written against.
    sa.Column("constitution_text", sa.Text),
    _sha256("constitution_sha256", nullable=True),
    _sha256("constitution_base_sha256", nullable=True),
    _ref("author_id", "person.id"),
    _time("created_at"),
    sa.UniqueConstraint("version_sha256"),
    sa.CheckConstraint(
        "num_nonnulls(constitution_text, constitution_sha256, constitution_base_sha256) IN (0, 3)", "amends"
    ),
)
# The documents adopted by a vote, in order: the last one is in force, and without any the one that was founded on. A
# trigger refuses UPDATE and DELETE.
amendment = sa.Table(
    "amendment",
    metadata,
    sa.Column(
        "number",
        sa.Integer,
        sa.CheckConstraint("number > 0", "number"),
        primary_key=True,
        autoincrement=False,
    ),
    _sha256("sha256"),
    _sha256("previous_sha256"),
    sa.Column("policy_id", pg.UUID(as_uuid=True), nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    _time("adopted_at"),
    sa.UniqueConstraint("policy_id"),
    sa.CheckConstraint("sha256 <> previous_sha256", "changes"),
    sa.ForeignKeyConstraint(["sha256"], ["constitution_document.sha256"]),
    sa.ForeignKeyConstraint(["previous_sha256"], ["constitution_document.sha256"]),
    sa.ForeignKeyConstraint(["policy_id", "version"], ["policy_version.policy_id", "policy_version.number"]),
)

review = sa.Table(
    "review",
    metadata,
    _id(),
    sa.Column("policy_id", pg.UUID(as_uuid=True), nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    _sha256("version_sha256"),
    _ref("reviewer_id", "person.id"),
    sa.Column("capacity", pg.ARRAY(sa.Text), nullable=False),  # reviewer, legal, council at that time
    _enum("decision", Decision),
    sa.Column("reason", sa.Text, nullable=False),
    _time("created_at"),
    sa.ForeignKeyConstraint(["policy_id", "version"], ["policy_version.policy_id", "policy_version.number"]),
    sa.UniqueConstraint("policy_id", "version", "reviewer_id"),
)

comment = sa.Table(
    "comment",
    metadata,
    _id(),
    sa.Column("policy_id", pg.UUID(as_uuid=True), nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    _ref("author_id", "person.id"),
    _ref("reply_to", "comment.id", nullable=True),
    sa.Column("body", sa.Text, nullable=False),  # Markdown
    _time("created_at"),
    sa.ForeignKeyConstraint(["policy_id", "version"], ["policy_version.policy_id", "policy_version.number"]),
    sa.Index("ix_comment_policy_id", "policy_id", "created_at"),
)

ballot = sa.Table(
    "ballot",
    metadata,
    _id(),
    sa.Column("policy_id", pg.UUID(as_uuid=True), nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    _sha256("version_sha256"),
    _enum("state", BallotState),
    _enum("mode", BallotMode),
    _time("opens_at"),
    _time("closes_at"),
    _time("closed_at", nullable=True),
    sa.Column("electorate", sa.Integer, nullable=False),  # how many may vote, as it stood at opening
    sa.Column("quorum_percent", sa.Integer, nullable=False),
    sa.Column("threshold_percent", sa.Integer, nullable=False),
    # Set at close, together or not at all.
    sa.Column("votes_for", sa.Integer),
    sa.Column("votes_against", sa.Integer),
    sa.Column("votes_abstain", sa.Integer),
    sa.Column("passed", sa.Boolean),
    sa.Column("why", pg.JSONB),  # the tree of tally.decide
    _sha256("ballot_root", nullable=True),
    sa.ForeignKeyConstraint(["policy_id", "version"], ["policy_version.policy_id", "policy_version.number"]),
    sa.UniqueConstraint("policy_id", "version"),
    sa.Index("ix_ballot_due", "closes_at", postgresql_where=sa.text("state = 'open'")),
)
elector = sa.Table(
    "elector",
    metadata,
    sa.Column("ballot_id", pg.UUID(as_uuid=True), sa.ForeignKey("ballot.id"), primary_key=True),
    sa.Column("person_id", pg.UUID(as_uuid=True), sa.ForeignKey("person.id"), primary_key=True),
)
# Every cast is a row and stays; the one without `superseded_at` counts.
vote = sa.Table(
    "vote",
    metadata,
    _id(),
    _ref("ballot_id", "ballot.id"),
    _ref("voter_id", "person.id"),
    _enum("choice", Choice),
    sa.Column("reason", sa.Text, nullable=False, server_default=""),
    sa.Column("salt", sa.LargeBinary, nullable=False),  # 32 random bytes
    _sha256("commitment"),  # records.commitment(salt, ballot, choice)
    sa.Column("receipt_code", sa.Text, nullable=False, unique=True),
    sa.Column("entry", sa.BigInteger, sa.ForeignKey("audit.entry.number")),  # its leaf's; none before 0003
    _time("cast_at"),
    _time("superseded_at", nullable=True),
    sa.ForeignKeyConstraint(["ballot_id", "voter_id"], ["elector.ballot_id", "elector.person_id"]),
    sa.Index(
        "uq_vote_counting",
        "ballot_id",
        "voter_id",
        unique=True,
        postgresql_where=sa.text("superseded_at IS NULL"),
    ),
    sa.Index("ix_vote_voter_id", "voter_id"),
    sa.Index("ix_vote_entry", "entry"),
)

anchor = sa.Table(
    "anchor",
    metadata,
    _id(),
    _enum("kind", AnchorKind),
    _enum("state", AnchorState),
    # A policy's version, or a checkpoint of the audit log of that size.
    sa.Column("policy_id", pg.UUID(as_uuid=True), sa.ForeignKey("policy.id")),
    sa.Column("version", sa.Integer),
    sa.Column("checkpoint_size", sa.BigInteger, sa.ForeignKey("audit.checkpoint.size")),
    # Whether the checkpoint also becomes an account of its own, which outlives pruned history.
    sa.Column("durable", sa.Boolean, nullable=False, server_default="false"),
    # Canonical JSON that becomes the rule on chain; of a checkpoint, the action that is checked.
    sa.Column("record", sa.LargeBinary, nullable=False),
    _sha256("record_sha256"),
    sa.Column("chain_policy_id", sa.Numeric(20, 0), nullable=False),  # u64 from the record's hash
    sa.Column("memo", sa.Text, nullable=False),
    _sha256("constitution_sha256"),
    # Known once a transaction was signed; the bytes are stored before they are sent.
    sa.Column("cluster", sa.Text),
    sa.Column("genesis_hash", sa.Text),
    sa.Column("program_id", sa.Text),
    sa.Column("account", sa.Text),
    sa.Column("signature", sa.Text),
    sa.Column("transaction", sa.LargeBinary),
    sa.Column("last_valid_block_height", sa.BigInteger),
    sa.Column("slot", sa.BigInteger),
    sa.Column("block_time", sa.DateTime(timezone=True)),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("error", sa.Text),
    _time("lost_at", nullable=True),  # when the cluster was found to have it no longer; the bytes here stay
    _time("queued_at"),
    _time("submitted_at", nullable=True),
    _time("confirmed_at", nullable=True),
    _time("finalized_at", nullable=True),
    sa.CheckConstraint(
        "(kind = 'checkpoint') = (policy_id IS NULL) AND (kind = 'checkpoint') = (version IS NULL) "
        "AND (kind = 'checkpoint') = (checkpoint_size IS NOT NULL)",
        "about",
    ),
    # A policy is anchored once; a checkpoint again where a cluster was reset.
    sa.Index(
        "uq_anchor_record", "kind", "record_sha256", unique=True, postgresql_where=sa.text("lost_at IS NULL")
    ),
    sa.Index(
        "uq_anchor_open_checkpoint",
        "kind",
        unique=True,
        postgresql_where=sa.text("kind = 'checkpoint' AND state IN ('queued','submitted','confirmed')"),
    ),
    sa.Index("ix_anchor_checkpoint_size", "checkpoint_size"),
    sa.Index(
        "ix_anchor_open", "queued_at", postgresql_where=sa.text("state IN ('queued','submitted','confirmed')")
    ),
    sa.Index("ix_anchor_policy_id", "policy_id"),
)
# What the anchoring worker last saw of the chain, so that pages ask no node: one row.
chain_status = sa.Table(
    "chain_status",
    metadata,
    sa.Column("id", sa.SmallInteger, sa.CheckConstraint("id = 1", "single"), primary_key=True),
    sa.Column("reachable", sa.Boolean, nullable=False),
    sa.Column("may_anchor", sa.Boolean, nullable=False),
    sa.Column("reason_code", sa.Text),
    sa.Column("reason", sa.Text),
    sa.Column("seen", pg.JSONB, nullable=False),  # program, constitution account, authority, balance, slot…
    _time("checked_at"),
)
alert = sa.Table(
    "alert",
    metadata,
    _id(),
    sa.Column("code", sa.Text, nullable=False),
    sa.Column(
        "severity",
        sa.Text,
        sa.CheckConstraint("severity IN ('warning','critical')", "severity"),
        nullable=False,
    ),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("href", sa.Text, nullable=False),
    _time("raised_at"),
    _time("resolved_at", nullable=True),
    sa.Index("uq_alert_open", "code", unique=True, postgresql_where=sa.text("resolved_at IS NULL")),
)

# A transparency report, as it was made: `body` is canonical JSON, bound to the checkpoint of that size.
report = sa.Table(
    "report",
    metadata,
    _id(),
    sa.Column("ref", sa.Text, nullable=False, unique=True),  # REP-2026-0001
    _ref("workflow_id", "workflow.id"),
    _time("period_from"),
    _time("period_to"),
    sa.Column("sections", pg.ARRAY(sa.Text), nullable=False),
    sa.Column("scheduled", sa.Boolean, nullable=False),
    # Set when it is made, together.
    sa.Column("checkpoint_size", sa.BigInteger, sa.ForeignKey("audit.checkpoint.size")),
    sa.Column("body", sa.LargeBinary),
    _sha256("body_sha256", nullable=True),
    _time("created_at"),
    _time("made_at", nullable=True),
    sa.Index("ix_report_period", "period_from", "period_to"),
)

# What a policy's first version was begun with: a draft of the synthesis that its author took.
synthesis = sa.Table(
    "synthesis",
    metadata,
    _id(),
    _ref("policy_id", "policy.id"),
    _ref("taken_by", "person.id"),
    sa.Column("goal", sa.Text),  # none: erased with its author
    sa.Column("principles", pg.ARRAY(sa.Text), nullable=False),
    sa.Column("source", pg.JSONB, nullable=False),  # workflows.policy_creation.synthesis.shapes.Source
    sa.Column(
        "draft", pg.JSONB, nullable=False
    ),  # title, summary, text, category, rule, as they were drafted
    _sha256("draft_sha256"),  # over its canonical JSON
    sa.Column(
        "validation", pg.JSONB, nullable=False
    ),  # workflows.policy_creation.synthesis.shapes.Validation
    _time("taken_at"),
    sa.UniqueConstraint("policy_id"),
    sa.Index("ix_synthesis_taken_by", "taken_by"),
)
