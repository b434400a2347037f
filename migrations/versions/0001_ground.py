"""The ground: every table, and the triggers that keep what must not change from changing.

Plain SQL, as it is run; `tests/workflows/test_schema.py` holds it against `workflows.storage.tables`.
"""

from __future__ import annotations

from pgqueuer.adapters.persistence.qb import QueryBuilderEnvironment

from migrations.running import run

revision = "0001"
down_revision = None

TABLES = r"""
CREATE SCHEMA audit;

CREATE TABLE alert (
    id UUID NOT NULL,
    code TEXT NOT NULL,
    severity TEXT NOT NULL CONSTRAINT ck_alert_severity CHECK (severity IN ('warning','critical')),
    message TEXT NOT NULL,
    href TEXT NOT NULL,
    raised_at timestamptz NOT NULL,
    resolved_at timestamptz,
    CONSTRAINT pk_alert PRIMARY KEY (id)
);
CREATE UNIQUE INDEX uq_alert_open ON alert (code) WHERE resolved_at IS NULL;

CREATE TABLE audit.entry (
    number BIGINT GENERATED ALWAYS AS IDENTITY,
    body BYTEA NOT NULL,
    leaf_sha256 BYTEA GENERATED ALWAYS AS (sha256('\x00'::bytea || body)) STORED NOT NULL,
    subject TEXT NOT NULL,
    type TEXT NOT NULL,
    CONSTRAINT pk_entry PRIMARY KEY (number)
);
CREATE INDEX ix_entry_subject ON audit.entry (subject, number);

CREATE TABLE chain_status (
    id SMALLINT NOT NULL CONSTRAINT ck_chain_status_single CHECK (id = 1),
    reachable BOOLEAN NOT NULL,
    may_anchor BOOLEAN NOT NULL,
    reason_code TEXT,
    reason TEXT,
    seen JSONB NOT NULL,
    checked_at timestamptz NOT NULL,
    CONSTRAINT pk_chain_status PRIMARY KEY (id)
);

CREATE TABLE constitution_document (
    sha256 TEXT NOT NULL,
    body BYTEA NOT NULL,
    source TEXT NOT NULL,
    first_seen_at timestamptz NOT NULL,
    CONSTRAINT pk_constitution_document PRIMARY KEY (sha256)
);

CREATE TABLE governance_clock (
    id SMALLINT NOT NULL CONSTRAINT ck_governance_clock_single CHECK (id = 1),
    ahead INTERVAL DEFAULT '0' NOT NULL,
    CONSTRAINT pk_governance_clock PRIMARY KEY (id)
);

CREATE TABLE organisation (
    id SMALLINT NOT NULL CONSTRAINT ck_organisation_single CHECK (id = 1),
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    CONSTRAINT pk_organisation PRIMARY KEY (id)
);

CREATE TABLE person (
    id UUID NOT NULL,
    username TEXT NOT NULL,
    name TEXT NOT NULL,
    roles TEXT[] NOT NULL,
    expertise TEXT[] DEFAULT '{}' NOT NULL,
    languages TEXT[] DEFAULT '{en}' NOT NULL,
    password_hash TEXT,
    active BOOLEAN DEFAULT 'true' NOT NULL,
    persona TEXT,
    created_at timestamptz NOT NULL,
    CONSTRAINT pk_person PRIMARY KEY (id),
    CONSTRAINT uq_person_username UNIQUE (username)
);

CREATE TABLE reference_counter (
    prefix TEXT NOT NULL,
    last INTEGER NOT NULL,
    CONSTRAINT pk_reference_counter PRIMARY KEY (prefix)
);

CREATE TABLE idempotency (
    key TEXT NOT NULL,
    person_id UUID NOT NULL,
    request_sha256 TEXT NOT NULL,
    status SMALLINT NOT NULL,
    headers JSONB NOT NULL,
    body BYTEA NOT NULL,
    created_at timestamptz NOT NULL,
    CONSTRAINT pk_idempotency PRIMARY KEY (key, person_id),
    CONSTRAINT fk_idempotency_person_id FOREIGN KEY(person_id) REFERENCES person (id)
);

CREATE TABLE session (
    id UUID NOT NULL,
    person_id UUID NOT NULL,
    kind TEXT NOT NULL CONSTRAINT ck_session_kind CHECK (kind IN ('cookie','bearer','personal')),
    name TEXT DEFAULT '' NOT NULL,
    scopes TEXT[] NOT NULL,
    refresh_sha256 TEXT,
    user_agent TEXT DEFAULT '' NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz,
    CONSTRAINT pk_session PRIMARY KEY (id),
    CONSTRAINT fk_session_person_id FOREIGN KEY(person_id) REFERENCES person (id),
    CONSTRAINT uq_session_refresh_sha256 UNIQUE (refresh_sha256)
);

CREATE TABLE workflow (
    id UUID NOT NULL,
    workflow_type TEXT NOT NULL CONSTRAINT ck_workflow_workflow_type CHECK (workflow_type IN ('policy_creation', 'constitutional_compliance', 'policy_enforcement', 'wina_oversight', 'audit_transparency')),
    status TEXT NOT NULL CONSTRAINT ck_workflow_status CHECK (status IN ('pending', 'initiated', 'in_progress', 'waiting_approval', 'approved', 'executing', 'completed', 'failed', 'cancelled', 'timeout')),
    priority TEXT NOT NULL CONSTRAINT ck_workflow_priority CHECK (priority IN ('low', 'normal', 'high', 'critical')),
    current_stage TEXT NOT NULL,
    subject TEXT NOT NULL,
    created_by UUID,
    constitution_sha256 TEXT NOT NULL CONSTRAINT ck_workflow_constitution_sha256 CHECK (constitution_sha256 ~ '^[0-9a-f]{64}$'),
    error TEXT,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT pk_workflow PRIMARY KEY (id),
    CONSTRAINT fk_workflow_created_by FOREIGN KEY(created_by) REFERENCES person (id)
);
CREATE INDEX ix_workflow_status_type ON workflow (status, workflow_type);
CREATE INDEX ix_workflow_subject ON workflow (subject);

CREATE TABLE policy (
    id UUID NOT NULL,
    ref TEXT NOT NULL,
    title TEXT NOT NULL,
    summary TEXT NOT NULL,
    category TEXT NOT NULL CONSTRAINT ck_policy_category CHECK (category IN ('constitutional', 'safety', 'governance', 'financial')),
    priority TEXT NOT NULL CONSTRAINT ck_policy_priority CHECK (priority IN ('low', 'normal', 'high', 'critical')),
    state TEXT NOT NULL CONSTRAINT ck_policy_state CHECK (state IN ('draft', 'in_review', 'returned', 'public_comment', 'voting', 'rejected', 'enacted', 'suspended', 'withdrawn')),
    emergency BOOLEAN NOT NULL,
    requested_strategy TEXT CONSTRAINT ck_policy_requested_strategy CHECK (requested_strategy IN ('standard', 'enhanced_validation', 'multi_model_consensus', 'human_review')),
    author_id UUID NOT NULL,
    workflow_id UUID NOT NULL,
    current_version INTEGER NOT NULL,
    comment_ends_at timestamptz,
    submitted_at timestamptz,
    decided_at timestamptz,
    enacted_at timestamptz,
    suspended_at timestamptz,
    state_reason TEXT,
    revision INTEGER DEFAULT '1' NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT pk_policy PRIMARY KEY (id),
    CONSTRAINT uq_policy_ref UNIQUE (ref),
    CONSTRAINT fk_policy_author_id FOREIGN KEY(author_id) REFERENCES person (id),
    CONSTRAINT fk_policy_workflow_id FOREIGN KEY(workflow_id) REFERENCES workflow (id)
);
CREATE INDEX ix_policy_author_id ON policy (author_id);
CREATE INDEX ix_policy_state ON policy (state);
CREATE INDEX ix_policy_updated_at ON policy (updated_at, id);

CREATE TABLE refresh_used (
    refresh_sha256 TEXT NOT NULL,
    session_id UUID NOT NULL,
    used_at timestamptz NOT NULL,
    CONSTRAINT pk_refresh_used PRIMARY KEY (refresh_sha256),
    CONSTRAINT fk_refresh_used_session_id FOREIGN KEY(session_id) REFERENCES session (id)
);

CREATE TABLE workflow_stage (
    workflow_id UUID NOT NULL,
    key TEXT NOT NULL,
    position SMALLINT NOT NULL,
    status TEXT NOT NULL CONSTRAINT ck_workflow_stage_status CHECK (status IN ('pending', 'in_progress', 'completed', 'failed', 'cancelled')),
    started_at timestamptz,
    completed_at timestamptz,
    attempts INTEGER DEFAULT '0' NOT NULL,
    retry_at timestamptz,
    error TEXT,
    CONSTRAINT pk_workflow_stage PRIMARY KEY (workflow_id, key),
    CONSTRAINT fk_workflow_stage_workflow_id FOREIGN KEY(workflow_id) REFERENCES workflow (id)
);

CREATE TABLE anchor (
    id UUID NOT NULL,
    kind TEXT NOT NULL CONSTRAINT ck_anchor_kind CHECK (kind IN ('policy', 'deactivation')),
    state TEXT NOT NULL CONSTRAINT ck_anchor_state CHECK (state IN ('queued', 'submitted', 'confirmed', 'finalized', 'failed')),
    policy_id UUID NOT NULL,
    version INTEGER NOT NULL,
    record BYTEA NOT NULL,
    record_sha256 TEXT NOT NULL CONSTRAINT ck_anchor_record_sha256 CHECK (record_sha256 ~ '^[0-9a-f]{64}$'),
    chain_policy_id NUMERIC(20, 0) NOT NULL,
    memo TEXT NOT NULL,
    constitution_sha256 TEXT NOT NULL CONSTRAINT ck_anchor_constitution_sha256 CHECK (constitution_sha256 ~ '^[0-9a-f]{64}$'),
    cluster TEXT,
    genesis_hash TEXT,
    program_id TEXT,
    account TEXT,
    signature TEXT,
    transaction BYTEA,
    last_valid_block_height BIGINT,
    slot BIGINT,
    block_time timestamptz,
    attempts INTEGER DEFAULT '0' NOT NULL,
    error TEXT,
    queued_at timestamptz NOT NULL,
    submitted_at timestamptz,
    confirmed_at timestamptz,
    finalized_at timestamptz,
    CONSTRAINT pk_anchor PRIMARY KEY (id),
    CONSTRAINT uq_anchor_kind_record_sha256 UNIQUE (kind, record_sha256),
    CONSTRAINT fk_anchor_policy_id FOREIGN KEY(policy_id) REFERENCES policy (id)
);
CREATE INDEX ix_anchor_open ON anchor (queued_at) WHERE state IN ('queued','submitted','confirmed');
CREATE INDEX ix_anchor_policy_id ON anchor (policy_id);

CREATE TABLE policy_version (
    policy_id UUID NOT NULL,
    number INTEGER NOT NULL,
    title TEXT NOT NULL,
    summary TEXT NOT NULL,
    category TEXT NOT NULL CONSTRAINT ck_policy_version_category
        CHECK (category IN ('constitutional', 'safety', 'governance', 'financial')),
    text TEXT NOT NULL,
    text_sha256 TEXT NOT NULL CONSTRAINT ck_policy_version_text_sha256 CHECK (text_sha256 ~ '^[0-9a-f]{64}$'),
    version_sha256 TEXT NOT NULL CONSTRAINT ck_policy_version_version_sha256 CHECK (version_sha256 ~ '^[0-9a-f]{64}$'),
    rule_engine TEXT CONSTRAINT ck_policy_version_rule_engine CHECK (rule_engine IN ('rego', 'datalog')),
    rule_source TEXT,
    rule_examples JSONB,
    risk_level TEXT NOT NULL CONSTRAINT ck_policy_version_risk_level CHECK (risk_level IN ('low', 'medium', 'high', 'critical')),
    strategy TEXT NOT NULL CONSTRAINT ck_policy_version_strategy CHECK (strategy IN ('standard', 'enhanced_validation', 'multi_model_consensus', 'human_review')),
    risk_evidence JSONB NOT NULL,
    change_note TEXT DEFAULT '' NOT NULL,
    author_id UUID NOT NULL,
    created_at timestamptz NOT NULL,
    CONSTRAINT pk_policy_version PRIMARY KEY (policy_id, number),
    CONSTRAINT uq_policy_version_version_sha256 UNIQUE (version_sha256),
    CONSTRAINT fk_policy_version_policy_id FOREIGN KEY(policy_id) REFERENCES policy (id),
    CONSTRAINT fk_policy_version_author_id FOREIGN KEY(author_id) REFERENCES person (id)
);

CREATE TABLE ballot (
    id UUID NOT NULL,
    policy_id UUID NOT NULL,
    version INTEGER NOT NULL,
    version_sha256 TEXT NOT NULL CONSTRAINT ck_ballot_version_sha256 CHECK (version_sha256 ~ '^[0-9a-f]{64}$'),
    state TEXT NOT NULL CONSTRAINT ck_ballot_state CHECK (state IN ('open', 'closed')),
    opens_at timestamptz NOT NULL,
    closes_at timestamptz NOT NULL,
    closed_at timestamptz,
    electorate INTEGER NOT NULL,
    quorum_percent INTEGER NOT NULL,
    threshold_percent INTEGER NOT NULL,
    votes_for INTEGER,
    votes_against INTEGER,
    votes_abstain INTEGER,
    passed BOOLEAN,
    why JSONB,
    ballot_root TEXT CONSTRAINT ck_ballot_ballot_root CHECK (ballot_root ~ '^[0-9a-f]{64}$'),
    CONSTRAINT pk_ballot PRIMARY KEY (id),
    CONSTRAINT fk_ballot_policy_id_version FOREIGN KEY(policy_id, version) REFERENCES policy_version (policy_id, number),
    CONSTRAINT uq_ballot_policy_id_version UNIQUE (policy_id, version)
);
CREATE INDEX ix_ballot_due ON ballot (closes_at) WHERE state = 'open';

CREATE TABLE comment (
    id UUID NOT NULL,
    policy_id UUID NOT NULL,
    version INTEGER NOT NULL,
    author_id UUID NOT NULL,
    reply_to UUID,
    body TEXT NOT NULL,
    created_at timestamptz NOT NULL,
    CONSTRAINT pk_comment PRIMARY KEY (id),
    CONSTRAINT fk_comment_policy_id_version FOREIGN KEY(policy_id, version) REFERENCES policy_version (policy_id, number),
    CONSTRAINT fk_comment_author_id FOREIGN KEY(author_id) REFERENCES person (id),
    CONSTRAINT fk_comment_reply_to FOREIGN KEY(reply_to) REFERENCES comment (id)
);
CREATE INDEX ix_comment_policy_id ON comment (policy_id, created_at);

CREATE TABLE review (
    id UUID NOT NULL,
    policy_id UUID NOT NULL,
    version INTEGER NOT NULL,
    version_sha256 TEXT NOT NULL CONSTRAINT ck_review_version_sha256 CHECK (version_sha256 ~ '^[0-9a-f]{64}$'),
    reviewer_id UUID NOT NULL,
    capacity TEXT[] NOT NULL,
    decision TEXT NOT NULL CONSTRAINT ck_review_decision CHECK (decision IN ('approve', 'return', 'reject')),
    reason TEXT NOT NULL,
    created_at timestamptz NOT NULL,
    CONSTRAINT pk_review PRIMARY KEY (id),
    CONSTRAINT fk_review_policy_id_version FOREIGN KEY(policy_id, version) REFERENCES policy_version (policy_id, number),
    CONSTRAINT uq_review_policy_id_version_reviewer_id UNIQUE (policy_id, version, reviewer_id),
    CONSTRAINT fk_review_reviewer_id FOREIGN KEY(reviewer_id) REFERENCES person (id)
);

CREATE TABLE elector (
    ballot_id UUID NOT NULL,
    person_id UUID NOT NULL,
    CONSTRAINT pk_elector PRIMARY KEY (ballot_id, person_id),
    CONSTRAINT fk_elector_ballot_id FOREIGN KEY(ballot_id) REFERENCES ballot (id),
    CONSTRAINT fk_elector_person_id FOREIGN KEY(person_id) REFERENCES person (id)
);

CREATE TABLE vote (
    id UUID NOT NULL,
    ballot_id UUID NOT NULL,
    voter_id UUID NOT NULL,
    choice TEXT NOT NULL CONSTRAINT ck_vote_choice CHECK (choice IN ('for', 'against', 'abstain')),
    reason TEXT DEFAULT '' NOT NULL,
    salt BYTEA NOT NULL,
    commitment TEXT NOT NULL CONSTRAINT ck_vote_commitment CHECK (commitment ~ '^[0-9a-f]{64}$'),
    receipt_code TEXT NOT NULL,
    cast_at timestamptz NOT NULL,
    superseded_at timestamptz,
    CONSTRAINT pk_vote PRIMARY KEY (id),
    CONSTRAINT fk_vote_ballot_id_voter_id FOREIGN KEY(ballot_id, voter_id) REFERENCES elector (ballot_id, person_id),
    CONSTRAINT fk_vote_ballot_id FOREIGN KEY(ballot_id) REFERENCES ballot (id),
    CONSTRAINT fk_vote_voter_id FOREIGN KEY(voter_id) REFERENCES person (id),
    CONSTRAINT uq_vote_receipt_code UNIQUE (receipt_code)
);
CREATE INDEX ix_vote_voter_id ON vote (voter_id);
CREATE UNIQUE INDEX uq_vote_counting ON vote (ballot_id, voter_id) WHERE superseded_at IS NULL;
"""

