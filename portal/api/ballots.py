"""Ballots for programs: may I vote, cast, and after the close what came out and every opening to recount it."""

from __future__ import annotations

import hashlib
from typing import Annotated

import msgspec
from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromQuery, JSONBody, PathParameter
from sqlalchemy.ext.asyncio import AsyncConnection

from portal.api.answers import LOCATION, Items, fresh, problems
from portal.api.bodies import StrictJSON
from portal.api.http import idempotent
from portal.api.parameters import NO_NUL, Ref
from portal.api.shapes import VOTE_EXAMPLE, BallotAnswer, Receipt, VoteIn
from portal.auth.guards import public, requires
from portal.exports import record_export
from workflows.policy_creation import ballots, queries, recount
from workflows.policy_creation.recount import Recount
from workflows.policy_creation.views import OpeningName, Openings, ReceiptView, Results
from workflows.roles import Actor, Reason, Scope, Verdict
from workflows.storage.unit import Unit, governance_now

POLICY = "/api/v1/policies/{ref:str}"
TAGS = ["Ballots"]

Code = Annotated[
    str,
    PathParameter(
        description="A receipt's code, as it was shown after casting.", max_length=60, pattern=NO_NUL
    ),
]


def may_try_to_vote(actor: Actor) -> Verdict:
    """Whoever signed in may try: an elector stays one whatever becomes of their roles (§ 5.1), and the ballot knows."""
    if Scope.VOTE in actor.scopes:
        return True
    return Reason("scope_missing", "This token was not given the scope “vote”.")


@get(
    POLICY + "/ballot",
    guards=[public],
    conditional=True,
    tags=TAGS,
    summary="Read a ballot",
    description="When it opens and closes, quorum and threshold, and with a token whether you may vote, why, and your "
    "receipt. It says nothing of how many voted, or how, before the close (§ 5.8).",
    responses=problems(404),
)
async def read(
    request: Request, ref: Ref, reader: NamedDependency[AsyncConnection], actor: NamedDependency[Actor | None]
) -> Response[BallotAnswer]:
    ballot = await queries.ballot(reader, ref, actor, await governance_now(reader))
    return fresh(request, BallotAnswer.of(ballot))


@post(
    POLICY + "/ballot/votes",
    status_code=201,
    guards=[requires(may_try_to_vote)],
    dto=StrictJSON,
    example=VOTE_EXAMPLE,
    response_headers=[LOCATION],
    tags=TAGS,
    summary="Cast or change your vote",
    description="Bound by `version_sha256` to the text that was read. A later vote replaces an earlier one until the "
    "close. The receipt's `salt` opens its commitment: with it, and only with it, you can prove your vote.",
    response_description="Cast; `Location` is the receipt.",
    responses=problems(401, 403, 404, 409, 413, 415),
)
@idempotent
async def cast(
    request: Request, ref: Ref, unit: NamedDependency[Unit], data: JSONBody[VoteIn]
) -> Response[Receipt]:
    receipt = await ballots.cast(unit, ref, data.choice, data.version_sha256, data.reason)
    return Response(
        Receipt(receipt=receipt), status_code=201, headers={"Location": f"/api/v1/receipts/{receipt.code}"}
    )


@get(
    POLICY + "/results",
    guards=[public],
    conditional=True,
    tags=TAGS,
    summary="Read the results",
    description="After the close: counts, turnout, quorum, threshold, the root over all counting commitments, and "
    "`why`, a tree of comparisons whose numbers re-evaluate to the outcome. 409 while the ballot is open.",
    responses=problems(404, 409),
)
async def results(request: Request, ref: Ref, reader: NamedDependency[AsyncConnection]) -> Response[Results]:
    return fresh(request, await queries.results(reader, ref))


@get(
    POLICY + "/openings",
    guards=[public],
    conditional=True,
    tags=TAGS,
    summary="Recount a ballot",
    description="After the close: every counting vote without its voter, sorted by commitment, and every one that was "
    "replaced. Each commitment is HMAC-SHA256(salt, canonical JSON of {ballot, choice}); the Merkle tree (RFC 6962) over "
    "the counting ones has the ballot root. The SHA-256 of the answer, byte for byte, stands in the log's entry "
    "`ballot.closed` as `openings_sha256`. Taking it is entered in the log first.",
    responses=problems(404, 409),
)
async def openings(
    request: Request, ref: Ref, reader: NamedDependency[AsyncConnection]
) -> Response[Openings]:
    body = await queries.openings_document(reader, ref)
    response = fresh(request, msgspec.Raw(body))
    if response.status_code != 304:
        await record_export(request, f"openings of {ref}", "log", hashlib.sha256(body).hexdigest())
    return response


@get(
    POLICY + "/openings/names",
    guards=[public],
    conditional=True,
    tags=TAGS,
    summary="Read who voted how in an open ballot",
    description="After the close of a ballot whose `mode` is `open`, which is said before anybody votes; 404 for a sealed "
    "one. Names stand outside what is hashed, so that they can be erased. Taking them is entered in the log first.",
    responses=problems(404, 409),
)
async def opening_names(
    request: Request, ref: Ref, reader: NamedDependency[AsyncConnection]
) -> Response[Items[OpeningName]]:
    response = fresh(request, Items(await queries.opening_names(reader, ref)))
    if response.status_code != 304:
        await record_export(request, f"names beside the openings of {ref}", "log")
    return response


@get(
    POLICY + "/recount",
    guards=[public],
    conditional=True,
    tags=TAGS,
    summary="Have a ballot recounted",
    description="After the close: the published votes counted anew from their openings and looked up in the audit log, "
    "each check with its outcome. To trust nobody, take the bundle and a verifier instead.",
    responses=problems(404, 409),
)
async def recounted(
    request: Request, ref: Ref, reader: NamedDependency[AsyncConnection]
) -> Response[Recount]:
    return fresh(request, await recount.recount(reader, ref))


@get(
    "/api/v1/receipts/{code:str}",
    guards=[public],
    conditional=True,
    tags=TAGS,
    summary="Look a receipt up",
    description="Whether this vote counts, and after the close whether its commitment is under the ballot root. Its "
    "own voter, and nobody else, can add `reveal=true` for the choice and the salt.",
    responses=problems(404),
)
async def receipt(
    request: Request,
    code: Code,
    reader: NamedDependency[AsyncConnection],
    actor: NamedDependency[Actor | None],
    reveal: FromQuery[bool] = False,
) -> Response[ReceiptView]:
    return fresh(request, await queries.receipt(reader, code, actor if reveal else None))


routes: list = [read, cast, results, openings, opening_names, recounted, receipt]
