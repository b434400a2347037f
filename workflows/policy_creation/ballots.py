"""The ballot: it opens and closes by itself when its time has come, and takes one sealed vote of each elector.

Lock order, everywhere: policy, ballot, elector. What is due is found under the policy's lock, so that two workers do
not both act; waiting for it is better than SKIP LOCKED, which would leave a policy that somebody happens to comment on
to the next sweep. Casting holds the ballot's row shared, closing holds it alone; so a
vote is either in the count or refused. The elector's row makes two casts of one voter come one after the other.
"""

from __future__ import annotations

import secrets
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.constitution import amendments
from workflows.constitution.figures import Figures
from workflows.constitutional_compliance import gate as compliance_gate
from workflows.errors import Conflict, FieldError, Invalid, NotFound, Refused
from workflows.kinds import (
    BallotState,
    Choice,
    CreationStage,
    PolicyState,
    StageStatus,
    WorkflowStatus,
)
from workflows.orchestrator import stages
from workflows.policy_creation import implementation, readiness, records
from workflows.policy_creation.eligibility import NOT_OPEN, eligibility
from workflows.policy_creation.lifecycle import after_ballot
from workflows.policy_creation.loading import REASON_LIMIT, lock_policy, storable, update_policy
from workflows.policy_creation.receipts import new_code
from workflows.policy_creation.rules import applicable
from workflows.policy_creation.tally import Counts, decide
from workflows.policy_creation.views import ReceiptView
from workflows.policy_enforcement import gate
from workflows.roles import Role
from workflows.storage.tables import ballot, elector, person, policy, policy_version, vote, workflow_stage
from workflows.storage.unit import Unit, new_id

__all__ = ["cast", "close_due", "eligibility", "open_ballot", "open_due"]


async def open_due(unit: Unit, figures: Figures) -> list[str]:
    """Open the ballot of every reviewed policy whose comment period is over, that was found to comply with the constitution
    and whose rule was judged. Answers with those that moved: a rule that does not pass the gate sends its policy back.

    Safe from several workers and as often as one likes: whoever comes second waits, and finds nothing to do.
    """
    due = (
        sa.select(policy.c.ref, policy.c.workflow_id)
        .join(workflow_stage, workflow_stage.c.workflow_id == policy.c.workflow_id)
        .where(
            policy.c.state == PolicyState.PUBLIC_COMMENT,
            policy.c.comment_ends_at <= unit.now,
            gate.may_be_asked(),
            compliance_gate.may_open(unit.constitution_sha256),
            *_may_try(unit, CreationStage.PUBLIC_COMMENT),
        )
        .order_by(policy.c.comment_ends_at, policy.c.id)
        .with_for_update(of=policy)
    )
    opened = []
    for row in await unit.rows(due):
        # Asked again now that the policy is held: until then people and machines could still decide otherwise.
        if not (await compliance_gate.stands(unit, row["ref"])).may_open:
            continue
        step = partial(_open, unit, figures, row["ref"])
        if await stages.run_step(
            unit, row["workflow_id"], CreationStage.PUBLIC_COMMENT, step, job="deadlines"
        ):
            opened.append(row["ref"])
    return opened


async def _open(unit: Unit, figures: Figures, ref: str) -> None:
    row = await lock_policy(unit, ref)
    if is_outdated(unit, row):
        await _return(unit, row, amendments.outdated(row["constitution_base_sha256"]), "amendment.outdated")
        return
    if await readiness.hold_back(unit, figures, row):
        return
    why_not = await gate.pass_through(unit, row) if row["rule_engine"] else ""
    if why_not:
        await _return(unit, row, why_not, "rule.refused")
    else:
        await open_ballot(unit, figures, row)


def is_outdated(unit: Unit, row: dict[str, Any]) -> bool:
    """Whether the policy amends a document that is no longer the one in force."""
    return row["constitution_base_sha256"] not in (None, unit.constitution_sha256)


async def _return(unit: Unit, row: dict[str, Any], why: str, type: str) -> None:
    """Back to its author: a rule that machines could not apply is not put to the vote (§ 8.1), and a document that is no
    longer in force is not amended.
    """
    await update_policy(unit, row, state=PolicyState.RETURNED, state_reason=why)
    await stages.enter(unit, row["workflow_id"], CreationStage.STAKEHOLDER_REVIEW, WorkflowStatus.IN_PROGRESS)
    await unit.record(
        type,
        row["ref"],
        version=row["current_version"],
        version_sha256=row["version_sha256"],
        why=why,
    )
    unit.publish(f"policy:{row['ref']}", "returned")


