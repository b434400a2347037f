"""The API's contract as OpenAPI 3.1, and Swagger UI on it from our own files."""

from __future__ import annotations

from functools import cache
from typing import Any

from litestar import Litestar, Request, Response, get
from litestar.handlers import BaseRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme

from portal.auth.guards import public
from portal.services import dependencies

MEDIA_TYPE = "application/vnd.oai.openapi+json;version=3.1"
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
                if method.lower() in item and public not in handler.resolve_guards():
                    item[method.lower()]["security"] = [{"bearer": []}]
    return document


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
