"""Merkle trees of RFC 6962 (and RFC 9162 § 2.1): hashes, heads that grow, and proofs that anyone can check.

Hashes are 32 bytes, everywhere and checked. A *node* is named (height, index): the hash over the leaves from
index·2^height on, 2^height of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

LENGTH = 32  # bytes of a hash
EMPTY = hashlib.sha256(b"").digest()  # the head of no leaves (§ 2.1)
LARGEST_SIZE = 2**63 - 1

Node = tuple[int, int]


class ProofError(ValueError):
    """A proof that does not prove what it is said to; the message says in what."""


def leaf_hash(leaf: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    if len(left) != LENGTH or len(right) != LENGTH:
        raise ValueError("a hash has 32 bytes")
    return hashlib.sha256(b"\x01" + left + right).digest()


def root(leaves: list[bytes]) -> bytes:
    """The 32-byte tree head over the leaves themselves; of none, the hash of the empty string."""
    return root_of([leaf_hash(leaf) for leaf in leaves])


def root_of(hashes: Sequence[bytes]) -> bytes:
    """The head over leaf hashes, or over any row of nodes of one height."""
    if not hashes:
        return EMPTY
    if any(len(item) != LENGTH for item in hashes):
        raise ValueError("a hash has 32 bytes")
    level, sha256 = list(hashes), hashlib.sha256
    # Pairing neighbours level by level and carrying an odd last node up gives RFC 6962's tree,
    # because its split point is the largest power of two below the size.
    while len(level) > 1:
        odd = [level[-1]] if len(level) % 2 else []
        pairs = zip(level[::2], level[1::2], strict=False)
        level = [sha256(b"\x01" + left + right).digest() for left, right in pairs] + odd
    return level[0]


# A head that grows


def extend(frontier: list[bytes], size: int, hashes: Iterable[bytes]) -> list[bytes]:
    """The frontier after more leaf hashes: the perfect subtrees a tree consists of, largest first.

    A tree of `size` leaves has as many of them as `size` has bits set. Raises ValueError where `frontier` does not.
    """
    if len(frontier) != size.bit_count():
        raise ValueError(f"a tree of {size} leaves does not consist of {len(frontier)} perfect subtrees")
    grown = list(frontier)
    for item in hashes:
        if len(item) != LENGTH:
            raise ValueError("a hash has 32 bytes")
        grown.append(item)
        # Each trailing 1 of the size is a subtree that the new one completes to one of double the size.
        completed = size
        while completed & 1:
            right = grown.pop()
            grown.append(node_hash(grown.pop(), right))
            completed >>= 1
        size += 1
    return grown


def frontier_root(frontier: Sequence[bytes]) -> bytes:
    """The head of the tree that consists of these perfect subtrees, largest first."""
    if not frontier:
        return EMPTY
    head = frontier[-1]
    if len(head) != LENGTH:
        raise ValueError("a hash has 32 bytes")
    for left in reversed(frontier[:-1]):
        head = node_hash(left, head)
    return head


# What a proof consists of: ranges of leaves, each a subtree of RFC 6962's tree


def inclusion_ranges(index: int, size: int) -> list[tuple[int, int]]:
    """The leaf ranges whose heads prove leaf `index` in a tree of `size`, the leaf's own neighbour first (§ 2.1.1)."""
    if not 0 <= index < size:
        raise ValueError(f"leaf {index} is not in a tree of {size}")
    ranges, first, last = [], 0, size
    while last - first > 1:
        middle = first + _split(last - first)
        if index < middle:
            ranges.append((middle, last))
            last = middle
        else:
            ranges.append((first, middle))
            first = middle
    return ranges[::-1]


def consistency_ranges(old: int, new: int) -> list[tuple[int, int]]:
    """The leaf ranges whose heads prove that a tree of `old` leaves is the beginning of one of `new` (§ 2.1.2)."""
    if not 0 <= old <= new:
        raise ValueError(f"a tree of {old} leaves cannot be the beginning of one of {new}")
    if old in (0, new):
        return []
    ranges, first, last = [], 0, new
    while last != old:
        middle = first + _split(last - first)
        if old <= middle:
            ranges.append((middle, last))
            last = middle
        else:
            ranges.append((first, middle))
            first = middle
    # The whole old tree is known to whoever checks; only what is a part of it must be given.
    return ([(first, last)] if first else []) + ranges[::-1]


def perfect_subtrees(first: int, last: int) -> list[Node]:
    """The nodes that a range consists of, largest first, where `first` is 0 or the range is a subtree."""
    nodes = []
    for height in reversed(range((last - first).bit_length())):
        if (last - first) >> height & 1:
            nodes.append((height, first >> height))
            first += 1 << height
    return nodes


def _split(size: int) -> int:
    """The largest power of two below `size`, which is at least 2."""
    return 1 << (size - 1).bit_length() - 1


# Checking


def verify_inclusion(leaf_hash: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Raises ProofError unless the leaf is number `index`, from 0, in the tree of `size` with that root.

    RFC 9162 § 2.1.3.2. A root alone does not say its size: take both from one signed checkpoint.
    """
    _insist_on_hashes([leaf_hash, root, *proof])
    if not 0 <= index < size <= LARGEST_SIZE:
        raise ProofError(f"leaf {index} is not in a tree of {size}")
    place, last, head = index, size - 1, leaf_hash
    for item in proof:
        if last == 0:
            raise ProofError("the proof is too long")
        if place & 1 or place == last:
            head = node_hash(item, head)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            head = node_hash(head, item)
        place, last = place >> 1, last >> 1
    if last:
        raise ProofError("the proof is too short")
    if head != root:
        raise ProofError("the proof leads to another root")


def verify_consistency(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Raises ProofError unless the tree of `old` leaves is the beginning of the tree of `new`.

    RFC 9162 § 2.1.4.2; everything begins with the empty tree, and that needs no proof.
    """
    _insist_on_hashes([old_root, new_root, *proof])
    if not 0 <= old <= new <= LARGEST_SIZE:
        raise ProofError(f"a tree of {old} leaves cannot be the beginning of one of {new}")
    if old in (0, new):
        if proof:
            raise ProofError("the proof is too long")
        if old == new and old_root != new_root:
            raise ProofError("two trees of one size have different roots")
        if (old == 0 and old_root != EMPTY) or (new == 0 and new_root != EMPTY):
            raise ProofError("the root of an empty tree is another")
        return
    path = list(proof)
    if old & (old - 1) == 0:  # a perfect tree is a node of its own in the larger one
        path.insert(0, old_root)
    if not path:
        raise ProofError("the proof is too short")
    place, last = old - 1, new - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    older = newer = path[0]
    for item in path[1:]:
        if last == 0:
            raise ProofError("the proof is too long")
        if place & 1 or place == last:
            older, newer = node_hash(item, older), node_hash(item, newer)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            newer = node_hash(newer, item)
        place, last = place >> 1, last >> 1
    if last:
        raise ProofError("the proof is too short")
    if older != old_root:
        raise ProofError("the proof leads to another root of the older tree")
    if newer != new_root:
        raise ProofError("the proof leads to another root of the newer tree")


def _insist_on_hashes(hashes: Iterable[bytes]) -> None:
    if any(len(item) != LENGTH for item in hashes):
        raise ProofError("a hash has 32 bytes")
