"""Decides by Datalog: clingo, given only those facts that can have a part in what follows from one input.

What does not depend on the input is derived once, when the rule is loaded. For a decision, the values that each variable
may take are found from the input on, column by column, and only rows that fit them are given to clingo: never too few,
as a join takes no row whose cell is not among the values of its variable.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import clingo

from workflows.policy_enforcement.engines.datalog_gate import (
    Clause,
    Literal,
    check,
    depends_on,
    reached,
    read,
)
from workflows.policy_enforcement.engines.names import ANSWERS, INPUT
from workflows.policy_enforcement.engines.rego import LONGEST, MOST_DENIALS, MOST_OBLIGATIONS
from workflows.policy_enforcement.says import Facts, Input, Obligation, Said

__all__ = ["check", "compile", "decide"]

MOST_FACTS = 20_000  # given for one decision
MOST_ATOMS = 50_000  # derived for one decision
Row = tuple[clingo.Symbol, ...]


@dataclass
class Relation:
    """Rows of one predicate, findable by the cell in any of their columns."""

    rows: list[Row]
    columns: list[dict[clingo.Symbol, list[Row]]]

    @classmethod
    def of(cls, rows: list[Row]) -> Relation:
        columns: list[dict[clingo.Symbol, list[Row]]] = [
            defaultdict(list) for _ in range(max((len(row) for row in rows), default=0))
        ]
        for row in rows:
            for column, cell in zip(columns, row, strict=False):
                column[cell].append(row)
        return cls(rows, columns)


@dataclass
class Compiled:
    """A rule ready to be asked: the clauses that depend on the input, as text too, and all that does not."""

    clauses: list[Clause]
    text: str
    given: dict[str, Relation]
    answered: list[tuple[str, Row]]  # allow, deny and oblige that follow whatever the input is


def compile(source: str, facts: Facts) -> Compiled:
    """A checked source with the data it reads. Raises ValueError for one that does not pass the gate."""
    program = read(source)
    if program.problems:
        raise ValueError(program.problems[0].message)
    edges = depends_on(program.clauses)
    moving = {name for name in edges if INPUT in reached(edges, name)} | {INPUT}
    dynamic = [clause for clause in program.clauses if clause.predicate in moving]
    static = [clause for clause in program.clauses if clause.predicate not in moving]
    wanted = {literal.predicate for clause in dynamic for literal in clause.body} - moving
    given = _derive(static, facts, wanted | set(ANSWERS))
    return Compiled(
        clauses=dynamic,
        text=" ".join(f"{clause.text}." for clause in dynamic),
        given={name: Relation.of(given.get(name, [])) for name in wanted},
        answered=[(name, row) for name in ANSWERS for row in given.get(name, [])],
    )


def _derive(static: list[Clause], facts: Facts, wanted: set[str]) -> dict[str, list[Row]]:
    """All that follows without any input, for the predicates that are wanted."""
    defined = {clause.predicate for clause in static}
    used = {literal.predicate for clause in static for literal in clause.body} | wanted
    rows = {name: _relation(value) for name, value in facts.items() if name in used and name not in defined}
    symbols = _ground(
        " ".join(f"{clause.text}." for clause in static),
        ((name, row) for name, found in rows.items() for row in found),
    )
    given: dict[str, list[Row]] = defaultdict(list)
    for symbol in symbols:
        if symbol.name in wanted:
            given[symbol.name].append(tuple(symbol.arguments))
    return dict(given)


def decide(compiled: Compiled, input: Input) -> Said:
    """What the rule says of an input. Never raises: what cannot be decided says its error."""
    try:
        given = list(_leaves(input))
        facts = _slice(compiled, given)
        atoms = _ground(compiled.text, [*((INPUT, row) for row in given), *facts], set(ANSWERS))
    except (RuntimeError, ValueError, RecursionError, UnicodeError) as error:
        return Said(error=str(error)[:300])
    return _said(atoms)


def _said(atoms: Iterable[clingo.Symbol]) -> Said:
    found: dict[str, list[Row]] = {name: [] for name in ANSWERS}
    for symbol in atoms:
        if symbol.name in ANSWERS and len(symbol.arguments) == ANSWERS[symbol.name]:
            found[symbol.name].append(tuple(symbol.arguments))
    deny = sorted(_plain(row[0]) for row in found["deny"])
    if (
        len(deny) > MOST_DENIALS
        or len(found["oblige"]) > MOST_OBLIGATIONS
        or any(len(code) > LONGEST for code in deny)
    ):
        return Said(error="it says more than a rule may")
    obligations = []
    for id, text, seconds in found["oblige"]:
        if seconds.type != clingo.SymbolType.Number or seconds.number <= 0:
            return Said(error="an obligation’s third term is a number of seconds above 0")
        obligations.append(Obligation(_plain(id)[:60], _plain(text)[:LONGEST], seconds.number))
    return Said(
        allow=bool(found["allow"]),
        deny=deny,
        obligations=sorted(obligations, key=lambda item: (item.id, item.text)),
    )


def _plain(symbol: clingo.Symbol) -> str:
    return symbol.string if symbol.type == clingo.SymbolType.String else str(symbol)


Domains = dict[str, list[set[clingo.Symbol]]]


def _slice(compiled: Compiled, given: list[Row]) -> list[tuple[str, Row]]:
    """The static facts that can have a part in what follows from the input. Raises ValueError beyond MOST_FACTS."""
    relations = {**compiled.given, INPUT: Relation.of(given)}
    domains: Domains = {}
    found: dict[tuple[str, Row], None] = dict.fromkeys(compiled.answered)
    grown = True
    while grown:  # once for rules that build on one another, more often where they go round
        grown = False
        for clause in compiled.clauses:
            values = _values(clause, relations, domains, found)
            if values is not None:
                grown |= _widen(domains, clause, values)
    return list(found)


def _values(
    clause: Clause, relations: dict[str, Relation], domains: Domains, found: dict[tuple[str, Row], None]
) -> dict[str, set[clingo.Symbol]] | None:
    """What each variable of a clause may stand for, taking along the facts that fit; None: it cannot apply yet."""
    values: dict[str, set[clingo.Symbol]] = {}
    waiting = list(clause.body)
    while waiting:
        literal = min(waiting, key=lambda each: _loose(each, relations, values))
        waiting.remove(literal)
        if literal.predicate in relations:
            rows = _fitting(relations[literal.predicate], literal.terms, values)
            if literal.predicate != INPUT:
                found.update(dict.fromkeys((literal.predicate, row) for row in rows))
                if len(found) > MOST_FACTS:
                    raise ValueError("too many facts hang together with this input")
            columns = [set(column) for column in zip(*rows, strict=True)] or [set() for _ in literal.terms]
        else:
            columns = domains.get(literal.predicate) or [set() for _ in literal.terms]
        if not literal.positive:
            continue
        if literal.predicate in relations and not rows:
            return None
        if literal.predicate not in relations and literal.predicate not in domains:
            return None
        for term, column in zip(literal.terms, columns, strict=True):
            if isinstance(term, str):
                values[term] = values[term] & column if term in values else set(column)
    return values


def _loose(literal: Literal, relations: dict[str, Relation], values: dict[str, set[clingo.Symbol]]) -> int:
    """How little is known of a literal's terms: what is bound comes first, negations last."""
    bound = any(not isinstance(term, str) or term in values for term in literal.terms)
    moving = literal.predicate == INPUT or literal.predicate not in relations
    return (not literal.positive) * 4 + (not moving and not bound) * 2 + (not moving)


