"""The Quantumagi program as our IDL describes it: addresses, instructions, accounts and errors, through anchorpy."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from anchorpy import Context, Idl, Program, Provider
from anchorpy.error import LangErrorMessage
from construct import ConstructError
from solders.hash import Hash
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.message import Message
from solders.pubkey import Pubkey
from solders.system_program import ID as SYSTEM_PROGRAM
from solders.transaction import Transaction
from solders.transaction_status import (
    InstructionErrorCustom,
    TransactionErrorInstructionError,
    TransactionErrorType,
)

from workflows.kinds import Category, Priority
from workflows.policy_creation.records import chain_policy_id

IDL_FILE = Path(__file__).parent / "idl" / "quantumagi_core.json"
IDL = Idl.from_json(IDL_FILE.read_text("utf-8"))
MEMO_PROGRAM = Pubkey.from_string("MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr")
MAX_RULE = 1000  # bytes, by the program
MAX_TRANSACTION = 1232  # bytes, by Solana's packet size
POLICY_SIZE = 122  # bytes of a Policy account, to which its rule's length is added
SIGNATURE_FEE = 5000  # lamports
AUDIT_RULE = b"ALLOW audit-checkpoint"  # the record on which every checkpoint of the audit log is checked
AUDIT_POLICY_ID = chain_policy_id(AUDIT_RULE)

CATEGORIES = {
    Category.CONSTITUTIONAL: "PromptConstitution",
    Category.SAFETY: "Safety",
    Category.GOVERNANCE: "Governance",
    Category.FINANCIAL: "Financial",
}
PRIORITIES = {
    Priority.LOW: "Low",
    Priority.NORMAL: "Medium",
    Priority.HIGH: "High",
    Priority.CRITICAL: "Critical",
}


class TooLarge(ValueError):
    """A record that the program, or a transaction that Solana, would refuse for its size."""


class NotQuantumagi(ValueError):
    """These bytes are no account of the program."""


@dataclass(frozen=True)
class ConstitutionAccount:
    authority: Pubkey
    hash: bytes
    version: int
    is_active: bool
    created_at: int  # Unix seconds, as all times on chain
    updated_at: int | None


@dataclass(frozen=True)
class PolicyAccount:
    id: int
    rule: str
    category: str  # a variant of PolicyCategory
    priority: str  # a variant of PolicyPriority
    is_active: bool
    proposed_at: int
    proposed_by: Pubkey
    enacted_at: int | None
    enacted_by: Pubkey | None
    deactivated_at: int | None
    votes_for: int
    votes_against: int


@dataclass(frozen=True)
class Failure:
    """Why a transaction failed. `code` is the program's error number, if it was one."""

    name: str
    message: str
    code: int | None = None

    def __str__(self) -> str:
        number = f" ({self.code})" if self.code is not None else ""
        return f"{self.name}{number}: {self.message}"


@lru_cache
def client(program_id: Pubkey) -> Program:
    """anchorpy's client of the program at that address; its provider is never asked anything."""
    return Program(IDL, program_id, Provider.readonly())


# Addresses


def constitution_address(program_id: Pubkey) -> Pubkey:
    return Pubkey.find_program_address([b"constitution"], program_id)[0]


def policy_address(program_id: Pubkey, policy_id: int) -> Pubkey:
    return Pubkey.find_program_address([b"policy", policy_id.to_bytes(8, "little")], program_id)[0]


def audit_address(program_id: Pubkey) -> Pubkey:
    """Where `ALLOW audit-checkpoint` stands."""
    return policy_address(program_id, AUDIT_POLICY_ID)


# Instructions


def initialize(program_id: Pubkey, authority: Pubkey, constitution_sha256: str) -> Instruction:
    """Found the constitution account with a full 32-byte hash, given as 64 hex digits."""
    accounts = {
        "constitution": constitution_address(program_id),
        "authority": authority,
        "system_program": SYSTEM_PROGRAM,
    }
    digest = bytes.fromhex(constitution_sha256)
    if len(digest) != 32:
        raise ValueError("the constitution's hash has 32 bytes")
    return client(program_id).instruction["initialize"](list(digest), ctx=Context(accounts=accounts))


def update_constitution(program_id: Pubkey, authority: Pubkey, new_sha256: str) -> Instruction:
    """Put another hash, given as 64 hex digits, into the constitution account."""
    accounts = {"constitution": constitution_address(program_id), "authority": authority}
    digest = bytes.fromhex(new_sha256)
    if len(digest) != 32:
        raise ValueError("the constitution's hash has 32 bytes")
    return client(program_id).instruction["update_constitution"](list(digest), ctx=Context(accounts=accounts))


