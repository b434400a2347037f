"""Ballots: who may vote, what stays secret, what is counted, and what happens at the very moment of the close."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import anyio
import msgspec
import pytest
import rfc8785
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from workflows.constitution.figures import Mode
from workflows.errors import Conflict, Invalid, NotFound, Refused
from workflows.kinds import BallotMode
from workflows.policy_creation import ballots, queries, records
from workflows.policy_creation.receipts import ALPHABET, new_code, read_code
from workflows.policy_creation.recount import recount
from workflows.policy_creation.views import Openings
from workflows.roles import Actor, Role, Scope
from workflows.storage.tables import audit_entry, ballot, policy, vote


async def _eligible(a: Any, ref: str, actor: Actor | None) -> tuple[bool, str]:
    view = await queries.ballot(a.connection, ref, actor, a.now)
    return view.eligible.can_vote, view.eligible.reason_code


async def test_everyone_is_told_whether_they_may_vote_and_why(assembly: Any, people: Any) -> None:
    a = assembly
    ref = await a.create()
    with pytest.raises(NotFound) as early:
        await queries.ballot(a.connection, ref, a.members[0], a.now)
    assert early.value.code == "no_ballot"
    with pytest.raises(Conflict) as too_early:
        await a.cast(ref, a.members[0], "for")
    assert too_early.value.code == "not_open"
    await a.approve(ref)
    late = await people("late", Role.MEMBER)
    member = a.members[0]
    token = Actor(member.id, member.username, member.name, member.roles, scopes=frozenset({Scope.READ}))
    assert await _eligible(a, ref, None) == (False, "sign_in")
    assert await _eligible(a, ref, a.outsider) == (False, "not_member")
    assert await _eligible(a, ref, late) == (False, "joined_later")
    assert await _eligible(a, ref, token) == (False, "scope_missing")
    assert await _eligible(a, ref, member) == (True, "may_vote")
    for actor, code in ((a.outsider, "not_member"), (late, "joined_later"), (token, "scope_missing")):
        with pytest.raises(Refused) as refusal:
            await a.cast(ref, actor, "for")
        assert refusal.value.code == code
    await a.cast(ref, member, "for")
    assert await _eligible(a, ref, member) == (True, "may_change")
    a.later(days=7)
    assert await _eligible(a, ref, member) == (False, "ballot_closed")
    with pytest.raises(Conflict) as over:
        await a.cast(ref, member, "against")
    assert over.value.code == "ballot_closed"


async def test_the_electorate_is_who_is_an_active_member_at_the_opening(assembly: Any, people: Any) -> None:
    a = assembly
    await people("asleep", Role.MEMBER, active=False)
    ref = await a.to_ballot()
    await people("newcomer", Role.MEMBER)
    view = await queries.ballot(a.connection, ref, None, a.now)
    assert view.electorate == 10
    with pytest.raises(sa.exc.IntegrityError, match="electorate is fixed"):
        async with a.connection.begin_nested():
            await a.connection.execute(sa.text("DELETE FROM elector"))


async def test_a_vote_for_another_version_is_refused(assembly: Any) -> None:
    a = assembly
    ref = await a.to_ballot()
    with pytest.raises(Conflict) as refusal:
        await ballots.cast(a.unit(a.members[0]), ref, "for", "0" * 64)
    assert refusal.value.code == "stale_version"
    with pytest.raises(Invalid):
        await a.cast(ref, a.members[0], "perhaps")


async def test_a_vote_may_be_changed_and_the_last_one_counts(assembly: Any) -> None:
    a = assembly
    ref = await a.to_ballot()
    voter = a.members[0]
    first = await a.cast(ref, voter, "against")
    a.later(hours=1)
    last = await a.cast(ref, voter, "for")
    view = await queries.ballot(a.connection, ref, voter, a.now)
    assert view.your_receipt.code == last.code
    assert view.your_receipt.choice is None, "the choice is told on request only"
    await a.close(ref)
    results = await queries.results(a.connection, ref)
    assert results.counts == {"for": 1, "against": 0, "abstain": 0}
    replaced = await queries.receipt(a.connection, first.code)
    counted = await queries.receipt(a.connection, last.code)
    assert (replaced.counting, replaced.in_root) == (False, False)
    assert (counted.counting, counted.in_root, counted.leaf_index) == (True, True, 0)


async def test_a_cast_vote_can_be_neither_altered_nor_removed(assembly: Any) -> None:
    a = assembly
    ref = await a.to_ballot()
    await a.cast(ref, a.members[0], "for")
    for statement in (
        sa.update(vote).values(choice="against"),
        sa.update(vote).values(superseded_at=a.now, choice="against"),
        sa.delete(vote),
    ):
        with pytest.raises(sa.exc.IntegrityError, match="a vote is never"):
            async with a.connection.begin_nested():
                await a.connection.execute(statement)
    await a.close(ref)
    for statement in (sa.update(vote).values(superseded_at=a.now), sa.update(ballot).values(votes_for=9)):
        with pytest.raises(sa.exc.IntegrityError, match="ballot"):
            async with a.connection.begin_nested():
                await a.connection.execute(statement)


async def test_nothing_in_the_trail_leads_from_a_vote_to_its_voter(assembly: Any) -> None:
    a = assembly
    ref = await a.to_ballot()
    voter = a.members[0]
    receipt = await a.cast(ref, voter, "abstain")
    bodies = (await a.connection.execute(sa.select(audit_entry.c.body))).scalars()
    entry = next(e for e in map(json.loads, map(bytes, bodies)) if e["type"] == "vote.cast")
    assert entry["actor"] == "voter"
    assert entry["request_id"] == ""
    assert set(entry["payload"]) == {"commitment", "supersedes"}
    said = json.dumps(entry)
    told = (voter.id, voter.pseudonym, voter.username, "abstain", receipt.salt, receipt.code)
    assert not any(str(x) in said for x in told)


async def test_no_count_can_be_read_off_the_log_before_the_close(assembly: Any) -> None:
    """Two ballots are open; nothing in a vote's entry says which of them it belongs to (§ 5.8)."""
    a = assembly
    refs = [await a.to_ballot(), await a.to_ballot(title="Another")]
    for number, voter in enumerate(a.members):
        await a.cast(refs[number % 2], voter, "for")
    query = sa.select(audit_entry.c.body).where(audit_entry.c.type == "vote.cast")
    entries = [json.loads(bytes(body)) for body in (await a.connection.execute(query)).scalars()]
    ballots = (await a.connection.execute(sa.select(ballot.c.id))).scalars().all()
    assert len(entries) == len(a.members)
    for entry in entries:
        assert not any(str(which) in json.dumps(entry) for which in (*refs, *ballots))
        del entry["id"], entry["at"], entry["payload"]["commitment"]
    assert all(entry == entries[0] for entry in entries)


