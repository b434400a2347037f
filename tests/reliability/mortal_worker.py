"""The portal's worker, which dies or waits at named points of its work: `python -m tests.reliability.mortal_worker ORDERS`.

Each file in the directory ORDERS names a point and says `die` (SIGKILL, as the kernel would) or `hold` (wait there until
the file `POINT.held` is taken away). Without an order the worker is the portal's own.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any

from chain import queue
from chain.rpc import Node, Status
from portal import log, worker
from portal.__main__ import main
from workflows.audit_transparency import checkpoints, sequencer
from workflows.constitutional_compliance import outcome, validations
from workflows.policy_creation import implementation

Step = Callable[..., Awaitable[Any]]

# (where, which function, whether before or after it)
POINTS: dict[str, tuple[Any, str, str]] = {
    "queued": (queue, "submitted", "before"),  # nothing signed is stored
    "signed": (Node, "send", "before"),  # stored, not sent
    "submitted": (Node, "send", "after"),
    "confirmed": (queue, "finalized", "before"),
    "finalizing": (implementation, "anchored", "after"),  # inside the transaction that stores finality
    "closing": (implementation, "enact", "after"),  # inside the transaction that closes a ballot
    "closed": (worker, "sweep", "after"),  # committed, and the job not yet struck off
    "judging": (validations, "take", "after"),  # taken by this worker, and not judged
    "judged": (validations, "_judged", "after"),  # judged, and not kept
    "keeping": (outcome, "follow", "after"),  # inside the transaction that keeps what was found
    "ordering": (sequencer, "_append", "after"),  # inside the transaction that puts entries into the tree
    "ordered": (log, "sequence", "after"),  # committed, not signed
    "second_place": (checkpoints, "_insert", "before"),  # signed and in the second place, not in the database
    "checkpointed": (checkpoints, "sign", "after"),
}


async def reach(orders: Path, point: str) -> None:
    order, held = orders / point, orders / f"{point}.held"
    if not order.exists():
        return
    what = order.read_text()
    order.rename(held)
    if what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    while held.exists():  # noqa: ASYNC110 – another process takes it away
        await asyncio.sleep(0.01)


def mortal(orders: Path, point: str, where: str, step: Step) -> Step:
    @wraps(step)
    async def with_point(*args: Any, **kwargs: Any) -> Any:
        if where == "before":
            await reach(orders, point)
        result = await step(*args, **kwargs)
        if where == "after":
            await reach(orders, point)
        return result

    return with_point


def lagging(orders: Path, statuses: Step) -> Step:
    """A node that calls nothing final while its client is to be caught at `confirmed`, which it else may never see."""
    seen: set[str] = set()

    @wraps(statuses)
    async def with_lag(self: Node, signatures: list[str]) -> list[Status | None]:
        found = await statuses(self, signatures)
        if (orders / "confirmed").exists():
            for at, (signature, status) in enumerate(zip(signatures, found, strict=True)):
                if status and status.level == "finalized" and signature not in seen:
                    found[at] = replace(status, level="confirmed")
                if status:
                    seen.add(signature)
        return found

    return with_lag


def arrange(orders: Path) -> None:
    for point, (owner, name, where) in POINTS.items():
        setattr(owner, name, mortal(orders, point, where, getattr(owner, name)))
    Node.statuses = lagging(orders, Node.statuses)  # type: ignore[method-assign]


if __name__ == "__main__":
    arrange(Path(sys.argv[1]))
    main(["worker"])
