"""What the portal claims of a policy, from its tables, and what the chain says of it, read anew.

Two sets of facts gathered apart from each other, for `verify.check` to hold together.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import sqlalchemy as sa
from solana.rpc.commitment import Finalized
from solders.pubkey import Pubkey
from sqlalchemy.ext.asyncio import AsyncConnection

from chain import explorer, quantumagi, rpc
from chain.config import ChainConfig
from chain.rpc import Account, Landed
from workflows.constitution.amendments import body_of, document
from workflows.constitution.document import Constitution
from workflows.errors import NotFound
from workflows.kinds import (
    AnchorKind,
    AnchorState,
    BallotState,
    Category,
    Choice,
    Decision,
    PolicyState,
    Priority,
    Strategy,
)
from workflows.policy_creation.views import AmendedDocument
from workflows.storage.tables import (
    amendment,
    anchor,
    audit_entry,
    ballot,
    elector,
    policy,
    policy_version,
    review,
    vote,
)


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """Base only for the shared struct options."""


class VersionClaim(Facts):
    number: int
    title: str
    summary: str
    category: Category
    text: str
    text_sha256: str
    version_sha256: str
    rule: dict[str, Any] | None  # {engine, source, examples}, as it is hashed
    strategy: Strategy
    constitution: AmendedDocument | None = None  # of an amendment


class ReviewClaim(Facts):
    reviewer_id: UUID
    capacity: tuple[str, ...]
    decision: Decision
    version_sha256: str


class OpeningClaim(Facts):
    """A counting vote without its voter."""

    choice: Choice
    salt: str  # hex
    commitment: str


class BallotClaim(Facts):
    id: UUID
    version_sha256: str
    state: BallotState
    electorate: int
    electors: int  # how many are on the roll
    quorum_percent: int
    threshold_percent: int
    counts: tuple[int, int, int] | None  # for, against, abstain; None while it is open
    passed: bool | None
    root: str | None
    openings: tuple[OpeningClaim, ...]  # none while it is open


class AnchorClaim(Facts):
    kind: AnchorKind
    state: AnchorState
    record: bytes
    record_sha256: str
    chain_policy_id: int
    memo: str
    constitution_sha256: str
    cluster: str | None
    genesis_hash: str | None
    program_id: str | None
    account: str | None
    signature: str | None
    transaction: bytes | None
    slot: int | None
    error: str | None


class AmendmentClaim(Facts):
    """A document that was adopted by a vote, with its anchor."""

    number: int
    sha256: str
    previous_sha256: str
    ref: str
    anchor: AnchorClaim


class Claims(Facts):
    """Everything stored that a stranger would want to see proven."""

    ref: str
    state: PolicyState
    priority: Priority
    emergency: bool
    author_id: UUID
    state_reason: str | None
    version: VersionClaim
    reviews: tuple[ReviewClaim, ...]  # on this version
    ballot: BallotClaim | None
    anchor: AnchorClaim | None
    deactivation: AnchorClaim | None
    amendments: tuple[AmendmentClaim, ...] = ()  # all, oldest first
    opened_under: bytes | None = None  # the constitution in force when the ballot opened, where it is kept

    @property
    def decided_under(self) -> str | None:
        """The SHA-256 of the constitution in force when it was enacted."""
        return self.anchor.constitution_sha256 if self.anchor else None


class Reading(Facts):
    """The chain at commitment finalized. `problem` says why it could not be read; then nothing else counts."""

    read_at: datetime
    cluster: str
    rpc_url: str
    program_id: Pubkey
    problem: str | None = None
    genesis_hash: str | None = None
    constitution: Account | None = None
    policy: Account | None = None
    audit: Account | None = None  # the record on which checkpoints of the audit log are checked
    transactions: dict[str, Landed] = {}
    explorer: dict[str, str] = {}  # address or signature → where a Solana explorer shows it


# The claims


async def claims(conn: AsyncConnection, ref: str) -> Claims:
    """All stored facts about the version that was enacted, or else the standing one. Raises NotFound.

    Openings are among them only once the ballot is closed: before that, nobody learns how anyone voted.
    """
    found = await _one(conn, sa.select(policy).where(policy.c.ref == ref))
    if found is None:
        raise NotFound(f"There is no policy {ref}.", code="no_policy")
    anchors = await _anchors(conn, found["id"])
    number = anchors[AnchorKind.POLICY][0] if AnchorKind.POLICY in anchors else found["current_version"]
    of_version = {"policy_id": found["id"], "version": number}
    return Claims(
        ref=ref,
        state=PolicyState(found["state"]),
        priority=Priority(found["priority"]),
        emergency=found["emergency"],
        author_id=found["author_id"],
        state_reason=found["state_reason"],
        version=await _version(conn, found["id"], number),
        reviews=await _reviews(conn, of_version),
        ballot=await _ballot(conn, of_version),
        anchor=anchors.get(AnchorKind.POLICY, (0, None))[1],
        deactivation=anchors.get(AnchorKind.DEACTIVATION, (0, None))[1],
        amendments=await amendments_of(conn),
        opened_under=await _opened_under(conn, ref, number),
    )


async def _one(conn: AsyncConnection, statement: sa.Select) -> sa.RowMapping | None:
    return (await conn.execute(statement)).mappings().one_or_none()


async def _all(conn: AsyncConnection, statement: sa.Select) -> list[sa.RowMapping]:
    return list((await conn.execute(statement)).mappings())


async def _version(conn: AsyncConnection, policy_id: UUID, number: int) -> VersionClaim:
    where = (policy_version.c.policy_id == policy_id) & (policy_version.c.number == number)
    row = await _one(conn, sa.select(policy_version).where(where))
    if row is None:
        raise NotFound(f"Version {number} of this policy is not there.", code="no_version")
    rule = None
    if row["rule_engine"]:
        rule = {
            "engine": row["rule_engine"],
            "source": row["rule_source"],
            "examples": row["rule_examples"] or [],
        }
    return VersionClaim(
        number=row["number"],
        title=row["title"],
        summary=row["summary"],
        category=Category(row["category"]),
        text=row["text"],
        text_sha256=row["text_sha256"],
        version_sha256=row["version_sha256"],
        rule=rule,
        strategy=Strategy(row["strategy"]),
        constitution=AmendedDocument(
            text=row["constitution_text"],
            sha256=row["constitution_sha256"],
            base_sha256=row["constitution_base_sha256"],
        )
        if row["constitution_text"] is not None
        else None,
    )


async def _reviews(conn: AsyncConnection, of_version: dict[str, Any]) -> tuple[ReviewClaim, ...]:
    statement = sa.select(review).filter_by(**of_version).order_by(review.c.created_at, review.c.id)
    return tuple(
        ReviewClaim(
            reviewer_id=row["reviewer_id"],
            capacity=tuple(row["capacity"]),
            decision=Decision(row["decision"]),
            version_sha256=row["version_sha256"],
        )
        for row in await _all(conn, statement)
    )


async def _ballot(conn: AsyncConnection, of_version: dict[str, Any]) -> BallotClaim | None:
    row = await _one(conn, sa.select(ballot).filter_by(**of_version))
    if row is None:
        return None
    closed = row["state"] == BallotState.CLOSED
    roll = sa.select(sa.func.count()).select_from(elector).where(elector.c.ballot_id == row["id"])
    counting = (
        sa.select(vote.c.choice, vote.c.salt, vote.c.commitment)
        .where(vote.c.ballot_id == row["id"], vote.c.superseded_at.is_(None))
        .order_by(vote.c.commitment)
    )
    return BallotClaim(
        id=row["id"],
        version_sha256=row["version_sha256"],
        state=BallotState(row["state"]),
        electorate=row["electorate"],
        electors=(await conn.execute(roll)).scalar_one(),
        quorum_percent=row["quorum_percent"],
        threshold_percent=row["threshold_percent"],
        counts=(row["votes_for"], row["votes_against"], row["votes_abstain"]) if closed else None,
        passed=row["passed"],
        root=row["ballot_root"],
        openings=tuple(
            OpeningClaim(
                choice=Choice(item["choice"]), salt=item["salt"].hex(), commitment=item["commitment"]
            )
            for item in (await _all(conn, counting) if closed else [])
        ),
    )


async def _opened_under(conn: AsyncConnection, ref: str, version: int) -> bytes | None:
    """The document in force when the ballot on that version opened, as its entry names it; None where none is kept."""
    statement = (
        sa.select(audit_entry.c.body)
        .where(audit_entry.c.subject == ref, audit_entry.c.type == "ballot.opened")
        .order_by(audit_entry.c.number)
    )
    for body in (await conn.execute(statement)).scalars():
        entry = json.loads(bytes(body))
        if entry["payload"].get("version") == version:
            return await body_of(conn, entry["constitution_sha256"])
    return None


async def amendments_of(conn: AsyncConnection) -> tuple[AmendmentClaim, ...]:
    statement = (
        sa.select(
            anchor,
            amendment.c.number,
            amendment.c.sha256,
            amendment.c.previous_sha256,
            policy.c.ref,
        )
        .join(
            anchor, (anchor.c.policy_id == amendment.c.policy_id) & (anchor.c.version == amendment.c.version)
        )
        .join(policy, policy.c.id == amendment.c.policy_id)
        .where(anchor.c.kind == AnchorKind.CONSTITUTION)
        .order_by(amendment.c.number)
    )
    return tuple(
        AmendmentClaim(
            number=row["number"],
            sha256=row["sha256"],
            previous_sha256=row["previous_sha256"],
            ref=row["ref"],
            anchor=_anchor_claim(row),
        )
        for row in await _all(conn, statement)
    )


async def decided_under(conn: AsyncConnection, current: Constitution, sha256: str | None) -> Constitution:
    """The document of that hash, which was in force when something was decided; or else the one in force now."""
    return (await document(conn, current, sha256) if sha256 else None) or current


def _anchor_claim(row: sa.RowMapping) -> AnchorClaim:
    fields = {key: row[key] for key in AnchorClaim.__struct_fields__}
    fields["kind"], fields["state"] = AnchorKind(fields["kind"]), AnchorState(fields["state"])
    fields["chain_policy_id"] = int(fields["chain_policy_id"])
    return AnchorClaim(**fields)


async def _anchors(conn: AsyncConnection, policy_id: UUID) -> dict[str, tuple[int, AnchorClaim]]:
    """By kind, with the version each is about."""
    rows = await _all(conn, sa.select(anchor).where(anchor.c.policy_id == policy_id))
    return {AnchorKind(row["kind"]): (row["version"], _anchor_claim(row)) for row in rows}


# The chain


async def read(config: ChainConfig, claimed: Claims) -> Reading:
    """Read from the chain, anew, what the claims point at. Raises nothing: `problem` says what went wrong."""
    return await gather(config, _address(claimed), _signatures(claimed))


async def gather(config: ChainConfig, policy: Pubkey | None, signatures: list[str]) -> Reading:
    """The constitution, the audit record, a policy's account and transactions. Raises nothing, as `read`."""
    addresses = [quantumagi.constitution_address(config.program_id), config.program_id]
    addresses += [policy] if policy is not None else []
    links = {str(address): explorer.address_url(config, address) for address in addresses}
    links |= {signature: explorer.transaction_url(config, signature) for signature in signatures}
    reading = Reading(
        read_at=datetime.now(UTC),
        cluster=config.cluster,
        rpc_url=config.public_rpc_url,
        program_id=config.program_id,
        explorer={key: link for key, link in links.items() if link is not None},
    )
    try:
        async with rpc.connect(config) as node:
            return await _read(node, config, policy, signatures, reading)
    except (rpc.Unreachable, rpc.NodeRefused) as error:
        return msgspec.structs.replace(reading, problem=str(error))


