"""A body that governs itself on a database of its own, and a localnet process with its own key, for the bridge's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from solders.keypair import Keypair
from sqlalchemy.ext.asyncio import create_async_engine

from chain.config import ChainConfig
from tests.chain.enacted import Assembly
from tests.chain.localnet.node import Node
from tests.workflows.log.conftest import TestLog, log_on
from workflows.audit_transparency.checkpoints import SecondPlace
from workflows.constitution.document import Constitution


@pytest.fixture
async def assembly(fresh_database: str, constitution: Constitution) -> AsyncIterator[Assembly]:
    engine = create_async_engine(fresh_database)
    made = Assembly(engine, constitution)
    await made.gather()
    yield made
    await engine.dispose()


@pytest.fixture
def log(assembly: Assembly, tmp_path: Path) -> TestLog:
    """The audit log of that body: ordered and signed when a test says so."""
    url = assembly.engine.url.render_as_string(hide_password=False)
    return log_on(url, SecondPlace(tmp_path / "place" / "checkpoint"))


@pytest.fixture
def start_localnet(tmp_path: Path) -> Iterator[Callable[..., Node]]:
    """Start a localnet on `tmp_path/<name>`; ended with the test."""
    nodes: list[Node] = []

    def start(name: str = "ledger", **options: int) -> Node:
        nodes.append(Node(tmp_path / name, **options))
        return nodes[-1]

    yield start
    for node in nodes:
        if node.process.poll() is None:
            node.end()


@pytest.fixture(scope="module")
def localnet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """One for all tests of a module; slots of 50 ms, final after 6."""
    node = Node(tmp_path_factory.mktemp("bridge"))
    yield node
    if node.process.poll() is None:
        node.end()


@pytest.fixture(scope="module")
def config(localnet: Node) -> ChainConfig:
    """The shared localnet with the key that will be its constitution's authority."""
    return ChainConfig(rpc_url=localnet.url, authority=Keypair(), timeout=5)


@pytest.fixture
def own(start_localnet: Callable[..., Node]) -> ChainConfig:
    """A chain of the test's own, on which nothing was anchored yet."""
    return ChainConfig(rpc_url=start_localnet().url, authority=Keypair(), timeout=5)