def _may_try(unit: Unit, stage: CreationStage) -> tuple[sa.ColumnElement[bool], ...]:
    """Leaves out workflows that wait for their next attempt."""
    retry_at = workflow_stage.c.retry_at
    return (
        workflow_stage.c.key == stage,
        workflow_stage.c.status == StageStatus.IN_PROGRESS,
        sa.or_(retry_at.is_(None), retry_at <= unit.now),
    )


async def open_ballot(unit: Unit, figures: Figures, row: dict[str, Any]) -> None:
    """Open the vote on a locked policy whose review is complete, for the members as they are at this moment."""
    rules = applicable(figures, row["strategy"], row["emergency"])
    closes_at = unit.now + timedelta(days=rules.voting_days.value)
    ballot_id = new_id()
    electorate = await _insert_with_electorate(
        unit,
        id=ballot_id,
        policy_id=row["id"],
        version=row["current_version"],
        version_sha256=row["version_sha256"],
        state=BallotState.OPEN,
        mode=figures.ballot_mode.value,
        opens_at=unit.now,
        closes_at=closes_at,
        quorum_percent=rules.quorum.value,
        threshold_percent=rules.threshold.value,
    )
    await update_policy(unit, row, state=PolicyState.VOTING)
    await stages.enter(unit, row["workflow_id"], CreationStage.VOTING, WorkflowStatus.WAITING_APPROVAL)
    await unit.enqueue("deadlines", {}, due=closes_at)
    await unit.record(
        "ballot.opened",
        row["ref"],
        ballot=str(ballot_id),
        version=row["current_version"],
        version_sha256=row["version_sha256"],
        mode=figures.ballot_mode.value,
        electorate=electorate,
        quorum_percent=rules.quorum.value,
        threshold_percent=rules.threshold.value,
        closes_at=closes_at.isoformat(),
    )
    for topic in (f"policy:{row['ref']}", f"ballot:{row['ref']}"):
        unit.publish(topic, "opened")


async def _insert_with_electorate(unit: Unit, **values: Any) -> int:
    """The ballot, its electors and their number, in one statement: all three see the same members."""
    members = (
        sa.select(person.c.id)
        .where(person.c.active, person.c.roles.contains([Role.MEMBER]))
        .cte("members")
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )
    counted = sa.select(sa.func.count()).select_from(members).scalar_subquery()
    opened = ballot.insert().values(electorate=counted, **values).returning(ballot.c.id, ballot.c.electorate)
    opened_cte = opened.cte("opened")
    electors = elector.insert().from_select(
        ["ballot_id", "person_id"],
        sa.select(opened_cte.c.id, members.c.id).select_from(opened_cte.join(members, sa.true())),
    )
    statement = sa.select(opened_cte.c.electorate).add_cte(electors.cte("electors"))
    return (await unit.connection.execute(statement)).scalar_one()


async def close_due(unit: Unit, figures: Figures) -> list[str]:
    """Count every open ballot whose time is over and let its outcome take effect. Answers with the references.

    Safe from several workers and as often as one likes, as `open_due` is. What comes into force with an amendment waits
    until every other unit has ended, and while another worker is at such a one, it is left to that.
    """
    due = (
        sa.select(policy.c.ref, policy.c.workflow_id, ballot.c.id)
        .join(ballot, (ballot.c.policy_id == policy.c.id) & (ballot.c.version == policy.c.current_version))
        .join(workflow_stage, workflow_stage.c.workflow_id == policy.c.workflow_id)
        .where(
            policy.c.state == PolicyState.VOTING,
            ballot.c.closes_at <= unit.now,
            *_may_try(unit, CreationStage.VOTING),
        )
        .order_by(ballot.c.closes_at, ballot.c.id)
    )
    if await unit.rows(due.where(_amends()).limit(1)) and not await amendments.hold_alone(unit):
        due = due.where(~_amends())
    closed = []
    for row in await unit.rows(due.with_for_update(of=policy)):
        step = partial(_close, unit, row["ref"], row["id"])
        if await stages.run_step(unit, row["workflow_id"], CreationStage.VOTING, step, job="deadlines"):
            closed.append(row["ref"])
    return closed


def _amends() -> sa.ColumnElement[bool]:
    """Of a policy: its standing version carries an amended constitution."""
    return sa.exists().where(
        policy_version.c.policy_id == policy.c.id,
        policy_version.c.number == policy.c.current_version,
        policy_version.c.constitution_sha256.is_not(None),
    )


