"""Trees and proofs: known answers of certificate-transparency's test tree, and properties for all sizes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows.audit_transparency import merkle
from workflows.audit_transparency.merkle import EMPTY, ProofError, verify_consistency, verify_inclusion

# google/certificate-transparency, merkle_tree_test.cc: eight leaves, and the root at each size.
LEAVES = [
    bytes.fromhex(item)
    for item in (
        "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
    )
]  # fmt: skip
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
A = "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"
B = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e"
C = "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"
D = "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"
E = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0"
F = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a"
INCLUSION = [
    (0, 1, []),
    (0, 8, [A, B, C]),
    (5, 8, [D, E, ROOTS[3]]),
    (2, 3, [ROOTS[1]]),
    (1, 5, [ROOTS[0], B, D]),
]
CONSISTENCY = [(1, 1, []), (1, 8, [A, B, C]), (6, 8, [F, E, ROOTS[3]]), (2, 5, [B, D])]


def proof_of(ranges: list[tuple[int, int]], hashes: list[bytes]) -> list[bytes]:
    """From the definition, without tiles."""
    return [merkle.root_of(hashes[first:last]) for first, last in ranges]


def plain_root(hashes: list[bytes]) -> bytes:
    """RFC 6962 § 2.1 as it is written."""
    if not hashes:
        return hashlib.sha256().digest()
    if len(hashes) == 1:
        return hashes[0]
    split = 1
    while split * 2 < len(hashes):
        split *= 2
    return hashlib.sha256(b"\x01" + plain_root(hashes[:split]) + plain_root(hashes[split:])).digest()


def numbered(count: int) -> list[bytes]:
    return [merkle.leaf_hash(str(number).encode()) for number in range(count)]


@pytest.mark.parametrize("size", range(1, 9))
def test_known_roots(size: int) -> None:
    hashes = [merkle.leaf_hash(leaf) for leaf in LEAVES[:size]]
    expected = bytes.fromhex(ROOTS[size - 1])
    assert merkle.root(LEAVES[:size]) == merkle.root_of(hashes) == plain_root(hashes) == expected
    assert merkle.frontier_root(merkle.extend([], 0, hashes)) == expected


def test_the_root_of_nothing_is_the_hash_of_nothing() -> None:
    known = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert merkle.root([]) == merkle.root_of([]) == merkle.frontier_root([]) == EMPTY == bytes.fromhex(known)


@pytest.mark.parametrize("index, size, known", INCLUSION)
def test_known_inclusion_proofs(index: int, size: int, known: list[str]) -> None:
    hashes = [merkle.leaf_hash(leaf) for leaf in LEAVES]
    proof = [bytes.fromhex(item) for item in known]
    assert proof_of(merkle.inclusion_ranges(index, size), hashes) == proof
    verify_inclusion(hashes[index], index, size, proof, bytes.fromhex(ROOTS[size - 1]))


@pytest.mark.parametrize("old, new, known", CONSISTENCY)
def test_known_consistency_proofs(old: int, new: int, known: list[str]) -> None:
    hashes = [merkle.leaf_hash(leaf) for leaf in LEAVES]
    proof = [bytes.fromhex(item) for item in known]
    assert proof_of(merkle.consistency_ranges(old, new), hashes) == proof
    verify_consistency(old, new, bytes.fromhex(ROOTS[old - 1]), bytes.fromhex(ROOTS[new - 1]), proof)


def test_all_proofs_of_small_trees() -> None:
    """The ranges and the checks were written apart: one from § 2.1.1 and 2.1.2, the other from RFC 9162's algorithms."""
    hashes = numbered(40)
    roots = [plain_root(hashes[:size]) for size in range(41)]
    for size in range(1, 41):
        for index in range(size):
            proof = proof_of(merkle.inclusion_ranges(index, size), hashes)
            assert len(proof) <= (size - 1).bit_length()
            verify_inclusion(hashes[index], index, size, proof, roots[size])
        for old in range(size + 1):
            proof = proof_of(merkle.consistency_ranges(old, size), hashes)
            verify_consistency(old, size, roots[old], roots[size], proof)


@given(st.integers(0, 300), st.lists(st.integers(0, 60), max_size=6))
def test_a_frontier_grows_to_the_same_root_in_any_steps(first: int, steps: list[int]) -> None:
    hashes = numbered(first + sum(steps))
    frontier, size = merkle.extend([], 0, hashes[:first]), first
    for step in steps:
        frontier = merkle.extend(frontier, size, hashes[size : size + step])
        size += step
        assert merkle.frontier_root(frontier) == plain_root(hashes[:size])
        nodes = merkle.perfect_subtrees(0, size)
        assert [
            plain_root(hashes[index << height : (index + 1) << height]) for height, index in nodes
        ] == frontier


def fails(check: Callable[..., None], *given: object) -> None:
    with pytest.raises(ProofError):
        check(*given)


