"""What the core asks of machinery that can be exchanged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]


class Embedder(Protocol):
    """Turns texts into unit vectors of one length. Name, hash and length say which vectors may be compared."""

    @property
    def name(self) -> str: ...

    @property
    def model_sha256(self) -> str: ...

    @property
    def dimension(self) -> int: ...

    def embed(self, texts: Sequence[str]) -> Vectors:
        """One row a text, of length one. It takes its time: not for the event loop, nor inside a transaction."""
        ...


class LanguageModel(Protocol):
    """Answers a text with a text. What it answers is a stranger's word: it is checked before anything follows from it."""

    @property
    def name(self) -> str:
        """What people call it."""
        ...

    @property
    def model(self) -> str:
        """Which model answers there."""
        ...

    async def complete(self, system: str, user: str, *, seconds: float = 30.0) -> str:
        """The answer to `user` under the instructions `system`. Not inside a transaction. Raises Unavailable."""
        ...
