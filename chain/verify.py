"""Whether what is published of a policy is what was decided and what stands on chain. Pure: facts in, verdict out.

Nothing stored is believed: each step recomputes from the evidence beneath it and compares bytes. A step that cannot
be taken says so (`absent`), one whose time has not come waits (`pending`); only when all pass is a policy verified.

`claims` and `read` gather the facts, `check` judges them.
"""

from __future__ import annotations

from typing import Any

from chain import decided, onchain
from chain.checks import Step, Verification
from chain.claims import Claims, Reading, claims, decided_under, read
from workflows.constitution.document import Constitution, of_bytes
from workflows.kinds import PolicyState

__all__ = [
    "Claims",
    "Reading",
    "Step",
    "Verification",
    "check",
    "claims",
    "conclude",
    "decided_under",
    "read",
]


def check(claimed: Claims, reading: Reading, constitution: Constitution) -> Verification:
    """Hold the claims, the chain and the document it was decided under (or, before that, the one in force) together."""
    opened = of_bytes(claimed.opened_under, "constitution.md") if claimed.opened_under else constitution
    steps = [
        decided.text_step(claimed),
        decided.version_step(claimed),
        decided.reviews_step(claimed, opened),
        decided.ballot_step(claimed, opened),
        onchain.constitution_step(claimed, reading, constitution),
        onchain.record_step(claimed, reading, constitution),
        onchain.account_step(claimed, reading),
        onchain.transaction_step(claimed, reading, constitution),
    ]
    if claimed.state == PolicyState.SUSPENDED or claimed.deactivation is not None:
        steps.append(onchain.suspension_step(claimed, reading, constitution))
    passed = "What is published is what was decided, and what was decided is what stands on chain."
    return conclude(steps, reading, passed, ref=claimed.ref, version=claimed.version.number)


def conclude(steps: list[Step], reading: Reading, passed: str, **about: Any) -> Verification:
    """The verdict over all steps; `passed` says it where all is well."""
    failed = [item for item in steps if item.state == "fail"]
    unknown = [item for item in steps if item.state in ("absent", "pending")]
    summary = passed
    if failed:
        summary = f"Something does not agree. {failed[0].title}: {failed[0].explanation}"
    elif unknown:
        summary = f"Nothing disagrees, but not everything can be checked. {unknown[0].explanation}"
    return Verification(
        overall="failed" if failed else "incomplete" if unknown else "verified",
        summary=summary,
        read_at=reading.read_at,
        cluster=reading.cluster,
        steps=steps,
        **about,
    )
