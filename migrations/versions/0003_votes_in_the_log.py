"""Each vote knows its entry in the log, so that its receipt can prove that it stands there."""

from __future__ import annotations

from migrations.running import run

revision = "0003"
down_revision = "0002"

# Nothing else leads from a vote to its leaf or back: an entry does not say which ballot it belongs to.
SCRIPT = """
ALTER TABLE vote ADD COLUMN entry BIGINT,
    ADD CONSTRAINT fk_vote_entry FOREIGN KEY(entry) REFERENCES audit.entry (number);
CREATE INDEX ix_vote_entry ON vote (entry);
"""


def upgrade() -> None:
    run(SCRIPT)
