"""The log: one append-only Merkle tree of every act, with roles, triggers and a constraint that even our own mistakes meet.

Three roles without login own and use it: `acgs_owner` owns the schema `audit`, `acgs_app` is what the portal becomes on
each of its connections, `acgs_sequencer` what the log's sequencer becomes. A superuser can always win; that is what
checkpoints, witnesses and the chain are for (docs/audit.md).
"""

from __future__ import annotations

from migrations.running import run

revision = "0002"
down_revision = "0001"

ROLES = """
DO $$
DECLARE wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['acgs_owner', 'acgs_app', 'acgs_sequencer'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
            -- Roles belong to the whole server: another database's migration may have been first.
            EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
            END;
        END IF;
        IF NOT pg_has_role(current_user, wanted, 'MEMBER') THEN
            EXECUTE format('GRANT %I TO current_user', wanted);
        END IF;
    END LOOP;
END $$;
"""

TABLES = r"""
CREATE FUNCTION audit.field(body bytea, name text) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN (convert_from(body, 'UTF8')::jsonb)->>name;
-- Immutable in truth too: bodies give UTC with a Z, so the session's time zone does not matter.
CREATE FUNCTION audit.moment(body bytea, name text) RETURNS timestamptz
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
    AS $$ BEGIN RETURN ((convert_from(body, 'UTF8')::jsonb)->>name)::timestamptz; END $$;

DROP TRIGGER append_only ON audit.entry;
ALTER TABLE audit.entry
    DROP COLUMN subject,
    DROP COLUMN type,
    ADD CONSTRAINT ck_entry_body CHECK (octet_length(body) <= 65535),
    ADD COLUMN type TEXT GENERATED ALWAYS AS (audit.field(body, 'type')) STORED NOT NULL,
    ADD COLUMN subject TEXT GENERATED ALWAYS AS (audit.field(body, 'subject')) STORED NOT NULL,
    ADD COLUMN actor TEXT GENERATED ALWAYS AS (audit.field(body, 'actor')) STORED NOT NULL,
    ADD COLUMN at timestamptz GENERATED ALWAYS AS (audit.moment(body, 'at')) STORED NOT NULL;
CREATE INDEX ix_entry_subject ON audit.entry (subject, number);
CREATE INDEX ix_entry_type ON audit.entry (type, number);
CREATE INDEX ix_entry_actor ON audit.entry (actor, number);
CREATE INDEX ix_entry_at ON audit.entry (at);

CREATE TABLE audit.pending (
    number BIGINT NOT NULL,
    xid XID8 DEFAULT pg_current_xact_id() NOT NULL,
    CONSTRAINT pk_pending PRIMARY KEY (number)
);
CREATE INDEX ix_pending_xid ON audit.pending (xid);
INSERT INTO audit.pending (number) SELECT number FROM audit.entry;

CREATE TABLE audit.leaf (
    index BIGINT NOT NULL,
    entry BIGINT NOT NULL,
    CONSTRAINT pk_leaf PRIMARY KEY (index),
    CONSTRAINT uq_leaf_entry UNIQUE (entry),
    CONSTRAINT fk_leaf_entry FOREIGN KEY(entry) REFERENCES audit.entry (number)
);

CREATE TABLE audit.tile (
    level SMALLINT NOT NULL,
    position BIGINT NOT NULL,
    hashes BYTEA NOT NULL CONSTRAINT ck_tile_hashes CHECK (octet_length(hashes) = 8192),
    root BYTEA NOT NULL CONSTRAINT ck_tile_root CHECK (octet_length(root) = 32),
    CONSTRAINT pk_tile PRIMARY KEY (level, position)
);

CREATE TABLE audit.tree (
    id SMALLINT NOT NULL CONSTRAINT ck_tree_single CHECK (id = 1),
    size BIGINT NOT NULL,
    root BYTEA NOT NULL,
    frontier BYTEA NOT NULL,
    CONSTRAINT pk_tree PRIMARY KEY (id)
);
-- The tree of nothing (RFC 6962 § 2.1): the hash of the empty string.
INSERT INTO audit.tree (id, size, root, frontier) VALUES (1, 0, sha256(''::bytea), ''::bytea);

CREATE TABLE audit.log (
    id SMALLINT NOT NULL CONSTRAINT ck_log_single CHECK (id = 1),
    origin TEXT NOT NULL,
    verifier_key TEXT NOT NULL,
    founded_at timestamptz NOT NULL,
    CONSTRAINT pk_log PRIMARY KEY (id)
);

CREATE TABLE audit.checkpoint (
    size BIGINT NOT NULL,
    root BYTEA NOT NULL,
    note TEXT NOT NULL,
    signed_at timestamptz NOT NULL,
    CONSTRAINT pk_checkpoint PRIMARY KEY (size)
);

CREATE TABLE audit.cosignature (
    size BIGINT NOT NULL,
    witness TEXT NOT NULL,
    line TEXT NOT NULL,
    received_at timestamptz NOT NULL,
    CONSTRAINT pk_cosignature PRIMARY KEY (size, witness),
    CONSTRAINT fk_cosignature_size FOREIGN KEY(size) REFERENCES audit.checkpoint (size)
);

CREATE TABLE audit.subject (
    person_id UUID NOT NULL,
    pseudonym UUID,
    key BYTEA,
    erased_at timestamptz,
    CONSTRAINT pk_subject PRIMARY KEY (person_id),
    CONSTRAINT fk_subject_person_id FOREIGN KEY(person_id) REFERENCES person (id),
    CONSTRAINT uq_subject_pseudonym UNIQUE (pseudonym)
);
-- Two random UUIDs: 244 bits.
INSERT INTO audit.subject (person_id, pseudonym, key)
    SELECT id, gen_random_uuid(), sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())) FROM person;

CREATE TABLE audit.personal (
    entry_id UUID NOT NULL,
    name TEXT NOT NULL,
    person_id UUID NOT NULL,
    sealed BYTEA NOT NULL,
    CONSTRAINT pk_personal PRIMARY KEY (entry_id, name),
    CONSTRAINT fk_personal_person_id FOREIGN KEY(person_id) REFERENCES person (id)
);
CREATE INDEX ix_personal_person_id ON audit.personal (person_id);

CREATE TABLE report (
    id UUID NOT NULL,
    ref TEXT NOT NULL,
    workflow_id UUID NOT NULL,
    period_from timestamptz NOT NULL,
    period_to timestamptz NOT NULL,
    sections TEXT[] NOT NULL,
    scheduled BOOLEAN NOT NULL,
    checkpoint_size BIGINT,
    body BYTEA,
    body_sha256 TEXT CONSTRAINT ck_report_body_sha256 CHECK (body_sha256 ~ '^[0-9a-f]{64}$'),
    created_at timestamptz NOT NULL,
    made_at timestamptz,
    CONSTRAINT pk_report PRIMARY KEY (id),
    CONSTRAINT uq_report_ref UNIQUE (ref),
    CONSTRAINT fk_report_workflow_id FOREIGN KEY(workflow_id) REFERENCES workflow (id),
    CONSTRAINT fk_report_checkpoint_size FOREIGN KEY(checkpoint_size) REFERENCES audit.checkpoint (size)
);
CREATE INDEX ix_report_period ON report (period_from, period_to);

ALTER TABLE anchor
    DROP CONSTRAINT ck_anchor_kind,
    DROP CONSTRAINT uq_anchor_kind_record_sha256,
    ALTER COLUMN policy_id DROP NOT NULL,
    ALTER COLUMN version DROP NOT NULL,
    ADD COLUMN checkpoint_size BIGINT,
    ADD COLUMN durable BOOLEAN DEFAULT 'false' NOT NULL,
    ADD COLUMN lost_at timestamptz,
    ADD CONSTRAINT ck_anchor_kind CHECK (kind IN ('policy', 'deactivation', 'checkpoint')),
    ADD CONSTRAINT ck_anchor_about CHECK ((kind = 'checkpoint') = (policy_id IS NULL)
        AND (kind = 'checkpoint') = (version IS NULL) AND (kind = 'checkpoint') = (checkpoint_size IS NOT NULL)),
    ADD CONSTRAINT fk_anchor_checkpoint_size FOREIGN KEY(checkpoint_size) REFERENCES audit.checkpoint (size);
CREATE UNIQUE INDEX uq_anchor_record ON anchor (kind, record_sha256) WHERE lost_at IS NULL;
CREATE UNIQUE INDEX uq_anchor_open_checkpoint ON anchor (kind)
    WHERE kind = 'checkpoint' AND state IN ('queued','submitted','confirmed');
CREATE INDEX ix_anchor_checkpoint_size ON anchor (checkpoint_size);

-- Every ballot so far was sealed.
ALTER TABLE ballot ADD COLUMN mode TEXT DEFAULT 'sealed' NOT NULL
    CONSTRAINT ck_ballot_mode CHECK (mode IN ('sealed', 'open'));
ALTER TABLE ballot ALTER COLUMN mode DROP DEFAULT;
"""

