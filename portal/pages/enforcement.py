"""Enforcement's pages: what is in force, decisions as they are made, and a form to try one."""

from __future__ import annotations

import json
from functools import partial
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import msgspec
import sqlalchemy as sa
from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from sqlalchemy.ext.asyncio import AsyncConnection

from portal.auth.guards import public, requires
from portal.database import begin_unit
from portal.pages import proposal
from portal.pages.forms import form
from portal.pages.policies import one_of
from portal.pages.refusals import attempt, field_errors
from portal.pages.render import fragment, page, see_other
from portal.services import services
from workflows.constitution.document import Constitution
from workflows.errors import FieldError, Invalid, Unavailable
from workflows.kinds import DecisionMode, Outcome
from workflows.policy_creation import queries as policies
from workflows.policy_enforcement import (
    bundle,
    decisions,
    facts,
    queries,
    replay,
    templates,
    violation_queries,
)
from workflows.policy_enforcement.decisions import Asked
from workflows.roles import Actor, may_roll_back, may_see_inputs, may_try_decision
from workflows.storage.tables import impact
from workflows.storage.unit import Unit, governance_now

PER_PAGE = 25
TRY = {"action": '{"type": "grant", "amount": 1500}', "subject": '{"id": "m9"}', "context": "{}"}


@get("/enforcement", guards=[public], include_in_schema=False)
async def index(
    request: Request,
    reader: NamedDependency[AsyncConnection],
    actor: NamedDependency[Actor | None],
) -> Response:
    context = await _index(request, reader, actor)
    if request.headers.get("HX-Target") == "decisions":
        return fragment(request, "fragments/enforcement/decisions.html", **context)
    return page(request, "pages/enforcement/index.html", title="Enforcement", **context)


async def _index(request: Request, reader: AsyncConnection, actor: Actor | None) -> dict[str, Any]:
    asked = {name: request.query_params.get(name) or "" for name in ("outcome", "action_type", "policy")}
    found = await queries.decisions(
        reader,
        limit=PER_PAGE,
        cursor=request.query_params.get("cursor"),
        outcome=one_of(Outcome, asked["outcome"]),
        action_type=asked["action_type"][:100].replace("\0", "") or None,
        policy_ref=asked["policy"][:40].replace("\0", "") or None,
        sees_inputs=bool(may_see_inputs(actor)),
    )
    chosen = {name: value for name, value in asked.items() if value}
    now = await governance_now(reader)

    def href(cursor: str | None) -> str | None:
        return f"/enforcement?{urlencode({**chosen, 'cursor': cursor})}" if cursor else None

    return {
        "standing": await queries.standing(reader, now),
        "hours": await queries.hours(reader, now),
        "engines": services(request).rulebook.engine.describe(),
        "facts": await facts.listed(reader),
        "asked": asked,
        "found": found.items,
        "next": href(found.next),
        "prev": href(found.prev),
        "may_try": may_try_decision(actor),
        "values": TRY,
        "errors": {},
        "tried": None,
    }


@post("/enforcement/try", guards=[requires(may_try_decision)], status_code=200)
async def try_it(request: Request, actor: NamedDependency[Actor | None]) -> Response:
    """Try a decision: it binds nobody, and is in the log like every other."""
    sent = await form(request)
    values = {name: sent.get(name, "") for name in TRY}
    tried, errors = None, {}
    try:
        asked = Asked(
            **{name: _json(name, value) for name, value in values.items()}, mode=DecisionMode.DRY_RUN
        )
        held = services(request)
        units = partial(
            begin_unit,
            held.engine,
            constitution=held.constitution,
            actor=actor,
            request_id=request.scope["state"]["request_id"],
            publish=held.live.publish,
        )
        (tried,) = await decisions.decide(held.rulebook, units, [asked], actor)
    except Invalid as refusal:
        errors = field_errors(refusal, "action")
    async with services(request).engine.connect() as reader:
        context = await _index(request, reader, actor)
    context |= {"values": values, "errors": errors, "tried": tried}
    status = 422 if errors else 200
    return page(request, "pages/enforcement/index.html", title="Enforcement", status=status, **context)


