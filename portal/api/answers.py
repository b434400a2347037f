"""What the API's answers have in common: entity tags over what is said, lists, and the problems a route documents."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import msgspec
from litestar import Request, Response
from litestar.datastructures import ResponseHeader
from litestar.openapi.datastructures import ResponseSpec

from portal.api.http import tagged
from portal.errors import PROBLEM, HttpError, Problem
from workflows.errors import Conflict

T = TypeVar("T")


class PageInfo(msgspec.Struct):
    """Opaque cursors to the neighbouring pages; pass one as `cursor`."""

    next: str | None
    prev: str | None
    limit: int
    has_more: bool


class Listing(msgspec.Struct, Generic[T]):
    """One page of a list. The same addresses stand in the `Link` header."""

    items: list[T]
    page: PageInfo


class Items(msgspec.Struct, Generic[T]):
    """A list that is always short enough to be whole."""

    items: list[T]


def fresh(request: Request, content: Any, *, revision: int | None = None) -> Response:
    """`content` under an ETag over its bytes, or 304 where the caller has it already.

    With `revision` the tag begins with it, so that If-Match can be compared by the command that changes the
    resource, under its lock: what surrounds a policy (its anchors, say) changes without its revision.
    """
    digest = hashlib.sha256(msgspec.json.encode(content)).hexdigest()[:16]
    response = tagged(request, content, digest if revision is None else f"{revision}-{digest}")
    # To be kept by whom it was meant for, and asked for again each time: some answers know who asks.
    response.headers["Cache-Control"] = "private, no-cache"
    return response


@contextmanager
def stale_is_412() -> Iterator[None]:
    """A command's “another revision than you said” is the failed precondition that HTTP has a number for."""
    try:
        yield
    except Conflict as error:
        if error.code != "stale_revision":
            raise
        raise HttpError(412, error.detail, links=error.links) from error


MEANINGS = {
    400: "The request cannot be read: no JSON, or a broken parameter or header.",
    401: "No valid bearer token.",
    403: "You may not do this; `detail` says why and `code` is stable.",
    404: "There is no such thing.",
    409: "It has changed, or is not in a state that takes this; `links` lead on where they can.",
    412: "If-Match names another revision than the present one.",
    413: "The body is larger than this portal takes.",
    415: "The body is not application/json.",
    422: "Something in it does not fit; each of `errors` has a JSON pointer into what was sent.",
    428: "If-Match is missing.",
    429: "Too many requests; Retry-After says when to come back.",
    503: "Something this needs does not answer; trying again can help.",
}
LOCATION = ResponseHeader(
    name="Location",
    value="",
    documentation_only=True,
    description="Where what was made or begun can be read.",
)


def problems(*statuses: int) -> dict[int, ResponseSpec]:
    """The documented problems of a route, for `responses=`; every route can meet 400, 422, 429 and 503."""
    return {
        status: ResponseSpec(
            data_container=Problem,
            description=MEANINGS[status],
            media_type=PROBLEM,
            generate_examples=False,
        )
        for status in sorted({400, 422, 429, 503, *statuses})
    }
