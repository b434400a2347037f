"""One localnet for the tests that share it; a factory for those that need their own."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.chain.localnet.node import Node


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """Slots of 50 ms, final after 6: 0.1 s to confirmed, 0.3 s to finalized."""
    node = Node(tmp_path_factory.mktemp("localnet"))
    yield node
    node.end()


@pytest.fixture
def make_node(tmp_path: Path) -> Iterator[Callable[..., Node]]:
    """Start a localnet of one's own (on `tmp_path/ledger`); ended with the test."""
    nodes: list[Node] = []

    def make(**options: int) -> Node:
        nodes.append(Node(tmp_path / "ledger", **options))
        return nodes[-1]

    yield make
    for node in nodes:
        if node.process.poll() is None:
            node.end()
