"""What stands on a portal's local chain, found by the authority's address and not by what the portal says of it."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass

from solders.keypair import Keypair
from solders.transaction import VersionedTransaction

from chain.config import DEFAULT_PROGRAM_ID
from chain.explorer import decode_transaction
from chain.quantumagi import NotQuantumagi, PolicyAccount, policy_account
from tests.reliability.house import House


@dataclass(frozen=True)
class Transaction:
    """One successful transaction of the authority."""

    signature: str
    instructions: tuple[str, ...]
    account: str | None  # the policy it is about


def transactions(house: House, account: str) -> list[Transaction]:
    """The authority's successful transactions about a policy account, oldest first."""
    key = Keypair.from_bytes(bytes(json.loads((house.data_dir / "authority.json").read_text())))
    options = {"limit": 1000, "commitment": "finalized"}
    listed = house.chain("getSignaturesForAddress", str(key.pubkey()), options)
    assert len(listed) < 1000, "there may be more than was listed"
    found = [_transaction(house, item["signature"]) for item in reversed(listed) if item["err"] is None]
    return [item for item in found if item.account == account]


def accounts(house: House, record: bytes) -> list[tuple[str, PolicyAccount]]:
    """Every policy account whose rule is this record."""
    found = house.chain(
        "getProgramAccounts",
        str(DEFAULT_PROGRAM_ID),
        {"encoding": "base64", "commitment": "finalized"},
    )
    read = [(item["pubkey"], _policy(item["account"]["data"][0])) for item in found]
    return [(address, policy) for address, policy in read if policy and policy.rule.encode() == record]


def _transaction(house: House, signature: str) -> Transaction:
    options = {"encoding": "base64", "commitment": "finalized", "maxSupportedTransactionVersion": 0}
    raw = house.chain("getTransaction", signature, options)["transaction"][0]
    steps = decode_transaction(DEFAULT_PROGRAM_ID, VersionedTransaction.from_bytes(base64.b64decode(raw)))
    about = [step["accounts"][0]["address"] for step in steps if "polic" in str(step["instruction"])]
    return Transaction(
        signature,
        tuple(step["instruction"] or step["program"] for step in steps),
        about[0] if about else None,
    )


def _policy(data: str) -> PolicyAccount | None:
    try:
        return policy_account(base64.b64decode(data))
    except NotQuantumagi:
        return None
