"""What machines asked in the demo's last week: five thousand actions, forty of which break a rule, each decided for real.

Which forty do is settled here, where they are made, by what the policies say in words; that the rules and the engines
find exactly these is for a test to show.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.constitution.document import Constitution
from workflows.kinds import DecisionMode, Outcome
from workflows.policy_enforcement import decisions, facts, violations
from workflows.policy_enforcement.decisions import Asked
from workflows.policy_enforcement.engines.pool import EnginePool
from workflows.policy_enforcement.rulebook import Rulebook
from workflows.roles import SYSTEM, Actor
from workflows.storage.unit import Unit, governance_now

ACTIONS, VIOLATIONS = 5_000, 40
AT_ONCE = 20
OVER = timedelta(days=7)
SEED = 5_040


async def record(
    connection: AsyncConnection,
    constitution: Constitution,
    operator: Actor,
    now: datetime,
    engines: EnginePool,
) -> None:
    """Have all of them decided in their order, and the denials put on record and answered."""
    clock = now - OVER

    def unit(actor: Actor) -> Unit:
        return Unit(
            connection=connection,
            now=clock,
            constitution_sha256=constitution.sha256,
            actor=actor,
            request_id="demo",
            enqueue_job=_no_job,
        )

    @asynccontextmanager
    async def units() -> AsyncIterator[Unit]:
        yield unit(SYSTEM)

    await facts.put(unit(operator), "mandate", ["ada", "ben"])
    rulebook = Rulebook(engines, units)
    made = [asked for asked, _ in actions()]
    step = (await governance_now(connection) - clock - timedelta(minutes=1)) / (ACTIONS // AT_ONCE)
    for start in range(0, ACTIONS, AT_ONCE):
        considered = await decisions.consider(rulebook, made[start : start + AT_ONCE], operator, now=clock)
        rulings = await decisions.keep(unit(operator), rulebook, considered)
        denied = [ruling.id for ruling in rulings if ruling.decided.outcome == Outcome.DENY]
        if denied:
            await violations.notice(unit(SYSTEM), constitution.figures, denied)
        clock += step


async def _no_job(*_: Any) -> None:
    """What the jobs would do is done here."""


def actions() -> Iterator[tuple[Asked, bool]]:
    """Each action, and whether it breaks a rule. Always the same."""
    dice = random.Random(SEED)  # noqa: S311  the demo's own dice
    bad = set(dice.sample(range(ACTIONS), VIOLATIONS))
    makers = (_serving, _publishing, _travelling, _granting)
    for number in range(ACTIONS):
        maker = dice.choices(makers, weights=(9, 6, 4, 1))[0]
        # Each who breaks a rule does so once: what follows from doing it again is left for a visitor to try.
        who = f"offender-{number}" if number in bad else f"service-{dice.randrange(400)}"
        action, context = maker(dice, number in bad, who)
        yield Asked(action, {"id": who}, context, DecisionMode.ENFORCE), number in bad


def _serving(dice: random.Random, bad: bool, who: str) -> tuple[dict[str, Any], dict[str, Any]]:
    card, owner = ("none", "ada") if bad and dice.random() < 0.6 else ("public", "" if bad else "ben")
    return {"type": "model.serve", "model": f"model-{dice.randrange(30)}", "card": card, "owner": owner}, {}


def _publishing(dice: random.Random, bad: bool, who: str) -> tuple[dict[str, Any], dict[str, Any]]:
    what = dice.choice(["website", "software", "report"])
    licence = dice.choices(["EUPL-1.2", "MIT", "none"], weights=(6, 6, 1))[0]
    return {"type": "publish", "what": what, "licence": licence, "keyboard": not bad}, {}


def _travelling(dice: random.Random, bad: bool, who: str) -> tuple[dict[str, Any], dict[str, Any]]:
    if bad:
        return {"type": "travel.book", "by": "plane", "hours_by_train": dice.randrange(2, 8)}, {}
    hours = dice.randrange(1, 16)
    excused = dice.random() < 0.02
    by = "plane" if hours >= 8 or excused else "train"
    return {"type": "travel.book", "by": by, "hours_by_train": hours}, {"cannot_take_the_train": excused}


def _granting(dice: random.Random, bad: bool, who: str) -> tuple[dict[str, Any], dict[str, Any]]:
    decided_by = [f"juror-{number}" for number in dice.sample(range(300), 3)]
    own = bad and dice.random() < 0.5
    if own:
        decided_by[0] = who
    amount = dice.randrange(2_001, 9_000) if bad and not own else dice.randrange(100, 2_001)
    return {"type": "grant", "amount": amount, "decided_by": decided_by}, {}
