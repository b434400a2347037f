"""What pages and the API show of compliance: validations, questions, overrides, batches, labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.constitution.figures import Figures
from workflows.constitutional_compliance import gate, overrides, questions
from workflows.constitutional_compliance import people_queries as people
from workflows.constitutional_compliance.findings import Result
from workflows.constitutional_compliance.people_queries import mine, question
from workflows.constitutional_compliance.views import (
    BatchItem,
    BatchView,
    ChainView,
    ClassifierView,
    LabelView,
    PolicyCompliance,
    QuestionView,
    Queue,
    ValidationItem,
    ValidationView,
)
from workflows.errors import NotFound
from workflows.kinds import (
    AnchorKind,
    Compliance,
    PolicyState,
    StageStatus,
    ValidationCause,
    WorkflowStatus,
)
from workflows.policy_creation.rows import build, person_columns, person_view
from workflows.policy_creation.views import Page
from workflows.roles import Actor, may_answer_compliance, may_override, may_read_validation
from workflows.storage import tables as t
from workflows.storage.paging import page_of

__all__ = [
    "all_labels", "asked_by", "batch", "checks", "classifiers", "for_policy", "labels", "measured", "mine", "one",
    "open_questions", "question", "queue", "recent",
]  # fmt: skip

MOST = 100
_v, _q = t.validation.c, t.compliance_question.c
_asker = t.person.alias("asker")
_EFFECTIVE = sa.case(
    (_v.overridden_at.is_not(None), sa.literal(str(Compliance.COMPLIANT))), else_=sa.func.coalesce(_q.answer, _v.verdict)
)  # fmt: skip
_STATE = sa.case(
    (_v.made_at.is_not(None), sa.literal("judged")),
    (t.workflow.c.status == WorkflowStatus.FAILED, sa.literal("failed")),
    (t.workflow.c.status == WorkflowStatus.CANCELLED, sa.literal("called_off")),
    (t.workflow_stage.c.attempts > 0, sa.literal("retrying")),
    else_=sa.literal("waiting"),
)
_OFFICIAL = sa.and_(_v.policy_id.is_not(None), _v.cause != ValidationCause.REQUESTED)


def _items(*more: Any) -> sa.Select[Any]:
    analysis = (t.workflow_stage.c.workflow_id == _v.workflow_id) & (
        t.workflow_stage.c.key == "constitutional_analysis"
    )
    return (
        sa.select(
            _v.id, _v.ref, _v.cause, _v.level, _v.version, _v.verdict, _v.score, _v.confidence, _v.created_at, _v.made_at,
            t.policy.c.ref.label("policy_ref"),
            t.policy.c.title.label("policy_title"),
            _STATE.label("state"),
            _EFFECTIVE.label("effective"),
            people.findings_counted().label("findings"),
            *more,
        )
        .select_from(t.validation)
        .join(t.workflow, t.workflow.c.id == _v.workflow_id)
        .join(t.workflow_stage, analysis)
        .outerjoin(t.policy, t.policy.c.id == _v.policy_id)
        .outerjoin(t.compliance_question, _q.validation_id == _v.id)
    )  # fmt: skip


def _item(row: Mapping[Any, Any]) -> ValidationItem:
    return build(ValidationItem, row)


async def _listed(connection: AsyncConnection, query: sa.Select[Any]) -> list[ValidationItem]:
    return [_item(row) for row in (await connection.execute(query)).mappings()]


async def one(
    connection: AsyncConnection,
    which: str | UUID,
    *,
    figures: Figures,
    sha256: str,
    now: datetime,
    actor: Actor | None = None,
) -> ValidationView:
    """A validation by its reference, its id or its workflow's. Raises NotFound, also where a text is somebody else's."""
    found = await _views(connection, [_named(which)], figures, sha256, now, actor)
    if not found:
        raise NotFound(f"There is no validation {which}.", code="no_validation")
    return found[0]


def _named(which: str | UUID) -> sa.ColumnElement[bool]:
    return sa.or_(_v.id == which, _v.workflow_id == which) if isinstance(which, UUID) else _v.ref == which


async def _views(
    connection: AsyncConnection,
    where: Sequence[sa.ColumnElement[bool]],
    figures: Figures,
    sha256: str,
    now: datetime,
    actor: Actor | None,
) -> list[ValidationView]:
    """Those the reader may see, in the order of their batch."""
    query = (
        _items(
            *person_columns(_asker, "asker"),
            _v.workflow_id, _v.text, _v.text_sha256, _v.constitution_sha256, _v.batch_id, _v.position, _v.result,
            _v.overridden_at, _v.policy_id, _v.asked_by, t.policy.c.author_id, t.policy.c.state.label("policy_state"),
            t.workflow.c.error, t.workflow_stage.c.attempts, t.workflow_stage.c.retry_at,
            t.workflow_stage.c.error.label("last_error"),
            t.workflow_stage.c.status.label("stage_status"),
        )
        .outerjoin(_asker, _asker.c.id == _v.asked_by)
        .where(*where)
        .order_by(_v.position, _v.created_at, _v.id)
    )  # fmt: skip
    rows = [
        row
        for row in (await connection.execute(query)).mappings()
        if row["policy_id"] is not None or may_read_validation(actor, row["asked_by"])
    ]
    official = [row for row in rows if row["policy_id"] and row["cause"] != ValidationCause.REQUESTED]
    asked = (
        await people.put(connection, now, _q.validation_id.in_([row["id"] for row in official]))
        if official
        else []
    )
    voted = await people.overridden(connection, official, figures)
    chained = await _chain(connection, [row for row in rows if row["policy_id"]])
    by_ref = {each.validation: each for each in asked}
    return [
        build(
            ValidationView,
            row,
            text=row["text"],
            text_sha256=row["text_sha256"],
            in_force=row["constitution_sha256"] == sha256,
            asked_by=person_view(row, "asker") if row["asker_id"] else None,
            error=row["error"] or row["last_error"],
            retry_at=row["retry_at"] if row["state"] == "retrying" and row["stage_status"] == StageStatus.IN_PROGRESS else None,
            result=msgspec.convert(row["result"], Result, strict=False) if row["result"] else None,
            question=by_ref.get(row["ref"]),
            override=voted.get(row["id"]),
            chain=chained.get(row["id"]),
        )
        for row in rows
    ]  # fmt: skip


async def for_policy(
    connection: AsyncConnection,
    ref: str,
    *,
    figures: Figures,
    sha256: str,
    now: datetime,
    actor: Actor | None = None,
) -> PolicyCompliance:
    """How a policy stands with the constitution. Raises NotFound."""
    p = t.policy.c
    row = (
        (
            await connection.execute(
                sa.select(p.id, p.author_id, p.current_version, p.state).where(p.ref == ref)
            )
        )
        .mappings()
        .one_or_none()
    )
    if row is None:
        raise NotFound(f"There is no policy {ref}.", code="no_policy")
    standing = await gate.standing(connection, ref, sha256)
    history = (
        _items().where(_OFFICIAL, _v.policy_id == row["id"]).order_by(_v.created_at.desc(), _v.id.desc())
    )
    items = await _listed(connection, history.limit(MOST))
    newest = next((item for item in items if item.version == row["current_version"]), None)
    wanted = [each for each in {newest.ref if newest else None, standing.validation} if each]
    views = (
        {
            view.ref: view
            for view in await _views(connection, [_v.ref.in_(wanted)], figures, sha256, now, actor)
        }
        if wanted
        else {}
    )
    deciding = views.get(standing.validation or "")
    shown = views.get(newest.ref) if newest else None
    question = next((view.question for view in (shown, deciding) if view and view.question), None)
    return PolicyCompliance(
        ref=ref,
        version=row["current_version"],
        standing=standing,
        newest=shown,
        decided_by=standing.validation if standing.state.startswith(("answered", "overridden")) else None,
        history=items,
        question=question,
        override=deciding.override if deciding else None,
        **_may(actor, row, standing, question),
    )


def _may(
    actor: Actor | None, row: sa.RowMapping, standing: gate.Standing, question: QuestionView | None
) -> dict[str, Any]:
    """What the reader may do about it, and why not where somebody may."""
    open_question = question is not None and question.answer is None and row["state"] in questions.MATTERS
    answer, override, why = False, False, ""
    if open_question and question is not None:
        asked = actor is not None and any(person.id == actor.id for person in question.asked)
        verdict = may_answer_compliance(actor, row["author_id"], is_asked=asked)
        answer, why = bool(verdict), getattr(verdict, "why", "")
    elif standing.state in gate.BLOCKED and row["state"] in overrides.ON_ITS_WAY:
        verdict = may_override(actor, row["author_id"])
        override, why = bool(verdict), getattr(verdict, "why", "")
    return {"may_answer": answer, "may_override": override, "why_not": why}


async def _chain(connection: AsyncConnection, rows: Sequence[sa.RowMapping]) -> dict[UUID, ChainView]:
    """What the program on chain said of the records of policies in force, in the version that was judged."""
    if not rows:
        return {}
    a, c = t.anchor.c, t.chain_compliance.c
    query = (
        sa.select(a.policy_id, a.version, c.passed, c.code, c.says, c.slot, c.checked_at)
        .join(t.chain_compliance, c.anchor_id == a.id)
        .where(a.kind == AnchorKind.POLICY, a.policy_id.in_([row["policy_id"] for row in rows]))
        .order_by(c.checked_at)
    )
    said = {(row["policy_id"], row["version"]): row for row in (await connection.execute(query)).mappings()}
    return {row["id"]: _said(row, said.get((row["policy_id"], row["version"]))) for row in rows}


def _said(row: sa.RowMapping, found: sa.RowMapping | None) -> ChainView:
    if found is not None:
        return ChainView(
            checked=True,
            passed=found["passed"],
            code=found["code"],
            says=found["says"],
            slot=found["slot"],
            at=found["checked_at"],
        )
    in_force = row["policy_state"] in (PolicyState.ENACTED, PolicyState.SUSPENDED)
    why = (
        "Its record is not final on Solana yet."
        if in_force
        else "Only policies in force have a record on Solana."
    )
    return ChainView(checked=False, why=why)


async def queue(connection: AsyncConnection, now: datetime, *, limit: int = 50) -> Queue:
    """What waits for machines and for people, of policies; texts that people had judged for themselves are only counted."""
    on_its_way = t.policy.c.state.in_(overrides.ON_ITS_WAY) & (t.policy.c.current_version == _v.version)
    waiting = sa.and_(
        _v.made_at.is_(None), t.workflow.c.status.not_in((WorkflowStatus.FAILED, WorkflowStatus.CANCELLED))
    )
    failed = sa.and_(_v.made_at.is_(None), t.workflow.c.status == WorkflowStatus.FAILED, on_its_way)
    blocked = sa.and_(
        on_its_way,
        _EFFECTIVE == Compliance.NON_COMPLIANT,
        ~_superseded(),
    )  # fmt: skip
    counts = sa.select(
        *(
            sa.select(sa.func.count())
            .select_from(_items().where(where).subquery())
            .scalar_subquery()
            .label(name)
            for name, where in (
                ("waiting", sa.and_(waiting, _OFFICIAL)),
                ("requested", sa.and_(waiting, ~_OFFICIAL)),
                ("failed", sa.and_(failed, _OFFICIAL)),
                ("blocked", sa.and_(blocked, _OFFICIAL)),
            )
        ),
        sa.select(sa.func.count())
        .select_from(t.compliance_question)
        .join(t.validation, _v.id == _q.validation_id)
        .join(t.policy, t.policy.c.id == _v.policy_id)
        .where(questions.open_ones())
        .scalar_subquery()
        .label("questions"),
    )
    oldest = (_v.created_at, _v.id)
    return Queue(
        waiting=await _listed(connection, _items().where(waiting, _OFFICIAL).order_by(*oldest).limit(limit)),
        failed=await _listed(connection, _items().where(failed, _OFFICIAL).order_by(*oldest).limit(limit)),
        questions=await people.put(connection, now, questions.open_ones(), limit=limit),
        blocked=await _listed(connection, _items().where(blocked, _OFFICIAL).order_by(*oldest).limit(limit)),
        counts={
            str(name): value for name, value in (await connection.execute(counts)).mappings().one().items()
        },
    )


def _superseded() -> sa.ColumnElement[bool]:
    """Whether a later validation counts for the same version."""
    later = t.validation.alias("later")
    return sa.exists().where(
        later.c.policy_id == _v.policy_id,
        later.c.version == _v.version,
        later.c.cause != ValidationCause.REQUESTED,
        sa.tuple_(later.c.created_at, later.c.id) > sa.tuple_(_v.created_at, _v.id),
    )


async def recent(
    connection: AsyncConnection,
    *,
    limit: int = 50,
    cursor: str | None = None,
    verdict: Compliance | None = None,
) -> Page[ValidationItem]:
    """Validations of policies that were made, newest first."""
    query = _items().where(_OFFICIAL, _v.made_at.is_not(None))
    if verdict is not None:
        query = query.where(_v.verdict == verdict)
    return await _page(connection, query, _v.made_at, limit, cursor)


async def asked_by(
    connection: AsyncConnection, actor: Actor, *, limit: int = 50, cursor: str | None = None
) -> Page[ValidationItem]:
    """What the reader had judged for themselves, newest first."""
    query = _items().where(_v.cause == ValidationCause.REQUESTED, _v.asked_by == actor.id)
    return await _page(connection, query, _v.created_at, limit, cursor)


async def _page(
    connection: AsyncConnection, query: sa.Select[Any], moment: Any, limit: int, cursor: str | None
) -> Page[ValidationItem]:
    rows, after, before = await page_of(connection, query, moment, _v.id, limit=limit, cursor=cursor)
    items = [_item(row) for row in rows]
    return Page(items=items, next=after, prev=before, limit=limit, has_more=after is not None)


async def batch(
    connection: AsyncConnection,
    id: UUID,
    *,
    figures: Figures,
    sha256: str,
    now: datetime,
    actor: Actor | None = None,
) -> BatchView:
    """A batch with one validation or one problem for each item, in order. Raises NotFound, also where it is another's."""
    b = t.validation_batch.c
    row = (await connection.execute(sa.select(t.validation_batch).where(b.id == id))).mappings().one_or_none()
    if row is None or not may_read_validation(actor, row["asked_by"]):
        raise NotFound("There is no such batch.", code="no_batch")
    views = await _views(connection, [_v.batch_id == id], figures, sha256, now, actor)
    items = [BatchItem(position=view.position or 0, validation=view, problem=None) for view in views]
    for each in row["problems"]:
        problem = {name: value for name, value in each.items() if name != "position"}
        items.append(BatchItem(position=each["position"], validation=None, problem=problem))
    states = [view.state for view in views]
    return BatchView(
        id=id,
        total=row["total"],
        made=states.count("judged"),
        failed=states.count("failed"),
        waiting=len(states) - states.count("judged") - states.count("failed"),
        problems=len(row["problems"]),
        created_at=row["created_at"],
        items=sorted(items, key=lambda item: item.position),
    )


