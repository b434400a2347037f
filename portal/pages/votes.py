"""Voting: a policy's ballot and result, what one can vote in, and receipts."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from sqlalchemy.ext.asyncio import AsyncConnection

from portal.auth.guards import public, requires
from portal.exports import record_export
from portal.pages import proposal
from portal.pages.forms import form
from portal.pages.policies import show
from portal.pages.refusals import attempt, field_errors
from portal.pages.render import page, see_other
from workflows.constitution.document import Constitution
from workflows.constitution.figures import Figures
from workflows.errors import Conflict, Invalid, NotFound
from workflows.kinds import BallotMode, BallotState, PolicyState
from workflows.policy_creation import ballots, queries, recount
from workflows.policy_creation.views import BallotView
from workflows.roles import Actor, may_vote
from workflows.storage.unit import Unit, governance_now

DECIDED_SHOWN = 10
CONDITIONS = {
    "not_empty": "Somebody voted",
    "quorum": "The quorum is reached",
    "majority": "More votes for than against",
    "threshold": "The tier’s threshold is reached",
}


@get("/votes", guards=[public])
async def votes(
    request: Request, reader: NamedDependency[AsyncConnection], actor: NamedDependency[Actor | None]
) -> Response:
    mine = await queries.ballots_for(reader, actor, voted=True)
    receipts = [pair for pair in mine if pair[1].your_receipt]
    decided = await queries.policies(reader, state=PolicyState.ENACTED, limit=DECIDED_SHOWN)
    return page(
        request,
        "pages/votes.html",
        title="Votes",
        open=[pair for pair in mine if pair[1].state == BallotState.OPEN],
        receipts=sorted(receipts, key=lambda pair: pair[1].your_receipt.cast_at, reverse=True),
        decided=decided.items,
    )


@get("/policies/{ref:str}/ballot", guards=[public])
async def ballot(
    request: Request,
    ref: FromPath[str],
    reader: NamedDependency[AsyncConnection],
    constitution: NamedDependency[Constitution],
    actor: NamedDependency[Actor | None],
) -> Response:
    return await _show_ballot(request, reader, constitution.figures, ref, actor)


@post("/policies/{ref:str}/ballot/votes", guards=[requires(may_vote)], status_code=303)
async def cast(
    request: Request,
    ref: FromPath[str],
    unit: NamedDependency[Unit],
    constitution: NamedDependency[Constitution],
    actor: NamedDependency[Actor],
) -> Response:
    values = await form(request)
    try:
        async with attempt(unit):
            receipt = await ballots.cast(
                unit, ref, values.get("choice", ""), values.get("version_sha256", "")
            )
    except Invalid as refusal:
        return await _show_ballot(request, unit.connection, constitution.figures, ref, actor, refusal)
    return see_other(
        f"/policies/{ref}/ballot", ("success", f"Your vote is recorded. Its receipt: {receipt.code}")
    )


async def _show_ballot(
    request: Request,
    connection: AsyncConnection,
    figures: Figures,
    ref: str,
    actor: Actor | None,
    refusal: Invalid | None = None,
) -> Response:
    policy = await queries.policy(connection, figures, ref)
    found = await _ballot(connection, ref, actor) if policy.ballot else None
    return show(
        request,
        "ballot",
        policy,
        actor,
        "ballot",
        "Ballot",
        vote=found,
        error=next(iter(field_errors(refusal, "choice").values())) if refusal else None,
        status=422 if refusal else 200,
    )


async def _ballot(connection: AsyncConnection, ref: str, actor: Actor | None) -> BallotView | None:
    return await queries.ballot(connection, ref, actor, await governance_now(connection))


@get("/policies/{ref:str}/results", guards=[public])
async def results(
    request: Request,
    ref: FromPath[str],
    reader: NamedDependency[AsyncConnection],
    constitution: NamedDependency[Constitution],
    actor: NamedDependency[Actor | None],
) -> Response:
    policy = await queries.policy(reader, constitution.figures, ref)
    context: dict[str, Any] = {"results": None, "recount": None, "names": None, "conditions": CONDITIONS}
    try:
        counted = await queries.results(reader, ref)
    except (Conflict, NotFound) as refusal:
        context["hidden"] = refusal.detail
    else:
        context |= {"results": counted, **proposal.chart(counted)}
        if "recount" in request.query_params:
            context["recount"] = await recount.recount(reader, ref)
        if counted.mode == BallotMode.OPEN:
            context["names"] = await queries.opening_names(reader, ref)
    return show(request, "results", policy, actor, "results", "Result", **context)


@get("/policies/{ref:str}/results/openings.json", guards=[public])
async def openings(
    request: Request, ref: FromPath[str], reader: NamedDependency[AsyncConnection]
) -> Response[bytes]:
    """Every counting vote without its voter: the bytes whose hash stands in the log (docs/audit.md)."""
    body = await queries.openings_document(reader, ref)
    await record_export(request, f"openings of {ref}", "log", hashlib.sha256(body).hexdigest())
    return Response(
        body,
        media_type="application/json",
        headers={"Content-Disposition": f'attachment; filename="{ref}-openings.json"'},
    )


@get("/receipts/{code:str}", guards=[public])
async def receipt(
    request: Request,
    code: FromPath[str],
    reader: NamedDependency[AsyncConnection],
    actor: NamedDependency[Actor | None],
) -> Response:
    found = await queries.receipt(reader, code, actor)
    if not (found.mine and request.query_params.get("show") == "choice"):
        found = msgspec.structs.replace(found, choice=None, salt=None)
    return page(request, "pages/receipt.html", title=f"Receipt {found.code}", receipt=found)


routes: list = [votes, ballot, cast, results, openings, receipt]