GUARDS = """
-- The outbox, and each person's pseudonym and key, fill themselves: with the owner's rights, not the caller's.
CREATE FUNCTION audit.await_sequencing() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog AS $$
BEGIN
    INSERT INTO audit.pending (number) VALUES (NEW.number);
    RETURN NULL;
END $$;
CREATE TRIGGER pending AFTER INSERT ON audit.entry FOR EACH ROW EXECUTE FUNCTION audit.await_sequencing();
ALTER TABLE audit.entry ENABLE ALWAYS TRIGGER pending;

CREATE FUNCTION audit.give_pseudonym() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog AS $$
BEGIN
    INSERT INTO audit.subject (person_id, pseudonym, key) VALUES (NEW.id, gen_random_uuid(),
        sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())));
    RETURN NULL;
END $$;
CREATE TRIGGER pseudonym AFTER INSERT ON person FOR EACH ROW EXECUTE FUNCTION audit.give_pseudonym();

-- The trail can be added to and not rewritten (Constitution § 9.1).
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit.entry
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('the audit trail is append-only');
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit.leaf
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('the order of the log is append-only');
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit.tile
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('a full tile does not change');
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit.log
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('a log keeps its origin and key');
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit.checkpoint
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('a signed checkpoint does not change');
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit.cosignature
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('a cosignature does not change');
CREATE TRIGGER append_only BEFORE UPDATE OR TRUNCATE ON audit.pending
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('what waits for the tree only leaves it by being sequenced');
CREATE TRIGGER append_only BEFORE DELETE OR TRUNCATE ON audit.tree
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('the tree only grows');

CREATE FUNCTION audit.only_grow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.size <= OLD.size THEN
        RAISE EXCEPTION 'the tree only grows' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER only_grow BEFORE UPDATE ON audit.tree FOR EACH ROW EXECUTE FUNCTION audit.only_grow();

DO $$
DECLARE guarded text;
BEGIN
    FOREACH guarded IN ARRAY ARRAY['entry','leaf','tile','log','checkpoint','cosignature','pending','tree'] LOOP
        EXECUTE format('ALTER TABLE audit.%I ENABLE ALWAYS TRIGGER append_only', guarded);
    END LOOP;
END $$;
ALTER TABLE audit.tree ENABLE ALWAYS TRIGGER only_grow;

-- A vote's reason may be taken back by an erasure; nothing else of a vote ever changes (§ 5.8).
CREATE OR REPLACE FUNCTION guard_vote() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        RAISE EXCEPTION 'a vote is never removed' USING ERRCODE = 'restrict_violation';
    END IF;
    IF TG_OP = 'UPDATE' AND NEW.reason = '' AND (to_jsonb(OLD) - 'reason') = (to_jsonb(NEW) - 'reason') THEN
        RETURN NEW;
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

CREATE OR REPLACE FUNCTION guard_ballot() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR OLD.state = 'closed' OR NEW.electorate <> OLD.electorate
       OR NEW.version_sha256 <> OLD.version_sha256 OR NEW.quorum_percent <> OLD.quorum_percent
       OR NEW.threshold_percent <> OLD.threshold_percent OR NEW.mode <> OLD.mode THEN
        RAISE EXCEPTION 'a ballot keeps its terms, and its count once it is closed'
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;

-- No governance change without its entry: looked at when the transaction commits, so the order does not matter.
CREATE FUNCTION audit.insist_on_entry() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM audit.pending WHERE xid = pg_current_xact_id()) THEN
        RAISE EXCEPTION 'this transaction changes %.% and enters nothing in the audit trail', TG_TABLE_SCHEMA, TG_TABLE_NAME
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
DO $$
DECLARE governed text;
BEGIN
    FOREACH governed IN ARRAY ARRAY['organisation', 'governance_clock', 'person', 'session', 'constitution_document',
        'workflow', 'workflow_stage', 'policy', 'policy_version', 'review', 'comment', 'ballot', 'elector', 'vote',
        'report'] LOOP
        EXECUTE format('CREATE CONSTRAINT TRIGGER audited AFTER INSERT OR UPDATE OR DELETE ON %I '
            'DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION audit.insist_on_entry()', governed);
    END LOOP;
END $$;
-- Why a queued anchor does not move is a note, no act. A checkpoint's anchors are themselves the trail's evidence; entries
-- about them would make it grow, and so need another anchor, for ever.
CREATE CONSTRAINT TRIGGER audited AFTER INSERT OR UPDATE OF id, kind, state, policy_id, version, record, record_sha256,
    chain_policy_id, memo, constitution_sha256, cluster, genesis_hash, program_id, account, signature, transaction, slot
    ON anchor DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.kind <> 'checkpoint')
    EXECUTE FUNCTION audit.insist_on_entry();
CREATE CONSTRAINT TRIGGER audited_removal AFTER DELETE ON anchor
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION audit.insist_on_entry();
CREATE CONSTRAINT TRIGGER audited AFTER UPDATE OR DELETE ON audit.subject
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION audit.insist_on_entry();
CREATE CONSTRAINT TRIGGER audited AFTER INSERT OR UPDATE OR DELETE ON audit.personal
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION audit.insist_on_entry();
"""

