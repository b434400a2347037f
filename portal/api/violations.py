"""Violations for programs: read them, answer them, lift what was imposed, appeal, and report obligations as met."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter
from msgspec import Meta
from sqlalchemy.ext.asyncio import AsyncConnection

from portal.api.answers import Listing, fresh, problems
from portal.api.bodies import SAID, Input, StrictJSON
from portal.api.http import idempotent, paged
from portal.api.parameters import NO_NUL, Cursor, Limit
from portal.api.shapes import ReasonIn
from portal.auth.guards import public, requires
from workflows.constitution.document import Constitution
from workflows.kinds import Ladder, Severity, ViolationState
from workflows.policy_creation.views import View
from workflows.policy_enforcement import obligations, remediation, violation_queries
from workflows.policy_enforcement.violation_queries import RestrictionView, ViolationView
from workflows.roles import (
    Actor,
    may_appeal,
    may_ask_decision,
    may_remediate,
    may_see_inputs,
)
from workflows.storage.unit import Unit, governance_now

PATH = "/api/v1/violations"
RESTRICTIONS = "/api/v1/restrictions"
TAGS = ["Violations"]
Said = Annotated[str, Meta(pattern=SAID, max_length=4000, description="Why; it is kept with the act.")]


class RemediateIn(Input):
    """An answer to a violation."""

    violation_id: Annotated[str, Meta(description="Its reference, as VIO-2026-0001.", max_length=40)]
    action: Ladder
    reason: Said


class VerdictIn(Input):
    granted: bool
    reason: Said


class EvidenceIn(Input):
    evidence: Annotated[str, Meta(pattern=SAID, max_length=4000, description="What shows that it is met.")]


class ViolationAnswer(View):
    """A violation with what was done about it and the decisions behind it (the newest hundred)."""

    violation: ViolationView
    restrictions: list[RestrictionView]
    decisions: list[UUID]
    links: dict[str, str]


class Appealed(View):
    appeal_id: UUID
    links: dict[str, str]


class Done(View):
    """It is done, and entered in the log."""

    done: bool = True


async def _answer(connection: AsyncConnection, ref: str, actor: Actor | None) -> ViolationAnswer:
    now = await governance_now(connection)
    sees = bool(may_see_inputs(actor))
    found, restrictions, decisions = await violation_queries.one(connection, ref, now, sees_subjects=sees)
    return ViolationAnswer(
        violation=found,
        restrictions=restrictions,
        decisions=decisions,
        links={
            "self": f"{PATH}/{ref}",
            "html": f"/violations/{ref}",
            "workflow": f"/api/v1/workflows/{found.workflow_id}",
            "history": f"/audit?subject={ref}",
        },
    )


@post(
    "/api/v1/workflows/policy-enforcement/remediate",
    status_code=200,
    guards=[requires(may_remediate)],
    dto=StrictJSON,
    example={"violation_id": "VIO-2026-0001", "action": "temporary_restriction", "reason": "It goes on."},
    tags=TAGS,
    summary="Answer a violation",
    description="A rung of the ladder, with a reason: it expires, can be lifted and appealed against. A lockdown needs the "
    "council.",
    responses=problems(401, 403, 404, 409, 413, 415),
)
@idempotent
async def remediate(
    request: Request,
    unit: NamedDependency[Unit],
    constitution: NamedDependency[Constitution],
    actor: NamedDependency[Actor | None],
    data: JSONBody[RemediateIn],
) -> ViolationAnswer:
    await remediation.remediate(unit, constitution.figures, data.violation_id, data.action, data.reason)
    return await _answer(unit.connection, data.violation_id, actor)


@get(
    PATH,
    guards=[public],
    tags=TAGS,
    summary="List violations",
    description="What happened last first. Whom they are about is for who oversees.",
    responses=problems(),
)
async def listed(
    request: Request,
    reader: NamedDependency[AsyncConnection],
    actor: NamedDependency[Actor | None],
    state_: Annotated[ViolationState | None, QueryParameter(name="state", description="Only these.")] = None,
    severity: Annotated[Severity | None, QueryParameter(description="Only of this severity.")] = None,
    policy_ref: Annotated[
        str | None, QueryParameter(description="Only against this policy.", max_length=40, pattern=NO_NUL)
    ] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response[Listing[ViolationView]]:
    found = await violation_queries.listed(
        reader,
        limit=limit,
        cursor=cursor,
        state=state_,
        severity=severity,
        policy_ref=policy_ref,
        sees_subjects=bool(may_see_inputs(actor)),
    )
    return paged(found, request)


@get(
    PATH + "/{ref:str}",
    guards=[public],
    conditional=True,
    tags=TAGS,
    summary="Read a violation",
    description="What happened, whom it touches, what was done, and the decisions behind it.",
    responses=problems(404),
)
async def one(
    request: Request,
    ref: FromPath[str],
    reader: NamedDependency[AsyncConnection],
    actor: NamedDependency[Actor | None],
) -> Response[ViolationAnswer]:
    return fresh(request, await _answer(reader, ref[:40].replace("\x00", ""), actor))


@post(
    PATH + "/{ref:str}/close",
    status_code=200,
    guards=[requires(may_remediate)],
    dto=StrictJSON,
    example={"reason": "It was a mistake in the form."},
    tags=TAGS,
    summary="Close a violation",
    description="It is dealt with. Restrictions run on until they expire or are lifted.",
    responses=problems(401, 403, 404, 409, 413, 415),
)
@idempotent
async def close(
    request: Request, ref: FromPath[str], unit: NamedDependency[Unit], data: JSONBody[ReasonIn]
) -> Done:
    await remediation.close(unit, ref[:40].replace("\x00", ""), data.reason)
    return Done()


@post(
    RESTRICTIONS + "/{restriction_id:uuid}/lift",
    status_code=200,
    guards=[requires(may_remediate)],
    dto=StrictJSON,
    example={"reason": "The cause is gone."},
    tags=TAGS,
    summary="Lift a restriction",
    description="Before its time, with a reason. A lockdown is lifted by the council.",
    responses=problems(401, 403, 404, 409, 413, 415),
)
@idempotent
async def lift(
    request: Request,
    restriction_id: FromPath[UUID],
    unit: NamedDependency[Unit],
    data: JSONBody[ReasonIn],
) -> Done:
    await remediation.lift(unit, restriction_id, data.reason)
    return Done()


@post(
    RESTRICTIONS + "/{restriction_id:uuid}/appeals",
    status_code=201,
    guards=[requires(may_appeal)],
    dto=StrictJSON,
    example={"reason": "It was somebody else."},
    tags=TAGS,
    summary="Appeal against a restriction",
    description="Decided within the working days that the constitution names, by somebody who has no part in it.",
    responses=problems(401, 403, 404, 409, 413, 415),
)
@idempotent
async def make_appeal(
    request: Request,
    restriction_id: FromPath[UUID],
    unit: NamedDependency[Unit],
    constitution: NamedDependency[Constitution],
    data: JSONBody[ReasonIn],
) -> Appealed:
    id = await remediation.make_appeal(unit, constitution.figures, restriction_id, data.reason)
    return Appealed(id, {"decide": f"/api/v1/appeals/{id}/decision"})


@post(
    "/api/v1/appeals/{appeal_id:uuid}/decision",
    status_code=200,
    guards=[requires(may_remediate)],
    dto=StrictJSON,
    example={"granted": True, "reason": "The names were mixed up."},
    tags=TAGS,
    summary="Decide an appeal",
    description="By council or ombudsperson, never by whoever imposed it or appealed. Granted, the restriction ends at once.",
    responses=problems(401, 403, 404, 409, 413, 415),
)
@idempotent
async def judge_appeal(
    request: Request, appeal_id: FromPath[UUID], unit: NamedDependency[Unit], data: JSONBody[VerdictIn]
) -> Done:
    await remediation.judge_appeal(unit, appeal_id, data.granted, data.reason)
    return Done()


@post(
    "/api/v1/obligations/{obligation_id:uuid}/met",
    status_code=200,
    guards=[requires(may_ask_decision)],
    dto=StrictJSON,
    example={"evidence": "The report is at https://example.org/report."},
    tags=TAGS,
    summary="Report an obligation as met",
    description="With what shows it. One that is late stays on record as late.",
    responses=problems(401, 403, 404, 409, 413, 415),
)
@idempotent
async def meet(
    request: Request, obligation_id: FromPath[UUID], unit: NamedDependency[Unit], data: JSONBody[EvidenceIn]
) -> Done:
    await obligations.meet(unit, obligation_id, data.evidence)
    return Done()


routes: list[Any] = [remediate, listed, one, close, lift, make_appeal, judge_appeal, meet]
