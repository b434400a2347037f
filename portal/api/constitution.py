"""The constitution for programs: its bytes, its hash and how it was made, its figures, and whether the chain agrees."""

from __future__ import annotations

import base64
from datetime import datetime
from typing import Annotated

import msgspec
import sqlalchemy as sa
from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import PathParameter
from sqlalchemy.ext.asyncio import AsyncConnection

from portal.api.answers import Items, fresh, problems
from portal.api.http import tagged
from portal.auth.guards import public
from workflows.constitution import amendments, conformance
from workflows.constitution.clauses import clauses
from workflows.constitution.document import Constitution
from workflows.constitution.figures import Figures
from workflows.constitution.principles import Principle
from workflows.errors import NotFound
from workflows.storage.tables import chain_status

PATH = "/api/v1/constitution"
TAGS = ["Constitution"]
MARKDOWN = "text/markdown; charset=utf-8"


class OnChain(msgspec.Struct, frozen=True):
    """What the portal last saw in the constitution account; None where it has not seen it."""

    matches: bool | None
    sha256: str | None
    account: str | None
    checked_at: datetime | None
    reason: str | None  # why nothing may be anchored, if so


class ConstitutionView(msgspec.Struct, frozen=True):
    """The document in force."""

    sha256: str
    label: str
    source: str
    bytes: int
    hashed: str
    document: str
    expected: str | None
    problem: str | None
    figures: Figures
    figures_problem: str | None
    principles: tuple[Principle, ...]
    principles_problem: str | None
    chain: OnChain
    documents: list[amendments.Document]  # every one there was, the one in force first
    links: dict[str, str]


@get(
    PATH,
    guards=[public],
    conditional=True,
    tags=TAGS,
    summary="Read the constitution",
    description="The document the portal governs by, its SHA-256 and how it was hashed, the figures with the article "
    "each stands in, the principles, every document there was with the policy that adopted it and its transaction, and whether the constitution account on chain holds the same hash. `problem` says why it is not "
    "the expected document, where it is not.",
    responses=problems(),
)
async def read(
    request: Request, reader: NamedDependency[AsyncConnection], constitution: NamedDependency[Constitution]
) -> Response[ConstitutionView]:
    view = ConstitutionView(
        sha256=constitution.sha256,
        label=constitution.label,
        source=constitution.source,
        bytes=len(constitution.body),
        hashed=f"SHA-256 over the {len(constitution.body)} bytes of {constitution.source}, unchanged: "
        f"exactly what {PATH}/document answers with.",
        document=constitution.text,
        expected=constitution.expected,
        problem=constitution.problem,
        figures=constitution.figures,
        figures_problem=constitution.figures_problem,
        principles=constitution.principles,
        principles_problem=constitution.principles_problem,
        chain=await _on_chain(reader, constitution),
        documents=await amendments.history(reader, constitution),
        links={
            "self": PATH,
            "document": f"{PATH}/document",
            "html": "/constitution",
            "chain": "/api/v1/chain",
        },
    )
    return fresh(request, view)


async def _on_chain(reader: AsyncConnection, constitution: Constitution) -> OnChain:
    row = (await reader.execute(sa.select(chain_status))).mappings().one_or_none()
    if row is None:
        return OnChain(None, None, None, None, "The portal has not looked at the chain yet.")
    account = row["seen"].get("constitution") or {}
    found = account.get("hash")
    return OnChain(
        matches=found == constitution.sha256 if found else None,
        sha256=found,
        account=account.get("address"),
        checked_at=row["checked_at"],
        reason=row["reason"],
    )


@get(
    PATH + "/document",
    guards=[public],
    conditional=True,
    tags=TAGS,
    summary="Get the constitution's bytes",
    description="The very bytes that were hashed, for `sha256sum`; `Repr-Digest` (RFC 9530) carries their SHA-256.",
    media_type=MARKDOWN,
    responses=problems(),
)
async def document(request: Request, constitution: NamedDependency[Constitution]) -> Response[bytes]:
    return _bytes(request, constitution.body, constitution.sha256)


@get(
    PATH + "/documents/{sha256:str}",
    guards=[public],
    conditional=True,
    tags=TAGS,
    summary="Get an earlier constitution's bytes",
    description="A document that was in force before, by its SHA-256: what an older record on chain names (§ 10.1).",
    media_type=MARKDOWN,
    responses=problems(404),
)
async def earlier(
    request: Request,
    sha256: Annotated[str, PathParameter(description="64 hex digits.", pattern="^[0-9a-f]{64}$")],
    reader: NamedDependency[AsyncConnection],
    constitution: NamedDependency[Constitution],
) -> Response[bytes]:
    if sha256 == constitution.sha256:
        return _bytes(request, constitution.body, sha256)
    body = await amendments.body_of(reader, sha256)
    if body is None:
        raise NotFound(f"No constitution with the SHA-256 {sha256} was ever in force here.")
    return _bytes(request, body, sha256)


def _bytes(request: Request, body: bytes, sha256: str) -> Response[bytes]:
    digest = base64.b64encode(bytes.fromhex(sha256)).decode()
    response = tagged(request, body, sha256, media_type=MARKDOWN)
    response.headers["Repr-Digest"] = f"sha-256=:{digest}:"
    response.headers["Cache-Control"] = "public, no-cache"
    return response


class CheckView(msgspec.Struct, frozen=True):
    """A check of a clause: `state` holds, broken, nothing (to look at yet) or unchecked."""

    key: str
    clause: str
    says: str
    implemented_by: str
    state: str
    counted: int | None
    broken: list[str]
    checked_at: datetime | None
    rows: str


class ClauseView(msgspec.Struct, frozen=True):
    number: str
    section: str
    text: str
    checks: list[CheckView]
    without: str  # why there are no checks, where that is known


@get(
    PATH + "/conformance",
    guards=[public],
    tags=TAGS,
    summary="Read whether the software keeps to it",
    description="Each clause with the checks that hold it against the rows, the code that implements it, and what was found "
    "last. A clause without checks is carried out by people or follows from others.",
    responses=problems(),
)
async def conforms(
    reader: NamedDependency[AsyncConnection], constitution: NamedDependency[Constitution]
) -> Items[ClauseView]:
    return Items([_clause(item) for item in await conformance.held(reader, clauses(constitution.text))])


def _clause(item: conformance.Held) -> ClauseView:
    checks = [
        CheckView(
            key=found.check.key,
            clause=found.check.clause,
            says=found.check.says,
            implemented_by=found.check.live,
            state=found.state,
            counted=found.counted,
            broken=found.broken,
            checked_at=found.checked_at,
            rows=found.check.rows,
        )
        for found in item.found
    ]
    return ClauseView(
        item.clause.number, item.clause.section, item.clause.text, checks, "" if checks else item.without
    )


routes: list = [read, document, earlier, conforms]
