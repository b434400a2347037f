"""Holds the clauses of the constitution against what the portal did: each check counts rows and finds those that break it.

The code that implements a clause refuses beforehand; these checks look at the rows afterwards, by other means, so that a
fault in the one shows in the other. A clause without a check says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.constitution import amendments
from workflows.constitution.checks import FURTHER, NO_ROWS, Check, figure
from workflows.constitution.clauses import Clause
from workflows.constitution.compliance_checks import COMPLIANCE
from workflows.constitution.document import of_bytes
from workflows.constitution.figures import FLOORS, Figures
from workflows.storage.tables import conformance
from workflows.storage.unit import Unit

MOST = 20  # rows that are named


_BALLOTS = "FROM ballot b JOIN policy p ON p.id = b.policy_id"
_OF_TIER = "JOIN tier ON tier.strategy = v.strategy AND b.opens_at >= tier.began AND b.opens_at < tier.ended"
_TIER = "JOIN policy_version v ON v.policy_id = b.policy_id AND v.number = b.version"
_RESTRICTIONS = "FROM restriction r LEFT JOIN violation v ON v.id = r.violation_id"
_DAYS, _EMERGENCY_DAYS, _QUORUM = (
    figure(name, "b.opens_at") for name in ("voting_days", "emergency_voting_days", "quorum_percent")
)
_BLOCK, _LOCKDOWN, _RESTRICTION, _AUTOMATIC = (
    figure(name, "r.imposed_at")
    for name in ("block_hours", "lockdown_hours", "restriction_hours", "automatic")
)
_APPROVED = """(SELECT count(*) FROM review r WHERE r.policy_id = b.policy_id AND r.version = b.version AND r.decision = 'approve'
    AND {capacity} = ANY(r.capacity) AND r.created_at <= b.opens_at)"""

CHECKS = (
    Check(
        "one_vote", "2.1", "Nobody has two votes that count in one ballot, and nobody votes who was not on its roll.",
        "workflows.policy_creation.ballots.cast",
        "SELECT count(*) FROM vote WHERE superseded_at IS NULL",
        f"""SELECT p.ref {_BALLOTS} JOIN vote t ON t.ballot_id = b.id AND t.superseded_at IS NULL
            LEFT JOIN elector e ON e.ballot_id = b.id AND e.person_id = t.voter_id
            GROUP BY p.ref, t.voter_id, b.id HAVING count(*) > 1 OR bool_or(e.person_id IS NULL)""",
        "/audit?type=vote.cast",
    ),
    Check(
        "own_review", "2.3", "No policy was reviewed by its author.",
        "workflows.roles.may_review",
        "SELECT count(*) FROM review",
        """SELECT p.ref FROM review r JOIN policy p ON p.id = r.policy_id
            JOIN policy_version v ON v.policy_id = r.policy_id AND v.number = r.version
            WHERE r.reviewer_id IN (p.author_id, v.author_id)""",
        "/audit?type=review.",
    ),
    Check(
        "own_appeal", "2.3", "No appeal was judged by who made it or by who imposed what it is about.",
        "workflows.roles.may_judge_appeal",
        "SELECT count(*) FROM appeal WHERE decided_at IS NOT NULL",
        """SELECT coalesce(v.ref, a.id::text) FROM appeal a JOIN restriction r ON r.id = a.restriction_id
            LEFT JOIN violation v ON v.id = r.violation_id WHERE a.decided_by IN (a.made_by, r.imposed_by)""",
        "/audit?type=appeal.judged",
    ),
    Check(
        "text_is_kept", "3.3", "The text of each version hashes to what was stored when it was written.",
        "workflows.policy_creation.drafts.amend",
        "SELECT count(*) FROM policy_version",
        """SELECT p.ref FROM policy_version v JOIN policy p ON p.id = v.policy_id
            WHERE encode(sha256(convert_to(v.text, 'UTF8')), 'hex') <> v.text_sha256""",
        "/policies",
    ),
    Check(
        "strictest_for_constitutional", "4.5", "Each constitutional policy that came to a ballot was given the tier of human review.",
        "workflows.policy_creation.rules.applicable",
        f"SELECT count(*) {_BALLOTS} {_TIER} WHERE v.category = 'constitutional'",
        f"SELECT p.ref {_BALLOTS} {_TIER} WHERE v.category = 'constitutional' AND v.strategy <> 'human_review'",
        "/policies?category=constitutional",
    ),
    Check(
        "approved_before_ballot", "4.2", "Each ballot opened with as many approvals of that very version as its tier asks for.",
        "workflows.policy_creation.rules.review_progress",
        f"SELECT count(*) {_BALLOTS}",
        f"""SELECT p.ref {_BALLOTS} {_TIER} {_OF_TIER} WHERE
            {_APPROVED.format(capacity="'reviewer'")} < tier.approvals OR {_APPROVED.format(capacity="'legal'")} < tier.legal
            OR {_APPROVED.format(capacity="'council'")} < tier.council""",
        "/audit?type=ballot.opened",
        also=("4.4", "4.5"),
    ),
    Check(
        "commented_before_ballot", "4.3", "Each ballot opened after the comment period of its tier, unless in an emergency.",
        "workflows.policy_creation.ballots.open_due",
        f"SELECT count(*) {_BALLOTS} WHERE NOT p.emergency",
        f"""SELECT p.ref {_BALLOTS} {_TIER} {_OF_TIER} WHERE NOT p.emergency
            AND b.opens_at < p.submitted_at + make_interval(days => tier.comment_days)""",
        "/audit?type=ballot.opened",
        also=("4.4", "4.5", "4.8"),
    ),
    Check(
        "open_long_enough", "5.2", "Each ballot is open for the days of the annex.",
        "workflows.policy_creation.ballots.open_due",
        f"SELECT count(*) {_BALLOTS} WHERE NOT p.emergency",
        f"""SELECT p.ref {_BALLOTS} WHERE NOT p.emergency AND (b.closes_at < b.opens_at + make_interval(days => {_DAYS})
            OR b.closed_at < b.closes_at)""",
        "/audit?type=ballot.opened",
    ),
    Check(
        "open_long_enough_in_emergency", "5.3", "Each emergency ballot is open for the days of the annex.",
        "workflows.policy_creation.ballots.open_due",
        f"SELECT count(*) {_BALLOTS} WHERE p.emergency",
        f"""SELECT p.ref {_BALLOTS} WHERE p.emergency AND (b.closes_at < b.opens_at
            + make_interval(days => {_EMERGENCY_DAYS}) OR b.closed_at < b.closes_at)""",
        "/audit?type=ballot.opened",
    ),
    Check(
        "count_is_of_the_votes", "5.5", "The count of each closed ballot is that of its votes.",
        "workflows.policy_creation.ballots.close_due",
        "SELECT count(*) FROM ballot WHERE state = 'closed'",
        f"""SELECT p.ref {_BALLOTS} LEFT JOIN vote t ON t.ballot_id = b.id AND t.superseded_at IS NULL
            WHERE b.state = 'closed' GROUP BY p.ref, b.id HAVING (b.votes_for, b.votes_against, b.votes_abstain) <>
            (count(*) FILTER (WHERE t.choice = 'for'), count(*) FILTER (WHERE t.choice = 'against'),
             count(*) FILTER (WHERE t.choice = 'abstain'))""",
        "/audit?type=ballot.closed",
    ),
    Check(
        "quorum", "5.4", "Each ballot that passed had its quorum by votes for and abstentions.",
        "workflows.policy_creation.tally.decide",
        "SELECT count(*) FROM ballot WHERE passed",
        f"""SELECT p.ref {_BALLOTS} WHERE b.passed AND (b.quorum_percent < {_QUORUM}
            OR 100 * (b.votes_for + b.votes_abstain) < b.quorum_percent * b.electorate)""",
        "/audit?type=ballot.closed",
    ),
    Check(
        "outcome", "5.5", "Each ballot passed or failed as its count says, and a tie failed.",
        "workflows.policy_creation.tally.decide",
        "SELECT count(*) FROM ballot WHERE state = 'closed'",
        f"""SELECT p.ref {_BALLOTS} WHERE b.state = 'closed' AND b.passed <> (b.votes_for > b.votes_against
            AND 100 * b.votes_for >= b.threshold_percent * (b.votes_for + b.votes_against)
            AND 100 * (b.votes_for + b.votes_abstain) >= b.quorum_percent * b.electorate)""",
        "/audit?type=ballot.closed",
        also=("5.6",),
    ),
    Check(
        "threshold", "5.7", "No ballot asked for less than its tier.",
        "workflows.policy_creation.rules.applicable",
        f"SELECT count(*) {_BALLOTS}",
        f"SELECT p.ref {_BALLOTS} {_TIER} {_OF_TIER} WHERE b.threshold_percent < tier.threshold",
        "/audit?type=ballot.opened",
    ),
    Check(
        "in_force_by_vote", "6.1", "Each policy in force passed its ballot, in the version that is in force.",
        "workflows.policy_creation.implementation.enact",
        "SELECT count(*) FROM policy WHERE state IN ('enacted', 'suspended')",
        """SELECT p.ref FROM policy p LEFT JOIN ballot b ON b.policy_id = p.id AND b.version = p.current_version
            WHERE p.state IN ('enacted', 'suspended') AND b.passed IS NOT TRUE""",
        "/policies?state=enacted",
    ),
    Check(
        "recorded", "6.2", "Each policy in force has its record on Solana, or in the queue to it.",
        "workflows.policy_creation.implementation.enact",
        "SELECT count(*) FROM policy WHERE state = 'enacted'",
        """SELECT p.ref FROM policy p WHERE p.state = 'enacted' AND NOT EXISTS
            (SELECT FROM anchor a WHERE a.policy_id = p.id AND a.version = p.current_version)""",
        "/chain",
    ),
    Check(
        "rules_voted_for", "8.1", "The active bundle holds rules of policies in force, and no others.",
        "workflows.policy_enforcement.bundle.renew",
        """SELECT jsonb_array_length(convert_from(b.manifest, 'UTF8')::jsonb -> 'rules') FROM bundle_active a
            JOIN bundle b ON b.revision = a.revision""",
        """SELECT r ->> 'policy' FROM bundle_active a JOIN bundle b ON b.revision = a.revision
            CROSS JOIN LATERAL jsonb_array_elements(convert_from(b.manifest, 'UTF8')::jsonb -> 'rules') r
            LEFT JOIN policy p ON p.ref = r ->> 'policy' AND p.state = 'enacted'
            LEFT JOIN policy_version v ON v.policy_id = p.id AND v.version_sha256 = r ->> 'version_sha256'
            WHERE v.number IS DISTINCT FROM p.current_version OR v.number IS NULL""",
        "/enforcement/bundles",
    ),
    Check(
        "allowed_by_a_rule", "8.1", "Nothing was allowed that no rule allowed, or that one denied; every decision has a reason.",
        "workflows.policy_enforcement.combine.combine",
        "SELECT count(*) FROM decision",
        """SELECT d.id::text FROM decision d WHERE jsonb_array_length(d.why -> 'reasons') = 0 OR (d.outcome <> 'deny' AND NOT (
            EXISTS (SELECT FROM jsonb_each(d.why -> 'said') s WHERE (s.value ->> 'allow')::boolean)
            AND NOT EXISTS (SELECT FROM jsonb_each(d.why -> 'said') s
                WHERE jsonb_array_length(s.value -> 'deny') > 0 OR s.value ->> 'error' <> '')))""",
        "/enforcement",
    ),
    Check(
        "restrictions_end", "8.3", "Every restriction ends, after no more hours than the annex says.",
        "workflows.policy_enforcement.remediation.answer",
        "SELECT count(*) FROM restriction",
        f"""SELECT coalesce(v.ref, r.id::text) {_RESTRICTIONS}
            WHERE r.expires_at > r.imposed_at + make_interval(hours => CASE r.level
                WHEN 'immediate_block' THEN {_BLOCK} WHEN 'emergency_lockdown' THEN {_LOCKDOWN}
                WHEN 'temporary_restriction' THEN {_RESTRICTION} ELSE 24 * 366 END)""",
        "/violations",
    ),
    Check(
        "lockdown_by_council", "8.4", "Every emergency lockdown was ordered by a person.",
        "workflows.roles.may_lock_down",
        "SELECT count(*) FROM restriction WHERE level = 'emergency_lockdown'",
        """SELECT coalesce(v.ref, r.id::text) FROM restriction r LEFT JOIN violation v ON v.id = r.violation_id
            WHERE r.level = 'emergency_lockdown' AND r.imposed_by IS NULL""",
        "/violations",
    ),
    Check(
        "automatic_up_to", "8.5", "No machine went further up the ladder than the annex lets it.",
        "workflows.policy_enforcement.remediation.answer",
        "SELECT count(*) FROM restriction WHERE imposed_by IS NULL",
        f"""SELECT coalesce(v.ref, r.id::text) {_RESTRICTIONS}
            WHERE r.imposed_by IS NULL
                AND array_position(:ladder, r.level) > array_position(:ladder, {_AUTOMATIC})""",
        "/violations",
    ),
    Check(
        "trail_is_whole", "9.1", "Every entry is in the tree once, or waits for its place.",
        "workflows.audit_transparency.sequencer",
        "SELECT count(*) FROM audit.entry",
        """SELECT e.number::text FROM audit.entry e LEFT JOIN audit.leaf l ON l.entry = e.number
            LEFT JOIN audit.pending w ON w.number = e.number GROUP BY e.number HAVING count(l.index) + count(w.number) <> 1""",
        "/audit",
    ),
    Check(
        "states_are_entered", "9.1", "Each policy stands where its newest entry in the trail left it.",
        "workflows.policy_creation.lifecycle",
        "SELECT count(*) FROM policy",
        """SELECT p.ref FROM policy p LEFT JOIN LATERAL (SELECT e.type FROM audit.entry e WHERE e.subject = p.ref AND e.type = ANY (ARRAY[
            'policy.drafted', 'policy.edited', 'policy.submitted', 'policy.amended', 'policy.withdrawn', 'policy.enacted', 'policy.suspended',
            'review.approved', 'review.returned', 'review.rejected', 'rule.refused', 'ballot.opened', 'ballot.closed'])
            ORDER BY e.number DESC LIMIT 1) moved ON true WHERE NOT coalesce(p.state = ANY (CASE moved.type
            WHEN 'policy.drafted' THEN ARRAY['draft'] WHEN 'policy.edited' THEN ARRAY['draft']
            WHEN 'policy.submitted' THEN ARRAY['in_review'] WHEN 'policy.amended' THEN ARRAY['in_review']
            WHEN 'review.approved' THEN ARRAY['in_review', 'public_comment'] WHEN 'review.returned' THEN ARRAY['returned']
            WHEN 'review.rejected' THEN ARRAY['rejected'] WHEN 'rule.refused' THEN ARRAY['returned']
            WHEN 'ballot.opened' THEN ARRAY['voting'] WHEN 'ballot.closed' THEN ARRAY['rejected']
            WHEN 'policy.enacted' THEN ARRAY['enacted'] WHEN 'policy.suspended' THEN ARRAY['suspended']
            WHEN 'policy.withdrawn' THEN ARRAY['withdrawn'] END), false)""",
        "/audit?type=policy.",
    ),
    Check(
        "versions_are_entered", "9.1", "Each version of a policy has the hashes with which it was entered in the trail.",
        "workflows.policy_creation.drafts.submit",
        "SELECT count(*) FROM policy_version",
        """SELECT DISTINCT p.ref FROM policy_version v JOIN policy p ON p.id = v.policy_id WHERE NOT EXISTS (SELECT FROM audit.entry e
            WHERE e.subject = p.ref AND e.type IN ('policy.drafted', 'policy.edited', 'policy.submitted', 'policy.amended')
            AND (said(e) ->> 'version')::int = v.number AND said(e) ->> 'version_sha256' = v.version_sha256
            AND said(e) ->> 'text_sha256' = v.text_sha256)""",
        "/audit?type=policy.",
    ),
    Check(
        "ballots_are_entered", "9.1", "Each ballot has the terms with which its opening was entered, and the count and outcome of its close.",
        "workflows.policy_creation.ballots.close_due",
        "SELECT count(*) FROM ballot",
        """SELECT p.ref FROM ballot b JOIN policy p ON p.id = b.policy_id WHERE NOT EXISTS (SELECT FROM audit.entry e WHERE e.subject = p.ref AND e.type = 'ballot.opened'
                AND said(e) @> jsonb_build_object('ballot', b.id, 'version_sha256', b.version_sha256, 'mode', b.mode,
                    'electorate', b.electorate, 'quorum_percent', b.quorum_percent, 'threshold_percent', b.threshold_percent))
            OR b.state = 'closed' AND NOT EXISTS (SELECT FROM audit.entry e WHERE e.subject = p.ref AND e.type = 'ballot.closed'
                AND said(e) @> jsonb_build_object('ballot', b.id, 'passed', b.passed, 'ballot_root', b.ballot_root, 'votes',
                    jsonb_build_object('for', b.votes_for, 'against', b.votes_against, 'abstain', b.votes_abstain)))""",
        "/audit?type=ballot.",
    ),
    Check(
        "votes_are_entered", "9.1", "Each vote has the commitment with which it was entered, and no commitment was entered without its vote.",
        "workflows.policy_creation.ballots.cast",
        "SELECT count(*) FROM vote",
        """SELECT p.ref FROM ballot b JOIN policy p ON p.id = b.policy_id JOIN vote t ON t.ballot_id = b.id LEFT JOIN audit.entry e ON e.number = t.entry
                AND e.type = 'vote.cast' AND said(e) ->> 'commitment' = t.commitment
                WHERE t.entry IS NOT NULL AND e.number IS NULL
            UNION SELECT e.number::text FROM audit.entry e LEFT JOIN vote t ON t.entry = e.number
                WHERE e.type = 'vote.cast' AND t.id IS NULL""",
        "/audit?type=vote.cast",
    ),
    Check(
        "offices_are_entered", "9.1", "Everybody has the offices that the trail says they were given, and no others.",
        "workflows.roles.may_administer",
        "SELECT count(*) FROM person WHERE active",
        """SELECT 'person:' || coalesce(s.pseudonym, m.id) FROM person m LEFT JOIN audit.subject s ON s.person_id = m.id LEFT JOIN LATERAL (
                SELECT coalesce(said(e) -> 'after', said(e) -> 'roles') AS roles FROM audit.entry e
                WHERE e.subject = 'person:' || s.pseudonym AND e.type IN ('person.added', 'person.roles_changed', 'person.deactivated')
                ORDER BY e.number DESC LIMIT 1) given ON true
            WHERE m.active AND s.erased_at IS NULL
                AND NOT coalesce(given.roles @> to_jsonb(m.roles) AND given.roles <@ to_jsonb(m.roles), false)""",
        "/audit?type=person.",
    ),
    Check(
        "decisions_are_entered", "9.1", "Each decision about an action says what was entered in the trail before it was answered.",
        "workflows.policy_enforcement.decisions.decide",
        "SELECT count(*) FROM decision",
        """SELECT d.id::text FROM decision d LEFT JOIN audit.entry e ON e.type = 'decision.made' AND e.subject = 'decision:' || d.id
            WHERE e.number IS NULL OR NOT said(e) @> jsonb_build_object('mode', d.mode, 'outcome', d.outcome, 'severity', d.severity,
                'action_type', d.action_type, 'input_commitment', d.input_commitment, 'bundle', d.revision)""",
        "/enforcement",
    ),
    Check(
        "restrictions_are_entered", "9.1", "Each restriction has the level and the end with which it was entered, and each that was lifted has its entry.",
        "workflows.policy_enforcement.remediation.answer",
        "SELECT count(*) FROM restriction",
        """SELECT coalesce(v.ref, r.id::text) FROM restriction r LEFT JOIN violation v ON v.id = r.violation_id
            WHERE NOT EXISTS (SELECT FROM audit.entry e WHERE e.type = 'violation.answered' AND said(e) ->> 'restriction' = r.id::text
                AND said(e) ->> 'level' = r.level AND (said(e) ->> 'expires_at')::timestamptz = r.expires_at)
            OR (r.lifted_at IS NOT NULL) <> EXISTS (SELECT FROM audit.entry e WHERE e.type = 'restriction.lifted'
                AND said(e) ->> 'restriction' = r.id::text)""",
        "/violations",
    ),
    *FURTHER,
    *COMPLIANCE,
)  # fmt: skip


class Found(msgspec.Struct, frozen=True):
    """What a check found when it was last made; `checked_at` None: it was not made yet."""

    check: Check
    counted: int | None
    broken: list[str]
    checked_at: datetime | None

    @property
    def state(self) -> str:
        """holds, broken, nothing (there was nothing to check), unchecked."""
        if self.checked_at is None:
            return "unchecked"
        if self.broken:
            return "broken"
        return "holds" if self.counted else "nothing"


class Held(msgspec.Struct, frozen=True):
    """A clause with the checks that hold it against the rows; `without` says why there are none, where that is known."""

    clause: Clause
    found: list[Found]
    without: str = ""


class FigureHeld(msgspec.Struct, frozen=True):
    """A figure of the annex beside the programme's floor, below which no document is governed by."""

    name: str
    article: str
    value: int
    floor: int


