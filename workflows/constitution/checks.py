"""What a check of a clause is, and the checks on proposing, reviewing, voting in secret, the chain and amendment."""

from __future__ import annotations

import msgspec


class Check(msgspec.Struct, frozen=True):
    """`live`: the code that implements the clause. `counted` and `broken` are SQL; the latter gives references.

    Figures are those of the document in force when it happened: `tier` and `document` are tables with `began` and `ended`.
    """

    key: str
    clause: str
    says: str
    live: str
    counted: str
    broken: str
    rows: str  # where a person finds what was counted
    also: tuple[str, ...] = ()  # further clauses that it holds against the same rows


def figure(name: str, at: str) -> str:
    """SQL for a figure of the document that was in force at the time `at`."""
    return f"(SELECT d.{name} FROM document d WHERE {at} >= d.began AND {at} < d.ended)"  # noqa: S608  from our own words


_VERSIONS = "FROM policy_version v JOIN policy p ON p.id = v.policy_id"
_LEVELS = "ARRAY['low', 'medium', 'high', 'critical']"
_TIERS = "ARRAY['standard', 'enhanced_validation', 'multi_model_consensus', 'human_review']"

FURTHER = (
    Check(
        "whole_texts", "3.2", "Each policy has a title, a summary, a text and one of the four categories.",
        "workflows.policy_creation.drafts.check",
        f"SELECT count(*) {_VERSIONS}",
        f"""SELECT p.ref {_VERSIONS} WHERE '' IN (trim(v.title), trim(v.summary), trim(v.text))
            OR v.category NOT IN ('constitutional', 'safety', 'governance', 'financial')""",
        "/policies",
    ),
    Check(
        "never_milder", "4.1", "No version has a milder tier than its risk calls for, or than its proposer asked for.",
        "workflows.policy_creation.risk.assess",
        f"SELECT count(*) {_VERSIONS} WHERE v.number = p.current_version",
        f"""SELECT p.ref {_VERSIONS} WHERE v.number = p.current_version AND array_position({_TIERS}, v.strategy) < greatest(
            array_position({_LEVELS}, v.risk_level), coalesce(array_position({_TIERS}, p.requested_strategy), 1))""",
        "/policies",
    ),
    Check(
        "reviews_have_reasons", "4.6", "Each review was entered with a reason.",
        "workflows.policy_creation.reviews.decide",
        "SELECT count(*) FROM review",
        """SELECT e.subject FROM audit.entry e WHERE e.type IN ('review.approved', 'review.returned', 'review.rejected')
            AND NOT jsonb_exists(convert_from(e.body, 'UTF8')::jsonb -> 'personal', 'reason') AND NOT jsonb_exists(said(e), 'reason')""",
        "/audit?type=review.",
    ),
    Check(
        "reviewed_text", "4.7", "Each review names the hash of the version that it is about.",
        "workflows.policy_creation.reviews.decide",
        "SELECT count(*) FROM review",
        f"""SELECT p.ref {_VERSIONS} JOIN review r ON r.policy_id = v.policy_id AND r.version = v.number
            WHERE r.version_sha256 <> v.version_sha256""",
        "/audit?type=review.",
    ),
    Check(
        "roll_at_the_opening", "5.1", "Each ballot has as many people on its roll as its opening entered.",
        "workflows.policy_creation.ballots.open_ballot",
        "SELECT count(*) FROM ballot",
        """SELECT p.ref FROM ballot b JOIN policy p ON p.id = b.policy_id
            WHERE b.electorate <> (SELECT count(*) FROM elector e WHERE e.ballot_id = b.id)""",
        "/audit?type=ballot.opened",
        also=("2.4",),
    ),
    Check(
        "cast_while_open", "5.8", "Each vote was cast while its ballot was open.",
        "workflows.policy_creation.ballots.cast",
        "SELECT count(*) FROM vote",
        """SELECT p.ref FROM vote t JOIN ballot b ON b.id = t.ballot_id JOIN policy p ON p.id = b.policy_id
            WHERE t.cast_at < b.opens_at OR t.cast_at >= b.closes_at""",
        "/audit?type=vote.cast",
    ),
    Check(
        "votes_are_sealed", "5.9", "No entry of a vote names its voter, and each vote has a receipt.",
        "workflows.policy_creation.ballots.cast",
        "SELECT count(*) FROM audit.entry WHERE type = 'vote.cast'",
        """SELECT e.number::text FROM audit.entry e WHERE e.type = 'vote.cast' AND (e.actor <> 'voter' OR e.subject <> 'ballot')
            UNION SELECT p.ref FROM vote t JOIN ballot b ON b.id = t.ballot_id JOIN policy p ON p.id = b.policy_id
            WHERE t.receipt_code = ''""",
        "/audit?type=vote.cast",
    ),
    Check(
        "amendment_comes_first", "6.3", "While an adopted document was not final in the constitution account, nothing else landed there.",
        "chain.anchoring",
        "SELECT count(*) FROM anchor WHERE kind = 'constitution' AND state = 'finalized'",
        """SELECT coalesce(p.ref, 'checkpoint ' || a.checkpoint_size) FROM amendment m
            JOIN anchor c ON c.policy_id = m.policy_id AND c.kind = 'constitution' AND c.state = 'finalized'
            JOIN anchor a ON a.kind <> 'constitution' AND a.genesis_hash = c.genesis_hash AND a.slot < c.slot
                AND a.submitted_at >= m.adopted_at
            LEFT JOIN policy p ON p.id = a.policy_id""",
        "/chain",
    ),
    Check(
        "suspensions_go_on_chain", "6.4", "Each suspended policy has its deactivation on Solana, or in the queue to it.",
        "workflows.policy_creation.implementation.suspend",
        "SELECT count(*) FROM policy WHERE state = 'suspended'",
        """SELECT p.ref FROM policy p WHERE p.state = 'suspended' AND NOT EXISTS
            (SELECT FROM anchor a WHERE a.policy_id = p.id AND a.version = p.current_version AND a.kind = 'deactivation')""",
        "/policies?state=suspended",
    ),
    Check(
        "amended_by_vote", "10.1", "Each document that came into force was carried by a constitutional policy that passed, follows from the one "
        "before it, is kept byte for byte, and is on Solana or in the queue to it.",
        "workflows.constitution.amendments.adopt",
        "SELECT count(*) FROM amendment",
        """SELECT p.ref FROM amendment m JOIN policy p ON p.id = m.policy_id
            JOIN policy_version v ON v.policy_id = m.policy_id AND v.number = m.version
            LEFT JOIN ballot b ON b.policy_id = m.policy_id AND b.version = m.version
            LEFT JOIN amendment e ON e.number = m.number - 1
            LEFT JOIN constitution_document d ON d.sha256 = m.sha256
            WHERE b.passed IS NOT TRUE OR v.category <> 'constitutional' OR v.constitution_sha256 IS DISTINCT FROM m.sha256
                OR v.constitution_base_sha256 IS DISTINCT FROM m.previous_sha256
                OR m.number > 1 AND e.sha256 IS DISTINCT FROM m.previous_sha256
                OR encode(sha256(d.body), 'hex') IS DISTINCT FROM m.sha256
                OR NOT EXISTS (SELECT FROM anchor a WHERE a.policy_id = m.policy_id AND a.version = m.version AND a.kind = 'constitution')""",
        "/constitution",
        also=("3.4",),
    ),
)  # fmt: skip

