"""Rate limits, counted in Redis for all instances together and told in the RateLimit headers.

While Redis is away, reading is not limited; signing in and acting are counted by each process for itself.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network

import structlog
from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import FixedWindowRateLimiter
from limits.errors import StorageError
from litestar import Request
from litestar.datastructures import MutableScopeHeaders
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from redis.asyncio import BlockingConnectionPool

from portal import errors
from portal.settings import Settings

log = structlog.get_logger(__name__)

SIGN_IN = ("/login", "/api/v1/auth/token", "/api/v1/auth/refresh")
UNLIMITED = ("/static/", "/healthz", "/readyz", "/metrics")
SAFE = ("GET", "HEAD", "OPTIONS")
EXPORTS = (".zip", ".ndjson")
WINDOW = 60  # seconds
PAUSE = 5.0  # seconds for which Redis is not asked again after it did not answer


@dataclass(frozen=True)
class Standing:
    """How a caller stands with one limit after this request."""

    name: str
    quota: int
    remaining: int
    resets_in: int  # seconds
    allowed: bool


class Limiter:
    """Counts against the limits named sign_in, act, read, tile and export.

    Whoever follows the log reads many small files that cost little; an export costs much, and each is an entry.
    """

    def __init__(self, settings: Settings) -> None:
        url = settings.redis_url or ""
        self.limits = {
            "sign_in": RateLimitItemPerMinute(settings.rate_limit_sign_in),
            "act": RateLimitItemPerMinute(settings.rate_limit_act),
            "read": RateLimitItemPerMinute(settings.rate_limit_read),
            "tile": RateLimitItemPerMinute(10 * settings.rate_limit_read),
            "export": RateLimitItemPerMinute(max(1, settings.rate_limit_read // 20)),
        }
        self.pool = BlockingConnectionPool.from_url(
            url, max_connections=20, timeout=1, socket_connect_timeout=1, socket_timeout=1
        )
        storage = RedisStorage(
            f"async+{url.replace('unix://', 'redis+unix://', 1)}",
            wrap_exceptions=True,
            implementation="redispy",
            connection_pool=self.pool,  # type: ignore[arg-type]
        )
        self.shared = FixedWindowRateLimiter(storage)
        self.alone = FixedWindowRateLimiter(MemoryStorage())
        self.ask_again_at = 0.0

    async def close(self) -> None:
        await self.pool.disconnect()

    async def count(self, name: str, who: str) -> Standing | None:
        """Count one request of `who` against a limit. None: it cannot be counted now, and need not be."""
        if time.monotonic() >= self.ask_again_at:
            try:
                return await self._count(self.shared, name, who)
            except (StorageError, OSError, TimeoutError) as error:
                self.ask_again_at = time.monotonic() + PAUSE
                log.warning("rate_limits_without_redis", error=repr(error))
        return None if name in ("read", "tile") else await self._count(self.alone, name, who)

    async def _count(self, counter: FixedWindowRateLimiter, name: str, who: str) -> Standing:
        limit = self.limits[name]
        allowed = await counter.hit(limit, name, who)
        reset_time, remaining = await counter.get_window_stats(limit, name, who)
        resets_in = min(max(1, round(reset_time - time.time())), WINDOW)
        return Standing(name, limit.amount, remaining, resets_in, allowed)


def limits_layer(app: ASGIApp) -> ASGIApp:
    async def layer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(UNLIMITED):
            await app(scope, receive, send)
            return
        held = scope["app"].state.services
        name = _limit_of(scope)
        standing = await held.limiter.count(name, _who(scope, name))
        if standing is None:
            await app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableScopeHeaders.from_message(message)
                headers["RateLimit-Policy"] = f'"{name}";q={standing.quota};w={WINDOW}'
                headers["RateLimit"] = f'"{name}";r={standing.remaining};t={standing.resets_in}'
            await send(message)

        if standing.allowed:
            await app(scope, receive, with_headers)
            return
        held.metrics.limited.labels(name).inc()
        refusal = errors.HttpError(
            429,
            f"More than {standing.quota} requests a minute. Try again in {standing.resets_in} seconds.",
            headers={"Retry-After": str(standing.resets_in)},
        )
        await errors.send(scope, receive, with_headers, refusal)

    return layer


def _limit_of(scope: Scope) -> str:
    if scope["method"] in SAFE:
        if scope["path"].startswith("/audit/tile/"):
            return "tile"
        return "export" if scope["path"].endswith(EXPORTS) else "read"
    return "sign_in" if scope["path"] in SIGN_IN else "act"


def _who(scope: Scope, name: str) -> str:
    """The person, or for sign-ins and visitors their address; of IPv6 the /64, which one household has whole."""
    actor = scope.get("user")
    if actor is not None and name != "sign_in":
        return str(actor.id)
    host = Request(scope).client
    try:
        address = ip_address(host.host if host else "")
    except ValueError:
        return "unknown"
    return str(ip_network((address, 64), strict=False) if isinstance(address, IPv6Address) else address)
