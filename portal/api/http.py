"""The API's conventions: ETags and If-Match, cursor pages, idempotency keys."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Awaitable, Callable
from typing import Any, ParamSpec
from urllib.parse import parse_qsl, urlencode

import msgspec
import sqlalchemy as sa
from litestar import Request, Response
from sqlalchemy.dialects.postgresql import insert

from portal.errors import HttpError
from workflows.errors import Conflict
from workflows.policy_creation.views import Page
from workflows.storage.tables import idempotency
from workflows.storage.unit import Unit

P = ParamSpec("P")
KEY = re.compile(r"[\x21-\x7e]{1,200}")
KEPT_HEADERS = ("location", "etag")


def etag(revision: int | str) -> str:
    """A strong entity tag."""
    return f'"{revision}"'


def tagged(request: Request, content: Any, revision: int | str, **options: Any) -> Response:
    """`content` with its ETag, or 304 when the caller already has it."""
    tag = etag(revision)
    known = [each.strip() for each in request.headers.get("if-none-match", "").split(",")]
    if request.method == "GET" and (tag in known or "*" in known):
        return Response(None, status_code=304, headers={"ETag": tag})
    response: Response = Response(content, **options)
    response.headers["ETag"] = tag
    return response


def expected_revision(request: Request) -> int:
    """The revision in `If-Match`, to hand to a command, which compares it under its lock.

    Raises 428 without the header, 412 when it holds no tag of ours.
    """
    given = request.headers.get("if-match")
    if given is None:
        raise HttpError(428, "Send If-Match with the ETag of what you read, so that nobody's change is lost.")
    match = re.fullmatch(r'"(\d{1,9})(?:-[0-9a-f]{1,64})?"', given.strip())
    if match is None:
        raise HttpError(412, "If-Match holds no ETag of this resource.")
    return int(match[1])


def require_if_match(request: Request, revision: int) -> None:
    """Raises 428 without If-Match, and 412 when it names another revision than this."""
    if expected_revision(request) != revision:
        raise HttpError(
            412, f"This is at ETag {etag(revision)} now. Read it again, then send your change anew."
        )


def paged(page: Page, request: Request) -> Response[dict[str, Any]]:
    """A cursor page as {items, page{next, prev, limit, has_more}}, with Link headers to its neighbours."""
    links = []
    for rel, cursor in (("next", page.next), ("prev", page.prev)):
        if cursor:
            query = [(k, v) for k, v in parse_qsl(request.url.query) if k != "cursor"]
            links.append(f'<{request.url.path}?{urlencode([*query, ("cursor", cursor)])}>; rel="{rel}"')
    content = {
        "items": page.items,
        "page": {"next": page.next, "prev": page.prev, "limit": page.limit, "has_more": page.has_more},
    }
    return Response(content, headers={"Link": ", ".join(links)} if links else {})


def idempotent_inside(handler: Callable[P, Awaitable[Any]]) -> Callable[P, Awaitable[Any]]:
    """For a handler that opens its transaction late, and does what acts in a function that is `idempotent` itself."""
    handler.idempotent = True  # type: ignore[attr-defined]
    return handler


def idempotent(handler: Callable[P, Awaitable[Any]]) -> Callable[P, Awaitable[Any]]:
    """For handlers that act: a request with an `Idempotency-Key` acts once, and its answer is kept with the act.

    The handler must take `request` and `unit`, and be for people who signed in. A second request waits for the
    first's transaction: committed, it gets the same answer; rolled back, it acts itself. Refusals keep nothing.
    """

    @functools.wraps(handler)
    async def once(*args: P.args, **kwargs: P.kwargs) -> Any:
        request: Request = kwargs["request"]  # type: ignore[assignment]
        unit: Unit = kwargs["unit"]  # type: ignore[assignment]
        key = request.headers.get("idempotency-key")
        if key is None:
            return await handler(*args, **kwargs)
        if not KEY.fullmatch(key):
            raise HttpError(400, "Idempotency-Key must be 1 to 200 visible ASCII characters.")
        kept = await _claim(unit, key, await _fingerprint(request))
        if kept is not None:
            return _replay(kept)
        return await _keep(unit, key, request, await handler(*args, **kwargs))

    once.idempotent = True  # type: ignore[attr-defined]
    return once


async def _fingerprint(request: Request) -> str:
    target = f"{request.method} {request.url.path}?{request.url.query}\n".encode()
    return hashlib.sha256(target + await request.body()).hexdigest()


def _mine(unit: Unit, key: str) -> sa.ColumnElement[bool]:
    return sa.and_(idempotency.c.key == key, idempotency.c.person_id == unit.actor.id)


async def _claim(unit: Unit, key: str, fingerprint: str) -> sa.RowMapping | None:
    """None when this request is the first with the key; else the kept answer."""
    claim = insert(idempotency).values(
        key=key,
        person_id=unit.actor.id,
        request_sha256=fingerprint,
        status=0,
        headers={},
        body=b"",
        created_at=sa.func.clock_timestamp(),
    )
    claimed = await unit.connection.execute(claim.on_conflict_do_nothing().returning(idempotency.c.key))
    if claimed.first():
        return None
    kept = await unit.row(sa.select(idempotency).where(_mine(unit, key)))
    if kept is None:
        raise Conflict(
            "A request with this Idempotency-Key is under way. Try again.", code="idempotency_in_progress"
        )
    if kept["request_sha256"] != fingerprint:
        raise HttpError(422, "This Idempotency-Key was used for another request.")
    return kept


async def _keep(unit: Unit, key: str, request: Request, result: Any) -> Response:
    response = result if isinstance(result, Response) else Response(result)
    status = response.status_code or request.scope["route_handler"].status_code
    body = msgspec.json.encode(response.content)
    headers = {name: value for name, value in response.headers.items() if name.lower() in KEPT_HEADERS}
    await unit.connection.execute(
        idempotency.update().where(_mine(unit, key)).values(status=status, headers=headers, body=body)
    )
    response.content, response.status_code = body, status
    response.media_type = "application/json"
    return response


def _replay(kept: sa.RowMapping) -> Response[bytes]:
    return Response(
        kept["body"],
        status_code=kept["status"],
        media_type="application/json",
        headers={**kept["headers"], "Idempotency-Replayed": "true"},
    )
