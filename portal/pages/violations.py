"""Violations' pages: the list, and each with what happened, whom it touches, what was done and what can be done."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from sqlalchemy.ext.asyncio import AsyncConnection

from portal.auth.guards import public, requires
from portal.pages.forms import form
from portal.pages.policies import one_of
from portal.pages.refusals import attempt, field_errors
from portal.pages.render import fragment, page, see_other
from workflows.audit_transparency import entries
from workflows.audit_transparency.entries import EntryFilters
from workflows.constitution.document import Constitution
from workflows.errors import Invalid
from workflows.kinds import Ladder, Severity, ViolationState
from workflows.policy_enforcement import remediation, violation_queries
from workflows.roles import (
    Actor,
    may_appeal,
    may_judge_appeal,
    may_lock_down,
    may_remediate,
    may_see_inputs,
)
from workflows.storage.unit import Unit, governance_now

PER_PAGE = 25


@get("/violations", guards=[public], include_in_schema=False)
async def index(
    request: Request,
    reader: NamedDependency[AsyncConnection],
    actor: NamedDependency[Actor | None],
) -> Response:
    asked = {name: request.query_params.get(name) or "" for name in ("state", "severity")}
    found = await violation_queries.listed(
        reader,
        limit=PER_PAGE,
        cursor=request.query_params.get("cursor"),
        state=one_of(ViolationState, asked["state"]),
        severity=one_of(Severity, asked["severity"]),
        sees_subjects=bool(may_see_inputs(actor)),
    )
    chosen = {name: value for name, value in asked.items() if value}

    def href(cursor: str | None) -> str | None:
        return f"/violations?{urlencode({**chosen, 'cursor': cursor})}" if cursor else None

    context = {"found": found.items, "asked": asked, "next": href(found.next), "prev": href(found.prev)}
    if request.headers.get("HX-Target") == "found":
        return fragment(request, "fragments/enforcement/violations.html", **context)
    return page(request, "pages/enforcement/violations.html", title="Violations", **context)


@get("/violations/{ref:str}", guards=[public], include_in_schema=False)
async def one(
    request: Request,
    ref: FromPath[str],
    reader: NamedDependency[AsyncConnection],
    actor: NamedDependency[Actor | None],
) -> Response:
    return await _page(request, reader, actor, ref)


async def _page(
    request: Request,
    reader: AsyncConnection,
    actor: Actor | None,
    ref: str,
    *,
    errors: dict[str, str] | None = None,
    values: dict[str, str] | None = None,
) -> Response:
    now = await governance_now(reader)
    found, restrictions, decisions = await violation_queries.one(
        reader, ref[:40].replace("\0", ""), now, sees_subjects=bool(may_see_inputs(actor))
    )
    history = await entries.search(reader, EntryFilters(subject=found.ref), limit=50, cursor=None)
    return page(
        request,
        "pages/enforcement/violation.html",
        title=found.ref,
        status=422 if errors else 200,
        violation=found,
        restrictions=restrictions,
        decisions=decisions,
        history=history.items,
        may_answer=may_remediate(actor),
        may_lock_down=may_lock_down(actor),
        may_appeal=may_appeal(actor),
        may_judge=may_judge_appeal(actor, None, UUID(int=0)),
        errors=errors or {},
        values=values or {},
    )


@post("/violations/{ref:str}/remediate", guards=[requires(may_remediate)], status_code=303)
async def remediate(
    request: Request,
    ref: FromPath[str],
    unit: NamedDependency[Unit],
    constitution: NamedDependency[Constitution],
    actor: NamedDependency[Actor | None],
) -> Response:
    sent = await form(request)
    try:
        async with attempt(unit):
            await remediation.remediate(
                unit, constitution.figures, ref, sent.get("action", ""), sent.get("reason", "")
            )
    except Invalid as refusal:
        errors = field_errors(refusal, "reason")
        return await _page(request, unit.connection, actor, ref, errors=errors, values=sent)
    word = {
        Ladder.LOG_WARNING: "A warning is on record.",
        Ladder.TEMPORARY_RESTRICTION: "The restriction is in force.",
        Ladder.IMMEDIATE_BLOCK: "The block is in force.",
        Ladder.EMERGENCY_LOCKDOWN: "The lockdown is in force.",
    }[Ladder(sent["action"])]
    return see_other(f"/violations/{ref}", ("success", word))


@post("/violations/{ref:str}/close", guards=[requires(may_remediate)], status_code=303)
async def close(
    request: Request, ref: FromPath[str], unit: NamedDependency[Unit], actor: NamedDependency[Actor | None]
) -> Response:
    sent = await form(request)
    try:
        async with attempt(unit):
            await remediation.close(unit, ref, sent.get("closing", ""))
    except Invalid as refusal:
        errors = {"closing": field_errors(refusal, "reason")["reason"]}
        return await _page(request, unit.connection, actor, ref, errors=errors, values=sent)
    return see_other(f"/violations/{ref}", ("success", f"{ref} is closed."))


@post(
    "/violations/{ref:str}/restrictions/{restriction_id:uuid}/lift",
    guards=[requires(may_remediate)],
    status_code=303,
)
async def lift(
    request: Request, ref: FromPath[str], restriction_id: FromPath[UUID], unit: NamedDependency[Unit]
) -> Response:
    await remediation.lift(unit, restriction_id, (await form(request)).get("reason", ""))
    return see_other(f"/violations/{ref}", ("success", "The restriction is lifted."))


@post(
    "/violations/{ref:str}/restrictions/{restriction_id:uuid}/appeal",
    guards=[requires(may_appeal)],
    status_code=303,
)
async def make_appeal(
    request: Request,
    ref: FromPath[str],
    restriction_id: FromPath[UUID],
    unit: NamedDependency[Unit],
    constitution: NamedDependency[Constitution],
) -> Response:
    sent = await form(request)
    await remediation.make_appeal(unit, constitution.figures, restriction_id, sent.get("reason", ""))
    return see_other(
        f"/violations/{ref}", ("success", "Your appeal is made. Somebody without a part in it decides.")
    )


@post(
    "/violations/{ref:str}/appeals/{appeal_id:uuid}/decision",
    guards=[requires(may_remediate)],
    status_code=303,
)
async def judge_appeal(
    request: Request, ref: FromPath[str], appeal_id: FromPath[UUID], unit: NamedDependency[Unit]
) -> Response:
    sent = await form(request)
    granted = sent.get("granted") == "true"
    await remediation.judge_appeal(unit, appeal_id, granted, sent.get("reason", ""))
    word = "The appeal is granted, and the restriction is over." if granted else "The appeal is refused."
    return see_other(f"/violations/{ref}", ("success", word))


routes: list[Any] = [index, one, remediate, close, lift, make_appeal, judge_appeal]