def _fitting(relation: Relation, terms: tuple[Any, ...], values: dict[str, set[clingo.Symbol]]) -> list[Row]:
    """The rows whose cells are among the values of their variables."""
    allowed = [values.get(term) if isinstance(term, str) else {term} for term in terms]
    known = [number for number, cells in enumerate(allowed) if cells is not None]
    rows = relation.rows
    if known and len(relation.columns) == len(terms):
        narrow = min(known, key=lambda number: len(allowed[number] or ()))
        column = relation.columns[narrow]
        rows = [row for cell in allowed[narrow] or () for row in column.get(cell, ())]
    return [
        row
        for row in rows
        if len(row) == len(terms) and all(row[number] in (allowed[number] or ()) for number in known)
    ]


def _widen(domains: Domains, clause: Clause, values: dict[str, set[clingo.Symbol]]) -> bool:
    """Add what a clause's head may stand for; whether that was new."""
    new = clause.predicate not in domains
    columns = domains.setdefault(clause.predicate, [set() for _ in clause.terms])
    before = sum(map(len, columns))
    for term, column in zip(clause.terms, columns, strict=True):
        column |= values.get(term, set()) if isinstance(term, str) else {term}
    return new or sum(map(len, columns)) > before


def _ground(
    text: str, facts: Iterable[tuple[str, Row]], shown: set[str] | None = None
) -> list[clingo.Symbol]:
    """The one model of a stratified program. Raises ValueError beyond MOST_ATOMS."""
    control = clingo.Control(["-Wnone"])
    with control.backend() as backend:
        for predicate, row in facts:
            backend.add_rule([backend.add_atom(clingo.Function(predicate, list(row)))])
    control.add("base", [], text)
    control.ground([("base", [])])
    # A stratified program is decided by grounding alone: each atom that is left is a fact.
    atoms = control.symbolic_atoms
    if shown is not None and len(atoms) > MOST_ATOMS + MOST_FACTS:
        raise ValueError("too much follows from this input")
    if shown is None:
        return [atom.symbol for atom in atoms if atom.is_fact]
    return [atom.symbol for name in shown for atom in atoms.by_signature(name, ANSWERS[name]) if atom.is_fact]


def _leaves(value: Any, path: str = "") -> Iterator[Row]:
    """Each leaf of the input as input(Path, Value)."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item, path)
    else:
        yield clingo.String(path), symbol(value)


def symbol(value: Any) -> clingo.Symbol:
    """A JSON leaf as a clingo term: integers of 32 bits as numbers, everything else as text."""
    if isinstance(value, bool):
        return clingo.String("true" if value else "false")
    if isinstance(value, int) and -(2**31) < value < 2**31:
        return clingo.Number(value)
    return clingo.String("null" if value is None else str(value))


def _relation(value: Any) -> list[Row]:
    """A data document as rows. A list of plain values is a relation with one column; anything else is none."""
    if not isinstance(value, list):
        return []
    return [tuple(symbol(cell) for cell in (row if isinstance(row, list) else [row])) for row in value]
