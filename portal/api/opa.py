"""The active bundle for OPA servers, which pull it (openpolicyagent.org, Bundle API) and may wait for the next one."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re

from litestar import Request, Response, get

from portal.api.answers import problems
from portal.api.http import tagged
from portal.auth.guards import public
from portal.errors import HttpError
from portal.exports import record_export
from portal.services import Services, services
from workflows.errors import NotFound
from workflows.policy_enforcement.bundle import TOPIC
from workflows.policy_enforcement.opa_bundle import archive
from workflows.roles import insist, may_see_inputs

LONGEST_WAIT = 60.0  # seconds
WAIT = re.compile(r"(?:^|[;,\s])wait=(\d{1,4})")
LONG_POLLING = "application/vnd.openpolicyagent.bundles"  # tells OPA that it may wait


@get(
    "/api/v1/enforcement/opa/bundles/acgs.tar.gz",
    guards=[public],
    conditional=True,
    media_type=LONG_POLLING,
    tags=["Policy enforcement"],
    summary="Pull the active bundle with an OPA server",
    description="The rules in force in Rego, the data they read and the entrypoint `data.acgs`, as OPA’s Bundle API wants it: a "
    "reproducible tar.gz whose ETag and manifest carry the revision. With `If-None-Match` and `Prefer: wait=…` the answer "
    "waits for the next bundle. The data may name people: it takes OPA_BUNDLE_TOKEN as bearer token, or somebody who may see "
    "inputs. Taking it is entered in the log first. Restrictions, the log and rules in Datalog are not in it: what the latter are about is denied.",
    responses=problems(401, 403, 404),
)
async def opa_bundle(request: Request) -> Response[bytes]:
    held = services(request)
    if not _shows(request, held.settings.opa_bundle_token):
        actor = request.scope.get("user")
        if actor is None:
            raise HttpError(
                401, "Show OPA_BUNDLE_TOKEN as bearer token, or sign in as somebody who may see inputs."
            )
        insist(may_see_inputs(actor))
    revision = await held.rulebook.peek()
    wait = WAIT.search(request.headers.get("prefer", ""))
    if wait and revision and f'"{revision}"' in request.headers.get("if-none-match", ""):
        revision = await _next(held, revision, min(float(wait[1]), LONGEST_WAIT))
    if revision is None:
        raise NotFound("There is no bundle yet: no rule was ever asked.", code="no_bundle")
    body = archive(await held.rulebook.load(revision))
    response = tagged(request, body, revision, media_type=LONG_POLLING)
    if response.status_code == 304:
        response.content, response.media_type = b"", LONG_POLLING
    else:
        await record_export(request, f"OPA bundle {revision}", "log", hashlib.sha256(body).hexdigest())
    return response


async def _next(held: Services, revision: str, seconds: float) -> str | None:
    """The revision after `revision` as soon as it is active, or `revision` when the time is over."""
    try:
        async with asyncio.timeout(seconds), held.live.listening([TOPIC], None) as events:
            found = await held.rulebook.peek()
            if found != revision:
                return found
            async for told in events:
                if told is not None and told.type == "activated":
                    return str(told.data["revision"])
    except TimeoutError:
        pass
    return revision


def _shows(request: Request, token: str | None) -> bool:
    shown = request.headers.get("authorization", "")
    return token is not None and hmac.compare_digest(shown.encode(), f"Bearer {token}".encode())


routes: list = [opa_bundle]