GRANTS = """
GRANT USAGE ON SCHEMA public TO acgs_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO acgs_app;
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO acgs_app;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO acgs_app;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT USAGE, SELECT ON SEQUENCES TO acgs_app;

GRANT USAGE ON SCHEMA audit TO acgs_app, acgs_sequencer;
GRANT SELECT ON audit.entry, audit.pending, audit.leaf, audit.tile, audit.tree, audit.log, audit.checkpoint,
    audit.cosignature, audit.subject, audit.personal TO acgs_app;
GRANT INSERT (body) ON audit.entry TO acgs_app;
GRANT INSERT ON audit.cosignature TO acgs_app;
-- An erasure empties the one and deletes from the other.
GRANT INSERT, DELETE ON audit.personal TO acgs_app;
GRANT UPDATE (pseudonym, key, erased_at) ON audit.subject TO acgs_app;

-- The sequencer orders hashes. It cannot write an entry, and has no business with what stands in one.
GRANT SELECT (number, leaf_sha256) ON audit.entry TO acgs_sequencer;
GRANT SELECT, DELETE ON audit.pending TO acgs_sequencer;
GRANT SELECT, INSERT ON audit.leaf, audit.tile, audit.log, audit.checkpoint TO acgs_sequencer;
GRANT SELECT ON audit.tree TO acgs_sequencer;
GRANT UPDATE (size, root, frontier) ON audit.tree TO acgs_sequencer;

DO $$
DECLARE owned record;
BEGIN
    -- To own something in a schema, a role must be allowed to create there.
    GRANT CREATE, USAGE ON SCHEMA audit TO acgs_owner;
    GRANT SELECT, REFERENCES ON person TO acgs_owner;
    FOR owned IN SELECT relname FROM pg_class WHERE relnamespace = 'audit'::regnamespace AND relkind = 'r' LOOP
        EXECUTE format('ALTER TABLE audit.%I OWNER TO acgs_owner', owned.relname);
    END LOOP;
    FOR owned IN SELECT oid::regprocedure AS name FROM pg_proc WHERE pronamespace = 'audit'::regnamespace LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO acgs_owner', owned.name);
    END LOOP;
    ALTER SCHEMA audit OWNER TO acgs_owner;
END $$;
"""

