"""The `policy-creation` workflow for programs: hand a policy in, see how far it is, decide as a reviewer."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from sqlalchemy.ext.asyncio import AsyncConnection

from chain.config import ChainConfig
from portal.api.anchors import explorable
from portal.api.answers import LOCATION, fresh, problems
from portal.api.bodies import StrictJSON
from portal.api.http import idempotent
from portal.api.shapes import (
    DECISION_EXAMPLE,
    POLICY_EXAMPLE,
    BallotAnswer,
    CreationView,
    DecisionIn,
    PolicyIdentity,
    PolicyIn,
)
from portal.auth.guards import public, requires
from portal.auth.tokens import secret_of
from portal.synthesising import take
from workflows.constitution.document import Constitution
from workflows.errors import NotFound
from workflows.kinds import WorkflowType
from workflows.policy_creation import drafts, queries, reviews
from workflows.policy_creation.views import PolicyView, WorkflowView
from workflows.roles import Actor, may_propose, may_review_others
from workflows.storage.unit import Unit, governance_now

PATH = "/api/v1/workflows/policy-creation"
TAGS = ["Policy creation"]


@post(
    PATH,
    status_code=202,
    guards=[requires(may_propose)],
    dto=StrictJSON,
    example=POLICY_EXAMPLE,
    response_headers=[LOCATION],
    tags=TAGS,
    summary="Propose a policy",
    description="Starts a policy-creation workflow. The answer says which tier, reviewers, periods, quorum and "
    "threshold apply, each with its article of the constitution, and which evidence the risk rests on. "
    "`submit: false` keeps it a draft.",
    response_description="Accepted; `Location` is the workflow.",
    responses=problems(401, 403, 409, 413, 415),
)
@idempotent
async def propose(
    request: Request,
    unit: NamedDependency[Unit],
    constitution: NamedDependency[Constitution],
    chain_config: NamedDependency[ChainConfig],
    data: JSONBody[PolicyIn],
) -> Response[CreationView]:
    ref = await drafts.create(unit, constitution.figures, data.draft(), submit=data.submit)
    await take(unit, secret_of(request), ref, data.synthesis)
    view = await _after(unit, constitution, chain_config, ref)
    return Response(view, status_code=202, headers={"Location": view.links["self"]})


@get(
    PATH + "/{workflow_id:uuid}",
    guards=[public],
    conditional=True,
    tags=TAGS,
    summary="Read a policy-creation workflow",
    description="Its stages, policy, risk, rules, reviews so far, ballot and anchors. Counts stay out until the "
    "ballot is closed.",
    responses=problems(404),
)
async def read(
    request: Request,
    workflow_id: FromPath[UUID],
    reader: NamedDependency[AsyncConnection],
    constitution: NamedDependency[Constitution],
    chain_config: NamedDependency[ChainConfig],
    actor: NamedDependency[Actor | None],
) -> Response[CreationView]:
    workflow = await _of_this_kind(reader, workflow_id)
    policy = await queries.policy(reader, constitution.figures, workflow.subject)
    ballot = await _ballot(reader, policy, actor, await governance_now(reader))
    return fresh(request, _compose(workflow, policy, ballot, chain_config))


@post(
    PATH + "/{workflow_id:uuid}/approve",
    status_code=200,
    guards=[requires(may_review_others)],
    dto=StrictJSON,
    example=DECISION_EXAMPLE,
    tags=TAGS,
    summary="Approve, return or reject",
    description="A reviewer's decision, bound to the version that was read by its SHA-256. The answer is the "
    "workflow as it stands after it.",
    responses=problems(401, 403, 404, 409, 413, 415),
)
@idempotent
async def decide(
    request: Request,
    workflow_id: FromPath[UUID],
    unit: NamedDependency[Unit],
    constitution: NamedDependency[Constitution],
    chain_config: NamedDependency[ChainConfig],
    data: JSONBody[DecisionIn],
) -> CreationView:
    ref = (await _of_this_kind(unit.connection, workflow_id)).subject
    await reviews.decide(unit, constitution.figures, ref, data.decision, data.reason, data.version_sha256)
    return await _after(unit, constitution, chain_config, ref)


async def _after(unit: Unit, constitution: Constitution, config: ChainConfig, ref: str) -> CreationView:
    """The workflow of policy `ref` as it stands after what `unit` has done so far."""
    policy = await queries.policy(unit.connection, constitution.figures, ref)
    workflow = await queries.workflow(unit.connection, policy.workflow_id)
    ballot = await _ballot(unit.connection, policy, unit.actor, unit.now)
    return _compose(workflow, policy, ballot, config)


async def _of_this_kind(connection: AsyncConnection, workflow_id: UUID) -> WorkflowView:
    workflow = await queries.workflow(connection, workflow_id)
    if workflow.workflow_type != WorkflowType.POLICY_CREATION:
        raise NotFound(
            f"Workflow {workflow_id} is of another kind.", links={"self": f"/api/v1/workflows/{workflow_id}"}
        )
    return workflow


async def _ballot(
    connection: AsyncConnection, policy: PolicyView, actor: Actor | None, now: datetime
) -> BallotAnswer | None:
    if policy.ballot is None:
        return None
    return BallotAnswer.of(await queries.ballot(connection, policy.ref, actor, now))


def _compose(
    workflow: WorkflowView, policy: PolicyView, ballot: BallotAnswer | None, config: ChainConfig
) -> CreationView:
    own = f"{PATH}/{workflow.id}"
    about = f"/api/v1/policies/{policy.ref}"
    return CreationView(
        **{
            name: getattr(workflow, name)
            for name in CreationView.__struct_fields__
            if hasattr(workflow, name)
        },
        workflow_id=workflow.id,
        policy=PolicyIdentity(
            ref=policy.ref,
            title=policy.version.title,
            state=policy.state,
            version=policy.version.number,
            text_sha256=policy.version.text_sha256,
            version_sha256=policy.version.version_sha256,
            revision=policy.revision,
        ),
        risk=policy.risk,
        rules=policy.rules,
        review=policy.review,
        ballot=ballot,
        anchors=explorable(config, policy.anchors),
        links={
            "self": own,
            "html": f"/workflows/{workflow.id}",
            "events": f"/api/v1/events?topics=workflow:{workflow.id},policy:{policy.ref}",
            "approve": f"{own}/approve",
            "policy": about,
            "page": f"/policies/{policy.ref}",
        },
    )


routes: list = [propose, read, decide]
