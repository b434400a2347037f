"""Each kind of audit entry as one plain sentence, for the log's pages and a policy's timeline."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from workflows.kinds import AnchorKind

_Payload = dict[str, Any]


def _outcome(payload: _Payload) -> str:
    votes = payload["votes"]
    outcome = "passed" if payload["passed"] else "did not pass"
    return f"The ballot closed: {votes['for']} for, {votes['against']} against, {votes['abstain']} abstained. It {outcome}."


def _record(payload: _Payload) -> str:
    if payload["kind"] == AnchorKind.CONSTITUTION:
        return "The hash of the amended constitution"
    return f"The record of its {'suspension' if payload['kind'] == AnchorKind.DEACTIVATION else 'enactment'}"


def _roles(payload: _Payload) -> str:
    before, after = (", ".join(payload[key]) or "none" for key in ("before", "after"))
    return f"Offices changed from {before} to {after}."


def _asked(payload: _Payload) -> str:
    why = {
        "submitted": "",
        "tier_raised": ", as its tier became stricter",
        "constitution_changed": ", as the constitution was amended",
        "models_changed": ", as what judges has changed",
    }
    return f"It is held against the constitution{why[payload['cause']]}."


def _raised(payload: _Payload) -> str:
    by = (
        "Its proposer asked for a stricter tier"
        if payload["by"] == "proposer"
        else "Evidence made its tier stricter"
    )
    return f"{by}: {payload['strategy'].replace('_', ' ')}."


_VERDICTS = {
    "compliant": "it complies",
    "requires_review": "people have to decide",
    "non_compliant": "it does not comply",
}
_ANSWERS = {
    "compliant": "it complies with the constitution",
    "non_compliant": "it does not comply with the constitution",
}
_OUTCOMES = {"allow": "Allowed", "conditional_allow": "Allowed with obligations", "deny": "Denied"}

_SOURCES = {"template": "from the template", "policy": "after", "language_model": "by the language model"}

# type → (what the type is called, the sentence)
KINDS: dict[str, tuple[str, Callable[[_Payload], str]]] = {
    "policy.drafted": ("Policy drafted", lambda p: "Drafted."),
    "synthesis.taken": ("Draft taken", lambda p: f"Begun with a draft {_SOURCES[p['source']['kind']]} {p['source']['key']}."),
    "policy.edited": ("Draft edited", lambda p: "Draft edited."),
    "policy.submitted": ("Policy submitted", lambda p: "Submitted for review."),
    "policy.amended": ("Policy amended", lambda p: f"Amended: version {p['version']}. Its review starts anew."),
    "policy.withdrawn": ("Policy withdrawn", lambda p: "Withdrawn."),
    "policy.held_back": ("Ballot held back", lambda p: f"It did not come to a ballot yet, as the constitution asks for more now. {p['why']}"),
    "policy.enacted": ("Policy enacted", lambda p: "In force."),
    "policy.suspended": ("Policy suspended", lambda p: "Suspended."),
    "review.approved": ("Review: approved", lambda p: f"Version {p['version']} approved."),
    "review.returned": ("Review: returned", lambda p: f"Version {p['version']} returned to its author."),
    "review.rejected": ("Review: rejected", lambda p: f"Version {p['version']} rejected."),
    "comment.added": ("Comment", lambda p: "Commented."),
    "ballot.opened": ("Ballot opened", lambda p: f"The ballot opened for {p['electorate']} members."),
    "ballot.closed": ("Ballot closed", _outcome),
    "vote.cast": ("Vote cast", lambda p: "A vote was cast. Neither whose nor in which ballot is said here."),
    "validation.asked": ("Validation asked for", _asked),
    "validation.requested": ("Validation requested", lambda p: "Somebody had a text held against the constitution."),
    "validation.batch_requested": ("Validations requested", lambda p: f"Somebody had {p['total']} texts held against the constitution."),
    "validation.begun": ("Validation begun", lambda p: f"Held against the constitution: {', '.join(p['validations'])}."),
    "validation.made": ("Validation made", lambda p: f"Held against the constitution: {_VERDICTS[p['verdict']]}."),
    "validation.called_off": ("Validation called off", lambda p: "People need not decide any more: that version is not on its way."),
    "compliance.asked": ("People asked", lambda p: "People who are named were asked whether it complies with the constitution."),
    "compliance.overdue": ("Decision overdue", lambda p: "Nobody decided in time whether it complies; the council was asked."),
    "compliance.answered": ("People decided", lambda p: f"People read version {p['version']} and say: {_ANSWERS[p['answer']]}."),
    "compliance.override_voted": (
        "Council on an override",
        lambda p: f"A member of the council is {'for' if p['support'] else 'against'} a ballot in spite of the finding.",
    ),
    "compliance.overridden": (
        "Finding overridden",
        lambda p: f"The council overrode the finding that it does not comply: {p['supporting']} of {p['members']}.",
    ),
    "compliance.worsened": ("Found worse", lambda p: f"In force, and judged anew: {_VERDICTS[p['verdict']]}."),
    "policy.tier_raised": ("Tier raised", _raised),
    "classifier.requested": ("Classifier to be fitted", lambda p: "A classifier was to be fitted anew, with people’s labels."),
    "classifier.activated": (
        "Classifier in use",
        lambda p: f"A classifier fitted with {p['labels']} labels of people judges from now on.",
    ),
    "classifier.left_out": (
        "Classifier left out",
        lambda p: "A classifier was fitted anew and is not used: it does worse on texts it never saw.",
    ),
    "rule.refused": ("Rule refused", lambda p: f"Returned to its author before a ballot: {p['why']}"),
    "amendment.outdated": (
        "Amendment outdated",
        lambda p: "Returned to its author: the constitution it amends is no longer in force.",
    ),
    "constitution.adopted": (
        "Constitution amended",
        lambda p: f"The amended constitution {p['sha256'][:16]}… is in force from now on, in place of {p['previous_sha256'][:16]}….",
    ),
    "bundle.activated": ("Rules activated", lambda p: f"{p['rules']} rules decide from now on ({p['cause']})."),
    "bundle.rolled_back": ("Rules rolled back", lambda p: "An earlier bundle of rules decides again."),
    "violation.found": ("Violation found", lambda p: f"A violation of {p['severity']} severity was put on record."),
    "violation.repeated": ("Violation repeated", lambda p: f"It happened again: {p['count']} times now."),
    "violation.answered": (
        "Violation answered",
        lambda p: f"{'By machine' if p['automatic'] else 'By people'}: {p['level'].replace('_', ' ')}.",
    ),
    "violation.closed": ("Violation closed", lambda p: "The violation is dealt with."),
    "restriction.lifted": ("Restriction lifted", lambda p: f"The {p['level'].replace('_', ' ')} was lifted."),
    "restriction.expired": ("Restriction over", lambda p: f"The {p['level'].replace('_', ' ')} ended by itself."),
    "appeal.made": ("Appeal", lambda p: "Somebody appealed against a restriction."),
    "appeal.judged": ("Appeal decided", lambda p: f"The appeal was {'granted' if p['granted'] else 'refused'}."),
    "obligation.met": ("Obligation met", lambda p: f"An obligation was met{'' if p['in_time'] else ', late'}."),
    "obligation.missed": ("Obligation missed", lambda p: "An obligation was not met in time."),
    "grant.lapsed": ("Grant lapsed", lambda p: "A grant lapsed, as its obligations were not met."),
    "facts.set": ("Data set", lambda p: f"The data “{p['name']}” that rules read was set: {p['entries']} entries."),
    "facts.removed": ("Data removed", lambda p: f"The data “{p['name']}” that rules read was removed."),
    "decision.made": (
        "Decision",
        lambda p: f"{_OUTCOMES[p['outcome']]} “{p['action_type']}”{' (tried out)' if p['mode'] == 'dry_run' else ''}.",
    ),
    "anchor.submitted": ("Anchor sent", lambda p: f"{_record(p)} was sent to Solana."),
    "anchor.confirmed": ("Anchor confirmed", lambda p: f"{_record(p)} is confirmed on Solana."),
    "anchor.finalized": ("Anchor final", lambda p: f"{_record(p)} is final on Solana."),
    "anchor.refused": ("Anchor refused", lambda p: f"The cluster refused {_record(p)}; it is tried again."),
    "anchor.failed": ("Anchor failed", lambda p: f"{_record(p)} could not be written to Solana."),
    "anchor.expired": ("Anchor expired", lambda p: "The transaction expired unseen and is signed anew."),
    "anchor.reset": ("Cluster reset", lambda p: "The Solana cluster was reset; the record is written again."),
    "anchor.retried": ("Anchor retried", lambda p: "Writing the record to Solana is tried again."),
    "workflow.step_failed": (
        "Step failed",
        lambda p: "A step failed for a technical reason and will be tried again.",
    ),
    "workflow.failed": ("Workflow failed", lambda p: "The workflow failed for a technical reason."),
    "auth.signed_in": ("Signed in", lambda p: "Signed in."),
    "auth.signed_out": ("Signed out", lambda p: "Signed out."),
    "auth.refreshed": ("Session prolonged", lambda p: "A program’s session was prolonged."),
    "auth.revoked": ("Session ended", lambda p: "A session was ended."),
    "auth.token_made": ("Token made", lambda p: "A personal token was made."),
    "auth.refused": ("Sign-in refused", lambda p: "A sign-in was refused."),
    "access.refused": ("Access refused", lambda p: "Was refused what they asked for."),
    "export.made": ("Export", lambda p: f"Took an export: {p['what']}."),
    "person.added": ("Person added", lambda p: f"A person was added, with the offices {', '.join(p['roles']) or 'none'}."),
    "person.roles_changed": ("Offices changed", _roles),
    "person.deactivated": ("Person deactivated", lambda p: "A person was deactivated."),
    "subject.erased": ("Person erased", lambda p: "A person was erased: their name and words are gone for good."),
    "report.requested": ("Report requested", lambda p: "A transparency report was asked for."),
    "report.stage": ("Report under way", lambda p: f"The report came to its step “{p['stage'].replace('_', ' ')}”."),
    "report.made": ("Report made", lambda p: "A transparency report was made."),
    "verifier.published": ("Verifier published", lambda p: f"The verifier {p['file']} was published."),
    "chain.blocked": ("Anchoring blocked", lambda p: "Nothing may be written to Solana."),
    "chain.unblocked": ("Anchoring goes on", lambda p: "Writing to Solana goes on."),
    "clock.moved": ("Clock moved", lambda p: "The demonstration’s clock was moved ahead."),
}  # fmt: skip


def name_of(kind: str) -> str:
    """What a type is called; one that is not known here, by its own words."""
    known = KINDS.get(kind)
    return known[0] if known else kind.replace(".", ": ").replace("_", " ").capitalize()


def sentence(kind: str, payload: _Payload) -> str:
    """What happened. A payload of an older form than the sentence knows gives the type's name."""
    known = KINDS.get(kind)
    if known is not None:
        try:
            return known[1](payload)
        except (KeyError, TypeError):
            pass
    return f"{name_of(kind)}."
