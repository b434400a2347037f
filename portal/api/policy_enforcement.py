"""The policy-enforcement workflow for programs: decisions, what is in force, and the data that rules read."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter
from msgspec import Meta
from sqlalchemy.ext.asyncio import AsyncConnection

from portal.api.answers import Items, Listing, fresh, problems
from portal.api.bodies import Input, StrictJSON
from portal.api.http import idempotent, idempotent_inside, paged
from portal.api.parameters import Cursor, Limit
from portal.auth.guards import public, requires
from portal.database import begin_unit
from portal.services import services
from workflows.errors import Unavailable
from workflows.kinds import DecisionMode, Outcome, Severity
from workflows.policy_creation.views import View
from workflows.policy_enforcement import decisions, queries
from workflows.policy_enforcement.combine import WhyOne
from workflows.policy_enforcement.decisions import Asked, Considered, Outdated, Owed, Ruling
from workflows.policy_enforcement.queries import BundleView, DecisionView
from workflows.policy_enforcement.rulebook import Rulebook, Units
from workflows.roles import (
    Actor,
    may_see_inputs,
    may_try_decision,
)
from workflows.storage.unit import Unit, governance_now

PATH = "/api/v1/workflows/policy-enforcement"
ENFORCEMENT = "/api/v1/enforcement"
TAGS = ["Policy enforcement"]
EXAMPLE = {
    "action": {"type": "grant", "amount": 1500, "decided_by": ["m1", "m2", "m3"]},
    "subject": {"id": "m9"},
    "context": {"purpose": "a workshop"},
    "mode": "dry_run",
}


class AskedIn(Input):
    """What is to be decided. The portal sets `context.now`; rules see nothing else of the time."""

    action: Annotated[dict[str, Any], Meta(description="`type` says what is to be done, as data.export.")]
    subject: Annotated[
        dict[str, Any], Meta(description="Who wants to do it; `id` is how violations name them.")
    ] = msgspec.field(default_factory=dict)
    context: Annotated[dict[str, Any], Meta(description="Whatever else rules look at.")] = msgspec.field(
        default_factory=dict
    )
    mode: DecisionMode = DecisionMode.ENFORCE
    policy_ref: Annotated[
        Annotated[str, Meta(max_length=40)] | None,
        Meta(description="A policy that has to be the one that allows it."),
    ] = None

    def asked(self) -> Asked:
        return Asked(self.action, self.subject, self.context, self.mode, self.policy_ref)


class BatchIn(Input):
    """Up to 500 at once, decided and entered together."""

    items: Annotated[list[AskedIn], Meta(min_length=1, max_length=decisions.MOST_AT_ONCE)]


class MatchedRule(View):
    """A rule that was asked, and what it said."""

    policy: str
    version: int
    rule: str
    said: str


class Remediation(View):
    """A restriction that had a part in the decision."""

    id: UUID
    level: str
    violation: str | None
    expires_at: datetime


class BundleRef(View):
    revision: str


class DecisionAnswer(View):
    """A decision. Anything but `allow`, or `conditional_allow` whose obligations you take on, means: do not do it."""

    decision_id: UUID
    decision: Outcome
    mode: DecisionMode
    severity: Severity
    reasons: list[WhyOne]
    matched_rules: list[MatchedRule]
    obligations: list[Owed]
    remediation: list[Remediation]
    bundle: BundleRef
    latency_us: int
    made_at: datetime
    links: dict[str, str]


class StatusAnswer(View):
    """How enforcement stands. Latencies are microseconds of engine and combining, of the last 24 hours."""

    bundle: BundleView | None
    bundle_age_seconds: float | None
    policies_loaded: int
    rules: list[dict[str, Any]]
    decisions: dict[str, int]
    tried: int
    latency_us: dict[str, int | None]
    engines: dict[str, str]
    open_violations: int
    since: datetime
    links: dict[str, str]


class Recomputed(View):
    """A decision as it was kept and as it comes out now from the logged input and the bundle of then."""

    same: bool
    kept: Outcome
    recomputed: Outcome
    reasons: list[WhyOne]


def _units(request: Request, actor: Actor | None) -> Units:
    held = services(request)
    return partial(
        begin_unit,
        held.engine,
        constitution=held.governing,
        actor=actor,
        request_id=request.scope["state"]["request_id"],
        idempotency_key=request.headers.get("idempotency-key", ""),
        publish=held.live.publish,
    )


@idempotent
async def _keep(
    *, request: Request, unit: Unit, rulebook: Rulebook, considered: Considered, batch: bool
) -> Any:
    answers = [_answer(ruling) for ruling in await decisions.keep(unit, rulebook, considered)]
    for answer in answers:
        services(request).metrics.decisions.labels(answer.decision, answer.mode).inc()
        services(request).metrics.decision_time.observe(answer.latency_us / 1e6)
    return Items(answers) if batch else answers[0]


async def _decide(request: Request, actor: Actor | None, asked: list[Asked], *, batch: bool) -> Any:
    rulebook, units = services(request).rulebook, _units(request, actor)
    for _ in range(decisions.TRIES):
        considered = await decisions.consider(rulebook, asked, actor)
        try:
            async with units() as unit:
                return await _keep(
                    request=request, unit=unit, rulebook=rulebook, considered=considered, batch=batch
                )
        except Outdated:
            continue
    raise Unavailable(decisions.UNSTEADY)


@post(
    PATH,
    status_code=200,
    guards=[requires(may_try_decision)],
    dto=StrictJSON,
    example=EXAMPLE,
    tags=TAGS,
    summary="Ask for a decision",
    description="Allow, allow with obligations, or deny: by the rules that were voted for, with the reasons. What no rule allows "
    "is denied. The decision is in the log before you read it. `enforce` needs the role operator and binds; `dry_run` tries it out. "
    "An answer that is not 200 allows nothing.",
    responses=problems(401, 403, 409, 413, 415),
)
@idempotent_inside
async def decide(
    request: Request, actor: NamedDependency[Actor | None], data: JSONBody[AskedIn]
) -> DecisionAnswer:
    return await _decide(request, actor, [data.asked()], batch=False)


@post(
    PATH + "/batch",
    status_code=200,
    guards=[requires(may_try_decision)],
    dto=StrictJSON,
    example={"items": [EXAMPLE]},
    tags=TAGS,
    summary="Ask for many decisions",
    description="Decided in order and entered together, or not at all.",
    responses=problems(401, 403, 409, 413, 415),
)
@idempotent_inside
async def decide_many(
    request: Request, actor: NamedDependency[Actor | None], data: JSONBody[BatchIn]
) -> Items[DecisionAnswer]:
    return await _decide(request, actor, [item.asked() for item in data.items], batch=True)


@get(
    PATH + "/status",
    guards=[public],
    tags=TAGS,
    summary="Read how enforcement stands",
    description="The active bundle, the rules in it, counts and measured latencies of the last 24 hours, engines, open "
    "violations.",
    responses=problems(),
)
async def status(request: Request, reader: NamedDependency[AsyncConnection]) -> StatusAnswer:
    now = await governance_now(reader)
    found = await queries.standing(reader, now)
    age = (now - found.bundle.made_at).total_seconds() if found.bundle else None
    return StatusAnswer(
        bundle=found.bundle,
        bundle_age_seconds=age,
        policies_loaded=len(found.rules),
        rules=found.rules,
        decisions=found.decisions,
        tried=found.tried,
        latency_us=found.latency_us,
        engines=services(request).rulebook.engine.describe(),
        open_violations=found.open_violations,
        since=found.since,
        links={
            "html": "/enforcement",
            "decisions": f"{ENFORCEMENT}/decisions",
            "bundles": f"{ENFORCEMENT}/bundles",
        },
    )


@get(
    ENFORCEMENT + "/decisions",
    guards=[public],
    tags=TAGS,
    summary="List decisions",
    description="Newest first. Who asked what is shown to auditors, ombudspersons, council and operators only.",
    responses=problems(),
)
async def listed(
    request: Request,
    reader: NamedDependency[AsyncConnection],
    actor: NamedDependency[Actor | None],
    outcome: Annotated[Outcome | None, QueryParameter(description="Only these.")] = None,
    action_type: Annotated[
        str | None,
        QueryParameter(description="Only of this action type.", max_length=100, pattern=r"^[^\x00]*$"),
    ] = None,
    policy_ref: Annotated[
        str | None,
        QueryParameter(
            description="Only those for which this policy’s rule was asked.",
            max_length=40,
            pattern=r"^[^\x00]*$",
        ),
    ] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response[Listing[DecisionView]]:
    found = await queries.decisions(
        reader,
        limit=limit,
        cursor=cursor,
        outcome=outcome,
        action_type=action_type,
        policy_ref=policy_ref,
        sees_inputs=bool(may_see_inputs(actor)),
    )
    return paged(found, request)


@get(
    ENFORCEMENT + "/decisions/{decision_id:uuid}",
    guards=[public],
    conditional=True,
    tags=TAGS,
    summary="Read a decision",
    description="With what each rule said, obligations, and the violations it is part of.",
    responses=problems(404),
)
async def one(
    request: Request,
    decision_id: FromPath[UUID],
    reader: NamedDependency[AsyncConnection],
    actor: NamedDependency[Actor | None],
) -> Response[DecisionView]:
    sees = bool(may_see_inputs(actor))
    return fresh(request, await queries.one(reader, decision_id, sees_inputs=sees))


@get(
    ENFORCEMENT + "/decisions/{decision_id:uuid}/recomputed",
    guards=[public],
    tags=TAGS,
    summary="Recompute a decision",
    description="Asks the rules of the bundle of then about the logged input again, and says whether the same comes out.",
    responses=problems(404),
)
async def recomputed(request: Request, decision_id: FromPath[UUID]) -> Recomputed:
    kept, now = await decisions.recompute(services(request).rulebook, decision_id)
    return Recomputed(same=kept == now, kept=kept.outcome, recomputed=now.outcome, reasons=now.reasons)


def _answer(ruling: Ruling) -> DecisionAnswer:
    decided = ruling.decided
    return DecisionAnswer(
        decision_id=ruling.id,
        decision=decided.outcome,
        mode=ruling.mode,
        severity=decided.severity,
        reasons=decided.reasons,
        matched_rules=[
            MatchedRule(rule.policy, rule.version, rule.rule, rule.said) for rule in ruling.matched
        ],
        obligations=ruling.obligations,
        remediation=[
            Remediation(item.id, item.level, item.violation, item.expires_at) for item in decided.restrictions
        ],
        bundle=BundleRef(ruling.revision),
        latency_us=ruling.latency_us,
        made_at=ruling.made_at,
        links={
            "self": f"{ENFORCEMENT}/decisions/{ruling.id}",
            "html": f"/enforcement/decisions/{ruling.id}",
            "recomputed": f"{ENFORCEMENT}/decisions/{ruling.id}/recomputed",
        },
    )


routes: list[Any] = [
    decide,
    decide_many,
    status,
    listed,
    one,
    recomputed,
]