async def test_a_changed_vote_names_the_commitment_it_replaces(assembly: Any) -> None:
    a = assembly
    ref = await a.to_ballot()
    cast = [await a.cast(ref, a.members[0], choice) for choice in ("for", "against", "abstain")]
    query = (
        sa.select(audit_entry.c.body).where(audit_entry.c.type == "vote.cast").order_by(audit_entry.c.number)
    )
    bodies = [bytes(body) for body in (await a.connection.execute(query)).scalars()]
    entries = [json.loads(body)["payload"] for body in bodies]
    assert [entry["commitment"] for entry in entries] == [item.commitment for item in cast]
    assert [entry["supersedes"] for entry in entries] == [None, cast[0].commitment, cast[1].commitment]
    assert all(rfc8785.dumps(json.loads(body)) == body for body in bodies), "the database kept it canonical"
    await a.close(ref)
    published = json.loads(await queries.openings_document(a.connection, ref))
    assert [item["commitment"] for item in published["openings"]] == [cast[2].commitment]
    chain = {item["commitment"]: item["by"] for item in published["superseded"]}
    assert chain == {cast[0].commitment: cast[1].commitment, cast[1].commitment: cast[2].commitment}


async def test_the_log_binds_what_is_published_at_the_close(assembly: Any) -> None:
    a = assembly
    ref = await a.to_ballot()
    for voter, choice in zip(a.members, ("for", "against", "for", "abstain"), strict=False):
        await a.cast(ref, voter, choice)
    await a.close(ref)
    document = await queries.openings_document(a.connection, ref)
    assert rfc8785.dumps(json.loads(document)) == document
    query = sa.select(audit_entry.c.body).where(audit_entry.c.type == "ballot.closed")
    closed = json.loads(bytes((await a.connection.execute(query)).scalar_one()))["payload"]
    assert closed["openings_sha256"] == records.sha256_hex(document)
    assert closed["mode"] == "sealed"
    with pytest.raises(NotFound):
        await queries.opening_names(a.connection, ref)


