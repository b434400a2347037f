"""The audit and transparency workflow for programs: reports on request, and public figures."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import Meta
from sqlalchemy.ext.asyncio import AsyncConnection

from portal.api.answers import LOCATION, Listing, fresh, problems
from portal.api.bodies import Input, StrictJSON
from portal.api.http import idempotent, paged
from portal.api.parameters import Cursor, Limit
from portal.api.shapes import AnyWorkflow
from portal.auth.guards import public, requires
from portal.periods import moment
from workflows.audit_transparency.reports import making, public_figures, queries
from workflows.audit_transparency.reports.queries import ReportView
from workflows.audit_transparency.reports.shapes import Figure, Section
from workflows.errors import NotFound
from workflows.kinds import WorkflowType
from workflows.policy_creation import queries as workflows_queries
from workflows.policy_creation.views import View
from workflows.roles import may_request_report
from workflows.storage.unit import Unit

PATH = "/api/v1/workflows/audit-transparency"
TAGS = ["Audit and transparency"]
EXAMPLE = {"period": {"from": "2026-10-01", "to": "2026-11-01"}, "sections": ["participation", "chain"]}


class PeriodIn(Input):
    """From (included) to (not): dates, or RFC 3339."""

    from_: Annotated[str, Meta(max_length=40, examples=["2026-10-01"])] = msgspec.field(name="from")
    to: Annotated[str, Meta(max_length=40, examples=["2026-11-01"])]


class ReportIn(Input):
    period: PeriodIn
    sections: Annotated[list[Section], Meta(description="Which sections; all without it.", max_length=20)] = (
        msgspec.field(default_factory=list)
    )


class Requested(AnyWorkflow):
    """The workflow that makes the report, and the report's reference."""

    workflow_id: UUID
    report: str


class ReportAnswer(View):
    """A report. `sha256` is of the bytes at `links.json`, which the log's entry `report.made` names."""

    ref: str
    status: str
    period: dict[str, datetime]
    sections: list[str]
    scheduled: bool
    checkpoint_size: int | None
    sha256: str | None
    created_at: datetime
    made_at: datetime | None
    links: dict[str, str]


class PublicAnswer(View):
    """Figures of the present, each with a link to the rows behind it."""

    checkpoint_size: int | None
    figures: list[Figure]
    links: dict[str, str]


@post(
    PATH,
    status_code=202,
    guards=[requires(may_request_report)],
    dto=StrictJSON,
    example=EXAMPLE,
    response_headers=[LOCATION],
    tags=TAGS,
    summary="Ask for a report",
    description="On any period that has begun, of at most three years. It waits for a checkpoint of the log that covers the "
    "request, which takes about a second, and is then made in a few seconds; follow it at `Location`.",
    responses=problems(401, 403, 413, 415),
)
@idempotent
async def ask(request: Request, unit: NamedDependency[Unit], data: JSONBody[ReportIn]) -> Response[Requested]:
    since, until = moment(data.period.from_, "/period/from"), moment(data.period.to, "/period/to")
    ref = await making.request(unit, since, until, data.sections)
    asked = await queries.one(unit.connection, ref)
    view = await _workflow(unit.connection, asked.workflow_id, ref)
    return Response(view, status_code=202, headers={"Location": view.links["self"]})


@get(
    PATH + "/{workflow_id:uuid}",
    guards=[public],
    conditional=True,
    tags=TAGS,
    summary="Follow the making of a report",
    description="Its stages and times, and the report's reference.",
    responses=problems(404),
)
async def read(
    request: Request, workflow_id: FromPath[UUID], reader: NamedDependency[AsyncConnection]
) -> Response[Requested]:
    found = await workflows_queries.workflow(reader, workflow_id)
    if found.workflow_type != WorkflowType.AUDIT_TRANSPARENCY:
        raise NotFound(f"Workflow {workflow_id} is of another kind.")
    return fresh(request, await _workflow(reader, workflow_id, found.subject))


@get(
    PATH + "/reports",
    guards=[public],
    tags=TAGS,
    summary="List reports",
    description="Newest first, each with the checkpoint it is bound to and its downloads.",
    responses=problems(),
)
async def reports(
    request: Request, reader: NamedDependency[AsyncConnection], limit: Limit = 50, cursor: Cursor = None
) -> Response[Listing[ReportAnswer]]:
    found = await queries.listed(reader, limit=limit, cursor=cursor)
    return paged(msgspec.structs.replace(found, items=[_answer(item) for item in found.items]), request)


@get(
    PATH + "/public",
    guards=[public],
    conditional=True,
    tags=TAGS,
    summary="Read public figures",
    description="How things stand now: policies, ballots, participation, the log and the chain. Each figure leads to the rows "
    "behind it; what is not measured says so.",
    responses=problems(),
)
async def figures(request: Request, reader: NamedDependency[AsyncConnection]) -> Response[PublicAnswer]:
    standing = await public_figures.now(reader)
    view = PublicAnswer(
        checkpoint_size=standing.checkpoint_size,
        figures=standing.figures,
        links={
            "html": "/transparency",
            "reports": f"{PATH}/reports",
            "entries": "/api/v1/audit/export.ndjson",
            "log": "/audit/log.zip",
        },
    )
    return fresh(request, view)


async def _workflow(connection: AsyncConnection, workflow_id: UUID, ref: str) -> Requested:
    found = await workflows_queries.workflow(connection, workflow_id)
    links = {
        "self": f"{PATH}/{workflow_id}",
        "kind": f"{PATH}/{workflow_id}",
        "html": f"/transparency/reports/{ref}",
        "events": f"/api/v1/events?topics=workflow:{workflow_id},report:{ref}",
        "reports": f"{PATH}/reports",
    }
    shared: dict[str, Any] = {
        name: getattr(found, name) for name in AnyWorkflow.__struct_fields__ if name != "links"
    }
    return Requested(workflow_id=workflow_id, report=ref, links=links, **shared)


def _answer(item: ReportView) -> ReportAnswer:
    own = f"/transparency/reports/{item.ref}"
    made = {kind: f"{own}.{kind}" for kind in ("json", "csv", "pdf")} if item.made_at else {}
    return ReportAnswer(
        ref=item.ref,
        status=item.status,
        period={"from": item.period_from, "to": item.period_to},
        sections=item.sections,
        scheduled=item.scheduled,
        checkpoint_size=item.checkpoint_size if item.made_at else None,
        sha256=item.body_sha256 if item.made_at else None,
        created_at=item.created_at,
        made_at=item.made_at,
        links={"html": own, "workflow": f"{PATH}/{item.workflow_id}", **made},
    )


routes: list[Any] = [ask, read, reports, figures]
