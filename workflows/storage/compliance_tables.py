"""The tables of constitutional compliance: validations, what people decide of them, overrides, labels and classifier heads."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from workflows.kinds import Compliance, LabelKind, Strategy, ValidationCause
from workflows.storage.columns import enum_column, id_column, metadata, reference, sha256_column, time_column

# Up to 500 texts that were handed in together; how far it is, its validations say.
validation_batch = sa.Table(
    "validation_batch",
    metadata,
    id_column(),
    reference("asked_by", "person.id", nullable=True),
    sa.Column("total", sa.Integer, nullable=False),
    # [{position, …problem}]: items that could not be taken. The others are validations.
    sa.Column("problems", pg.JSONB, nullable=False),
    time_column("created_at"),
)
# A text held against the constitution: a policy's version, or any other text.
validation = sa.Table(
    "validation",
    metadata,
    id_column(),
    sa.Column("ref", sa.Text, nullable=False, unique=True),  # VAL-2026-0001
    reference("workflow_id", "workflow.id"),
    enum_column("cause", ValidationCause),
    enum_column("level", Strategy),  # which analysers it asks for
    reference("batch_id", "validation_batch.id", nullable=True),
    sa.Column("position", sa.Integer),  # in its batch, from 0
    reference("policy_id", "policy.id", nullable=True),
    sa.Column("version", sa.Integer),
    sa.Column("text", sa.Text),  # none: a policy's, which stands in its version, or erased
    sha256_column("text_sha256"),
    sha256_column("constitution_sha256"),
    reference("asked_by", "person.id", nullable=True),
    sa.Column("taken", sa.Integer, nullable=False, server_default="0"),  # times somebody began to judge it
    # Set when it is made, together.
    sha256_column("basis_sha256", nullable=True),  # of what judged: constitution, analysers, models
    enum_column("verdict", Compliance, nullable=True),
    sa.Column("score", sa.Float),  # 0 to 1
    sa.Column("confidence", sa.Float),
    sa.Column("result", pg.JSONB),  # workflows.constitutional_compliance.findings.Result
    time_column("created_at"),
    time_column("made_at", nullable=True),
    time_column("overridden_at", nullable=True),  # by the council (§ 4.11)
    sa.ForeignKeyConstraint(["policy_id", "version"], ["policy_version.policy_id", "policy_version.number"]),
    sa.CheckConstraint("(made_at IS NULL) = (verdict IS NULL)", "made"),
    sa.Index("ix_validation_workflow_id", "workflow_id"),
    sa.Index(
        "ix_validation_asked_by",
        "asked_by",
        "created_at",
        postgresql_where=sa.text("cause = 'requested'"),
    ),
    sa.Index("ix_validation_policy_id", "policy_id", "version", "created_at"),
    sa.Index("ix_validation_batch_id", "batch_id", "position"),
    sa.Index("ix_validation_made_at", "made_at", "id"),
)
# What the analysis was not sure of, put to people who are named (Constitution § 4.10).
compliance_question = sa.Table(
    "compliance_question",
    metadata,
    id_column(),
    reference("validation_id", "validation.id"),
    time_column("asked_at"),
    time_column("due_at"),
    time_column("overdue_noted_at", nullable=True),
    time_column("decided_at", nullable=True),
    reference("decided_by", "person.id", nullable=True),
    enum_column("answer", Compliance, nullable=True),
    sa.UniqueConstraint("validation_id"),
    sa.CheckConstraint("(decided_at IS NULL) = (answer IS NULL)", "decided"),
    sa.Index("ix_compliance_question_open", "due_at", postgresql_where=sa.text("decided_at IS NULL")),
)
compliance_asked = sa.Table(
    "compliance_asked",
    metadata,
    sa.Column(
        "question_id", pg.UUID(as_uuid=True), sa.ForeignKey("compliance_question.id"), primary_key=True
    ),
    sa.Column("person_id", pg.UUID(as_uuid=True), sa.ForeignKey("person.id"), primary_key=True),
    sa.Index("ix_compliance_asked_person_id", "person_id"),
)
# Members of the council for or against bringing a version to a ballot that was found not to comply (§ 4.11).
compliance_override = sa.Table(
    "compliance_override",
    metadata,
    sa.Column("validation_id", pg.UUID(as_uuid=True), sa.ForeignKey("validation.id"), primary_key=True),
    sa.Column("person_id", pg.UUID(as_uuid=True), sa.ForeignKey("person.id"), primary_key=True),
    sa.Column("support", sa.Boolean, nullable=False),
    time_column("made_at"),
)
# What people say a clause does to a principle; classifiers learn from it.
compliance_label = sa.Table(
    "compliance_label",
    metadata,
    id_column(),
    sa.Column("principle", sa.Text, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sha256_column("text_sha256"),
    enum_column("label", LabelKind),
    sa.Column("policy_ref", sa.Text, nullable=False),  # "" for other texts; splits are by policy
    reference("validation_id", "validation.id", nullable=True),
    reference("labelled_by", "person.id", nullable=True),
    time_column("made_at"),
    sa.Index("ix_compliance_label_principle", "principle"),
    sa.UniqueConstraint("principle", "text_sha256", "labelled_by"),
)
# Classifier heads, fitted for one embedder on one corpus with the labels of people.
classifier = sa.Table(
    "classifier",
    metadata,
    sha256_column("sha256"),
    sa.Column("embedder", sa.Text, nullable=False),
    sha256_column("corpus_sha256"),
    sa.Column("labels", sa.Integer, nullable=False),  # of people, that were learnt from
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("measured", pg.JSONB, nullable=False),  # on the held part
    time_column("fitted_at"),
    sa.PrimaryKeyConstraint("sha256"),
)
classifier_active = sa.Table(
    "classifier_active",
    metadata,
    sa.Column("embedder", sa.Text, primary_key=True),
    sa.Column("sha256", sa.Text, sa.ForeignKey("classifier.sha256"), nullable=False),
    time_column("activated_at"),
)
# Embeddings by the hash of the text and the model's: what may be lost and made anew.
embedding = sa.Table(
    "embedding",
    metadata,
    sa.Column("model_sha256", sa.Text, primary_key=True),
    sa.Column("text_sha256", sa.Text, primary_key=True),
    sa.Column("vector", sa.LargeBinary, nullable=False),  # float32, little-endian, of length one
    time_column("made_at"),
)
# What the program on chain last answered when it was asked about the record of a policy in force.
chain_compliance = sa.Table(
    "chain_compliance",
    metadata,
    sa.Column("anchor_id", pg.UUID(as_uuid=True), sa.ForeignKey("anchor.id"), primary_key=True),
    sa.Column("passed", sa.Boolean, nullable=False),
    sa.Column("code", sa.Text, nullable=False),  # ok, or the program's error by name
    sa.Column("says", sa.Text, nullable=False),
    sa.Column("slot", sa.BigInteger, nullable=False),
    time_column("checked_at"),
)
