"""A decided policy reaches the chain once, whoever is killed at whichever stage of its anchoring."""

from __future__ import annotations

import pytest

from tests.reliability import ledger
from tests.reliability.house import House

STAGES = ("queued", "signed", "submitted", "confirmed")
TRANSACTION = {
    "policy": ("propose_policy", "enact_policy", "memo"),
    "deactivation": ("deactivate_policy", "memo"),
}


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("victims", [("worker",), ("web", "localnet")], ids=" and ".join)
def test_an_enacted_policy_is_anchored_once(house: House, victims: tuple[str, ...], stage: str) -> None:
    ref = house.voted(f"{' and '.join(victims)} die when the policy is {stage}")
    with house.struck(stage, *victims):
        house.jump()
    house.finalized(ref)
    is_anchored_once(house, ref, "policy")
    assert house.get(f"/policies/{ref}/verify").status_code == 200


@pytest.mark.parametrize("stage", STAGES)
def test_a_suspended_policy_is_deactivated_once(house: House, stage: str) -> None:
    ref = house.voted(f"Everything dies when the deactivation is {stage}")
    house.jump()
    house.finalized(ref)
    with house.struck(stage, "web", "localnet", "worker"):
        house.suspend(ref)
    house.finalized(ref, "deactivation")
    is_anchored_once(house, ref, "policy", active=False)
    is_anchored_once(house, ref, "deactivation", active=False)


def test_finality_and_completion_are_stored_together(house: House) -> None:
    """The worker dies in the transaction that stores finality, completes the workflow and records both."""
    ref = house.voted("The worker dies while finality is being stored")
    with house.struck("finalizing", "worker"):
        house.jump()
        house.reached("finalizing")
        assert house.anchors(ref)["policy"]["state"] in ("submitted", "confirmed")
        assert _workflow(house, ref) == "executing"
    house.finalized(ref)
    is_anchored_once(house, ref, "policy")


def is_anchored_once(house: House, ref: str, kind: str, *, active: bool = True) -> None:
    """One account, one transaction, one row, one entry of each step, and the workflow complete."""
    row = house.anchors(ref)[kind]
    assert (row["state"], row["error"]) == ("finalized", None)
    record = bytes(house.anchors(ref)["policy"]["record"])
    ((address, policy),) = ledger.accounts(house, record)
    assert (address, policy.is_active) == (row["account"], active)
    about = [item for item in ledger.transactions(house, address) if item.instructions == TRANSACTION[kind]]
    assert [item.signature for item in about] == [row["signature"]]
    assert len(ledger.transactions(house, address)) == (1 if active else 2)

    told = _anchor_entries(house, ref, kind)
    # Signed anew only where the cluster let the first transaction expire, and then this was recorded as well.
    assert told.count("anchor.submitted") == 1 + told.count("anchor.expired")
    assert told.count("anchor.confirmed") <= 1 + told.count("anchor.expired")
    assert told.count("anchor.finalized") == 1
    assert not {"anchor.failed", "anchor.reset"} & set(told)
    audited = house.audited(ref)
    assert audited.count("ballot.closed") == audited.count("policy.enacted") == 1
    assert audited.count("policy.suspended") == (0 if active else 1)
    assert _workflow(house, ref) == "completed"


def _workflow(house: House, ref: str) -> str:
    return house.value("SELECT status FROM workflow WHERE subject = $1", ref)


def _anchor_entries(house: House, ref: str, kind: str) -> list[str]:
    entries = house.rows(
        "SELECT type FROM audit.entry WHERE subject = $1 AND type LIKE 'anchor.%' "
        "AND convert_from(body, 'UTF8')::jsonb->'payload'->>'kind' = $2 ORDER BY number",
        ref,
        kind,
    )
    return [row["type"] for row in entries]
