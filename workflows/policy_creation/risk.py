"""A first, rule-based assessor of what a policy could do: it reads clauses, not substrings, and shows its evidence.

It looks for acts done to something that a constitution protects (“delete … audit logs”), minds what negates them
(“nobody may …”), and what makes them worse (“all”, “without approval”, “after one day”). It knows words, not meanings:
reviewers read the text itself, whatever is found here, and workflow “constitutional compliance” reads it deeper.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from workflows.kinds import Category, RiskLevel, Strategy
from workflows.policy_creation import risk_words as words
from workflows.policy_creation.clauses import Clause, Token, clauses
from workflows.policy_creation.views import Evidence, PolicyDraft, Risk

LEVELS = list(RiskLevel)
STRATEGIES = list(Strategy)
REACH = 12  # words between an act and what it is done to
SHOWN = 20  # pieces of evidence, gravest first
QUOTE = 300  # characters

Field = Literal["title", "summary", "text"]


def assess(draft: PolicyDraft) -> Risk:
    """The tier that a draft needs, with its evidence. The stricter of assessed and requested applies."""
    evidence = [*_circumstances(draft)]
    for field in ("title", "summary", "text"):
        evidence.extend(_in_field(field, getattr(draft, field)))
    evidence.extend(_unreadable(draft))
    if not evidence:
        explanation = "No clause was found that touches what the constitution protects."
        evidence = [
            Evidence(kind="nothing_found", level=RiskLevel.LOW, explanation=explanation, field="text")
        ]
    evidence.sort(key=lambda item: -LEVELS.index(item.level))
    level = evidence[0].level
    assessed = STRATEGIES[LEVELS.index(level)]
    requested = Strategy(draft.risk_strategy) if draft.risk_strategy else None
    strategy = max(assessed, requested or assessed, key=STRATEGIES.index)
    return Risk(
        level=level, assessed=assessed, requested=requested, strategy=strategy, evidence=evidence[:SHOWN]
    )


def _circumstances(draft: PolicyDraft) -> Iterator[Evidence]:
    """What is known before a word is read."""
    if draft.category == Category.CONSTITUTIONAL:
        yield Evidence(
            kind="category",
            level=RiskLevel.CRITICAL,
            explanation="It changes the constitution or how it is read (§ 4.5).",
            field="category",
            quote=str(draft.category),
        )
    if draft.emergency:
        yield Evidence(
            kind="emergency",
            level=RiskLevel.MEDIUM,
            explanation="The emergency procedure leaves less time to object.",
            field="emergency",
        )
    if draft.rule is not None:
        yield Evidence(
            kind="executable_rule",
            level=RiskLevel.MEDIUM,
            explanation="It carries a rule that machines would execute.",
            field="rule",
            quote=draft.rule.source[:QUOTE],
        )


def _unreadable(draft: PolicyDraft) -> Iterator[Evidence]:
    """A text this assessor cannot read must not pass as harmless."""
    found = re.findall(r"[^\W\d_]+", f"{draft.title} {draft.summary} {draft.text}".lower())
    if len(found) >= 12 and sum(word in words.ENGLISH for word in found) < 0.08 * len(found):
        yield Evidence(
            kind="unreadable",
            level=RiskLevel.MEDIUM,
            explanation="The text is not in English, the only language this assessor reads; people must.",
            field="text",
            quote=draft.text[:80],
            start=0,
            end=min(80, len(draft.text)),
        )


@dataclass(frozen=True)
class _Object:
    kind: str
    first: int  # positions of its tokens
    last: int
    amount: float = 0


def _in_field(field: Field, text: str) -> Iterator[Evidence]:
    for clause in clauses(text):
        yield from _in_clause(field, text, clause)


def _in_clause(field: Field, text: str, clause: Clause) -> Iterator[Evidence]:
    """The gravest thing the clause does, and, where nothing grave is done, that it is about wording only."""
    objects = list(_objects(clause.tokens))
    found = [
        (level, kind, thing)
        for position, kinds in _acts(clause.tokens)
        for negated in (_negated(clause.tokens, position),)
        for kind in kinds
        for thing in objects
        if (level := _gravity(kind, thing, negated)) and _bears_on(clause.tokens, position, thing, objects)
    ]
    human = _without_human(clause.tokens)
    quote: dict[str, Any] = {
        "field": field,
        "start": clause.start,
        "end": min(clause.end, clause.start + QUOTE),
        "quote": text[clause.start : min(clause.end, clause.start + QUOTE)],
    }
    if found:
        level, kind, thing = max(found, key=lambda item: LEVELS.index(item[0]))
        worse = _aggravation(clause.tokens, kind, thing, objects)
        explanation = f"It {words.ACT_WORDS[kind]} {words.OBJECT_WORDS[thing.kind]}"
        if worse:
            level = LEVELS[min(LEVELS.index(level) + 1, len(LEVELS) - 1)]
            explanation += f", and {worse}"
        yield Evidence(kind=f"{kind}_{thing.kind}", level=level, explanation=f"{explanation}.", **quote)
    elif human:
        explanation = "A machine decides, and no person looks at it."
        yield Evidence(kind="no_human", level=RiskLevel.HIGH, explanation=explanation, **quote)
    elif any(thing.kind == "editorial" for thing in objects) and field == "text":
        explanation = "It is about wording or form, not about what is ruled."
        yield Evidence(kind="editorial", level=RiskLevel.LOW, explanation=explanation, **quote)


def _acts(tokens: tuple[Token, ...]) -> Iterator[tuple[int, set[str]]]:
    for position, token in enumerate(tokens):
        kinds = set(words.ACTS.get(token.word, ()))
        after = {later.word for later in tokens[position + 1 : position + 5]}
        if token.word in words.PARTICLE_VERBS and after & words.PARTICLES:
            kinds.add("disable")
        if kinds:
            yield position, kinds


def _objects(tokens: tuple[Token, ...]) -> Iterator[_Object]:
    position = 0
    while position < len(tokens):
        for length in range(min(words.LONGEST_PHRASE, len(tokens) - position), 0, -1):
            piece = tokens[position : position + length]
            lemmas = tuple(token.lemma for token in piece)
            kind = words.PHRASES.get(lemmas) or words.PHRASES.get(tuple(token.word for token in piece))
            if kind:
                yield _Object(kind, position, position + length - 1)
                position += length - 1
                break
        else:
            if (amount := _amount(tokens, position)) is not None:
                yield _Object("funds", position, position, amount)
        position += 1


def _amount(tokens: tuple[Token, ...], position: int) -> float | None:
    """A sum of money: a number beside a currency."""
    number = _number(tokens[position].word)
    beside = tokens[max(position - 1, 0) : position] + tokens[position + 1 : position + 2]
    if number is not None and any(token.lemma in words.CURRENCIES for token in beside):
        return number
    return None


def _number(word: str) -> float | None:
    """`50,000`, `1.500` and `12.5` as people write them; None for a word."""
    if not re.fullmatch(r"\d[\d.,]*", word):
        return None
    plain = re.sub(r"[.,](?=\d{3}(?!\d))", "", word)  # thousands
    return float(re.sub(r"[.,](?=.*[.,])", "", plain).replace(",", "."))


def _gravity(kind: str, thing: _Object, negated: bool) -> RiskLevel | None:
    """How grave it is to do this to that; None when it is not. Protecting something is grave when it is negated."""
    if kind == "protect":
        return words.GRAVITY_UNPROTECTED.get(thing.kind) if negated else None
    return None if negated else words.GRAVITY.get((kind, thing.kind))


def _bears_on(tokens: tuple[Token, ...], act: int, thing: _Object, objects: list[_Object]) -> bool:
    """Whether the act is done to this thing, as far as their places tell."""
    distance = min(abs(act - thing.first), abs(act - thing.last))
    if distance > REACH or thing.first <= act <= thing.last:
        return False
    if thing.first and tokens[thing.first - 1].word == "without":
        return False  # “published without personal details”
    low, high = min(act, thing.first), max(act, thing.last)
    # “delete the word “log””: what is deleted is a word
    return not any(other.kind == "editorial" and low < other.first < high for other in objects)


def _negated(tokens: tuple[Token, ...], act: int) -> bool:
    """Whether an odd number of negations bears on the act."""
    said = [token.word for token in tokens]
    count = sum(_negates(said, position) for position in range(act))
    if act and said[act - 1] == "without":
        count += 1
    after = said[act + 1 :]
    count += any(word in words.AFTERWARDS for word in after)
    count += any(first == "not" and second in words.PERMISSION for first, second in itertools.pairwise(after))
    return count % 2 == 1


def _negates(said: list[str], position: int) -> bool:
    word = said[position]
    following = said[position + 1] if position + 1 < len(said) else ""
    if word.endswith("n't"):
        return True
    if word not in words.NEGATORS or (word, following) in words.NO_NEGATION:
        return False
    # “No approval is needed to …” takes a check away, it forbids nothing.
    return not (word == "no" and words.CHECKS & set(said[position + 1 : position + 3]))


def _without_human(tokens: tuple[Token, ...]) -> bool:
    said = [token.word for token in tokens]
    return any(
        word == "without"
        and any(item in ("human", "person", "people") for item in said[position + 1 : position + 4])
        for position, word in enumerate(said)
    )


def _aggravation(tokens: tuple[Token, ...], kind: str, thing: _Object, objects: list[_Object]) -> str | None:
    """What makes it worse, in words."""
    said = [token.word for token in tokens]
    for position, word in enumerate(said):
        near = set(said[position + 1 : position + 4]) | {
            token.lemma for token in tokens[position + 1 : position + 4]
        }
        if word in ("without", "no") and near & words.CHECKS:
            return "takes away a check on it"
        if word in words.EXTREMES:
            return f"does so without bounds (“{word}”)"
    if any(word in words.WHOLE for word in said[max(thing.first - 2, 0) : thing.first]) and kind != "expel":
        return "spares nothing"
    if kind in ("destroy", "weaken") and thing.kind == "trail" and _short_time(tokens):
        return "leaves hardly any time"
    if thing.kind == "funds" and _largest(tokens, objects) >= words.LARGE_AMOUNT:
        return "the sum is large"
    return None


def _short_time(tokens: tuple[Token, ...]) -> bool:
    for count, unit in itertools.pairwise(tokens):
        number = words.NUMBERS.get(count.word) or _number(count.word)
        if unit.lemma in words.HOURS and number is not None:
            return number * words.HOURS[unit.lemma] <= words.SHORT_RETENTION_HOURS
    return False


def _largest(tokens: tuple[Token, ...], objects: list[_Object]) -> float:
    numbers = [number for token in tokens if (number := _number(token.word)) is not None]
    return max([*numbers, *(item.amount for item in objects)], default=0)
