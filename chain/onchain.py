"""The steps of a verification that read the chain: constitution, record, account, transactions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from chain import quantumagi
from chain.checks import Check, Link, Step, absent, holds, pending, same, step
from chain.claims import AmendmentClaim, AnchorClaim, Claims, Reading
from chain.decided import NOT_ENACTED, rebuilt_record
from chain.explorer import decode_transaction
from chain.quantumagi import ConstitutionAccount, NotQuantumagi, PolicyAccount
from chain.rpc import Landed
from workflows.audit_transparency.anchors import CheckpointAnchor
from workflows.constitution.document import Constitution
from workflows.kinds import AnchorState, PolicyState
from workflows.policy_creation import records

ON_CHAIN = "On chain"
UNDER_WAY = (AnchorState.QUEUED, AnchorState.SUBMITTED, AnchorState.CONFIRMED)


# What keeps a step from being taken


def _unread(claimed: Claims, reading: Reading) -> Check | None:
    if reading.problem is not None:
        return absent("The chain", f"The chain could not be read: {reading.problem}")
    if claimed.anchor is None:
        if claimed.state in NOT_ENACTED:
            return absent("The chain", NOT_ENACTED[claimed.state])
        return pending("The chain", "The policy is not enacted, so there is nothing of it on chain yet.")
    return None


def _unfinished(anchor: AnchorClaim) -> Check | None:
    if anchor.state == AnchorState.FINALIZED:
        return None
    if anchor.state == AnchorState.FAILED:
        return absent("The chain", f"It could not be written to the chain: {anchor.error}")
    why = f" {anchor.error}" if anchor.error else ""
    return pending("The chain", f"It is {anchor.state} and not finalized on chain yet.{why}")


def _not_final(claimed: Claims, reading: Reading) -> Check | None:
    unread = _unread(claimed, reading)
    return unread or (_unfinished(claimed.anchor) if claimed.anchor else None)


# The constitution


def constitution_step(claimed: Claims, reading: Reading, constitution: Constitution) -> Step:
    digest = document_sha256(constitution)
    address = quantumagi.constitution_address(reading.program_id)
    checks = [same("SHA-256 of the document", constitution.sha256, digest)]
    if constitution.problem:
        checks.append(holds("The document's hash", False, constitution.problem))
    if claimed.anchor is not None:
        checks.append(
            same("Constitution it was decided under", claimed.anchor.constitution_sha256, digest, "Decision")
        )
    if reading.problem is not None:
        checks.append(absent("Constitution account", f"The chain could not be read: {reading.problem}"))
    else:
        since = amended_since(claimed.amendments, digest)
        checks += [check for item in since for check in amendment_checks(item, reading)]
        checks += constitution_checks(reading, since[-1].sha256 if since else digest, since)
    return step(
        "constitution",
        "The constitution",
        "The document's bytes and the decision have one hash, and the constitution account on chain holds it, or that of "
        "the document that followed from it by vote after vote.",
        checks,
        [
            "curl -s <this portal>/api/v1/constitution/document | sha256sum, and compare with the account's hash."
        ],
        [link(reading, str(address), "The constitution account in a Solana explorer")],
    )


def document_sha256(constitution: Constitution) -> str:
    return hashlib.sha256(constitution.body).hexdigest()


def amended_since(all_of_them: Sequence[AmendmentClaim], digest: str) -> list[AmendmentClaim]:
    """The amendments that came after the document of that hash, oldest first; none where it is in force."""
    if all_of_them and all_of_them[-1].sha256 == digest:
        return []
    first = next((place for place, item in enumerate(all_of_them) if item.previous_sha256 == digest), None)
    return list(all_of_them[first:]) if first is not None else []


def amendment_checks(item: AmendmentClaim, reading: Reading) -> list[Check]:
    """Whether the authority put this document's hash in place of the one before, and stored and chain say the same."""
    what = f"Amendment {item.number} ({item.ref})"
    if unfinished := _unfinished(item.anchor):
        return [unfinished]
    if item.anchor.transaction is None:
        return [absent(what, "the node no longer had the transaction that wrote it.")]
    memo = records.constitution_memo(
        ref=item.ref,
        version=_version_of(item),
        sha256=item.sha256,
        previous_sha256=item.previous_sha256,
    )
    checks, landed = sent_checks(item.anchor, reading, memo)
    if landed is None:
        return checks
    transaction = parsed(landed.raw)
    if transaction is None:
        return [*checks, holds(what, False, "the node's bytes are no transaction.")]
    done = {step["instruction"]: step for step in decode_transaction(reading.program_id, transaction)}
    update = done.get("update_constitution")
    address = quantumagi.constitution_address(reading.program_id)
    checks += [
        same(f"{what}: account", address, _account_of(update), actual_label=ON_CHAIN),
        same(
            f"{what}: hash",
            item.sha256,
            update["args"]["new_hash"] if update else None,
            actual_label=ON_CHAIN,
        ),
    ]
    if (constitution := constitution_in(reading)) is not None:
        signer = transaction.message.account_keys[0]
        checks.append(same(f"{what}: signed by", constitution.authority, signer, "Authority", ON_CHAIN))
    return checks


