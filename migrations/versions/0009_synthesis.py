"""What policies were begun with: drafts of the synthesis that people took, under the trigger that refuses a change without its
audit entry.
"""

from __future__ import annotations

from migrations.running import run

revision = "0009"
down_revision = "0008"

TABLES = """
CREATE TABLE synthesis (
    id UUID NOT NULL,
    policy_id UUID NOT NULL,
    taken_by UUID NOT NULL,
    goal TEXT,
    principles TEXT[] NOT NULL,
    source JSONB NOT NULL,
    draft JSONB NOT NULL,
    draft_sha256 TEXT NOT NULL CONSTRAINT ck_synthesis_draft_sha256 CHECK (draft_sha256 ~ '^[0-9a-f]{64}$'),
    validation JSONB NOT NULL,
    taken_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_synthesis PRIMARY KEY (id),
    CONSTRAINT uq_synthesis_policy_id UNIQUE (policy_id),
    CONSTRAINT fk_synthesis_policy_id FOREIGN KEY(policy_id) REFERENCES policy (id),
    CONSTRAINT fk_synthesis_taken_by FOREIGN KEY(taken_by) REFERENCES person (id)
);
CREATE INDEX ix_synthesis_taken_by ON synthesis (taken_by);
GRANT SELECT, INSERT, UPDATE, DELETE ON synthesis TO acgs_app;
CREATE CONSTRAINT TRIGGER audited AFTER INSERT OR UPDATE OR DELETE ON synthesis
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION audit.insist_on_entry();
CREATE TRIGGER audited_truncation BEFORE TRUNCATE ON synthesis FOR EACH STATEMENT
    EXECUTE FUNCTION refuse('rows of it go one by one, each with its entry in the audit trail');
ALTER TABLE synthesis ENABLE ALWAYS TRIGGER audited_truncation;
"""


def upgrade() -> None:
    run(TABLES)
