"""Policy synthesis for programs: drafts for a goal, and what a policy was begun with."""

from __future__ import annotations

from typing import Annotated

import msgspec
from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody
from msgspec import Meta
from sqlalchemy.ext.asyncio import AsyncConnection

from portal.api.answers import fresh, problems
from portal.api.bodies import SAID, Input, StrictJSON
from portal.api.parameters import Ref
from portal.auth.guards import public, requires
from portal.auth.tokens import secret_of
from portal.services import services
from portal.synthesising import synthesise
from workflows.constitution.document import Constitution
from workflows.errors import NotFound
from workflows.kinds import Category, RuleEngine
from workflows.policy_creation.synthesis import keeping
from workflows.policy_creation.synthesis.making import Parts
from workflows.policy_creation.synthesis.shapes import LIMITS, Begun, Synthesis, Wish
from workflows.roles import Actor, may_propose

PATH = "/api/v1/policies"
TAGS = ["Policies"]
WISH_EXAMPLE = {
    "goal": "A member may spend up to 2,000 euros alone and reports above 500 euros within two weeks.",
    "principles": ["openness", "due_process"],
    "category": "financial",
}


class WishIn(Input):
    """What a policy is to reach."""

    goal: Annotated[
        str,
        Meta(
            description="In plain words: who may do what, up to which amount, within which time, who has to agree.",
            pattern=SAID,
            max_length=LIMITS["goal"],
            examples=[WISH_EXAMPLE["goal"]],
        ),
    ]
    principles: Annotated[
        list[str],
        Meta(
            description="Keys of the constitution's principles that it should say something about.",
            max_length=50,
        ),
    ] = msgspec.field(default_factory=list)
    category: Annotated[Category | None, Meta(description="A hint; drafts may be of another.")] = None
    engine: Annotated[
        RuleEngine | None, Meta(description="The language of the rule; none: whichever fits.")
    ] = None


@post(
    PATH + "/synthesise",
    status_code=200,
    guards=[requires(may_propose)],
    dto=StrictJSON,
    example=WISH_EXAMPLE,
    tags=TAGS,
    summary="Draft policies for a goal",
    description="By templates, by policies in force that are near the goal, and by language models where some are set up; `means` says "
    "which were there. Each draft was validated: its rule runs, its examples hold, alone and among the rules in force, and its text was "
    "held against the constitution. What failed stands in `left` with the reason. Nothing is kept: send a candidate's `token` as "
    "`synthesis` when you propose the policy, and the policy says what it was begun with.",
    responses=problems(401, 403, 413, 415, 503),
)
async def draft(
    request: Request,
    constitution: NamedDependency[Constitution],
    actor: NamedDependency[Actor],
    data: JSONBody[WishIn],
) -> Synthesis:
    held = services(request)
    wish = Wish(
        goal=data.goal,
        principles=tuple(dict.fromkeys(data.principles)),
        category=data.category,
        engine=data.engine,
    )
    parts = Parts(held.synthesiser, held.rulebook, held.judge, constitution)
    return await synthesise(wish, parts, secret_of(request), actor)


@get(
    PATH + "/{ref:str}/synthesis",
    guards=[public],
    conditional=True,
    tags=TAGS,
    summary="Read what a policy was begun with",
    description="The template, policy or language model whose draft its author took, what was found of that draft then, and how much of it "
    "is not as it was drafted in version 1. 404 where its author began with an empty page.",
    responses=problems(404),
)
async def begun(request: Request, ref: Ref, reader: NamedDependency[AsyncConnection]) -> Response[Begun]:
    found = await keeping.begun(reader, ref)
    if found is None:
        raise NotFound(f"{ref} was not begun with a synthesised draft.", code="not_synthesised")
    return fresh(request, found)


routes: list = [draft, begun]
