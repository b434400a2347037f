"""Any workflow by its id, whichever kind it is: its stages and how far it is."""

from __future__ import annotations

from uuid import UUID

from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath
from sqlalchemy.ext.asyncio import AsyncConnection

from portal.api.answers import fresh, problems
from portal.api.shapes import AnyWorkflow
from portal.auth.guards import public
from workflows.kinds import WorkflowType
from workflows.policy_creation import queries

PATH = "/api/v1/workflows"
PATHS = {kind: kind.replace("_", "-") for kind in WorkflowType}  # as in the addresses of the kinds


@get(
    PATH + "/{workflow_id:uuid}",
    guards=[public],
    conditional=True,
    tags=["Workflows"],
    summary="Read any workflow",
    description="Status, stages, attempts and times, for programs that follow workflows of every kind. "
    "`links.kind` leads to what its own kind adds.",
    responses=problems(404),
)
async def read(
    request: Request, workflow_id: FromPath[UUID], reader: NamedDependency[AsyncConnection]
) -> Response[AnyWorkflow]:
    workflow = await queries.workflow(reader, workflow_id)
    links = {
        "self": f"{PATH}/{workflow.id}",
        "kind": f"{PATH}/{PATHS[workflow.workflow_type]}/{workflow.id}",
        "html": f"/workflows/{workflow.id}",
        "events": f"/api/v1/events?topics=workflow:{workflow.id}",
    }
    names = [name for name in AnyWorkflow.__struct_fields__ if name != "links"]
    return fresh(request, AnyWorkflow(links=links, **{name: getattr(workflow, name) for name in names}))


routes: list = [read]
