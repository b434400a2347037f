"""Constitutional compliance: validations, questions to people, overrides, labels and classifier heads, each under the trigger
that refuses a change without its audit entry; and a tier that evidence may still make stricter after submission.
"""

from __future__ import annotations

from migrations.running import run

revision = "0007"
down_revision = "0006"

TABLES = """
CREATE TABLE validation_batch (
    id UUID NOT NULL,
    asked_by UUID,
    total INTEGER NOT NULL,
    problems JSONB NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_validation_batch PRIMARY KEY (id),
    CONSTRAINT fk_validation_batch_asked_by FOREIGN KEY(asked_by) REFERENCES person (id)
);
CREATE TABLE validation (
    id UUID NOT NULL,
    ref TEXT NOT NULL,
    workflow_id UUID NOT NULL,
    cause TEXT NOT NULL CONSTRAINT ck_validation_cause CHECK (cause IN ('requested', 'submitted', 'tier_raised', 'constitution_changed', 'models_changed')),
    level TEXT NOT NULL CONSTRAINT ck_validation_level CHECK (level IN ('standard', 'enhanced_validation', 'multi_model_consensus', 'human_review')),
    batch_id UUID,
    position INTEGER,
    policy_id UUID,
    version INTEGER,
    text TEXT,
    text_sha256 TEXT NOT NULL CONSTRAINT ck_validation_text_sha256 CHECK (text_sha256 ~ '^[0-9a-f]{64}$'),
    constitution_sha256 TEXT NOT NULL CONSTRAINT ck_validation_constitution_sha256 CHECK (constitution_sha256 ~ '^[0-9a-f]{64}$'),
    asked_by UUID,
    taken INTEGER DEFAULT 0 NOT NULL,
    basis_sha256 TEXT CONSTRAINT ck_validation_basis_sha256 CHECK (basis_sha256 ~ '^[0-9a-f]{64}$'),
    verdict TEXT CONSTRAINT ck_validation_verdict CHECK (verdict IN ('compliant', 'requires_review', 'non_compliant')),
    score FLOAT,
    confidence FLOAT,
    result JSONB,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    made_at TIMESTAMP WITH TIME ZONE,
    overridden_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_validation PRIMARY KEY (id),
    CONSTRAINT fk_validation_policy_id_version FOREIGN KEY(policy_id, version) REFERENCES policy_version (policy_id, number),
    CONSTRAINT ck_validation_made CHECK ((made_at IS NULL) = (verdict IS NULL)),
    CONSTRAINT uq_validation_ref UNIQUE (ref),
    CONSTRAINT fk_validation_workflow_id FOREIGN KEY(workflow_id) REFERENCES workflow (id),
    CONSTRAINT fk_validation_batch_id FOREIGN KEY(batch_id) REFERENCES validation_batch (id),
    CONSTRAINT fk_validation_policy_id FOREIGN KEY(policy_id) REFERENCES policy (id),
    CONSTRAINT fk_validation_asked_by FOREIGN KEY(asked_by) REFERENCES person (id)
);
CREATE INDEX ix_validation_batch_id ON validation (batch_id, position);
CREATE INDEX ix_validation_made_at ON validation (made_at, id);
CREATE INDEX ix_validation_workflow_id ON validation (workflow_id);
CREATE INDEX ix_validation_asked_by ON validation (asked_by, created_at) WHERE cause = 'requested';
CREATE INDEX ix_validation_policy_id ON validation (policy_id, version, created_at);
CREATE TABLE compliance_question (
    id UUID NOT NULL,
    validation_id UUID NOT NULL,
    asked_at TIMESTAMP WITH TIME ZONE NOT NULL,
    due_at TIMESTAMP WITH TIME ZONE NOT NULL,
    overdue_noted_at TIMESTAMP WITH TIME ZONE,
    decided_at TIMESTAMP WITH TIME ZONE,
    decided_by UUID,
    answer TEXT CONSTRAINT ck_compliance_question_answer CHECK (answer IN ('compliant', 'requires_review', 'non_compliant')),
    CONSTRAINT pk_compliance_question PRIMARY KEY (id),
    CONSTRAINT uq_compliance_question_validation_id UNIQUE (validation_id),
    CONSTRAINT ck_compliance_question_decided CHECK ((decided_at IS NULL) = (answer IS NULL)),
    CONSTRAINT fk_compliance_question_validation_id FOREIGN KEY(validation_id) REFERENCES validation (id),
    CONSTRAINT fk_compliance_question_decided_by FOREIGN KEY(decided_by) REFERENCES person (id)
);
CREATE INDEX ix_compliance_question_open ON compliance_question (due_at) WHERE decided_at IS NULL;
CREATE TABLE compliance_asked (
    question_id UUID NOT NULL,
    person_id UUID NOT NULL,
    CONSTRAINT pk_compliance_asked PRIMARY KEY (question_id, person_id),
    CONSTRAINT fk_compliance_asked_question_id FOREIGN KEY(question_id) REFERENCES compliance_question (id),
    CONSTRAINT fk_compliance_asked_person_id FOREIGN KEY(person_id) REFERENCES person (id)
);
CREATE INDEX ix_compliance_asked_person_id ON compliance_asked (person_id);
CREATE TABLE compliance_override (
    validation_id UUID NOT NULL,
    person_id UUID NOT NULL,
    support BOOLEAN NOT NULL,
    made_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_compliance_override PRIMARY KEY (validation_id, person_id),
    CONSTRAINT fk_compliance_override_validation_id FOREIGN KEY(validation_id) REFERENCES validation (id),
    CONSTRAINT fk_compliance_override_person_id FOREIGN KEY(person_id) REFERENCES person (id)
);
CREATE TABLE compliance_label (
    id UUID NOT NULL,
    principle TEXT NOT NULL,
    text TEXT NOT NULL,
    text_sha256 TEXT NOT NULL CONSTRAINT ck_compliance_label_text_sha256 CHECK (text_sha256 ~ '^[0-9a-f]{64}$'),
    label TEXT NOT NULL CONSTRAINT ck_compliance_label_label CHECK (label IN ('breaks', 'honours', 'neutral')),
    policy_ref TEXT NOT NULL,
    validation_id UUID,
    labelled_by UUID,
    made_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_compliance_label PRIMARY KEY (id),
    CONSTRAINT uq_compliance_label_principle_text_sha256_labelled_by UNIQUE (principle, text_sha256, labelled_by),
    CONSTRAINT fk_compliance_label_validation_id FOREIGN KEY(validation_id) REFERENCES validation (id),
    CONSTRAINT fk_compliance_label_labelled_by FOREIGN KEY(labelled_by) REFERENCES person (id)
);
CREATE INDEX ix_compliance_label_principle ON compliance_label (principle);
CREATE TABLE classifier (
    sha256 TEXT NOT NULL CONSTRAINT ck_classifier_sha256 CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    embedder TEXT NOT NULL,
    corpus_sha256 TEXT NOT NULL CONSTRAINT ck_classifier_corpus_sha256 CHECK (corpus_sha256 ~ '^[0-9a-f]{64}$'),
    labels INTEGER NOT NULL,
    body BYTEA NOT NULL,
    measured JSONB NOT NULL,
    fitted_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_classifier PRIMARY KEY (sha256)
);
CREATE TABLE classifier_active (
    embedder TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    activated_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_classifier_active PRIMARY KEY (embedder),
    CONSTRAINT fk_classifier_active_sha256 FOREIGN KEY(sha256) REFERENCES classifier (sha256)
);
CREATE TABLE embedding (
    model_sha256 TEXT NOT NULL,
    text_sha256 TEXT NOT NULL,
    vector BYTEA NOT NULL,
    made_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_embedding PRIMARY KEY (model_sha256, text_sha256)
);
CREATE TABLE chain_compliance (
    anchor_id UUID NOT NULL,
    passed BOOLEAN NOT NULL,
    code TEXT NOT NULL,
    says TEXT NOT NULL,
    slot BIGINT NOT NULL,
    checked_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_chain_compliance PRIMARY KEY (anchor_id),
    CONSTRAINT fk_chain_compliance_anchor_id FOREIGN KEY(anchor_id) REFERENCES anchor (id)
);
"""

