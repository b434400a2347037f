"""Turns every exception into one answer: a problem (RFC 9457) for programs, a fragment for htmx, a page for people."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, SerializationException, ValidationException
from litestar.types import Receive, Scope, Send
from sqlalchemy.exc import DBAPIError

from portal.pages.render import fragment, page
from workflows.errors import FieldError, GovernanceError

log = structlog.get_logger(__name__)

PROBLEM = "application/problem+json"
TITLES = {
    400: ("bad_request", "This request cannot be read"),
    401: ("unauthenticated", "Please sign in"),
    403: ("refused", "You may not do this"),
    404: ("not_found", "Not found"),
    405: ("method_not_allowed", "This address does not take that kind of request"),
    406: ("not_acceptable", "Not available in that form"),
    409: ("conflict", "This has changed in the meantime"),
    412: ("stale", "This has changed in the meantime"),
    413: ("too_large", "That is too large"),
    415: ("unsupported_media_type", "That kind of content is not taken here"),
    422: ("invalid", "Please check what you entered"),
    428: ("precondition_required", "Say which state you mean"),
    429: ("too_many_requests", "Too many requests"),
    503: ("unavailable", "Temporarily unavailable"),
}
INTERNAL = ("internal_error", "Something went wrong")


class HttpError(GovernanceError):
    """A refusal of the HTTP layer itself, with the headers its status asks for."""

    def __init__(
        self, status: int, detail: str, *, headers: dict[str, str] | None = None, **more: Any
    ) -> None:
        self.status = status
        self.code, self.title = TITLES.get(status, INTERNAL)
        self.headers = headers or {}
        super().__init__(detail, **more)


class Problem(msgspec.Struct, omit_defaults=True, kw_only=True):
    """`application/problem+json`: `code` is stable, `errors` point into the input (JSON pointers)."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    trace_id: str
    errors: list[dict[str, str]] = []
    links: dict[str, str] = {}


