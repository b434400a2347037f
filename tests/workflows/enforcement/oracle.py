"""Datalog by another way: naive bottom-up evaluation by strata over all data (Abiteboul, Hull, Vianu 1995, ch. 12, 15)."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator
from typing import Any

import clingo

from workflows.policy_enforcement.engines.datalog_gate import Clause

COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "!=": operator.ne,
    "<=": operator.le,
    ">=": operator.ge,
    "=": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
}
World = dict[str, set[tuple[Any, ...]]]


def decide(
    clauses: list[Clause], facts: dict[str, Any], input: dict[str, Any]
) -> tuple[bool, list[str], list[Any]]:
    """(allow, deny codes sorted, obligations)."""
    world: World = {"input": set(_leaves(input, ""))}
    for name, rows in facts.items():
        world[name] = {tuple(map(_plain, row if isinstance(row, list) else [row])) for row in rows}
    for name in {clause.predicate for clause in clauses}:
        world[name] = set()  # what a rule defines, data does not
    for stratum in _strata(clauses):
        grown = True
        while grown:
            grown = False
            for clause in stratum:
                for values in _matches(clause, world):
                    row = tuple(_value(term, values) for term in clause.terms)
                    if row not in world[clause.predicate]:
                        world[clause.predicate].add(row)
                        grown = True
    deny = sorted(str(row[0]) for row in world.get("deny", ()))
    return bool(world.get("allow")), deny, list(world.get("oblige", ()))


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item, path)
    else:
        yield path, _plain(value)


def _plain(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and abs(value) < 2**31:
        return value
    return "null" if value is None else str(value)


def _strata(clauses: list[Clause]) -> list[list[Clause]]:
    level = {clause.predicate: 0 for clause in clauses}
    for _ in range(len(level) + 1):
        for clause in clauses:
            for literal in clause.body:
                least = level.get(literal.predicate, 0) + (not literal.positive)
                level[clause.predicate] = max(level[clause.predicate], least)
    return [
        [c for c in clauses if level[c.predicate] == n] for n in range(max(level.values(), default=0) + 1)
    ]


def _matches(clause: Clause, world: World) -> Iterator[dict[str, Any]]:
    found: list[dict[str, Any]] = [{}]
    for literal in [each for each in clause.body if each.positive]:
        found = [
            extended
            for values in found
            for row in world.get(literal.predicate, ())
            if (extended := _unified(literal.terms, row, values)) is not None
        ]
    for values in found:
        if all(_absent(each, values, world) for each in clause.body if not each.positive) and _holds(
            clause, values
        ):
            yield values


def _unified(terms: tuple[Any, ...], row: tuple[Any, ...], values: dict[str, Any]) -> dict[str, Any] | None:
    if len(terms) != len(row):
        return None
    extended = dict(values)
    for term, cell in zip(terms, row, strict=True):
        wanted = extended.setdefault(term, cell) if isinstance(term, str) else _symbol(term)
        if wanted != cell or isinstance(wanted, str) != isinstance(cell, str):
            return None
    return extended


def _absent(literal: Any, values: dict[str, Any], world: World) -> bool:
    return not any(
        _unified(literal.terms, row, values) is not None for row in world.get(literal.predicate, ())
    )


def _holds(clause: Clause, values: dict[str, Any]) -> bool:
    """The comparisons, read from the clause's text: `X != "a"`, `X*2+1 < 10`."""
    body = clause.text.partition(":-")[2]
    for part in re.split(r"[;,]\s*(?![^(]*\))", body):
        match = re.fullmatch(r"\s*([^<>=!]+?)\s*(!=|<=|>=|=|<|>)\s*([^<>=!]+?)\s*", part)
        if match and not COMPARE[match[2]](_arithmetic(match[1], values), _arithmetic(match[3], values)):
            return False
    return True


def _arithmetic(text: str, values: dict[str, Any]) -> Any:
    if text.startswith('"'):
        return text.strip('"')
    return values[text] if text in values else eval(text, {"__builtins__": {}}, values)


def _value(term: Any, values: dict[str, Any]) -> Any:
    return values[term] if isinstance(term, str) else _symbol(term)


def _symbol(term: clingo.Symbol) -> Any:
    if term.type == clingo.SymbolType.Number:
        return term.number
    return term.string if term.type == clingo.SymbolType.String else str(term)
