"""The checks on holding texts against the constitution before their ballot (§ 4.9 to § 4.11)."""

from __future__ import annotations

from workflows.constitution.checks import Check, figure

_BALLOTS = "FROM ballot b JOIN policy p ON p.id = b.policy_id"
_QUESTIONS = """FROM compliance_question q JOIN validation v ON v.id = q.validation_id JOIN policy p ON p.id = v.policy_id
    LEFT JOIN compliance_asked a ON a.question_id = q.id AND a.person_id = q.decided_by"""
_OVERRIDDEN = "FROM validation v JOIN policy p ON p.id = v.policy_id WHERE v.overridden_at IS NOT NULL"
_COMPLIED = """EXISTS (SELECT FROM validation v LEFT JOIN compliance_question q ON q.validation_id = v.id
    WHERE v.policy_id = b.policy_id AND v.version = b.version AND v.cause <> 'requested'
    AND ((v.verdict = 'compliant' AND v.made_at <= b.opens_at) OR v.overridden_at <= b.opens_at
        OR (q.answer = 'compliant' AND q.decided_at <= b.opens_at)))"""
_OF_ITS_AUTHOR = """EXISTS (SELECT FROM compliance_override o
    WHERE o.validation_id = v.id AND o.person_id = p.author_id)"""
_PART = figure("compliance_override_percent", "v.overridden_at")
_SUPPORTERS = "(SELECT count(*) FROM compliance_override o WHERE o.validation_id = v.id AND o.support)"
_OF_OVERRIDES = "FROM audit.entry e WHERE e.subject = p.ref AND e.type = 'compliance.overridden'"
_ENOUGH = f"""EXISTS (SELECT {_OF_OVERRIDES} AND said(e) ->> 'validation' = v.ref
    AND (said(e) ->> 'supporting')::int <= {_SUPPORTERS}
    AND 100 * (said(e) ->> 'supporting')::int >= (said(e) ->> 'members')::int * {_PART})"""

COMPLIANCE = (
    Check(
        "judged_before_ballot", "4.9", "Each ballot opened after its version was found to comply, or people said so.",
        "workflows.constitutional_compliance.gate.may_open",
        f"SELECT count(*) {_BALLOTS}",
        f"SELECT p.ref {_BALLOTS} WHERE NOT {_COMPLIED}",
        "/audit?type=validation.made",
    ),
    Check(
        "judgements_are_entered", "4.9", "Each judgement of a policy is the one that was entered in the trail.",
        "workflows.constitutional_compliance.validations.assess_waiting",
        "SELECT count(*) FROM validation WHERE made_at IS NOT NULL AND cause <> 'requested'",
        """SELECT p.ref FROM validation v JOIN policy p ON p.id = v.policy_id WHERE v.made_at IS NOT NULL AND v.cause <> 'requested'
            AND NOT EXISTS (SELECT FROM audit.entry e WHERE e.subject = p.ref AND e.type = 'validation.made'
                AND said(e) @> jsonb_build_object('validation', v.ref, 'verdict', v.verdict, 'basis_sha256', v.basis_sha256))""",
        "/audit?type=validation.made",
    ),
    Check(
        "decided_by_named", "4.10", "Who was asked decided, nobody about what they wrote, and had no more days than the annex says.",
        "workflows.constitutional_compliance.questions.answer",
        "SELECT count(*) FROM compliance_question",
        f"""SELECT p.ref {_QUESTIONS} WHERE (q.decided_at IS NOT NULL AND (a.person_id IS NULL OR q.decided_by = p.author_id))
            OR q.due_at > q.asked_at + make_interval(days => {figure("compliance_decision_days", "q.asked_at")})""",
        "/audit?type=compliance.answered",
    ),
    Check(
        "overridden_by_council", "4.11", "Each override has the part of the council behind it that the annex asks for, and not its author.",
        "workflows.constitutional_compliance.overrides.vote",
        f"SELECT count(*) {_OVERRIDDEN}",
        f"SELECT p.ref {_OVERRIDDEN} AND ({_OF_ITS_AUTHOR} OR NOT {_ENOUGH})",
        "/audit?type=compliance.overridden",
    ),
)  # fmt: skip
