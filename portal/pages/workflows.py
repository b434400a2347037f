"""One workflow as a page: its stages, where it stands, and what it is about."""

from __future__ import annotations

from uuid import UUID

from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath
from sqlalchemy.ext.asyncio import AsyncConnection

from portal.auth.guards import public
from portal.pages.render import page
from workflows.policy_creation import queries


@get("/workflows/{workflow_id:uuid}", guards=[public], include_in_schema=False)
async def show(
    request: Request, workflow_id: FromPath[UUID], reader: NamedDependency[AsyncConnection]
) -> Response:
    workflow = await queries.workflow(reader, workflow_id)
    return page(
        request,
        "pages/workflow.html",
        title=f"Workflow of {workflow.subject}",
        workflow=workflow,
    )


routes = [show]
