"""Begins with a policy in force that is near the goal: its text and rule, with the goal's amounts and periods for its own.

Near is what an embedder finds near; without one, what shares words. Nothing is claimed of an adapted rule here: it is
tried like any other, and where it cannot stand beside the rule it was made from, the text is offered without it.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import msgspec

from workflows.policy_creation.synthesis import goals
from workflows.policy_creation.synthesis.goals import Amount, Goal, Period
from workflows.policy_creation.synthesis.shapes import Drafted, Read, Setting, Source, Standing
from workflows.policy_creation.synthesis.templates.filling import free_name, safeguards
from workflows.policy_creation.views import RuleDraft
from workflows.ports import Embedder, Vectors

BEST = 2  # policies
NEAR = 0.45  # cosine of embeddings
SHARED = 0.15  # cosine of shared words, at least two of them
KEPT = 4_000  # vectors
_DULL = re.compile(
    r"a|about|after|all|also|an|and|any|are|as|at|be|been|before|but|by|can|do|does|each|every\w*|for|from|ha[sd]|have|if"
    r"|in|into|is|it|its|may|members?|more|must|no|not|of|on|one|only|or|other|our|own|people|person|policy|rules?|shall"
    r"|should|so|some|than|that|the|their|them|then|there|these|they|this|those|to|under|until|up|wants?|was|we|what"
    r"|when|where|which|who|whoever|will|with|within|without"
)
_NAME = re.compile(r'(?<=^package policies\.)\w+|(?<=\bname\(")\w+(?="\))', re.M)


class Memory:
    """Vectors of what was embedded before, by what it was."""

    def __init__(self, embedder: Embedder) -> None:
        self.embedder = embedder
        self.vectors: dict[str, Any] = {}

    def of(self, texts: Sequence[str]) -> list[Any]:
        """One vector a text. Takes its time: not for the event loop."""
        keys = [hashlib.sha256(text.encode()).hexdigest() for text in texts]
        new = {key: text for key, text in zip(keys, texts, strict=True) if key not in self.vectors}
        if new:
            found: Vectors = self.embedder.embed(list(new.values()))
            while len(self.vectors) + len(new) > KEPT and self.vectors:
                self.vectors.pop(next(iter(self.vectors)))
            self.vectors |= zip(new, found, strict=True)
        return [self.vectors[key] for key in keys]


class Near(msgspec.Struct, frozen=True):
    """A policy that is near a goal, and why one may say so."""

    standing: Standing
    similarity: float
    why: str


def nearest(goal: str, standing: Sequence[Standing], memory: Memory | None) -> list[Near]:
    """The nearest first; none where none is near."""
    if not standing:
        return []
    found = _by_meaning(goal, standing, memory) if memory else _by_words(goal, standing)
    return sorted(found, key=lambda item: -item.similarity)[:BEST]


def _by_meaning(goal: str, standing: Sequence[Standing], memory: Memory) -> list[Near]:
    asked, *vectors = memory.of([goal, *(f"{item.title}. {item.summary}" for item in standing)])
    near = []
    for item, vector in zip(standing, vectors, strict=True):
        similarity = float(asked @ vector)
        if similarity >= NEAR:
            why = f"It is about much the same as the goal: similarity {similarity:.2f} by {memory.embedder.name}."
            near.append(Near(item, similarity, why))
    return near


def _by_words(goal: str, standing: Sequence[Standing]) -> list[Near]:
    texts = [_terms(f"{item.title} {item.title} {item.summary}") for item in standing]
    asked = _terms(goal)
    found = Counter(term for terms in texts for term in set(terms))
    weight = {term: math.log((len(texts) + 1) / (found[term] + 0.5)) for term in {*found, *asked}}
    near = []
    for item, terms in zip(standing, texts, strict=True):
        shared = [term for term in asked if term in terms]
        similarity = _cosine(asked, terms, weight)
        if similarity >= SHARED and len(shared) > 1:
            why = f"It has words of the goal: {', '.join(sorted(shared))}."
            near.append(Near(item, similarity, why))
    return near


def _terms(text: str) -> Counter[str]:
    """Words without their plural and without what says little."""
    words = re.findall(r"[^\W\d_]{3,}", text.lower())
    return Counter(
        re.sub(r"(?<=\w{3})(?:ies|es|s)$", "", word) for word in words if not _DULL.fullmatch(word)
    )


def _cosine(one: Counter[str], other: Counter[str], weight: dict[str, float]) -> float:
    def length(terms: Counter[str]) -> float:
        return math.sqrt(sum((count * weight[term]) ** 2 for term, count in terms.items()))

    shared = sum(one[term] * other[term] * weight[term] ** 2 for term in one)
    return shared / (length(one) * length(other)) if shared else 0.0


def adapted(near: Near, goal: Goal, setting: Setting) -> Drafted:
    """The policy with what the goal says of its amounts and periods, and its own words otherwise."""
    standing = near.standing
    own = goals.read(f"{standing.title}. {standing.summary}")
    amounts = _pairs(own.amounts, goal.amounts)
    periods = _pairs(own.periods, goal.periods)

    def put(text: str) -> str:
        for old, new in amounts:
            text = _amount_in(text, old, new)
        for old, new in periods:
            text = _period_in(text, old, new)
        return text

    return Drafted(
        source=Source(
            kind="policy",
            key=standing.ref,
            title=standing.title,
            why=near.why,
            version=standing.version,
            sha256=standing.version_sha256,
        ),
        title=put(standing.title),
        summary=put(standing.summary),
        text=put(standing.text).rstrip() + "\n" + safeguards(setting),
        category=standing.category,
        rule=_rule(standing.rule, amounts, put, setting) if standing.rule else None,
        read=tuple(_reads(amounts, periods)),
        notes=() if amounts or periods else ("Nothing in it was changed: read it against your goal.",),
    )


def _pairs(own: tuple, goal: tuple) -> list[tuple[Any, Any]]:
    """Its values and the goal's, one to one, the largest with the largest; none where their numbers differ."""

    def size(item: Amount | Period) -> int:
        return item.value if isinstance(item, Amount) else item.hours

    before = sorted({size(item): item for item in own}.values(), key=size)
    after = sorted({size(item): item for item in goal}.values(), key=size)
    if len(before) != len(after):
        return []
    return [(old, new) for old, new in zip(before, after, strict=True) if size(old) != size(new)]


