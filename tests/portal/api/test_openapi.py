"""The API describes itself: completely, truly, and in words."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest

from portal.api import (
    audit_transparency,
    compliance,
    constitutional_compliance,
    policy_enforcement,
    rules,
    shapes,
    synthesis,
    violations,
)
from portal.api.bodies import decode

BODIES = (
    shapes,
    synthesis,
    audit_transparency,
    compliance,
    constitutional_compliance,
    policy_enforcement,
    rules,
    violations,
)
METHODS = ("get", "post", "put", "delete")


@pytest.fixture
async def document(client: Any) -> dict[str, Any]:
    return (await client.get("/api/v1/openapi.json")).json()


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [(path, method, item[method]) for path, item in document["paths"].items() for method in item]


async def test_every_operation_is_described(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    assert len(operations(document)) > 35
    for path, method, operation in operations(document):
        where = f"{method} {path}"
        assert method in METHODS, where
        assert operation["summary"], where
        assert len(operation["description"]) > 20, where
        assert operation["tags"], where
        assert operation["security"] in ([{"bearer": []}], [{}, {"bearer": []}]), where
        if operation["security"] == [{"bearer": []}]:
            assert {"401", "403"} <= set(operation["responses"]), where


async def test_every_refusal_is_documented_as_a_problem(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        for status, response in operation["responses"].items():
            if status >= "400":
                assert list(response["content"]) == ["application/problem+json"], f"{method} {path} {status}"
        if "requestBody" in operation:
            assert {"413", "415", "422"} <= set(operation["responses"]), f"{method} {path}"
        if "{" in path:
            assert "404" in operation["responses"], f"{method} {path}"


async def test_every_reference_leads_somewhere_and_nothing_inside_shows(document: dict[str, Any]) -> None:
    text = msgspec.json.encode(document).decode()
    for name in re.findall(r'"#/components/schemas/([^"]+)"', text):
        assert name in document["components"]["schemas"]
        assert "." not in name, "a name of our own modules"


async def test_bodies_are_closed_and_the_examples_are_good(document: dict[str, Any]) -> None:
    examples = {}
    for _, _, operation in operations(document):
        if body := operation.get("requestBody"):
            content = body["content"]["application/json"]
            schema = document["components"]["schemas"][content["schema"]["$ref"].rpartition("/")[2]]
            assert schema["additionalProperties"] is False
            if "example" in content:
                examples[schema["title"]] = content["example"]
    assert {"PolicyIn", "DraftIn", "DecisionIn", "VoteIn", "CommentIn", "ReportIn", "AskedIn"} <= set(
        examples
    )
    for name, example in examples.items():
        (kind,) = {getattr(module, name) for module in BODIES if hasattr(module, name)}
        decode(msgspec.json.encode(example), kind)


async def test_acts_take_an_idempotency_key_and_changes_if_match(document: dict[str, Any]) -> None:
    def headers(path: str, method: str) -> set[str]:
        parameters = document["paths"][path][method].get("parameters", [])
        return {each["name"] for each in parameters if each["in"] == "header"}

    creation, policies = "/api/v1/workflows/policy-creation", "/api/v1/policies/{ref}"
    for path in (
        creation,
        f"{creation}/{{workflow_id}}/approve",
        f"{policies}/ballot/votes",
        f"{policies}/comments",
    ):
        assert "Idempotency-Key" in headers(path, "post"), path
    assert headers(policies, "put") == {"If-Match"}
    assert headers(policies, "get") == {"If-None-Match"}