async def _read(
    node: rpc.Node, config: ChainConfig, policy: Pubkey | None, signatures: list[str], reading: Reading
) -> Reading:
    genesis_hash = await node.genesis_hash()
    addresses = [
        quantumagi.constitution_address(config.program_id),
        quantumagi.audit_address(config.program_id),
    ]
    addresses += [policy] if policy is not None else []
    constitution, audit, *account = await node.accounts(addresses, Finalized)
    transactions = {}
    for signature in signatures:
        landed = await node.transaction(signature, Finalized)
        if landed is not None:
            transactions[signature] = landed
    return msgspec.structs.replace(
        reading,
        genesis_hash=genesis_hash,
        constitution=constitution,
        audit=audit,
        policy=account[0] if account else None,
        transactions=transactions,
    )


def _address(claimed: Claims) -> Pubkey | None:
    """The account the portal points at, if that is an address at all."""
    try:
        return (
            Pubkey.from_string(claimed.anchor.account) if claimed.anchor and claimed.anchor.account else None
        )
    except ValueError:
        return None


def _signatures(claimed: Claims) -> list[str]:
    anchors = (claimed.anchor, claimed.deactivation, *(item.anchor for item in claimed.amendments))
    return [item.signature for item in anchors if item is not None and rpc.is_signature(item.signature)]
