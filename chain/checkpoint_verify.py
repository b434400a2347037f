"""Whether an anchored checkpoint is the log's and stands on chain as stored: nothing stored is believed."""

from __future__ import annotations

from uuid import UUID

import msgspec
from solders.pubkey import Pubkey
from sqlalchemy.ext.asyncio import AsyncConnection

from chain import claims as reading_chain
from chain import listing, quantumagi, rpc
from chain.checks import Check, Step, Verification, absent, holds, pending, same, step
from chain.claims import AmendmentClaim, Reading, amendments_of
from chain.config import ChainConfig
from chain.onchain import (
    ON_CHAIN,
    amended_since,
    amendment_checks,
    constitution_checks,
    constitution_in,
    document_sha256,
    link,
    parsed,
    sent_checks,
)
from chain.quantumagi import AUDIT_RULE, NotQuantumagi, PolicyAccount
from chain.rpc import Account
from chain.verify import conclude
from workflows.audit_transparency import checkpoints, tree
from workflows.audit_transparency.anchors import CheckpointAnchor, action, checkpoint_anchor
from workflows.audit_transparency.notes import Checkpoint, NoteError, VerifierKey, open_note
from workflows.constitution.document import Constitution
from workflows.errors import NotFound
from workflows.kinds import AnchorState
from workflows.policy_creation.records import chain_policy_id

PASSED = "The checkpoint is the log's, signed with its key, and stands on chain byte for byte."


class CheckpointClaims(msgspec.Struct, frozen=True, kw_only=True):
    """What the portal says of an anchored checkpoint, and the tree it is of."""

    anchor: CheckpointAnchor
    note: str  # as signed
    origin: str
    verifier_key: str
    tree_root: bytes | None  # computed from the leaves' tiles; None where the tree is smaller
    amendments: tuple[AmendmentClaim, ...] = ()  # all, oldest first


async def claims(connection: AsyncConnection, anchor_id: UUID) -> CheckpointClaims:
    """Raises NotFound."""
    found = await checkpoint_anchor(connection, anchor_id)
    log = await checkpoints.identity(connection)
    if log is None:
        raise NotFound("The log has no checkpoint yet.", code="no_such_checkpoint")
    try:
        root: bytes | None = await tree.root_at(connection, found.size)
    except NotFound:
        root = None
    return CheckpointClaims(
        anchor=found,
        note=(await checkpoints.at(connection, found.size)).note,
        origin=log.origin,
        verifier_key=log.verifier_key,
        tree_root=root,
        amendments=await amendments_of(connection),
    )


async def read(config: ChainConfig, claimed: CheckpointClaims) -> Reading:
    """Read the chain anew. Raises nothing: `problem` says what went wrong."""
    anchor = claimed.anchor
    lasting = _lasting_address(config.program_id, anchor) if anchor.durable else None
    named = (anchor.signature, *(item.anchor.signature for item in claimed.amendments))
    signatures = [signature for signature in named if rpc.is_signature(signature)]
    return await reading_chain.gather(config, lasting, signatures)


def check(claimed: CheckpointClaims, reading: Reading, constitution: Constitution) -> Verification:
    """Hold checkpoint, tree, transaction, accounts and the document it was signed under together, step by step."""
    steps = [
        _checkpoint_step(claimed),
        _action_step(claimed, constitution),
        _constitution_step(claimed, reading, constitution),
        _transaction_step(claimed, reading),
        _record_step(claimed, reading),
    ]
    return conclude(steps, reading, PASSED, checkpoint_size=claimed.anchor.size)


def _lasting_address(program_id: Pubkey, anchor: CheckpointAnchor) -> Pubkey:
    return quantumagi.policy_address(program_id, chain_policy_id(anchor.action.encode()))


def _checkpoint_step(claimed: CheckpointClaims) -> Step:
    anchor = claimed.anchor
    checks = [same("The memo", claimed.note, anchor.memo, "Signed checkpoint", "Stored with the anchor")]
    try:
        text, _ = open_note(claimed.note, [VerifierKey.parse(claimed.verifier_key)])
        head = Checkpoint.parse(text)
        checks += [
            holds("Signature of the log's key", True, "it holds."),
            same("Origin", claimed.origin, head.origin, "Log", "Checkpoint"),
            same("Number of entries", anchor.size, head.size, "Anchor", "Checkpoint"),
            same("Root", head.root, anchor.root, "Checkpoint", "Stored"),
            same("Root of the tree at that size", head.root, claimed.tree_root, "Checkpoint"),
        ]
    except NoteError as error:
        checks.append(holds("Signature of the log's key", False, f"{error}."))
    return step(
        "checkpoint",
        "The checkpoint",
        "The log's key signed it, and the log's entries lead to its root.",
        checks,
        ["Take /audit/key and the memo below, and verify the note as C2SP signed-note describes."],
        [],
    )


