"""Review: the queue, who decided what about a policy, and the form with which a reviewer decides."""

from __future__ import annotations

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from sqlalchemy.ext.asyncio import AsyncConnection

from portal.auth.guards import public, requires
from portal.pages import amending, proposal
from portal.pages.forms import form
from portal.pages.policies import one_of, show
from portal.pages.refusals import attempt, field_errors
from portal.pages.render import page, see_other
from workflows.constitution.document import Constitution
from workflows.errors import Conflict, FieldError, Invalid
from workflows.kinds import Decision, PolicyState
from workflows.markdown import to_html
from workflows.policy_creation import queries, reviews
from workflows.policy_enforcement import queries as enforcement
from workflows.roles import Actor, may_review_others
from workflows.storage.unit import Unit

SAID = {
    Decision.APPROVE: "Your approval is recorded.",
    Decision.RETURN: "The policy is returned to its author.",
    Decision.REJECT: "The policy is rejected.",
}


@get("/reviews", guards=[requires(may_review_others)])
async def queue(
    request: Request, reader: NamedDependency[AsyncConnection], actor: NamedDependency[Actor]
) -> Response:
    waiting = await queries.review_queue(reader, actor)
    under_review = await queries.policies(reader, state=PolicyState.IN_REVIEW, limit=100)
    mine = {item.ref for item in waiting}
    others = [item for item in under_review.items if item.ref not in mine]
    return page(request, "pages/reviews.html", title="Reviews", waiting=waiting, others=others)


@get("/policies/{ref:str}/review", guards=[public])
async def reviewed(
    request: Request,
    ref: FromPath[str],
    reader: NamedDependency[AsyncConnection],
    constitution: NamedDependency[Constitution],
    actor: NamedDependency[Actor | None],
) -> Response:
    return await _show(request, reader, constitution, ref, actor)


@post("/policies/{ref:str}/reviews", guards=[requires(may_review_others)], status_code=303)
async def decide(
    request: Request,
    ref: FromPath[str],
    unit: NamedDependency[Unit],
    constitution: NamedDependency[Constitution],
    actor: NamedDependency[Actor],
) -> Response:
    values = await form(request)
    try:
        decision = one_of(Decision, values.get("decision"))
        if decision is None:
            raise Invalid("Nothing is chosen.", errors=(FieldError("/decision", "Choose what you decide."),))
        async with attempt(unit):
            progress = await reviews.decide(
                unit,
                constitution.figures,
                ref,
                decision,
                values.get("reason", ""),
                values.get("version_sha256", ""),
            )
    except (Invalid, Conflict) as refusal:
        if isinstance(refusal, Conflict) and refusal.code != "stale_version":
            raise
        return await _show(request, unit.connection, constitution, ref, actor, values, refusal)
    said = SAID[decision]
    if decision == Decision.APPROVE:
        said += " The review is complete." if progress.complete else f" {progress.missing}"
    return see_other(f"/policies/{ref}/review", ("success", said))


async def _show(
    request: Request,
    connection: AsyncConnection,
    constitution: Constitution,
    ref: str,
    actor: Actor | None,
    values: dict[str, str] | None = None,
    refusal: Invalid | Conflict | None = None,
) -> Response:
    """The tab; after a refusal with the reason that was given. A stale reading must be decided anew."""
    stale = refusal if isinstance(refusal, Conflict) else None
    policy = await queries.policy(connection, constitution.figures, ref)
    given = await queries.reviews(connection, ref)
    version = policy.version
    return show(
        request,
        "review",
        policy,
        actor,
        "review",
        "Review",
        reviews=given,
        amendment=await amending.of(connection, constitution, policy),
        html=to_html(version.text) if version.rule else None,
        checked=await enforcement.checked(connection, version.version_sha256) if version.rule else None,
        may_decide=proposal.may_review_now(policy, actor, given),
        values={"reason": (values or {}).get("reason")} if stale else values or {},
        errors=field_errors(refusal, "reason") if isinstance(refusal, Invalid) else {},
        stale=stale,
        status=refusal.status if refusal else 200,
    )


routes: list = [queue, reviewed, decide]
