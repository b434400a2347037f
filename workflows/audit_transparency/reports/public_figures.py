"""Public figures of the present: how many, how far, how fast, each with a link to the rows behind it. Cheap to ask for."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.audit_transparency import anchors
from workflows.audit_transparency.reports.shapes import Figure, Unit

# One statement: each part is a count over a small table, or a look-up by key.
_NOW = sa.text("""
SELECT
    (SELECT count(*) FROM policy WHERE state = 'enacted') AS enacted,
    (SELECT count(*) FROM policy WHERE state = 'in_review') AS under_way,
    (SELECT count(*) FROM policy WHERE state = 'voting') AS voting,
    (SELECT count(*) FROM policy WHERE state = 'suspended') AS suspended,
    (SELECT count(*) FROM ballot WHERE state = 'closed') AS closed,
    (SELECT count(*) FROM ballot WHERE state = 'closed' AND passed) AS passed,
    (SELECT sum(votes_for + votes_against + votes_abstain) FROM ballot WHERE state = 'closed') AS cast,
    (SELECT sum(electorate) FROM ballot WHERE state = 'closed') AS could,
    (SELECT count(*) FROM person WHERE active AND 'member' = ANY(roles)) AS members,
    (SELECT count(*) FROM comment) AS comments,
    (SELECT size FROM audit.tree) AS entries,
    (SELECT max(size) FROM audit.checkpoint) AS signed,
    (SELECT count(*) FROM anchor WHERE state = 'finalized' AND lost_at IS NULL) AS anchored,
    (SELECT count(*) FROM violation WHERE state = 'open') AS violations,
    (SELECT max(made_at) FROM report) AS reported
""")
# Turnout and outcome of the ballots that closed last, for a chart; oldest first.
_BALLOTS = sa.text("""
SELECT * FROM (
    SELECT policy.ref, policy.title, ballot.passed, ballot.electorate, ballot.closed_at,
        ballot.votes_for + ballot.votes_against + ballot.votes_abstain AS cast
    FROM ballot JOIN policy ON policy.id = ballot.policy_id
    WHERE ballot.state = 'closed' ORDER BY ballot.closed_at DESC, policy.ref LIMIT 12) AS latest
ORDER BY closed_at, ref
""")


@dataclass(frozen=True)
class Standing:
    """The figures, the ballots that closed last, and how far the log was signed when they were read."""

    checkpoint_size: int | None
    figures: list[Figure]
    ballots: list[sa.RowMapping]


async def now(connection: AsyncConnection) -> Standing:
    row = (await connection.execute(_NOW)).mappings().one()
    oldest = await anchors.oldest_unanchored(connection)
    ballots = list((await connection.execute(_BALLOTS)).mappings())
    figures = [
        Figure(key="enacted", text="Policies in force", value=row["enacted"], rows="/policies?state=enacted"),
        Figure(
            key="under_way", text="Under review", value=row["under_way"], rows="/policies?state=in_review"
        ),
        Figure(key="voting", text="Open ballots", value=row["voting"], rows="/votes"),
        Figure(key="suspended", text="Suspended", value=row["suspended"], rows="/policies?state=suspended"),
        Figure(
            key="closed", text="Ballots that closed", value=row["closed"], rows="/audit?type=ballot.closed"
        ),
        Figure(key="passed", text="Of these passed", value=row["passed"], rows="/audit?type=policy.enacted"),
        Figure(
            key="turnout",
            text="Turnout over all of them",
            value=1000 * int(row["cast"]) // int(row["could"]) if row["could"] else None,
            unit=Unit.PERMILLE,
            rows="/audit?type=ballot.closed",
            why=None if row["could"] else "No ballot has closed yet.",
        ),
        Figure(key="members", text="Members who may vote", value=row["members"], rows="/audit?type=person."),
        Figure(key="comments", text="Comments", value=row["comments"], rows="/audit?type=comment."),
        Figure(key="entries", text="Entries in the audit log", value=row["entries"], rows="/audit"),
        Figure(
            key="anchored", text="Transactions final on Solana", value=row["anchored"], rows="/audit/anchors"
        ),
        Figure(
            key="unanchored",
            text="Age of the oldest entry not on Solana yet",
            value=int(oldest.age.total_seconds()) if oldest else 0,
            unit=Unit.SECONDS,
            rows="/audit/anchors",
        ),
        Figure(
            key="violations",
            text="Open violations of policies",
            value=row["violations"],
            rows="/violations?state=open",
        ),
        Figure(
            key="compliance",
            text="Accuracy of constitutional analysis",
            value=None,
            unit=Unit.PERMILLE,
            why="Constitutional analysis is not built yet.",
        ),
    ]
    return Standing(row["signed"], figures, ballots)