async def _close(unit: Unit, ref: str, ballot_id: UUID) -> None:
    row = await lock_policy(unit, ref)
    # Waits for the votes that are being cast, and holds off later ones.
    terms = await unit.row(sa.select(ballot).where(ballot.c.id == ballot_id).with_for_update())
    assert terms is not None
    published = await openings(unit.connection, ballot_id, terms["mode"])
    votes = msgspec.json.decode(published)["openings"]
    chosen = [item["choice"] for item in votes]
    counts = Counts(*(chosen.count(choice) for choice in Choice))
    root = records.ballot_root([item["commitment"] for item in votes])
    why = decide(
        counts,
        electorate=terms["electorate"],
        quorum_percent=terms["quorum_percent"],
        threshold_percent=terms["threshold_percent"],
    )
    await unit.connection.execute(
        ballot.update()
        .where(ballot.c.id == ballot_id)
        .values(
            state=BallotState.CLOSED,
            closed_at=unit.now,
            votes_for=counts.votes_for,
            votes_against=counts.votes_against,
            votes_abstain=counts.votes_abstain,
            passed=why.passed,
            why=msgspec.to_builtins(why),
            ballot_root=root,
        )
    )
    await unit.record(
        "ballot.closed",
        ref,
        ballot=str(ballot_id),
        version=row["current_version"],
        version_sha256=row["version_sha256"],
        votes={"for": counts.votes_for, "against": counts.votes_against, "abstain": counts.votes_abstain},
        electorate=terms["electorate"],
        passed=why.passed,
        why=msgspec.to_builtins(why),
        ballot_root=root,
        mode=terms["mode"],
        openings_sha256=records.sha256_hex(published),
    )
    for topic in (f"policy:{ref}", f"ballot:{ref}"):
        unit.publish(topic, "closed", passed=why.passed)
    if why.passed and is_outdated(unit, row):
        await gate.release_name(unit, row["id"])
        await _return(unit, row, amendments.outdated(row["constitution_base_sha256"]), "amendment.outdated")
    elif after_ballot(why.passed) == PolicyState.ENACTED:
        await implementation.enact(unit, row, counts, terms["electorate"], root)
    else:
        unmet = " ".join(item.explanation for item in why.all_of if not item.met)
        await update_policy(unit, row, state=PolicyState.REJECTED, state_reason=unmet, decided_at=unit.now)
        await gate.release_name(unit, row["id"])
        await stages.complete(unit, row["workflow_id"])


async def openings(connection: AsyncConnection, ballot_id: UUID, mode: str) -> bytes:
    """`records.openings` of a ballot, from its votes. What an erasure takes from a vote is not part of it."""
    v = vote.c
    # A vote takes its time before it waits for its voter's row, and its entry's number after: only the number tells
    # which of two came last. Votes from before 0003 have none, and no later ones before them.
    order = (v.superseded_at.is_(None), v.entry.asc().nulls_first(), v.cast_at, v.id)
    later = sa.func.lead(v.commitment).over(partition_by=v.voter_id, order_by=order).label("by")
    query = sa.select(v.choice, v.salt, v.commitment, v.superseded_at, later).where(v.ballot_id == ballot_id)
    votes = list(await connection.execute(query))
    return records.openings(
        ballot_id,
        mode,
        [(item.choice, item.salt, item.commitment) for item in votes if item.superseded_at is None],
        [(item.commitment, item.by) for item in votes if item.superseded_at is not None],
    )


