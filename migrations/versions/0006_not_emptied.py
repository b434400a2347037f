"""No governance table can be emptied: TRUNCATE fires no row trigger, and so would pass by the one that asks for an entry."""

from __future__ import annotations

from migrations.running import run

revision = "0006"
down_revision = "0005"

# Named so that the event triggers of 0002 keep it, and asked in a replica session too.
SCRIPT = """
SET LOCAL audit.migrating = 'on';
DO $$
DECLARE governed REGCLASS;
BEGIN
    FOR governed IN SELECT tgrelid FROM pg_trigger WHERE tgname = 'audited' LOOP
        EXECUTE format('CREATE TRIGGER audited_truncation BEFORE TRUNCATE ON %s FOR EACH STATEMENT '
            'EXECUTE FUNCTION refuse(''rows of it go one by one, each with its entry in the audit trail'')', governed);
        EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER audited_truncation', governed);
    END LOOP;
END $$;
"""


def upgrade() -> None:
    run(SCRIPT)
