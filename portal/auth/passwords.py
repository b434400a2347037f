"""Passwords, as argon2id hashes. Hashing takes tens of milliseconds and 64 MiB, so it runs in few threads."""

from __future__ import annotations

from functools import cache

import anyio
from anyio import to_thread
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

_hasher = PasswordHasher()
LONGEST = 1024  # bytes: more is no password, only work


@cache
def _threads() -> anyio.CapacityLimiter:
    return anyio.CapacityLimiter(4)


@cache
def _nobody() -> str:
    return _hasher.hash("nobody has this password")


def hash_password(password: str) -> str:
    """An argon2id hash in PHC form. Slow on purpose."""
    return _hasher.hash(password)


async def verify_password(stored: str | None, password: str) -> bool:
    """Whether `password` is the one behind `stored`. Without a stored hash it does the same work and says no."""
    if len(password.encode(errors="replace")) > LONGEST:
        return False
    matches = await to_thread.run_sync(_matches, stored or _nobody(), password, limiter=_threads())
    return matches and stored is not None


def _matches(stored: str, password: str) -> bool:
    try:
        return _hasher.verify(stored, password)
    except (VerificationError, InvalidHashError, UnicodeEncodeError):
        return False
