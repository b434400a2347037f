"""What can be asked about policies; nothing here changes anything. Pages and API import this one module."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
import rfc8785
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.audit_transparency.personal import ERASED
from workflows.constitution.figures import Figures
from workflows.constitutional_compliance import gate as compliance_gate
from workflows.errors import NotFound
from workflows.kinds import (
    AnchorKind,
    BallotState,
    Category,
    Ladder,
    PolicyState,
    RiskLevel,
    Strategy,
    ViolationState,
    WorkflowStatus,
)
from workflows.markdown import to_html
from workflows.policy_creation import diff as differences
from workflows.policy_creation.anchor_queries import anchor, anchor_view, anchors, workflow
from workflows.policy_creation.ballot_queries import (
    ballot,
    ballots_for,
    leaves,
    opening_names,
    openings,
    openings_document,
    receipt,
    results,
)
from workflows.policy_creation.drafts import rule_record
from workflows.policy_creation.history import timeline
from workflows.policy_creation.records import sha256_hex
from workflows.policy_creation.rows import author as _author
from workflows.policy_creation.rows import build, item_statement, person_columns, person_view, policy_item
from workflows.policy_creation.rules import ReviewGiven, applicable, review_progress
from workflows.policy_creation.views import (
    AmendedDocument,
    BallotSummary,
    CommentView,
    Diff,
    Evidence,
    InboxItem,
    Page,
    PolicyItem,
    PolicyView,
    ReviewView,
    Risk,
    RuleDraft,
    VersionView,
)
from workflows.roles import Actor, Role
from workflows.storage import tables as t
from workflows.storage.paging import page_of

__all__ = [
    "anchor", "anchors", "ballot", "ballots_for", "comments", "diff", "figures_counts", "inbox", "leaves", "opening_names", "openings", "openings_document",
    "policies", "policy", "receipt", "results", "review_queue", "reviews", "timeline", "version", "versions",
    "workflow",
]  # fmt: skip

_AUTHOR = person_columns(_author, "author")


async def policies(
    connection: AsyncConnection,
    *,
    q: str = "",
    state: PolicyState | None = None,
    category: Category | None = None,
    strategy: Strategy | None = None,
    author: UUID | str | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> Page[PolicyItem]:
    """A page of policies, last changed first. Drafts are left out unless asked for by state or author.

    `q` is looked for in reference, title, summary and text; `author` is an id or a username.
    """
    statement = item_statement()
    if state is not None:
        statement = statement.where(t.policy.c.state == state)
    elif author is None:
        statement = statement.where(t.policy.c.state != PolicyState.DRAFT)
    if category is not None:
        statement = statement.where(t.policy.c.category == category)
    if strategy is not None:
        statement = statement.where(t.policy_version.c.strategy == strategy)
    if author is not None:
        column = _author.c.id if isinstance(author, UUID) else _author.c.username
        statement = statement.where(column == author)
    if wanted := q.strip().replace("\x00", ""):
        fields = (t.policy.c.ref, t.policy.c.title, t.policy.c.summary, t.policy_version.c.text)
        statement = statement.where(sa.or_(*(field.icontains(wanted, autoescape=True) for field in fields)))
    rows, following, previous = await page_of(
        connection, statement, t.policy.c.updated_at, t.policy.c.id, limit=limit, cursor=cursor
    )
    items = [policy_item(row) for row in rows]
    return Page(items=items, next=following, prev=previous, limit=limit, has_more=following is not None)


async def policy(connection: AsyncConnection, figures: Figures, ref: str) -> PolicyView:
    """A policy with its current version, review progress, anchors and ballot: two statements."""
    standing = (t.policy_version.c.policy_id == t.policy.c.id) & (
        t.policy_version.c.number == t.policy.c.current_version
    )
    voted = (t.ballot.c.policy_id == t.policy.c.id) & (t.ballot.c.version == t.policy.c.current_version)
    statement = (
        sa.select(
            *_version_columns(),
            *_AUTHOR,
            *(t.policy.c[name].label(f"policy_{name}") for name in t.policy.columns.keys()),  # noqa: SIM118
            *(t.ballot.c[name].label(f"ballot_{name}") for name in BallotSummary.__struct_fields__),
            _decisions().label("decisions"),
            compliance_gate.is_stopped(compliance_gate.last_judged_under()).label("stopped"),
        )
        .select_from(t.policy)
        .join(t.policy_version, standing)
        .join(_author, _author.c.id == t.policy.c.author_id)
        .outerjoin(t.ballot, voted)
        .where(t.policy.c.ref == ref)
    )
    row = (await connection.execute(statement)).mappings().one_or_none()
    if row is None:
        raise NotFound(f"There is no policy {ref}.", code="no_policy")
    strategy = Strategy(row["strategy"])
    given = msgspec.convert(row["decisions"] or [], list[ReviewGiven])
    own = {name.removeprefix("policy_"): value for name, value in row.items() if name.startswith("policy_")}
    return build(
        PolicyView,
        own,
        id=row["policy_id"],
        author=person_view(row, "author"),
        version=_version_view(row),
        versions=row["policy_current_version"],
        risk=_risk(row, row["policy_requested_strategy"]),
        rules=applicable(figures, strategy, row["policy_emergency"]),
        review=review_progress(figures.tier(strategy), row["author_id"], given),
        stopped=bool(row["stopped"]),
        anchors=await _anchors_of(connection, row["policy_id"]),
        ballot=_ballot_summary(row),
    )


def _ballot_summary(row: sa.RowMapping) -> BallotSummary | None:
    if row["ballot_state"] is None:
        return None
    own = {name.removeprefix("ballot_"): value for name, value in row.items() if name.startswith("ballot_")}
    return build(BallotSummary, own)


def _risk(row: sa.RowMapping, requested: str | None) -> Risk:
    level = RiskLevel(row["risk_level"])
    return Risk(
        level=level,
        assessed=list(Strategy)[list(RiskLevel).index(level)],
        requested=Strategy(requested) if requested else None,
        strategy=Strategy(row["strategy"]),
        evidence=msgspec.convert(row["risk_evidence"], list[Evidence]),
    )


def _decisions() -> sa.ScalarSelect:
    """The decisions on the standing version as JSON, each with the fields of ReviewGiven."""
    r = t.review.c
    decision = sa.func.json_build_object(
        "reviewer_id", r.reviewer_id, "capacity", sa.func.to_json(r.capacity), "decision", r.decision
    )
    about = (r.policy_id == t.policy.c.id) & (r.version == t.policy.c.current_version)
    return sa.select(sa.func.json_agg(decision)).where(about).scalar_subquery()


async def _anchors_of(connection: AsyncConnection, policy_id: UUID) -> list[Any]:
    statement = (
        sa.select(t.anchor, t.policy.c.ref)
        .join(t.policy, t.policy.c.id == t.anchor.c.policy_id)
        .where(t.anchor.c.policy_id == policy_id)
        .order_by(t.anchor.c.kind != AnchorKind.POLICY, t.anchor.c.queued_at)
    )
    return [anchor_view(row) for row in (await connection.execute(statement)).mappings()]


# Versions


def _version_columns() -> list[sa.ColumnElement[Any]]:
    return [c for c in t.policy_version.c if c.name not in ("author_id", "policy_id")]


def _version_statement(ref: str) -> sa.Select:
    return (
        sa.select(*_version_columns(), *_AUTHOR)
        .join(t.policy, t.policy.c.id == t.policy_version.c.policy_id)
        .join(_author, _author.c.id == t.policy_version.c.author_id)
        .where(t.policy.c.ref == ref)
        .order_by(t.policy_version.c.number)
    )


def _version_view(row: sa.RowMapping) -> VersionView:
    rule = None
    if row["rule_engine"] is not None:
        rule = RuleDraft(engine=row["rule_engine"], source=row["rule_source"], examples=row["rule_examples"])
    hashed = rule_record(rule)
    return build(
        VersionView,
        row,
        rule=rule,
        rule_sha256=sha256_hex(rfc8785.dumps(hashed)) if hashed else None,
        constitution=AmendedDocument(
            text=row["constitution_text"],
            sha256=row["constitution_sha256"],
            base_sha256=row["constitution_base_sha256"],
        )
        if row["constitution_text"] is not None
        else None,
        author=person_view(row, "author"),
    )


async def versions(connection: AsyncConnection, ref: str) -> list[VersionView]:
    """All versions, oldest first."""
    found = [_version_view(row) for row in (await connection.execute(_version_statement(ref))).mappings()]
    if not found:
        raise NotFound(f"There is no policy {ref}.", code="no_policy")
    return found


async def version(connection: AsyncConnection, ref: str, number: int) -> VersionView:
    return (await _versions_numbered(connection, ref, {number}))[number]


async def diff(connection: AsyncConnection, ref: str, from_: int, to: int) -> Diff:
    """What changed from version `from_` to version `to`."""
    found = await _versions_numbered(connection, ref, {from_, to})
    return differences.compare(ref, found[from_], found[to])


async def _versions_numbered(
    connection: AsyncConnection, ref: str, numbers: set[int]
) -> dict[int, VersionView]:
    wanted = [number for number in numbers if 0 < number < 2**31]
    statement = _version_statement(ref).where(t.policy_version.c.number.in_(wanted))
    found = {row["number"]: _version_view(row) for row in (await connection.execute(statement)).mappings()}
    for number in sorted(numbers - set(found)):
        raise NotFound(f"There is no version {number} of {ref}.", code="no_version")
    return found


# Review and discussion


async def reviews(connection: AsyncConnection, ref: str) -> list[ReviewView]:
    """Every decision on any version, newest first; `void` where the text has changed since."""
    statement = (
        sa.select(t.review, *_AUTHOR, t.policy.c.current_version)
        .join(t.policy, t.policy.c.id == t.review.c.policy_id)
        .join(_author, _author.c.id == t.review.c.reviewer_id)
        .where(t.policy.c.ref == ref)
        .order_by(t.review.c.created_at.desc(), t.review.c.id.desc())
    )
    found = [
        build(
            ReviewView,
            row,
            reviewer=person_view(row, "author"),
            reason=row["reason"] or ERASED,
            void=row["version"] != row["current_version"],
        )
        for row in (await connection.execute(statement)).mappings()
    ]
    if not found:
        await _insist_known(connection, ref)
    return found


async def comments(connection: AsyncConnection, ref: str) -> list[CommentView]:
    """The discussion, oldest first; `body_html` is safe to show."""
    c = t.comment.c
    statement = (
        sa.select(c.id, c.version, c.reply_to, c.body, c.created_at, *_AUTHOR)
        .join(t.policy, t.policy.c.id == c.policy_id)
        .join(_author, _author.c.id == c.author_id)
        .where(t.policy.c.ref == ref)
        .order_by(c.created_at, c.id)
    )
    found = [
        build(
            CommentView,
            row,
            author=person_view(row, "author"),
            body=row["body"] or ERASED,
            body_html=to_html(row["body"] or ERASED),
        )
        for row in (await connection.execute(statement)).mappings()
    ]
    if not found:
        await _insist_known(connection, ref)
    return found


async def _insist_known(connection: AsyncConnection, ref: str) -> None:
    statement = sa.select(t.policy.c.id).where(t.policy.c.ref == ref)
    if (await connection.execute(statement)).one_or_none() is None:
        raise NotFound(f"There is no policy {ref}.", code="no_policy")


# What waits for a person


def _to_review(actor: Actor) -> sa.ColumnElement[bool]:
    decided = sa.exists().where(
        t.review.c.policy_id == t.policy.c.id,
        t.review.c.version == t.policy.c.current_version,
        t.review.c.reviewer_id == actor.id,
    )
    return sa.and_(
        t.policy.c.state == PolicyState.IN_REVIEW,
        t.policy.c.author_id != actor.id,
        ~decided,
        sa.literal(actor.has(Role.REVIEWER, Role.COUNCIL)),
    )


async def review_queue(connection: AsyncConnection, actor: Actor) -> list[PolicyItem]:
    """Policies this person may review and has not decided on, longest waiting first."""
    statement = item_statement().where(_to_review(actor)).order_by(t.policy.c.updated_at, t.policy.c.id)
    return [policy_item(row) for row in (await connection.execute(statement)).mappings()]


def waiting(
    actor: Actor, constitution_sha256: str, now: datetime | sa.ColumnElement[datetime]
) -> sa.Subquery:
    """Reviews and ballots that wait for this person, policies returned to them or stopped, questions put to them, and what
    waits for their office: (kind, ref, title, due).
    """
    columns = (t.policy.c.ref, t.policy.c.title)
    none = sa.null().cast(sa.DateTime(timezone=True))
    voted = sa.exists().where(
        t.vote.c.ballot_id == t.ballot.c.id, t.vote.c.voter_id == actor.id, t.vote.c.superseded_at.is_(None)
    )
    to_vote = (
        sa.select(sa.literal("vote").label("kind"), *columns, t.ballot.c.closes_at.label("due"))
        .join(t.ballot, t.ballot.c.policy_id == t.policy.c.id)
        .join(t.elector, t.elector.c.ballot_id == t.ballot.c.id)
        .where(
            t.elector.c.person_id == actor.id,
            t.ballot.c.state == BallotState.OPEN,
            t.ballot.c.closes_at > now,
            ~voted,
        )
    )
    to_review = sa.select(sa.literal("review"), *columns, none).where(_to_review(actor))
    returned = sa.select(sa.literal("returned"), *columns, none).where(
        t.policy.c.author_id == actor.id, t.policy.c.state == PolicyState.RETURNED
    )
    offices = _of_violations(actor, now)
    stopped = _stopped(actor, constitution_sha256)
    return sa.union_all(to_vote, to_review, returned, _to_decide(actor), *stopped, *offices).subquery()


def _to_decide(actor: Actor) -> sa.Select[Any]:
    """Whether a version complies, where this person was asked and the answer still decides something (§ 4.10)."""
    question = t.compliance_question.c
    return (
        sa.select(sa.literal("compliance"), t.policy.c.ref, t.policy.c.title, question.due_at)
        .select_from(t.compliance_asked)
        .join(t.compliance_question, question.id == t.compliance_asked.c.question_id)
        .join(t.validation, t.validation.c.id == question.validation_id)
        .join(t.policy, t.policy.c.id == t.validation.c.policy_id)
        .where(
            t.compliance_asked.c.person_id == actor.id,
            question.decided_at.is_(None),
            t.policy.c.author_id != actor.id,
            t.policy.c.current_version == t.validation.c.version,
            t.policy.c.state.in_((PolicyState.IN_REVIEW, PolicyState.PUBLIC_COMMENT, PolicyState.ENACTED)),
        )
    )


def _stopped(actor: Actor, constitution_sha256: str) -> list[sa.Select[Any]]:
    """Versions found not to comply: their author may mend them, and the others of the council override that (§ 4.11)."""
    none = sa.null().cast(sa.DateTime(timezone=True))

    def those(kind: str, *where: sa.ColumnElement[bool]) -> sa.Select[Any]:
        on_its_way = t.policy.c.state.in_((PolicyState.IN_REVIEW, PolicyState.PUBLIC_COMMENT))
        found = sa.select(sa.literal(kind), t.policy.c.ref, t.policy.c.title, none)
        return found.where(on_its_way, *where, compliance_gate.is_stopped(constitution_sha256))

    said = sa.exists().where(
        t.compliance_override.c.person_id == actor.id,
        t.compliance_override.c.validation_id == t.validation.c.id,
        t.validation.c.policy_id == t.policy.c.id,
        t.validation.c.version == t.policy.c.current_version,
    )
    theirs = t.policy.c.author_id == actor.id
    council = [those("override", ~theirs, ~said)] if actor.has(Role.COUNCIL) else []
    return [those("stopped", theirs), *council]


def _of_violations(actor: Actor, now: datetime | sa.ColumnElement[datetime]) -> list[sa.Select[Any]]:
    """Restrictions that concern this person, who may appeal (§ 8.3); for offices violations beyond what is answered
    automatically (§ 8.5), and appeals in which this person has no part (§ 2.3).
    """
    about = (t.violation.c.ref, t.violation.c.summary)
    answers = (
        sa.select(sa.literal("violation"), *about, sa.null().cast(sa.DateTime(timezone=True)))
        .join(t.workflow, t.workflow.c.id == t.violation.c.workflow_id)
        .where(
            t.violation.c.state == ViolationState.OPEN,
            t.workflow.c.status == WorkflowStatus.WAITING_APPROVAL,
        )
    )
    judges = (
        sa.select(sa.literal("appeal"), *about, t.appeal.c.due_at)
        .join(t.restriction, t.restriction.c.violation_id == t.violation.c.id)
        .join(t.appeal, t.appeal.c.restriction_id == t.restriction.c.id)
        .where(
            t.appeal.c.decided_at.is_(None),
            t.appeal.c.made_by != actor.id,
            t.restriction.c.imposed_by.is_distinct_from(actor.id),
        )
    )
    concerns = (
        sa.select(sa.literal("restricted"), *about, t.restriction.c.expires_at)
        .join(t.restriction, t.restriction.c.violation_id == t.violation.c.id)
        .where(
            t.restriction.c.subject == actor.username,
            t.restriction.c.level != Ladder.LOG_WARNING,
            t.restriction.c.lifted_at.is_(None),
            t.restriction.c.expires_at > now,
        )
    )
    return [
        concerns,
        *([answers] if actor.has(Role.COUNCIL, Role.OPERATOR, Role.OMBUDSPERSON) else []),
        *([judges] if actor.has(Role.COUNCIL, Role.OMBUDSPERSON) else []),
    ]


async def inbox(
    connection: AsyncConnection,
    actor: Actor,
    constitution_sha256: str,
    now: datetime | sa.ColumnElement[datetime],
) -> list[InboxItem]:
    """What waits for this person; what ends first comes first."""
    everything = waiting(actor, constitution_sha256, now)
    statement = sa.select(everything).order_by(everything.c.due.asc().nulls_last(), everything.c.ref)
    texts = {
        "vote": "Vote before the ballot closes.",
        "review": "Review this version.",
        "returned": "It was returned to you; amend it or withdraw it.",
        "compliance": "Decide whether it complies with the constitution: the analysis is not sure.",
        "stopped": "It was found not to comply with the constitution. Amend it, or withdraw it.",
        "override": "It was found not to comply with the constitution. Say whether it comes to its ballot all the same.",
        "violation": "Answer it: it goes beyond what machines may do.",
        "appeal": "Judge the appeal against a restriction.",
        "restricted": "What you do is restricted because of this. You may appeal.",
    }
    return [
        InboxItem(kind=row.kind, ref=row.ref, title=row.title, text=texts[row.kind], due=row.due)
        for row in await connection.execute(statement)
    ]


async def figures_counts(connection: AsyncConnection) -> dict[str, Any]:
    """For the home page: {policies: {state: n}, members, open_ballots, votes_cast, anchored, audit_entries}.

    Votes are those of closed ballots: what is being cast is not told before the close.
    """

    def count(table: sa.Table, *where: sa.ColumnElement[bool]) -> sa.ScalarSelect:
        return sa.select(sa.func.count()).select_from(table).where(*where).scalar_subquery()

    votes = sa.select(
        sa.func.coalesce(
            sa.func.sum(t.ballot.c.votes_for + t.ballot.c.votes_against + t.ballot.c.votes_abstain), 0
        )
    ).scalar_subquery()
    states = (
        sa.select(t.policy.c.state, sa.func.count().label("n")).group_by(t.policy.c.state).subquery("states")
    )
    by_state = sa.select(sa.func.json_object_agg(states.c.state, states.c.n, type_=sa.JSON)).scalar_subquery()
    statement = sa.select(
        by_state.label("policies"),
        count(t.person, t.person.c.active, t.person.c.roles.contains([Role.MEMBER])).label("members"),
        count(t.ballot, t.ballot.c.state == BallotState.OPEN).label("open_ballots"),
        votes.label("votes_cast"),
        count(t.anchor, t.anchor.c.state == "finalized").label("anchored"),
        count(t.audit_entry).label("audit_entries"),
    )
    row = (await connection.execute(statement)).mappings().one()
    stored = row["policies"] or {}
    return {**row, "policies": {str(state): stored.get(state, 0) for state in PolicyState}}
