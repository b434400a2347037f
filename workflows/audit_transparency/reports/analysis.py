"""The figures of a period, in few set-based statements over the log and the tables beside it.

Everything is a function of rows that do not change any more: entries of the log up to one size, and what happened in a
period that is over. Who runs it again gets the same bytes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.audit_transparency.reports.shapes import Figure, Part, Section, Table, Unit
from workflows.audit_transparency.sentences import name_of

SIGNATURE_FEE = 5_000  # lamports a signature (Solana)
RENT = 6_960  # lamports for each byte of an account and 128 bytes beside it (Solana's rent exemption)
ACCOUNT_HEAD, POLICY_HEAD = 128, 122  # bytes; the latter of a Quantumagi Policy without its rule


@dataclass(frozen=True)
class Scope:
    """What is looked at: entries of the log below `size` whose time lies in the period."""

    connection: AsyncConnection
    since: datetime
    until: datetime
    size: int

    async def rows(self, statement: str, **more: Any) -> Sequence[Any]:
        values = {"since": self.since, "until": self.until, "size": self.size, **more}
        text = sa.text(statement)
        used = {name: value for name, value in values.items() if f":{name}" in statement}
        return (await self.connection.execute(text, used)).all()

    def link(self, type: str = "", **more: str) -> str:
        """The entries behind a figure, on the log's page."""
        asked = {"type": type, "from": _rfc(self.since), "to": _rfc(self.until), **more}
        return f"/audit?{urlencode({name: value for name, value in asked.items() if value})}"