def _version_of(item: AmendmentClaim) -> int:
    try:
        return int(json.loads(item.anchor.record)["version"])
    except (ValueError, KeyError, TypeError):
        return 0


def constitution_checks(reading: Reading, digest: str, since: Sequence[AmendmentClaim] = ()) -> list[Check]:
    """Whether the constitution account is there, is active and holds this digest, or that of one on its way to it."""
    found = constitution_in(reading)
    if found is None:
        address = quantumagi.constitution_address(reading.program_id)
        return [holds("Constitution account", False, f"{address} holds no constitution of the program.")]
    on_its_way = any(item.anchor.state in UNDER_WAY for item in since)
    if on_its_way and found.hash.hex() in [item.previous_sha256 for item in since]:
        return [pending("Hash in the constitution account", "An amendment is on its way to it.")]
    return [
        same("Hash in the constitution account", found.hash.hex(), digest, ON_CHAIN),
        holds("Constitution account", found.is_active, "it has to be active."),
    ]


def constitution_in(reading: Reading) -> ConstitutionAccount | None:
    """The constitution account as it was read; None where it is none of the program's."""
    account = reading.constitution
    if (
        account is None
        or account.owner != reading.program_id
        or account.address != quantumagi.constitution_address(reading.program_id)
    ):
        return None
    try:
        return quantumagi.constitution_account(account.data)
    except NotQuantumagi:
        return None


# The record


def record_step(claimed: Claims, reading: Reading, constitution: Constitution) -> Step:
    return step(
        "record",
        "The record",
        "Rebuilt from the steps above, it is byte for byte what is stored and what stands on chain.",
        _record_checks(claimed, reading, constitution),
        [
            "Build the canonical JSON (RFC 8785) of the record's fields and compare it with the account's rule."
        ],
        [_account_link(claimed, reading)],
    )


def _record_checks(claimed: Claims, reading: Reading, constitution: Constitution) -> list[Check]:
    anchor = claimed.anchor
    if anchor is None:
        found = _unread(claimed, reading)
        return [found] if found else []
    if claimed.ballot is None or claimed.ballot.counts is None:
        return [holds("The record", False, "there is a record, but no closed ballot behind it.")]
    rebuilt = rebuilt_record(claimed, document_sha256(constitution))
    checks = [
        same("The stored record", anchor.record, rebuilt, "Stored", "Rebuilt"),
        same("SHA-256 of the stored record", anchor.record_sha256, records.sha256_hex(anchor.record)),
    ]
    if found := _unread(claimed, reading):
        return [*checks, found]
    policy = _policy_in(reading)
    if policy is None:
        return [*checks, _unfinished(anchor) or holds("The rule on chain", False, "there is none.")]
    rule = policy.rule.encode()
    return [
        *checks,
        same("The rule on chain", rule, rebuilt, ON_CHAIN, "Rebuilt"),
        same("The rule on chain and the stored record", rule, anchor.record, ON_CHAIN, "Stored"),
    ]


def _policy_in(reading: Reading) -> PolicyAccount | None:
    if reading.policy is None or reading.policy.owner != reading.program_id:
        return None
    try:
        return quantumagi.policy_account(reading.policy.data)
    except NotQuantumagi:
        return None


# The account


def account_step(claimed: Claims, reading: Reading) -> Step:
    found = _not_final(claimed, reading)
    anchor = claimed.anchor
    return step(
        "account",
        "The account",
        "Its address follows from the record, the program owns it, and the authority enacted it as it stands here.",
        [found] if found else _account_checks(claimed, anchor, reading) if anchor else [],
        [
            "The first 8 bytes of the record's SHA-256, little-endian, are the policy's id; the program-derived "
            'address of ["policy", id] is the account.'
        ],
        [_account_link(claimed, reading)],
    )


