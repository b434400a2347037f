"""What is in force, for programs: bundles of rules, the check a rule goes through, and the data that rules read."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Request, Response, delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import Meta
from sqlalchemy.ext.asyncio import AsyncConnection

from portal.api.answers import Items, problems
from portal.api.bodies import SAID, Input, StrictJSON
from portal.api.http import idempotent
from portal.api.shapes import RULE_EXAMPLE, RuleIn
from portal.auth.guards import public, requires
from portal.services import services
from workflows.policy_creation.views import RuleDraft, View
from workflows.policy_enforcement import bundle as bundles
from workflows.policy_enforcement import facts, queries, rules
from workflows.policy_enforcement.facts import FactView
from workflows.policy_enforcement.queries import BundleView
from workflows.policy_enforcement.rules import ExampleResult
from workflows.roles import may_propose, may_roll_back, may_see_inputs, may_set_facts
from workflows.storage.unit import Unit

ENFORCEMENT = "/api/v1/enforcement"
TAGS = ["Policy enforcement"]


class FactIn(Input):
    value: Annotated[Any, Meta(description='A list of rows, as [["ada", "board"]], or an object.')]


class FactAnswer(View):
    name: str
    value: Any


class Activated(View):
    """The bundle that is active now."""

    revision: str


class RuleProblem(View):
    """Something wrong with a rule, at a line that counts from 1, or 0 for the whole of it."""

    line: int
    code: str
    message: str


class RuleFound(View):
    """What the gate finds of a rule: it may go to a ballot when it `passed`."""

    passed: bool
    name: str | None
    actions: list[str]
    facts: list[str]
    problems: list[RuleProblem]
    examples: list[ExampleResult]
    conflicts: list[rules.Conflict]


class RollbackIn(Input):
    revision: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    reason: Annotated[str, Meta(pattern=SAID, max_length=4000)]


@get(
    ENFORCEMENT + "/bundles",
    guards=[public],
    tags=TAGS,
    summary="List bundles",
    description="The newest fifty: what made each, and which one is active.",
    responses=problems(),
)
async def list_bundles(reader: NamedDependency[AsyncConnection]) -> Items[BundleView]:
    return Items(await queries.bundles(reader))


@get(
    ENFORCEMENT + "/bundles/{revision:str}",
    guards=[public],
    tags=TAGS,
    summary="Read a bundle's manifest",
    description="The very bytes whose SHA-256 is the revision: each rule with the hash of its voted source, each data "
    "document with its hash, and the checkpoint of the log it is bound to.",
    media_type="application/json",
    responses=problems(404),
)
async def manifest(revision: FromPath[str], reader: NamedDependency[AsyncConnection]) -> Response[bytes]:
    return Response(await queries.manifest(reader, revision[:64]), media_type="application/json")


@post(
    ENFORCEMENT + "/rollback",
    status_code=200,
    guards=[requires(may_roll_back)],
    dto=StrictJSON,
    example={"revision": "0" * 64, "reason": "The new rule denies what it should not."},
    tags=TAGS,
    summary="Go back to an earlier bundle",
    description="For the council, with a reason. It stands until rules or data change the next time. A rule that was suspended "
    "does not come back by it.",
    responses=problems(401, 403, 404, 409, 413, 415),
)
@idempotent
async def roll_back(request: Request, unit: NamedDependency[Unit], data: JSONBody[RollbackIn]) -> Activated:
    await bundles.roll_back(unit, data.revision, data.reason)
    return Activated(data.revision)


@post(
    ENFORCEMENT + "/rules/check",
    status_code=200,
    guards=[requires(may_propose)],
    dto=StrictJSON,
    example={
        "engine": "rego",
        "source": RULE_EXAMPLE,
        "examples": [{"input": {"action": {"type": "grant.decide", "published": True}}, "expect": "allow"}],
    },
    tags=TAGS,
    summary="Check a rule before it is proposed",
    description="As the editor does: whether it compiles, with each problem at its line; whether its examples hold; and whether it "
    "goes together with the rules in force. Nothing is kept.",
    responses=problems(401, 403, 413, 415),
)
async def check_rule(request: Request, data: JSONBody[RuleIn]) -> RuleFound:
    rule = RuleDraft(str(data.engine), data.source, [msgspec.to_builtins(item) for item in data.examples])
    found = await rules.judge(services(request).rulebook, rule)
    declared = found.declared
    return RuleFound(
        passed=found.passed,
        name=declared.name if declared else None,
        actions=declared.actions if declared else [],
        facts=declared.facts if declared else [],
        problems=[RuleProblem(item.line, item.code, item.message) for item in found.problems],
        examples=found.examples,
        conflicts=found.conflicts,
    )


@get(
    ENFORCEMENT + "/facts",
    guards=[public],
    tags=TAGS,
    summary="List data documents",
    description="What rules may read, by name, with hash and size. The values are for who may see inputs.",
    responses=problems(),
)
async def list_facts(reader: NamedDependency[AsyncConnection]) -> Items[FactView]:
    return Items(await facts.listed(reader))


@get(
    ENFORCEMENT + "/facts/{name:str}",
    guards=[requires(may_see_inputs)],
    tags=TAGS,
    summary="Read a data document",
    description="Its value as rules read it. It may hold names of people, so that it is for who oversees.",
    responses=problems(401, 403, 404),
)
async def read_fact(name: FromPath[str], reader: NamedDependency[AsyncConnection]) -> FactAnswer:
    return FactAnswer(name, await facts.one(reader, name))


@put(
    ENFORCEMENT + "/facts/{name:str}",
    guards=[requires(may_set_facts)],
    dto=StrictJSON,
    example={"value": [["ada", "board"]]},
    tags=TAGS,
    summary="Set a data document",
    description="In place of the one before. It is part of the bundle, so that a new one is active from now on.",
    responses=problems(401, 403, 404, 413, 415),
)
async def put_fact(
    request: Request, name: FromPath[str], unit: NamedDependency[Unit], data: JSONBody[FactIn]
) -> Activated:
    return Activated(await facts.put(unit, name, data.value))


@delete(
    ENFORCEMENT + "/facts/{name:str}",
    status_code=200,
    guards=[requires(may_set_facts)],
    tags=TAGS,
    summary="Remove a data document",
    description="Rules that read it find nothing there from now on.",
    responses=problems(401, 403, 404),
)
async def remove_fact(name: FromPath[str], unit: NamedDependency[Unit]) -> Activated:
    return Activated(await facts.remove(unit, name))


routes: list[Any] = [
    list_bundles,
    manifest,
    roll_back,
    check_rule,
    list_facts,
    read_fact,
    put_fact,
    remove_fact,
]
