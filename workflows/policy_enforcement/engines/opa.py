"""Asks an OPA server at OPA_URL, which pulls our bundle; rules in Datalog, and the gate, stay with our own processes.

A server that has another bundle than the active one is waited for a moment, and then counts as away: no decision mixes
two revisions.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import msgspec

from workflows.errors import Unavailable
from workflows.kinds import RuleEngine
from workflows.policy_enforcement.bundle import Bundle
from workflows.policy_enforcement.engines.pool import EnginePool, TooSlow
from workflows.policy_enforcement.engines.rego import said, said_of
from workflows.policy_enforcement.engines.remote import Observe, Remote
from workflows.policy_enforcement.engines.worker import Question
from workflows.policy_enforcement.says import Checked, Input, Said, type_of

SLOWEST = 0.4  # seconds for one answer
CATCHING_UP = 1.0  # seconds in which the server may come to the active bundle
BUNDLE = "acgs"  # what the server's configuration calls our bundle


class _Pulled(msgspec.Struct):
    revision: str = ""


class _Provenance(msgspec.Struct):
    bundles: dict[str, _Pulled] = {}


class _Found(msgspec.Struct):
    """What OPA's data API answers; without a result where the document is undefined."""

    result: dict[str, Any] | bool | msgspec.UnsetType = msgspec.UNSET
    provenance: _Provenance = msgspec.field(default_factory=_Provenance)


class _Error(msgspec.Struct):
    message: str = "it failed"


class _Failed(msgspec.Struct):
    message: str = "it failed"
    errors: list[_Error] = []


class OpaServer:
    """An Engine (rulebook.Engine): an OPA server for Rego, and `pool` for everything else."""

    def __init__(self, url: str, pool: EnginePool, observe: Observe | None = None) -> None:
        self.pool = pool
        self.remote = Remote("opa", url, observe=observe)

    async def ask(self, bundle: Bundle, questions: Sequence[Question]) -> list[dict[str, Said]]:
        rego = {
            rule.policy: rule.declared.name
            for rule in bundle.manifest.rules
            if rule.engine == RuleEngine.REGO
        }
        rest = [[policy for policy in item.policies if policy not in rego] for item in questions]
        answers: list[dict[str, Said]] = [{} for _ in questions]
        due = [
            Question(policies, item.input) for policies, item in zip(rest, questions, strict=True) if policies
        ]
        if due:
            found = iter(await self.pool.ask(bundle, due))
            answers = [next(found) if policies else {} for policies in rest]
        for item, answer in zip(questions, answers, strict=True):
            names = {rego[policy]: policy for policy in item.policies if policy in rego}
            if names:
                told = await self._rules(bundle, names, item.input)
                answer.update({names[name]: one for name, one in told.items()})
        return answers

    async def replay(
        self, bundle: Bundle, questions: Sequence[Question], seconds: float
    ) -> list[dict[str, Said]]:
        """By our own processes: what is replayed is mostly not in force, so that no server has it."""
        return await self.pool.replay(bundle, questions, seconds)

    async def check(self, engine: str, source: str) -> Checked:
        return await self.pool.check(engine, source)

    async def prepare(self, bundle: Bundle) -> None:
        await self.pool.prepare(bundle)
        await self._document(bundle.revision, "acgs/allow", {"action": {"type": ""}})

    def describe(self) -> dict[str, str]:
        return {**self.pool.describe(), "Rego": self.remote.described("by an OPA server")}

    async def close(self) -> None:
        await self.pool.close()
        await self.remote.close()

    async def _rules(self, bundle: Bundle, names: dict[str, str], input: Input) -> dict[str, Said]:
        about = {rule.policy for rule in bundle.about(type_of(input)) if rule.engine == RuleEngine.REGO}
        if about == set(names.values()):
            answer = await self._document(bundle.revision, "acgs/says", input)
            if "result" in answer:
                return said_of(answer["result"], names)
        return {name: await self._alone(bundle.revision, name, input) for name in names}

    async def _alone(self, revision: str, name: str, input: Input) -> Said:
        """One rule; where it fails, with its error."""
        answer = await self._document(revision, "acgs/only", {"rule": name, "input": input})
        if "result" in answer:
            return said(answer["result"])
        return Said(error=answer.get("message", "it does not define allow")[:300])

    async def _document(self, revision: str, path: str, input: Input) -> dict[str, Any]:
        """OPA's answer: {result} or, where evaluation failed, {message}. Raises TooSlow, Unavailable."""
        until = time.monotonic() + CATCHING_UP
        while True:
            try:
                answer = await self.remote.post(
                    f"/v1/data/{path}?provenance=true&strict-builtin-errors=true",
                    SLOWEST,
                    json={"input": input},
                    failing={500},
                )
            except TimeoutError:
                raise TooSlow from None
            if answer.status_code not in (200, 500):
                raise Unavailable(f"The OPA server answered {answer.status_code}.", code="engine_away")
            try:
                found = msgspec.json.decode(
                    answer.content, type=_Failed if answer.status_code == 500 else _Found
                )
            except msgspec.DecodeError:
                raise Unavailable("What answered there is no OPA server.", code="engine_away") from None
            if isinstance(found, _Failed):
                return {"message": next((error.message for error in found.errors), found.message)}
            if found.provenance.bundles.get(BUNDLE, _Pulled()).revision == revision:
                return {} if found.result is msgspec.UNSET else {"result": found.result}
            if time.monotonic() > until:
                raise Unavailable("The OPA server has not loaded the active bundle.", code="engine_stale")
            await asyncio.sleep(0.05)
