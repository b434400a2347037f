"""Amendments (Constitution § 10): what a document must be to be voted on, how it comes into force, and which one is.

A constitutional policy may carry the whole amended document. When it passes, that document is in force from the close,
in the same transaction; its hash is queued for Solana. Every transaction is told the document in force when it begins,
and none other comes into force until it ends (`governance_ground`): what was decided under a document was decided while
it was in force, and stands before its successor in the log.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.constitution.clauses import clauses
from workflows.constitution.document import Constitution, of_bytes
from workflows.constitution.figures import AnnexError, Figures, read_figures
from workflows.constitution.principles import PrinciplesError, read_principles
from workflows.constitution.wording import laxer
from workflows.errors import Conflict
from workflows.kinds import AnchorKind, AnchorState
from workflows.policy_creation import records
from workflows.storage.tables import amendment, anchor, constitution_document, policy, policy_version
from workflows.storage.unit import Unit, new_id

TOPIC = "constitution"
MOST = 100_000  # characters
GROUND = 0x414347534C4157  # held shared by every unit (migrations 0008), alone by whoever adopts
PATIENCE, LOCK_NOT_AVAILABLE = "3s", "55P03"
_ADOPTING = 0x41434753_41444F50  # one adopter at a time, so that two never wait for each other


class Adopted(msgspec.Struct, frozen=True):
    """A document that came into force by a vote, and what it took the place of."""

    number: int
    sha256: str
    previous_sha256: str
    ref: str
    version: int
    title: str
    adopted_at: datetime


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """A document of the history: the one founded on has number 0, and no policy. `state` is its anchor's."""

    number: int
    sha256: str
    in_force: bool
    ref: str | None = None
    version: int | None = None
    title: str | None = None
    adopted_at: datetime | None = None
    state: AnchorState | None = None
    signature: str | None = None
    slot: int | None = None
    finalized_at: datetime | None = None


# What a document must be


def normalised(text: str) -> str:
    """The document as it is kept and hashed: line ends LF, and one at the end, however it was sent."""
    return text.replace("\r\n", "\n").replace("\r", "\n").strip("\n").rstrip() + "\n"


def sha256_of(text: str) -> str:
    return records.text_sha256(text)


def faults(text: str) -> list[str]:
    """Why nobody could be governed by this document, in sentences; none where one could. Pure."""
    found = []
    numbers = {clause.number for clause in clauses(text)}
    try:
        figures = read_figures(text)
    except AnnexError as error:
        found.append(f"The annex of figures: {error}")
    else:
        found += [
            f"The annex of figures: {item.told}. A figure may not be laxer than its clause."
            for item in laxer(text, figures)
        ]
        found += [
            f"The annex of figures names § {article}, and there is no such clause."
            for article in sorted(_articles(figures) - numbers)
        ]
    try:
        principles = read_principles(text)
    except PrinciplesError as error:
        return [*found, str(error)]
    if not principles:
        found.append("The annex of principles is missing or empty, so that no text could be held against it.")
    for principle in principles:
        found += [
            f"The principle {principle.key} names § {article}, and there is no such clause."
            for article in principle.articles
            if article not in numbers
        ]
    return found


def _articles(figures: Figures) -> set[str]:
    singles = [getattr(figures, name) for name in Figures.__struct_fields__ if name != "tiers"]
    named = {item.article for item in (*singles, *figures.tiers.values())}
    return named - {"programme"}


def effects(base: str, new: str) -> list[str]:
    """What an amendment changes of what software reads: figures, tiers and principles, in sentences. Pure."""
    try:
        before, after = read_figures(base), read_figures(new)
        was, now = read_principles(base), read_principles(new)
    except (AnnexError, PrinciplesError):
        return []
    said = []
    for name in Figures.__struct_fields__:
        if name == "tiers":
            continue
        old, change = getattr(before, name).value, getattr(after, name).value
        if old != change:
            said.append(f"{name.replace('_', ' ').capitalize()}: from {old} to {change}.")
    for key, tier in before.tiers.items():
        for name in ("approvals", "legal", "council", "comment_days", "threshold_percent"):
            old, change = getattr(tier, name), getattr(after.tiers[key], name)
            if old != change:
                said.append(f"{name.replace('_', ' ').capitalize()} under {key}: from {old} to {change}.")
    old_keys, new_keys = {item.key: item for item in was}, {item.key: item for item in now}
    said += [f"The principle {key} is removed." for key in old_keys if key not in new_keys]
    said += [f"The principle {key} is new." for key in new_keys if key not in old_keys]
    said += [
        f"The principle {key} weighs {new_keys[key].weight} instead of {item.weight}."
        for key, item in old_keys.items()
        if key in new_keys and new_keys[key].weight != item.weight
    ]
    return said


