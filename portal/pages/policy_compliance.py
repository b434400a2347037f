"""A policy's tab *compliance*: how it stands with the constitution and why, and the forms of those who decide about that."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from sqlalchemy.ext.asyncio import AsyncConnection

from portal.api.constitutional_compliance import governed
from portal.auth.guards import public, requires
from portal.pages import judgement
from portal.pages.forms import form
from portal.pages.policies import TIERS, one_of, show
from portal.pages.refusals import attempt, field_errors
from portal.pages.render import see_other
from portal.services import services
from workflows.constitution.document import Constitution
from workflows.constitutional_compliance import asking, overrides, questions, tiers
from workflows.constitutional_compliance import queries as compliance
from workflows.constitutional_compliance.labels import Labelled
from workflows.errors import FieldError, Invalid
from workflows.kinds import Compliance, LabelKind, PolicyState, Strategy
from workflows.policy_creation import queries
from workflows.policy_creation.views import PolicyView
from workflows.roles import (
    Actor,
    may_answer_questions,
    may_edit,
    may_operate,
    may_override_findings,
    may_propose,
)
from workflows.storage.unit import Unit

MAY_RISE = (PolicyState.IN_REVIEW, PolicyState.PUBLIC_COMMENT)
LABEL = "label-"


@get("/policies/{ref:str}/compliance", guards=[public], include_in_schema=False)
async def judged(
    request: Request,
    ref: FromPath[str],
    reader: NamedDependency[AsyncConnection],
    constitution: NamedDependency[Constitution],
    actor: NamedDependency[Actor | None],
) -> Response:
    return await _page(request, reader, constitution, actor, ref)


async def _page(
    request: Request,
    connection: AsyncConnection,
    constitution: Constitution,
    actor: Actor | None,
    ref: str,
    refusal: Invalid | None = None,
    values: dict[str, str] | None = None,
) -> Response:
    policy = await queries.policy(connection, constitution.figures, ref)
    standing = await compliance.for_policy(
        connection, ref, **await governed(connection, services(request)), actor=actor
    )
    newest = standing.newest
    text = policy.version.text if newest and newest.version == policy.version.number else None
    context = judgement.shown(constitution, newest.result if newest else None, text)
    return show(
        request,
        "compliance",
        policy,
        actor,
        "compliance",
        "Compliance",
        standing=standing,
        labelled=judgement.labellable(newest.result if newest else None),
        preview=policy,
        problem="",
        may_raise=_stricter(policy, actor),
        may_again=bool(may_operate(actor)),
        errors=field_errors(refusal, "reason") if refusal else {},
        values=values or {},
        status=422 if refusal else 200,
        **context,
    )


def _stricter(policy: PolicyView, actor: Actor | None) -> list[tuple[Strategy, str]]:
    """The tiers to which its author may raise it."""
    if policy.state not in MAY_RISE or may_edit(actor, policy.author.id) is not True:
        return []
    order = list(Strategy)
    return [each for each in TIERS if order.index(each[0]) > order.index(policy.risk.strategy)]


@post(
    "/policies/{ref:str}/compliance/answer",
    guards=[requires(may_answer_questions)],
    status_code=303,
    include_in_schema=False,
)
async def answer(
    request: Request,
    ref: FromPath[str],
    unit: NamedDependency[Unit],
    constitution: NamedDependency[Constitution],
    actor: NamedDependency[Actor],
) -> Response:
    """Decide whether a version complies, as one of those who were asked."""
    sent = await form(request)
    try:
        async with attempt(unit):
            await questions.answer(
                unit, _uuid(sent.get("question")), sent.get("answer", ""), sent.get("reason", ""), _labels(sent)
            )  # fmt: skip
    except Invalid as refusal:
        return await _page(request, unit.connection, constitution, actor, ref, refusal, sent)
    complies = sent["answer"] == Compliance.COMPLIANT
    word = "its ballot opens when its review is done" if complies else "it comes to no ballot as it is"
    return see_other(f"/policies/{ref}/compliance", ("success", f"Your decision is recorded: {word}."))


def _labels(sent: dict[str, str]) -> list[Labelled]:
    found = []
    for name, value in sent.items():
        number, label = name.removeprefix(LABEL), one_of(LabelKind, value)
        if name.startswith(LABEL) and number.isdecimal() and len(number) < 4 and label:
            found.append(Labelled(int(number), label))
    return found


def _uuid(value: str | None) -> UUID:
    try:
        return UUID(value or "")
    except ValueError:
        error = FieldError("/answer", "The question is not named. Open the page anew.")
        raise Invalid("Nothing was decided.", errors=(error,)) from None


@post(
    "/policies/{ref:str}/compliance/override",
    guards=[requires(may_override_findings)],
    status_code=303,
    include_in_schema=False,
)
async def override(
    request: Request,
    ref: FromPath[str],
    unit: NamedDependency[Unit],
    constitution: NamedDependency[Constitution],
    actor: NamedDependency[Actor],
) -> Response:
    """Say, as a member of the council, whether a version that was found not to comply comes to its ballot all the same."""
    sent = await form(request)
    try:
        async with attempt(unit):
            if sent.get("support") not in ("true", "false"):
                error = FieldError("/support", "Choose what you say.")
                raise Invalid("Nothing is chosen.", errors=(error,))
            tally = await overrides.vote(
                unit, constitution.figures, sent.get("validation", ""), sent["support"] == "true",
                sent.get("reason", ""),
            )  # fmt: skip
    except Invalid as refusal:
        return await _page(request, unit.connection, constitution, actor, ref, refusal, sent)
    word = (
        "The finding is overridden, and its ballot may open."
        if tally.passed
        else f"What you say is recorded. {tally.supporting} of {tally.needed} that are needed are for it."
    )
    return see_other(f"/policies/{ref}/compliance", ("success", word))


@post(
    "/policies/{ref:str}/compliance/again",
    guards=[requires(may_operate)],
    status_code=303,
    include_in_schema=False,
)
async def again(request: Request, ref: FromPath[str], unit: NamedDependency[Unit]) -> Response:
    """Have a version judged again of which that failed."""
    await asking.again(unit, (await form(request)).get("validation", ""))
    return see_other(f"/policies/{ref}/compliance", ("success", "It is being judged again."))


@post(
    "/policies/{ref:str}/compliance/tier",
    guards=[requires(may_propose)],
    status_code=303,
    include_in_schema=False,
)
async def raise_tier(
    request: Request,
    ref: FromPath[str],
    unit: NamedDependency[Unit],
    constitution: NamedDependency[Constitution],
    actor: NamedDependency[Actor],
) -> Response:
    """The author asks for a stricter tier than the one it has."""
    sent = await form(request)
    try:
        async with attempt(unit):
            await tiers.raise_by_author(unit, constitution.figures, ref, sent.get("strategy", ""))
    except Invalid as refusal:
        return await _page(request, unit.connection, constitution, actor, ref, refusal, sent)
    return see_other(
        f"/policies/{ref}/compliance", ("success", "Its tier is stricter now, and it is judged anew.")
    )


routes: list[Any] = [judged, answer, override, again, raise_tier]