async def labels(
    connection: AsyncConnection,
    *,
    limit: int = 50,
    cursor: str | None = None,
    principle: str | None = None,
) -> Page[LabelView]:
    """What people said of clauses, newest first."""
    c = t.compliance_label.c
    query = _labels()
    if principle:
        query = query.where(c.principle == principle)
    rows, after, before = await page_of(connection, query, c.made_at, c.id, limit=limit, cursor=cursor)
    return Page(
        items=[_label(row) for row in rows], next=after, prev=before, limit=limit, has_more=after is not None
    )


async def all_labels(connection: AsyncConnection) -> list[LabelView]:
    """Every label, oldest first."""
    c = t.compliance_label.c
    return [_label(row) for row in (await connection.execute(_labels().order_by(c.made_at, c.id))).mappings()]


def _labels() -> sa.Select[Any]:
    c = t.compliance_label.c
    return (
        sa.select(t.compliance_label, _v.ref.label("validation"), *person_columns(t.person, "person"))
        .outerjoin(t.validation, _v.id == c.validation_id)
        .outerjoin(t.person, t.person.c.id == c.labelled_by)
    )


def _label(row: Mapping[Any, Any]) -> LabelView:
    return build(LabelView, row, labelled_by=person_view(row, "person") if row["person_id"] else None)


