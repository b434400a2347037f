"""The tables of policy enforcement: bundles of rules, decisions, violations, and what was done about them."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from workflows.kinds import (
    DecisionMode,
    Ladder,
    Outcome,
    Severity,
    ViolationKind,
    ViolationState,
)
from workflows.storage.columns import enum_column, id_column, metadata, reference, sha256_column, time_column

# Data that rules read. Setting one anew supersedes the row before; bundles name a document by its hash.
fact = sa.Table(
    "fact",
    metadata,
    id_column(),
    sa.Column("name", sa.Text, nullable=False),
    sha256_column("sha256"),
    sa.Column("body", sa.LargeBinary, nullable=False),  # canonical JSON
    sa.Column("entries", sa.Integer, nullable=False),  # rows or keys, for people
    reference("set_by", "person.id", nullable=True),
    time_column("set_at"),
    time_column("superseded_at", nullable=True),
    sa.Index("uq_fact_current", "name", unique=True, postgresql_where=sa.text("superseded_at IS NULL")),
    sa.Index("ix_fact_name_sha256", "name", "sha256"),
)

# What was in force at a time. The rules' bytes stand in policy_version, the data in fact; `manifest` names both by hash.
bundle = sa.Table(
    "bundle",
    metadata,
    sa.Column("revision", sa.Text, primary_key=True),  # SHA-256 of the manifest
    sa.Column("manifest", sa.LargeBinary, nullable=False),  # canonical JSON
    sa.Column("cause", sa.Text, nullable=False),  # enacted POL-…, suspended POL-…, facts <name>, first use
    sa.Column(
        "log_size", sa.BigInteger, nullable=False
    ),  # of the checkpoint it is bound to; 0: none was signed
    time_column("made_at"),
)
# The one bundle that decides, for all instances: one row.
bundle_active = sa.Table(
    "bundle_active",
    metadata,
    sa.Column("id", sa.SmallInteger, sa.CheckConstraint("id = 1", "single"), primary_key=True),
    sa.Column("revision", sa.Text, sa.ForeignKey("bundle.revision"), nullable=False),
    time_column("activated_at"),
    sa.Column("rolled_back", sa.Boolean, nullable=False, server_default="false"),
)
# Names that rules on a ballot or in force hold, so that two can never stand in one bundle under the same.
rule_name = sa.Table(
    "rule_name",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    reference("policy_id", "policy.id"),
    sa.UniqueConstraint("policy_id"),
)
# What the gate found of a version's rule, under the bundle that was active then. Can be found anew at any time.
rule_check = sa.Table(
    "rule_check",
    metadata,
    sha256_column("version_sha256"),
    sa.Column("revision", sa.Text, sa.ForeignKey("bundle.revision"), nullable=False),
    sa.Column("passed", sa.Boolean, nullable=False),
    sa.Column("report", pg.JSONB, nullable=False),  # workflows.policy_enforcement.rules.Report
    time_column("checked_at"),
    sa.PrimaryKeyConstraint("version_sha256", "revision"),
)
# What a version's rule would have changed of the last actions, under the bundle that was active then.
impact = sa.Table(
    "impact",
    metadata,
    sha256_column("version_sha256"),
    sa.Column("revision", sa.Text, sa.ForeignKey("bundle.revision"), nullable=False),
    sa.Column("actions", sa.Integer, nullable=False),  # that were looked at
    sa.Column("changed", sa.Integer, nullable=False),
    sa.Column("report", pg.JSONB, nullable=False),  # workflows.policy_enforcement.replay.Replayed
    time_column("made_at"),
    sa.PrimaryKeyConstraint("version_sha256", "revision"),
)

decision = sa.Table(
    "decision",
    metadata,
    id_column(),
    enum_column("mode", DecisionMode),
    enum_column("outcome", Outcome),
    enum_column("severity", Severity),
    sa.Column("action_type", sa.Text, nullable=False),
    sa.Column(
        "subject", sa.Text, nullable=False
    ),  # input.subject.id; emptied with the input when it is erased
    sa.Column("input", sa.LargeBinary),  # canonical JSON; none: erased
    sa.Column("salt", sa.LargeBinary),
    sha256_column("input_commitment"),  # HMAC-SHA256(salt, input), as the log has it
    sa.Column("revision", sa.Text, sa.ForeignKey("bundle.revision"), nullable=False),
    sa.Column("why", pg.JSONB, nullable=False),  # workflows.policy_enforcement.combine.Decided
    sa.Column(
        "latency_us", sa.Integer, nullable=False
    ),  # of the engine and the combining, without the database
    reference("asked_by", "person.id", nullable=True),
    time_column("made_at"),
    time_column("lapses_at", nullable=True),  # of a conditional grant: its last obligation's due time
    time_column("lapsed_at", nullable=True),
    sa.Index("ix_decision_made_at", "made_at", "id"),
    sa.Index("ix_decision_action_type", "action_type", "made_at"),
    sa.Index("ix_decision_subject", "subject", "made_at"),
)
obligation = sa.Table(
    "obligation",
    metadata,
    id_column(),
    reference("decision_id", "decision.id"),
    sa.Column("key", sa.Text, nullable=False),  # as the rule names it
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("policy_ref", sa.Text, nullable=False),
    time_column("due_at"),
    time_column("met_at", nullable=True),
    time_column("missed_at", nullable=True),  # when it was found to be late
    sa.UniqueConstraint("decision_id", "policy_ref", "key"),
    sa.Index(
        "ix_obligation_due",
        "due_at",
        postgresql_where=sa.text("met_at IS NULL AND missed_at IS NULL"),
    ),
)

violation = sa.Table(
    "violation",
    metadata,
    id_column(),
    sa.Column("ref", sa.Text, nullable=False, unique=True),  # VIO-2026-0001
    enum_column("kind", ViolationKind),
    enum_column("state", ViolationState),
    enum_column("severity", Severity),
    sa.Column("policy_ref", sa.Text),  # none: default deny, or a pattern over several
    sa.Column("code", sa.Text, nullable=False),  # the rule's own, or the kind's
    sa.Column("summary", sa.Text, nullable=False),  # one sentence without personal data
    sa.Column("subject", sa.Text, nullable=False),  # who; "" when it is about no one
    sa.Column("action_type", sa.Text, nullable=False),
    sa.Column("count", sa.Integer, nullable=False),  # of the decisions behind it
    time_column("first_at"),
    time_column("last_at"),
    reference("workflow_id", "workflow.id"),
    sa.Column("impact", pg.JSONB),  # who, what, since when; none: not assessed yet
    time_column("closed_at", nullable=True),
    # What is the same goes on the same record while it is open.
    sa.Index(
        "uq_violation_open",
        "kind",
        "subject",
        "action_type",
        sa.text("coalesce(policy_ref, '')"),
        "code",
        unique=True,
        postgresql_where=sa.text("state = 'open'"),
    ),
    sa.Index("ix_violation_last_at", "last_at", "id"),
)
violation_decision = sa.Table(
    "violation_decision",
    metadata,
    sa.Column("violation_id", pg.UUID(as_uuid=True), sa.ForeignKey("violation.id"), primary_key=True),
    sa.Column("decision_id", pg.UUID(as_uuid=True), sa.ForeignKey("decision.id"), primary_key=True),
    sa.Index("ix_violation_decision_decision_id", "decision_id"),
)
# A rung of the ladder that was taken. Those above log_warning deny on the same path as the rules do.
restriction = sa.Table(
    "restriction",
    metadata,
    id_column(),
    reference("violation_id", "violation.id", nullable=True),
    enum_column("level", Ladder),
    sa.Column("subject", sa.Text),  # none: everyone
    sa.Column("action_type", sa.Text),  # none: every action
    reference("imposed_by", "person.id", nullable=True),  # none: automatic
    time_column("imposed_at"),
    time_column("expires_at"),
    time_column("lifted_at", nullable=True),
    reference("lifted_by", "person.id", nullable=True),
    time_column("expiry_noted_at", nullable=True),  # when its end by time was entered in the log
    sa.CheckConstraint("expires_at > imposed_at", "expires"),
    sa.Index("ix_restriction_in_force", "expires_at", postgresql_where=sa.text("lifted_at IS NULL")),
    sa.Index("ix_restriction_violation_id", "violation_id"),
)
appeal = sa.Table(
    "appeal",
    metadata,
    id_column(),
    reference("restriction_id", "restriction.id"),
    reference("made_by", "person.id"),
    time_column("made_at"),
    time_column("due_at"),
    time_column("decided_at", nullable=True),
    reference("decided_by", "person.id", nullable=True),
    sa.Column("granted", sa.Boolean),
    sa.Index("uq_appeal_open", "restriction_id", unique=True, postgresql_where=sa.text("decided_at IS NULL")),
)
