"""Anchors for programs: what is on its way to the chain or stands there, and reading the chain anew to check it."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import msgspec
from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter
from sqlalchemy.ext.asyncio import AsyncConnection

from chain import checkpoint_verify, explorer, quantumagi, queue, verify
from chain.checks import Verification
from chain.config import ChainConfig
from portal.api.answers import LOCATION, Listing, fresh, problems
from portal.api.http import idempotent, paged
from portal.api.parameters import NO_NUL, Cursor, Limit, Ref
from portal.auth.guards import public, requires
from portal.database import begin_read
from portal.services import services
from workflows.constitution.document import Constitution
from workflows.kinds import AnchorKind, AnchorState
from workflows.policy_creation import queries
from workflows.policy_creation.views import AnchorView
from workflows.roles import may_operate
from workflows.storage.unit import Unit

PATH = "/api/v1/anchors"
TAGS = ["Anchors"]
POLICY = Annotated[
    str | None, QueryParameter(description="Only of this policy.", max_length=40, pattern=NO_NUL)
]


@get(
    PATH,
    guards=[public],
    tags=TAGS,
    summary="List anchors",
    description="Newest first: queued, submitted, confirmed, finalized or failed. Nothing counts as anchored before "
    "it is finalized. Of a policy (`policy`, `deactivation`), or of a checkpoint of the audit log (`checkpoint`).",
    responses=problems(),
)
async def find(
    request: Request,
    reader: NamedDependency[AsyncConnection],
    chain_config: NamedDependency[ChainConfig],
    state_: Annotated[AnchorState | None, QueryParameter(name="state")] = None,  # `state` is Litestar's
    ref: POLICY = None,
    kind: Annotated[AnchorKind | None, QueryParameter(description="Only of this kind.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response[Listing[AnchorView]]:
    page = await queries.anchors(reader, limit=limit, cursor=cursor, state=state_, ref=ref, kind=kind)
    return paged(msgspec.structs.replace(page, items=explorable(chain_config, page.items)), request)


@get(
    PATH + "/{anchor_id:uuid}",
    guards=[public],
    conditional=True,
    tags=TAGS,
    summary="Read an anchor",
    description="The record exactly as hashed, the memo, and where on which cluster it stands.",
    responses=problems(404),
)
async def read(
    request: Request,
    anchor_id: FromPath[UUID],
    reader: NamedDependency[AsyncConnection],
    chain_config: NamedDependency[ChainConfig],
) -> Response[AnchorView]:
    return fresh(request, *explorable(chain_config, [await queries.anchor(reader, anchor_id)]))


@post(
    PATH + "/{anchor_id:uuid}/verify",
    status_code=200,
    guards=[public],
    tags=TAGS,
    summary="Verify an anchor against the chain",
    description="Reads the chain anew and holds text, version, reviews, tally, constitution, record and account "
    "together, step by step; of a checkpoint's anchor its signature, root, transaction and records. `overall` is verified only when every step passes; a step that cannot be taken now is "
    "pending or absent, never passed. Changes nothing.",
    responses=problems(404),
)
async def verify_anchor(
    request: Request,
    anchor_id: FromPath[UUID],
    chain_config: NamedDependency[ChainConfig],
    constitution: NamedDependency[Constitution],
) -> Verification:
    async with begin_read(services(request).engine) as reader:
        ref = (await queries.anchor(reader, anchor_id)).ref
        if ref is None:
            checkpoint = await checkpoint_verify.claims(reader, anchor_id)
            under = await verify.decided_under(reader, constitution, checkpoint.anchor.constitution_sha256)
        else:
            claims = await verify.claims(reader, ref)
            under = await verify.decided_under(reader, constitution, claims.decided_under)
    if ref is None:
        reading = await checkpoint_verify.read(chain_config, checkpoint)
        return checkpoint_verify.check(checkpoint, reading, under)
    return verify.check(claims, await verify.read(chain_config, claims), under)


@get(
    "/api/v1/policies/{ref:str}/verify",
    guards=[public],
    tags=TAGS,
    summary="Verify a policy against the chain",
    description="As for an anchor: every step from the text's bytes to the account on chain, read just now, with what "
    "was expected, what was found, the first byte that differs, and how to repeat the step without this portal.",
    responses=problems(404),
)
async def verify_policy(
    request: Request,
    ref: Ref,
    chain_config: NamedDependency[ChainConfig],
    constitution: NamedDependency[Constitution],
) -> Verification:
    async with begin_read(services(request).engine) as reader:
        claims = await verify.claims(reader, ref)
        under = await verify.decided_under(reader, constitution, claims.decided_under)
    return verify.check(claims, await verify.read(chain_config, claims), under)


@post(
    PATH + "/{anchor_id:uuid}/retry",
    status_code=202,
    guards=[requires(may_operate)],
    response_headers=[LOCATION],
    tags=TAGS,
    summary="Take up a failed anchor again",
    description="For operators: back into the queue. The record's address comes from its content, so that sending "
    "again can never write it twice.",
    responses=problems(401, 403, 404, 409),
)
@idempotent
async def retry(
    request: Request, anchor_id: FromPath[UUID], unit: NamedDependency[Unit]
) -> Response[AnchorView]:
    await queue.retry(unit, anchor_id)
    view = await queries.anchor(unit.connection, anchor_id)
    return Response(view, status_code=202, headers={"Location": f"{PATH}/{anchor_id}"})


def explorable(config: ChainConfig, anchors: list[AnchorView]) -> list[AnchorView]:
    """The anchors with what each cost, and the address at which a Solana explorer shows its transaction, where it has one."""
    return [
        msgspec.structs.replace(
            each,
            explorer_url=explorer.transaction_url(config, each.signature)
            if each.cluster == config.cluster
            else None,
            cost_lamports=_cost(each),
        )
        if each.signature
        else each
        for each in anchors
    ]


def _cost(anchor: AnchorView) -> int:
    """Fee, and rent where the record became an account of its own; not the audit record's, which is founded once."""
    lasts = anchor.kind == AnchorKind.POLICY or anchor.durable
    return quantumagi.policy_cost(len(anchor.record.encode())) if lasts else quantumagi.SIGNATURE_FEE


routes: list = [find, read, verify_anchor, verify_policy, retry]
