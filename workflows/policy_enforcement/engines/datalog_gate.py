"""What a Datalog rule may be: a stratified, safe subset of clingo's language, with one answer for each input (docs/rules.md).

Facts, rules with positive and negated literals, and comparisons. No function symbols, and arithmetic in comparisons only,
so that what follows from finite data is finite (Ceri, Gottlob, Tanca 1989).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import clingo
from clingo import ast
from clingo.ast import ASTType, ComparisonOperator, Sign

from workflows.kinds import Severity
from workflows.policy_enforcement.engines.names import ABOUT, ANSWERS, INPUT
from workflows.policy_enforcement.engines.rego_gate import (
    ACTION,
    LONGEST_SOURCE,
    MOST_ACTIONS,
    MOST_RULES,
    NAME,
)
from workflows.policy_enforcement.says import ANY_ACTION, Checked, Declared, Problem, Reason

GRAVE = tuple(str(item) for item in Severity if item != Severity.NONE)


@dataclass(frozen=True)
class Literal:
    """An atom of a body. Terms are variable names (strings) or clingo symbols; each `_` is a variable of its own."""

    predicate: str
    terms: tuple[Any, ...]
    positive: bool


@dataclass(frozen=True)
class Clause:
    """One rule: its head, the literals of its body, and the text of body and comparisons as written."""

    line: int
    predicate: str
    terms: tuple[Any, ...]
    body: tuple[Literal, ...]
    text: str


@dataclass
class Program:
    """The clauses of a source, or the problems that kept it from being read."""

    clauses: list[Clause] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def add(self, line: int, code: str, message: str) -> None:
        self.problems.append(Problem(line, code, message))


def check(source: str) -> Checked:
    """Judge a rule. Never raises; each problem has the line it is at, or 0."""
    program = read(source)
    if not program.problems:
        _about(program)
        _arities(program)
        _stratified(program)
    if not program.problems:
        _safe(program, source)
    if program.problems:
        return Checked(None, program.problems)
    return Checked(declared(program))


def read(source: str) -> Program:
    """The clauses of a source."""
    program = Program()
    if len(source) > LONGEST_SOURCE or "\x00" in source:
        program.add(0, "limit", f"At most {LONGEST_SOURCE:,} characters of plain text.")
        return program
    for number, line in enumerate(source.splitlines(), 1):
        if "#" in line:
            # clingo would follow an #include while it reads, wherever that leads.
            program.add(number, "refused", "Directives are not used here: leave out the #, also in texts.")
            return program
    statements: list[Any] = []
    # clingo quotes the byte it stumbles over, which is no text where that is half a letter: so first without such letters.
    for text in (re.sub(r"[^\x00-\x7f]", "`", source), source):
        statements.clear()
        told: list[str] = []
        try:
            ast.parse_string(text, statements.append, logger=_into(told))
        except (RuntimeError, UnicodeError, RecursionError) as error:
            _told(program, told or [str(error)], "syntax")
            return program
    rules = [each for each in statements if not _is_base(each)]
    if not rules:
        program.add(0, "syntax", "There is no rule in it.")
    if len(rules) > MOST_RULES:
        program.add(0, "limit", f"At most {MOST_RULES} rules.")
        return program
    for each in rules:
        _read_one(program, each)
    return program


def _into(told: list[str]) -> Callable[[Any, str], None]:
    """A logger of clingo's that keeps the messages."""
    return lambda _, message: told.append(message)


def _is_base(statement: Any) -> bool:
    return statement.ast_type == ASTType.Program and statement.name == "base" and not statement.parameters


def _told(program: Program, messages: list[str], code: str) -> None:
    """clingo's own errors, `<string>:1:5-7: error: …`, as problems at their lines."""
    for message in messages:
        for line, text in re.findall(r"<\w+>:(\d+):[\d:-]+: (?:error|note): ([^\n]*)", message):
            if not text.startswith("unsafe variables in"):
                program.add(int(line), code, f"{text[:1].upper()}{text[1:300]}.")
    if not program.problems:
        program.add(0, code, " ".join(" ".join(messages).split())[:300] or "The rule cannot be read.")


