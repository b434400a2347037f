"""Who drafts: in this process, or a service elsewhere. Neither decides anything: drafts are validated by whoever asked."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from workflows.errors import NotFound, Unavailable
from workflows.policy_creation.synthesis import choosing, goals, retrieval, writing
from workflows.policy_creation.synthesis.shapes import (
    LIMITS,
    Drafted,
    Drafts,
    Left,
    Means,
    Setting,
    Wish,
    Written,
)
from workflows.ports import Embedder, LanguageModel


class Synthesiser(Protocol):
    """Never called inside a transaction: it takes its time."""

    async def draft(self, wish: Wish, setting: Setting) -> Drafts:
        """Drafts by every means there is. Raises Unavailable when none can be asked."""
        ...

    async def mend(
        self, wish: Wish, setting: Setting, model: str, answer: str, errors: Sequence[str]
    ) -> Written:
        """What a language model makes of its answer, told what is wrong with it. Raises Unavailable."""
        ...

    async def close(self) -> None: ...


class LocalSynthesiser:
    """In this process. `embedder` and `models` are closed by whoever opened them."""

    def __init__(self, models: Sequence[LanguageModel], embedder: Embedder | None) -> None:
        self.models = tuple(models)
        self.memory = retrieval.Memory(embedder) if embedder else None

    async def draft(self, wish: Wish, setting: Setting) -> Drafts:
        found = list(choosing.drafted(wish, setting))
        near, means = await self._near(wish, setting)
        drafted = [item for item in found if isinstance(item, Drafted)] + near
        written = await asyncio.gather(
            *(self._written(model, wish, setting, drafted) for model in self.models)
        )
        return Drafts(
            drafted=drafted,
            written=[item for item in written if isinstance(item, Written)],
            left=[item for item in (*found, *written) if isinstance(item, Left)],
            means=[_of_templates(len(found)), means, _of_models(self.models)],
        )

    async def mend(
        self, wish: Wish, setting: Setting, model: str, answer: str, errors: Sequence[str]
    ) -> Written:
        for item in self.models:
            if item.name == model:
                return await writing.mend(item, wish, setting, answer, errors)
        raise NotFound(f"There is no language model {model}.", code="no_language_model")

    async def close(self) -> None:
        pass

    async def _near(self, wish: Wish, setting: Setting) -> tuple[list[Drafted], Means]:
        standing = [item for item in setting.standing if len(item.text) <= LIMITS["text"]]
        if wish.engine:
            standing = [item for item in standing if item.rule is None or item.rule.engine == wish.engine]
        near = await asyncio.to_thread(retrieval.nearest, wish.goal, standing, self.memory)
        by = f"by meaning, with {self.memory.embedder.name}" if self.memory else "by the words they share"
        compared = f"{len(standing)} {'policy' if len(standing) == 1 else 'policies'} in force"
        says = f"{compared} compared with the goal {by}: {_number(len(near))} near."
        goal = goals.read(wish.goal)
        drafts = [retrieval.adapted(item, goal, setting) for item in near]
        return drafts, Means(kind="policy", used=bool(standing), says=says)

    async def _written(
        self, model: LanguageModel, wish: Wish, setting: Setting, exemplars: Sequence[Drafted]
    ) -> Written | Left:
        try:
            return await writing.write(model, wish, setting, exemplars)
        except Unavailable as refusal:
            title = f"{model.name} ({model.model})"
            return Left(kind="language_model", key=model.name, title=title, why=refusal.detail)


def _of_templates(fitting: int) -> Means:
    says = f"{len(choosing.ALL)} templates: the goal speaks of what {_number(fitting)} {'is' if fitting == 1 else 'are'} for."
    return Means(kind="template", used=True, says=says)


def _of_models(models: Sequence[LanguageModel]) -> Means:
    if not models:
        says = "No language model is set up here, so that none was asked."
        return Means(kind="language_model", used=False, says=says)
    asked = ", ".join(f"{item.name} ({item.model})" for item in models)
    return Means(kind="language_model", used=True, says=f"Asked: {asked}.")


def _number(count: int) -> str:
    return str(count) if count else "none"
