"""The API's contract as OpenAPI 3.1, and Swagger UI on it from our own files."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import msgspec
from litestar import Litestar, Request, Response, get
from litestar.handlers import BaseRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme

from portal.api.bodies import Input
from portal.auth.guards import public
from portal.errors import PROBLEM
from portal.services import dependencies

MEDIA_TYPE = "application/vnd.oai.openapi+json;version=3.1"
IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Of your choosing, once for each act. A repetition gets the first answer and does nothing again.",
    "schema": {"type": "string", "pattern": "^[!-~]{1,200}$"},
}
IF_MATCH = {
    "name": "If-Match",
    "in": "header",
    "description": "The ETag of what was read: the change is made only if nobody changed it since.",
    "schema": {"type": "string", "examples": ['"3-0a1b2c3d4e5f6789"']},
}
IF_NONE_MATCH = {
    "name": "If-None-Match",
    "in": "header",
    "required": False,
    "description": "An ETag you have: the answer is 304 if it is still the same.",
    "schema": {"type": "string"},
}
DESCRIPTION = """\
Policies drafted, reviewed, voted, anchored on Solana and checkable by anyone.

Sign in at `POST /api/v1/auth/token`; send the token as `Authorization: Bearer …` (a cookie alone gets 401).
Errors are `application/problem+json` (RFC 9457) with a stable `code`. Lists are pages of {items, page} with opaque
cursors. POSTs that act take an `Idempotency-Key`: a repetition gets the first answer, with `Idempotency-Replayed: true`.
Changes to a policy need `If-Match` with the ETag of what was read. Times are RFC 3339 in UTC.
"""


def describe(routes: list[BaseRouteHandler]) -> dict[str, Any]:
    """The OpenAPI document of `routes`.

    Made by an application that serves nobody, as Litestar serves a document only together with routes of its own.
    """
    config = OpenAPIConfig(
        title="ACGS governance portal",
        version="1",
        description=DESCRIPTION,
        path="/unused",
        render_plugins=[JsonRenderPlugin()],
        components=Components(
            security_schemes={"bearer": SecurityScheme(type="http", scheme="bearer", bearer_format="JWT")}
        ),
    )
    app = Litestar(
        route_handlers=routes, dependencies=dependencies, openapi_config=config, logging_config=None
    )
    document = app.openapi_schema.to_schema()
    document["paths"] = {path: item for path, item in document["paths"].items() if path.startswith("/api/")}
    for route in app.routes:
        item = document["paths"].get(getattr(route, "path_format", ""), {})
        for handler in getattr(route, "route_handlers", ()):
            for method in handler.http_methods:
                if method.lower() in item:
                    _complete(item[method.lower()], handler)
    _close_inputs(document["components"]["schemas"])
    return _with_short_names(document)


def _complete(operation: dict[str, Any], handler: BaseRouteHandler) -> None:
    """What Litestar cannot know of a handler: who may use it, the headers it reads, and an example of its body."""
    # On what is public a token is welcome, as it tells who asks.
    operation["security"] = [{}, {"bearer": []}] if public in (handler.guards or ()) else [{"bearer": []}]
    headers = []
    if getattr(handler.fn, "idempotent", False):
        headers.append(IDEMPOTENCY_KEY)
    if "412" in operation["responses"]:
        headers.append({**IF_MATCH, "required": "428" in operation["responses"]})
    if handler.opt.get("conditional"):
        headers.append(IF_NONE_MATCH)
        operation["responses"]["304"] = {"description": "It has not changed since the ETag in If-None-Match."}
    if headers:
        operation["parameters"] = [*operation.get("parameters", []), *headers]
    for status, response in operation["responses"].items():
        if status >= "400":  # Litestar documents its own form of these, which errors.py replaces
            response["content"] = {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    if "example" in handler.opt:
        operation["requestBody"]["content"]["application/json"]["example"] = handler.opt["example"]


def _close_inputs(schemas: dict[str, Any]) -> None:
    """Request bodies take no unknown field."""
    kinds = [Input]
    while kinds:
        kind = kinds.pop()
        kinds += kind.__subclasses__()
        if kind.__name__ in schemas:
            schemas[kind.__name__]["additionalProperties"] = False


def _with_short_names(document: dict[str, Any]) -> dict[str, Any]:
    """`Items_workflows.policy_creation.views.CommentView_` is a name of ours; programs get `Items_CommentView`."""
    encoded = msgspec.json.encode(document).decode()
    return msgspec.json.decode(re.sub(r"\b(Items|Listing)_[a-z_.]+\.(\w+?)_(?=\")", r"\1_\2", encoded))


@get("/api/v1/openapi.json", guards=[public], include_in_schema=False)
async def document(request: Request) -> Response[dict[str, Any]]:
    headers = {"Cache-Control": "no-cache", "Access-Control-Allow-Origin": "*"}
    return Response(request.app.state.api_document(), media_type=MEDIA_TYPE, headers=headers)


@get("/api/v1/docs", guards=[public], include_in_schema=False)
async def docs(request: Request) -> Response[str]:
    html = request.app.template_engine.get_template("pages/api_docs.html").render()
    return Response(html, media_type="text/html")


def lazily(routes: list[BaseRouteHandler]) -> Any:
    """`describe(routes)`, made when first asked for: it takes longer than everything else at start."""
    return cache(lambda: describe(routes))


routes = [document, docs]