async def measured(connection: AsyncConnection, sha256: str) -> dict[str, Any] | None:
    """What was measured of heads that were fitted here; None of others."""
    query = sa.select(t.classifier.c.measured).where(t.classifier.c.sha256 == sha256)
    return (await connection.execute(query)).scalar_one_or_none()


async def checks(connection: AsyncConnection) -> dict[str, int]:
    """How many judgements were made, by verdict."""
    query = sa.select(_v.verdict, sa.func.count()).where(_v.verdict.is_not(None)).group_by(_v.verdict)
    counts = {row[0]: row[1] for row in await connection.execute(query)}
    return {str(verdict): counts.get(verdict, 0) for verdict in Compliance}


async def open_questions(connection: AsyncConnection, now: datetime) -> tuple[int, int]:
    """How many questions wait for people, and how many of them are overdue."""
    query = (
        sa.select(sa.func.count(), sa.func.count().filter(_q.due_at <= now))
        .select_from(t.compliance_question)
        .join(t.validation, _v.id == _q.validation_id)
        .join(t.policy, t.policy.c.id == _v.policy_id)
        .where(questions.open_ones())
    )
    waiting, overdue = (await connection.execute(query)).one()
    return waiting, overdue


async def classifiers(connection: AsyncConnection) -> list[ClassifierView]:
    """The heads that were fitted here, newest first."""
    c, active = t.classifier.c, t.classifier_active.c
    query = (
        sa.select(
            c.sha256, c.embedder, c.corpus_sha256, c.labels, c.measured, c.fitted_at,
            active.sha256.is_not(None).label("active"),
        )
        .outerjoin(t.classifier_active, active.sha256 == c.sha256)
        .order_by(c.fitted_at.desc(), c.sha256)
    )  # fmt: skip
    return [build(ClassifierView, row) for row in (await connection.execute(query)).mappings()]
