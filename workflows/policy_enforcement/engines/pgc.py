"""Asks the PGC service (`python -m portal --service pgc`), which runs the engines for portals elsewhere.

Bundles travel to it once, by their revision; it keeps nothing else, so that any number of them may stand behind one address.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import httpx
import msgspec

from workflows.errors import Unavailable
from workflows.policy_enforcement.bundle import Bundle
from workflows.policy_enforcement.engines.pool import (
    CHECKING,
    LOADING,
    PATIENCE,
    SIZE,
    WAITING,
    TooSlow,
    allotted,
)
from workflows.policy_enforcement.engines.remote import Observe, Remote
from workflows.policy_enforcement.engines.worker import Check, Question
from workflows.policy_enforcement.says import Checked, Problem, Said

NAME = "pgc"
# Seconds: it loads one process after the other, and no decision waits for that.
PREPARING = LOADING * (SIZE + 1)
T = TypeVar("T")
MISSING, TOO_SLOW = 409, 422  # statuses by which it says so


class Asking(msgspec.Struct, frozen=True):
    """What is asked of the service. `seconds` only for a replay; decisions have the engines' own deadline."""

    revision: str
    questions: list[Question]
    seconds: float | None = None


class PgcService:
    """An Engine (rulebook.Engine) at PGC_SERVICE_URL."""

    def __init__(
        self, url: str, headers: Callable[[], dict[str, str]] = dict, observe: Observe | None = None
    ) -> None:
        self.url = url
        self.remote = Remote(NAME, url, headers, observe)

    async def ask(self, bundle: Bundle, questions: Sequence[Question]) -> list[dict[str, Said]]:
        seconds = WAITING + allotted(len(questions)) * PATIENCE
        return await self._ask(bundle, Asking(bundle.revision, list(questions)), seconds)

    async def replay(
        self, bundle: Bundle, questions: Sequence[Question], seconds: float
    ) -> list[dict[str, Said]]:
        asking = Asking(bundle.revision, list(questions), seconds)
        return await self._ask(bundle, asking, WAITING + seconds * PATIENCE)

    async def check(self, engine: str, source: str) -> Checked:
        try:
            answer = await self._post("/check", Check(engine, source), WAITING + CHECKING * PATIENCE)
        except TimeoutError:
            return Checked(None, [Problem(0, "limit", "The rule takes too long to check.")])
        return _read(answer, Checked)

    async def prepare(self, bundle: Bundle) -> None:
        await self._load(bundle, PREPARING)

    def describe(self) -> dict[str, str]:
        return {"Rego and Datalog": self.remote.described("by a PGC service of their own")}

    async def close(self) -> None:
        await self.remote.close()

    async def _ask(self, bundle: Bundle, asking: Asking, seconds: float) -> list[dict[str, Said]]:
        try:
            answer = await self._post("/ask", asking, seconds)
            if answer.status_code == MISSING:
                await self._load(bundle, LOADING)
                answer = await self._post("/ask", asking, seconds)
        except TimeoutError:
            raise TooSlow from None
        if answer.status_code == TOO_SLOW:
            raise TooSlow
        said = _read(answer, list[dict[str, Said]])
        if len(said) != len(asking.questions):
            raise Unavailable("The PGC service did not answer all that was asked.", code="engine_away")
        return said

    async def _load(self, bundle: Bundle, seconds: float) -> None:
        try:
            _taken(await self._post("/bundles", bundle, seconds))
        except TimeoutError:
            raise Unavailable(
                "The PGC service does not load the bundle in time.", code="engine_away"
            ) from None

    async def _post(self, path: str, body: msgspec.Struct, seconds: float) -> httpx.Response:
        return await self.remote.post(path, seconds, content=msgspec.msgpack.encode(body))


def _read(answer: httpx.Response, type: type[T]) -> T:
    try:
        return msgspec.msgpack.decode(_taken(answer).content, type=type)
    except msgspec.DecodeError:
        raise Unavailable("What answered there is no PGC service.", code="engine_away") from None


def _taken(answer: httpx.Response) -> httpx.Response:
    if answer.status_code != 200:
        raise Unavailable(f"The PGC service answered {answer.status_code}.", code="engine_away")
    return answer
