"""A policy's whole way, by the commands that people use: issue 2, items 3 to 5."""

from __future__ import annotations

import json
from typing import Any

import pytest
import sqlalchemy as sa

from workflows.errors import Conflict, Invalid, NotFound, Refused
from workflows.kinds import Decision
from workflows.policy_creation import ballots, discussion, drafts, implementation, queries, records, reviews
from workflows.roles import Role
from workflows.storage.tables import anchor, audit_entry, policy_version


async def test_from_draft_to_enacted_and_finalized(assembly: Any, jobs: list) -> None:
    a = assembly
    ref = await a.create(submit=False)
    assert ref == "POL-2026-0001"
    await drafts.submit(a.unit(a.author), a.figures, ref)
    assert await a.state(ref) == "in_review"
    await a.approve(ref)  # the standard tier needs one reviewer and no comment period
    assert await a.state(ref) == "voting"
    for voter, choice in zip(a.members, ["for", "for", "for", "against", "abstain"], strict=False):
        await a.cast(ref, voter, choice)
    await a.close(ref)
    view = await queries.policy(a.connection, a.figures, ref)
    assert (view.state, len(view.anchors)) == ("enacted", 1)
    assert view.anchors[0].state == "queued"
    workflow = await queries.workflow(a.connection, view.workflow_id)
    assert (workflow.status, workflow.current_stage) == ("executing", "implementation")
    await implementation.anchored(a.unit(), view.anchors[0].id)
    workflow = await queries.workflow(a.connection, view.workflow_id)
    assert (workflow.status, workflow.progress.percent) == ("completed", 100)
    assert {stage.status for stage in workflow.stages} == {"completed"}
    names = [job for job, _, _ in jobs]
    assert names == ["compliance", "deadlines", "anchoring"]
    assert jobs[1][2].days == 7  # the close of the ballot is a durable timer


async def test_the_record_on_chain_commits_to_what_was_decided(assembly: Any, constitution: Any) -> None:
    a = assembly
    ref = await a.to_ballot()
    await a.cast(ref, a.members[0], "for")
    await a.cast(ref, a.members[1], "for")
    await a.close(ref)
    view = await queries.policy(a.connection, a.figures, ref)
    results = await queries.results(a.connection, ref)
    row = (await a.connection.execute(sa.select(anchor))).mappings().one()
    assert json.loads(bytes(row["record"])) == {
        "kind": "policy",
        "ref": ref,
        "version": 1,
        "text_sha256": records.text_sha256(a.draft().text),
        "version_sha256": view.version.version_sha256,
        "tally": [2, 0, 0],
        "electorate": 10,
        "ballot_root": results.ballot_root,
        "constitution_sha256": constitution.sha256,
    }
    assert int(row["chain_policy_id"]) == records.chain_policy_id(bytes(row["record"]))
    assert view.version.text_sha256 in row["memo"]
    assert len(row["record"]) <= 1000


async def test_review_is_bound_to_the_version_that_was_read(assembly: Any) -> None:
    a = assembly
    ref = await a.create(risk_strategy="enhanced_validation")
    first = await a.hash_of(ref)
    await a.approve(ref, a.dana)
    amended = a.draft(text="Another rule.\n", risk_strategy="enhanced_validation")
    assert await drafts.amend(a.unit(a.author), a.figures, ref, amended) == 2
    with pytest.raises(Conflict) as refusal:
        await reviews.decide(a.unit(a.emre), a.figures, ref, Decision.APPROVE, "Fine.", first)
    assert refusal.value.code == "stale_version"
    assert refusal.value.links == {"diff": f"/policies/{ref}/changes?from=1&to=2"}
    view = await queries.policy(a.connection, a.figures, ref)
    assert view.review.approvals == 0, "an amended text voids approvals"
    assert [(r.version, r.void) for r in await queries.reviews(a.connection, ref)] == [(1, True)]
    diff = await queries.diff(a.connection, ref, 1, 2)
    assert [field.field for field in diff.fields if field.changed] == [
        "text",
    ]  # the risk tier is no field
    await a.approve(ref, a.dana, a.emre)
    assert await a.state(ref) == "public_comment"


