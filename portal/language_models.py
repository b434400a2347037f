"""Language models at addresses that speak OpenAI's chat completions: none but those that LANGUAGE_MODELS names.

Each may take so long, be sent so much and answer so much; one that is away is left alone for a while. A key, where one is
set, goes to all of them. What a model answers is text of a stranger, for whoever asked to check.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import httpx
import msgspec

from portal.settings import Settings
from workflows.errors import Unavailable
from workflows.policy_enforcement.engines.remote import CONNECTING, Breaker, Observe

LARGEST_QUESTION = 200_000  # characters of instructions and text together
LARGEST_ANSWER = 500_000  # bytes, with all that is around the text
PATH = "/chat/completions"


class _Message(msgspec.Struct):
    content: str


class _Choice(msgspec.Struct):
    message: _Message


class _Completion(msgspec.Struct):
    """What is read of an answer; whatever else stands in it is left there."""

    choices: list[_Choice]


class ChatCompletions:
    """A LanguageModel (workflows.ports). `url` is the one below which `/chat/completions` lies."""

    def __init__(
        self, name: str, url: str, model: str, key: str | None = None, observe: Observe | None = None
    ) -> None:
        self.name, self.model = name, model
        self.observe = observe or (lambda *_: None)
        self.breaker = Breaker()
        headers = {"Accept-Encoding": "identity"} | ({"Authorization": f"Bearer {key}"} if key else {})
        self.client = httpx.AsyncClient(base_url=url.rstrip("/"), headers=headers, trust_env=False)

    async def complete(self, system: str, user: str, *, seconds: float = 30.0) -> str:
        """The text of the first choice, at temperature 0. Raises Unavailable, which says what is wrong."""
        if len(system) + len(user) > LARGEST_QUESTION:
            raise self._unavailable("is not sent more than 200,000 characters")
        if not self.breaker.admits():
            self.observe(self._service, "refused", 0.0)
            raise self._unavailable("did not answer several times in a row, and is tried again in a moment")
        started = time.perf_counter()
        outcome = "failed"
        try:
            async with asyncio.timeout(seconds):
                body = await self._post(system, user)
            outcome = "answered"
            return msgspec.json.decode(body, type=_Completion).choices[0].message.content
        except TimeoutError:
            outcome = "slow"
            raise self._unavailable(f"did not answer within {seconds:g} seconds") from None
        except httpx.HTTPError as error:
            raise self._unavailable("does not answer") from error
        except _NotTaken as refusal:
            outcome = "failed" if refusal.away else "answered"  # the rest is about what it was asked
            raise self._unavailable(str(refusal)) from None
        except (msgspec.DecodeError, RecursionError, UnicodeError, IndexError):
            raise self._unavailable("answered with something that is no chat completion") from None
        finally:
            self.breaker.succeeded() if outcome == "answered" else self.breaker.failed()
            self.observe(self._service, outcome, time.perf_counter() - started)

    async def close(self) -> None:
        await self.client.aclose()

    @property
    def _service(self) -> str:
        return f"language_model:{self.name}"

    async def _post(self, system: str, user: str) -> bytes:
        asked = {
            "model": self.model,
            "messages": [{"role": "system", "content": system}, {"role": "user", "content": user}],
            "temperature": 0,
            "stream": False,
        }
        timeout = httpx.Timeout(None, connect=CONNECTING)  # the whole of it has a time, in `complete`
        async with self.client.stream("POST", PATH, json=asked, timeout=timeout) as answer:
            if answer.status_code != 200:
                status = answer.status_code
                raise _NotTaken(f"answered {status}", away=status >= 500 or status == 429)
            body = bytearray()
            async for part in answer.aiter_bytes():
                body += part
                if len(body) > LARGEST_ANSWER:
                    raise _NotTaken("answered with more than 500,000 bytes")
            return bytes(body)

    def _unavailable(self, what: str) -> Unavailable:
        return Unavailable(
            f"The language model {self.name} ({self.model}) {what}.", code="language_model_away"
        )


class _NotTaken(Exception):
    """An answer that is not taken, and why. `away`: it may be another one later, so that it is left alone for a while."""

    def __init__(self, why: str, *, away: bool = False) -> None:
        super().__init__(why)
        self.away = away


def language_models(settings: Settings, observe: Observe | None = None) -> tuple[ChatCompletions, ...]:
    """Those that the settings name, in their order; none where they name none."""
    return tuple(
        ChatCompletions(name, *at.rsplit("|", 1), key=settings.language_model_key, observe=observe)
        for name, at in settings.language_models
    )


async def close_all(models: Sequence[ChatCompletions]) -> None:
    for model in models:
        await model.close()