def _account_checks(claimed: Claims, anchor: AnchorClaim, reading: Reading) -> list[Check]:
    policy_id = records.chain_policy_id(anchor.record)
    address = quantumagi.policy_address(reading.program_id, policy_id)
    checks = [
        same("Program", anchor.program_id, reading.program_id, "Recorded", "Configured"),
        same("Policy id", anchor.chain_policy_id, policy_id),
        same("Address", anchor.account, address),
    ]
    policy = _policy_in(reading)
    if policy is None:
        return [*checks, holds("The account", False, "there is no policy of the program at its address.")]
    category = quantumagi.CATEGORIES[claimed.version.category]
    priority = quantumagi.PRIORITIES[claimed.priority]
    return [
        *checks,
        same("Address that was read", address, reading.policy.address if reading.policy else None),
        same("Policy id in the account", policy_id, policy.id, actual_label=ON_CHAIN),
        same("Category", category, policy.category, actual_label=ON_CHAIN),
        same("Priority", priority, policy.priority, actual_label=ON_CHAIN),
        *_enactment_checks(policy, reading),
        _activity_check(claimed, policy),
    ]


def _enactment_checks(policy: PolicyAccount, reading: Reading) -> list[Check]:
    constitution = constitution_in(reading)
    if constitution is None:
        return [holds("Authority", False, "there is no constitution account that names it.")]
    authority = constitution.authority
    checks = [same("Enacted by", authority, policy.enacted_by, "Authority", ON_CHAIN)]
    if policy.proposed_by == authority:
        return [*checks, same("Proposed by", authority, policy.proposed_by, "Authority", ON_CHAIN)]
    # Anyone may propose; the record is what it is, and only the authority can enact it.
    return [
        *checks,
        holds("Proposed by", True, f"{policy.proposed_by}, who is not the authority, came first."),
    ]


def _activity_check(claimed: Claims, policy: PolicyAccount) -> Check:
    stopped = policy.deactivated_at is not None and not policy.is_active
    runs = policy.deactivated_at is None and policy.is_active and policy.enacted_at is not None
    if claimed.state != PolicyState.SUSPENDED:
        return holds("In force", runs, "it is in force here, so it has to be active on chain.")
    on_its_way = claimed.deactivation is not None and claimed.deactivation.state in UNDER_WAY
    if runs and on_its_way:
        return pending(
            "Suspended", "It is suspended here, and its deactivation is not finalized on chain yet."
        )
    return holds("Suspended", stopped, "it is suspended here, so it has to be deactivated on chain.")


# The transactions


def transaction_step(claimed: Claims, reading: Reading, constitution: Constitution) -> Step:
    anchor = claimed.anchor
    found = _not_final(claimed, reading)
    checks = [found] if found else []
    if found is None and anchor is not None:
        memo = records.policy_memo(
            ref=claimed.ref,
            version=claimed.version.number,
            text_hash=records.text_sha256(claimed.version.text),
            constitution_sha256=document_sha256(constitution),
        )
        checks = _transaction_checks(anchor, reading, memo, "enact_policy")
    return step(
        "transaction",
        "The transaction",
        "It is final on this cluster, proposes and enacts this very record, and its memo says the same in words.",
        checks,
        ["Open the transaction in a Solana explorer and compare its memo with the hashes above."],
        [_transaction_link(anchor, reading)],
    )


def suspension_step(claimed: Claims, reading: Reading, constitution: Constitution) -> Step:
    anchor = claimed.deactivation
    return step(
        "suspension",
        "The suspension",
        "The reason is the one that was given, and the transaction that deactivated the account is final.",
        [holds("The suspension", False, "it is suspended here, but no deactivation was queued.")]
        if anchor is None
        else _suspension_checks(claimed, anchor, reading, constitution),
        ["Open the transaction in a Solana explorer: its memo has the SHA-256 of the suspension's record."],
        [_transaction_link(anchor, reading)],
    )


def _suspension_checks(
    claimed: Claims, anchor: AnchorClaim, reading: Reading, constitution: Constitution
) -> list[Check]:
    enacted, digest = claimed.anchor, document_sha256(constitution)
    if anchor.constitution_sha256 in [item.sha256 for item in amended_since(claimed.amendments, digest)]:
        digest = anchor.constitution_sha256  # suspended under a later document than it was enacted under
    rebuilt = records.deactivation_record(
        ref=claimed.ref,
        version=claimed.version.number,
        policy_record_sha256=records.sha256_hex(enacted.record) if enacted else "",
        reason=claimed.state_reason or "",
        constitution_sha256=digest,
    )
    memo = records.deactivation_memo(
        ref=claimed.ref,
        version=claimed.version.number,
        record_hash=records.sha256_hex(rebuilt),
        constitution_sha256=digest,
    )
    checks = [
        same("The stored record", anchor.record, rebuilt, "Stored", "Rebuilt"),
        same("SHA-256 of the stored record", anchor.record_sha256, records.sha256_hex(anchor.record)),
        holds("In force", claimed.state == PolicyState.SUSPENDED, "a deactivated policy is suspended here."),
    ]
    if found := _unread(claimed, reading) or _unfinished(anchor):
        return [*checks, found]
    return [*checks, *_transaction_checks(anchor, reading, memo, "deactivate_policy")]


