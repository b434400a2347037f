"""The web application, from its parts."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar import Litestar
from litestar.datastructures import State
from litestar.plugins.jinja import JinjaTemplateEngine
from litestar.static_files import create_static_files_router
from litestar.template import TemplateConfig

from portal import health, live
from portal.api import openapi
from portal.auth.csrf import check_csrf, csrf_layer
from portal.auth.guards import public
from portal.auth.middleware import authentication_layer
from portal.errors import handle
from portal.headers import headers_layer
from portal.limits import limits_layer
from portal.pages.filters import FILTERS
from portal.services import dependencies, lifespan
from portal.settings import Settings
from portal.static_files import STATIC, static_url
from portal.telemetry import observing_layer

ROOT = Path(__file__).parent.parent
PAGES = [
    "home",
    "account",
    "policies",
    "drafting",
    "reviews",
    "votes",
    "verify",
    "constitution",
    "chain",
    "workflows",
    "admin",
    "demo",
]
API = [
    "auth",
    "policy_creation",
    "policies",
    "ballots",
    "anchors",
    "chain",
    "constitution",
    "workflows",
    "demo",
    "openapi",
]


def create_app(settings: Settings) -> Litestar:
    api_routes = [*_routes("portal.api", API), *live.routes]
    app = Litestar(
        route_handlers=[
            *_routes("portal.pages", PAGES),
            *api_routes,
            *health.routes,
            create_static_files_router(
                path="/static", directories=[STATIC], guards=[public], include_in_schema=False
            ),
        ],
        dependencies=dependencies,
        exception_handlers={Exception: handle},
        before_request=check_csrf,
        template_config=TemplateConfig(instance=template_engine()),
        state=State({"settings": settings, "api_document": openapi.lazily(api_routes)}),
        lifespan=[lifespan],
        openapi_config=None,
        request_max_body_size=1_000_000,
        logging_config=None,
    )
    # Around the router, not inside it, so that 404, 405 and refusals pass through them as well.
    handler = app.asgi_handler
    handler = csrf_layer(handler)
    handler = limits_layer(handler)
    handler = authentication_layer(handler)
    handler = headers_layer(handler)
    app.asgi_handler = observing_layer(handler)
    return app


def template_engine() -> JinjaTemplateEngine:
    environment = Environment(
        loader=FileSystemLoader(ROOT / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters.update(FILTERS)
    environment.globals["static_url"] = static_url
    return JinjaTemplateEngine.from_environment(environment)


def _routes(package: str, modules: list[str]) -> list:
    """While they are being written: those that are there and import."""
    found = []
    for name in modules:
        if find_spec(f"{package}.{name}"):
            try:
                found += import_module(f"{package}.{name}").routes
            except Exception as error:
                print(f"NOT SERVED: {package}.{name}: {error!r}", file=sys.stderr)
    return found
