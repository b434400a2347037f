"""Asks the GS service (`python -m portal --service gs`), which drafts policies and forms consensus for portals elsewhere.

It only drafts: whatever it answers is validated here, by our engine and judge, like what is drafted in this process.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import httpx
import msgspec

from workflows.constitutional_compliance.findings import Analyser, Consensus
from workflows.errors import Unavailable
from workflows.kinds import ConsensusStrategy
from workflows.policy_creation.synthesis.shapes import Drafts, Setting, Wish, Written
from workflows.policy_enforcement.engines.remote import Observe, Remote

NAME = "gs"
WAITING = 75.0  # seconds for drafts: a language model there may take most of a minute
CONSENSUS = 5.0
LARGEST = 4_000_000  # bytes of an answer


class Drafting(msgspec.Struct, frozen=True):
    """Asked for drafts."""

    wish: Wish
    setting: Setting


class Mending(msgspec.Struct, frozen=True):
    """Asked for an answer to be mended."""

    wish: Wish
    setting: Setting
    model: str
    answer: str
    errors: list[str]


class Agreeing(msgspec.Struct, frozen=True):
    """Asked for the consensus of analysers."""

    strategy: ConsensusStrategy
    analysers: list[Analyser]


class GsService:
    """A Synthesiser (drafting.Synthesiser) at GS_SERVICE_URL."""

    def __init__(
        self, url: str, headers: Callable[[], dict[str, str]] = dict, observe: Observe | None = None
    ) -> None:
        self.remote = Remote(NAME, url, headers, observe)

    async def draft(self, wish: Wish, setting: Setting) -> Drafts:
        return await self._post("/draft", Drafting(wish, setting), Drafts, WAITING)

    async def mend(
        self, wish: Wish, setting: Setting, model: str, answer: str, errors: Sequence[str]
    ) -> Written:
        mending = Mending(wish, setting, model, answer, list(errors))
        return await self._post("/mend", mending, Written, WAITING)

    async def agree(self, strategy: ConsensusStrategy, analysers: Sequence[Analyser]) -> Consensus:
        """The consensus as `consensus.agree` has it. Raises Unavailable."""
        return await self._post("/consensus", Agreeing(strategy, list(analysers)), Consensus, CONSENSUS)

    async def close(self) -> None:
        await self.remote.close()

    async def _post(self, path: str, body: msgspec.Struct, type: Any, seconds: float) -> Any:
        try:
            answer = await self.remote.post(path, seconds, content=msgspec.msgpack.encode(body))
        except TimeoutError:
            raise Unavailable("The GS service does not answer in time.", code="synthesis_away") from None
        return _taken(answer, type)


def _taken(answer: httpx.Response, type: Any) -> Any:
    if answer.status_code != 200 or len(answer.content) > LARGEST:
        raise Unavailable(f"The GS service answered {answer.status_code}.", code="synthesis_away")
    try:
        return msgspec.msgpack.decode(answer.content, type=type)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        raise Unavailable("The GS service answered something else.", code="synthesis_away") from None