async def test_who_may_not_review(assembly: Any) -> None:
    a = assembly
    ref = await a.create(by=a.dana)
    sha = await a.hash_of(ref)
    for actor, code in ((a.dana, "author_reviews"), (a.members[0], "role_missing")):
        with pytest.raises(Refused) as refusal:
            await reviews.decide(a.unit(actor), a.figures, ref, Decision.APPROVE, "Fine.", sha)
        assert refusal.value.code == code
    with pytest.raises(Invalid, match="decided"):
        await reviews.decide(a.unit(a.emre), a.figures, ref, "perhaps", "Fine.", sha)
    with pytest.raises(Invalid, match="why"):
        await reviews.decide(a.unit(a.emre), a.figures, ref, Decision.APPROVE, "  ", sha)
    enhanced = await a.create(risk_strategy="enhanced_validation")
    await a.approve(enhanced, a.emre)
    with pytest.raises(Conflict) as twice:
        await a.approve(enhanced, a.emre)
    assert twice.value.code == "already_reviewed"
    await a.approve(ref, a.emre)
    with pytest.raises(Invalid) as late:
        await a.approve(ref, a.farah)
    assert late.value.code == "wrong_stage"


async def test_return_and_rejection(assembly: Any) -> None:
    a = assembly
    ref = await a.create()
    await reviews.decide(a.unit(a.dana), a.figures, ref, Decision.RETURN, "Say who.", await a.hash_of(ref))
    view = await queries.policy(a.connection, a.figures, ref)
    assert (view.state, view.state_reason) == ("returned", "Say who.")
    assert [
        item.kind for item in await queries.inbox(a.connection, a.author, a.constitution.sha256, a.now)
    ] == ["returned"]
    await drafts.amend(a.unit(a.author), a.figures, ref, a.draft(text="The clerk does.\n"))
    await reviews.decide(a.unit(a.dana), a.figures, ref, Decision.REJECT, "No.", await a.hash_of(ref))
    view = await queries.policy(a.connection, a.figures, ref)
    assert (view.state, view.state_reason) == ("rejected", "No.")
    workflow = await queries.workflow(a.connection, view.workflow_id)
    assert workflow.status == "completed", "what people decide is no failure"
    assert [stage.status for stage in workflow.stages] == ["completed"] * 2 + ["cancelled"] * 3


async def test_comment_period_runs_from_submission_and_the_ballot_opens_by_itself(
    assembly: Any, jobs: list
) -> None:
    a = assembly
    ref = await a.create(risk_strategy="multi_model_consensus")  # two reviewers, one legal; three days
    a.later(hours=12)
    await a.approve(ref, a.dana, a.emre)
    assert await a.state(ref) == "public_comment"
    assert (jobs[-1][0], jobs[-1][2].total_seconds()) == ("deadlines", 2.5 * 24 * 3600)
    assert await ballots.open_due(a.unit(), a.figures) == []
    a.later(days=3)
    assert await ballots.open_due(a.unit(), a.figures) == [ref]
    assert await ballots.open_due(a.unit(), a.figures) == [], "opening twice is harmless"
    view = await queries.ballot(a.connection, ref, a.members[0], a.now)
    assert (view.quorum_percent, view.threshold_percent) == (10, 60)
    assert (view.closes_at - view.opens_at).days == 7


async def test_emergency_is_the_councils_and_shortens_the_vote(assembly: Any) -> None:
    a = assembly
    with pytest.raises(Refused):
        await a.create(emergency=True)
    ref = await a.create(by=a.farah, emergency=True)
    await a.approve(ref, a.dana, a.emre)  # an emergency is evidence of medium risk
    view = await queries.ballot(a.connection, ref, None, a.now)
    assert (view.closes_at - view.opens_at).days == 3