def _rfc(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


_IN = """
FROM audit.entry e JOIN audit.leaf l ON l.entry = e.number
WHERE e.at >= :since AND e.at < :until AND l.index < :size
"""
_BODY = "(convert_from(e.body, 'UTF8')::jsonb -> 'payload')"


async def parts(scope: Scope, wanted: Sequence[Section]) -> list[Part]:
    """The sections asked for, in their order."""
    found = await scope.rows(f"SELECT e.type, count(*) {_IN} GROUP BY e.type")
    counts = {kind: count for kind, count in found}  # noqa: C416 – rows are no pairs to dict()
    return [await MAKERS[key](scope, counts) for key in Section if key in wanted]


Counts = dict[str, int]


def _counted(scope: Scope, counts: Counts, types: Sequence[str]) -> list[Figure]:
    """How many entries there are of each type, each linked to them."""
    return [
        Figure(key=kind, text=name_of(kind), value=counts.get(kind, 0), rows=scope.link(kind))
        for kind in types
    ]


async def participation(scope: Scope, counts: Counts) -> Part:
    actors = await scope.rows(
        f"SELECT count(DISTINCT e.actor) {_IN} AND e.actor NOT IN ('system', 'visitor', 'voter')"
    )
    ballots = await _ballots(scope)
    cast, could = sum(row.cast for row in ballots), sum(row.electorate for row in ballots)
    figures = [
        Figure(key="people", text="People who did something", value=actors[0][0], rows=scope.link()),
        *_counted(scope, counts, ["policy.drafted", "policy.submitted", "comment.added", "ballot.opened"]),
        Figure(
            key="votes",
            text="Votes cast, changed ones again",
            value=counts.get("vote.cast", 0),
            rows=scope.link("vote.cast"),
        ),
        Figure(
            key="turnout",
            text="Turnout of the ballots that closed",
            value=1000 * cast // could if could else None,
            unit=Unit.PERMILLE,
            rows=scope.link("ballot.closed"),
            why=None if could else "No ballot closed.",
        ),
    ]
    table = Table(
        key="ballots",
        title="Ballots that closed",
        columns=["Policy", "Voted", "Electors", "Turnout ‰", "Outcome"],
        rows=[
            [row.subject, row.cast, row.electorate, 1000 * row.cast // row.electorate if row.electorate else None,
             "passed" if row.passed else "did not pass"]
            for row in ballots
        ],
        links=[f"/policies/{row.subject}/results" for row in ballots],
    )  # fmt: skip
    return Part(
        key=Section.PARTICIPATION,
        title="Participation",
        figures=figures,
        tables=[table],
        method="Counts of entries by their type; people are different pseudonyms; turnout is all votes that counted by all "
        "who could vote, as the entries of the closes say.",
    )


async def _ballots(scope: Scope) -> Sequence[Any]:
    votes = f"{_BODY} -> 'votes'"
    return await scope.rows(
        f"SELECT e.subject, ({votes} ->> 'for')::int + ({votes} ->> 'against')::int + ({votes} ->> 'abstain')::int AS cast, "
        f"({_BODY} ->> 'electorate')::int AS electorate, ({_BODY} ->> 'passed')::boolean AS passed {_IN} "
        "AND e.type = 'ballot.closed' ORDER BY l.index"
    )


# Each step of a policy's way: from the first entry of one type to the first later one of another.
STEPS = (
    ("review", "Submission to ballot", "policy.submitted", "ballot.opened"),
    ("voting", "Ballot, from opening to close", "ballot.opened", "ballot.closed"),
    ("anchoring", "Close to finality on Solana", "policy.enacted", "anchor.finalized"),
)


async def pipeline(scope: Scope, counts: Counts) -> Part:
    rows = await scope.rows(
        """
        WITH first AS (
            SELECT e.subject, e.type, min(e.at) AS at
            FROM audit.entry e JOIN audit.leaf l ON l.entry = e.number
            WHERE l.index < :size AND e.at < :until
                AND e.type IN ('policy.submitted', 'ballot.opened', 'ballot.closed', 'policy.enacted', 'anchor.finalized')
            GROUP BY e.subject, e.type
        )
        SELECT steps.key, count(*) AS count,
            percentile_disc(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM done.at - begun.at)::bigint) AS half,
            percentile_disc(0.9) WITHIN GROUP (ORDER BY extract(epoch FROM done.at - begun.at)::bigint) AS most
        FROM unnest(CAST(:keys AS text[]), CAST(:begins AS text[]), CAST(:ends AS text[])) AS steps (key, begin, finish)
        JOIN first begun ON begun.type = steps.begin
        JOIN first done ON done.type = steps.finish AND done.subject = begun.subject AND done.at >= begun.at
        WHERE done.at >= :since
        GROUP BY steps.key
        """,
        keys=[step[0] for step in STEPS],
        begins=[step[2] for step in STEPS],
        ends=[step[3] for step in STEPS],
    )
    measured = {row.key: row for row in rows}
    figures = []
    for key, text, _, end in STEPS:
        row = measured.get(key)
        for part, word in (("half", "half of them within"), ("most", "nine in ten within")):
            figures.append(
                Figure(
                    key=f"{key}_{part}",
                    text=f"{text}: {word}",
                    value=int(getattr(row, part)) if row else None,
                    unit=Unit.SECONDS,
                    rows=scope.link(end),
                    why=None if row else "No policy came through this step.",
                )
            )
    return Part(
        key=Section.PIPELINE,
        title="How long steps took",
        figures=figures,
        method="In governance time, between the first entries of two types about the same policy, of steps that ended in the period. "
        "The value is one that was measured: the smallest that half, or nine tenths, do not exceed.",
    )


async def decisions(scope: Scope, counts: Counts) -> Part:
    ballots = await _ballots(scope)
    passed = sum(row.passed for row in ballots)
    outcomes = (
        ("passed", "Ballots passed", passed),
        ("failed", "Ballots that did not pass", len(ballots) - passed),
    )
    figures = [
        *_counted(scope, counts, ["review.approved", "review.returned", "review.rejected"]),
        *(
            Figure(key=key, text=text, value=value, rows=scope.link("ballot.closed"))
            for key, text, value in outcomes
        ),
        *_counted(scope, counts, ["policy.enacted", "policy.suspended", "policy.withdrawn"]),
        *_counted(scope, counts, ENFORCEMENT),
    ]
    found = await scope.rows(
        f"SELECT {_BODY} ->> 'mode' AS mode, {_BODY} ->> 'outcome' AS outcome, count(*) AS n {_IN} "
        "AND e.type = 'decision.made' GROUP BY 1, 2 ORDER BY 1, 2"
    )
    graded = await scope.rows(
        f"SELECT {_BODY} ->> 'kind' AS kind, {_BODY} ->> 'severity' AS severity, count(*) AS n {_IN} "
        "AND e.type = 'violation.found' GROUP BY 1, 2 ORDER BY 1, 2"
    )
    return Part(
        key=Section.DECISIONS,
        title="Decisions and violations",
        figures=figures,
        tables=[
            Table(
                key="outcomes",
                title="Decisions of machines",
                columns=["Binding", "Outcome", "Decisions"],
                rows=[
                    ["yes" if row.mode == "enforce" else "tried out", row.outcome.replace("_", " "), row.n]
                    for row in found
                ],
                links=[scope.link("decision.made")] * len(found),
            ),
            Table(
                key="violations",
                title="Violations by kind and severity",
                columns=["Kind", "Severity", "Violations"],
                rows=[[row.kind.replace("_", " "), row.severity, row.n] for row in graded],
                links=[scope.link("violation.found")] * len(graded),
            ),
        ],
        method="Counts of entries by type; outcomes, kinds and severities as the entries give them.",
    )


ENFORCEMENT = (
    "decision.made",
    "bundle.activated",
    "violation.found",
    "violation.answered",
    "violation.closed",
    "obligation.missed",
    "appeal.made",
    "appeal.judged",
)


COMPLIANCE = (
    "validation.asked",
    "validation.made",
    "policy.tier_raised",
    "compliance.asked",
    "compliance.answered",
    "compliance.overdue",
    "compliance.overridden",
    "compliance.worsened",
    "classifier.activated",
)


async def compliance(scope: Scope, counts: Counts) -> Part:
    verdicts = await scope.rows(
        f"SELECT e.subject LIKE 'POL-%' AS official, {_BODY} ->> 'verdict' AS verdict, count(*) AS n {_IN} "
        "AND e.type = 'validation.made' GROUP BY 1, 2 ORDER BY 1 DESC, 2"
    )
    answers = await scope.rows(
        f"SELECT {_BODY} ->> 'answer' AS answer, count(*) AS n {_IN} AND e.type = 'compliance.answered' GROUP BY 1 ORDER BY 1"
    )
    labels = (
        f"SELECT jsonb_array_elements({_BODY} -> 'labels') AS label {_IN} AND e.type = 'compliance.answered'"
    )
    labelled = await scope.rows(
        f"SELECT said.label ->> 'principle' AS principle, count(*) AS n, "  # noqa: S608 – nothing in it is from outside
        f"count(*) FILTER (WHERE said.label ->> 'label' = 'breaks') AS agreed FROM ({labels}) said GROUP BY 1 ORDER BY 1"
    )
    said, agreed = sum(row.n for row in labelled), sum(row.agreed for row in labelled)
    agreement = Figure(
        key="agreement",
        text="Findings with which people agreed, of those they labelled",
        value=1000 * agreed // said if said else None,
        unit=Unit.PERMILLE,
        rows=scope.link("compliance.answered"),
        why=None if said else "Nobody labelled a finding.",
    )
    return Part(
        key=Section.COMPLIANCE,
        title="Constitutional compliance",
        figures=[*_counted(scope, counts, COMPLIANCE), agreement],
        tables=[
            Table(
                key="verdicts",
                title="What texts were found to be",
                columns=["Of", "Verdict", "Judgements"],
                rows=[
                    ["policies" if row.official else "texts on request", row.verdict.replace("_", " "), row.n]
                    for row in verdicts
                ],
                links=[scope.link("validation.made")] * len(verdicts),
            ),
            Table(
                key="answers",
                title="What people decided who were asked",
                columns=["Decision", "Times"],
                rows=[[row.answer.replace("_", " "), row.n] for row in answers],
                links=[scope.link("compliance.answered")] * len(answers),
            ),
            Table(
                key="labels",
                title="What people say of findings, by principle",
                columns=["Principle", "Labelled", "A breach, they say too"],
                rows=[[row.principle.replace("_", " "), row.n, row.agreed] for row in labelled],
                links=[scope.link("compliance.answered")] * len(labelled),
            ),
        ],
        method="Counts of entries by type; verdicts, answers and labels as the entries give them. How accurate the classifier is on "
        "texts it never saw is measured by itself (docs/compliance.md), not in a period.",
    )


async def offices(scope: Scope, counts: Counts) -> Part:
    rows = await scope.rows(
        f"SELECT l.index, e.type, {_BODY} ->> 'before' AS before, {_BODY} ->> 'after' AS after {_IN} "
        "AND e.type = 'person.roles_changed' ORDER BY l.index LIMIT 200"
    )
    table = Table(
        key="changes",
        title="Offices that changed hands",
        columns=["Entry", "Before", "After"],
        rows=[[str(row.index), row.before, row.after] for row in rows],
        links=[f"/audit/entries/{row.index}" for row in rows],
    )
    types = ["person.added", "person.roles_changed", "person.deactivated", "subject.erased"]
    return Part(
        key=Section.OFFICES,
        title="People and offices",
        figures=_counted(scope, counts, types),
        tables=[table],
        method="Counts of entries by type; a pseudonym stands for a person.",
    )


async def emergencies(scope: Scope, counts: Counts) -> Part:
    rows = await scope.rows(
        "SELECT ref, state FROM policy WHERE emergency AND submitted_at >= :since AND submitted_at < :until ORDER BY ref"
    )
    table = Table(
        key="policies",
        title="Policies under the emergency procedure",
        columns=["Policy", "State"],
        rows=[[row.ref, row.state] for row in rows],
        links=[f"/policies/{row.ref}" for row in rows],
    )
    figure = Figure(
        key="emergencies", text="Policies under the emergency procedure", value=len(rows), rows="/policies"
    )
    return Part(
        key=Section.EMERGENCIES,
        title="Emergencies",
        figures=[figure],
        tables=[table],
        method="Policies submitted in the period for which the council declared an emergency (§ 5.3).",
    )


async def access(scope: Scope, counts: Counts) -> Part:
    types = ["auth.signed_in", "auth.refused", "access.refused", "export.made", "auth.token_made"]
    return Part(
        key=Section.ACCESS,
        title="Access",
        figures=_counted(scope, counts, types),
        method="Counts of entries by type. Reading public pages is not recorded.",
    )


async def chain(scope: Scope, counts: Counts) -> Part:
    rows = await scope.rows(
        """
        SELECT kind, count(*) AS count, count(*) FILTER (WHERE kind = 'policy' OR durable) AS accounts,
            coalesce(sum(octet_length(record)) FILTER (WHERE kind = 'policy' OR durable), 0) AS bytes
        FROM anchor WHERE finalized_at >= :since AND finalized_at < :until AND signature IS NOT NULL GROUP BY kind
        """
    )
    lags = await scope.rows(
        """
        SELECT count(*), percentile_disc(0.5) WITHIN GROUP (ORDER BY lag), percentile_disc(0.9) WITHIN GROUP (ORDER BY lag)
        FROM (SELECT greatest(0, extract(epoch FROM anchor.block_time - checkpoint.signed_at)::bigint) AS lag
            FROM anchor JOIN audit.checkpoint ON checkpoint.size = anchor.checkpoint_size
            WHERE finalized_at >= :since AND finalized_at < :until AND block_time IS NOT NULL) AS measured
        """
    )
    found = {row.kind: row for row in rows}
    named = (("policy", "Policies written to Solana"), ("deactivation", "Suspensions written to Solana"),
             ("constitution", "Amended constitutions written to Solana"), ("checkpoint", "Heads of the log written to Solana"))  # fmt: skip
    figures = [
        Figure(
            key=kind,
            text=text,
            value=found[kind].count if kind in found else 0,
            rows="/audit/anchors" if kind == "checkpoint" else "/chain",
        )
        for kind, text in named
    ]
    fees = SIGNATURE_FEE * sum(row.count for row in rows)
    rent = RENT * sum((POLICY_HEAD + ACCOUNT_HEAD) * row.accounts + int(row.bytes) for row in rows)
    figures += [
        Figure(key=key, text=text, value=value, unit=Unit.LAMPORTS, rows="/chain")
        for key, text, value in (("fees", "Fees", fees), ("rent", "Rent of accounts that stay", rent))
    ]
    count, half, most = lags[0]
    figures += [
        Figure(
            key=f"lag_{key}",
            text=f"From a head’s signature to its block: {word}",
            value=int(value) if count else None,
            unit=Unit.SECONDS,
            rows="/audit/anchors",
            why=None if count else "No head became final.",
        )
        for key, word, value in (("half", "half of them within", half), ("most", "nine in ten within", most))
    ]
    return Part(
        key=Section.CHAIN,
        title="Chain",
        figures=figures,
        method=f"Anchors that became final in the period. Fees: {SIGNATURE_FEE} lamports a transaction. Rent: {RENT} lamports for "
        f"each byte of an account and {ACCOUNT_HEAD} more, of accounts made for policies and for lasting records of the log.",
    )


# What a row of governance is entered as: (what it is called, rows in the period, type of entry).
COVERED = (
    ("Policies", "SELECT count(*) FROM policy WHERE created_at >= :since AND created_at < :until", "policy.drafted"),
    ("Reviews", "SELECT count(*) FROM review WHERE created_at >= :since AND created_at < :until", "review."),
    ("Comments", "SELECT count(*) FROM comment WHERE created_at >= :since AND created_at < :until", "comment.added"),
    ("Ballots opened", "SELECT count(*) FROM ballot WHERE opens_at >= :since AND opens_at < :until", "ballot.opened"),
    ("Ballots closed", "SELECT count(*) FROM ballot WHERE closed_at >= :since AND closed_at < :until", "ballot.closed"),
    ("Judgements", "SELECT count(*) FROM validation WHERE made_at >= :since AND made_at < :until", "validation.made"),
    ("Votes", "SELECT count(*) FROM vote WHERE cast_at >= :since AND cast_at < :until", "vote.cast"),
)  # fmt: skip


async def coverage(scope: Scope, counts: Counts) -> Part:
    rows: list[list[str | int | None]] = []
    links: list[str | None] = []
    for name, statement, kind in COVERED:
        acts = (await scope.rows(statement))[0][0]
        entered = sum(
            count
            for found, count in counts.items()
            if found == kind or (kind.endswith(".") and found.startswith(kind))
        )
        rows.append([name, acts, entered, 1000 * min(acts, entered) // acts if acts else None])
        links.append(scope.link(kind))
    acts, covered = (
        sum(int(row[1] or 0) for row in rows),
        sum(min(int(row[1] or 0), int(row[2] or 0)) for row in rows),
    )
    figure = Figure(
        key="coverage",
        text="Acts that have their entry",
        value=1000 * covered // acts if acts else None,
        unit=Unit.PERMILLE,
        rows=scope.link(),
        why=None if acts else "Nothing was done.",
    )
    table = Table(
        key="kinds",
        title="Acts and entries",
        columns=["What", "Rows", "Entries", "Covered ‰"],
        rows=rows,
        links=links,
    )
    return Part(
        key=Section.COVERAGE,
        title="Coverage of the log",
        figures=[figure],
        tables=[table],
        method="Rows of each governance table that came about in the period, counted beside the entries of their type. The database "
        "refuses any such row without an entry, so less than all would be a fault.",
    )


MAKERS: dict[Section, Callable[[Scope, Counts], Awaitable[Part]]] = {
    Section.PARTICIPATION: participation,
    Section.PIPELINE: pipeline,
    Section.DECISIONS: decisions,
    Section.COMPLIANCE: compliance,
    Section.OFFICES: offices,
    Section.EMERGENCIES: emergencies,
    Section.ACCESS: access,
    Section.CHAIN: chain,
    Section.COVERAGE: coverage,
}