def _read_one(program: Program, statement: Any) -> None:
    line = statement.location.begin.line
    if statement.ast_type != ASTType.Rule:
        program.add(line, "refused", "Only facts and rules are used here: “head :- body.”")
        return
    head = _atom(statement.head)
    if head is None or head.predicate == INPUT or not head.positive:
        message = (
            "A rule has one plain atom as its head: no choice, no alternative, no constraint, and not input."
        )
        program.add(line, "refused", message)
        return
    body, plain = [], True
    for each in statement.body:
        literal = _atom(each)
        if literal is not None:
            body.append(literal)
        elif not _is_comparison(each):
            plain = False
    if not plain:
        message = (
            "A body has atoms, “not” atoms and comparisons. Functions, intervals, pools, aggregates and sums that set a "
            "variable are not used here."
        )
        program.add(line, "refused", message)
        return
    text = str(statement).rstrip(".")
    program.clauses.append(Clause(line, head.predicate, head.terms, tuple(body), text))


def _atom(literal: Any) -> Literal | None:
    """A plain atom, or None for anything else."""
    if literal.ast_type != ASTType.Literal or literal.atom.ast_type != ASTType.SymbolicAtom:
        return None
    if literal.sign == Sign.DoubleNegation or literal.atom.symbol.ast_type != ASTType.Function:
        return None
    terms = [_term(each) for each in literal.atom.symbol.arguments]
    if None in terms:
        return None
    return Literal(literal.atom.symbol.name, tuple(terms), literal.sign == Sign.NoSign)


def _term(term: Any) -> Any:
    if term.ast_type == ASTType.Variable:
        return term.name if term.name != "_" else f"_{term.location.begin.line}_{term.location.begin.column}"
    if term.ast_type == ASTType.SymbolicTerm and term.symbol.type in (
        clingo.SymbolType.Number,
        clingo.SymbolType.String,
        clingo.SymbolType.Function,
    ):
        return term.symbol
    if term.ast_type == ASTType.UnaryOperation and term.argument.ast_type == ASTType.SymbolicTerm:
        number = term.argument.symbol
        if number.type == clingo.SymbolType.Number and term.operator_type == 0:
            return clingo.Number(-number.number)
    return None


def _is_comparison(literal: Any) -> bool:
    """Between terms; with arithmetic only where it cannot give a variable a new value."""
    if literal.ast_type != ASTType.Literal or literal.atom.ast_type != ASTType.Comparison:
        return False
    equality = any(guard.comparison == ComparisonOperator.Equal for guard in literal.atom.guards)
    equality = equality or literal.sign != Sign.NoSign
    sides = [literal.atom.term, *(guard.term for guard in literal.atom.guards)]
    return all(_term(side) is not None or (not equality and _is_arithmetic(side)) for side in sides)


def _is_arithmetic(term: Any) -> bool:
    if term.ast_type == ASTType.BinaryOperation:
        return _is_arithmetic(term.left) and _is_arithmetic(term.right)
    if term.ast_type == ASTType.UnaryOperation:
        return _is_arithmetic(term.argument)
    return _term(term) is not None


def _about(program: Program) -> None:
    """name, actions and reason are facts that are written out."""
    facts: dict[str, list[Clause]] = {predicate: [] for predicate in ABOUT}
    for clause in program.clauses:
        if clause.predicate in ABOUT:
            facts[clause.predicate].append(clause)
            if clause.body or not all(_text(term) is not None for term in clause.terms):
                program.add(
                    clause.line, "shape", f"{clause.predicate} is a fact with texts in quotation marks."
                )
    if program.problems:
        return
    names = facts["name"]
    if len(names) != 1 or not NAME.fullmatch(_text(names[0].terms[0]) or ""):
        message = 'Begin with name("<name>")., once, the name in small letters, digits and _.'
        program.add(names[0].line if names else 0, "name", message)
    actions = [(clause.line, _text(clause.terms[0]) or "") for clause in facts["actions"]]
    if not actions or len(actions) > MOST_ACTIONS:
        program.add(0, "actions", 'Say what the rule is about: actions("data.export"). for each action type.')
    for line, action in actions:
        if not ACTION.fullmatch(action):
            program.add(
                line, "actions", "An action type has small letters, digits and . _ : -, or is “*” for all."
            )
    for clause in facts["reason"]:
        if len(clause.terms) == 3 and _text(clause.terms[2]) not in GRAVE:
            program.add(clause.line, "reasons", f"A severity is one of {', '.join(GRAVE)}.")


