"""Who may do what: each permission is a function that returns True or the reason why not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal
from uuid import UUID

from workflows.errors import Refused


class Role(StrEnum):
    VISITOR = "visitor"
    MEMBER = "member"
    DRAFTER = "drafter"
    REVIEWER = "reviewer"
    COUNCIL = "council"
    AUDITOR = "auditor"
    OMBUDSPERSON = "ombudsperson"
    OPERATOR = "operator"
    ADMIN = "admin"


class Scope(StrEnum):
    """What a personal token may be used for; a signed-in session holds all of them."""

    READ = "read"
    DRAFT = "draft"
    REVIEW = "review"
    VOTE = "vote"
    OPERATE = "operate"
    AUDIT = "audit"


@dataclass(frozen=True)
class Actor:
    """The person (or the system itself, `id is None`) on whose behalf something is done."""

    id: UUID | None
    username: str
    name: str
    roles: frozenset[Role] = frozenset()
    expertise: frozenset[str] = frozenset()
    scopes: frozenset[Scope] = field(default_factory=lambda: frozenset(Scope))
    pseudonym: str = ""  # by which the audit trail names them (audit.subject)

    @property
    def subject(self) -> str:
        """How the audit trail refers to them where an act is about them."""
        return f"person:{self.pseudonym}"

    def has(self, *roles: Role) -> bool:
        return not self.roles.isdisjoint(roles)


SYSTEM = Actor(id=None, username="system", name="The portal itself")
VISITOR = Actor(id=None, username="visitor", name="Somebody who is not signed in", scopes=frozenset())


@dataclass(frozen=True)
class Reason:
    """Why something is not allowed. Falsy, so that `if may_vote(...)` reads as it should."""

    code: str
    why: str

    def __bool__(self) -> bool:
        return False


Verdict = Literal[True] | Reason
Permission = Callable[..., Verdict]


def insist(verdict: Verdict) -> None:
    """Raise `Refused` (403) with the reason unless `verdict` is True."""
    if isinstance(verdict, Reason):
        raise Refused(verdict.why, code=verdict.code)


def _needs(actor: Actor | None, scope: Scope, roles: tuple[Role, ...], what: str) -> Verdict:
    if actor is None:
        return Reason("sign_in", f"Sign in to {what}.")
    if scope not in actor.scopes:
        return Reason("scope_missing", f"This token was not given the scope “{scope}”, needed to {what}.")
    if not actor.has(*roles):
        names = " or ".join(roles)
        return Reason("role_missing", f"To {what} you need the role {names}.")
    return True


def may_propose(actor: Actor | None) -> Verdict:
    """Constitution § 3.1: any stakeholder proposes."""
    roles = (Role.MEMBER, Role.DRAFTER, Role.REVIEWER, Role.COUNCIL)
    return _needs(actor, Scope.DRAFT, roles, "write a policy")


def may_declare_emergency(actor: Actor | None) -> Verdict:
    """Constitution § 5.3: only the council shortens a vote."""
    return _needs(actor, Scope.DRAFT, (Role.COUNCIL,), "ask for the emergency procedure")


def may_edit(actor: Actor | None, author_id: UUID) -> Verdict:
    """Constitution § 3.3: a text is amended by the one who proposed it."""
    allowed = may_propose(actor)
    if allowed is not True:
        return allowed
    if actor is None or actor.id != author_id:
        return Reason("not_author", "Only the author can change this policy.")
    return True


def may_review_others(actor: Actor | None) -> Verdict:
    """Constitution § 4: reviewers and the council review."""
    return _needs(actor, Scope.REVIEW, (Role.REVIEWER, Role.COUNCIL), "review a policy")


def may_review(actor: Actor | None, author_id: UUID) -> Verdict:
    """Constitution § 2.3: nobody reviews a policy of their own."""
    allowed = may_review_others(actor)
    if allowed is not True:
        return allowed
    if actor is not None and actor.id == author_id:
        return Reason("author_reviews", "You wrote this policy, so somebody else has to review it (§ 2.3).")
    return True


def may_comment(actor: Actor | None) -> Verdict:
    """Constitution § 4.8: everyone with a stake takes part in the discussion."""
    roles = (Role.MEMBER, Role.DRAFTER, Role.REVIEWER, Role.COUNCIL, Role.OMBUDSPERSON, Role.AUDITOR)
    return _needs(actor, Scope.DRAFT, roles, "comment")


def may_vote(actor: Actor | None) -> Verdict:
    """Constitution § 2.1 and § 2.4: members vote; no other role gives a vote."""
    return _needs(actor, Scope.VOTE, (Role.MEMBER,), "vote")


def may_suspend(actor: Actor | None) -> Verdict:
    """Constitution § 6.4: the council suspends an enacted policy, with a reason."""
    return _needs(actor, Scope.OPERATE, (Role.COUNCIL,), "suspend a policy")


def may_roll_back(actor: Actor | None) -> Verdict:
    """Constitution § 6.4: what is in force is the council's to take back, not the operators'."""
    return _needs(actor, Scope.OPERATE, (Role.COUNCIL,), "go back to an earlier bundle of rules")


def may_ask_decision(actor: Actor | None) -> Verdict:
    """Machines ask with an operator's token; what they are told binds, and is entered in the log."""
    return _needs(actor, Scope.OPERATE, (Role.OPERATOR, Role.ADMIN), "ask for a decision that binds")