@dataclass(frozen=True)
class Fault:
    """What the three forms of an answer are made from."""

    status: int
    code: str
    title: str
    detail: str
    errors: tuple[FieldError, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    headers: tuple[tuple[str, str], ...] = ()


def classify(exception: BaseException) -> Fault:
    """The fault behind an exception. What nobody foresaw is a 500 that says nothing of its inside."""
    while isinstance(exception, BaseExceptionGroup) and len(exception.exceptions) == 1:
        exception = exception.exceptions[0]  # Litestar groups what several dependencies raise
    if isinstance(exception, GovernanceError):
        return Fault(
            status=exception.status,
            code=exception.code,
            title=exception.title,
            detail=exception.detail,
            errors=exception.errors,
            links=tuple(exception.links.items()),
            headers=tuple(getattr(exception, "headers", {}).items()),
        )
    if isinstance(exception, ValidationException):
        return _fault(422, "Some of what was sent does not fit.", errors=_field_errors(exception))
    if isinstance(exception, HTTPException):
        return _fault(
            exception.status_code, exception.detail, headers=tuple((exception.headers or {}).items())
        )
    if isinstance(exception, SerializationException):
        return _fault(400, f"The body cannot be read: {exception}.")
    if isinstance(exception, DBAPIError):
        return _database_fault(exception)
    return _unforeseen()


def _fault(status: int, detail: str, **more: Any) -> Fault:
    code, title = TITLES.get(status, (HTTPStatus(status).name.lower(), HTTPStatus(status).phrase))
    return Fault(status=status, code=code, title=title, detail=detail, **more)


def _unforeseen() -> Fault:
    return Fault(
        500, *INTERNAL, detail="The fault is ours and was written down. Nothing was recorded by halves."
    )


def _database_fault(exception: DBAPIError) -> Fault:
    state = getattr(exception.orig, "sqlstate", None) or ""
    cause = type(getattr(exception.orig, "__cause__", None)).__name__
    if state.startswith("22") or cause == "DataError":  # text with NUL, a number out of range
        return _fault(422, "Some of what was sent holds characters or numbers that cannot be kept.")
    if exception.connection_invalidated or state.startswith(("08", "57")):
        return _fault(503, "The database does not answer.")
    if state in ("40001", "40P01", "55P03"):
        return _fault(
            503, "Others were changing the same thing. Please try again.", headers=(("Retry-After", "1"),)
        )
    return _unforeseen()


def _field_errors(exception: ValidationException) -> tuple[FieldError, ...]:
    extra = exception.extra if isinstance(exception.extra, list) else []
    found = []
    for item in extra:
        if isinstance(item, dict):
            path = str(item.get("key", "")).replace("[", ".").replace("]", "")
            pointer = "".join(f"/{part}" for part in path.split(".") if part)
            where = "" if item.get("source", "body") == "body" else f"{item['source']}:"
            found.append(FieldError(where + pointer, str(item.get("message", ""))))
    return tuple(found)


def handle(request: Request, exception: Exception) -> Response:
    """Litestar's exception handler for everything."""
    fault = classify(exception)
    if fault.status >= 500 and not isinstance(exception, GovernanceError):
        log.error("unforeseen", status=fault.status, exc_info=exception)
    return answer(request, fault)


def answer(request: Request, fault: Fault | GovernanceError) -> Response:
    """The fault in the form its reader takes. Returned, not raised, it lets the transaction commit."""
    if isinstance(fault, GovernanceError):
        fault = classify(fault)
    if fault.status == 403:
        request.scope["state"]["refusal_code"] = fault.code  # for the audit trail: portal.auth.refusals
    if wants_problem(request):
        response = _problem(request, fault)
    elif "hx-request" in request.headers:
        response = fragment(
            request, "fragments/error.html", status=fault.status, error=_for_template(request, fault)
        )
    elif fault.status == 401 and request.method == "GET":
        target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        response = Response(
            None, status_code=303, headers={"Location": f"/login?next={quote(target, safe='/')}"}
        )
    else:
        response = page(
            request,
            "pages/error.html",
            title=fault.title,
            status=fault.status,
            error=_for_template(request, fault),
        )
    if fault.status == 503:
        response.headers["Retry-After"] = "5"
    for name, value in fault.headers:
        response.headers[name] = value
    return response


async def send(scope: Scope, receive: Receive, send_: Send, exception: Exception) -> None:
    """Answer from a layer outside Litestar's own handling."""
    request: Request = Request(scope, receive, send_)
    response = handle(request, exception)
    await response.to_asgi_response(None, request)(scope, receive, send_)


def wants_problem(request: Request) -> bool:
    if request.url.path.startswith("/api/"):
        return True
    accept = request.headers.get("accept", "")
    return "json" in accept and "text/html" not in accept


def _problem(request: Request, fault: Fault) -> Response[Problem]:
    problem = Problem(
        type=f"urn:acgs:problem:{fault.code}",
        title=fault.title,
        status=fault.status,
        detail=fault.detail,
        instance=request.url.path,
        code=fault.code,
        trace_id=_trace_id(request),
        errors=[{"pointer": error.pointer, "message": error.message} for error in fault.errors],
        links=dict(fault.links),
    )
    headers = {"WWW-Authenticate": 'Bearer realm="acgs"'} if fault.status == 401 else {}
    return Response(problem, status_code=fault.status, media_type=PROBLEM, headers=headers)


def _for_template(request: Request, fault: Fault) -> dict[str, Any]:
    return {
        "status": fault.status,
        "title": fault.title,
        "detail": fault.detail,
        "code": fault.code,
        "errors": [{"pointer": error.pointer, "message": error.message} for error in fault.errors],
        "trace_id": _trace_id(request),
        "next": [{"href": href, "text": name.replace("_", " ").capitalize()} for name, href in fault.links],
    }


def _trace_id(request: Request) -> str:
    return request.scope.get("state", {}).get("trace_id", "")
