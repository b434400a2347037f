"""Asks the AC service (`python -m portal --service ac`), in which the analysers run for portals elsewhere.

The constitution's bytes travel with each question; heads that were fitted here travel once, by their hash. What the portal
alone knows, which rules are in force, it works out itself and sends along.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import httpx
import msgspec

from workflows.constitution.document import Constitution
from workflows.constitutional_compliance.analysis import Enacted, Problem, conflicts_of, reaches
from workflows.constitutional_compliance.findings import Analyser, Result, Subject
from workflows.constitutional_compliance.models import HeadStore
from workflows.errors import Unavailable
from workflows.kinds import Strategy
from workflows.policy_enforcement.engines.remote import Observe, Remote
from workflows.policy_enforcement.rulebook import Rulebook
from workflows.policy_enforcement.rules import Conflict

NAME = "ac"
MISSING = 409  # heads that were not handed over yet
SECONDS = 20.0  # for a question
EACH = 1.5  # more for each text
LANGUAGE = 60.0  # more where language models are asked


class Judging(msgspec.Struct, frozen=True):
    """What is asked. `heads`: by embedder, the hash of those that the portal has in use."""

    constitution: bytes
    heads: dict[str, str]
    subjects: list[Subject] = []
    enacted: list[Enacted] = []
    conflicts: list[list[Conflict]] = []
    level: Strategy = Strategy.STANDARD
    basis_sha256: str = ""


class Heard(msgspec.Struct, frozen=True):
    """One text's answer: a result, or why there is none."""

    result: Result | None = None
    problem: Problem | None = None


class Missing(msgspec.Struct, frozen=True):
    """Hashes of heads that the service was not handed yet."""

    heads: list[str]


class AcService:
    """A Judge (analysis.Judge) at AC_SERVICE_URL."""

    def __init__(
        self,
        url: str,
        embedders: Sequence[str],
        store: HeadStore,
        rulebook: Rulebook | None = None,
        headers: Callable[[], dict[str, str]] = dict,
        observe: Observe | None = None,
    ) -> None:
        self.url, self.embedders, self.store, self.rulebook = url, embedders, store, rulebook
        self.remote = Remote(NAME, url, headers, observe)

    async def basis(self, constitution: Constitution) -> str:
        asked = Judging(constitution.body, await self._heads())
        return msgspec.msgpack.decode((await self._ask("/basis", asked, SECONDS)).content, type=str)

    async def stands(self, constitution: Constitution, basis_sha256: str) -> bool:
        asked = Judging(constitution.body, await self._heads(), basis_sha256=basis_sha256)
        return msgspec.msgpack.decode((await self._ask("/stands", asked, SECONDS)).content, type=bool)

    async def judge(
        self,
        constitution: Constitution,
        subjects: Sequence[Subject],
        *,
        enacted: Sequence[Enacted] = (),
        level: Strategy = Strategy.STANDARD,
    ) -> list[Result | Problem]:
        conflicts = [await conflicts_of(self.rulebook, subject, level) for subject in subjects]
        asked = Judging(
            constitution.body, await self._heads(), list(subjects), list(enacted), conflicts, level
        )
        seconds = (
            SECONDS
            + EACH * len(subjects)
            + (LANGUAGE if reaches(level, Strategy.MULTI_MODEL_CONSENSUS) else 0)
        )
        answer = await self._ask("/judge", asked, seconds)
        heard = msgspec.msgpack.decode(answer.content, type=list[Heard])
        if len(heard) != len(subjects):
            raise Unavailable("The AC service did not answer for each text.", code="analysis_away")
        return [
            item.result or item.problem or Problem("not_judged", "The AC service said nothing.")
            for item in heard
        ]

    async def describe(self) -> tuple[Analyser, ...]:
        """Raises Unavailable."""
        answer = await self._ask("/describe", Judging(b"", await self._heads()), SECONDS)
        return msgspec.msgpack.decode(answer.content, type=tuple[Analyser, ...])

    async def warm(self) -> None:
        """The service does that itself."""

    async def close(self) -> None:
        await self.remote.close()

    async def _heads(self) -> dict[str, str]:
        found = {name: await self.store.active(name) for name in self.embedders}
        return {name: sha256 for name, sha256 in found.items() if sha256 is not None}

    async def _ask(self, path: str, asked: Judging, seconds: float) -> httpx.Response:
        answer = await self._post(path, msgspec.msgpack.encode(asked), seconds)
        if answer.status_code == MISSING:
            for sha256 in msgspec.msgpack.decode(answer.content, type=Missing).heads:
                await self._post(f"/heads/{sha256}", await self.store.body(sha256), seconds)
            answer = await self._post(path, msgspec.msgpack.encode(asked), seconds)
        if answer.status_code != 200:
            raise Unavailable(f"The AC service answered {answer.status_code}.", code="analysis_away")
        return answer

    async def _post(self, path: str, body: bytes, seconds: float) -> httpx.Response:
        try:
            return await self.remote.post(path, seconds, content=body)
        except TimeoutError:
            raise Unavailable("The AC service does not answer in time.", code="analysis_away") from None