def insist_current(unit: Unit, base_sha256: str) -> None:
    """Raises Conflict where the document in force is no longer the one that an amendment was written against."""
    if base_sha256 != unit.constitution_sha256:
        raise Conflict(
            outdated(base_sha256), code="constitution_changed", links={"constitution": "/constitution"}
        )


def outdated(base_sha256: str) -> str:
    return (
        f"The constitution was amended meanwhile: the document that this amendment was written against "
        f"({base_sha256[:16]}…) is no longer in force. Open the document in force, write the change into that one, "
        "and hand it in as a new version."
    )


# Which document is in force


async def adopted(connection: AsyncConnection) -> list[Adopted]:
    """All that were adopted, oldest first."""
    statement = (
        sa.select(
            *(amendment.c[name] for name in ("number", "sha256", "previous_sha256", "version", "adopted_at")),
            policy.c.ref,
            policy_version.c.title,
        )
        .join(policy, policy.c.id == amendment.c.policy_id)
        .join(
            policy_version,
            (policy_version.c.policy_id == amendment.c.policy_id)
            & (policy_version.c.number == amendment.c.version),
        )
        .order_by(amendment.c.number)
    )
    rows = (await connection.execute(statement)).mappings()
    return [Adopted(**{name: row[name] for name in Adopted.__struct_fields__}) for row in rows]


async def history(connection: AsyncConnection, current: Constitution) -> list[Document]:
    """Every document there was, the one in force first."""
    steps = await adopted(connection)
    if not steps:
        return [Document(number=0, sha256=current.sha256, in_force=True)]
    anchors = sa.select(
        amendment.c.number, anchor.c.state, anchor.c.signature, anchor.c.slot, anchor.c.finalized_at
    ).join(anchor, (anchor.c.policy_id == amendment.c.policy_id) & (anchor.c.version == amendment.c.version))
    of_amendments = anchors.where(anchor.c.kind == AnchorKind.CONSTITUTION)
    stands = {row["number"]: dict(row) for row in (await connection.execute(of_amendments)).mappings()}
    found = [Document(number=0, sha256=steps[0].previous_sha256, in_force=False)]
    for step in steps:
        own = {
            name: getattr(step, name)
            for name in ("number", "sha256", "ref", "version", "title", "adopted_at")
        }
        where = {key: value for key, value in stands.get(step.number, {}).items() if key != "number"}
        found.append(Document(**own, **where, in_force=step is steps[-1]))
    return found[::-1]


async def body_of(connection: AsyncConnection, sha256: str) -> bytes | None:
    """A document that was in force, by its hash."""
    statement = sa.select(constitution_document.c.body).where(constitution_document.c.sha256 == sha256)
    body = (await connection.execute(statement)).scalar_one_or_none()
    return bytes(body) if body is not None else None


async def document(connection: AsyncConnection, current: Constitution, sha256: str) -> Constitution | None:
    """The constitution of that hash: the current one, or one that was in force before; None where none was."""
    if sha256 == current.sha256:
        return current
    body = await body_of(connection, sha256)
    return of_bytes(body, f"constitution-{sha256[:16]}.md") if body is not None else None


async def in_force(connection: AsyncConnection, configured: Constitution) -> Constitution:
    """The document last adopted, or, while none was, the configured one; its `problem` says why nothing may be anchored."""
    steps = await adopted(connection)
    if not steps:
        return configured
    last = steps[-1]
    body = await body_of(connection, last.sha256)
    found = of_bytes(body or b"", f"constitution-{last.sha256[:16]}.md")
    return msgspec.structs.replace(
        found, expected=configured.expected, problem=chain_problem(configured, steps, found.sha256)
    )


def chain_problem(configured: Constitution, steps: Sequence[Adopted], found_sha256: str) -> str | None:
    """Why the adopted documents do not lead from the configured one to the last; None where they do. Pure."""
    for before, after in itertools.pairwise(steps):
        if after.previous_sha256 != before.sha256:
            return f"Amendment {after.number} does not follow from amendment {before.number}."
    if found_sha256 != steps[-1].sha256:
        return f"The document adopted with {steps[-1].ref} is kept with other bytes: they hash to {found_sha256}."
    known = [steps[0].previous_sha256, *(step.sha256 for step in steps)]
    if configured.sha256 not in known:
        return (
            f"CONSTITUTION_FILE hashes to {configured.sha256}, which is neither the document that was founded on nor "
            "one that was adopted since. The document last adopted governs."
        )
    wanted = (configured.expected or "").strip().lower()
    if wanted and len(wanted) in (16, 64) and any(sha256.startswith(wanted) for sha256 in known):
        return None
    return configured.problem