# embedding and chain_compliance are left out: they follow from what is entered, and can be found anew.
GUARDS = """
SET LOCAL audit.migrating = 'on';
DO $$
DECLARE governed TEXT;
BEGIN
    FOREACH governed IN ARRAY ARRAY['validation_batch', 'validation', 'compliance_question', 'compliance_asked', 'compliance_override', 'compliance_label', 'classifier', 'classifier_active'] LOOP
        EXECUTE format('CREATE CONSTRAINT TRIGGER audited AFTER INSERT OR UPDATE OR DELETE ON %I '
            'DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION audit.insist_on_entry()', governed);
        EXECUTE format('CREATE TRIGGER audited_truncation BEFORE TRUNCATE ON %I FOR EACH STATEMENT '
            'EXECUTE FUNCTION refuse(''rows of it go one by one, each with its entry in the audit trail'')', governed);
        EXECUTE format('ALTER TABLE %I ENABLE ALWAYS TRIGGER audited_truncation', governed);
    END LOOP;
END $$;
GRANT SELECT, INSERT, UPDATE, DELETE ON validation_batch, validation, compliance_question, compliance_asked, compliance_override, compliance_label, classifier, classifier_active, embedding, chain_compliance TO acgs_app;

-- A submitted text does not change (§ 3.3). Its tier may become stricter by evidence found later, until the ballot (§ 4.1).
CREATE OR REPLACE FUNCTION guard_policy_version() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    standing TEXT := (SELECT state FROM policy WHERE id = OLD.policy_id);
    tiers CONSTANT TEXT[] := ARRAY['standard', 'enhanced_validation', 'multi_model_consensus', 'human_review'];
    levels CONSTANT TEXT[] := ARRAY['low', 'medium', 'high', 'critical'];
    risk CONSTANT TEXT[] := ARRAY['strategy', 'risk_level', 'risk_evidence'];
BEGIN
    IF standing = 'draft' THEN
        RETURN CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
    END IF;
    IF TG_OP = 'UPDATE' AND standing IN ('in_review', 'public_comment') AND to_jsonb(OLD) - risk = to_jsonb(NEW) - risk
       AND array_position(tiers, NEW.strategy) >= array_position(tiers, OLD.strategy)
       AND array_position(levels, NEW.risk_level) >= array_position(levels, OLD.risk_level) THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'a submitted version does not change' USING ERRCODE = 'restrict_violation';
END $$;
"""


def upgrade() -> None:
    run(TABLES)
    run(GUARDS)
