"""The chain as a page: whether we may anchor and why, what waits, and our own reading of transactions and accounts."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa
from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from sqlalchemy.ext.asyncio import AsyncConnection

from chain import explorer
from chain.config import ChainConfig
from portal.api.anchors import explorable
from portal.api.chain import listed
from portal.auth.guards import public
from portal.pages.constitution import explorer_urls
from portal.pages.render import page
from workflows.audit_transparency.anchors import oldest_unanchored
from workflows.constitution import amendments
from workflows.constitution.document import Constitution
from workflows.policy_creation import queries
from workflows.storage.tables import chain_status

PER_PAGE = 25


@get("/chain", guards=[public], include_in_schema=False)
async def show(
    request: Request,
    reader: NamedDependency[AsyncConnection],
    constitution: NamedDependency[Constitution],
    chain_config: NamedDependency[ChainConfig],
    cursor: FromQuery[str | None] = None,
) -> Response:
    found = await queries.anchors(reader, limit=PER_PAGE, cursor=cursor)
    oldest = await oldest_unanchored(reader)
    status = (await reader.execute(sa.select(chain_status))).mappings().one_or_none()
    seen = status["seen"] if status else {}
    documents = await amendments.history(reader, constitution)
    return page(
        request,
        "pages/chain/status.html",
        title="Chain",
        status_row=status,
        seen=seen,
        governing=constitution,
        anchors=msgspec.structs.replace(found, items=explorable(chain_config, found.items)),
        oldest=oldest,
        documents=documents,
        explorer_urls=explorer_urls(chain_config, documents),
        explorer_links=_links(chain_config, seen),
    )


@get("/chain/checkpoints", guards=[public], include_in_schema=False)
async def checkpoints(
    request: Request, chain_config: NamedDependency[ChainConfig], before: FromQuery[str | None] = None
) -> Response:
    found = await listed(request, chain_config, PER_PAGE, before)
    return page(request, "pages/chain/checkpoints.html", title="Checkpoints on chain", found=found)


def _links(config: ChainConfig, seen: dict) -> dict[str, str | None]:
    """Where a Solana explorer shows the program, the constitution account and the authority."""
    addresses = {
        "program": seen.get("program", {}).get("address"),
        "constitution": seen.get("constitution", {}).get("address"),
        "authority": seen.get("authority"),
    }
    return {key: explorer.address_url(config, value) if value else None for key, value in addresses.items()}


@get("/chain/transactions/{signature:str}", guards=[public], include_in_schema=False)
async def transaction(
    request: Request, signature: FromPath[str], chain_config: NamedDependency[ChainConfig]
) -> Response:
    view = await explorer.transaction_view(chain_config, signature)
    return page(request, "pages/chain/transaction.html", title="Transaction", transaction=view)


@get("/chain/accounts/{address:str}", guards=[public], include_in_schema=False)
async def account(
    request: Request, address: FromPath[str], chain_config: NamedDependency[ChainConfig]
) -> Response:
    view = await explorer.account_view(chain_config, address)
    return page(request, "pages/chain/account.html", title="Account", account=view)


routes = [show, checkpoints, transaction, account]
