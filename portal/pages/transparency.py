"""The transparency pages: public figures, and reports with the rows behind each number."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from anyio.to_thread import run_sync
from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from sqlalchemy.ext.asyncio import AsyncConnection

from portal.auth.guards import public, requires
from portal.exports import record_export
from portal.pages.forms import form
from portal.pages.refusals import attempt
from portal.pages.render import page, see_other
from portal.periods import span
from portal.reports import counts, shown, to_csv
from portal.services import services
from workflows.audit_transparency.reports import making, public_figures, queries
from workflows.audit_transparency.reports.queries import ReportView
from workflows.audit_transparency.reports.shapes import Part, Section
from workflows.errors import Conflict, FieldError, Invalid
from workflows.policy_creation.queries import workflow
from workflows.roles import Actor, may_request_report
from workflows.storage.tables import organisation
from workflows.storage.unit import Unit

PER_PAGE = 20
HEADLINES = ("enacted", "voting", "turnout", "entries")
NAMES = {
    Section.PARTICIPATION: "Participation",
    Section.PIPELINE: "How long steps took",
    Section.DECISIONS: "Decisions and violations",
    Section.COMPLIANCE: "Constitutional compliance",
    Section.OFFICES: "People and offices",
    Section.EMERGENCIES: "Emergencies",
    Section.ACCESS: "Access",
    Section.CHAIN: "Chain",
    Section.COVERAGE: "Coverage of the log",
}


@get("/transparency", guards=[public], include_in_schema=False)
async def index(
    request: Request, reader: NamedDependency[AsyncConnection], actor: NamedDependency[Actor | None]
) -> Response:
    return await _index(request, reader, actor)


async def _index(
    request: Request, connection: AsyncConnection, actor: Actor | None, refusal: Invalid | None = None,
    values: dict[str, str] | None = None,
) -> Response:  # fmt: skip
    standing = await public_figures.now(connection)
    cursor = request.query_params.get("cursor") if request.method == "GET" else None
    found = await queries.listed(connection, limit=PER_PAGE, cursor=cursor)
    by_key = {figure.key: figure for figure in standing.figures}
    return page(
        request,
        "pages/transparency/index.html",
        title="Transparency",
        status=422 if refusal else 200,
        headlines=[by_key[key] for key in HEADLINES],
        figures=[figure for figure in standing.figures if figure.key not in HEADLINES],
        ballots=standing.ballots,
        shown=shown,
        reports=found.items,
        next=f"/transparency?cursor={found.next}#reports" if found.next else None,
        prev=f"/transparency?cursor={found.prev}#reports" if found.prev else None,
        may_request=may_request_report(actor),
        errors={fault.pointer.rpartition("/")[2]: fault.message for fault in refusal.errors} if refusal else {},
        values=values or {},
    )  # fmt: skip


@post(
    "/transparency/reports", guards=[requires(may_request_report)], status_code=303, include_in_schema=False
)
async def ask(request: Request, unit: NamedDependency[Unit], actor: NamedDependency[Actor]) -> Response:
    sent = await form(request)
    try:
        async with attempt(unit):
            if not sent.get("from") or not sent.get("to"):
                empty = [name for name in ("from", "to") if not sent.get(name)]
                faults = tuple(FieldError(f"/{name}", "Choose a day.") for name in empty)
                raise Invalid("The report cannot be made.", errors=faults)
            since, until = span(sent["from"], sent["to"])
            assert since is not None and until is not None, "both were given"
            ref = await making.request(unit, since, until)
    except Invalid as refusal:
        return await _index(request, unit.connection, actor, refusal, sent)
    return see_other(f"/transparency/reports/{ref}", ("success", f"{ref} is being made."))


@get("/transparency/reports/{ref:str}", guards=[public], include_in_schema=False)
async def one(request: Request, ref: FromPath[str], reader: NamedDependency[AsyncConnection]) -> Response:
    """The report as a page; with .pdf, .json or .csv at its end, as that file."""
    name, _, kind = ref.partition(".")
    view = await queries.one(reader, name)
    if kind:
        return await _download(request, reader, view, kind)
    return page(
        request,
        "pages/transparency/report.html",
        title=f"Report {view.ref}",
        view=view,
        report=view.report,
        workflow=await workflow(reader, view.workflow_id),
        shown=shown,
        bars=bars,
    )


async def _download(request: Request, connection: AsyncConnection, view: ReportView, kind: str) -> Response:
    if kind not in MEDIA:
        raise Invalid("A report comes as pdf, json or csv.")
    if view.body is None:
        raise Conflict(f"{view.ref} is not made yet.", code="not_made")
    body = await MEDIA[kind][1](request, connection, view)
    await record_export(request, f"{view.ref}.{kind}", view.ref, view.body_sha256 if kind == "json" else None)
    return Response(
        body,
        media_type=MEDIA[kind][0],
        headers={
            "Content-Disposition": f'attachment; filename="{view.ref}.{kind}"',
            "Cache-Control": "no-store",  # a copy that somebody else hands on would be taken without its entry
        },
    )


async def _json(_: Request, __: AsyncConnection, view: ReportView) -> bytes:
    """The very bytes whose hash stands in the log."""
    return view.body or b""


async def _csv(request: Request, _: AsyncConnection, view: ReportView) -> bytes:
    return to_csv(view, _base(request))


async def _pdf(request: Request, connection: AsyncConnection, view: ReportView) -> bytes:
    name = (
        await connection.execute(sa.select(organisation.c.name))
    ).scalar_one_or_none() or "Governance portal"
    return await run_sync(_drawn, view, name, _base(request))


def _drawn(view: ReportView, organisation: str, base: str) -> bytes:
    from portal.report_pdf import to_pdf  # in the thread, for it takes its time to import

    return to_pdf(view, organisation, base)


MEDIA = {
    "json": ("application/json", _json),
    "csv": ("text/csv; charset=utf-8", _csv),
    "pdf": ("application/pdf", _pdf),
}


def _base(request: Request) -> str:
    """Where links in a file lead: a file has no place of its own."""
    return (services(request).settings.base_url or str(request.base_url)).rstrip("/")


def bars(part: Part) -> list[dict[str, Any]]:
    """The counts of a section as bars, as the PDF draws them too."""
    counted = counts(part)
    most = max((figure.value or 0 for figure in counted), default=0)
    return [
        {
            "text": figure.text,
            "value": figure.value,
            "share": 100 * (figure.value or 0) / most,
            "rows": figure.rows,
        }
        for figure in counted
    ]


routes: list[Any] = [index, ask, one]