def _action_step(claimed: CheckpointClaims, constitution: Constitution) -> Step:
    anchor = claimed.anchor
    digest = document_sha256(constitution)
    rebuilt = action(claimed.origin, anchor.size, claimed.tree_root or b"", digest)
    return step(
        "action",
        "The action",
        "What the program was asked to check names this log, this size, this root and this constitution.",
        [same("The stored action", anchor.action, rebuilt, "Stored", "Rebuilt")],
        [
            "It reads: audit-checkpoint <origin> <size> <root in base64> constitution <SHA-256 of the document>."
        ],
    )


def _constitution_step(claimed: CheckpointClaims, reading: Reading, constitution: Constitution) -> Step:
    digest = document_sha256(constitution)
    if reading.problem is not None:
        checks = [absent("Constitution account", f"The chain could not be read: {reading.problem}")]
    else:
        since = amended_since(claimed.amendments, digest)
        checks = [check for item in since for check in amendment_checks(item, reading)]
        checks += constitution_checks(reading, since[-1].sha256 if since else digest, since)
    address = str(quantumagi.constitution_address(reading.program_id))
    return step(
        "constitution",
        "The constitution",
        "The account that names the authority holds the hash of our document, or of the one that followed from it by vote.",
        checks,
        [],
        [link(reading, address, "The constitution account in a Solana explorer")],
    )


def _unfinished(claimed: CheckpointClaims, reading: Reading) -> Check | None:
    anchor = claimed.anchor
    if reading.problem is not None:
        return absent("The chain", f"The chain could not be read: {reading.problem}")
    if anchor.lost_at is not None:
        return absent(
            "The chain",
            "The cluster it stood on was reset. Its signed bytes are kept; later checkpoints hold all it held.",
        )
    if anchor.state != AnchorState.FINALIZED:
        why = f" {anchor.error}" if anchor.error else ""
        return pending("The chain", f"It is {anchor.state} and not finalized on chain yet.{why}")
    return None


def _transaction_step(claimed: CheckpointClaims, reading: Reading) -> Step:
    anchor = claimed.anchor
    waits = _unfinished(claimed, reading)
    checks = [waits] if waits else sent_checks(anchor, reading, claimed.note)[0]
    if anchor.transaction is not None:
        checks += _said(claimed, reading, anchor.transaction)
    return step(
        "transaction",
        "The transaction",
        "It is final on this cluster, signed by the authority, and says exactly this, beside the signed checkpoint.",
        checks,
        ["Open the transaction in a Solana explorer: its memo is the signed checkpoint, as text."],
        [link(reading, anchor.signature, "The transaction in a Solana explorer")],
    )


def _said(claimed: CheckpointClaims, reading: Reading, raw: bytes) -> list[Check]:
    """What the signed bytes say: those on chain are compared with them beside this."""
    anchor = claimed.anchor
    transaction = parsed(raw)
    if transaction is None:
        return [holds("The stored transaction", False, "its bytes are no transaction.")]
    constitution = constitution_in(reading)
    signer = transaction.message.account_keys[0]
    checks = []
    if constitution is not None:
        checks.append(same("Signed by", constitution.authority, signer, "Authority", "In the transaction"))
    said = listing.written(reading.program_id, signer, raw)
    if said is None:
        return [*checks, holds("Signatures", False, "every signature on it has to be valid.")]
    one_action, one_memo = said.actions[0] if said.actions else None, said.memos[0] if said.memos else None
    checks += [
        same("Action checked on the audit record", anchor.action, one_action, "Stored", "In the transaction"),
        same("Memo", claimed.note, one_memo, "Signed checkpoint", "In the transaction"),
        holds(
            "Nothing else",
            len(said.actions) == len(said.memos) == 1 and len(said.claims) == 1,
            "it names one checkpoint and no other.",
        ),
    ]
    return checks


def _record_step(claimed: CheckpointClaims, reading: Reading) -> Step:
    anchor = claimed.anchor
    waits = _unfinished(claimed, reading)
    if waits is not None:
        checks = [waits]
    else:
        audit = _record(reading, reading.audit)
        checks = [
            same("Program", anchor.program_id, reading.program_id, "Recorded", "Configured"),
            same("Rule of the audit record", AUDIT_RULE, audit.rule if audit else None, "Expected", ON_CHAIN),
            holds("The audit record", audit is not None and audit.is_active, "it has to be active."),
        ]
        if anchor.durable:
            lasting = _record(reading, reading.policy)
            address = _lasting_address(reading.program_id, anchor)
            checks += [
                same("Address of the lasting record", anchor.account, address),
                same("Its rule", anchor.action, lasting.rule if lasting else None, "Stored", ON_CHAIN),
            ]
    return step(
        "account",
        "The records",
        "The record on which checkpoints are checked is active"
        + (", and this checkpoint is a record of its own." if anchor.durable else "."),
        checks,
        ["Read the accounts in a Solana explorer; their rules are plain text."],
        [link(reading, anchor.account, "The lasting record in a Solana explorer")],
    )


def _record(reading: Reading, account: Account | None) -> PolicyAccount | None:
    if account is None or account.owner != reading.program_id:
        return None
    try:
        return quantumagi.policy_account(account.data)
    except NotQuantumagi:
        return None