async def test_a_constitutional_policy_needs_all_of_them(assembly: Any) -> None:
    a = assembly
    ref = await a.create(category="constitutional", risk_strategy="standard")
    await a.approve(ref, a.dana, a.emre)
    view = await queries.policy(a.connection, a.figures, ref)
    assert (view.risk.level, view.risk.strategy) == ("critical", "human_review")
    assert (view.state, view.review.missing) == ("in_review", "Still to approve: 1 council member.")
    await a.approve(ref, a.farah)
    assert await a.state(ref) == "public_comment"


async def test_withdrawing_ends_it(assembly: Any) -> None:
    a = assembly
    ref = await a.create()
    with pytest.raises(Refused):
        await drafts.withdraw(a.unit(a.dana), ref, "Not mine.")
    await drafts.withdraw(a.unit(a.author), ref, "A better idea.")
    view = await queries.policy(a.connection, a.figures, ref)
    assert (view.state, view.state_reason) == ("withdrawn", "A better idea.")
    assert (await queries.workflow(a.connection, view.workflow_id)).status == "cancelled"
    with pytest.raises(Conflict) as refusal:
        await drafts.amend(a.unit(a.author), a.figures, ref, a.draft(text="x"))
    assert refusal.value.code == "wrong_state"


async def test_no_withdrawing_once_people_vote(assembly: Any) -> None:
    ref = await assembly.to_ballot()
    with pytest.raises(Conflict):
        await drafts.withdraw(assembly.unit(assembly.author), ref, "I am losing.")


async def test_suspension_deactivates_the_account_that_enacting_made(assembly: Any) -> None:
    a = assembly
    ref = await a.to_ballot()
    await a.cast(ref, a.members[0], "for")
    await a.close(ref)
    with pytest.raises(Refused):
        await implementation.suspend(a.unit(a.author), ref, "I changed my mind.")
    await implementation.suspend(a.unit(a.farah), ref, "It did harm.")
    view = await queries.policy(a.connection, a.figures, ref)
    enacted, deactivation = view.anchors
    assert (view.state, deactivation.kind) == ("suspended", "deactivation")
    assert deactivation.chain_policy_id == enacted.chain_policy_id
    record = json.loads(deactivation.record)
    assert record["policy_record_sha256"] == enacted.record_sha256
    assert record["reason_sha256"] == records.sha256_hex(b"It did harm.")
    assert deactivation.record_sha256 in deactivation.memo
    with pytest.raises(Conflict):
        await implementation.suspend(a.unit(a.farah), ref, "Again.")


async def test_a_stale_revision_is_refused(assembly: Any) -> None:
    a = assembly
    ref = await a.create(submit=False)
    revision = (await queries.policy(a.connection, a.figures, ref)).revision
    await drafts.amend(a.unit(a.author), a.figures, ref, a.draft(title="New"), revision=revision)
    for late in (
        drafts.amend(a.unit(a.author), a.figures, ref, a.draft(title="Newer"), revision=revision),
        drafts.submit(a.unit(a.author), a.figures, ref, revision=revision),
    ):
        with pytest.raises(Conflict) as refusal:
            await late
        assert refusal.value.code == "stale_revision"
    view = await queries.policy(a.connection, a.figures, ref)
    assert (view.version.number, view.version.title) == (1, "New"), "a draft is rewritten in place"


async def test_a_submitted_version_cannot_be_changed_by_anyone(assembly: Any) -> None:
    ref = await assembly.create()
    assert ref
    for statement in (sa.update(policy_version).values(text="other"), sa.delete(policy_version)):
        with pytest.raises(sa.exc.IntegrityError, match="does not change"):
            async with assembly.connection.begin_nested():
                await assembly.connection.execute(statement)


async def test_an_unchanged_amendment_is_refused(assembly: Any) -> None:
    ref = await assembly.create()
    with pytest.raises(Invalid) as refusal:
        await drafts.amend(assembly.unit(assembly.author), assembly.figures, ref, assembly.draft())
    assert refusal.value.code == "unchanged"


async def test_references_count_up_by_governance_year_without_gaps(assembly: Any) -> None:
    a = assembly
    refs = [await a.create() for _ in range(2)]
    with pytest.raises(Invalid):
        await a.create(title=" ")
    refs.append(await a.create())
    a.later(days=365)
    refs.append(await a.create())
    assert refs == ["POL-2026-0001", "POL-2026-0002", "POL-2026-0003", "POL-2027-0001"]


