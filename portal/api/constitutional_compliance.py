"""The constitutional-compliance workflow for programs: hold texts and policies against the constitution, one or many."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import Meta
from sqlalchemy.ext.asyncio import AsyncConnection

from portal.api.answers import LOCATION, fresh, problems
from portal.api.bodies import Input, StrictJSON
from portal.api.http import idempotent, idempotent_inside
from portal.api.shapes import AnyWorkflow
from portal.auth.guards import public, requires
from portal.compliance import judged_soon
from portal.database import begin_read
from portal.services import Services, acting, services
from workflows.constitutional_compliance import asking, queries
from workflows.constitutional_compliance.findings import Result
from workflows.constitutional_compliance.views import (
    BatchView,
    ChainView,
    OverrideView,
    QuestionView,
    ValidationItem,
    ValidationView,
)
from workflows.kinds import Strategy
from workflows.policy_creation import queries as workflow_queries
from workflows.policy_creation.views import View
from workflows.roles import Actor, may_ask_validation
from workflows.storage.unit import Unit, governance_now

PATH = "/api/v1/workflows/constitutional-compliance"
TAGS = ["Constitutional compliance"]
LARGEST_BATCH = 16_000_000  # bytes
EXAMPLE = {"text": "The ballot closes as soon as a majority is reached.", "level": "standard"}
BATCH_EXAMPLE = {
    "items": [
        {"text": "Notes of every meeting are published."},
        {"policy_ref": "POL-2026-0007", "version": 2},
    ]
}


class ValidationIn(Input):
    """A text, or a policy's version (without a number the one that stands). It decides about no ballot."""

    text: Annotated[
        str | None, Meta(description=f"Any text, of at most {asking.LONGEST:,} characters; Markdown.")
    ] = None
    policy_ref: Annotated[
        Annotated[str, Meta(max_length=40)] | None, Meta(description="As POL-2026-0007.")
    ] = None
    version: Annotated[
        Annotated[int, Meta(ge=1, le=2**31 - 1)] | None, Meta(description="Of the policy.")
    ] = None
    level: Annotated[
        Strategy | None,
        Meta(
            description="Which analysers: those of this tier. Without it those of the policy's tier, or of enhanced validation."
        ),
    ] = None

    def item(self) -> asking.Item:
        return asking.Item(text=self.text, policy_ref=self.policy_ref, version=self.version, level=self.level)


class ValidationBatchIn(Input):
    """Up to 500, judged in the background. What is wrong with one stops no other."""

    items: Annotated[list[ValidationIn], Meta(min_length=1, max_length=asking.MOST_AT_ONCE)]


class ResultAnswer(Result, frozen=True, kw_only=True):
    """A judgement with all that it rests on, and what the program on chain says of the policy's record."""

    chain: ChainView


class Validated(AnyWorkflow):
    """The workflow by which a text is held against the constitution, and its result once there is one."""

    workflow_id: UUID
    validation_id: UUID
    validation: ValidationItem
    result: ResultAnswer | None
    question: QuestionView | None
    override: OverrideView | None


class BatchItemAnswer(View):
    """One of a batch: `result` once there is one, or the `problem` why there will be none."""

    position: int
    validation_id: UUID | None
    validation: ValidationItem | None
    result: ResultAnswer | None
    problem: dict[str, Any] | None


class BatchAnswer(View):
    """A batch: how far it is, and its items in their order."""

    batch_id: UUID
    total: int
    made: int
    failed: int
    waiting: int
    problems: int
    percent: int
    items: list[BatchItemAnswer]
    links: dict[str, str]


@post(
    PATH,
    status_code=202,
    guards=[requires(may_ask_validation)],
    dto=StrictJSON,
    example=EXAMPLE,
    response_headers=[LOCATION],
    tags=TAGS,
    summary="Hold a text against the constitution",
    description="Any text, or a policy's version. The answer has the result where the analysis is done within two seconds; else "
    "follow it at `Location`. A text of your own is readable by you and by auditors only. What you ask for decides about no "
    "ballot: for that each submitted version is judged by itself.",
    responses=problems(401, 403, 404, 409, 413, 415),
)
@idempotent_inside
async def ask(
    request: Request, actor: NamedDependency[Actor | None], data: JSONBody[ValidationIn]
) -> Response[Validated]:
    held = services(request)
    asked: list[UUID] = []
    async with acting(request) as unit:
        answer = await _ask(request=request, unit=unit, item=data.item(), asked=asked)
    if not asked:  # it was asked before under the same key
        return answer
    await judged_soon(held, asked[0])
    async with begin_read(held.engine) as reader:
        view = await _validated(reader, held, asked[0], actor)
    return Response(view, status_code=202, headers={"Location": view.links["self"]})


@idempotent
async def _ask(*, request: Request, unit: Unit, item: asking.Item, asked: list[UUID]) -> Response[Validated]:
    made = await asking.ask_one(unit, item)
    asked.append(made.id)
    view = await _validated(unit.connection, services(request), made.id, unit.actor)
    return Response(view, status_code=202, headers={"Location": view.links["self"]})


