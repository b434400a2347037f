"""What the program on chain answers when it is asked whether a policy's record complies: `check_compliance`, simulated.

The record is the action that is checked, so that the program finds the rule it holds, applies its category's condition
and says whether the policy is active. A simulation costs nothing, changes nothing, and runs the program's own code.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import sqlalchemy as sa
import structlog
from solana.rpc.commitment import Finalized
from solders.message import Message
from solders.pubkey import Pubkey
from solders.transaction import Transaction
from sqlalchemy.dialects.postgresql import insert

from chain import quantumagi
from chain.config import ChainConfig
from chain.rpc import Node, NodeRefused
from workflows.kinds import AnchorKind, AnchorState
from workflows.storage.tables import anchor, chain_compliance, policy
from workflows.storage.unit import Unit

Units = Callable[[], AbstractAsyncContextManager[Unit]]

log = structlog.get_logger(__name__)

AGAIN = timedelta(minutes=10)  # after which the program is asked again
PER_PASS = 25
OK = "ok"


@dataclass(frozen=True)
class Answer:
    """`code` is ok or the name of the program's error; `says` puts it in words."""

    passed: bool
    code: str
    says: str
    slot: int


async def ask(node: Node, config: ChainConfig, payer: Pubkey, account: Pubkey, record: bytes) -> Answer:
    """Have the node run the program on this record, at commitment finalized. Raises Unreachable or NodeRefused."""
    instruction = quantumagi.check_compliance(config.program_id, payer, account, record.decode())
    blockhash, _ = await node.latest_blockhash(Finalized)
    unsigned = Transaction.new_unsigned(Message.new_with_blockhash([instruction], payer, blockhash))
    slot, error = await node.simulate(unsigned)
    if error is None:
        return Answer(
            True, OK, "The policy is active on chain, and the program finds that its record complies.", slot
        )
    failure = quantumagi.failure(error)
    if failure.code is None:
        raise NodeRefused(str(failure), error)  # the program did not get to say anything
    return Answer(False, failure.name, f"The program says no: {failure}.", slot)


async def look(units: Units, node: Node, config: ChainConfig, genesis_hash: str) -> int:
    """Ask about every policy whose record is final and was not asked about lately; how many were. Raises Unreachable.

    At once after finality and after a suspension's, and every ten minutes.
    """
    payer = config.authority_address
    if payer is None:
        return 0  # a simulation needs an account that could pay
    async with units() as unit:
        rows = await unit.rows(_due(unit, config, genesis_hash))
    for row in rows:
        try:
            answer = await ask(node, config, payer, Pubkey.from_string(row["account"]), bytes(row["record"]))
        except NodeRefused as refusal:
            log.warning("compliance_not_asked", anchor=str(row["id"]), reason=str(refusal))
            continue
        async with units() as unit:
            await _keep(unit, row["id"], row["ref"], answer)
    return len(rows)


def _due(unit: Unit, config: ChainConfig, genesis_hash: str) -> sa.Select:
    stopped = anchor.alias("stopped")
    deactivation = (
        (stopped.c.policy_id == anchor.c.policy_id)
        & (stopped.c.version == anchor.c.version)
        & (stopped.c.kind == AnchorKind.DEACTIVATION)
    )
    last = chain_compliance.c.checked_at
    return (
        sa.select(anchor.c.id, anchor.c.account, anchor.c.record, policy.c.ref)
        .join(policy, policy.c.id == anchor.c.policy_id)
        .outerjoin(chain_compliance, chain_compliance.c.anchor_id == anchor.c.id)
        .outerjoin(stopped, deactivation)
        .where(
            anchor.c.kind == AnchorKind.POLICY,
            anchor.c.state == AnchorState.FINALIZED,
            anchor.c.account.is_not(None),
            anchor.c.cluster == config.cluster,
            anchor.c.program_id == str(config.program_id),
            anchor.c.genesis_hash == genesis_hash,
            last.is_(None) | (last < unit.now - AGAIN) | (last <= stopped.c.finalized_at),
        )
        .order_by(last.nulls_first(), anchor.c.id)
        .limit(PER_PASS)
    )


async def _keep(unit: Unit, anchor_id: UUID, ref: str, answer: Answer) -> None:
    values = {
        "passed": answer.passed,
        "code": answer.code,
        "says": answer.says,
        "slot": answer.slot,
        "checked_at": unit.now,
    }
    statement = insert(chain_compliance).values(anchor_id=anchor_id, **values)
    await unit.connection.execute(statement.on_conflict_do_update(index_elements=["anchor_id"], set_=values))
    unit.publish(f"policy:{ref}", "checked_on_chain", passed=answer.passed, code=answer.code)
