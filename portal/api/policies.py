"""Policies for programs: finding and reading them, their versions and discussion, and an author's own acts."""

from __future__ import annotations

from typing import Annotated

import msgspec
from litestar import Request, Response, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromQuery, JSONBody, QueryParameter
from sqlalchemy.ext.asyncio import AsyncConnection

from chain.config import ChainConfig
from portal.api.anchors import explorable
from portal.api.answers import LOCATION, Items, Listing, fresh, problems, stale_is_412
from portal.api.bodies import StrictJSON
from portal.api.http import expected_revision, idempotent, paged
from portal.api.parameters import Author, Cursor, Limit, Query, Ref, VersionNumber
from portal.api.shapes import COMMENT_EXAMPLE, POLICY_EXAMPLE, CommentIn, DraftIn, ReasonIn
from portal.auth.guards import public, requires
from workflows.constitution.document import Constitution
from workflows.constitutional_compliance.on_chain import OnChain, of_policy
from workflows.kinds import Category, PolicyState, Strategy
from workflows.policy_creation import discussion, drafts, implementation, queries
from workflows.policy_creation.views import (
    CommentView,
    Diff,
    PolicyItem,
    PolicyView,
    Preview,
    ReviewView,
    TimelineItem,
    VersionView,
)
from workflows.roles import may_comment, may_propose, may_suspend
from workflows.storage.unit import Unit

PATH = "/api/v1/policies"
ONE = PATH + "/{ref:str}"
TAGS = ["Policies"]
DISCUSSION = ["Discussion and review"]