async def test_an_open_ballot_publishes_names_at_its_close(assembly: Any) -> None:
    a = assembly
    a.figures = msgspec.structs.replace(a.figures, ballot_mode=Mode(BallotMode.OPEN, "5.9"))
    ref = await a.to_ballot()
    assert (await queries.ballot(a.connection, ref, a.members[0], a.now)).mode == "open"
    cast = await a.cast(ref, a.members[0], "for")
    with pytest.raises(Conflict):
        await queries.opening_names(a.connection, ref)
    await a.close(ref)
    (named,) = await queries.opening_names(a.connection, ref)
    assert (named.name, named.choice, named.commitment) == (a.members[0].name, "for", cast.commitment)
    assert a.members[0].name not in (await queries.openings_document(a.connection, ref)).decode()


async def test_no_count_is_shown_before_the_close(assembly: Any) -> None:
    a = assembly
    ref = await a.to_ballot()
    await a.cast(ref, a.members[0], "for")
    for question in (queries.results(a.connection, ref), queries.openings(a.connection, ref)):
        with pytest.raises(Conflict) as refusal:
            await question
        assert refusal.value.code == "ballot_open"
    shown = msgspec.to_builtins(await queries.ballot(a.connection, ref, a.members[1], a.now))
    assert not {"counts", "votes_for", "turnout"} & set(shown)


async def test_openings_recount_to_the_result_and_root(assembly: Any) -> None:
    a = assembly
    ref = await a.to_ballot()
    choices = ["for", "against", "for", "abstain", "for"]
    receipts = [await a.cast(ref, voter, choice) for voter, choice in zip(a.members, choices, strict=False)]
    await a.close(ref)
    results = await queries.results(a.connection, ref)
    opened = await queries.openings(a.connection, ref)
    ballot_id = (await a.connection.execute(sa.select(ballot.c.id))).scalar_one()
    for item in opened:
        assert records.commitment(bytes.fromhex(item.salt), ballot_id, item.choice) == item.commitment
    counted = [item.choice for item in opened]
    assert {choice: counted.count(choice) for choice in results.counts} == results.counts
    assert records.ballot_root([item.commitment for item in opened]) == results.ballot_root
    assert sorted(item.commitment for item in opened) == sorted(r.commitment for r in receipts)
    assert (results.outcome, results.why.recomputed(), results.turnout) == ("passed", True, 0.5)


async def test_a_receipt_tells_the_choice_only_to_its_voter(assembly: Any) -> None:
    a = assembly
    ref = await a.to_ballot()
    voter, other = a.members[:2]
    cast = await a.cast(ref, voter, "against")
    assert (cast.mine, cast.choice) == (True, "against")
    typed = cast.code.lower().replace("-", " ").replace("0", "o").replace("1", "l")
    for actor in (None, other):
        seen = await queries.receipt(a.connection, typed, actor)
        assert (seen.code, seen.mine, seen.choice, seen.salt) == (cast.code, False, None, None)
    own = await queries.receipt(a.connection, cast.code, voter)
    assert (own.choice, own.salt) == ("against", cast.salt)


def test_receipt_codes_cannot_be_guessed_and_are_read_as_people_type() -> None:
    codes = {new_code() for _ in range(1000)}
    assert len(codes) == 1000
    code = codes.pop()
    characters = code.replace("-", "")
    assert len(characters) * 5 >= 100  # bits
    assert set(characters) <= set(ALPHABET)
    assert read_code(f"  {code.lower()} ") == code
    assert read_code("O" * 25) == read_code("0" * 25)
    assert read_code("abc") is None
    assert read_code("U" * 25) is None