# Against ALTER TABLE … DISABLE TRIGGER and DROP TABLE, typed by mistake. Only a superuser can create event triggers;
# where there is none, roles and triggers stand alone.
EVENT_TRIGGERS = """
-- In no schema, and of no role, that could be dropped together with what it guards.
CREATE FUNCTION keep_audit_guards() RETURNS event_trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE touched text;
BEGIN
    IF current_setting('audit.migrating', true) = 'on' THEN
        RETURN;
    END IF;
    IF TG_EVENT = 'sql_drop' THEN
        SELECT object_identity INTO touched FROM pg_event_trigger_dropped_objects()
            WHERE schema_name = 'audit' OR (object_type = 'trigger' AND object_identity LIKE 'audited%') LIMIT 1;
    ELSE
        SELECT object_identity INTO touched FROM pg_event_trigger_ddl_commands()
            WHERE schema_name = 'audit' OR object_identity LIKE '% on audit.%' OR object_identity LIKE '%.refuse()' LIMIT 1;
        -- What was moved away, or switched off.
        touched := coalesce(touched,
            (SELECT relname FROM pg_class WHERE relkind = 'r' AND relowner = 'acgs_owner'::regrole
                AND relnamespace IS DISTINCT FROM to_regnamespace('audit') LIMIT 1),
            (SELECT tgname || ' on ' || tgrelid::regclass FROM pg_trigger
                WHERE tgname LIKE 'audited%' AND tgenabled NOT IN ('O', 'A') LIMIT 1));
    END IF;
    IF touched IS NOT NULL THEN
        RAISE EXCEPTION '% on % is refused: the audit trail keeps its guards', TG_TAG, touched
            USING ERRCODE = 'restrict_violation';
    END IF;
END $$;
DO $$
BEGIN
    IF current_setting('is_superuser') = 'on' THEN
        CREATE EVENT TRIGGER audit_keeps_its_guards ON ddl_command_end EXECUTE FUNCTION keep_audit_guards();
        CREATE EVENT TRIGGER audit_keeps_its_tables ON sql_drop EXECUTE FUNCTION keep_audit_guards();
        ALTER EVENT TRIGGER audit_keeps_its_guards ENABLE ALWAYS;
        ALTER EVENT TRIGGER audit_keeps_its_tables ENABLE ALWAYS;
    END IF;
END $$;
"""


def upgrade() -> None:
    for script in (ROLES, TABLES, GUARDS, GRANTS, EVENT_TRIGGERS):
        run(script)
