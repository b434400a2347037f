"""Rules that misbehave: cut in time, bounded in what they say and take, and no harm to anybody else's decision."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest

from workflows.errors import Unavailable
from workflows.policy_enforcement.bundle import FORMAT, Bundle, LogPoint, Manifest, revision_of
from workflows.policy_enforcement.combine import RuleInForce
from workflows.policy_enforcement.engines.pool import DEADLINE, Died, EnginePool, TooSlow, allotted
from workflows.policy_enforcement.engines.worker import Question
from workflows.policy_enforcement.rulebook import LATELY, LEFT_OUT, TOO_SLOW, Rulebook
from workflows.policy_enforcement.says import Declared, Said

HEAD = 'package policies.{name}\n\nactions := {{"{action}"}}\n\ndefault allow := false\n\n'
GOOD = "allow if input.ok\n"
LOOP = (
    "allow if count([1 | some a in numbers.range(1, 2000); some b in numbers.range(1, 2000); "
    "some c in numbers.range(1, 2000); a + b + c > input.n]) > 5\n"
)
HUGE = 'deny contains sprintf("%d", [n]) if some n in numbers.range(1, 20000)\n'
CROSS = "".join(f"p({n}).\n" for n in range(60)) + (
    'q(A, B, C, D, E, F) :- p(A), p(B), p(C), p(D), p(E), p(F), input("n", A).\nallow :- q(1, 1, 1, 1, 1, 1).\n'
)


def rule(policy: str, action: str, body: str, engine: str = "rego") -> tuple[RuleInForce, str]:
    name = policy.lower()
    head = (
        HEAD.format(name=name, action=action)
        if engine == "rego"
        else f'name("{name}"). actions("{action}").\n'
    )
    digest = (policy * 64)[:64]
    return RuleInForce(policy, 1, digest, engine, digest, Declared(name, [action])), head + body


def bundle_of(*made: tuple[RuleInForce, str]) -> Bundle:
    manifest = Manifest(FORMAT, LogPoint(0, ""), [each for each, _ in made], [])
    return Bundle(revision_of(manifest), manifest, {each.policy: source for each, source in made}, {})


BUNDLE = bundle_of(
    rule("GOOD", "fine", GOOD),
    rule("ALSO", "mixed", GOOD),
    rule("LOOP", "mixed", LOOP),
    rule("HUGE", "huge", HUGE),
    rule("CROSS", "cross", CROSS, "datalog"),
)
FINE: dict[str, Any] = {"action": {"type": "fine"}, "ok": True}
MIXED: dict[str, Any] = {"action": {"type": "mixed"}, "ok": True, "n": 1}


@pytest.fixture
async def pool() -> AsyncIterator[EnginePool]:
    pool = EnginePool()
    await pool.ask(BUNDLE, [Question(["GOOD"], FINE)])
    await asyncio.sleep(0.5)  # the others, too, have their bundle
    yield pool
    await pool.close()


@pytest.fixture
def rulebook(pool: EnginePool) -> Rulebook:
    return Rulebook(pool, None)  # type: ignore[arg-type] – asked with a bundle, it opens no transaction


async def test_a_runaway_rule_is_cut_at_its_deadline(pool: EnginePool) -> None:
    spent = time.process_time()
    with pytest.raises(TooSlow):
        await pool.ask(BUNDLE, [Question(["LOOP"], MIXED)])
    assert time.process_time() - spent < 1, "nothing of it runs in the portal's own process"
    assert DEADLINE == 0.040


async def test_only_the_runaway_rule_is_left_out_and_named(rulebook: Rulebook) -> None:
    (said,) = await rulebook.said(BUNDLE, [MIXED])
    assert said["ALSO"] == Said(allow=True)
    assert said["LOOP"].error == "it did not answer in time"
    began = time.monotonic()
    (again,) = await rulebook.said(BUNDLE, [MIXED])
    assert again == {**said, "LOOP": Said(error="it did not answer in time a moment ago")}
    assert time.monotonic() - began < LEFT_OUT / 10, "for a while it is not even asked"


async def test_others_are_decided_meanwhile(rulebook: Rulebook) -> None:
    """While one action's rule runs away again and again, another's is answered each time."""
    stop = asyncio.Event()

    async def run_away() -> int:
        count = 0
        while not stop.is_set():
            rulebook.left_out.clear()
            await rulebook.said(BUNDLE, [MIXED])
            count += 1
        return count

    task = asyncio.create_task(run_away())
    for _ in range(60):
        assert await rulebook.said(BUNDLE, [FINE]) == [{"GOOD": Said(allow=True)}]
        await asyncio.sleep(0.01)
    stop.set()
    assert await task > 0


async def test_what_is_only_tried_leaves_no_rule_out_for_others(rulebook: Rulebook) -> None:
    (tried,) = await rulebook.said(BUNDLE, [MIXED], trial=True)
    assert tried["LOOP"].error == TOO_SLOW
    (tried,) = await rulebook.said(BUNDLE, [MIXED], trial=True)
    assert tried["LOOP"].error == LATELY
    (said,) = await rulebook.said(BUNDLE, [{**MIXED, "n": 10_000}])
    assert said["LOOP"].error == TOO_SLOW, "it is asked where it binds"


async def test_a_runaway_rule_in_a_batch_does_not_take_the_time_of_all(rulebook: Rulebook) -> None:
    assert allotted(1) == DEADLINE
    assert allotted(500) < 1.1
    said = await rulebook.said(BUNDLE, [MIXED, FINE] * 100)
    assert [answer.get("GOOD") for answer in said[1::2]] == [Said(allow=True)] * 100
    assert [answer["ALSO"] for answer in said[::2]] == [Said(allow=True)] * 100
    assert {answer["LOOP"].error for answer in said[::2]} == {TOO_SLOW}


async def test_drafts_and_replays_leave_engines_to_decisions(rulebook: Rulebook, pool: EnginePool) -> None:
    looking = [asyncio.create_task(pool.replay(BUNDLE, [Question(["LOOP"], MIXED)], 1.0)) for _ in range(4)]
    await asyncio.sleep(0.1)
    for _ in range(10):
        assert await rulebook.said(BUNDLE, [FINE]) == [{"GOOD": Said(allow=True)}]
    assert not any(task.done() for task in looking), "all of them are still at it"
    for task in looking:
        task.cancel()
    await asyncio.gather(*looking, return_exceptions=True)


async def test_huge_output_is_an_error_and_not_an_answer(rulebook: Rulebook) -> None:
    (said,) = await rulebook.said(BUNDLE, [{"action": {"type": "huge"}}])
    assert said["HUGE"].error in ("it says more than a rule may", "it did not answer in time")
    assert said["HUGE"].deny == []


async def test_a_datalog_rule_that_explodes_is_cut(rulebook: Rulebook) -> None:
    (said,) = await rulebook.said(BUNDLE, [{"action": {"type": "cross"}, "n": 1}])
    assert said["CROSS"].error
    assert await rulebook.said(BUNDLE, [FINE]) == [{"GOOD": Said(allow=True)}]


async def _said_in_time(rulebook: Rulebook) -> list[dict[str, Said]]:
    """The answer; on a slow machine new processes take longer than a question waits, and it is refused until one is there."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await rulebook.said(BUNDLE, [FINE])
            except Unavailable as error:
                assert error.code == "engine_busy"