@given(st.data())
def test_a_changed_inclusion_proof_proves_nothing(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 200))
    index = data.draw(st.integers(0, size - 1))
    hashes = numbered(size)
    root, leaf = plain_root(hashes), hashes[index]
    proof = proof_of(merkle.inclusion_ranges(index, size), hashes)
    verify_inclusion(leaf, index, size, proof, root)
    flip = data.draw(st.integers(0, 255))
    fails(verify_inclusion, flipped(leaf, flip), index, size, proof, root)
    fails(verify_inclusion, leaf, index, size, proof, flipped(root, flip))
    fails(verify_inclusion, leaf, size, size, proof, root)
    fails(verify_inclusion, leaf, -1, size, proof, root)
    fails(verify_inclusion, leaf, index, size, [*proof, leaf], root)
    fails(verify_inclusion, leaf[:-1], index, size, proof, root)
    fails(verify_inclusion, leaf, index, size, proof, root + b"\0")
    for at in range(len(proof)):
        fails(verify_inclusion, leaf, index, size, replaced(proof, at, flipped(proof[at], flip)), root)
        fails(verify_inclusion, leaf, index, size, proof[:at] + proof[at + 1 :], root)
        fails(verify_inclusion, leaf, index, size, replaced(proof, at, proof[at] + b"\0"), root)
    other = data.draw(st.integers(0, size - 1).filter(lambda item: item != index)) if size > 1 else None
    if other is not None:
        fails(verify_inclusion, leaf, other, size, proof, root)


@given(st.data())
def test_a_changed_consistency_proof_proves_nothing(data: st.DataObject) -> None:
    new = data.draw(st.integers(2, 200))
    old = data.draw(st.integers(1, new - 1))
    hashes = numbered(new)
    old_root, new_root = plain_root(hashes[:old]), plain_root(hashes)
    proof = proof_of(merkle.consistency_ranges(old, new), hashes)
    verify_consistency(old, new, old_root, new_root, proof)
    flip = data.draw(st.integers(0, 255))
    fails(verify_consistency, old, new, flipped(old_root, flip), new_root, proof)
    fails(verify_consistency, old, new, old_root, flipped(new_root, flip), proof)
    fails(verify_consistency, new, old, new_root, old_root, proof)
    fails(verify_consistency, old, old, old_root, old_root, proof)
    fails(verify_consistency, old, old, old_root, new_root, [])
    fails(verify_consistency, 0, new, EMPTY, new_root, proof)
    fails(verify_consistency, 0, new, old_root, new_root, [])
    fails(verify_consistency, old, new, old_root, new_root, [*proof, new_root])
    fails(verify_consistency, old, new, old_root, new_root, [])
    fails(verify_consistency, old, new, old_root[1:], new_root, proof)
    for at in range(len(proof)):
        changed = replaced(proof, at, flipped(proof[at], flip))
        fails(verify_consistency, old, new, old_root, new_root, changed)
        fails(verify_consistency, old, new, old_root, new_root, proof[:at] + proof[at + 1 :])


@given(st.integers(1, 120), st.data())
def test_a_tree_that_was_rewritten_is_no_continuation(size: int, data: st.DataObject) -> None:
    """Whatever is given as a proof by an honest reader of the other tree."""
    old = data.draw(st.integers(1, size))
    hashes = numbered(size)
    other = list(hashes)
    other[data.draw(st.integers(0, old - 1))] = merkle.leaf_hash(b"another")
    proof = proof_of(merkle.consistency_ranges(old, size), other)
    fails(verify_consistency, old, size, plain_root(hashes[:old]), plain_root(other), proof)


def test_hashes_of_other_lengths_are_no_hashes() -> None:
    good, short = bytes(32), bytes(31)
    for left, right in ((short, good), (good, short), (b"", good)):
        with pytest.raises(ValueError, match="32 bytes"):
            merkle.node_hash(left, right)
    for call in (
        lambda: merkle.root_of([short]),
        lambda: merkle.root_of([good, short]),
        lambda: merkle.extend([], 0, [short]),
        lambda: merkle.frontier_root([short]),
        lambda: merkle.frontier_root([good, short]),
    ):
        with pytest.raises(ValueError, match="32 bytes"):
            call()


def test_a_frontier_of_another_size_does_not_grow() -> None:
    with pytest.raises(ValueError, match="does not consist of"):
        merkle.extend([bytes(32)], 3, [bytes(32)])


@pytest.mark.parametrize(
    "call",
    [
        lambda: merkle.inclusion_ranges(3, 3),
        lambda: merkle.inclusion_ranges(-1, 3),
        lambda: merkle.consistency_ranges(4, 3),
        lambda: merkle.consistency_ranges(-1, 3),
    ],
)
def test_there_is_no_proof_of_what_is_not_there(call: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match="tree of"):
        call()


def flipped(item: bytes, bit: int) -> bytes:
    return item[: bit // 8] + bytes([item[bit // 8] ^ 1 << bit % 8]) + item[bit // 8 + 1 :]


def replaced(items: list[bytes], at: int, item: bytes) -> list[bytes]:
    return [*items[:at], item, *items[at + 1 :]]
