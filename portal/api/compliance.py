"""What people decide of compliance, and what is known of it, for programs: questions, overrides, labels, accuracy."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, PathParameter, QueryParameter
from msgspec import Meta
from sqlalchemy.ext.asyncio import AsyncConnection

from portal.api.answers import Items, Listing, fresh, problems
from portal.api.bodies import Input, StrictJSON
from portal.api.constitutional_compliance import TAGS, governed
from portal.api.http import idempotent, paged
from portal.api.parameters import NO_NUL, Cursor, Limit, Ref
from portal.api.shapes import Reason
from portal.auth.guards import public, requires
from portal.compliance import measured
from portal.exports import record_export
from portal.services import services
from workflows.constitution.document import Constitution
from workflows.constitutional_compliance import (
    agreement,
    asking,
    classifiers,
    labels,
    overrides,
    queries,
    questions,
    tiers,
)
from workflows.constitutional_compliance.labels import Labelled
from workflows.constitutional_compliance.views import (
    AccuracyView,
    ClassifierView,
    Disagreement,
    LabelView,
    PolicyCompliance,
    QuestionView,
    Queue,
    ValidationItem,
    ValidationView,
)
from workflows.kinds import Compliance, LabelKind, Strategy
from workflows.policy_creation.views import View
from workflows.roles import (
    Actor,
    may_answer_questions,
    may_ask_validation,
    may_export_labels,
    may_operate,
    may_override_findings,
    may_propose,
)
from workflows.storage.unit import Unit, governance_now

PATH = "/api/v1/compliance"
ValidationRef = Annotated[
    str,
    PathParameter(description="The validation's reference, as VAL-2026-0001.", max_length=40, pattern=NO_NUL),
]


class LabelIn(Input):
    """What the clause of one finding does to its principle, as you see it."""

    finding: Annotated[int, Meta(ge=0, le=10_000, description="The finding's place in the result, from 0.")]
    label: LabelKind


class AnswerIn(Input):
    answer: Annotated[Compliance, Meta(description="compliant or non_compliant.")]
    reason: Reason
    labels: Annotated[list[LabelIn], Meta(max_length=500)] = msgspec.field(default_factory=list)


class OverrideIn(Input):
    support: Annotated[
        bool, Meta(description="Whether it should come to its ballot in spite of the finding.")
    ]
    reason: Reason


class TierIn(Input):
    strategy: Annotated[Strategy, Meta(description="A stricter one than the version has.")]


class Requested(msgspec.Struct, frozen=True):
    """It is under way; what comes of it shows at `links.classifiers`."""

    links: dict[str, str]


class Again(View):
    validation: str
    links: dict[str, str]


@get(
    "/api/v1/policies/{ref:str}/compliance",
    guards=[public],
    conditional=True,
    tags=TAGS,
    summary="Read how a policy stands with the constitution",
    description="Whether its ballot may open and why, the newest judgement with its findings, the question to people, the override of "
    "the council, and all judgements before.",
    responses=problems(404),
)
async def of_policy(
    request: Request,
    ref: Ref,
    reader: NamedDependency[AsyncConnection],
    actor: NamedDependency[Actor | None],
) -> Response[PolicyCompliance]:
    found = await queries.for_policy(reader, ref, **await governed(reader, services(request)), actor=actor)
    return fresh(request, found)


@post(
    "/api/v1/policies/{ref:str}/tier",
    status_code=200,
    guards=[requires(may_propose)],
    dto=StrictJSON,
    example={"strategy": "human_review"},
    tags=TAGS,
    summary="Ask for a stricter tier",
    description="For the proposer, until the ballot opens (§ 4.1); never a milder one. Reviews, comment period and analysis are those of "
    "the stricter tier from now on.",
    responses=problems(401, 403, 404, 409, 413, 415),
)
@idempotent
async def raise_tier(
    request: Request,
    ref: Ref,
    unit: NamedDependency[Unit],
    constitution: NamedDependency[Constitution],
    data: JSONBody[TierIn],
) -> PolicyCompliance:
    await tiers.raise_by_author(unit, constitution.figures, ref, data.strategy)
    return await queries.for_policy(
        unit.connection, ref, **await governed(unit.connection, services(request)), actor=unit.actor
    )


@get(
    PATH + "/validations",
    guards=[public],
    tags=TAGS,
    summary="List judgements of policies",
    description="Newest first; those by which ballots may open.",
    responses=problems(),
)
async def listed(
    request: Request,
    reader: NamedDependency[AsyncConnection],
    verdict: Annotated[Compliance | None, QueryParameter(description="Only these.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response[Listing[ValidationItem]]:
    return paged(await queries.recent(reader, limit=limit, cursor=cursor, verdict=verdict), request)


@get(
    PATH + "/validations/mine",
    guards=[requires(may_ask_validation)],
    tags=TAGS,
    summary="List what you had judged",
    description="Your own texts and what you asked about policies, newest first.",
    responses=problems(401, 403),
)
async def mine(
    request: Request,
    reader: NamedDependency[AsyncConnection],
    actor: NamedDependency[Actor | None],
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response[Listing[ValidationItem]]:
    assert actor is not None
    return paged(await queries.asked_by(reader, actor, limit=limit, cursor=cursor), request)


@get(
    PATH + "/validations/{ref:str}",
    guards=[public],
    conditional=True,
    tags=TAGS,
    summary="Read a judgement by its reference",
    description="As VAL-2026-0001, with its result, question and override.",
    responses=problems(404),
)
async def by_ref(
    request: Request,
    ref: ValidationRef,
    reader: NamedDependency[AsyncConnection],
    actor: NamedDependency[Actor | None],
) -> Response[ValidationView]:
    return fresh(
        request, await queries.one(reader, ref, **await governed(reader, services(request)), actor=actor)
    )


@post(
    PATH + "/validations/{ref:str}/again",
    status_code=202,
    guards=[requires(may_operate)],
    tags=TAGS,
    summary="Judge again what failed",
    description="For operators, when a judgement failed for a technical reason after all its attempts. What people or analysers found "
    "is not asked anew by this.",
    responses=problems(401, 403, 404, 409),
)
@idempotent
async def again(request: Request, ref: ValidationRef, unit: NamedDependency[Unit]) -> Again:
    made = await asking.again(unit, ref)
    return Again(validation=made, links={"self": f"{PATH}/validations/{made}"})


@post(
    PATH + "/validations/{ref:str}/override",
    status_code=200,
    guards=[requires(may_override_findings)],
    dto=StrictJSON,
    example={"support": True, "reason": "The clause repeats § 5.3, and the finding misses that."},
    tags=TAGS,
    summary="Override a finding, as a member of the council",
    description="For or against bringing a version to its ballot that was found not to comply, with a reason (§ 4.11). It passes with "
    "the part of the council in the constitution's annex; its author neither votes nor counts. It may be said otherwise until then.",
    responses=problems(401, 403, 404, 409, 413, 415),
)
@idempotent
async def override(
    request: Request,
    ref: ValidationRef,
    unit: NamedDependency[Unit],
    constitution: NamedDependency[Constitution],
    data: JSONBody[OverrideIn],
) -> ValidationView:
    await overrides.vote(unit, constitution.figures, ref, data.support, data.reason)
    return await queries.one(
        unit.connection, ref, **await governed(unit.connection, services(request)), actor=unit.actor
    )


@get(
    PATH + "/questions",
    guards=[requires(may_answer_questions)],
    tags=TAGS,
    summary="List the questions put to you",
    description="Open ones, what is due first first.",
    responses=problems(401, 403),
)
async def my_questions(
    reader: NamedDependency[AsyncConnection], actor: NamedDependency[Actor | None]
) -> Items[QuestionView]:
    assert actor is not None
    return Items(await queries.mine(reader, actor, await governance_now(reader)))


@get(
    PATH + "/questions/{question_id:uuid}",
    guards=[public],
    conditional=True,
    tags=TAGS,
    summary="Read a question",
    description="Whom it was put to, until when, and what was decided and why.",
    responses=problems(404),
)
async def question(
    request: Request, question_id: FromPath[UUID], reader: NamedDependency[AsyncConnection]
) -> Response[QuestionView]:
    return fresh(request, await queries.question(reader, question_id, await governance_now(reader)))


@post(
    PATH + "/questions/{question_id:uuid}/answer",
    status_code=200,
    guards=[requires(may_answer_questions)],
    dto=StrictJSON,
    example={
        "answer": "compliant",
        "reason": "It shortens no ballot: it only says when the count is published.",
        "labels": [{"finding": 0, "label": "neutral"}],
    },
    tags=TAGS,
    summary="Decide whether a text complies",
    description="For who was asked (§ 4.10), with a reason. With `labels` you say what the clauses of single findings do to their "
    "principles; classifiers learn from that.",
    responses=problems(401, 403, 404, 409, 413, 415),
)
@idempotent
async def answer(
    request: Request, question_id: FromPath[UUID], unit: NamedDependency[Unit], data: JSONBody[AnswerIn]
) -> QuestionView:
    labelled = [Labelled(item.finding, item.label) for item in data.labels]
    await questions.answer(unit, question_id, data.answer, data.reason, labelled)
    return await queries.question(unit.connection, question_id, unit.now)


@get(
    PATH + "/queue",
    guards=[public],
    tags=TAGS,
    summary="Read what is under way",
    description="What waits to be judged, what failed, what was put to people, and what may come to no ballot.",
    responses=problems(),
)
async def queue(reader: NamedDependency[AsyncConnection]) -> Queue:
    return await queries.queue(reader, await governance_now(reader))


@get(
    PATH + "/accuracy",
    guards=[public],
    tags=TAGS,
    summary="Read how accurate the analysis is",
    description="What was measured on texts that no fitting saw, of the very classifier in use (`measured` is empty where it was not), "
    "and how far people agree with its findings, by week and by principle.",
    responses=problems(),
)
async def accuracy(request: Request, reader: NamedDependency[AsyncConnection]) -> AccuracyView:
    return await agreement.accuracy(reader, await measured(services(request)))


@get(
    PATH + "/disagreements",
    guards=[public],
    tags=TAGS,
    summary="List where people decided otherwise",
    description="Findings that the council overrode, and breaches that people found where the analysis was not sure. Newest first.",
    responses=problems(),
)
async def disagreements(
    request: Request, reader: NamedDependency[AsyncConnection], limit: Limit = 50, cursor: Cursor = None
) -> Response[Listing[Disagreement]]:
    return paged(await agreement.disagreements(reader, limit=limit, cursor=cursor), request)


@get(
    PATH + "/labels",
    guards=[requires(may_export_labels)],
    tags=TAGS,
    summary="List labels",
    description="What people said of single clauses, newest first. For auditors and operators.",
    responses=problems(401, 403),
)
async def list_labels(
    request: Request,
    reader: NamedDependency[AsyncConnection],
    principle: Annotated[
        str | None, QueryParameter(description="Only of this principle.", max_length=60, pattern="^[a-z_]+$")
    ] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response[Listing[LabelView]]:
    return paged(await queries.labels(reader, limit=limit, cursor=cursor, principle=principle), request)


@get(
    PATH + "/labels.zip",
    guards=[requires(may_export_labels)],
    media_type="application/zip",
    tags=TAGS,
    summary="Download labels as a corpus",
    description="One CSV file for each principle, in the form of our own corpus: {policy, label, kind, also, text}. Where people differ "
    "about a clause, what most of them say; a tie is left out. Taking it is entered in the log first.",
    responses=problems(401, 403),
)
async def export_labels(request: Request, reader: NamedDependency[AsyncConnection]) -> Response[bytes]:
    body = labels.as_corpus(await queries.all_labels(reader))
    await record_export(request, "labels of people as a corpus", "log", hashlib.sha256(body).hexdigest())
    headers = {"Content-Disposition": 'attachment; filename="labels.zip"', "Cache-Control": "no-store"}
    return Response(body, media_type="application/zip", headers=headers)


@get(
    PATH + "/classifiers",
    guards=[public],
    tags=TAGS,
    summary="List classifiers that were fitted here",
    description="With people's labels; each with what was measured of it on texts that no fitting saw, and whether it judges now. "
    "Where none does, the one that is shipped does.",
    responses=problems(),
)
async def list_classifiers(reader: NamedDependency[AsyncConnection]) -> Items[ClassifierView]:
    return Items(await queries.classifiers(reader))


@post(
    PATH + "/classifiers",
    status_code=202,
    guards=[requires(may_operate)],
    tags=TAGS,
    summary="Have the classifier fitted anew",
    description="For operators. The worker fits it with all labels of people so far, measures it on texts that no fitting saw, and "
    "uses it if it does no worse there than the one before; then what is on its way or in force is judged anew.",
    responses=problems(401, 403),
)
@idempotent
async def refit(request: Request, unit: NamedDependency[Unit]) -> Requested:
    await classifiers.request(unit)
    return Requested({"classifiers": f"{PATH}/classifiers", "events": "/api/v1/events?topics=compliance"})


routes: list[Any] = [
    list_classifiers,
    refit,
    of_policy,
    raise_tier,
    listed,
    mine,
    by_ref,
    again,
    override,
    my_questions,
    question,
    answer,
    queue,
    accuracy,
    disagreements,
    list_labels,
    export_labels,
]
