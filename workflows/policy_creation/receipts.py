"""A receipt's code: short enough to write down, too long to guess."""

from __future__ import annotations

import secrets

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base 32: no I, L, O, U
GROUPS, LENGTH = 5, 5  # 25 characters of 5 bits: 125 random bits


def new_code() -> str:
    """As `7K3QX-9M2PV-4ZC8T-H1WRN-E6GYD`."""
    characters = "".join(secrets.choice(ALPHABET) for _ in range(GROUPS * LENGTH))
    return _grouped(characters)


def read_code(entered: str) -> str | None:
    """The code a person meant, in its written form: case, spaces, dashes and look-alikes do not matter.

    None when it cannot be a code.
    """
    characters = entered.upper().translate(str.maketrans("OIL", "011", " -\t\n\r"))
    if len(characters) != GROUPS * LENGTH or not set(characters) <= set(ALPHABET):
        return None
    return _grouped(characters)


def _grouped(characters: str) -> str:
    return "-".join(characters[start : start + LENGTH] for start in range(0, len(characters), LENGTH))
