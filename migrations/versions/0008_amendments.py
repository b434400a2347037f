"""Amendments of the constitution: versions that carry the amended document, the documents adopted one after the other,
and one question that tells a transaction the time and the document in force, which then stays in force until it ends.
"""

from __future__ import annotations

from migrations.running import run

revision = "0008"
down_revision = "0007"

TABLES = """
ALTER TABLE policy_version
    ADD COLUMN constitution_text TEXT,
    ADD COLUMN constitution_sha256 TEXT CONSTRAINT ck_policy_version_constitution_sha256 CHECK (constitution_sha256 ~ '^[0-9a-f]{64}$'),
    ADD COLUMN constitution_base_sha256 TEXT
        CONSTRAINT ck_policy_version_constitution_base_sha256 CHECK (constitution_base_sha256 ~ '^[0-9a-f]{64}$'),
    ADD CONSTRAINT ck_policy_version_amends CHECK (num_nonnulls(constitution_text, constitution_sha256, constitution_base_sha256) IN (0, 3));
CREATE TABLE amendment (
    number INTEGER NOT NULL CONSTRAINT ck_amendment_number CHECK (number > 0),
    sha256 TEXT NOT NULL CONSTRAINT ck_amendment_sha256 CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    previous_sha256 TEXT NOT NULL CONSTRAINT ck_amendment_previous_sha256 CHECK (previous_sha256 ~ '^[0-9a-f]{64}$'),
    policy_id UUID NOT NULL,
    version INTEGER NOT NULL,
    adopted_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_amendment PRIMARY KEY (number),
    CONSTRAINT uq_amendment_policy_id UNIQUE (policy_id),
    CONSTRAINT ck_amendment_changes CHECK (sha256 <> previous_sha256),
    CONSTRAINT fk_amendment_sha256 FOREIGN KEY(sha256) REFERENCES constitution_document (sha256),
    CONSTRAINT fk_amendment_previous_sha256 FOREIGN KEY(previous_sha256) REFERENCES constitution_document (sha256),
    CONSTRAINT fk_amendment_policy_id_version FOREIGN KEY(policy_id, version) REFERENCES policy_version (policy_id, number)
);
ALTER TABLE anchor
    DROP CONSTRAINT ck_anchor_kind,
    ADD CONSTRAINT ck_anchor_kind CHECK (kind IN ('policy', 'deactivation', 'checkpoint', 'constitution'));
"""

# 0x414347534C4157 is workflows.constitution.amendments.GROUND.
GUARDS = """
SET LOCAL audit.migrating = 'on';
CREATE CONSTRAINT TRIGGER audited AFTER INSERT OR UPDATE OR DELETE ON amendment
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION audit.insist_on_entry();
CREATE TRIGGER audited_truncation BEFORE TRUNCATE ON amendment FOR EACH STATEMENT
    EXECUTE FUNCTION refuse('rows of it go one by one, each with its entry in the audit trail');
ALTER TABLE amendment ENABLE ALWAYS TRIGGER audited_truncation;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON amendment
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('what was adopted stays: it is amended by another policy (§ 10.1)');
GRANT SELECT, INSERT ON amendment TO acgs_app;

-- Adopting takes the lock alone. Volatile, so that the look after the wait sees what was adopted meanwhile.
CREATE FUNCTION governance_ground(OUT at TIMESTAMP WITH TIME ZONE, OUT constitution_sha256 TEXT) LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(x'414347534C4157'::BIGINT);
    at := clock_timestamp() + coalesce((SELECT ahead FROM governance_clock WHERE id = 1), INTERVAL '0');
    constitution_sha256 := (SELECT sha256 FROM amendment ORDER BY number DESC LIMIT 1);
END $$;
"""


def upgrade() -> None:
    run(TABLES)
    run(GUARDS)