def _json(name: str, value: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(value or "{}", type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError):
        message = 'Write a JSON object, as {"type": "grant"}.'
        raise Invalid("This cannot be read.", errors=(FieldError(f"/{name}", message),)) from None


@get("/enforcement/decisions/{decision_id:uuid}", guards=[public], include_in_schema=False)
async def one(
    request: Request,
    decision_id: FromPath[UUID],
    reader: NamedDependency[AsyncConnection],
    actor: NamedDependency[Actor | None],
) -> Response:
    found = await queries.one(reader, decision_id, sees_inputs=bool(may_see_inputs(actor)))
    again, problem = None, None
    try:
        kept, now = await decisions.recompute(services(request).rulebook, decision_id)
        again = kept == now
    except (Unavailable, Invalid) as refusal:
        problem = refusal.detail
    shown = json.dumps(found.input, indent=2, ensure_ascii=False) if found.input else None
    context = {"decision": found, "shown": shown, "again": again, "problem": problem}
    return page(
        request, "pages/enforcement/decision.html", title=f"Decision {str(decision_id)[:8]}", **context
    )


@get("/enforcement/bundles", guards=[public], include_in_schema=False)
async def bundles(
    request: Request, reader: NamedDependency[AsyncConnection], actor: NamedDependency[Actor | None]
) -> Response:
    return await _bundles(request, reader, actor, {}, {})


async def _bundles(
    request: Request,
    reader: AsyncConnection,
    actor: Actor | None,
    errors: dict[str, str],
    values: dict[str, str],
) -> Response:
    return page(
        request,
        "pages/enforcement/bundles.html",
        title="Bundles of rules",
        status=422 if errors else 200,
        bundles=await queries.bundles(reader),
        may_roll_back=may_roll_back(actor),
        errors=errors,
        values=values,
    )


@post("/enforcement/rollback", guards=[requires(may_roll_back)], status_code=303)
async def roll_back(
    request: Request, unit: NamedDependency[Unit], actor: NamedDependency[Actor | None]
) -> Response:
    sent = await form(request)
    try:
        async with attempt(unit):
            await bundle.roll_back(unit, sent.get("revision", ""), sent.get("reason", ""))
    except Invalid as refusal:
        return await _bundles(request, unit.connection, actor, field_errors(refusal, "reason"), sent)
    return see_other("/enforcement/bundles", ("success", "The earlier bundle decides again."))


@get("/policies/{ref:str}/enforcement", guards=[public], include_in_schema=False)
async def of_policy(
    request: Request,
    ref: FromPath[str],
    reader: NamedDependency[AsyncConnection],
    constitution: NamedDependency[Constitution],
    actor: NamedDependency[Actor | None],
) -> Response:
    """What a policy's rule decides: the check of it, decisions, violations."""
    policy = await policies.policy(reader, constitution.figures, ref)
    sees = bool(may_see_inputs(actor))
    context = {
        "report": await queries.checked(reader, policy.version.version_sha256),
        "decisions": (
            await queries.decisions(reader, limit=PER_PAGE, policy_ref=ref, sees_inputs=sees)
        ).items,
        "violations": (await violation_queries.listed(reader, limit=PER_PAGE, policy_ref=ref)).items,
        "standing": await queries.active(reader),
        "in_bundle": any(rule["policy"] == ref for rule in await _rules(reader)),
    }
    return page(
        request,
        "pages/policies/enforcement.html",
        title=f"{ref}: enforcement",
        **proposal.frame(policy, actor, "enforcement"),
        **context,
    )


async def _rules(reader: AsyncConnection) -> list[dict[str, Any]]:
    return (await queries.standing(reader, await governance_now(reader))).rules


@get("/policies/{ref:str}/impact", guards=[public], include_in_schema=False)
async def impact_of(
    request: Request,
    ref: FromPath[str],
    reader: NamedDependency[AsyncConnection],
    constitution: NamedDependency[Constitution],
    actor: NamedDependency[Actor | None],
) -> Response:
    """Had the rule been in force for the last actions."""
    policy = await policies.policy(reader, constitution.figures, ref)
    query = (
        sa.select(impact)
        .where(impact.c.version_sha256 == policy.version.version_sha256)
        .order_by(impact.c.made_at.desc())
        .limit(1)
    )
    row = (await reader.execute(query)).mappings().one_or_none()
    found = msgspec.convert(row["report"], replay.Replayed) if row else None
    return page(
        request,
        "pages/policies/impact.html",
        title=f"{ref}: impact",
        **proposal.frame(policy, actor, "impact"),
        replayed=found,
        made_at=row["made_at"] if row else None,
        revision=row["revision"] if row else None,
        most=replay.LAST,
    )


@get("/enforcement/templates", guards=[public], include_in_schema=False)
async def rule_templates(request: Request) -> Response:
    return page(
        request, "pages/enforcement/templates.html", title="Rules to begin with", templates=templates.ALL
    )


routes: list = [index, try_it, one, bundles, roll_back, rule_templates, of_policy, impact_of]
