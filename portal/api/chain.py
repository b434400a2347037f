"""The chain for programs: how things stand with it, and our own decoded view of any transaction and account."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec
import sqlalchemy as sa
from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import PathParameter
from sqlalchemy.ext.asyncio import AsyncConnection

from chain import explorer
from chain.config import ChainConfig
from portal.api.answers import problems
from portal.auth.guards import public
from workflows.constitution.document import Constitution
from workflows.kinds import AnchorState
from workflows.storage.tables import anchor, chain_status

PATH = "/api/v1/chain"
TAGS = ["Chain"]
BASE58 = "1-9A-HJ-NP-Za-km-z"


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What the portal last saw of the chain. None and empty where it has not looked yet."""

    reachable: bool | None
    may_anchor: bool | None
    reason_code: str | None
    reason: str | None
    checked_at: datetime | None


class ChainView(Seen, frozen=True, kw_only=True):
    """How things stand with the chain. `matches`: the constitution account holds our document's hash."""

    cluster: str
    program: dict[str, Any]
    constitution: dict[str, Any]
    expected_sha256: str
    matches: bool | None
    authority: str | None
    balance_lamports: int | None
    genesis_hash: str | None
    slot: int | None
    queue: dict[AnchorState, int]
    links: dict[str, str]


@get(
    PATH,
    guards=[public],
    tags=TAGS,
    summary="See how things stand with the chain",
    description="Program, constitution account against our document, authority, balance, and how many anchors are in "
    "which state. As the anchoring worker last saw it (`checked_at`): asking this asks no node. Where nothing may be "
    "anchored, `reason` says why.",
    responses=problems(),
)
async def status(
    reader: NamedDependency[AsyncConnection],
    constitution: NamedDependency[Constitution],
    chain_config: NamedDependency[ChainConfig],
) -> ChainView:
    row = (await reader.execute(sa.select(chain_status))).mappings().one_or_none()
    seen = row["seen"] if row else {}
    account = seen.get("constitution") or {}
    found = account.get("hash")
    return ChainView(
        **{name: row[name] if row else None for name in Seen.__struct_fields__},
        cluster=chain_config.cluster,
        program=seen.get("program") or {"address": str(chain_config.program_id)},
        constitution=account,
        expected_sha256=constitution.sha256,
        matches=found == constitution.sha256 if found else None,
        authority=seen.get("authority"),
        balance_lamports=seen.get("balance_lamports"),
        genesis_hash=seen.get("genesis_hash"),
        slot=seen.get("slot"),
        queue=await _queue(reader),
        links={"self": PATH, "anchors": "/api/v1/anchors", "html": "/chain"},
    )


async def _queue(reader: AsyncConnection) -> dict[AnchorState, int]:
    counted = await reader.execute(sa.select(anchor.c.state, sa.func.count()).group_by(anchor.c.state))
    return dict.fromkeys(AnchorState, 0) | {AnchorState(state): number for state, number in counted}


@get(
    PATH + "/transactions/{signature:str}",
    guards=[public],
    tags=TAGS,
    summary="Read a transaction, decoded",
    description="Read from the node just now: who signed, and each instruction by name with its arguments, accounts "
    "and memo.",
    responses=problems(404),
)
async def transaction(
    signature: Annotated[
        str, PathParameter(description="64 bytes in base 58.", pattern=f"^[{BASE58}]{{64,88}}$")
    ],
    chain_config: NamedDependency[ChainConfig],
) -> Response[dict[str, Any]]:
    return Response(await explorer.transaction_view(chain_config, signature))


@get(
    PATH + "/accounts/{address:str}",
    guards=[public],
    tags=TAGS,
    summary="Read an account, decoded",
    description="Read from the node just now: owner, balance, and its fields by name where it is one of Quantumagi's.",
    responses=problems(404),
)
async def account(
    address: Annotated[
        str, PathParameter(description="32 bytes in base 58.", pattern=f"^[{BASE58}]{{32,44}}$")
    ],
    chain_config: NamedDependency[ChainConfig],
) -> Response[dict[str, Any]]:
    return Response(await explorer.account_view(chain_config, address))


routes: list = [status, transaction, account]
