"""The chain for programs: how things stand with it, and our own decoded view of any transaction and account."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
import sqlalchemy as sa
from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import PathParameter, QueryParameter
from sqlalchemy.ext.asyncio import AsyncConnection

from chain import explorer, listing
from chain.config import ChainConfig
from portal.api.answers import problems
from portal.auth.guards import public
from portal.database import begin_read
from portal.services import services
from workflows.constitution.document import Constitution
from workflows.kinds import AnchorState
from workflows.storage.tables import anchor, chain_status

PATH = "/api/v1/chain"
TAGS = ["Chain"]
MOST_LISTED = 50  # each is a question to the node
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
        links={
            "self": PATH,
            "anchors": "/api/v1/anchors",
            "checkpoints": f"{PATH}/checkpoints",
            "html": "/chain",
        },
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


class ListedAnchor(msgspec.Struct, frozen=True, kw_only=True):
    """A transaction by the authority that names a checkpoint of an audit log. `known`: one of our anchors has it."""

    signature: str
    slot: int
    block_time: datetime | None
    checkpoints: list[dict[str, Any]]  # origin, size, root in base64: one each, in an anchor of ours
    durable: bool
    known: bool
    explorer_url: str | None


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """What the chain itself lists, newest first, and where it and our log do not agree: nowhere, if all is well."""

    read_at: datetime
    cluster: str
    genesis_hash: str
    authority: str
    items: list[ListedAnchor]
    disagreements: list[dict[str, str]]  # signature, what
    complete: bool  # whether there is nothing older
    before: str | None  # goes on from here, as parameter of that name


async def listed(request: Request, config: ChainConfig, limit: int, before: str | None) -> Listed:
    """The chain is read first and the database after it: no network call inside a transaction."""
    found = await listing.read_newest(config, limit, before)
    async with begin_read(services(request).engine) as reader:
        wrong = await listing.compare(reader, found)
        unknown = await listing.unknown(reader, found)
    return Listed(
        read_at=datetime.now(UTC),
        cluster=config.cluster,
        genesis_hash=found.genesis_hash,
        authority=found.authority,
        items=[
            ListedAnchor(
                signature=item.signature,
                slot=item.slot,
                block_time=datetime.fromtimestamp(item.block_time, UTC) if item.block_time else None,
                checkpoints=[
                    {"origin": head.origin, "size": head.size, "root": base64.b64encode(head.root).decode()}
                    for head in sorted(item.written.claims, key=lambda head: (head.size, head.root))
                ],
                durable=bool(item.written.rules),
                known=item.signature not in unknown,
                explorer_url=explorer.transaction_url(config, item.signature),
            )
            for item in found.items
        ],
        disagreements=[{"signature": each.signature, "what": each.what} for each in wrong],
        complete=found.complete,
        before=None if found.complete else found.last,
    )


@get(
    PATH + "/checkpoints",
    guards=[public],
    tags=TAGS,
    summary="List every checkpoint on chain, and compare it with the log",
    description="Read from the node just now: all that the authority's newest transactions say of checkpoints, whether or "
    "not we know of it, held against the log's own tree and our anchors. A hidden, forked or missing one is among "
    "`disagreements`. `before` goes further back.",
    responses=problems(404),
)
async def on_chain(
    request: Request,
    chain_config: NamedDependency[ChainConfig],
    limit: Annotated[
        int, QueryParameter(description="How many transactions to look at.", ge=1, le=MOST_LISTED)
    ] = 25,
    before: Annotated[
        str | None,
        QueryParameter(description="Only older than this transaction.", pattern=f"^[{BASE58}]{{64,88}}$"),
    ] = None,
) -> Listed:
    return await listed(request, chain_config, limit, before)


routes: list = [status, on_chain, transaction, account]