# Coming into force


async def keep(unit: Unit) -> None:
    """Keep the bytes of the document in force, which an amendment is to be held against."""
    if unit.constitution is None:
        raise RuntimeError("this unit was opened without the document in force")
    await _store(unit, unit.constitution.sha256, unit.constitution.body, unit.constitution.source)


async def _store(unit: Unit, sha256: str, body: bytes, source: str) -> None:
    kept = insert(constitution_document).values(
        sha256=sha256, body=body, source=source, first_seen_at=unit.now
    )
    await unit.connection.execute(kept.on_conflict_do_nothing())


async def hold_alone(unit: Unit) -> bool:
    """Wait until no other unit is open, and let none begin until this one ends. False: somebody else is at it, or one of
    the others lasts long; then it is for the next time, as all that begin meanwhile wait too.

    To be taken before any row is locked, so that nobody this waits for waits for this one.
    """
    free = sa.select(sa.func.pg_try_advisory_xact_lock(_ADOPTING))
    if not (await unit.connection.execute(free)).scalar_one():
        return False
    patience = (await unit.connection.execute(sa.text("SELECT current_setting('lock_timeout')"))).scalar_one()
    try:
        async with unit.connection.begin_nested():
            await unit.connection.execute(sa.text(f"SET LOCAL lock_timeout = '{PATIENCE}'"))
            await unit.connection.execute(sa.select(sa.func.pg_advisory_xact_lock(GROUND)))
            await unit.connection.execute(sa.select(sa.func.set_config("lock_timeout", patience, True)))
    except sa.exc.DBAPIError as error:
        if getattr(error.orig, "sqlstate", "") != LOCK_NOT_AVAILABLE:
            raise
        return False
    return True


async def adopt(unit: Unit, row: dict[str, Any]) -> None:
    """Put the amended document of a locked policy that was just enacted in force, and queue its hash for the chain.

    What is done later in this very transaction is done under the new document.
    """
    version = policy_version.c
    carried = await unit.row(
        sa.select(
            version.constitution_text, version.constitution_sha256, version.constitution_base_sha256
        ).where(version.policy_id == row["id"], version.number == row["current_version"])
    )
    assert carried is not None and carried["constitution_text"] is not None
    previous, sha256 = carried["constitution_base_sha256"], carried["constitution_sha256"]
    insist_current(unit, previous)
    body = carried["constitution_text"].encode()
    new = of_bytes(body, f"constitution-{sha256[:16]}.md")
    if new.sha256 != sha256 or faults(carried["constitution_text"]):
        raise ValueError(
            f"the document of {row['ref']} is not the one that was handed in, or cannot be governed by"
        )
    await keep(unit)
    await _store(unit, sha256, body, new.source)
    last = sa.select(sa.func.coalesce(sa.func.max(amendment.c.number), 0))
    number = (await unit.connection.execute(last)).scalar_one() + 1
    names = {"sha256": sha256, "previous_sha256": previous}
    await unit.connection.execute(
        amendment.insert().values(
            number=number,
            policy_id=row["id"],
            version=row["current_version"],
            adopted_at=unit.now,
            **names,
        )
    )
    anchor_id = await _queue(unit, row, number, sha256, previous)
    await unit.record(
        "constitution.adopted",
        row["ref"],
        version=row["current_version"],
        number=number,
        anchor=str(anchor_id),
        **names,
    )
    unit.publish(TOPIC, "adopted", number=number, **names)
    unit.constitution, unit.constitution_sha256 = new, sha256


async def _queue(unit: Unit, row: dict[str, Any], number: int, sha256: str, previous_sha256: str) -> UUID:
    about = {
        "ref": row["ref"],
        "version": row["current_version"],
        "sha256": sha256,
        "previous_sha256": previous_sha256,
    }
    record = records.constitution_record(number=number, **about)
    anchor_id = new_id()
    await unit.connection.execute(
        anchor.insert().values(
            id=anchor_id,
            kind=AnchorKind.CONSTITUTION,
            state=AnchorState.QUEUED,
            policy_id=row["id"],
            version=row["current_version"],
            record=record,
            record_sha256=records.sha256_hex(record),
            chain_policy_id=records.chain_policy_id(record),
            memo=records.constitution_memo(**about),
            constitution_sha256=unit.constitution_sha256,
            queued_at=unit.now,
        )
    )
    await unit.enqueue("anchoring", {})
    unit.publish(f"anchor:{anchor_id}", AnchorState.QUEUED, ref=row["ref"])
    return anchor_id