async def test_comments_answer_each_other_and_are_safe(assembly: Any) -> None:
    a = assembly
    ref, other = await a.create(), await a.create()
    first = await discussion.comment(a.unit(a.members[0]), ref, "**Good** <script>alert(1)</script>")
    await discussion.comment(a.unit(a.outsider), ref, "I agree.", reply_to=first)
    one, two = await queries.comments(a.connection, ref)
    assert two.reply_to == one.id
    assert "<strong>Good</strong>" in one.body_html
    assert "<script" not in one.body_html
    with pytest.raises(Invalid, match="comment"):
        await discussion.comment(a.unit(a.members[0]), other, "Where?", reply_to=first)


async def test_every_command_leaves_an_audit_entry(assembly: Any) -> None:
    """Walks every command that changes something; each must have entered at least one act in the trail."""
    a = assembly
    done: dict[str, int] = {}

    async def act(name: str, actor: Any, command: Any) -> Any:
        unit = a.unit(actor)
        before = await _entries(a)
        answer = await command(unit)
        assert await _entries(a) - before == unit.entries
        done[name] = unit.entries
        return answer

    ref = await act("create", a.author, lambda u: drafts.create(u, a.figures, a.draft(), submit=False))
    await act("edit", a.author, lambda u: drafts.amend(u, a.figures, ref, a.draft(title="Other")))
    await act("submit", a.author, lambda u: drafts.submit(u, a.figures, ref))
    await act("comment", a.members[0], lambda u: discussion.comment(u, ref, "Why?"))
    await act(
        "amend",
        a.author,
        lambda u: drafts.amend(u, a.figures, ref, a.draft(risk_strategy="enhanced_validation")),
    )
    await a.settle()
    for name, reviewer in (("review", a.dana), ("last review", a.emre)):
        sha = await a.hash_of(ref)
        await act(
            name,
            reviewer,
            lambda u, sha=sha: reviews.decide(u, a.figures, ref, Decision.APPROVE, "Good.", sha),
        )
    a.later(days=2)
    await act("open", a.unit().actor, lambda u: ballots.open_due(u, a.figures))
    sha = await a.hash_of(ref)
    await act("cast", a.members[0], lambda u: ballots.cast(u, ref, "for", sha))
    a.later(days=8)
    await act("close", a.unit().actor, lambda u: ballots.close_due(u, a.figures))
    await act("suspend", a.farah, lambda u: implementation.suspend(u, ref, "Harm."))
    other = await a.create()
    await act("withdraw", a.author, lambda u: drafts.withdraw(u, other, "No."))
    assert min(done.values()) >= 1, done
    assert done["close"] == 2  # ballot.closed and policy.enacted


async def _entries(a: Any) -> int:
    return (await a.connection.execute(sa.select(sa.func.count()).select_from(audit_entry))).scalar_one()


async def test_the_timeline_tells_what_happened_and_what_comes(assembly: Any) -> None:
    a = assembly
    ref = await a.to_ballot()
    await a.cast(ref, a.members[0], "for")
    items = await queries.timeline(a.connection, a.figures, ref)
    assert [item.key for item in items if item.at] == [
        "policy.drafted", "policy.submitted", "validation.asked", "validation.made", "review.approved", "ballot.opened",
    ], "how many voted is not told"  # fmt: skip
    future = [item for item in items if item.at is None]
    assert [item.key for item in future] == ["ballot_closes", "in_force"]
    assert (future[0].due - a.now).days == 7
    assert items[4].actor == "Dana"
    assert items[4].detail == "Clear."
    await a.close(ref)
    items = await queries.timeline(a.connection, a.figures, ref)
    assert [item.key for item in items if item.at][-2:] == ["ballot.closed", "policy.enacted"]
    assert [item.key for item in items if not item.at] == ["anchored"]


