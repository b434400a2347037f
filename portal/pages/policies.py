"""Policies: the list, and each policy's text, versions, changes, discussion, implementation and timeline."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, TypeVar
from urllib.parse import urlencode
from uuid import UUID

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from msgspec import structs
from sqlalchemy.ext.asyncio import AsyncConnection

from chain import explorer
from chain.config import ChainConfig
from portal.auth.guards import public, requires
from portal.pages import amending, proposal
from portal.pages.forms import form
from portal.pages.refusals import attempt, field_errors
from portal.pages.render import fragment, page, see_other
from workflows.constitution.document import Constitution
from workflows.errors import Invalid
from workflows.kinds import Category, PolicyState, Strategy
from workflows.markdown import to_html
from workflows.policy_creation import discussion, implementation, queries
from workflows.policy_creation.synthesis import keeping
from workflows.policy_creation.views import AnchorView, CommentView, PolicyView
from workflows.roles import Actor, may_comment, may_propose, may_suspend
from workflows.storage.unit import Unit

E = TypeVar("E", bound=StrEnum)
PER_PAGE = 25
# The regions that follow changes by themselves: htmx asks for the page they stand on and names them as its target.
REGIONS = {
    "standing": "fragments/policies/standing.html",
    "comments": "fragments/policies/comments.html",
    "reviews": "fragments/policies/reviews.html",
    "anchors": "fragments/policies/anchors.html",
    "events": "fragments/policies/events.html",
}
STATES = [
    (PolicyState.DRAFT, "Draft"),
    (PolicyState.IN_REVIEW, "In review"),
    (PolicyState.RETURNED, "Returned"),
    (PolicyState.PUBLIC_COMMENT, "Public comment"),
    (PolicyState.VOTING, "Voting"),
    (PolicyState.ENACTED, "In force"),
    (PolicyState.SUSPENDED, "Suspended"),
    (PolicyState.REJECTED, "Rejected"),
    (PolicyState.WITHDRAWN, "Withdrawn"),
]
TIERS = [
    (Strategy.STANDARD, "1 · Standard"),
    (Strategy.ENHANCED_VALIDATION, "2 · Enhanced validation"),
    (Strategy.MULTI_MODEL_CONSENSUS, "3 · Multi-model consensus"),
    (Strategy.HUMAN_REVIEW, "4 · Human review"),
]
CHOICES = {
    "state": STATES,
    "category": [(category, category.capitalize()) for category in Category],
    "tier": TIERS,
}


def show(
    request: Request,
    template: str,
    policy: PolicyView,
    actor: Actor | None,
    key: str,
    word: str,
    **context: Any,
) -> Response:
    """The tab `key` of a policy, or the one region of it that htmx asks for anew."""
    status = context.pop("status", 200)
    context = {"errors": {}, "values": {}, **proposal.frame(policy, actor, key), **context}
    if region := REGIONS.get(request.headers.get("HX-Target", "")):
        return fragment(request, region, **context)
    title = f"{policy.version.title} – {word}"
    return page(request, f"pages/policies/{template}.html", title=title, status=status, **context)


def one_of(kind: type[E], value: str | None) -> E | None:
    """The member of `kind` that a form or address names; None for anything else."""
    return kind(value) if value in set(kind) else None


@get("/policies", guards=[public])
async def index(
    request: Request, reader: NamedDependency[AsyncConnection], actor: NamedDependency[Actor | None]
) -> Response:
    asked = request.query_params
    filters = {name: asked.get(name) or "" for name in ("q", "state", "category", "tier")}
    found = await queries.policies(
        reader,
        q=filters["q"],
        state=one_of(PolicyState, filters["state"]),
        category=one_of(Category, filters["category"]),
        strategy=one_of(Strategy, filters["tier"]),
        limit=PER_PAGE,
        cursor=asked.get("cursor"),
    )
    context = {
        "items": found.items,
        "filters": filters,
        "filtered": any(filters.values()),
        "choices": CHOICES,
        "next": _page_href(filters, found.next),
        "prev": _page_href(filters, found.prev),
        "may_propose": may_propose(actor),
    }
    if request.headers.get("HX-Target") == "found":
        return fragment(request, "fragments/policies/found.html", **context)
    return page(request, "pages/policies/index.html", title="Policies", **context)


def _page_href(filters: dict[str, str], cursor: str | None) -> str | None:
    chosen = {name: value for name, value in filters.items() if value}
    return f"/policies?{urlencode({**chosen, 'cursor': cursor})}" if cursor else None


@get("/policies/{ref:str}", guards=[public])
async def text(
    request: Request,
    ref: FromPath[str],
    reader: NamedDependency[AsyncConnection],
    constitution: NamedDependency[Constitution],
    actor: NamedDependency[Actor | None],
) -> Response:
    policy = await queries.policy(reader, constitution.figures, ref)
    html = to_html(policy.version.text)
    return show(
        request,
        "text",
        policy,
        actor,
        "",
        "Text",
        version=policy.version,
        html=html,
        amendment=await amending.of(reader, constitution, policy),
        preview=policy,
        problem="",
        begun=await keeping.begun(reader, ref),
    )


@get("/policies/{ref:str}/versions/{number:int}", guards=[public])
async def version(
    request: Request,
    ref: FromPath[str],
    number: FromPath[int],
    reader: NamedDependency[AsyncConnection],
    constitution: NamedDependency[Constitution],
    actor: NamedDependency[Actor | None],
) -> Response:
    policy = await queries.policy(reader, constitution.figures, ref)
    found = await queries.version(reader, ref, number)
    word = f"Version {number}"
    amended = await amending.of(reader, constitution, policy, found)
    shown = {"version": found, "html": to_html(found.text), "amendment": amended}
    return show(request, "version", policy, actor, "changes", word, **shown)


@get("/policies/{ref:str}/changes", guards=[public])
async def changes(
    request: Request,
    ref: FromPath[str],
    reader: NamedDependency[AsyncConnection],
    constitution: NamedDependency[Constitution],
    actor: NamedDependency[Actor | None],
) -> Response:
    policy = await queries.policy(reader, constitution.figures, ref)
    versions = await queries.versions(reader, ref)
    diff = None
    if len(versions) > 1:
        to = _version_number(request, "to", policy.version.number)
        from_ = _version_number(request, "from", max(to - 1, 1))
        diff = await queries.diff(reader, ref, from_, to)
    shown = {
        "versions": versions,
        "diff": diff,
        "changes": proposal.changes(diff) if diff else [],
        "amendment": await amending.of(reader, constitution, policy),
    }
    return show(request, "changes", policy, actor, "changes", "Changes", **shown)


def _version_number(request: Request, name: str, default: int) -> int:
    asked = request.query_params.get(name, "")
    return int(asked) if asked.isdecimal() and len(asked) < 6 else default


@get("/policies/{ref:str}/discussion", guards=[public])
async def discussed(
    request: Request,
    ref: FromPath[str],
    reader: NamedDependency[AsyncConnection],
    constitution: NamedDependency[Constitution],
    actor: NamedDependency[Actor | None],
) -> Response:
    policy = await queries.policy(reader, constitution.figures, ref)
    comments = await queries.comments(reader, ref)
    answered = _comment(comments, request.query_params.get("reply_to"))
    return show(
        request, "discussion", policy, actor, "discussion", "Discussion", comments=comments, answered=answered
    )


def _comment(comments: list[CommentView], id: str | None) -> CommentView | None:
    return next((comment for comment in comments if str(comment.id) == id), None)


@post("/policies/{ref:str}/comments", guards=[requires(may_comment)], status_code=303)
async def comment(
    request: Request,
    ref: FromPath[str],
    unit: NamedDependency[Unit],
    constitution: NamedDependency[Constitution],
    actor: NamedDependency[Actor | None],
) -> Response:
    values = await form(request)
    answered = values.get("reply_to")
    try:
        async with attempt(unit):
            id = await discussion.comment(unit, ref, values.get("body", ""), _uuid(answered))
    except Invalid as refusal:
        policy = await queries.policy(unit.connection, constitution.figures, ref)
        comments = await queries.comments(unit.connection, ref)
        shown = {"comments": comments, "answered": _comment(comments, answered), "values": values}
        errors = field_errors(refusal, "body")
        return show(
            request,
            "discussion",
            policy,
            actor,
            "discussion",
            "Discussion",
            errors=errors,
            status=422,
            **shown,
        )
    return see_other(f"/policies/{ref}/discussion#comment-{id}", ("success", "Your comment stands."))


def _uuid(value: str | None) -> UUID | None:
    try:
        return UUID(value) if value else None
    except ValueError as error:
        raise Invalid("There is no such comment to answer.") from error


@get("/policies/{ref:str}/implementation", guards=[public])
async def implemented(
    request: Request,
    ref: FromPath[str],
    reader: NamedDependency[AsyncConnection],
    constitution: NamedDependency[Constitution],
    actor: NamedDependency[Actor | None],
    chain_config: NamedDependency[ChainConfig],
) -> Response:
    policy = await queries.policy(reader, constitution.figures, ref)
    anchors = [_with_explorer(anchor, chain_config) for anchor in policy.anchors]
    policy = structs.replace(policy, anchors=anchors)
    topics = " ".join([f"policy:{ref}", *(f"anchor:{anchor.id}" for anchor in anchors)])
    return show(request, "implementation", policy, actor, "implementation", "In force", topics=topics)


def _with_explorer(anchor: AnchorView, config: ChainConfig) -> AnchorView:
    url = explorer.transaction_url(config, anchor.signature) if anchor.signature else None
    return structs.replace(anchor, explorer_url=url)


@post("/policies/{ref:str}/suspend", guards=[requires(may_suspend)], status_code=303)
async def suspend(request: Request, ref: FromPath[str], unit: NamedDependency[Unit]) -> Response:
    values = await form(request)
    await implementation.suspend(unit, ref, values.get("reason", ""))
    return see_other(f"/policies/{ref}/implementation", ("success", f"{ref} is suspended."))


@get("/policies/{ref:str}/timeline", guards=[public])
async def timeline(
    request: Request,
    ref: FromPath[str],
    reader: NamedDependency[AsyncConnection],
    constitution: NamedDependency[Constitution],
    actor: NamedDependency[Actor | None],
) -> Response:
    policy = await queries.policy(reader, constitution.figures, ref)
    events = proposal.events(await queries.timeline(reader, constitution.figures, ref))
    return show(request, "timeline", policy, actor, "timeline", "Timeline", events=events)


routes: list = [index, text, version, changes, discussed, comment, implemented, suspend, timeline]