@get(
    PATH,
    guards=[public],
    tags=TAGS,
    summary="List policies",
    description="Newest change first. Filters narrow it down; `q` searches reference, title, summary and text. Drafts "
    "are left out unless asked for by `state` or `author`.",
    responses=problems(),
)
async def find(
    request: Request,
    reader: NamedDependency[AsyncConnection],
    q: Query = "",
    state_: Annotated[PolicyState | None, QueryParameter(name="state")] = None,  # `state` is Litestar's
    category: FromQuery[Category | None] = None,
    strategy: FromQuery[Strategy | None] = None,
    author: Author = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response[Listing[PolicyItem]]:
    page = await queries.policies(
        reader,
        q=q,
        state=state_,
        category=category,
        strategy=strategy,
        author=author,
        limit=limit,
        cursor=cursor,
    )
    return paged(page, request)


@post(
    PATH + "/preview",
    status_code=200,
    guards=[requires(may_propose)],
    dto=StrictJSON,
    example=POLICY_EXAMPLE,
    tags=TAGS,
    summary="See what would apply to a draft",
    description="Which risk, tier, reviewers, periods, quorum and threshold a draft would get, and from which "
    "evidence and articles. Keeps nothing.",
    responses=problems(401, 403, 413, 415),
)
async def preview(data: JSONBody[DraftIn], constitution: NamedDependency[Constitution]) -> Preview:
    draft = data.draft()
    drafts.check(draft)
    return drafts.preview(draft, constitution.figures)


@get(
    ONE,
    guards=[public],
    conditional=True,
    tags=TAGS,
    summary="Read a policy",
    description="Its current version and all that stands around it: risk, rules, review, ballot dates, anchors.",
    responses=problems(404),
)
async def read(
    request: Request,
    ref: Ref,
    reader: NamedDependency[AsyncConnection],
    constitution: NamedDependency[Constitution],
    chain_config: NamedDependency[ChainConfig],
) -> Response[PolicyView]:
    return await _as_it_stands(request, reader, constitution, chain_config, ref)


@put(
    ONE,
    guards=[requires(may_propose)],
    dto=StrictJSON,
    example=POLICY_EXAMPLE,
    tags=TAGS,
    summary="Amend a policy",
    description="Its author's change. A draft is rewritten; once submitted, a new immutable version is made, shown "
    "with what changed, and starts with no approvals. Needs `If-Match` with the ETag of the policy as it was read.",
    responses=problems(401, 403, 404, 409, 412, 413, 415, 428),
)
async def amend(
    request: Request,
    ref: Ref,
    unit: NamedDependency[Unit],
    constitution: NamedDependency[Constitution],
    chain_config: NamedDependency[ChainConfig],
    data: JSONBody[DraftIn],
) -> Response[PolicyView]:
    with stale_is_412():
        await drafts.amend(unit, constitution.figures, ref, data.draft(), revision=expected_revision(request))
    return await _as_it_stands(request, unit.connection, constitution, chain_config, ref)


@post(
    ONE + "/submit",
    status_code=200,
    guards=[requires(may_propose)],
    tags=TAGS,
    summary="Submit a draft for review",
    description="From now on its text does not change. With `If-Match`, only if nobody changed it since.",
    responses=problems(401, 403, 404, 409, 412),
)
@idempotent
async def submit(
    request: Request,
    ref: Ref,
    unit: NamedDependency[Unit],
    constitution: NamedDependency[Constitution],
    chain_config: NamedDependency[ChainConfig],
) -> Response[PolicyView]:
    revision = expected_revision(request) if "if-match" in request.headers else None
    with stale_is_412():
        await drafts.submit(unit, constitution.figures, ref, revision=revision)
    return await _as_it_stands(request, unit.connection, constitution, chain_config, ref)


@post(
    ONE + "/withdraw",
    status_code=200,
    guards=[requires(may_propose)],
    dto=StrictJSON,
    tags=TAGS,
    summary="Withdraw a policy",
    description="Its author takes it back, before it comes to a ballot, and says why.",
    responses=problems(401, 403, 404, 409, 413, 415),
)
@idempotent
async def withdraw(
    request: Request,
    ref: Ref,
    unit: NamedDependency[Unit],
    constitution: NamedDependency[Constitution],
    chain_config: NamedDependency[ChainConfig],
    data: JSONBody[ReasonIn],
) -> Response[PolicyView]:
    await drafts.withdraw(unit, ref, data.reason)
    return await _as_it_stands(request, unit.connection, constitution, chain_config, ref)


@post(
    ONE + "/suspend",
    status_code=202,
    guards=[requires(may_suspend)],
    dto=StrictJSON,
    response_headers=[LOCATION],
    tags=TAGS,
    summary="Suspend an enacted policy",
    description="The council suspends it at once and says why (§ 6.4); its deactivation on Solana is queued, and "
    "stands among `anchors`.",
    responses=problems(401, 403, 404, 409, 413, 415),
)
@idempotent
async def suspend(
    request: Request,
    ref: Ref,
    unit: NamedDependency[Unit],
    constitution: NamedDependency[Constitution],
    chain_config: NamedDependency[ChainConfig],
    data: JSONBody[ReasonIn],
) -> Response[PolicyView]:
    await implementation.suspend(unit, ref, data.reason)
    response = await _as_it_stands(request, unit.connection, constitution, chain_config, ref)
    response.status_code = 202
    response.headers["Location"] = f"{PATH}/{ref}"
    return response


@get(
    ONE + "/versions",
    guards=[public],
    conditional=True,
    tags=TAGS,
    summary="List a policy's versions",
    description="Every version ever submitted, with text, hashes, risk and tier; newest last.",
    responses=problems(404),
)
async def versions(
    request: Request, ref: Ref, reader: NamedDependency[AsyncConnection]
) -> Response[Items[VersionView]]:
    return fresh(request, Items(await queries.versions(reader, ref)))


@get(
    ONE + "/versions/{number:int}",
    guards=[public],
    conditional=True,
    tags=TAGS,
    summary="Read one version",
    description="The text and what it hashes to: `text_sha256` over its UTF-8 bytes, `version_sha256` over the "
    "canonical JSON (RFC 8785) of everything that is approved and voted on.",
    responses=problems(404),
)
async def version(
    request: Request, ref: Ref, number: VersionNumber, reader: NamedDependency[AsyncConnection]
) -> Response[VersionView]:
    return fresh(request, await queries.version(reader, ref, number))


@get(
    ONE + "/diff",
    guards=[public],
    conditional=True,
    tags=TAGS,
    summary="Compare two versions",
    description="Field by field and line by line, with the words that changed. `from` and `to` are version numbers; "
    "without `to`, the current version, and without `from`, the one before it.",
    responses=problems(404),
)
async def diff(
    request: Request,
    ref: Ref,
    reader: NamedDependency[AsyncConnection],
    constitution: NamedDependency[Constitution],
    from_: Annotated[int | None, QueryParameter(name="from", ge=1, le=2**31 - 1)] = None,
    to: Annotated[int | None, QueryParameter(ge=1, le=2**31 - 1)] = None,
) -> Response[Diff]:
    if to is None:
        to = (await queries.policy(reader, constitution.figures, ref)).versions
    return fresh(request, await queries.diff(reader, ref, max(to - 1, 1) if from_ is None else from_, to))


@get(
    ONE + "/comments",
    guards=[public],
    conditional=True,
    tags=DISCUSSION,
    summary="Read the discussion",
    description="All comments, oldest first; `reply_to` says which comment one answers. `body_html` is safe to show.",
    responses=problems(404),
)
async def comments(
    request: Request, ref: Ref, reader: NamedDependency[AsyncConnection]
) -> Response[Items[CommentView]]:
    return fresh(request, Items(await queries.comments(reader, ref)))


@post(
    ONE + "/comments",
    status_code=201,
    guards=[requires(may_comment)],
    dto=StrictJSON,
    example=COMMENT_EXAMPLE,
    response_headers=[LOCATION],
    tags=DISCUSSION,
    summary="Comment on a policy",
    description="Takes part in the discussion (§ 4.8), or answers a comment.",
    responses=problems(401, 403, 404, 409, 413, 415),
)
@idempotent
async def comment(
    request: Request, ref: Ref, unit: NamedDependency[Unit], data: JSONBody[CommentIn]
) -> Response[CommentView]:
    comment_id = await discussion.comment(unit, ref, data.body, data.reply_to)
    view = next(each for each in await queries.comments(unit.connection, ref) if each.id == comment_id)
    return Response(view, status_code=201, headers={"Location": f"{PATH}/{ref}/comments#{comment_id}"})


@get(
    ONE + "/reviews",
    guards=[public],
    conditional=True,
    tags=DISCUSSION,
    summary="Read the reviews",
    description="Who decided what, in which capacity and why; `void` marks those about an earlier version.",
    responses=problems(404),
)
async def reviews(
    request: Request, ref: Ref, reader: NamedDependency[AsyncConnection]
) -> Response[Items[ReviewView]]:
    return fresh(request, Items(await queries.reviews(reader, ref)))


@get(
    ONE + "/timeline",
    guards=[public],
    conditional=True,
    tags=TAGS,
    summary="Read a policy's timeline",
    description="What happened, each with the number of its audit entry, and then what will: `at` is null there and "
    "`due` says when, where that is known.",
    responses=problems(404),
)
async def timeline(
    request: Request,
    ref: Ref,
    reader: NamedDependency[AsyncConnection],
    constitution: NamedDependency[Constitution],
) -> Response[Items[TimelineItem]]:
    return fresh(request, Items(await queries.timeline(reader, constitution.figures, ref)))


@get(
    ONE + "/on-chain",
    guards=[public],
    conditional=True,
    tags=TAGS,
    summary="Read what the program on chain says of a policy",
    description="The answer of Quantumagi's `check_compliance` about the policy's record, as the anchoring worker last got "
    "it (`at`); with `checked` false, `says` tells why the program was not asked.",
    responses=problems(404),
)
async def on_chain(request: Request, ref: Ref, reader: NamedDependency[AsyncConnection]) -> Response[OnChain]:
    return fresh(request, await of_policy(reader, ref))


async def _as_it_stands(
    request: Request, connection: AsyncConnection, constitution: Constitution, config: ChainConfig, ref: str
) -> Response[PolicyView]:
    """The policy, also after what this very transaction has done, with the ETag that the next change needs."""
    policy = await queries.policy(connection, constitution.figures, ref)
    policy = msgspec.structs.replace(policy, anchors=explorable(config, policy.anchors))
    return fresh(request, policy, revision=policy.revision)


routes: list = [
    find,
    preview,
    read,
    amend,
    submit,
    withdraw,
    suspend,
    versions,
    version,
    diff,
    comments,
    comment,
    reviews,
    timeline,
    on_chain,
]
