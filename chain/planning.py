"""What to do for an anchor that waits, given what stands on chain. Pure: rows and accounts in, a plan out."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from solders.instruction import Instruction
from solders.pubkey import Pubkey

from chain import quantumagi
from chain.config import ChainConfig
from chain.quantumagi import AUDIT_RULE, ConstitutionAccount, NotQuantumagi, PolicyAccount, TooLarge
from chain.rows import AnyRow, CheckpointRow, ConstitutionRow, PolicyRow
from chain.rpc import Account
from workflows.kinds import AnchorKind
from workflows.policy_creation.records import chain_policy_id


@dataclass(frozen=True)
class Build:
    """`account` is what these instructions write, or what they are checked on."""

    instructions: list[Instruction]
    account: Pubkey
    durable: bool = False


@dataclass(frozen=True)
class Done:
    """It is on chain already: find the transaction that did it."""


@dataclass(frozen=True)
class Wait:
    reason: str


@dataclass(frozen=True)
class Impossible:
    reason: str


Plan = Build | Done | Wait | Impossible


def plan(config: ChainConfig, governed: Collection[str], row: PolicyRow, account: Account | None) -> Plan:
    """What to do for a policy's queued row, given the account at its address.

    `governed` are the hashes of the document in force and of those before it, under which it may have been decided.
    """
    authority = config.authority_address
    if authority is None:
        raise ValueError("nothing is planned without an authority")
    if row.kind == AnchorKind.DEACTIVATION and not row.policy_finalized:
        return Wait("The policy itself is not finalized on chain yet.")
    if row.constitution_sha256 not in governed:
        return Wait(
            f"It was decided under the constitution {row.constitution_sha256}, which is not the one in force, nor "
            "one before it."
        )
    found = _policy_in(row, account)
    if isinstance(found, Impossible):
        return found
    if _is_done(row, found):
        return Done()
    address = quantumagi.policy_address(config.program_id, row.chain_policy_id)
    try:
        if row.kind == AnchorKind.DEACTIVATION:
            instructions = quantumagi.deactivation_instructions(
                config.program_id, authority, address, row.memo
            )
        else:
            instructions = quantumagi.policy_anchor_instructions(
                config.program_id,
                authority,
                row.record,
                row.category,
                row.priority,
                row.memo,
                proposed=found is not None,
            )
        return Build(instructions, address)
    except TooLarge as error:
        return Impossible(str(error))


def _policy_in(row: PolicyRow, account: Account | None) -> PolicyAccount | Impossible | None:
    """The policy at the row's address; None while there is none, even if somebody sent lamports there."""
    if account is None or not account.data:
        return None
    try:
        found = quantumagi.policy_account(account.data)
    except NotQuantumagi:
        return Impossible("The account at the policy's address holds no policy.")
    if row.kind == AnchorKind.DEACTIVATION:
        return found
    if found.rule.encode() != row.record:
        return Impossible("The policy's address on chain is taken by another record.")
    wanted = quantumagi.CATEGORIES[row.category], quantumagi.PRIORITIES[row.priority]
    if (found.category, found.priority) != wanted:
        # Anyone may propose our record before us; enacting it with a wrong category would misapply it.
        return Impossible(
            f"Somebody else proposed this record as {found.category}, {found.priority}; "
            f"it is {wanted[0]}, {wanted[1]}."
        )
    return found


def plan_amendment(config: ChainConfig, row: ConstitutionRow, account: Account | None) -> Plan:
    """What to do for an amended constitution's queued row, given the constitution account."""
    authority = config.authority_address
    if authority is None:
        raise ValueError("nothing is planned without an authority")
    found = _constitution_in(config, account)
    if found is None:
        return Wait("The constitution account is not on this cluster.")
    if _is_amended(row, found):
        return Done()
    if found.hash.hex() != row.previous_sha256:
        return Wait(
            f"The constitution account holds {found.hash.hex()}, which is neither this document's hash nor that of the "
            f"one it took the place of, {row.previous_sha256}."
        )
    instructions = quantumagi.amendment_instructions(config.program_id, authority, row.sha256, row.memo)
    return Build(instructions, quantumagi.constitution_address(config.program_id))


def _constitution_in(config: ChainConfig, account: Account | None) -> ConstitutionAccount | None:
    if account is None or account.owner != config.program_id:
        return None
    try:
        return quantumagi.constitution_account(account.data)
    except NotQuantumagi:
        return None


def _is_amended(row: ConstitutionRow, found: ConstitutionAccount) -> bool:
    """The account holds the document's hash, or has gone on to a later one."""
    held = found.hash.hex()
    return held == row.sha256 or (held in row.later and held != row.previous_sha256)


def is_done(config: ChainConfig, row: AnyRow, account: Account | None) -> bool:
    """Whether the account says that what the row is for has been done."""
    if isinstance(row, ConstitutionRow):
        amended = _constitution_in(config, account)
        return amended is not None and _is_amended(row, amended)
    if isinstance(row, CheckpointRow):
        found = _record_in(account)
        wanted = row.record if row.durable else AUDIT_RULE
        return found is not None and found.rule.encode() == wanted
    return _is_done(row, _policy_in(row, account))


def _is_done(row: PolicyRow, found: PolicyAccount | Impossible | None) -> bool:
    if not isinstance(found, PolicyAccount):
        return False
    if row.kind == AnchorKind.DEACTIVATION:
        return found.deactivated_at is not None and not found.is_active
    return found.enacted_at is not None


def _record_in(account: Account | None) -> PolicyAccount | None:
    if account is None or not account.data:
        return None
    try:
        return quantumagi.policy_account(account.data)
    except NotQuantumagi:
        return None


def plan_checkpoint(
    config: ChainConfig, row: CheckpointRow, audit: Account | None, lasting: Account | None
) -> Build | Wait:
    """What to do for a checkpoint's queued row, given the audit record and what stands at the durable record's address."""
    authority = config.authority_address
    if authority is None:
        raise ValueError("nothing is planned without an authority")
    record = _record_in(audit)
    if audit is not None and audit.data and (record is None or record.rule.encode() != AUDIT_RULE):
        # Anyone may write any rule to any address first. Only another address would help, and verifiers look at this one.
        return Wait(f"The address of the record {AUDIT_RULE.decode()!r} on chain is taken by another record.")
    if record is not None and record.deactivated_at is not None:
        return Wait(f"The record {AUDIT_RULE.decode()!r} was deactivated on chain.")
    # Who proposed it, and in which category, does not matter: each lets the action pass, and only we can enact it.
    # Where the durable record's address holds our record already, nothing is left to write; where it holds another, the
    # next checkpoint becomes durable.
    free = lasting is None or not lasting.data
    try:
        instructions, durable = quantumagi.checkpoint_anchor_instructions(
            config.program_id,
            authority,
            row.record.decode(),
            row.memo,
            proposed=record is not None,
            enacted=record is not None and record.is_active,
            durable=row.durable and free,
        )
    except TooLarge as error:
        return Wait(str(error))
    durable = durable or (row.durable and not free and is_done(config, row, lasting))
    policy_id = chain_policy_id(row.record) if durable else row.chain_policy_id
    return Build(instructions, quantumagi.policy_address(config.program_id, policy_id), durable)
