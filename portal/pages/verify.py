"""A policy's public verification: every step recomputed and the chain read anew, each time the page is asked for."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from chain import verify
from chain.checks import Step
from chain.config import ChainConfig
from portal.auth.guards import public
from portal.database import begin_read
from portal.pages import proposal
from portal.pages.render import page
from portal.services import services
from workflows.constitution.document import Constitution
from workflows.policy_creation import queries
from workflows.roles import Actor

TITLES = {
    "verified": ("pass", "Everything agrees"),
    "failed": ("fail", "Something does not agree"),
    "incomplete": ("pending", "Not everything can be checked yet"),
}


@get("/policies/{ref:str}/verify", guards=[public], include_in_schema=False)
async def show(
    request: Request,
    ref: FromPath[str],
    actor: NamedDependency[Actor | None],
    constitution: NamedDependency[Constitution],
    chain_config: NamedDependency[ChainConfig],
) -> Response:
    # The claims are read and let go of before the node is asked: no network call inside a transaction.
    async with begin_read(services(request).engine) as reader:
        policy = await queries.policy(reader, constitution.figures, ref)
        claimed = await verify.claims(reader, ref)
        under = await verify.decided_under(reader, constitution, claimed.decided_under)
    reading = await verify.read(chain_config, claimed)
    found = verify.check(claimed, reading, under)
    state, verdict = TITLES[found.overall]
    return page(
        request,
        "pages/policies/verify.html",
        title=f"Verify {policy.ref}",
        **proposal.frame(policy, actor, "verify"),
        found=found,
        verdict_state=state,
        verdict_title=verdict,
        steps=[_step(item) for item in found.steps],
    )


def _step(step: Step) -> dict[str, Any]:
    """As `record.verification` draws it; two hashes are compared byte by byte, anything else is shown as it is."""
    return {
        "title": step.title,
        "state": step.state,
        "explanation": step.explanation,
        "checks": step.checks,
        "repeat": step.repeat,
        "links": step.links,
        "where": step.first_difference,
    }


routes = [show]
