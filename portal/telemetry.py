"""What the portal says of itself as it runs: one log line and one measurement for each request, and ids to find them by."""

from __future__ import annotations

import hmac
import logging
import re
import secrets
import sys
import time
from ipaddress import ip_address
from typing import Any

import structlog
from litestar import Request
from litestar.datastructures import MutableScopeHeaders
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

from workflows.storage.unit import new_id

log = structlog.get_logger("portal.request")
SECRETS = re.compile(r"password|secret|token|authorization|cookie|keypair", re.I)
TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})")
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,128}")
disable_created_metrics()
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """What this process counts itself; what the database knows is added by portal.health."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.from_database: tuple[float, bytes] = (float("-inf"), b"")  # when read, and the text
        self.requests = Counter(
            "governance_http_requests",
            "Answers given, by route and status.",
            ("method", "route", "status"),
            registry=self.registry,
        )
        self.response_time = Histogram(
            "governance_response_time_seconds",
            "From the request's arrival to the end of its answer.",
            ("operation", "service"),
            buckets=SECONDS,
            registry=self.registry,
        )
        self.limited = Counter(
            "governance_rate_limited",
            "Requests refused because there were too many.",
            ("limit",),
            registry=self.registry,
        )

        self.service_requests = Counter(
            "governance_service_requests",
            "Requests to services elsewhere, by how they ended; refused: not sent, as the service is away.",
            ("service", "outcome"),
            registry=self.registry,
        )
        self.service_time = Histogram(
            "governance_service_response_time_seconds",
            "From a request to a service elsewhere to the end of its answer.",
            ("service",),
            buckets=SECONDS,
            registry=self.registry,
        )
        self.service_away = Gauge(
            "governance_service_away",
            "1 while a service elsewhere is left alone, because it did not answer several times in a row.",
            ("service",),
            registry=self.registry,
        )
        self.decisions = Counter(
            "governance_enforcement_decisions",
            "Decisions made, by outcome and mode.",
            ("outcome", "mode"),
            registry=self.registry,
        )
        self.decision_time = Histogram(
            "governance_enforcement_decision_seconds",
            "Engine and combining of one decision, without the database.",
            buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5),
            registry=self.registry,
        )

    def observe_service(self, service: str, outcome: str, seconds: float) -> None:
        self.service_requests.labels(service, outcome).inc()
        if outcome != "refused":
            self.service_time.labels(service).observe(seconds)

    def observe(self, scope: Scope, status: int, seconds: float) -> None:
        # The route's template, never the path: an attacker chooses paths, and each label value is kept for good.
        route = scope.get("path_template") or "unmatched"
        if route == "unmatched" and scope["path"].startswith("/static/"):
            route = "/static"
        method = scope["method"] if scope["method"] in METHODS else "OTHER"
        self.requests.labels(method, route, str(status)).inc()
        self.response_time.labels(f"{method} {route}", "portal").observe(seconds)


def may_scrape(request: Request, token: str | None) -> bool:
    """Whether it shows `token`, or, where none is set, comes from this machine."""
    if token is not None:
        shown = request.headers.get("authorization", "")
        return hmac.compare_digest(shown.encode(), f"Bearer {token}".encode())
    try:
        return request.client is not None and ip_address(request.client.host).is_loopback
    except ValueError:
        return False


METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def observing_layer(app: ASGIApp) -> ASGIApp:
    """The outermost layer: gives the request its ids, measures and logs it, and answers when all else failed."""

    async def layer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await app(scope, receive, send)
            return
        state = scope["state"] = dict(scope.get("state") or {})
        _identify(scope, state)
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=state["request_id"], trace_id=state["trace_id"])
        if scope["type"] == "websocket":
            await app(scope, receive, send)
            return
        status = 0
        began = time.perf_counter()

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableScopeHeaders.from_message(message)
                headers["Request-Id"] = state["request_id"]
                headers["traceparent"] = state["traceparent"]
            await send(message)

        try:
            await app(scope, receive, noting)
        except Exception as error:
            log.error("unanswered", exc_info=error)
            if status:
                raise  # too late to say anything: the server cuts the connection
            await _last_words(noting)
        finally:
            seconds = time.perf_counter() - began
            scope["app"].state.services.metrics.observe(scope, status or 500, seconds)
            if not scope["path"].startswith("/static/"):
                log.info(
                    "request",
                    method=scope["method"],
                    route=scope.get("path_template") or scope["path"][:200],
                    status=status or 500,
                    ms=round(seconds * 1000, 1),
                )

    return layer


def _identify(scope: Scope, state: dict[str, Any]) -> None:
    given = dict(scope["headers"])
    parent = TRACEPARENT.fullmatch(given.get(b"traceparent", b"").decode("latin-1"))
    trace_id, flags = parent.groups() if parent else (secrets.token_hex(16), "00")
    asked = given.get(b"request-id", b"").decode("latin-1")
    state["request_id"] = asked if REQUEST_ID.fullmatch(asked) else str(new_id())
    state["trace_id"] = trace_id
    state["traceparent"] = f"00-{trace_id}-{secrets.token_hex(8)}-{flags}"


async def _last_words(send: Send) -> None:
    body = b"Something went wrong, and the page that would say so could not be made. It was written down.\n"
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 500, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def configure_logging(level: str) -> None:
    """One JSON object a line on standard output, also from libraries. Values of secret names are masked."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _mask,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for chatty in ("httpx", "httpcore", "uvicorn.access", "alembic"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def _mask(_: Any, __: str, event: dict[str, Any]) -> dict[str, Any]:
    return {key: "…" if SECRETS.search(key) and key != "event" else value for key, value in event.items()}