# What of a clause no row could show; for a document whose clauses have these numbers.
NO_ROWS = {
    "1.1": "It says what the body is for. The clauses below carry it out.",
    "1.2": "Each text is held against the principles before its ballot (§ 4.9), and machines decide only by rules in force (§ 8.1).",
    "1.3": "It is a principle: people and analysers hold each text against it (§ 4.9). No row could show that it was kept.",
    "2.2": "Offices are read by workflows.roles for every act; that they are those entered is checked under § 9.1.",
    "2.5": "What auditors and the ombudsperson may see is decided by workflows.roles.",
    "3.1": "workflows.roles.may_propose asks for membership or an office, for no rank and no fee. Who was kept from proposing would leave no row.",
    "8.2": "workflows.policy_enforcement.remediation answers by these four rungs, and the database knows no other.",
    "9.2": "The pages of the trail, the reports and the verifiers ask nobody to sign in. Words of people are kept outside the trail.",
    "10.2": "workflows.constitution.figures and .principles read them from these very bytes. Whether the figures say what their clauses say stands below.",
    "7.1": "Not in the software yet: the council and the members carry it out.",
    "7.2": "Not in the software yet: the offices carry it out. Appeals against restrictions are checked under § 2.3.",
    "7.3": "Not in the software yet: the offices carry it out.",
}  # fmt: skip
