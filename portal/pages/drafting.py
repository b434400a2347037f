"""Writing a policy: the form, its preview, and what follows from it: save, submit, amend, withdraw."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import msgspec
from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from sqlalchemy.ext.asyncio import AsyncConnection

from portal.auth.guards import public, requires
from portal.auth.tokens import secret_of
from portal.pages import amending, judgement
from portal.pages.forms import form
from portal.pages.policies import one_of
from portal.pages.refusals import attempt, field_errors
from portal.pages.render import fragment, page, see_other
from portal.services import acting, services
from portal.synthesising import opened, take
from workflows.constitution import amendments
from workflows.constitution.document import Constitution
from workflows.constitution.figures import Figures
from workflows.constitutional_compliance import validations
from workflows.constitutional_compliance.analysis import Problem
from workflows.constitutional_compliance.findings import Subject
from workflows.errors import Conflict, FieldError, Invalid, Unavailable
from workflows.kinds import Category, PolicyState, Priority, RuleEngine, Strategy
from workflows.markdown import to_html
from workflows.policy_creation import drafts, queries
from workflows.policy_creation.lifecycle import insist_takes
from workflows.policy_creation.synthesis.keeping import Taken
from workflows.policy_creation.views import PolicyDraft, PolicyView, RuleDraft
from workflows.policy_enforcement import rules
from workflows.roles import Actor, insist, may_declare_emergency, may_edit, may_propose
from workflows.storage.unit import Unit

FIELDS = (
    "title",
    "summary",
    "text",
    "category",
    "priority",
    "risk_strategy",
    "emergency",
    "rule_engine",
    "rule_source",
    "rule_examples",
    "change_note",
    "revision",
    "synthesis",
    *amending.FIELDS,
)
Values = dict[str, str]
SIGNED_OUT = {
    "kind": "warning",
    "title": "You are not signed in any more",
    "text": "Nothing you wrote is lost: it stands below. Sign in on another tab, come back to this one and send it again.",
    "href": "/login",
    "link": "Sign in on another tab",
}
NOT_YOURS = {
    "kind": "warning",
    "title": "The draft that this was begun with is none that was made for you here",
    "text": "Nothing was kept, and what you wrote stands below. Sent again, it is kept as a text of your own.",
    "href": "",
    "link": "",
}


@get("/policies/new", guards=[requires(may_propose)])
async def new(
    request: Request, constitution: NamedDependency[Constitution], actor: NamedDependency[Actor | None]
) -> Response:
    return _page(request, constitution.figures, actor, None, dict.fromkeys(FIELDS, ""))


@post("/policies/new", guards=[requires(may_propose)], status_code=200)
async def begin_with(
    request: Request, constitution: NamedDependency[Constitution], actor: NamedDependency[Actor]
) -> Response:
    """The form, filled in with a draft of the synthesis. Nothing is kept before its author saves or submits it."""
    values = await _values(request)
    values = _values_of_draft(opened(secret_of(request), actor, values["synthesis"]), values["synthesis"])
    report, problem = await _judged(request, values)
    return _page(request, constitution.figures, actor, None, values, report=report, unjudged=problem)


@post("/policies", guards=[public], status_code=303)
async def create(
    request: Request,
    constitution: NamedDependency[Constitution],
    actor: NamedDependency[Actor | None],
) -> Response:
    """Open to all, so that a form sent after the session ended comes back with everything that was written."""
    values = await _values(request)
    figures = constitution.figures
    if actor is None:
        return _page(request, figures, actor, None, values, status=401, notice=SIGNED_OUT)
    insist(may_propose(actor))
    wish = (await form(request)).get("do")
    report, problem = await _judged(request, values)
    if wish == "preview":
        return _page(request, figures, actor, None, values, previewed=True, report=report, unjudged=problem)
    if wish == "check":
        checked = await _held_against(request, constitution, values)
        return _page(request, figures, actor, None, values, report=report, unjudged=problem, checked=checked)
    try:
        draft = _checked(values)
        _insist_sound(report, wish)
        async with acting(request) as unit:
            ref = await drafts.create(unit, figures, draft, submit=wish == "submit")
            await take(unit, secret_of(request), ref, values["synthesis"])
    except Invalid as refusal:
        errors = field_errors(refusal, "text")
        if "synthesis" in errors:
            values["synthesis"] = ""
            return _page(request, figures, actor, None, values, status=422, notice=NOT_YOURS, report=report)
        return _page(request, figures, actor, None, values, status=422, errors=errors, report=report)
    except Conflict as refusal:
        return _amended_meanwhile(request, actor, None, values, refusal)
    done = "is submitted. Reviewers can read it now." if wish == "submit" else "is kept as a draft."
    return see_other(f"/policies/{ref}", ("success", f"{ref} {done}"))


@post("/policies/preview", guards=[requires(may_propose)], status_code=200)
async def preview(request: Request, constitution: NamedDependency[Constitution]) -> Response:
    """What applies to the text as it is being written; asked for by htmx."""
    values = await _values(request)
    report, problem = await _judged(request, values)
    context = _shown(values, constitution.figures, previewed=True, report=report, unjudged=problem)
    return fragment(request, "fragments/policies/draft_preview.html", **context)


@post("/policies/check", guards=[requires(may_propose)], status_code=200)
async def check(request: Request, constitution: NamedDependency[Constitution]) -> Response:
    """The text as it stands in the form, held against the constitution; asked for by htmx. Nothing is kept."""
    checked = await _held_against(request, constitution, await _values(request))
    return fragment(request, "fragments/compliance/checked.html", **checked)


@get("/policies/{ref:str}/edit", guards=[requires(may_propose)])
async def edit(
    request: Request,
    ref: FromPath[str],
    reader: NamedDependency[AsyncConnection],
    constitution: NamedDependency[Constitution],
    actor: NamedDependency[Actor | None],
) -> Response:
    policy = await queries.policy(reader, constitution.figures, ref)
    insist(may_edit(actor, policy.author.id))
    insist_takes(policy.state, "amend")
    return _page(request, constitution.figures, actor, policy, _values_of(policy))


@post("/policies/{ref:str}/edit", guards=[public], status_code=303)
async def amend(
    request: Request,
    ref: FromPath[str],
    constitution: NamedDependency[Constitution],
    actor: NamedDependency[Actor | None],
) -> Response:
    """Open to all for the same reason as `create`."""
    values = await _values(request)
    figures = constitution.figures
    report, problem = await _judged(request, values, ref)
    wish = (await form(request)).get("do", "")
    checked = await _held_against(request, constitution, values, ref) if wish == "check" and actor else None
    async with acting(request) as unit:
        policy = await queries.policy(unit.connection, figures, ref)
        show = partial(_page, request, figures, actor, policy, values, report=report, unjudged=problem)
        if actor is None:
            return show(status=401, notice=SIGNED_OUT)
        insist(may_edit(actor, policy.author.id))
        if wish == "preview":
            return show(previewed=True)
        if checked:
            return show(checked=checked)
        try:
            async with attempt(unit):
                if policy.state != PolicyState.DRAFT:
                    wish = "submit"  # an amendment goes to its review at once
                _insist_sound(report, wish)
                said = await _amend(unit, figures, policy, values, submit=wish == "submit")
        except Invalid as refusal:
            return show(status=422, errors=field_errors(refusal, "text"))
        except Conflict as refusal:
            if refusal.code != "stale_revision":
                return _amended_meanwhile(request, actor, policy, values, refusal)
            return _stale(request, figures, actor, policy, values)
    return see_other(f"/policies/{ref}", ("success", said))


async def _judged(
    request: Request, values: Values, ref: str | None = None
) -> tuple[rules.Report | None, str]:
    """What is found of the rule as it is written; without one, or where its form is not whole yet, nothing."""
    rule, errors = _rule(values)
    if (
        rule is None
        or errors
        or not rule.source.strip()
        or not all(set(each) == {"input", "expect"} for each in rule.examples)
    ):
        return None, ""
    try:
        return await rules.judge(services(request).rulebook, rule, of=ref or rules.CANDIDATE), ""
    except Unavailable as refusal:
        return None, f"The rule cannot be looked at now: {refusal.detail}"


async def _held_against(
    request: Request, constitution: Constitution, values: Values, ref: str = ""
) -> dict[str, Any]:
    """What the analysers find of the text as it is being written, at the tier it would have; kept nowhere."""
    held = services(request)
    draft, _ = _draft(values)
    if not draft.text.strip():
        return {**judgement.shown(constitution, None, None), "unchecked": "Write a text first."}
    subject = Subject(
        title=draft.title,
        text=draft.text,
        summary=draft.summary,
        amended=amendments.normalised(draft.constitution.text) if draft.constitution else "",
        category=draft.category,
        emergency=draft.emergency,
        policy_ref=ref,
        rule_engine=draft.rule.engine if draft.rule else None,
        rule_source=draft.rule.source if draft.rule else "",
        rule_examples=draft.rule.examples if draft.rule else [],
    )
    try:
        enacted = await validations.in_force(held.rulebook.units)
        level = drafts.preview(draft, constitution.figures).risk.strategy
        (found,) = await held.judge.judge(constitution, [subject], enacted=enacted, level=level)
    except Unavailable as refusal:
        found = Problem("unavailable", refusal.detail)
    if isinstance(found, Problem):
        return {**judgement.shown(constitution, None, None), "unchecked": found.detail}
    return {**judgement.shown(constitution, found, draft.text), "unchecked": ""}


def _insist_sound(report: rules.Report | None, wish: str) -> None:
    """A draft may be kept with a rule that does not run; it is not handed in with one. Raises Invalid."""
    if wish != "submit" or report is None or report.passed:
        return
    errors = [
        FieldError("/rule/source", f"{f'Line {item.line}: ' if item.line else ''}{item.message}")
        for item in report.problems
    ]
    errors += [FieldError("/rule/source", item.text) for item in report.conflicts]
    errors += [
        FieldError("/rule/examples", f"Example {item.number} should give {item.expect} and gives {item.got}.")
        for item in report.examples
        if not item.passed
    ]
    raise Invalid("The rule cannot go to a ballot like this.", errors=tuple(errors))


async def _amend(unit: Unit, figures: Figures, policy: PolicyView, values: Values, *, submit: bool) -> str:
    """Keep the new text; answers with what to tell the author."""
    revision = int(values["revision"]) if values["revision"].isdecimal() else None
    draft = _checked(values)
    if draft.text == policy.version.text.strip():
        # A form is sent without the blank end of a text; that alone must not make another version.
        draft = msgspec.structs.replace(draft, text=policy.version.text)
    number = await drafts.amend(unit, figures, policy.ref, draft, revision=revision)
    if policy.state != PolicyState.DRAFT:
        return f"Version {number} stands now. Its review begins anew."
    if submit:
        await drafts.submit(unit, figures, policy.ref)
        return f"{policy.ref} is submitted. Reviewers can read it now."
    return "The draft is kept."


def _stale(
    request: Request, figures: Figures, actor: Actor | None, policy: PolicyView, values: Values
) -> Response:
    """The policy changed while its author wrote: the text stays, and the next sending is meant for what stands now."""
    notice = {
        "kind": "warning",
        "title": "The policy has changed since you opened it",
        "text": "Nothing was recorded, and what you wrote stands below. Look at what stands now, put both "
        "together, then send it again.",
        "href": f"/policies/{policy.ref}/changes" if policy.versions > 1 else f"/policies/{policy.ref}",
        "link": "See what stands now",
    }
    current = {**values, "revision": str(policy.revision)}
    return _page(request, figures, actor, policy, current, status=409, notice=notice)


def _amended_meanwhile(
    request: Request, actor: Actor | None, policy: PolicyView | None, values: Values, refusal: Conflict
) -> Response:
    """The constitution was amended while its amendment was written; any other conflict is raised again."""
    if refusal.code != "constitution_changed":
        raise refusal
    governing = services(request).constitution
    current, notice = amending.outdated(values, governing, refusal)
    return _page(request, governing.figures, actor, policy, current, status=409, notice=notice)


@post("/policies/{ref:str}/submit", guards=[requires(may_propose)], status_code=303)
async def submit(
    request: Request,
    ref: FromPath[str],
    unit: NamedDependency[Unit],
    constitution: NamedDependency[Constitution],
) -> Response:
    revision = (await form(request)).get("revision", "")
    await drafts.submit(
        unit, constitution.figures, ref, revision=int(revision) if revision.isdecimal() else None
    )
    return see_other(f"/policies/{ref}", ("success", f"{ref} is submitted. Reviewers can read it now."))


@post("/policies/{ref:str}/withdraw", guards=[requires(may_propose)], status_code=303)
async def withdraw(request: Request, ref: FromPath[str], unit: NamedDependency[Unit]) -> Response:
    await drafts.withdraw(unit, ref, (await form(request)).get("reason", ""))
    return see_other(f"/policies/{ref}", ("success", f"{ref} is withdrawn."))


async def _values(request: Request) -> Values:
    sent = await form(request)
    return {name: sent.get(name, "") for name in FIELDS}


def _values_of_draft(taken: Taken, token: str) -> Values:
    drafted = taken.candidate.drafted
    return {
        **dict.fromkeys(FIELDS, ""),
        "title": drafted.title,
        "summary": drafted.summary,
        "text": drafted.text,
        "category": drafted.category,
        **_rule_values(drafted.rule),
        "synthesis": token,
    }


def _rule_values(rule: RuleDraft | None) -> Values:
    return {
        "rule_engine": rule.engine if rule else "",
        "rule_source": rule.source if rule else "",
        "rule_examples": "\n".join(json.dumps(each, ensure_ascii=False) for each in rule.examples)
        if rule
        else "",
    }


def _values_of(policy: PolicyView) -> Values:
    version = policy.version
    return {
        **dict.fromkeys(FIELDS, ""),
        "title": version.title,
        "summary": version.summary,
        "text": version.text,
        "category": policy.category,
        "priority": policy.priority,
        "risk_strategy": policy.risk.requested or "",
        "emergency": "true" if policy.emergency else "",
        **_rule_values(version.rule),
        "change_note": version.change_note if policy.state == PolicyState.DRAFT else "",
        "revision": str(policy.revision),
        **amending.values_of(version),
    }


def _draft(values: Values) -> tuple[PolicyDraft, list[FieldError]]:
    """What the form says as a draft, and what of it could not be read."""
    errors = []
    category = one_of(Category, values["category"])
    if category is None:
        errors.append(FieldError("/category", "Choose a category."))
    rule, rule_errors = _rule(values)
    draft = PolicyDraft(
        title=values["title"],
        summary=values["summary"],
        text=values["text"],
        category=category or Category.GOVERNANCE,
        priority=one_of(Priority, values["priority"]) or Priority.NORMAL,
        risk_strategy=one_of(Strategy, values["risk_strategy"]),
        rule=rule,
        emergency=values["emergency"] == "true",
        change_note=values["change_note"],
        constitution=amending.document(values),
    )
    return draft, errors + rule_errors


def _rule(values: Values) -> tuple[RuleDraft | None, list[FieldError]]:
    engine = one_of(RuleEngine, values["rule_engine"])
    if engine is None:
        if values["rule_source"] or values["rule_examples"]:
            return None, [
                FieldError("/rule/engine", "Choose the language of the rule, or leave the rule out.")
            ]
        return None, []
    examples, errors = [], []
    for number, line in enumerate(values["rule_examples"].splitlines()):
        if not line.strip():
            continue
        try:
            examples.append(msgspec.json.decode(line, type=dict[str, Any]))
        except (msgspec.DecodeError, RecursionError):
            errors.append(FieldError(f"/rule/examples/{number}", "This is not a JSON object."))
    return RuleDraft(engine=engine, source=values["rule_source"], examples=examples), errors


def _checked(values: Values) -> PolicyDraft:
    """Raises Invalid with everything that is wrong, so that an author is sent back once."""
    draft, errors = _draft(values)
    try:
        drafts.check(draft)
    except Invalid as refusal:
        errors = [*errors, *refusal.errors]
    if errors:
        raise Invalid("The draft cannot be kept like this.", errors=tuple(errors))
    return draft


def _shown(
    values: Values,
    figures: Figures,
    *,
    previewed: bool,
    report: rules.Report | None = None,
    unjudged: str = "",
) -> dict[str, Any]:
    """What applies to the text, how it will read, and what was found of its rule."""
    draft, _ = _draft(values)
    known = values["category"] in set(Category)
    return {
        "preview": drafts.preview(draft, figures) if known else None,
        "problem": "Choose a category, and what applies to your text stands here.",
        "html": to_html(draft.text) if previewed else None,
        "report": report,
        "unjudged": unjudged,
    }


def _page(
    request: Request,
    figures: Figures,
    actor: Actor | None,
    policy: PolicyView | None,
    values: Values,
    *,
    status: int = 200,
    errors: dict[str, str] | None = None,
    notice: dict[str, str] | None = None,
    previewed: bool = False,
    report: rules.Report | None = None,
    unjudged: str = "",
    checked: dict[str, Any] | None = None,
) -> Response:
    governing = services(request).constitution
    heading, lead = "Write a policy", "What is submitted does not change any more; you can still amend it."
    if policy and policy.state == PolicyState.DRAFT:
        heading = f"Go on writing {policy.ref}"
    elif policy:
        heading = f"Amend {policy.ref}"
        lead = "The amended text becomes a new version. Its review begins anew, and approvals of the old one end."
    return page(
        request,
        "pages/policies/draft.html",
        title=heading,
        status=status,
        heading=heading,
        lead=lead,
        action=f"/policies/{policy.ref}/edit" if policy else "/policies",
        policy=policy,
        values=amending.prefilled(values, governing),
        amendment=amending.previewed(values, governing) if previewed else None,
        errors=errors or {},
        notice=notice,
        begun_from=_begun_from(request, actor, values),
        may_emergency=bool(may_declare_emergency(actor)) or values["emergency"] == "true",
        **_shown(values, figures, previewed=previewed, report=report, unjudged=unjudged),
        **(checked or {"judged": None, "unchecked": ""}),
    )


def _begun_from(request: Request, actor: Actor | None, values: Values) -> str:
    """Where the draft comes from that the form was filled in with, in a sentence."""
    if not values["synthesis"] or actor is None:
        return ""
    try:
        source = opened(secret_of(request), actor, values["synthesis"]).candidate.drafted.source
    except Invalid:
        return ""
    match source.kind:
        case "template":
            return f"It comes from the template “{source.title}”."
        case "policy":
            return f"It comes from {source.key}, version {source.version}."
    return f"The language model {source.title} wrote it."


routes: list = [new, begin_with, create, preview, check, edit, amend, submit, withdraw]
