"""Merkle tree hash of a list, as RFC 6962 § 2.1 defines it."""

from __future__ import annotations

import hashlib


def leaf_hash(leaf: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + leaf).digest()


def root(leaves: list[bytes]) -> bytes:
    """The 32-byte tree head; of no leaves, the hash of the empty string."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    level = [leaf_hash(leaf) for leaf in leaves]
    # Pairing neighbours level by level and carrying an odd last node up gives RFC 6962's tree,
    # because its split point is the largest power of two below the size.
    while len(level) > 1:
        paired = [
            hashlib.sha256(b"\x01" + level[i] + level[i + 1]).digest() for i in range(0, len(level) - 1, 2)
        ]
        level = paired + ([level[-1]] if len(level) % 2 else [])
    return level[0]