def _amount_in(text: str, old: Amount, new: Amount) -> str:
    grouped = re.escape(f"{old.value:,}").replace(",", "[,.' ’\u00a0\u202f]")
    return re.sub(
        rf"(?<![\w.,])(?:{grouped}|{old.value})(?![\w]|[.,]\d)",
        lambda found: f"{new.value:,}" if not found[0].isdecimal() or old.value < 1_000 else str(new.value),
        text,
    )


def _period_in(text: str, old: Period, new: Period) -> str:
    words = "|".join({re.escape(old.quote), rf"{old.value}[\s-]{old.unit}s?"})
    text = re.sub(rf"\b(?:{words})(?!\w)", new.text, text, flags=re.I)
    text = re.sub(rf"\b{old.iso}\b", new.iso, text)
    return re.sub(rf"(?<!\w){old.hours * 3600}(?!\w)", str(new.hours * 3600), text)


def _rule(rule: RuleDraft, amounts: list[tuple[Amount, Amount]], put: Any, setting: Setting) -> RuleDraft:
    source = put(rule.source)
    name = _NAME.search(source)
    if name:
        source = source[: name.start()] + free_name(name[0], setting.taken) + source[name.end() :]
    return RuleDraft(rule.engine, source, _moved(rule.examples, amounts))


def _moved(examples: list[dict[str, Any]], amounts: list[tuple[Amount, Amount]]) -> list[dict[str, Any]]:
    """The examples on the same side of the new limits as of the old ones, and one that is allowed just at a raised limit.

    That one shows where the rule cannot stand beside the one it was made from.
    """
    moved = [{**each, "input": _with_amounts(each["input"], partial(_at, amounts))} for each in examples]
    allowed = [each for each in examples if each["expect"] not in ("deny", False)]
    for old, new in amounts:
        under = [each for each in allowed if any(value <= old.value for value in _amounts(each["input"]))]
        if new.value > old.value and under:
            most = max(under, key=lambda each: max(_amounts(each["input"])))
            moved.append({**most, "input": _with_amounts(most["input"], lambda _, limit=new.value: limit)})
    return moved


def _at(amounts: list[tuple[Amount, Amount]], value: int) -> int:
    if not amounts:
        return value
    old, new = min(amounts, key=lambda pair: abs(pair[0].value - value))
    if value <= old.value:
        return min(value, new.value)
    return value if value > new.value else new.value + value - old.value


def _with_amounts(value: Any, change: Callable[[int], int], key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: _with_amounts(item, change, name) for name, item in value.items()}
    if isinstance(value, list):
        return [_with_amounts(item, change, key) for item in value]
    return change(value) if _is_amount(value, key) else value


def _amounts(value: Any, key: str = "") -> list[int]:
    if isinstance(value, dict):
        return [found for name, item in value.items() for found in _amounts(item, name)]
    return [value] if _is_amount(value, key) else []


def _is_amount(value: Any, key: str) -> bool:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return whole and bool(re.search(r"amount|price|sum|cost|total|value", key))


def _reads(amounts: list[tuple[Amount, Amount]], periods: list[tuple[Period, Period]]) -> Iterator[Read]:
    for old, new in amounts:
        yield Read(what=f"Instead of {old.text}", value=goals.money(new.value, old.currency), quote=new.quote)
    for before, after in periods:
        yield Read(what=f"Instead of {before.text}", value=after.text, quote=after.quote)
