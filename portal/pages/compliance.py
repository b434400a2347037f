"""Compliance's pages: the queue, how right machine and people are, single judgements, and a form to try any text."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from sqlalchemy.ext.asyncio import AsyncConnection

from portal.api.constitutional_compliance import governed
from portal.auth.guards import public, requires, signed_in
from portal.compliance import judged_soon, measured
from portal.pages import judgement
from portal.pages.forms import form
from portal.pages.policies import one_of
from portal.pages.refusals import field_errors
from portal.pages.render import page, see_other
from portal.services import acting, services
from workflows.constitution.document import Constitution
from workflows.constitutional_compliance import agreement, asking, queries
from workflows.constitutional_compliance.asking import Item
from workflows.constitutional_compliance.measured import Exam, measured_of
from workflows.constitutional_compliance.views import ValidationView
from workflows.errors import Invalid, Unavailable
from workflows.kinds import Compliance
from workflows.policy_creation import queries as policies
from workflows.roles import Actor, may_ask_validation, may_export_labels
from workflows.storage.unit import governance_now

PER_PAGE = 25
LATELY = 10
MINE = 10


@get("/compliance", guards=[public], include_in_schema=False)
async def index(
    request: Request,
    reader: NamedDependency[AsyncConnection],
    constitution: NamedDependency[Constitution],
    actor: NamedDependency[Actor | None],
) -> Response:
    now = await governance_now(reader)
    figures = constitution.figures
    found, analysers, unavailable = await _judges(request)
    return page(
        request,
        "pages/compliance/index.html",
        title="Compliance",
        queue=await queries.queue(reader, now),
        mine=await queries.mine(reader, actor, now) if actor else [],
        by_people=await agreement.accuracy(reader, found),
        classifiers=await queries.classifiers(reader),
        recent=(await queries.recent(reader, limit=LATELY)).items,
        accuracy=judgement.accuracy(found),
        aim=judgement.AIM,
        exams=judgement.examined(await _exams(request)),
        analysers=analysers,
        unavailable=unavailable,
        principle_name=judgement.principle_name,
        may_see_labels=bool(may_export_labels(actor)),
        days=figures.compliance_decision_days.value,
        percent=figures.compliance_override_percent.value,
    )


@get("/compliance/validations", guards=[public], include_in_schema=False)
async def listed(request: Request, reader: NamedDependency[AsyncConnection]) -> Response:
    verdict = one_of(Compliance, request.query_params.get("verdict"))
    found = await queries.recent(
        reader, limit=PER_PAGE, cursor=request.query_params.get("cursor"), verdict=verdict
    )
    chosen = {"verdict": str(verdict)} if verdict else {}
    return page(
        request,
        "pages/compliance/validations.html",
        title="Judgements",
        found=found.items,
        asked={"verdict": verdict or ""},
        next=_href("/compliance/validations", chosen, found.next),
        prev=_href("/compliance/validations", chosen, found.prev),
    )


@get("/compliance/disagreements", guards=[public], include_in_schema=False)
async def disagreements(request: Request, reader: NamedDependency[AsyncConnection]) -> Response:
    found = await agreement.disagreements(reader, limit=PER_PAGE, cursor=request.query_params.get("cursor"))
    return page(
        request,
        "pages/compliance/disagreements.html",
        title="Disagreements",
        found=found.items,
        next=_href("/compliance/disagreements", {}, found.next),
        prev=_href("/compliance/disagreements", {}, found.prev),
    )


def _href(path: str, chosen: dict[str, str], cursor: str | None) -> str | None:
    return f"{path}?{urlencode({**chosen, 'cursor': cursor})}" if cursor else None


@get("/compliance/labels", guards=[requires(may_export_labels)], include_in_schema=False)
async def labels(
    request: Request, reader: NamedDependency[AsyncConnection], constitution: NamedDependency[Constitution]
) -> Response:
    principle = (request.query_params.get("principle") or "")[:40].replace("\0", "")
    found = await queries.labels(
        reader, limit=PER_PAGE, cursor=request.query_params.get("cursor"), principle=principle or None
    )
    chosen = {"principle": principle} if principle else {}
    return page(
        request,
        "pages/compliance/labels.html",
        title="Labels",
        found=found.items,
        asked={"principle": principle},
        principles=[(each.key, each.name) for each in constitution.principles],
        principle_name=judgement.principle_name,
        next=_href("/compliance/labels", chosen, found.next),
        prev=_href("/compliance/labels", chosen, found.prev),
    )


@get("/compliance/validations/{ref:str}", guards=[public], include_in_schema=False)
async def one(
    request: Request,
    ref: FromPath[str],
    reader: NamedDependency[AsyncConnection],
    constitution: NamedDependency[Constitution],
    actor: NamedDependency[Actor | None],
) -> Response:
    found = await _one(request, reader, ref, actor)
    text = found.text
    if found.policy_ref and found.version:
        text = (await policies.version(reader, found.policy_ref, found.version)).text
    return page(
        request,
        "pages/compliance/validation.html",
        title=found.ref,
        validation=found,
        **judgement.shown(constitution, found.result, text),
    )


async def _one(request: Request, reader: AsyncConnection, ref: str, actor: Actor | None) -> ValidationView:
    return await queries.one(
        reader, ref[:40].replace("\0", ""), **await governed(reader, services(request)), actor=actor
    )


@get("/compliance/batches/{batch_id:uuid}", guards=[signed_in], include_in_schema=False)
async def batch(
    request: Request,
    batch_id: FromPath[UUID],
    reader: NamedDependency[AsyncConnection],
    actor: NamedDependency[Actor],
) -> Response:
    found = await queries.batch(reader, batch_id, **await governed(reader, services(request)), actor=actor)
    return page(request, "pages/compliance/batch.html", title="A batch", batch=found)


@get("/compliance/try", guards=[public], include_in_schema=False)
async def try_form(
    request: Request,
    reader: NamedDependency[AsyncConnection],
    constitution: NamedDependency[Constitution],
    actor: NamedDependency[Actor | None],
) -> Response:
    return await _try_page(request, reader, constitution, actor, request.query_params.get("of"))


@post("/compliance/try", guards=[requires(may_ask_validation)], status_code=200)
async def try_it(
    request: Request, constitution: NamedDependency[Constitution], actor: NamedDependency[Actor]
) -> Response:
    """Hold a text against the constitution: kept, judged right after that, and shown beside the form."""
    sent = await form(request)
    try:
        async with acting(request) as unit:
            asked = await asking.ask_one(unit, Item(text=sent.get("text", "")))
    except Invalid as refusal:
        async with services(request).engine.connect() as reader:
            errors = field_errors(refusal, "text")
            return await _try_page(request, reader, constitution, actor, None, sent, errors)
    await judged_soon(services(request), asked.id)
    address = f"/compliance/try?of={asked.ref}"
    if "hx-request" not in request.headers:
        return see_other(f"{address}#tried")
    async with services(request).engine.connect() as reader:
        answer = await _try_page(request, reader, constitution, actor, asked.ref)
    answer.headers["HX-Push-Url"] = address
    return answer


async def _try_page(
    request: Request,
    reader: AsyncConnection,
    constitution: Constitution,
    actor: Actor | None,
    ref: str | None,
    values: dict[str, str] | None = None,
    errors: dict[str, str] | None = None,
) -> Response:
    tried = await _one(request, reader, ref, actor) if ref else None
    text = tried.text if tried and tried.text is not None else ""
    answer = page(
        request,
        "pages/compliance/try.html",
        title="Try any text",
        status=422 if errors else 200,
        may_try=may_ask_validation(actor),
        tried=tried,
        mine=(await queries.asked_by(reader, actor, limit=MINE)).items if actor else [],
        values={"text": text} | (values or {}),
        errors=errors or {},
        **judgement.shown(constitution, tried.result if tried else None, text or None),
    )
    if errors:  # htmx wants the result; what was wrong stands in the form
        answer.headers |= {"HX-Retarget": "#main", "HX-Reselect": "#main", "HX-Reswap": "outerHTML"}
    return answer


async def _judges(request: Request) -> tuple[dict[str, Any], list[judgement.Said], str]:
    """What judges now, how right it was where that was measured, and why it cannot be told."""
    held = services(request)
    try:
        described = await held.judge.describe()
        found = await measured(held)
    except Unavailable as refusal:
        return {}, [], refusal.detail
    return found, [judgement.described(each) for each in described], ""


async def _exams(request: Request) -> list[Exam]:
    """What the heads in use were tried on; none where others judge, or where that was not measured."""
    models = getattr(services(request).judge, "models", None)
    found = measured_of((await models.using())[-1].heads) if models else None
    return found.exams if found else []


routes: list[Any] = [index, listed, disagreements, labels, try_form, try_it, one, batch]
