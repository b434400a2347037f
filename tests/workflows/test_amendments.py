"""Amendments: what a document must be, that no vote can lower a floor, and that the one adopted governs at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import create_async_engine

from portal.database import begin_unit
from portal.governing import Governing
from tests.chain.enacted import Assembly
from workflows.constitution import amendments, wording
from workflows.constitution.document import Constitution, load, of_bytes
from workflows.constitution.figures import FLOORS, AnnexError, read_figures
from workflows.errors import Conflict, Invalid
from workflows.kinds import Category
from workflows.policy_creation import ballots, drafts, queries, records
from workflows.policy_creation.views import DocumentDraft, PolicyDraft

TEXT = load().text
QUORUM = ("| quorum_percent | 10 |", "| quorum_percent | 15 |")
DAYS = ("| voting_days | 7 |", "| voting_days | 9 |")


@pytest.fixture
async def body(fresh_database: str, constitution: Constitution) -> AsyncIterator[Assembly]:
    engine = create_async_engine(fresh_database)
    made = Assembly(engine, constitution)
    await made.gather()
    yield made
    await engine.dispose()


# What a document must be


def test_the_shipped_document_is_one_to_be_governed_by() -> None:
    assert amendments.faults(TEXT) == []
    assert amendments.normalised(TEXT) == TEXT


def test_hashes_of_versions_without_a_document_stay_as_they_were() -> None:
    plain = {"ref": "POL-2026-0001", "number": 1, "title": "t", "summary": "s", "category": "safety"}
    record = records.version_record(**plain, text="x", rule=None)
    assert b"constitution" not in record
    amending = records.version_record(**plain, text="x", rule=None, amends=("a" * 64, "b" * 64))
    found = msgspec.json.decode(amending)
    assert (found["constitution_sha256_new"], found["constitution_sha256_base"]) == ("a" * 64, "b" * 64)


@given(st.sampled_from(sorted(FLOORS)), st.integers(0, 10_000))
def test_no_amendment_can_lower_a_floor(key: str, value: int) -> None:
    was = getattr(load().figures, key).value
    amended = TEXT.replace(f"| {key} | {was} |", f"| {key} | {value} |")
    found = amendments.faults(amended)
    if value < FLOORS[key]:
        assert any("floor" in fault for fault in found)
    elif not found:
        assert getattr(read_figures(amended), key).value == value


@given(
    st.sampled_from(["voting_days", "quorum_percent", "appeal_hours"]), st.integers(1, 60), st.integers(1, 60)
)
def test_no_figure_falls_short_of_its_clause(key: str, says: int, value: int) -> None:
    clause = {
        "voting_days": "open for seven days",
        "quorum_percent": "ten per cent",
        "appeal_hours": "48 hours",
    }[key]
    unit = clause.rpartition(" ")[2] if key != "quorum_percent" else "per cent"
    number = clause.removesuffix(unit).strip()
    was = getattr(load().figures, key).value
    amended = TEXT.replace(clause, f"{number.rpartition(' ')[0]} {says} {unit}".strip())
    amended = amended.replace(f"| {key} | {was} |", f"| {key} | {value} |")
    if value >= FLOORS[key]:
        assert any("laxer than its clause" in fault for fault in amendments.faults(amended)) == (value < says)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("## Annex: figures", "## Figures", "no annex table"),
        ("| quorum_percent | 10 |", "| quorum_percent | many |", "cannot be read"),
        ("| voting_days | 7 | 5.2 |", "| voting_days | 7 | 5.22 |", "§ 5.22"),
        ("| equal_vote | 5 |", "| equal_vote | 9 |", "row that cannot be used"),
        ("| equal_vote | 5 | 2.1, 2.4 |", "| equal_vote | 5 | 2.1, 2.9 |", "§ 2.9"),
        ("## Annex: principles", "## Principles", "missing or empty"),
        ("open for seven days", "open for twenty-one days", "§ 5.2 says 21"),
        ("| human_review | 2 | 1 | 1 | 7 | 67 |", "| human_review | 2 | 1 | 1 | 7 | 51 |", "laxer"),
    ],
)
def test_a_document_that_nobody_could_be_governed_by_is_refused(old: str, new: str, told: str) -> None:
    assert old in TEXT
    assert any(told in fault for fault in amendments.faults(TEXT.replace(old, new)))


def test_a_principle_may_be_removed_and_that_is_shown() -> None:
    rows = [line for line in TEXT.splitlines() if line.startswith("| openness ")]
    amended = TEXT.replace(rows[0] + "\n", "").replace(*QUORUM)
    assert amendments.faults(amended) == []
    assert amendments.effects(TEXT, amended) == [
        "Quorum percent: from 10 to 15.",
        "The principle openness is removed.",
    ]


@given(st.text(max_size=400))
def test_any_text_is_judged_without_stumbling(text: str) -> None:
    assert amendments.faults(text)
    wording.worded(text, load().figures)


def test_numbers_are_read_as_words_and_as_digits() -> None:
    for words, value in (("seven", 7), ("10", 10), ("sixty-seven", 67), ("twenty", 20)):
        amended = TEXT.replace("**5.2** A ballot is open for seven days.", f"**5.2** It takes {words} days.")
        (found,) = [item for item in wording.worded(amended, load().figures) if item.name == "voting_days"]
        assert found.says == value


# Handing in


def draft(text: str, base: str, category: Category = Category.CONSTITUTIONAL) -> PolicyDraft:
    return PolicyDraft(
        title="Amend", summary="It is amended.", text="Amended.\n", category=category,
        constitution=DocumentDraft(text=text, base_sha256=base),
    )  # fmt: skip


async def handed_in(body: Assembly, given: PolicyDraft) -> str:
    async with body.unit(body.people["author"]) as unit:
        return await drafts.create(unit, body.constitution.figures, given, submit=True)


async def test_what_is_wrong_stands_at_its_field(body: Assembly) -> None:
    base = body.constitution.sha256
    for wrong, pointer, told in (
        (draft(TEXT.replace(*QUORUM), base, Category.SAFETY), "/constitution", "Only a policy"),
        (draft(TEXT, base), "/constitution/text", "Nothing is different"),
        (draft(TEXT.replace("\n", "\r\n") + "\n\n", base), "/constitution/text", "Nothing is different"),
        (draft("x" * 100_001, base), "/constitution/text", "At most"),
        (
            draft(TEXT.replace("| quorum_percent | 10 |", "| quorum_percent | 9 |"), base),
            "/constitution/text",
            "floor",
        ),
    ):
        with pytest.raises(Invalid) as refused:
            await handed_in(body, wrong)
        assert any(error.pointer == pointer and told in error.message for error in refused.value.errors)


async def test_an_amendment_of_another_document_is_a_conflict_that_says_what_to_do(body: Assembly) -> None:
    with pytest.raises(Conflict, match="Open the document in force") as refused:
        await handed_in(body, draft(TEXT.replace(*QUORUM), "c" * 64))
    assert refused.value.code == "constitution_changed"


async def test_a_constitutional_policy_needs_no_document(body: Assembly) -> None:
    ref = await body.enact(category=Category.CONSTITUTIONAL)
    assert (await body.in_force()).sha256 == body.constitution.sha256
    async with body.engine.connect() as connection:
        view = await queries.policy(connection, body.constitution.figures, ref)
        assert view.version.constitution is None
        assert await amendments.adopted(connection) == []


# Coming into force


async def test_it_governs_from_the_close_of_its_ballot(body: Assembly) -> None:
    ref = await body.amend(*DAYS)
    now = await body.in_force()
    assert now.figures.voting_days.value == 9
    assert now.text == TEXT.replace(*DAYS)
    async with body.engine.connect() as connection:
        (step,) = await amendments.adopted(connection)
        assert (step.number, step.ref, step.sha256) == (1, ref, now.sha256)
        assert step.previous_sha256 == body.constitution.sha256
        for document in (body.constitution, now):
            assert await amendments.body_of(connection, document.sha256) == document.body
        entries = (
            await connection.execute(sa.text("SELECT body FROM audit.entry ORDER BY number"))
        ).scalars()
        told = [msgspec.json.decode(bytes(entry)) for entry in entries]
    (adopting,) = [item for item in told if item["type"] == "constitution.adopted"]
    assert adopting["constitution_sha256"] == body.constitution.sha256
    assert adopting["payload"]["sha256"] == now.sha256
    place = told.index(adopting)
    assert {item["constitution_sha256"] for item in told[1:place]} <= {body.constitution.sha256, "0" * 64}
    other = await body.put_to_the_vote(title="After it")
    async with body.engine.connect() as connection:
        ballot = await queries.policy(connection, now.figures, other)
    assert ballot.ballot is not None
    assert (ballot.ballot.closes_at - ballot.ballot.opens_at).days == 9


async def test_of_two_amendments_of_one_document_the_second_comes_back(body: Assembly) -> None:
    first = await body.put_to_the_vote("First", Category.CONSTITUTIONAL, document=await body.amended(*QUORUM))
    second = await body.put_to_the_vote("Second", Category.CONSTITUTIONAL, document=await body.amended(*DAYS))
    await body.pass_time(days=8)
    async with body.unit() as unit:
        closed = await ballots.close_due(unit, body.constitution.figures)
    assert set(closed) == {first, second}
    states = {ref: await body._state(ref) for ref in (first, second)}
    assert sorted(states.values()) == ["enacted", "returned"]
    (back,) = [ref for ref, state in states.items() if state == "returned"]
    async with body.engine.connect() as connection:
        view = await queries.policy(connection, body.constitution.figures, back)
        assert "no longer in force" in (view.state_reason or "")
        assert len(await amendments.adopted(connection)) == 1
    now = await body.in_force()
    again = draft(now.text.replace(*DAYS) if QUORUM[1] in now.text else now.text.replace(*QUORUM), now.sha256)
    async with body.unit(body.people["author"]) as unit:
        assert await drafts.amend(unit, now.figures, back, again) == 2


async def test_a_ballot_on_an_outdated_document_does_not_open(body: Assembly) -> None:
    waiting = await handed_in(body, draft(TEXT.replace(*DAYS), body.constitution.sha256))
    async with body.unit() as unit:
        from tests.conftest import arranged

        await arranged(unit.connection)
        await unit.connection.execute(
            sa.text("UPDATE policy SET state = 'public_comment', comment_ends_at = now() WHERE ref = :ref"),
            {"ref": waiting},
        )
    async with body.unit() as unit:
        row = (await unit.rows(sa.text("SELECT * FROM policy WHERE ref = :ref"), ref=waiting))[0]
        unit.constitution_sha256 = "d" * 64
        assert ballots.is_outdated(unit, {**row, "constitution_base_sha256": body.constitution.sha256})
        await ballots._open(unit, body.constitution.figures, waiting)
    assert await body._state(waiting) == "returned"


# Every process


async def test_a_unit_knows_the_document_in_force_whatever_its_process_has_heard(body: Assembly) -> None:
    governing = Governing(body.constitution)
    async with begin_unit(body.engine, constitution=governing) as unit:
        assert unit.constitution_sha256 == body.constitution.sha256
    await body.amend(*QUORUM)
    assert governing.current.sha256 == body.constitution.sha256  # nobody told this process
    async with begin_unit(body.engine, constitution=governing) as unit:
        assert unit.constitution is not None and unit.constitution.figures.quorum_percent.value == 15
    assert governing.current.sha256 == unit.constitution_sha256
    later = Governing(body.constitution)
    await later.look(body.engine)  # after a restart
    assert (later.current.sha256, later.current.problem) == (unit.constitution_sha256, None)


async def test_an_adoption_waits_for_every_unit_that_is_open(body: Assembly) -> None:
    ref = await body.put_to_the_vote("Amend", Category.CONSTITUTIONAL, document=await body.amended(*QUORUM))
    await body.pass_time(days=8)

    async def close() -> list[str]:
        async with body.unit() as unit:
            return await ballots.close_due(unit, body.constitution.figures)

    async with body.unit() as held:
        closing = asyncio.create_task(close())
        await asyncio.sleep(1)
        assert not closing.done()
        beginning = asyncio.create_task(body.in_force())  # begins while the adoption waits: after it
        await asyncio.sleep(0.3)
        assert not beginning.done()
        assert held.constitution_sha256 == body.constitution.sha256
    assert await closing == [ref]
    assert (await beginning).figures.quorum_percent.value == 15


async def test_two_workers_close_one_amendment_once(body: Assembly) -> None:
    ref = await body.put_to_the_vote("Amend", Category.CONSTITUTIONAL, document=await body.amended(*QUORUM))
    await body.pass_time(days=8)

    async def close() -> list[str]:
        async with body.unit() as unit:
            return await ballots.close_due(unit, body.constitution.figures)

    closed = await asyncio.gather(*(close() for _ in range(4)))
    assert sorted(each for some in closed for each in some) == [ref]
    async with body.engine.connect() as connection:
        assert len(await amendments.adopted(connection)) == 1


@pytest.mark.parametrize("which", ["founding", "first", "last"])
async def test_any_document_of_the_chain_may_be_configured_and_no_other(body: Assembly, which: str) -> None:
    await body.amend(*QUORUM)
    first = await body.in_force()
    await body.amend(*DAYS)
    last = await body.in_force()
    known = {"founding": body.constitution, "first": first, "last": last}[which]
    for configured in (known, of_bytes(known.body, "constitution.md", last.label)):
        async with body.engine.connect() as connection:
            found = await amendments.in_force(connection, configured)
        assert (found.sha256, found.problem) == (last.sha256, None)
    for stranger in (
        of_bytes(TEXT.replace("seven", "Seven").encode(), "other.md"),
        of_bytes(known.body, "constitution.md", "ab" * 8),
    ):
        async with body.engine.connect() as connection:
            found = await amendments.in_force(connection, stranger)
        assert found.sha256 == last.sha256 and found.problem


async def test_what_was_adopted_cannot_be_changed(body: Assembly) -> None:
    await body.amend(*QUORUM)
    for change in ("UPDATE amendment SET version = 2", "DELETE FROM amendment", "TRUNCATE amendment"):
        with pytest.raises(sa.exc.DBAPIError, match="refused"):
            async with body.engine.begin() as connection:
                await connection.execute(sa.text(change))


def test_a_broken_annex_is_an_annex_error() -> None:
    with pytest.raises(AnnexError):
        read_figures("")
