"""What was found when the constitution's clauses were last held against the rows: not governance, as it can be found anew."""

from __future__ import annotations

from migrations.running import run

revision = "0005"
down_revision = "0004"

TABLES = """
CREATE TABLE conformance (
    key TEXT NOT NULL,
    counted BIGINT NOT NULL,
    broken TEXT[] NOT NULL,
    checked_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_conformance PRIMARY KEY (key)
);
GRANT SELECT, INSERT, UPDATE, DELETE ON conformance TO acgs_app;
"""


def upgrade() -> None:
    run(TABLES)
