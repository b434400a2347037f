"""A recount agrees with the truth, and with no lie about any vote, its commitment, its leaf or what was published."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from workflows.kinds import BallotMode, Choice
from workflows.policy_creation import queries, records
from workflows.policy_creation.recount import judge, recount
from workflows.policy_creation.tally import Counts, decide
from workflows.policy_creation.views import Results, VoteLeaf

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
BALLOT = UUID("01a209e8-6192-74da-a7eb-37b411f65580")
Votes = list[tuple[str, bytes, str]]


def counted(votes: list[Choice]) -> tuple[Results, Votes]:
    """The result of these votes, and the votes with their salts and commitments."""
    cast: Votes = []
    for number, choice in enumerate(votes):
        salt = number.to_bytes(32, "big")
        cast.append((str(choice), salt, records.commitment(salt, BALLOT, choice)))
    counts = Counts(*(votes.count(choice) for choice in Choice))
    why = decide(counts, electorate=20, quorum_percent=10, threshold_percent=50)
    results = Results(
        ref="POL-2026-0001",
        ballot_id=BALLOT,
        mode=BallotMode.SEALED,
        version=1,
        version_sha256="a" * 64,
        counts={"for": counts.votes_for, "against": counts.votes_against, "abstain": counts.votes_abstain},
        electorate=20,
        base=20,
        turnout=len(votes) / 20,
        quorum_met=True,
        quorum_percent=10,
        threshold=50,
        outcome="passed" if why.passed else "failed",
        why=why,
        ballot_root=records.ballot_root([made for _, _, made in cast]),
        opened_at=NOW,
        closed_at=NOW,
    )
    return results, cast


def published(cast: Votes, superseded: list[tuple[str, str]] | None = None) -> bytes:
    return records.openings(BALLOT, "sealed", cast, superseded or [])


def leaves(cast: Votes) -> list[VoteLeaf]:
    return [
        VoteLeaf(made, 10 + number, rfc8785.dumps({"payload": {"commitment": made}}))
        for number, (_, _, made) in enumerate(cast)
    ]


def terms(document: bytes) -> dict[str, tuple[int | None, dict]]:
    closed = {"openings_sha256": records.sha256_hex(document)}
    return {"ballot.opened": (5, {}), "ballot.closed": (99, closed)}


votes_cast = st.lists(st.sampled_from(list(Choice)), min_size=1, max_size=20)


@given(votes=votes_cast, data=st.data())
def test_a_recount_agrees_with_the_truth_and_with_nothing_else(
    votes: list[Choice], data: st.DataObject
) -> None:
    results, cast = counted(votes)
    document = published(cast)
    assert judge(results, document, leaves(cast), terms(document)).agrees
    lied = data.draw(st.integers(0, len(votes) - 1))
    _, salt, made = cast[lied]
    other = next(choice for choice in Choice if choice != votes[lied])
    again = (str(other), salt, records.commitment(salt, BALLOT, other))
    for changed in (
        [*cast[:lied], (str(other), salt, made), *cast[lied + 1 :]],
        [*cast[:lied], again, *cast[lied + 1 :]],
        cast[:lied] + cast[lied + 1 :],
        [*cast, (str(other), bytes(31) + b"x", records.commitment(bytes(31) + b"x", BALLOT, other))],
    ):
        lie = published(changed)
        assert not judge(results, lie, leaves(changed), terms(document)).agrees
        assert not judge(results, lie, leaves(changed), terms(lie)).agrees, (
            "also where the log was forged with it"
        )


@given(votes=votes_cast, data=st.data())
def test_every_vote_must_be_a_leaf_between_opening_and_close(
    votes: list[Choice], data: st.DataObject
) -> None:
    results, cast = counted(votes)
    document, found = published(cast), leaves(cast)
    at = data.draw(st.integers(0, len(votes) - 1))
    wrong = [
        replace(found[at], index=None),
        replace(found[at], body=None),
        replace(found[at], index=4),
        replace(found[at], index=100),
        replace(found[at], body=rfc8785.dumps({"payload": {"commitment": "0" * 64}})),
    ]
    for leaf in wrong:
        checked = judge(results, document, [*found[:at], leaf, *found[at + 1 :]], terms(document))
        assert [check.key for check in checked.checks if not check.met] == ["in_log"]
    assert not judge(results, document, found[:at] + found[at + 1 :], terms(document)).agrees


def test_a_replaced_vote_names_one_that_is_there() -> None:
    results, cast = counted([Choice.FOR] * 3)
    lost = records.commitment(b"x" * 32, BALLOT, "for")
    document = published(cast, [(lost, "0" * 64)])
    found = [*leaves(cast), VoteLeaf(lost, 50, rfc8785.dumps({"payload": {"commitment": lost}}))]
    checked = judge(results, document, found, terms(document))
    assert [check.key for check in checked.checks if not check.met] == ["replaced"]


def test_which_vote_replaced_which_is_held_against_the_log() -> None:
    """Else a vote could be taken out of the count by calling it replaced, or counted besides the one that replaced it."""
    results, cast = counted([Choice.FOR] * 3)
    (_, _, first), lost = cast[0], records.commitment(b"x" * 32, BALLOT, "against")

    def entered(commitment: str, supersedes: str | None, index: int) -> VoteLeaf:
        payload = {"commitment": commitment, "supersedes": supersedes}
        return VoteLeaf(commitment, index, rfc8785.dumps({"payload": payload}))

    others = leaves(cast)[1:]
    honest = [entered(lost, None, 50), entered(first, lost, 51), *others]
    document = published(cast, [(lost, first)])
    assert judge(results, document, honest, terms(document)).agrees
    dropped = [entered(lost, None, 50), entered(first, None, 51), *others]
    elsewhere = published(cast, [(lost, cast[1][2])])
    for lie, found in ((document, dropped), (elsewhere, honest)):
        checked = judge(results, lie, found, terms(lie))
        assert [check.key for check in checked.checks if not check.met] == ["replaced"]


async def test_a_real_ballot_is_recounted(assembly: Any) -> None:
    """Before its entries are in the tree, the recount says which vote has no leaf; everything else holds."""
    a = assembly
    ref = await a.to_ballot()
    for voter, choice in zip(a.members, ("for", "against", "for", "abstain", "for"), strict=False):
        await a.cast(ref, voter, choice)
    await a.cast(ref, a.members[0], "abstain")
    await a.close(ref)
    found = await recount(a.connection, ref)
    assert {check.key: check.met for check in found.checks if not check.met} == {"in_log": False}
    assert "no leaf (yet)" in next(check.detail for check in found.checks if check.key == "in_log")
    assert (found.votes, found.counts) == (5, {"for": 2, "against": 1, "abstain": 2})
    assert len(await queries.leaves(a.connection, ref)) == 6