def may_try_decision(actor: Actor | None) -> Verdict:
    """Anyone with a stake may try what a rule would say."""
    return _needs(actor, Scope.READ, tuple(role for role in Role if role != Role.VISITOR), "try a decision")


def may_set_facts(actor: Actor | None) -> Verdict:
    """Data that rules read: kept by operators, every change of it public in the log."""
    return _needs(actor, Scope.OPERATE, (Role.OPERATOR, Role.ADMIN), "set data that rules read")


def may_remediate(actor: Actor | None) -> Verdict:
    """Constitution § 8.2: what goes beyond the automatic answers is decided by people in office."""
    roles = (Role.COUNCIL, Role.OPERATOR, Role.OMBUDSPERSON)
    return _needs(actor, Scope.OPERATE, roles, "answer a violation")


def may_lock_down(actor: Actor | None) -> Verdict:
    """Constitution § 8.4: only the council orders a lockdown."""
    return _needs(actor, Scope.OPERATE, (Role.COUNCIL,), "order an emergency lockdown")


def may_appeal(actor: Actor | None) -> Verdict:
    """Constitution § 8.3: every restriction can be appealed against, by whoever it touches or whoever speaks for them."""
    return _needs(actor, Scope.DRAFT, tuple(role for role in Role if role != Role.VISITOR), "appeal")


def may_judge_appeal(actor: Actor | None, imposed_by: UUID | None, made_by: UUID) -> Verdict:
    """Constitution § 2.3: nobody judges an appeal in which they have a part."""
    allowed = _needs(actor, Scope.OPERATE, (Role.COUNCIL, Role.OMBUDSPERSON), "judge an appeal")
    if allowed is True and actor is not None and actor.id in (imposed_by, made_by):
        return Reason("own_part", "You have a part in this, so somebody else has to judge it (§ 2.3).")
    return allowed


def may_ask_validation(actor: Actor | None) -> Verdict:
    """Anyone with a stake may hold a text against the constitution."""
    roles = tuple(role for role in Role if role != Role.VISITOR)
    return _needs(actor, Scope.READ, roles, "have a text held against the constitution")


def may_read_validation(actor: Actor | None, asked_by: UUID | None) -> Verdict:
    """A text that somebody had judged for themselves is theirs; those who oversee see it too (§ 2.5)."""
    if actor is not None and actor.id is not None and actor.id == asked_by:
        return True
    return _needs(actor, Scope.AUDIT, (Role.AUDITOR,), "read what somebody else had judged")


def may_answer_questions(actor: Actor | None) -> Verdict:
    """Constitution § 4.10: people who are named decide what the analysis is not sure of."""
    return _needs(actor, Scope.REVIEW, (Role.REVIEWER, Role.COUNCIL), "decide whether a text complies")


def may_answer_compliance(actor: Actor | None, author_id: UUID, *, is_asked: bool) -> Verdict:
    """Constitution § 4.10 and § 2.3: who was asked decides, and nobody about what they wrote."""
    allowed = may_answer_questions(actor)
    if allowed is not True:
        return allowed
    if actor is not None and actor.id == author_id:
        return Reason("author_decides", "You wrote this policy, so somebody else has to decide (§ 2.3).")
    return True if is_asked else Reason("not_asked", "Others were asked to decide this (§ 4.10).")


def may_override_findings(actor: Actor | None) -> Verdict:
    """Constitution § 4.11: the council overrides the finding that a text does not comply."""
    return _needs(actor, Scope.OPERATE, (Role.COUNCIL,), "override a finding")


def may_override(actor: Actor | None, author_id: UUID) -> Verdict:
    """Constitution § 4.11 and § 2.3: members of the council, but not on what they wrote."""
    allowed = may_override_findings(actor)
    if allowed is True and actor is not None and actor.id == author_id:
        return Reason("author_decides", "You wrote this policy, so the others of the council decide (§ 2.3).")
    return allowed


def may_export_labels(actor: Actor | None) -> Verdict:
    """Constitution § 2.5: who oversees the analysis sees what it learns from."""
    return _needs(actor, Scope.AUDIT, (Role.AUDITOR, Role.OPERATOR), "take the labels with you")


def may_see_inputs(actor: Actor | None) -> Verdict:
    """Constitution § 2.5 and § 9.2: what was asked may name people; those who oversee see it."""
    roles = (Role.AUDITOR, Role.OMBUDSPERSON, Role.COUNCIL, Role.OPERATOR)
    return _needs(actor, Scope.AUDIT, roles, "see what was asked")


def may_request_report(actor: Actor | None) -> Verdict:
    """Constitution § 9.2: reports are public and free; asking for one costs work, so it takes somebody who signed in."""
    return _needs(
        actor, Scope.AUDIT, tuple(role for role in Role if role != Role.VISITOR), "ask for a report"
    )


def may_erase(actor: Actor | None, person_id: UUID) -> Verdict:
    """Everybody erases themselves; an administrator, whoever asks for it."""
    if actor is not None and actor.id == person_id:
        # Not with a token that may do less than everything: it was made for something else.
        return True if actor.scopes == frozenset(Scope) else Reason("scope_missing", "Sign in to be erased.")
    return may_administer(actor)


def may_operate(actor: Actor | None) -> Verdict:
    """Retry anchors, see queues and jobs."""
    return _needs(actor, Scope.OPERATE, (Role.OPERATOR, Role.ADMIN), "operate the portal")


def may_administer(actor: Actor | None) -> Verdict:
    return _needs(actor, Scope.OPERATE, (Role.ADMIN,), "administer the portal")