async def test_killed_engines_are_replaced_and_the_question_is_asked_again(
    rulebook: Rulebook, pool: EnginePool
) -> None:
    for _ in range(5):
        for engine in list(pool.all):
            with suppress(ProcessLookupError):
                os.kill(engine.process.pid, signal.SIGKILL)
        assert await _said_in_time(rulebook) == [{"GOOD": Said(allow=True)}]
    async with asyncio.timeout(60):
        while sum(engine.alive for engine in pool.all) < pool.size + 1:  # noqa: ASYNC110 – it tells nobody
            await asyncio.sleep(0.05)
    assert sum(engine.alive for engine in pool.all) == pool.size + 1, "and no more"


async def test_one_that_dies_while_it_is_asked_says_so(pool: EnginePool) -> None:
    async def kill() -> None:
        await asyncio.sleep(0.01)
        for engine in list(pool.all):
            os.kill(engine.process.pid, signal.SIGKILL)

    task = asyncio.create_task(kill())
    with pytest.raises(Died):
        await pool.replay(BUNDLE, [Question(["LOOP"], MIXED)], 5)
    await task


async def test_a_rule_that_takes_all_memory_harms_itself_only(pool: EnginePool) -> None:
    """2 GiB is what a process may have; its end is the rule's problem."""
    source = HEAD.format(name="m", action="m") + (
        'allow if count({x | some a in numbers.range(1, 90000); x := concat("-", [input.x, sprintf("%d", [a])])}) > 5\n'
    )
    greedy = bundle_of((RuleInForce("M", 1, "m" * 64, "rego", "m" * 64, Declared("m", ["m"])), source))
    with pytest.raises(TooSlow):
        await pool.replay(greedy, [Question(["M"], {"action": {"type": "m"}, "x": "y" * 50_000})], 20)
    assert (await pool.ask(BUNDLE, [Question(["GOOD"], FINE)]))[0]["GOOD"] == Said(allow=True)


async def test_what_the_gate_cannot_look_at_in_time_is_a_problem(pool: EnginePool) -> None:
    checked = await pool.check(
        "datalog",
        f'name("x"). actions("a").\n{CROSS.replace(", input(" + chr(34) + "n" + chr(34) + ", A)", "")}',
    )
    assert checked.declared is None
    assert checked.problems[0].code == "limit"