# Plain SQL, as building such statements anew for every vote costs more than running them.
_TERMS = sa.text("""
    WITH found AS (
        SELECT ballot.id, ballot.state, ballot.closes_at, ballot.version, ballot.version_sha256, policy.title
        FROM ballot JOIN policy ON policy.id = ballot.policy_id AND policy.current_version = ballot.version
        WHERE policy.ref = :ref
        FOR SHARE OF ballot
    ), mine AS (
        SELECT person_id FROM elector
        WHERE ballot_id = (SELECT id FROM found) AND person_id = CAST(:me AS uuid)
        FOR NO KEY UPDATE
    )
    SELECT found.*, EXISTS (SELECT FROM mine) AS is_elector FROM found
""")
# The inserts read the superseded row, so that they come after it: one vote of a voter counts. Which one it was is known
# only here, under the elector's lock; the entry is canonical JSON before and after its null becomes a commitment.
_CAST = sa.text("""
    WITH superseded AS (
        UPDATE vote SET superseded_at = CAST(:now AS timestamptz)
        WHERE ballot_id = CAST(:ballot AS uuid) AND voter_id = CAST(:me AS uuid) AND superseded_at IS NULL
        RETURNING commitment
    ), entered AS (
        INSERT INTO audit.entry (body) SELECT convert_to(coalesce(
            replace(CAST(:body AS text), '"supersedes"\\:null',
                '"supersedes"\\:"' || (SELECT commitment FROM superseded) || '"'),
            CAST(:body AS text)), 'UTF8')
        RETURNING number
    )
    INSERT INTO vote
        (id, ballot_id, voter_id, choice, reason, salt, commitment, receipt_code, cast_at, entry)
    SELECT CAST(:id AS uuid), CAST(:ballot AS uuid), CAST(:me AS uuid), CAST(:choice AS text),
        CAST(:reason AS text), CAST(:salt AS bytea), CAST(:commitment AS text), CAST(:code AS text),
        CAST(:now AS timestamptz), number FROM entered
""")


async def cast(unit: Unit, ref: str, choice: Choice, version_sha256: str, reason: str = "") -> ReceiptView:
    """Cast the actor's vote, or replace the one cast before. Two statements, as this is what everybody does at once.

    `reason` is kept for the voter and never shown. Raises NotFound, Refused or Conflict with the eligibility's code,
    Conflict `stale_version`, Invalid for a choice that is none.
    """
    chosen = _choice(choice)
    if len(reason) > REASON_LIMIT or not storable(reason):
        error = FieldError("/reason", f"At most {REASON_LIMIT} characters of plain text.")
        raise Invalid("The reason cannot be kept.", errors=(error,))
    terms = await _lock_terms(unit, ref)
    _insist_eligible(unit, terms)
    if version_sha256 != terms["version_sha256"]:
        raise Conflict(
            f"This is not the version of {ref} that is voted on. Read the text again before you vote.",
            code="stale_version",
            links={"policy": f"/policies/{ref}"},
        )
    salt, code = secrets.token_bytes(32), new_code()
    commitment = records.commitment(salt, terms["id"], chosen)
    # Nothing in the entry leads to its voter, and before the close nothing to its ballot: else the public log would
    # be a count (§ 5.8).
    entered = {"commitment": commitment, "supersedes": None}
    vote_values = {
        "id": new_id(),
        "ballot": terms["id"],
        "me": unit.actor.id,
        "choice": str(chosen),
        "reason": reason,
        "salt": salt,
        "commitment": commitment,
        "code": code,
        "now": unit.now,
        "body": unit.entry("vote.cast", "ballot", entered, secret=True).decode(),
    }
    await unit.connection.execute(_CAST, vote_values)
    unit.entries += 1
    return ReceiptView(
        code=code,
        ref=ref,
        title=terms["title"],
        version=terms["version"],
        commitment=commitment,
        cast_at=unit.now,
        counting=True,
        ballot_state=BallotState.OPEN,
        closes_at=terms["closes_at"],
        in_root=None,
        mine=True,
        choice=chosen,
        salt=salt.hex(),
    )


def _choice(choice: str) -> Choice:
    try:
        return Choice(choice)
    except ValueError:
        error = FieldError("/choice", "Choose for, against or abstain.")
        raise Invalid("Nothing was chosen.", errors=(error,)) from None


async def _lock_terms(unit: Unit, ref: str) -> sa.RowMapping:
    """The ballot on the standing version, held shared, with `is_elector`: that elector's row is held alone.

    A ballot that closes while this waits for its row comes back closed: PostgreSQL reads a locked row anew.
    """
    row = await unit.row(_TERMS, ref=ref, me=unit.actor.id)
    if row is not None:
        return row
    if await unit.row(sa.select(policy.c.id).where(policy.c.ref == ref)) is None:
        raise NotFound(f"There is no policy {ref}.", code="no_policy")
    raise Conflict(NOT_OPEN.why, code=NOT_OPEN.reason_code)


def _insist_eligible(unit: Unit, terms: sa.RowMapping) -> None:
    may = eligibility(
        unit.actor,
        BallotState(terms["state"]),
        terms["closes_at"],
        unit.now,
        is_elector=terms["is_elector"],
        has_voted=False,
    )
    if not may.can_vote:
        refusal = Conflict if may.reason_code == "ballot_closed" else Refused
        raise refusal(may.why, code=may.reason_code)