@pytest.mark.parametrize(
    ("choices", "passed", "unmet"),
    [
        ([], False, {"not_empty", "quorum", "majority"}),
        (["for", "against"], False, {"majority"}),
        (["for"], True, set()),
        (["against"] * 3, False, {"quorum", "majority", "threshold"}),
        (["abstain"], False, {"majority"}),
    ],
)
async def test_outcomes(assembly: Any, choices: list[str], passed: bool, unmet: set[str]) -> None:
    a = assembly
    ref = await a.to_ballot()
    for voter, choice in zip(a.members, choices, strict=False):
        await a.cast(ref, voter, choice)
    await a.close(ref)
    results = await queries.results(a.connection, ref)
    assert (results.outcome == "passed") == passed
    assert {item.key for item in results.why.all_of if not item.met} == unmet
    view = await queries.policy(a.connection, a.figures, ref)
    assert view.state == ("enacted" if passed else "rejected")
    if not passed:
        assert view.state_reason
        assert (await queries.workflow(a.connection, view.workflow_id)).status == "completed"


# On connections of their own


@asynccontextmanager
async def _open_ballot(url: str, assemble: Any) -> AsyncIterator[tuple[Any, AsyncEngine, str, str]]:
    """A committed policy whose ballot is open."""
    engine = create_async_engine(url, pool_size=20)
    try:
        async with engine.begin() as connection:
            a = await assemble(connection)
            ref = await a.to_ballot()
            sha = await a.hash_of(ref)
        yield a, engine, ref, sha
    finally:
        await engine.dispose()


async def _counting(engine: AsyncEngine) -> list[str]:
    async with engine.connect() as connection:
        return list(
            (
                await connection.execute(sa.select(vote.c.choice).where(vote.c.superseded_at.is_(None)))
            ).scalars()
        )


async def test_concurrent_casts_of_one_voter_leave_exactly_one_counting(
    fresh_database: str, assemble: Any
) -> None:
    async with _open_ballot(fresh_database, assemble) as (a, engine, ref, sha):
        voter = a.members[0]

        async def cast(choice: str) -> None:
            async with engine.begin() as connection:
                unit = a.make_unit(actor=voter, now=a.now, on=connection)
                await ballots.cast(unit, ref, choice, sha)

        async with anyio.create_task_group() as tasks:
            for n in range(12):
                tasks.start_soon(cast, ("for", "against", "abstain")[n % 3])
        assert len(await _counting(engine)) == 1
        async with engine.connect() as connection:
            total = (await connection.execute(sa.select(sa.func.count()).select_from(vote))).scalar_one()
        assert total == 12, "every cast is kept"


async def test_a_vote_that_began_first_and_waited_replaces_the_one_that_overtook_it(
    fresh_database: str, assemble: Any
) -> None:
    """A vote's time is taken before it waits for its voter's row, so times do not tell which of two came last."""
    async with _open_ballot(fresh_database, assemble) as (a, engine, ref, sha):
        voter = a.members[0]
        for choice, second in (("for", 2), ("against", 1), ("abstain", 0)):
            async with engine.begin() as connection:
                now = a.now + timedelta(seconds=second)
                await ballots.cast(a.make_unit(actor=voter, now=now, on=connection), ref, choice, sha)
        async with engine.begin() as connection:
            unit = a.make_unit(now=a.now + timedelta(days=8), on=connection)
            assert await ballots.close_due(unit, a.figures) == [ref]
        async with engine.connect() as connection:
            published = msgspec.json.decode(await queries.openings_document(connection, ref), type=Openings)
            query = sa.select(audit_entry.c.body).where(audit_entry.c.type == "vote.cast")
            logged = [json.loads(body)["payload"] for body in (await connection.execute(query)).scalars()]
            checks = (await recount(connection, ref)).checks
        assert [item.choice for item in published.openings] == ["abstain"]
        assert {(item.commitment, item.by) for item in published.superseded} == {
            (item["supersedes"], item["commitment"]) for item in logged if item["supersedes"]
        }
        assert [check.key for check in checks if not check.met] == ["in_log"], "the tree has not grown yet"


