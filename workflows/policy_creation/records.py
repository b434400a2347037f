"""What is hashed, and exactly how: versions, vote commitments, ballot roots and the record put on chain.

All are RFC 8785 canonical JSON in UTF-8, hashed with SHA-256, so that anyone can rebuild them with other tools.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import rfc8785

from workflows.audit_transparency.merkle import root


def sha256_hex(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def text_sha256(text: str) -> str:
    """SHA-256 of the policy's Markdown, UTF-8, exactly as stored."""
    return sha256_hex(text.encode())


def version_record(
    *,
    ref: str,
    number: int,
    title: str,
    summary: str,
    category: str,
    text: str,
    rule: dict[str, Any] | None,
    amends: tuple[str, str] | None = None,
) -> bytes:
    """Everything a reviewer approves and a member votes on, as canonical JSON.

    `rule` is None or {engine, source, examples}. `amends` is of an amendment of the constitution: the SHA-256 of the
    document it yields and of the one it was written against; the record names them only where there are any.
    """
    documents = (
        {"constitution_sha256_new": amends[0], "constitution_sha256_base": amends[1]} if amends else {}
    )
    return rfc8785.dumps(
        {
            "kind": "policy-version",
            "ref": ref,
            "version": number,
            "title": title,
            "summary": summary,
            "category": category,
            "text_sha256": text_sha256(text),
            "rule_sha256": sha256_hex(rfc8785.dumps(rule)) if rule else None,
            **documents,
        }
    )


def commitment(salt: bytes, ballot_id: UUID, choice: str) -> str:
    """HMAC-SHA256 with a random 32-byte salt: binds the choice without showing it (design/audit.md)."""
    return hmac.new(
        salt, rfc8785.dumps({"ballot": str(ballot_id), "choice": choice}), hashlib.sha256
    ).hexdigest()


def ballot_root(commitments: list[str]) -> str:
    """RFC 6962 Merkle root over the counting commitments, sorted, each leaf its 32 bytes."""
    return root([bytes.fromhex(item) for item in sorted(commitments)]).hex()


def openings(
    ballot_id: UUID, mode: str, votes: Sequence[tuple[str, bytes, str]], superseded: Sequence[tuple[str, str]]
) -> bytes:
    """What is published of a ballot at its close, as the bytes whose SHA-256 is entered in the log.

    `votes` are (choice, salt, commitment) of those that count, `superseded` (commitment, that of the vote that replaced
    it). Sorted by commitment, the order says nothing of who voted when.
    """
    return rfc8785.dumps(
        {
            "ballot": str(ballot_id),
            "mode": mode,
            "openings": sorted(
                ({"choice": choice, "commitment": made, "salt": salt.hex()} for choice, salt, made in votes),
                key=lambda item: item["commitment"],
            ),
            "superseded": [{"commitment": made, "by": by} for made, by in sorted(superseded)],
        }
    )


def policy_record(
    *,
    ref: str,
    version: int,
    text_hash: str,
    version_hash: str,
    tally: tuple[int, int, int],
    electorate: int,
    root_hash: str,
    constitution_sha256: str,
) -> bytes:
    """What goes on chain as the policy's rule: a commitment, at most 1000 bytes, not the text itself.

    `tally` is (for, against, abstain).
    """
    return rfc8785.dumps(
        {
            "kind": "policy",
            "ref": ref,
            "version": version,
            "text_sha256": text_hash,
            "version_sha256": version_hash,
            "tally": list(tally),
            "electorate": electorate,
            "ballot_root": root_hash,
            "constitution_sha256": constitution_sha256,
        }
    )


def deactivation_record(
    *, ref: str, version: int, policy_record_sha256: str, reason: str, constitution_sha256: str
) -> bytes:
    """What a suspension commits to. Its hash goes on chain in the memo, beside the deactivated account."""
    return rfc8785.dumps(
        {
            "kind": "deactivation",
            "ref": ref,
            "version": version,
            "policy_record_sha256": policy_record_sha256,
            "reason_sha256": sha256_hex(reason.encode()),
            "constitution_sha256": constitution_sha256,
        }
    )


def constitution_record(*, ref: str, version: int, number: int, sha256: str, previous_sha256: str) -> bytes:
    """What adopting an amended document commits to. On chain stands its hash, in the constitution account and the memo."""
    return rfc8785.dumps(
        {
            "kind": "constitution",
            "ref": ref,
            "version": version,
            "number": number,
            "sha256": sha256,
            "previous_sha256": previous_sha256,
        }
    )


def policy_memo(*, ref: str, version: int, text_hash: str, constitution_sha256: str) -> str:
    """Plain text that every Solana explorer shows, so that a person can compare the hashes by eye."""
    return f"ACGS policy {ref} v{version} text sha256:{text_hash} constitution sha256:{constitution_sha256}"


def deactivation_memo(*, ref: str, version: int, record_hash: str, constitution_sha256: str) -> str:
    return (
        f"ACGS suspension {ref} v{version} record sha256:{record_hash} "
        f"constitution sha256:{constitution_sha256}"
    )


def constitution_memo(*, ref: str, version: int, sha256: str, previous_sha256: str) -> str:
    return f"ACGS amendment {ref} v{version} constitution sha256:{sha256} previous sha256:{previous_sha256}"


def chain_policy_id(record: bytes) -> int:
    """The u64 under which a record goes on chain: the first 8 bytes (LE) of its SHA-256.

    From content, not from a counter: nobody can take the address before us, and sending twice is harmless.
    """
    return int.from_bytes(hashlib.sha256(record).digest()[:8], "little")