class Look(msgspec.Struct, frozen=True):
    """What one check found in the rows."""

    key: str
    counted: int
    broken: list[str]


class Era(msgspec.Struct, frozen=True):
    """The figures of a document, and from when until when it was in force: what was done is held against those of its time."""

    began: datetime | None  # from the founding on
    ended: datetime | None  # until now
    figures: Figures


async def eras(connection: AsyncConnection, figures: Figures) -> list[Era]:
    """Those of all documents there were; `figures` are of the one in force."""
    steps = await amendments.adopted(connection)
    began = [None, *(step.adopted_at for step in steps)]
    ended = [*(step.adopted_at for step in steps), None]
    earlier = [step.previous_sha256 for step in steps]
    known = [of_bytes(await amendments.body_of(connection, sha256) or b"", "").figures for sha256 in earlier]
    return [Era(*each) for each in zip(began, ended, [*known, figures], strict=True)]


async def look(unit: Unit, figures: Figures) -> int:
    """Make every check and keep what it found; how many clauses are broken."""
    return await keep(unit, await found_in(unit.connection, figures))


async def found_in(connection: AsyncConnection, figures: Figures) -> list[Look]:
    """Make every check. Each reads all rows there are: best in a transaction that holds nobody up."""
    await connection.execute(sa.text("SET LOCAL statement_timeout = '10min'"))
    times = await eras(connection, figures)
    made = []
    for check in CHECKS:
        counted = (await connection.execute(_statement(check.counted, times))).scalar() or 0
        rows = await connection.execute(_statement(f"{check.broken} LIMIT {MOST}", times))
        made.append(Look(check.key, counted, sorted({str(row[0]) for row in rows})))
    return made


