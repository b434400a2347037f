"""Asks a server elsewhere, through a circuit breaker: one that is away is not waited for with every decision anew."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Any

import httpx

from workflows.errors import Unavailable

FAILURES = 5  # in a row, after which it is left alone
PAUSE = 2.0  # seconds; then one request tries whether it is back
CONNECTING = 1.0  # seconds

Observe = Callable[[str, str, float], None]  # service, outcome (answered, failed, refused, slow), seconds


class Breaker:
    """Closed, open, half open (M. Nygard, Release It!, 2007). Fed by who calls; keeps no time but `clock`'s, in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.failures = 0
        self.opened_at: float | None = None

    def admits(self) -> bool:
        """Whether to call now. Of those who ask while it is open, one in each PAUSE may try."""
        if self.opened_at is None:
            return True
        if self.clock() - self.opened_at < PAUSE:
            return False
        self.opened_at = self.clock()
        return True

    @property
    def is_open(self) -> bool:
        return self.opened_at is not None

    def succeeded(self) -> None:
        self.failures, self.opened_at = 0, None

    def failed(self) -> None:
        self.failures += 1
        if self.failures >= FAILURES:
            self.opened_at = self.clock()


class Remote:
    """One server. `name` is what people and metrics call it; `headers` gives those of the next request."""

    def __init__(
        self,
        name: str,
        url: str,
        headers: Callable[[], dict[str, str]] = dict,
        observe: Observe | None = None,
    ) -> None:
        self.name, self.headers = name, headers
        self.observe = observe or (lambda *_: None)
        self.breaker = Breaker()
        self.client = httpx.AsyncClient(base_url=url.rstrip("/"), trust_env=False)

    async def post(
        self, path: str, seconds: float, *, failing: Collection[int] = (), **body: Any
    ) -> httpx.Response:
        """The answer, whatever its status below 500, or one of `failing` that is about what was asked.

        Raises TimeoutError when none came in `seconds`, else Unavailable.
        """
        if not self.breaker.admits():
            self.observe(self.name, "refused", 0.0)
            raise Unavailable(
                f"{self.name} did not answer {self.breaker.failures} times in a row, and is tried again in a moment.",
                code="engine_away",
            )
        started = time.perf_counter()
        outcome = "failed"
        try:
            timeout = httpx.Timeout(seconds, connect=CONNECTING)
            answer = await self.client.post(path, timeout=timeout, headers=self.headers(), **body)
            whole = answer.status_code < 500 or answer.status_code in failing
            outcome = "answered" if whole else "failed"
        except httpx.ReadTimeout:
            outcome = "slow"
            raise TimeoutError from None
        except httpx.HTTPError as error:
            raise Unavailable(f"{self.name} does not answer.", code="engine_away") from error
        finally:
            # Slow counts as a failure, too: a server that hangs is away for all who wait.
            self.breaker.succeeded() if outcome == "answered" else self.breaker.failed()
            self.observe(self.name, outcome, time.perf_counter() - started)
        if outcome == "failed":
            raise Unavailable(f"{self.name} answered {answer.status_code}.", code="engine_away")
        return answer

    def described(self, what: str) -> str:
        """`what` it is, for people, and whether it is away."""
        return (
            f"{what}, which does not answer: nothing is allowed meanwhile" if self.breaker.is_open else what
        )

    async def close(self) -> None:
        await self.client.aclose()