@get(
    PATH + "/{validation_id:uuid}",
    guards=[public],
    conditional=True,
    tags=TAGS,
    summary="Read a validation",
    description="Its workflow, and verdict, score, findings with their places in the text, analysers, consensus, the question that was "
    "put to people and what the program on chain says. By its id or its workflow's. Of policies they are public.",
    responses=problems(404),
)
async def read(
    request: Request,
    validation_id: FromPath[UUID],
    reader: NamedDependency[AsyncConnection],
    actor: NamedDependency[Actor | None],
) -> Response[Validated]:
    return fresh(request, await _validated(reader, services(request), validation_id, actor))


@post(
    PATH + "/batch",
    status_code=202,
    guards=[requires(may_ask_validation)],
    dto=StrictJSON,
    example=BATCH_EXAMPLE,
    response_headers=[LOCATION],
    request_max_body_size=LARGEST_BATCH,
    tags=TAGS,
    summary="Hold many texts against the constitution",
    description="Up to 500, in 16 MB. One result or one problem for each, in order: read them at `Location`, which shows how far it "
    "is; live at `links.events`.",
    responses=problems(401, 403, 409, 413, 415),
)
@idempotent
async def ask_many(
    request: Request, unit: NamedDependency[Unit], data: JSONBody[ValidationBatchIn]
) -> Response[BatchAnswer]:
    batch_id = await asking.ask_many(unit, [item.item() for item in data.items])
    view = await _batch(unit.connection, services(request), batch_id, unit.actor)
    return Response(view, status_code=202, headers={"Location": view.links["self"]})


@get(
    PATH + "/batch/{batch_id:uuid}",
    guards=[requires(may_ask_validation)],
    conditional=True,
    tags=TAGS,
    summary="Read a batch",
    description="How far it is, and one result or one problem for each item, in order. For who handed it in, and auditors.",
    responses=problems(401, 403, 404),
)
async def read_batch(
    request: Request,
    batch_id: FromPath[UUID],
    reader: NamedDependency[AsyncConnection],
    actor: NamedDependency[Actor | None],
) -> Response[BatchAnswer]:
    return fresh(request, await _batch(reader, services(request), batch_id, actor))


async def _validated(connection: AsyncConnection, held: Services, id: UUID, actor: Actor | None) -> Validated:
    view = await queries.one(connection, id, **await governed(connection, held), actor=actor)
    found = await workflow_queries.workflow(connection, view.workflow_id)
    shared: dict[str, Any] = {
        name: getattr(found, name) for name in AnyWorkflow.__struct_fields__ if name != "links"
    }
    own = f"{PATH}/{view.id}"
    links = {
        "self": own,
        "kind": own,
        "html": f"/compliance/validations/{view.ref}",
        "events": f"/api/v1/events?topics=workflow:{found.id},validation:{view.ref}",
    }
    if view.policy_ref:
        links["policy"] = f"/api/v1/policies/{view.policy_ref}"
    if view.batch_id:
        links["batch"] = f"{PATH}/batch/{view.batch_id}"
    return Validated(
        workflow_id=found.id,
        validation_id=view.id,
        validation=brief(view),
        result=_result(view),
        question=view.question,
        override=view.override,
        links=links,
        **shared,
    )


async def _batch(connection: AsyncConnection, held: Services, id: UUID, actor: Actor | None) -> BatchAnswer:
    found: BatchView = await queries.batch(connection, id, **await governed(connection, held), actor=actor)
    done = found.made + found.failed + found.problems
    return BatchAnswer(
        batch_id=id,
        total=found.total,
        made=found.made,
        failed=found.failed,
        waiting=found.waiting,
        problems=found.problems,
        percent=100 * done // found.total,
        items=[
            BatchItemAnswer(
                position=item.position,
                validation_id=item.validation.id if item.validation else None,
                validation=brief(item.validation) if item.validation else None,
                result=_result(item.validation) if item.validation else None,
                problem=item.problem or (_failure(item.validation) if item.validation else None),
            )
            for item in found.items
        ],
        links={"self": f"{PATH}/batch/{id}", "events": f"/api/v1/events?topics=batch:{id}"},
    )


def _failure(view: ValidationView) -> dict[str, Any] | None:
    """The problem of one that could not be judged, after all attempts."""
    if view.state != "failed":
        return None
    title = "It could not be judged"
    return {
        "type": "about:blank",
        "title": title,
        "status": 503,
        "code": "not_judged",
        "detail": view.error or title,
    }


async def governed(connection: AsyncConnection, held: Services) -> dict[str, Any]:
    """By which document and at what time compliance is looked at."""
    constitution = held.constitution
    return {
        "figures": constitution.figures,
        "sha256": constitution.sha256,
        "now": await governance_now(connection),
    }


def brief(view: ValidationView) -> ValidationItem:
    return ValidationItem(**{name: getattr(view, name) for name in ValidationItem.__struct_fields__})


def _result(view: ValidationView) -> ResultAnswer | None:
    if view.result is None:
        return None
    chain = view.chain or ChainView(checked=False, why="It is no policy in force.")
    return ResultAnswer(**msgspec.structs.asdict(view.result), chain=chain)


routes: list[Any] = [ask, read, ask_many, read_batch]