async def keep(unit: Unit, made: Sequence[Look]) -> int:
    """Keep what was found; how many clauses are broken."""
    for each in made:
        values = {"key": each.key, "counted": each.counted, "broken": each.broken, "checked_at": unit.now}
        statement = insert(conformance).values(values)
        await unit.connection.execute(statement.on_conflict_do_update(index_elements=["key"], set_=values))
    return sum(bool(each.broken) for each in made)


_SINGLES = (
    "voting_days",
    "emergency_voting_days",
    "quorum_percent",
    "block_hours",
    "lockdown_hours",
    "restriction_hours",
    "compliance_decision_days",
    "compliance_override_percent",
)


def _statement(text: str, times: Sequence[Era]) -> sa.TextClause:
    """`text` with the annexes at hand as tables `document` and `tier`; `said(e)` is what an entry says."""
    text = text.replace("said(e)", "(convert_from(e.body, 'UTF8')::jsonb -> 'payload')")
    documents, tiers = [], []
    for era in times:
        when = f"{_moment(era.began, '-infinity')}, {_moment(era.ended, 'infinity')}"
        singles = ", ".join(str(getattr(era.figures, name).value) for name in _SINGLES)
        documents.append(f"({when}, {singles}, '{era.figures.automatic_remediation.value}')")
        tiers += [
            f"({when}, '{name}', {tier.approvals}, {tier.legal}, {tier.council}, {tier.comment_days}, {tier.threshold_percent})"
            for name, tier in era.figures.tiers.items()
        ]
    columns = "began, ended, strategy, approvals, legal, council, comment_days, threshold"
    whole = sa.text(
        f"WITH document (began, ended, {', '.join(_SINGLES)}, automatic) AS (VALUES {', '.join(documents)}), "
        f"tier ({columns}) AS (VALUES {', '.join(tiers)}) {text}"
    )
    return whole.bindparams(sa.bindparam("ladder", LADDER, sa.ARRAY(sa.Text))) if ":ladder" in text else whole


