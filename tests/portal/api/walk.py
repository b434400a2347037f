"""Steps of a policy's life, each taken through the JSON API as a program would take it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx

WORKFLOWS = "/api/v1/workflows/policy-creation"
POLICIES = "/api/v1/policies"

# Low risk: one reviewer, no comment period, a ballot of seven days.
DRAFT = {
    "title": "Correct the spelling of the office hours notice",
    "summary": "The notice at the door says “Wendesday”.",
    "text": "The notice is corrected to say “Wednesday”.\n",
    "category": "governance",
}


async def propose(client: httpx.AsyncClient, **changes: Any) -> dict[str, Any]:
    response = await client.post(WORKFLOWS, json={**DRAFT, **changes})
    assert response.status_code == 202, response.text
    return response.json()


async def review(
    client: httpx.AsyncClient,
    workflow: dict[str, Any],
    decision: str = "approve",
    reason: str = "It is clear.",
) -> httpx.Response:
    body = {
        "decision": decision,
        "reason": reason,
        "version_sha256": workflow["policy"]["version_sha256"],
    }
    return await client.post(workflow["links"]["approve"], json=body)


async def vote(
    client: httpx.AsyncClient, workflow: dict[str, Any], choice: str, **more: Any
) -> httpx.Response:
    policy = workflow["policy"]
    body = {"choice": choice, "version_sha256": policy["version_sha256"], **more}
    return await client.post(f"{POLICIES}/{policy['ref']}/ballot/votes", json=body)


async def jump(client: httpx.AsyncClient, duration: str = "P7D") -> None:
    response = await client.post("/api/v1/demo/clock", json={"advance": duration})
    assert response.status_code == 200, response.text


def is_problem(response: httpx.Response, status: int, code: str | None = None) -> dict[str, Any]:
    """The problem in `response`, after checking that it is one (RFC 9457)."""
    assert response.status_code == status, f"{response.status_code}: {response.text}"
    assert response.headers["content-type"].partition(";")[0] == "application/problem+json"
    problem = response.json()
    assert {"type", "title", "status", "detail", "instance", "code", "trace_id"} <= set(problem)
    assert problem["status"] == status
    assert code is None or problem["code"] == code, problem
    return problem


def pointers(response: httpx.Response) -> set[str]:
    return {error["pointer"] for error in response.json()["errors"]}


def keys(value: Any) -> Iterator[str]:
    """Every key anywhere in a JSON value."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from keys(item)
    elif isinstance(value, list):
        for item in value:
            yield from keys(item)
