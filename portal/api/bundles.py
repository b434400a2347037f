"""A policy's bundle: everything needed to verify it, in one ZIP."""

from __future__ import annotations

import hashlib

import sqlalchemy as sa
from litestar import Request, Response, get
from sqlalchemy.ext.asyncio import AsyncConnection

from chain.config import ChainConfig
from portal.api.answers import problems
from portal.api.http import tagged
from portal.api.parameters import Ref
from portal.auth.guards import public
from portal.database import begin_read
from portal.exports import record_export
from portal.services import services
from workflows.audit_transparency.bundle import ChainIdentity, policy_bundle
from workflows.storage.tables import chain_status

ZIP = "application/zip"


@get(
    "/api/v1/policies/{ref:str}/bundle.zip",
    guards=[public],
    conditional=True,
    media_type=ZIP,
    tags=["Policies"],
    summary="Download a policy's bundle",
    description="Text, versions, ballot, entries with their proofs, checkpoint, anchors and constitution in one ZIP, "
    "which needs neither this portal nor the network to be checked. It covers what the newest checkpoint covers; "
    "`bundle.json` says up to where, and the digest of every file. The same state gives the same bytes. Taking it is "
    "entered in the audit log first.",
    responses=problems(404),
)
async def bundle(request: Request, ref: Ref) -> Response[bytes]:
    held = services(request)
    async with begin_read(held.engine) as reader:
        body = await policy_bundle(reader, ref, held.constitution, await known_chain(reader, held.chain))
    digest = hashlib.sha256(body).hexdigest()
    response = tagged(request, body, digest, media_type=ZIP)
    response.headers["Cache-Control"] = "public, no-cache"
    if response.status_code == 304:
        response.content = b""
        return response
    response.headers["Content-Disposition"] = f'attachment; filename="{ref}-bundle.zip"'
    # The subject is the log: an export is no act on the policy, and would be in its next bundle.
    await record_export(request, f"bundle of {ref}", "log", digest)
    return response


async def known_chain(reader: AsyncConnection, config: ChainConfig) -> ChainIdentity:
    """Which chain this portal anchors on, as its worker last saw it. Asks no node."""
    row = (await reader.execute(sa.select(chain_status.c.seen))).scalar_one_or_none() or {}
    authority = config.authority_address or row.get("authority")
    return ChainIdentity(
        program_id=str(config.program_id),
        authority=str(authority) if authority else None,
        cluster=config.cluster,
        genesis_hash=row.get("genesis_hash"),
    )


routes: list = [bundle]
