"""The process in which rules run: it holds bundles and answers one frame after another, until its pipe closes.

A process of its own, because OPA's library does not survive a fork and neither engine can be stopped from within: who
waits for too long ends the process (engines/pool.py). Frames are a length of four bytes and msgpack.
"""

from __future__ import annotations

import os
import resource
import struct
import sys
import time
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, BinaryIO
from zlib import crc32

import msgspec

from workflows.policy_enforcement.engines import datalog
from workflows.policy_enforcement.engines.rego import RegoRules
from workflows.policy_enforcement.says import Checked, Facts, Input, Problem, Said

KEPT = 3  # bundles; what is asked of an older one is told so, and it is loaded again
WHOLE, SHARDS = 1_000, 16  # up to so many rules OPA compiles together, more of them in so many parts
# Bytes of data that sixteen parts may each hold: with 399,000 three bundles of 10,000 rules took 1.7 GB.
SPLIT_DATA = 400_000
MOST_MEMORY = 2 << 30  # bytes; a rule that needs more ends the process, and with it only itself
HEADER = struct.Struct(">I")


class Rule(msgspec.Struct, frozen=True):
    policy: str
    name: str
    engine: str
    source: str
    actions: list[str]
    facts: list[str] = []  # that it reads


class Load(msgspec.Struct, tag="load", frozen=True):
    key: str
    rules: list[Rule]
    facts: Facts


class Question(msgspec.Struct, frozen=True):
    policies: list[str]
    input: Input


class Ask(msgspec.Struct, tag="ask", frozen=True):
    key: str
    questions: list[Question]


class Check(msgspec.Struct, tag="check", frozen=True):
    engine: str
    source: str


class Answer(msgspec.Struct, frozen=True):
    """`missing`: the bundle asked for is not loaded here. `error`: the whole request failed."""

    said: list[dict[str, Said]] = []
    checked: Checked | None = None
    missing: bool = False
    error: str = ""
    elapsed_us: int = 0


Part = RegoRules | datalog.Compiled


class Loaded:
    """A bundle's rules, compiled by their engines, in parts: one that `known` bundles have with the same rules and data is theirs."""

    def __init__(self, request: Load, known: Mapping[str, Part] | None = None) -> None:
        self.names = {rule.policy: rule.name for rule in request.rules}
        self.parts: dict[str, Part] = {}
        self.part_of: dict[str, str] = {}  # by policy
        packed = {name: msgspec.msgpack.encode(value) for name, value in request.facts.items()}
        digests = {name: sha256(body).hexdigest() for name, body in packed.items()}
        for rules in shards(request.rules, sum(map(len, packed.values()))):
            read = sorted({name for rule in rules for name in rule.facts if name in digests})
            key = _digest([rules, [(name, digests[name]) for name in read]])
            facts = {name: request.facts[name] for name in read}
            self.parts[key] = (known or {}).get(key) or _compiled(rules, facts)
            self.part_of |= {rule.policy: key for rule in rules}

    def ask(self, question: Question) -> dict[str, Said]:
        asked: dict[str, list[str]] = {}
        for policy in question.policies:
            asked.setdefault(self.part_of[policy], []).append(policy)
        said = {}
        for key, policies in asked.items():
            part = self.parts[key]
            if isinstance(part, RegoRules):
                names = {self.names[policy]: policy for policy in policies}
                said |= {names[name]: answer for name, answer in part.ask(names, question.input).items()}
            else:
                said |= {policy: datalog.decide(part, question.input) for policy in policies}
        return said


def shards(rules: list[Rule], data: int = 0) -> list[list[Rule]]:
    """The rules that are compiled together. Those about one action mostly are, so that a decision asks few parts.

    `data`: bytes of all data. Of much of it no part has a copy of its own.
    """
    rego = [rule for rule in rules if rule.engine == "rego"]
    split = len(rego) > WHOLE and data <= SPLIT_DATA
    found: dict[int, list[Rule]] = {}
    for rule in rego:
        at = crc32(rule.actions[0].encode()) % SHARDS if split else 0
        found.setdefault(at, []).append(rule)
    return [*found.values(), *([rule] for rule in rules if rule.engine == "datalog")]


def _compiled(rules: list[Rule], facts: Facts) -> Part:
    if rules[0].engine == "datalog":
        return datalog.compile(rules[0].source, facts)
    sources = {rule.name: rule.source for rule in rules}
    return RegoRules(sources, {rule.name: rule.actions for rule in rules}, facts)


def _digest(value: Any) -> str:
    return sha256(msgspec.msgpack.encode(value)).hexdigest()


class Worker:
    def __init__(self) -> None:
        self.bundles: dict[str, Loaded] = {}

    def handle(self, request: Load | Ask | Check) -> Answer:
        started = time.perf_counter_ns()
        answer = self._handle(request)
        return msgspec.structs.replace(answer, elapsed_us=(time.perf_counter_ns() - started) // 1000)

    def _handle(self, request: Load | Ask | Check) -> Answer:
        if isinstance(request, Check):
            return Answer(checked=check(request.engine, request.source))
        if isinstance(request, Load):
            self.bundles.pop(request.key, None)
            while len(self.bundles) >= KEPT:
                self.bundles.pop(next(iter(self.bundles)))  # what no other bundle has of it goes with it
            known = {key: part for held in self.bundles.values() for key, part in held.parts.items()}
            self.bundles[request.key] = Loaded(request, known)
            return Answer()
        loaded = self.bundles.get(request.key)
        if loaded is None:
            return Answer(missing=True)
        return Answer(said=[loaded.ask(question) for question in request.questions])


def check(engine: str, source: str) -> Checked:
    """The gate of one engine."""
    gates: dict[str, Callable[[str], Checked]] = {"rego": _check_rego, "datalog": datalog.check}
    if engine not in gates:
        return Checked(None, [Problem(0, "engine", f"There is no engine for {engine}.")])
    return gates[engine](source)


def _check_rego(source: str) -> Checked:
    from workflows.policy_enforcement.engines import rego_gate  # only who checks needs the grammar's tables

    return rego_gate.check(source)


def serve(reading: BinaryIO, writing: BinaryIO) -> None:
    """Answer until `reading` ends."""
    worker = Worker()
    decode = msgspec.msgpack.Decoder(Load | Ask | Check).decode
    encode = msgspec.msgpack.Encoder().encode
    while len(header := reading.read(HEADER.size)) == HEADER.size:
        (length,) = HEADER.unpack(header)
        try:
            answer = worker.handle(decode(reading.read(length)))
        except Exception as error:
            answer = Answer(error=f"{type(error).__name__}: {error}"[:500])
        body: Any = encode(answer)
        writing.write(HEADER.pack(len(body)) + body)
        writing.flush()


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_DATA, (MOST_MEMORY, MOST_MEMORY))
    pipe = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not stand among the frames
    serve(sys.stdin.buffer, pipe)
