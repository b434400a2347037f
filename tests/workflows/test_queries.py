"""Questions take few statements, however much there is; and cursors cannot be misused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from workflows.errors import Invalid
from workflows.policy_creation import discussion, queries
from workflows.storage.paging import _read


@contextmanager
def statements(connection: Any) -> Iterator[list[str]]:
    said: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        said.append(statement)

    sa.event.listen(connection.sync_connection, "before_cursor_execute", note)
    yield said
    sa.event.remove(connection.sync_connection, "before_cursor_execute", note)


async def test_the_number_of_statements_does_not_grow(assembly: Any) -> None:
    a = assembly
    refs = [await a.to_ballot() for _ in range(4)]
    for ref in refs:
        await a.cast(ref, a.members[0], "for")
        await discussion.comment(a.unit(a.members[0]), ref, "One.")
        await discussion.comment(a.unit(a.members[1]), ref, "Two.")
    questions = {
        1: [
            queries.policies(a.connection),
            queries.versions(a.connection, refs[0]),
            queries.reviews(a.connection, refs[0]),
            queries.comments(a.connection, refs[0]),
            queries.ballot(a.connection, refs[0], a.members[0], a.now),
            queries.inbox(a.connection, a.members[0], a.constitution.sha256, a.now),
            queries.review_queue(a.connection, a.dana),
            queries.figures_counts(a.connection),
        ],
        3: [queries.timeline(a.connection, a.figures, refs[0])],  # the third opens what people wrote
        2: [
            queries.policy(a.connection, a.figures, refs[0]),
            queries.ballots_for(a.connection, a.members[0]),
        ],
    }
    for most, asked in questions.items():
        for question in asked:
            with statements(a.connection) as said:
                await question
            assert len(said) <= most, question


async def test_the_home_pages_figures_are_counted(assembly: Any) -> None:
    a = assembly
    ref = await a.to_ballot()
    await a.cast(ref, a.members[0], "for")
    counts = await queries.figures_counts(a.connection)
    assert (counts["members"], counts["open_ballots"], counts["policies"]["voting"]) == (10, 1, 1)
    assert counts["votes_cast"] == 0, "what is being cast is not told"
    await a.close(ref)
    counts = await queries.figures_counts(a.connection)
    assert (counts["votes_cast"], counts["open_ballots"], counts["policies"]["enacted"]) == (1, 0, 1)


@given(st.text(max_size=80))
def test_a_cursor_is_ours_or_refused(cursor: str) -> None:
    with pytest.raises(Invalid):
        _read(cursor)


@pytest.mark.parametrize("limit", [0, -1, 201])
async def test_page_sizes_are_bounded(assembly: Any, limit: int) -> None:
    with pytest.raises(Invalid):
        await queries.policies(assembly.connection, limit=limit)