def _text(term: Any) -> str | None:
    is_text = isinstance(term, clingo.Symbol) and term.type == clingo.SymbolType.String
    return term.string if is_text else None


def _arities(program: Program) -> None:
    seen: dict[str, int] = {INPUT: 2, **ANSWERS, **ABOUT}
    for clause in program.clauses:
        for predicate, terms in _atoms(clause):
            arity = seen.setdefault(predicate, len(terms))
            if arity != len(terms):
                message = f"{predicate} has {arity} terms, not {len(terms)}."
                program.add(clause.line, "arity", message)
    if not any(clause.predicate in ("allow", "deny") for clause in program.clauses):
        program.add(0, "default_missing", "The rule says neither when to allow nor when to deny.")


def _atoms(clause: Clause) -> Iterator[tuple[str, tuple[Any, ...]]]:
    yield clause.predicate, clause.terms
    for literal in clause.body:
        yield literal.predicate, literal.terms


def _stratified(program: Program) -> None:
    """No predicate depends on its own negation (Apt, Blair, Walker 1988)."""
    edges = depends_on(program.clauses)
    for clause in program.clauses:
        for literal in clause.body:
            if not literal.positive and clause.predicate in reached(edges, literal.predicate):
                message = f"{clause.predicate} depends on “not {literal.predicate}”, which depends on {clause.predicate} in turn."
                program.add(clause.line, "unstratified", message)


def depends_on(clauses: list[Clause]) -> dict[str, set[str]]:
    """Each predicate's direct grounds."""
    edges: dict[str, set[str]] = {}
    for clause in clauses:
        edges.setdefault(clause.predicate, set()).update(literal.predicate for literal in clause.body)
    return edges


def reached(edges: dict[str, set[str]], start: str) -> set[str]:
    """All that `start` depends on, itself included."""
    found, todo = {start}, [start]
    while todo:
        for each in edges.get(todo.pop(), ()):
            if each not in found:
                found.add(each)
                todo.append(each)
    return found


def _safe(program: Program, source: str) -> None:
    """Each variable of a head stands in a positive atom of the body; clingo finds others that nothing binds."""
    for clause in program.clauses:
        bound = {term for literal in clause.body if literal.positive for term in literal.terms}
        for term in clause.terms:
            if isinstance(term, str) and term not in bound:
                shown = "_" if term.startswith("_") else term
                message = f"{shown} in the head stands in no positive atom of the body."
                program.add(clause.line, "unsafe", message)
    if program.problems:
        return
    told: list[str] = []
    control = clingo.Control(["-Wno-atom-undefined"], logger=lambda _, message: told.append(message))
    try:
        control.add("base", [], source)
        control.ground([("base", [])])
    except RuntimeError:
        _told(program, told, "unsafe")


def declared(program: Program) -> Declared:
    """What a sound program says of itself. Predicates that nothing defines are documents of data."""
    by: dict[str, list[Clause]] = {}
    for clause in program.clauses:
        by.setdefault(clause.predicate, []).append(clause)
    actions = {str(_text(clause.terms[0])) for clause in by["actions"]}
    used = {literal.predicate for clause in program.clauses for literal in clause.body}
    reasons = {
        str(_text(clause.terms[0])): Reason(str(_text(clause.terms[1])), str(_text(clause.terms[2])))
        for clause in by.get("reason", [])
    }
    return Declared(
        name=str(_text(by["name"][0].terms[0])),
        actions=[ANY_ACTION] if ANY_ACTION in actions else sorted(actions),
        reasons=dict(sorted(reasons.items())),
        facts=sorted(used - set(by) - {INPUT}),
    )