def _transaction_checks(anchor: AnchorClaim, reading: Reading, memo: str, instruction: str) -> list[Check]:
    checks, landed = sent_checks(anchor, reading, memo)
    if landed is None:
        return checks
    return [*checks, *_instruction_checks(anchor, reading, landed.raw, instruction)]


def sent_checks(
    anchor: AnchorClaim | CheckpointAnchor, reading: Reading, memo: str
) -> tuple[list[Check], Landed | None]:
    """Whether what was stored as signed is what the chain has; the transaction from there, if it could be compared."""
    checks = [
        same("Cluster", anchor.cluster, reading.cluster, "Recorded", "Configured"),
        same("Genesis", anchor.genesis_hash, reading.genesis_hash, "Recorded", ON_CHAIN),
        same("The stored memo", anchor.memo, memo, "Stored", "Rebuilt"),
    ]
    if anchor.signature is None or anchor.transaction is None:
        note = "It was on chain already, and the node no longer had the transaction that wrote it."
        return [*checks, absent("The transaction", note)], None
    stored = parsed(anchor.transaction)
    if stored is None:
        return [*checks, holds("The stored transaction", False, "its bytes are no transaction.")], None
    checks += [
        same("Signature", anchor.signature, stored.signatures[0], "Recorded", "In the stored transaction"),
        holds(
            "The stored transaction",
            all(stored.verify_with_results()),
            "every signature on it has to be valid.",
        ),
    ]
    landed = reading.transactions.get(anchor.signature)
    if landed is None:
        note = (
            "The node does not have this transaction, or no longer; what was signed is kept and was checked."
        )
        return [*checks, absent("The transaction", note)], None
    checks += [
        same("The transaction's bytes", anchor.transaction, landed.raw, "Stored", ON_CHAIN),
        holds("Success", landed.error is None, "a failed transaction writes nothing."),
        same("Slot", anchor.slot, landed.slot, "Recorded", ON_CHAIN),
    ]
    return checks, landed


def parsed(raw: bytes) -> VersionedTransaction | None:
    """The transaction in these bytes; None where there is none."""
    try:
        return VersionedTransaction.from_bytes(raw)
    except ValueError:
        return None


def _instruction_checks(anchor: AnchorClaim, reading: Reading, raw: bytes, instruction: str) -> list[Check]:
    transaction = parsed(raw)
    if transaction is None:
        return [holds("Instructions", False, "the node's bytes are no transaction.")]
    done = {item["instruction"]: item for item in decode_transaction(reading.program_id, transaction)}
    checks = [
        same("Memo", anchor.memo, (done.get("memo") or {}).get("text"), "Stored", ON_CHAIN),
        same(
            f"Account of {instruction}",
            anchor.account,
            _account_of(done.get(instruction)),
            "Recorded",
            ON_CHAIN,
        ),
    ]
    if (proposal := done.get("propose_policy")) is not None:
        checks += [
            same("Account of propose_policy", anchor.account, _account_of(proposal), "Recorded", ON_CHAIN),
            same(
                "Rule of propose_policy", anchor.record, proposal["args"]["rule"].encode(), "Stored", ON_CHAIN
            ),
        ]
    constitution = constitution_in(reading)
    if constitution is not None:
        signer = transaction.message.account_keys[0]
        checks.append(same("Signed by", constitution.authority, signer, "Authority", ON_CHAIN))
    return checks


def _account_of(instruction: dict[str, Any] | None) -> str | None:
    return instruction["accounts"][0]["address"] if instruction and instruction["accounts"] else None


# Links


def _account_link(claimed: Claims, reading: Reading) -> Link | None:
    address = claimed.anchor.account if claimed.anchor else None
    return link(reading, address, "The account in a Solana explorer")


def _transaction_link(anchor: AnchorClaim | None, reading: Reading) -> Link | None:
    signature = anchor.signature if anchor else None
    return link(reading, signature, "The transaction in a Solana explorer")


def link(reading: Reading, key: str | Pubkey | None, text: str) -> Link | None:
    href = reading.explorer.get(str(key))
    return Link(href=href, text=text) if href else None