async def test_what_is_not_there_is_not_found(assembly: Any) -> None:
    a = assembly
    for question in (
        queries.policy(a.connection, a.figures, "POL-2026-9999"),
        queries.versions(a.connection, "POL-2026-9999"),
        queries.ballot(a.connection, "POL-2026-9999", None, a.now),
        queries.reviews(a.connection, "POL-2026-9999"),
        queries.comments(a.connection, "POL-2026-9999"),
        queries.timeline(a.connection, a.figures, "POL-2026-9999"),
        queries.receipt(a.connection, "no such code"),
    ):
        with pytest.raises(NotFound):
            await question


async def test_lists_filter_search_and_page(assembly: Any) -> None:
    a = assembly
    refs = []
    for number in range(5):
        a.later(minutes=1)
        refs.append(
            await a.create(title=f"Rule {number} 100%", category="safety" if number % 2 else "governance")
        )
    draft = await a.create(submit=False)
    everything = await queries.policies(a.connection)
    assert [item.ref for item in everything.items] == refs[::-1], "last changed first, drafts left out"
    assert [i.ref for i in (await queries.policies(a.connection, author="chidi", state="draft")).items] == [
        draft
    ]
    assert [i.ref for i in (await queries.policies(a.connection, q="rule 3")).items] == [refs[3]]
    assert len((await queries.policies(a.connection, q="0%")).items) == 5
    assert [i.ref for i in (await queries.policies(a.connection, category="safety")).items] == [
        refs[3],
        refs[1],
    ]
    seen, cursor, pages = [], None, []
    while True:
        page = await queries.policies(a.connection, limit=2, cursor=cursor)
        pages.append(page)
        seen += [item.ref for item in page.items]
        if not page.has_more:
            break
        cursor = page.next
    assert seen == refs[::-1]
    back = await queries.policies(a.connection, limit=2, cursor=pages[-1].prev)
    assert [item.ref for item in back.items] == [item.ref for item in pages[1].items]
    with pytest.raises(Invalid) as refusal:
        await queries.policies(a.connection, cursor="nonsense")
    assert refusal.value.code == "bad_cursor"


async def test_queues_show_what_waits(assembly: Any, people: Any) -> None:
    a = assembly
    ref = await a.create(risk_strategy="enhanced_validation")
    assert [item.ref for item in await queries.review_queue(a.connection, a.dana)] == [ref]
    await a.approve(ref, a.dana)
    assert await queries.review_queue(a.connection, a.dana) == []
    assert await queries.review_queue(a.connection, a.members[0]) == []
    voting = await a.to_ballot()
    inbox = await queries.inbox(a.connection, a.emre, a.constitution.sha256, a.now)
    assert [(item.kind, item.ref) for item in inbox] == [("vote", voting), ("review", ref)]
    late = await people("late", Role.MEMBER)
    [(item, view)] = await queries.ballots_for(a.connection, late)
    assert (item.ref, view.eligible.can_vote) == (voting, False)


@pytest.mark.parametrize(
    ("pointer", "changed"),
    [
        ("/title", {"title": ""}),
        ("/title", {"title": "x" * 201}),
        ("/title", {"title": "nul \x00"}),
        ("/summary", {"summary": " "}),
        ("/text", {"text": ""}),
        ("/category", {"category": "other"}),
        ("/risk_strategy", {"risk_strategy": "none"}),
        ("/text", {"text": "\ud800"}),
        ("/rule/source", {"rule": {"engine": "rego", "source": " "}}),
        ("/rule/examples/0", {"rule": {"engine": "rego", "source": "x", "examples": [{"input": 1}]}}),
        (
            "/rule/examples",
            {"rule": {"engine": "rego", "source": "x", "examples": [{"input": 1e22, "expect": 1}]}},
        ),
    ],
)
async def test_a_faulty_draft_is_named_by_field(assembly: Any, pointer: str, changed: dict) -> None:
    import msgspec

    from workflows.policy_creation.views import RuleDraft

    if "rule" in changed:
        changed = {"rule": msgspec.convert(changed["rule"], RuleDraft)}
    with pytest.raises(Invalid) as refusal:
        await assembly.create(**changed)
    assert [error.pointer for error in refusal.value.errors] == [pointer]
