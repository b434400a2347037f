"""The web application: what there is, from top to bottom."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar import Litestar
from litestar.datastructures import State
from litestar.plugins.jinja import JinjaTemplateEngine
from litestar.static_files import create_static_files_router
from litestar.template import TemplateConfig

import portal.api.anchors
import portal.api.audit
import portal.api.audit_transparency
import portal.api.auth
import portal.api.ballots
import portal.api.bundles
import portal.api.chain
import portal.api.compliance
import portal.api.constitution
import portal.api.constitutional_compliance
import portal.api.demo
import portal.api.opa
import portal.api.openapi
import portal.api.policies
import portal.api.policy_creation
import portal.api.policy_enforcement
import portal.api.rules
import portal.api.synthesis
import portal.api.violations
import portal.api.workflows
import portal.pages.account
import portal.pages.audit
import portal.pages.beginning
import portal.pages.chain
import portal.pages.compliance
import portal.pages.constitution
import portal.pages.demo
import portal.pages.drafting
import portal.pages.enforcement
import portal.pages.home
import portal.pages.policies
import portal.pages.policy_compliance
import portal.pages.reviews
import portal.pages.transparency
import portal.pages.verify
import portal.pages.violations
import portal.pages.votes
import portal.pages.workflows
from portal import health, live, tlog
from portal.auth.csrf import check_csrf, csrf_layer
from portal.auth.guards import public
from portal.auth.middleware import authentication_layer
from portal.auth.refusals import refusals_layer
from portal.errors import handle
from portal.headers import head_layer, headers_layer
from portal.limits import limits_layer
from portal.pages.filters import FILTERS
from portal.services import dependencies, lifespan
from portal.settings import Settings
from portal.static_files import STATIC, static_url
from portal.telemetry import observing_layer

ROOT = Path(__file__).parent.parent
LARGEST_BODY = 1_000_000  # bytes

PAGE_ROUTES = [
    *portal.pages.home.routes,
    *portal.pages.account.routes,
    *portal.pages.policies.routes,
    *portal.pages.drafting.routes,
    *portal.pages.beginning.routes,
    *portal.pages.reviews.routes,
    *portal.pages.votes.routes,
    *portal.pages.verify.routes,
    *portal.pages.policy_compliance.routes,
    *portal.pages.compliance.routes,
    *portal.pages.enforcement.routes,
    *portal.pages.violations.routes,
    *portal.pages.constitution.routes,
    *portal.pages.chain.routes,
    *portal.pages.audit.routes,
    *portal.pages.transparency.routes,
    *portal.pages.workflows.routes,
    *portal.pages.demo.routes,
]
API_ROUTES = [
    *portal.api.auth.routes,
    *portal.api.policy_creation.routes,
    *portal.api.constitutional_compliance.routes,
    *portal.api.compliance.routes,
    *portal.api.policy_enforcement.routes,
    *portal.api.rules.routes,
    *portal.api.opa.routes,
    *portal.api.violations.routes,
    *portal.api.policies.routes,
    *portal.api.synthesis.routes,
    *portal.api.ballots.routes,
    *portal.api.anchors.routes,
    *portal.api.chain.routes,
    *portal.api.constitution.routes,
    *portal.api.bundles.routes,
    *portal.api.audit.routes,
    *portal.api.audit_transparency.routes,
    *portal.api.workflows.routes,
    *portal.api.demo.routes,
    *portal.api.openapi.routes,
]


def create_app(settings: Settings) -> Litestar:
    files = create_static_files_router(
        "/static", directories=[STATIC], guards=[public], include_in_schema=False
    )
    app = Litestar(
        route_handlers=[*PAGE_ROUTES, *API_ROUTES, *tlog.routes, *live.routes, *health.routes, files],
        dependencies=dependencies,
        exception_handlers={Exception: handle},
        before_request=check_csrf,
        template_config=TemplateConfig(instance=template_engine()),
        state=State(
            {"settings": settings, "api_document": portal.api.openapi.lazily([*API_ROUTES, *live.routes])}
        ),
        lifespan=[lifespan],
        openapi_config=None,
        request_max_body_size=LARGEST_BODY,
        logging_config=None,
    )
    # Around the router, not inside it, so that 404, 405 and refusals pass through them as well. Innermost first.
    handler = head_layer(app.asgi_handler)
    handler = csrf_layer(handler)
    handler = refusals_layer(handler)
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