def propose_policy(
    program_id: Pubkey, authority: Pubkey, record: bytes, category: Category, priority: Priority
) -> Instruction:
    """Propose `record` as a policy's rule, under the id that follows from its content. Raises TooLarge."""
    if len(record) > MAX_RULE:
        raise TooLarge(f"The record has {len(record)} bytes; the program takes at most {MAX_RULE}.")
    types = client(program_id).type
    policy_id = chain_policy_id(record)
    accounts = {
        "policy": policy_address(program_id, policy_id),
        "authority": authority,
        "system_program": SYSTEM_PROGRAM,
    }
    return client(program_id).instruction["propose_policy"](
        policy_id,
        record.decode(),
        getattr(types["PolicyCategory"], CATEGORIES[category])(),
        getattr(types["PolicyPriority"], PRIORITIES[priority])(),
        ctx=Context(accounts=accounts),
    )


def _by_authority(program_id: Pubkey, authority: Pubkey, instruction: str, policy: Pubkey) -> Instruction:
    accounts = {
        "policy": policy,
        "constitution": constitution_address(program_id),
        "authority": authority,
    }
    return client(program_id).instruction[instruction](ctx=Context(accounts=accounts))


def enact_policy(program_id: Pubkey, authority: Pubkey, policy: Pubkey) -> Instruction:
    return _by_authority(program_id, authority, "enact_policy", policy)


def deactivate_policy(program_id: Pubkey, authority: Pubkey, policy: Pubkey) -> Instruction:
    return _by_authority(program_id, authority, "deactivate_policy", policy)


def check_compliance(program_id: Pubkey, caller: Pubkey, policy: Pubkey, action: str) -> Instruction:
    """Have the program check an action, without funds or approvals, on an enacted policy. It fails where it must not be."""
    # A mapping: anchorpy copies its own class for this field by field, and an address cannot be copied.
    context = {
        "requires_governance": False,
        "has_governance_approval": False,
        "involves_funds": False,
        "amount": 0,
        "authorized_limit": 0,
        "caller": caller,
    }
    return client(program_id).instruction["check_compliance"](
        action, context, ctx=Context(accounts={"policy": policy})
    )


def memo(text: str, signer: Pubkey) -> Instruction:
    """Plain text beside the instructions, which every Solana explorer shows."""
    return Instruction(MEMO_PROGRAM, text.encode(), [AccountMeta(signer, is_signer=True, is_writable=False)])


def policy_anchor_instructions(
    program_id: Pubkey,
    authority: Pubkey,
    record: bytes,
    category: Category,
    priority: Priority,
    memo_text: str,
    *,
    proposed: bool = False,
) -> list[Instruction]:
    """Propose (unless it already is), enact and say so in a memo. Raises TooLarge when it cannot fit."""
    policy = policy_address(program_id, chain_policy_id(record))
    instructions = [
        *([] if proposed else [propose_policy(program_id, authority, record, category, priority)]),
        enact_policy(program_id, authority, policy),
        memo(memo_text, authority),
    ]
    _insist_on_size(instructions, authority)
    return instructions


def deactivation_instructions(
    program_id: Pubkey, authority: Pubkey, policy: Pubkey, memo_text: str
) -> list[Instruction]:
    """Deactivate an enacted policy and say why in a memo. Raises TooLarge when it cannot fit."""
    instructions = [deactivate_policy(program_id, authority, policy), memo(memo_text, authority)]
    _insist_on_size(instructions, authority)
    return instructions


def amendment_instructions(
    program_id: Pubkey, authority: Pubkey, new_sha256: str, memo_text: str
) -> list[Instruction]:
    """Put an amended constitution's hash in place of the one before, and say so in a memo."""
    instructions = [update_constitution(program_id, authority, new_sha256), memo(memo_text, authority)]
    _insist_on_size(instructions, authority)
    return instructions


