"""Beginning a policy from a goal: what it is to reach, the drafts that come of it, and where one came from."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get, post
from litestar.di import NamedDependency

from portal.auth.guards import requires
from portal.auth.tokens import secret_of
from portal.pages.forms import form
from portal.pages.policies import one_of
from portal.pages.refusals import field_errors
from portal.pages.render import page
from portal.services import services
from portal.synthesising import synthesise
from workflows.constitution.document import Constitution
from workflows.errors import Invalid, Unavailable
from workflows.kinds import Category, RuleEngine
from workflows.markdown import to_html
from workflows.policy_creation.synthesis.making import Parts
from workflows.policy_creation.synthesis.shapes import Synthesis, Wish
from workflows.roles import Actor, may_propose


@get("/policies/begin", guards=[requires(may_propose)])
async def begin(request: Request, constitution: NamedDependency[Constitution]) -> Response:
    return _page(request, constitution, Wish(goal=""))


@post("/policies/begin", guards=[requires(may_propose)], status_code=200)
async def candidates(
    request: Request, constitution: NamedDependency[Constitution], actor: NamedDependency[Actor]
) -> Response:
    """Drafts for a goal. Keeps nothing: what is not taken is gone with the page."""
    wish = await _wish(request)
    held = services(request)
    parts = Parts(held.synthesiser, held.rulebook, held.judge, constitution)
    try:
        found = await synthesise(wish, parts, secret_of(request), actor)
    except Invalid as refusal:
        return _page(request, constitution, wish, status=422, errors=field_errors(refusal, "goal"))
    except Unavailable as refusal:
        return _page(request, constitution, wish, status=503, problem=refusal.detail)
    return _page(request, constitution, wish, found=found)


async def _wish(request: Request) -> Wish:
    sent = await form(request)
    return Wish(
        goal=sent.get("goal", ""),
        principles=tuple(dict.fromkeys((await request.form()).getall("principles", []))),
        category=one_of(Category, sent.get("category")),
        engine=one_of(RuleEngine, sent.get("engine")),
    )


def _page(
    request: Request,
    constitution: Constitution,
    wish: Wish,
    *,
    status: int = 200,
    errors: dict[str, str] | None = None,
    found: Synthesis | None = None,
    problem: str = "",
) -> Response:
    shown: list[dict[str, Any]] = [
        {
            "drafted": item.drafted,
            "validation": item.validation,
            "token": item.token,
            "html": to_html(item.drafted.text),
        }
        for item in (found.candidates if found else [])
    ]
    return page(
        request,
        "pages/policies/begin.html",
        title="Begin from a goal",
        status=status,
        wish=wish,
        choices=[(item.key, item.name, item.says) for item in constitution.principles],
        errors=errors or {},
        problem=problem,
        found=found,
        candidates=shown,
    )


routes: list = [begin, candidates]
