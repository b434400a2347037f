"""A policy with a rule, taken into force through the API and the worker's own steps."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
from litestar import Litestar

from tests.portal.api.walk import DRAFT, jump, review, vote
from tests.workflows.enforcement.conftest import GRANT_EXAMPLES, GRANTS
from workflows.policy_creation import ballots
from workflows.policy_enforcement import replay, rules

SignIn = Callable[[str], Awaitable[httpx.AsyncClient]]
DECIDE = "/api/v1/workflows/policy-enforcement"
RULE = {"engine": "rego", "source": GRANTS, "examples": GRANT_EXAMPLES}


async def in_force(
    app: Litestar, api: SignIn, client: httpx.AsyncClient, rule: dict[str, Any] = RULE, **draft: Any
) -> str:
    """The policy's reference."""
    proposed = {**DRAFT, **draft, "rule": rule}
    answer = await (await api("chidi")).post("/api/v1/workflows/policy-creation", json=proposed)
    workflow = answer.json()
    for reviewer in ("dana", "emre"):
        assert (await review(await api(reviewer), workflow)).is_success
    held = app.state.services
    await rules.judge_waiting(held.rulebook)
    await replay.replay_waiting(held.rulebook)
    await jump(client, "P2D")
    async with held.rulebook.units() as unit:
        await ballots.open_due(unit, held.constitution.figures)
    assert (await vote(await api("ada"), workflow, "for")).status_code == 201
    await jump(client, "P8D")
    return workflow["policy"]["ref"]