GUARDS = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% on %.% is refused: %', TG_OP, TG_TABLE_SCHEMA, TG_TABLE_NAME, TG_ARGV[0]
        USING ERRCODE = 'restrict_violation';
END $$;

-- The trail can be added to and not rewritten (Constitution § 9.1).
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit.entry
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('the audit trail is append-only');
ALTER TABLE audit.entry ENABLE ALWAYS TRIGGER append_only;

-- A submitted text does not change (§ 3.3).
CREATE FUNCTION guard_policy_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT state FROM policy WHERE id = OLD.policy_id) <> 'draft' THEN
        RAISE EXCEPTION 'a submitted version does not change' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
END $$;
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON policy_version
    FOR EACH ROW EXECUTE FUNCTION guard_policy_version();

-- A vote is never altered or removed; a later one of the same voter supersedes it, until the close (§ 5.8).
CREATE FUNCTION guard_vote() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        RAISE EXCEPTION 'a vote is never removed' USING ERRCODE = 'restrict_violation';
    END IF;
    IF (SELECT state FROM ballot WHERE id = NEW.ballot_id) <> 'open' THEN
        RAISE EXCEPTION 'the ballot is closed' USING ERRCODE = 'restrict_violation';
    END IF;
    IF TG_OP = 'UPDATE' THEN
        IF OLD.superseded_at IS NOT NULL OR NEW.superseded_at IS NULL
           OR (to_jsonb(OLD) - 'superseded_at') <> (to_jsonb(NEW) - 'superseded_at') THEN
            RAISE EXCEPTION 'a vote is never altered' USING ERRCODE = 'restrict_violation';
        END IF;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER guard BEFORE INSERT OR UPDATE OR DELETE ON vote
    FOR EACH ROW EXECUTE FUNCTION guard_vote();

-- A closed ballot stays as it was counted; who may vote is fixed at its opening (§ 5.1).
CREATE FUNCTION guard_ballot() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR OLD.state = 'closed' OR NEW.electorate <> OLD.electorate
       OR NEW.version_sha256 <> OLD.version_sha256 OR NEW.quorum_percent <> OLD.quorum_percent
       OR NEW.threshold_percent <> OLD.threshold_percent THEN
        RAISE EXCEPTION 'a ballot keeps its terms, and its count once it is closed'
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER guard BEFORE UPDATE OR DELETE ON ballot FOR EACH ROW EXECUTE FUNCTION guard_ballot();
CREATE TRIGGER guard BEFORE UPDATE OR DELETE ON elector
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('the electorate is fixed when the ballot opens');

INSERT INTO governance_clock (id) VALUES (1);
"""


def upgrade() -> None:
    run(TABLES)
    run(GUARDS)
    run(QueryBuilderEnvironment().build_install_query())