def checkpoint_anchor_instructions(
    program_id: Pubkey,
    authority: Pubkey,
    action: str,
    note: str,
    *,
    proposed: bool,
    enacted: bool,
    durable: bool,
) -> tuple[list[Instruction], bool]:
    """Check a checkpoint's action on the audit record, and write the signed checkpoint beside it as a memo.

    Where the audit record is not `proposed` or not `enacted`, that comes first. With `durable` the action also becomes a
    record of its own, unless the transaction would be too large; whether it did is the second value. Raises TooLarge.
    """
    audit = audit_address(program_id)
    low = Category.GOVERNANCE, Priority.LOW
    instructions = [
        *([] if proposed else [propose_policy(program_id, authority, AUDIT_RULE, *low)]),
        *([] if enacted else [enact_policy(program_id, authority, audit)]),
        check_compliance(program_id, authority, audit, action),
        memo(note, authority),
    ]
    if durable:
        lasting = [*instructions, propose_policy(program_id, authority, action.encode(), *low)]
        if _size(lasting, authority) <= MAX_TRANSACTION:
            return lasting, True
    _insist_on_size(instructions, authority)
    return instructions, False


def _size(instructions: list[Instruction], payer: Pubkey) -> int:
    return len(bytes(Transaction.new_unsigned(Message(instructions, payer))))


def _insist_on_size(instructions: list[Instruction], payer: Pubkey) -> None:
    size = _size(instructions, payer)
    if size > MAX_TRANSACTION:
        raise TooLarge(f"The transaction has {size} bytes; Solana takes at most {MAX_TRANSACTION}.")


def sign(instructions: list[Instruction], key: Keypair, blockhash: Hash) -> Transaction:
    return Transaction([key], Message.new_with_blockhash(instructions, key.pubkey(), blockhash), blockhash)


def policy_cost(record_length: int) -> int:
    """Lamports that anchoring a record takes: the account's rent (n + 128) · 6960 and one signature."""
    return (POLICY_SIZE + record_length + 128) * 6960 + SIGNATURE_FEE


# Accounts


def decode(data: bytes) -> tuple[str, Any]:
    """An account's type and fields, as the IDL names them. Raises NotQuantumagi."""
    try:
        parsed = _coder().accounts.parse(data)
    except (ConstructError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise NotQuantumagi("These bytes are no account of the Quantumagi program.") from error
    return parsed.name, parsed.data


def decode_instruction(data: bytes) -> Any:
    """anchorpy's NamedInstruction: `name` as in the IDL, in snake case, and `data`. Raises NotQuantumagi."""
    try:
        return _coder().instruction.parse(data)
    except (ConstructError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise NotQuantumagi("These bytes are no instruction of the Quantumagi program.") from error


def _coder() -> Any:
    # The coder depends on the IDL alone, so any address gives the same.
    return client(SYSTEM_PROGRAM).coder


def constitution_account(data: bytes) -> ConstitutionAccount:
    """Raises NotQuantumagi."""
    name, fields = decode(data)
    if name != "Constitution":
        raise NotQuantumagi(f"This account is a {name}, not a Constitution.")
    return ConstitutionAccount(
        authority=fields.authority,
        hash=bytes(fields.hash),
        version=fields.version,
        is_active=fields.is_active,
        created_at=fields.created_at,
        updated_at=fields.updated_at,
    )


def policy_account(data: bytes) -> PolicyAccount:
    """Raises NotQuantumagi."""
    name, fields = decode(data)
    if name != "Policy":
        raise NotQuantumagi(f"This account is a {name}, not a Policy.")
    values = {key: getattr(fields, key) for key in PolicyAccount.__dataclass_fields__}
    values["category"] = type(fields.category).__name__
    values["priority"] = type(fields.priority).__name__
    return PolicyAccount(**values)


# Errors

_OWN_ERRORS = {error.code: (error.name, error.msg or error.name) for error in IDL.errors or ()}
_ANCHOR_ERRORS = {int(code): (code.name, message) for code, message in LangErrorMessage.items()}  # type: ignore[attr-defined]
# What the system program answers when ours asks it to create an account.
_SYSTEM_ERRORS = {
    0: ("AccountAlreadyInUse", "the account exists already"),
    1: ("ResultWithNegativeLamports", "the payer does not hold enough SOL"),
}


def error_by_code(code: int) -> Failure:
    """An error number of Quantumagi, of Anchor, or of the system program that Quantumagi calls."""
    known = _OWN_ERRORS.get(code) or _ANCHOR_ERRORS.get(code) or _SYSTEM_ERRORS.get(code)
    name, message = known or ("UnknownError", "the program knows no such error")
    return Failure(name, message, code)


def failure(error: TransactionErrorType) -> Failure:
    """A failed transaction's error in words."""
    if isinstance(error, TransactionErrorInstructionError):
        if isinstance(error.err, InstructionErrorCustom):
            return error_by_code(error.err.code)
        error = error.err  # type: ignore[assignment]
    name = str(error).rpartition(".")[2] or type(error).__name__
    return Failure(name.split("(")[0], "the cluster refused the transaction")
