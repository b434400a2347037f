"""A worker that kills itself (SIGKILL) at one point of the anchoring: `python -m tests.chain.dying_worker POINT URL RPC`.

The authority's keypair comes in ANCHOR_KEYPAIR.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from sqlalchemy.ext.asyncio import create_async_engine

from chain import queue
from chain.config import ChainConfig, parse_keypair
from chain.rpc import Node
from tests.chain.bridge import run_until_done
from tests.chain.enacted import Assembly
from workflows.constitution.document import load
from workflows.policy_creation import implementation


def die(*_: Any, **__: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def before(_: Callable[..., Any]) -> Callable[..., Any]:
    return die


def after(step: Callable[..., Any]) -> Callable[..., Any]:
    async def dying(*args: Any, **kwargs: Any) -> None:
        await step(*args, **kwargs)
        die()

    return dying


POINTS = {
    "before the bytes are stored": (queue, "submitted", before),
    "while the bytes are being stored": (queue, "submitted", after),
    "before sending": (Node, "send", before),
    "after sending": (Node, "send", after),
    "before confirmed is stored": (queue, "confirmed", before),
    "before finalized is stored": (queue, "finalized", before),
    "while finalized is being stored": (implementation, "anchored", after),
}


async def work(database: str, rpc_url: str) -> None:
    engine = create_async_engine(database)
    assembly = Assembly(engine, load())
    config = ChainConfig(rpc_url=rpc_url, authority=parse_keypair(os.environ["ANCHOR_KEYPAIR"]), timeout=5)
    await run_until_done(assembly, config)


if __name__ == "__main__":
    point, database, rpc_url = sys.argv[1:]
    owner, name, how = POINTS[point]
    setattr(owner, name, how(getattr(owner, name)))
    asyncio.run(work(database, rpc_url))