async def test_a_vote_under_way_at_the_close_is_counted(fresh_database: str, assemble: Any) -> None:
    async with _open_ballot(fresh_database, assemble) as (a, engine, ref, sha):
        closed = anyio.Event()

        async def close() -> None:
            async with engine.begin() as connection:
                unit = a.make_unit(now=a.now + timedelta(days=8), on=connection)
                assert await ballots.close_due(unit, a.figures) == [ref]
            closed.set()

        async with anyio.create_task_group() as tasks, engine.begin() as connection:
            await ballots.cast(a.make_unit(actor=a.members[0], now=a.now, on=connection), ref, "for", sha)
            tasks.start_soon(close)
            await anyio.sleep(0.3)
            assert not closed.is_set(), "the close waits for the vote that is being cast"
        async with engine.connect() as connection:
            assert (await queries.results(connection, ref)).counts["for"] == 1


async def test_a_vote_that_comes_while_it_closes_is_refused(fresh_database: str, assemble: Any) -> None:
    async with _open_ballot(fresh_database, assemble) as (a, engine, ref, sha):
        refusals: list[str] = []

        async def cast() -> None:
            try:
                async with engine.begin() as connection:
                    await ballots.cast(
                        a.make_unit(actor=a.members[0], now=a.now, on=connection), ref, "for", sha
                    )
            except Conflict as refusal:
                refusals.append(refusal.code)

        async with anyio.create_task_group() as tasks, engine.begin() as connection:
            unit = a.make_unit(now=a.now + timedelta(days=8), on=connection)
            await ballots.close_due(unit, a.figures)
            tasks.start_soon(cast)
            await anyio.sleep(0.3)
            assert refusals == [], "the vote waits for the close"
        assert refusals == ["ballot_closed"]
        assert await _counting(engine) == []


async def test_many_votes_against_many_closers(fresh_database: str, assemble: Any) -> None:
    """Whatever the timing: what was acknowledged is in the count, what is not was refused, and one worker closes."""
    async with _open_ballot(fresh_database, assemble) as (a, engine, ref, sha):
        acknowledged, refused, closed = [], [], []

        async def cast(voter: Any, delay: float) -> None:
            await anyio.sleep(delay)
            try:
                async with engine.begin() as connection:
                    await ballots.cast(a.make_unit(actor=voter, now=a.now, on=connection), ref, "for", sha)
                acknowledged.append(voter)
            except Conflict:
                refused.append(voter)

        async def close() -> None:
            await anyio.sleep(0.02)
            async with engine.begin() as connection:
                unit = a.make_unit(now=a.now + timedelta(days=8), on=connection)
                closed.extend(await ballots.close_due(unit, a.figures))

        async with anyio.create_task_group() as tasks:
            for n, voter in enumerate([*a.members, a.dana, a.emre, a.farah, a.author]):
                tasks.start_soon(cast, voter, n * 0.008)
            for _ in range(3):
                tasks.start_soon(close)
        assert closed == [ref]
        async with engine.connect() as connection:
            counts = (await queries.results(connection, ref)).counts
            entries = await connection.execute(
                sa.select(sa.func.count()).where(audit_entry.c.type == "ballot.closed")
            )
            assert entries.scalar_one() == 1
        assert counts["for"] == len(acknowledged)
        assert len(acknowledged) + len(refused) == 10


async def test_two_workers_open_a_ballot_once(fresh_database: str, assemble: Any) -> None:
    engine = create_async_engine(fresh_database)
    async with engine.begin() as connection:
        a = await assemble(connection)
        ref = await a.create(risk_strategy="enhanced_validation")
        await a.approve(ref, a.dana, a.emre)
    opened: list[str] = []

    async def sweep() -> None:
        async with engine.begin() as connection:
            unit = a.make_unit(now=a.now + timedelta(days=2), on=connection)
            opened.extend(await ballots.open_due(unit, a.figures))

    async with anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(sweep)
    assert opened == [ref]
    async with engine.connect() as connection:
        assert (await connection.execute(sa.select(sa.func.count()).select_from(ballot))).scalar_one() == 1
        assert (await connection.execute(sa.select(policy.c.state))).scalar_one() == "voting"
    await engine.dispose()


async def test_casting_takes_two_statements(assembly: Any) -> None:
    a = assembly
    ref = await a.to_ballot()
    sha = await a.hash_of(ref)
    said: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        said.append(statement)

    sa.event.listen(a.connection.sync_connection, "before_cursor_execute", note)
    await ballots.cast(a.unit(a.members[0]), ref, "for", sha)
    sa.event.remove(a.connection.sync_connection, "before_cursor_execute", note)
    assert len(said) == 2
