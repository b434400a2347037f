"""The demonstration's banner: acting as another persona, and moving the clock."""

from __future__ import annotations

from litestar import Request, Response, post
from litestar.di import NamedDependency

from portal.auth.guards import public
from portal.auth.signing_in import as_persona
from portal.clock import advance, read_duration
from portal.pages.account import start_session
from portal.pages.filters import in_words
from portal.pages.forms import form, safe_next
from portal.pages.render import see_other
from portal.settings import Settings
from workflows.constitution.document import Constitution
from workflows.errors import NotFound
from workflows.storage.unit import Unit


def insist_on_demo(settings: Settings) -> None:
    """Outside the demonstration these addresses do not exist."""
    if not settings.in_demo:
        raise NotFound("There is nothing at this address.")


@post("/demo/persona", guards=[public], status_code=303)
async def persona(
    request: Request, unit: NamedDependency[Unit], settings: NamedDependency[Settings]
) -> Response:
    insist_on_demo(settings)
    sent = await form(request)
    actor = await as_persona(unit, sent.get("username", ""))
    if actor is None:
        raise NotFound("There is no such persona.")
    target = safe_next(sent.get("next"))
    response = see_other(target, flash=("success", f"You act as {actor.name} now."))
    return await start_session(request, unit, actor, response)


@post("/demo/clock", guards=[public], status_code=303)
async def clock(
    request: Request,
    unit: NamedDependency[Unit],
    settings: NamedDependency[Settings],
    constitution: NamedDependency[Constitution],
) -> Response:
    insist_on_demo(settings)
    sent = await form(request)
    span = read_duration(sent.get("advance", ""))
    await advance(unit, constitution, span)
    return see_other(safe_next(sent.get("next")), flash=("info", f"The clock moved {in_words(span)} ahead."))


routes = [persona, clock]