def _moment(at: datetime | None, never: str) -> str:
    # A colon would be read as a parameter's.
    said = at.isoformat().replace(":", "\\:") if at else never
    return f"'{said}'\\:\\:timestamptz"


LADDER = ["log_warning", "temporary_restriction", "immediate_block", "emergency_lockdown"]


async def held(connection: AsyncConnection, document: Sequence[Clause]) -> list[Held]:
    """Every clause of the document with its checks as they were last made."""
    rows = {row["key"]: row for row in (await connection.execute(sa.select(conformance))).mappings()}
    by_clause: dict[str, list[Found]] = {}
    for check in CHECKS:
        row = rows.get(check.key)
        found = (
            Found(check, row["counted"], row["broken"], row["checked_at"])
            if row
            else Found(check, None, [], None)
        )
        for number in (check.clause, *check.also):
            by_clause.setdefault(number, []).append(found)
    return [
        Held(clause, by_clause.get(clause.number, []), NO_ROWS.get(clause.number, "")) for clause in document
    ]


def figures_held(figures: Figures) -> list[FigureHeld]:
    """The figures that have a floor. One below it is refused when the document is read, and the programme's apply."""
    return [
        FigureHeld(name, getattr(figures, name).article, getattr(figures, name).value, floor)
        for name, floor in FLOORS.items()
    ]
