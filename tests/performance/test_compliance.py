"""What it costs to hold a text against the constitution: alone and in batches, cold and warm, by what reads it."""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from statistics import quantiles
from typing import Any

import pytest

from tests.e2e.running import ROOT
from workflows.constitution.document import load
from workflows.constitutional_compliance.analysers import figures, powers, semantic
from workflows.constitutional_compliance.analysis import LocalJudge
from workflows.constitutional_compliance.corpus import LabelledClause, exam, held_part, shipped
from workflows.constitutional_compliance.embedding import packaged
from workflows.constitutional_compliance.findings import Result, Subject
from workflows.constitutional_compliance.heads import shipped_heads
from workflows.constitutional_compliance.models import Models
from workflows.constitutional_compliance.reader import shipped_reader
from workflows.constitutional_compliance.reading import Reading, read
from workflows.kinds import Compliance

pytestmark = pytest.mark.anyio
CONSTITUTION = load()
WORDS = 500
TURNS, BATCH = 20, 50
POLICIES = ROOT / "portal" / "demo" / "policies"
COLD = """
import asyncio, sys, time
began = time.perf_counter()
from workflows.constitution.document import load
from workflows.constitutional_compliance.analysis import LocalJudge
from workflows.constitutional_compliance.findings import Subject
asyncio.run(LocalJudge().judge(load(), [Subject("A policy", sys.stdin.read())]))
print(time.perf_counter() - began)
"""


def policy(number: int) -> str:
    """About 500 words of the demonstration's policies; no two numbers share a passage."""
    texts = [path.read_text(encoding="utf-8").split("+++\n", 2)[2] for path in sorted(POLICIES.glob("*.md"))]
    words: list[str] = []
    for text in itertools.cycle(text for text in texts if text.isascii()):
        words.extend(text.replace(". ", f", says rule {number}. ").split(" "))
        if len(words) >= WORDS:
            return " ".join(words[:WORDS])
    raise AssertionError("there are policies")


def timed(act: Callable[[int], Any], turns: int = TURNS) -> list[float]:
    found = []
    for turn in range(turns):
        began = time.perf_counter()
        act(turn)
        found.append(time.perf_counter() - began)
    return found


def cells(seconds: list[float], yardstick: float) -> list[str]:
    cuts = quantiles(seconds, n=100, method="inclusive")
    return [f"{cuts[49] * 1000:.1f}", f"{cuts[94] * 1000:.1f}", f"{cuts[49] / yardstick:.2f}"]


def first_of_a_process() -> float:
    command = [sys.executable, "-c", COLD]
    done = subprocess.run(command, input=policy(0), text=True, capture_output=True, check=True, cwd=ROOT)
    return float(done.stdout)


@pytest.fixture
def numbers() -> Iterator[int]:
    """Each policy is another one, so that no vector is known already."""
    return itertools.count(1)


async def test_one_text_and_many(
    report: Callable[[str, list[str], list[list[str]]], None], numbers: Iterator[int]
) -> None:
    cold = [first_of_a_process() for _ in range(3)]
    judge = LocalJudge(Models())
    await judge.judge(CONSTITUTION, [Subject("A policy", policy(next(numbers)))])
    passages = [place.text for place in read(Subject("A policy", policy(0))).legible]
    bare = timed(lambda turn: packaged().embed([f"{text} {turn}" for text in passages]))
    yardstick = quantiles(bare, n=2)[0]
    fresh, known = [], []
    for _ in range(TURNS):
        text = policy(next(numbers))
        for times in (fresh, known):
            began = time.perf_counter()
            (result,) = await judge.judge(CONSTITUTION, [Subject("A policy", text)])
            times.append(time.perf_counter() - began)
    subjects = [Subject("A policy", policy(next(numbers))) for _ in range(BATCH)]
    began = time.perf_counter()
    assert len(await judge.judge(CONSTITUTION, subjects)) == BATCH
    together = time.perf_counter() - began
    report(
        f"A policy of {WORDS} words ({len(passages)} passages, {len(result.analysers)} analysers, one process)",
        ["what", "p50 ms", "p95 ms", "of the bare embedding"],
        [
            ["the packaged embedder alone", *cells(bare, yardstick)],
            ["judged, no passage seen before", *cells(fresh, yardstick)],
            ["judged again, all vectors known", *cells(known, yardstick)],
            ["the first of a new process, with all it loads", *cells(cold, yardstick)],
            [f"one of {BATCH} judged together", f"{together / BATCH * 1000:.1f}", "", f"{together / BATCH / yardstick:.2f}"],
        ],
    )  # fmt: skip


async def test_verdicts_on_whole_policies(
    report: Callable[[str, list[str], list[list[str]]], None],
) -> None:
    """What becomes of texts as people hand them in: whole policies of the corpus' held part, sentences alone, the demonstration's."""
    whole: dict[str, list[LabelledClause]] = {}
    for clause in held_part(shipped()):
        if clause.principle is None:
            whole.setdefault(clause.policy, []).append(clause)
    subjects = [Subject("", "\n\n".join(clause.text for clause in clauses)) for clauses in whole.values()]
    kinds = [
        "a held policy, breaking" if any(clause.breaks for clause in each) else "a held policy, clean"
        for each in whole.values()
    ]
    for sentence in exam():
        subjects.append(Subject("", sentence.text))
        kinds.append("a sentence alone, breaking" if sentence.breaks else "a sentence alone, clean")
    for path in sorted(POLICIES.glob("*.md")):
        _, head, text = path.read_text(encoding="utf-8").split("+++\n", 2)
        told = tomllib.loads(head)
        subjects.append(Subject(told["title"], text, category=told["category"]))
        kinds.append(f"demonstration, {told['category']}")
    found = Counter(
        (kind, str(result.verdict) if isinstance(result, Result) else "problem")
        for kind, result in zip(kinds, await LocalJudge().judge(CONSTITUTION, subjects), strict=True)
    )
    report(
        "Verdicts on whole texts, tier standard",
        ["policies", *Compliance],
        [[kind, *(str(found[kind, verdict]) for verdict in Compliance)] for kind in sorted(set(kinds))],
    )


async def test_by_layer(
    report: Callable[[str, list[str], list[list[str]]], None], numbers: Iterator[int]
) -> None:
    heads = shipped_heads(packaged())
    neighbours = semantic.neighbours_of(heads)
    assert neighbours is not None
    subject = Subject("A policy", policy(0))
    reading: Reading = read(subject)
    texts = [place.text for place in reading.legible]
    vectors, readings = packaged().embed(texts), shipped_reader().embed(texts)

    def rules(_: int) -> None:
        for text in texts:
            list(figures.faults(text, CONSTITUTION.figures))
            list(powers.faults(text))

    layers = {
        "cutting into passages": lambda _: read(subject),
        "rules (structural)": rules,
        "embedding": lambda turn: packaged().embed([f"{text} {turn}" for text in texts]),
        "reader, of what was just embedded": lambda _: shipped_reader().embed(texts),
        "heads (classifier)": lambda _: heads.judge(texts, vectors, readings),
        "evidence of one finding": lambda _: heads.evidence(texts[0], vectors[0], heads.principles[0]),
        "neighbours (semantic)": lambda _: neighbours.ratios(heads.placed(vectors)),
    }
    times = {name: timed(act) for name, act in layers.items()}
    yardstick = quantiles(times["embedding"], n=2)[0]
    report(
        f"By layer, {len(texts)} passages",
        ["layer", "p50 ms", "p95 ms", "of the bare embedding"],
        [[name, *cells(each, yardstick)] for name, each in times.items()],
    )
