"""A decision: rules are asked, restrictions looked up, and it stands in the log before anyone hears of it.

Engines are asked outside any transaction, under the bundle and the time last seen. The transaction that keeps the
decision then looks whether both still hold, and what restrictions are in force; if not, it is asked again. So there
is no moment at which two instances decide by different rules.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import rfc8785
import sqlalchemy as sa

from workflows.errors import FieldError, Invalid, NotFound, Unavailable
from workflows.kinds import DecisionMode, Ladder, Outcome
from workflows.policy_enforcement import bundle as bundles
from workflows.policy_enforcement.bundle import Bundle
from workflows.policy_enforcement.combine import (
    Decided,
    Restricting,
    combine,
    refused,
    to_json,
)
from workflows.policy_enforcement.rulebook import LATELY, TOO_SLOW, Rulebook, Units
from workflows.policy_enforcement.says import Input, type_of
from workflows.roles import Actor, insist, may_ask_decision, may_try_decision
from workflows.storage.tables import (
    audit_entry,
    bundle_active,
    decision,
    obligation,
    restriction,
    violation,
)
from workflows.storage.unit import Unit, new_id, rfc3339

LARGEST_INPUT, DEEPEST_INPUT = 65_536, 24  # bytes of canonical JSON; levels
MOST_AT_ONCE = 500
TRIES = 5
CLOCK_SLACK = timedelta(seconds=2)  # by which the time a rule was told may differ from that of the log
JOB = "violations"
AWAY = "engine_away"
UNSTEADY = "The rules changed faster than they could be asked. Nothing is allowed by this."


class Asked(msgspec.Struct, frozen=True):
    """What may be done? `under`: a policy that has to be the one that allows it."""

    action: dict[str, Any]
    subject: dict[str, Any] = {}
    context: dict[str, Any] = {}
    mode: DecisionMode = DecisionMode.ENFORCE
    under: str | None = None


class Owed(msgspec.Struct, frozen=True):
    """An obligation that comes with a grant; `due_at` only where the decision binds."""

    id: str
    text: str
    policy: str
    due_at: datetime | None


class Matched(msgspec.Struct, frozen=True):
    """A rule that was asked. `said`: allow, deny, nothing, error."""

    policy: str
    version: int
    rule: str
    said: str


class Ruling(msgspec.Struct, frozen=True):
    """A decision as it is answered."""

    id: UUID
    mode: DecisionMode
    decided: Decided
    obligations: list[Owed]
    matched: list[Matched]
    revision: str
    latency_us: int
    made_at: datetime


class _Draft(msgspec.Struct):
    """A decision before it is kept."""

    asked: Asked
    input: Input
    decided: Decided
    latency_us: int


class Considered(msgspec.Struct, frozen=True):
    """What the rules say, before it is kept: under which bundle, and at what time they were told it is."""

    bundle: Bundle
    now: datetime
    drafts: list[_Draft]


class Outdated(Exception):
    """Bundle or time changed between the asking and the keeping: ask again."""


async def decide(
    rulebook: Rulebook, units: Units, asked: Sequence[Asked], actor: Actor | None
) -> list[Ruling]:
    """Decide each, in order, in one transaction. `units` opens it on behalf of `actor`.

    Raises Refused, Unavailable, and Invalid for input that cannot be read: nothing is allowed by any of them.
    """
    for _ in range(TRIES):
        considered = await consider(rulebook, asked, actor)
        try:
            async with units() as unit:
                return await keep(unit, rulebook, considered)
        except Outdated:
            continue
    raise Unavailable(UNSTEADY)


async def consider(
    rulebook: Rulebook, asked: Sequence[Asked], actor: Actor | None, *, now: datetime | None = None
) -> Considered:
    """Ask the rules, outside any transaction, at present or at another time of the log. Raises Refused, Invalid."""
    for mode in {item.mode for item in asked}:
        insist(may_ask_decision(actor) if mode == DecisionMode.ENFORCE else may_try_decision(actor))
    for number, item in enumerate(asked):
        check_input(item, f"/{number}" if len(asked) > 1 else "")
    bundle, at = await rulebook.current(), now or await rulebook.now()
    return Considered(bundle, at, await _ask(rulebook, bundle, asked, at))


async def keep(unit: Unit, rulebook: Rulebook, considered: Considered) -> list[Ruling]:
    """Keep what was considered, if it still holds. Raises Outdated, for another round."""
    if not await _still_holds(unit, rulebook, considered.bundle, considered.now):
        raise Outdated
    return await _keep(unit, considered.bundle, considered.drafts)


def check_input(item: Asked, at: str = "") -> None:
    """Raises Invalid with what a rule cannot be asked about: no type, too large, too deep, numbers beyond 2^53."""
    kind = item.action.get("type")
    errors = []
    if not isinstance(kind, str) or not 0 < len(kind) <= 100:
        errors.append(
            FieldError(
                f"{at}/action/type", "An action has a type, as data.export, of at most 100 characters."
            )
        )
    subject = item.subject.get("id", "")
    if not isinstance(subject, str) or len(subject) > 200:
        errors.append(FieldError(f"{at}/subject/id", "A subject's id is a text of at most 200 characters."))
    try:
        size = len(_canonical(_input(item, datetime.min)))
    except (rfc8785.CanonicalizationError, RecursionError, UnicodeError, ValueError):
        errors.append(
            FieldError(at or "/", "It holds something that is not plain JSON, or a number beyond 2^53.")
        )
    else:
        if size > LARGEST_INPUT or _depth(item.action, item.subject, item.context) > DEEPEST_INPUT:
            errors.append(
                FieldError(at or "/", f"At most {LARGEST_INPUT:,} bytes, {DEEPEST_INPUT} levels deep.")
            )
    if errors:
        raise Invalid(
            "This cannot be decided about, so nothing is allowed.", code="bad_input", errors=tuple(errors)
        )


def _input(item: Asked, now: datetime) -> Input:
    """What rules are asked about; the time is ours, whatever the caller says."""
    at = rfc3339(now) if now != datetime.min else ""
    return {"action": item.action, "subject": item.subject, "context": {**item.context, "now": at}}


def _canonical(input: Input) -> bytes:
    found = rfc8785.dumps(input)
    if b"\\u0000" in found:
        raise ValueError("NUL")
    return found


def _depth(*values: Any) -> int:
    inner = [
        item
        for value in values
        if isinstance(value, dict | list)
        for item in (value.values() if isinstance(value, dict) else value)
    ]
    return 1 + _depth(*inner) if inner else 0


async def _ask(rulebook: Rulebook, bundle: Bundle, asked: Sequence[Asked], now: datetime) -> list[_Draft]:
    started = time.perf_counter_ns()
    inputs = [_input(item, now) for item in asked]
    try:
        trial = all(item.mode == DecisionMode.DRY_RUN for item in asked)
        answers = await rulebook.said(bundle, inputs, trial=trial)
        decided = [
            combine(bundle.about(type_of(input)), said, under=item.under)
            for item, input, said in zip(asked, inputs, answers, strict=True)
        ]
    except Unavailable as away:
        decided = [refused(AWAY, f"The rules cannot be asked: {away.detail}")] * len(inputs)
    latency = (time.perf_counter_ns() - started) // 1000 // len(inputs)
    return [_Draft(*each, latency) for each in zip(asked, inputs, decided, strict=True)]


async def _still_holds(unit: Unit, rulebook: Rulebook, bundle: Bundle, now: datetime) -> bool:
    """Whether the bundle is the active one, and stays it until this transaction ends, and the time was right."""
    statement = sa.select(bundle_active.c.revision).with_for_update(key_share=True, read=True)
    rulebook.revision = (await unit.connection.execute(statement)).scalar_one()
    rulebook.told(unit.now)
    return rulebook.revision == bundle.revision and abs(unit.now - now) < CLOCK_SLACK


async def _keep(unit: Unit, bundle: Bundle, drafts: Sequence[_Draft]) -> list[Ruling]:
    restrictions = await _restrictions(unit, [_subject(draft.asked) for draft in drafts])
    rulings, rows, entries, owed = [], [], [], []
    for draft in drafts:
        decided = _restricted(bundle, draft, restrictions)
        ruling = _ruling(unit, bundle, draft, decided)
        row = _row(unit, draft, ruling)
        rulings.append(ruling)
        rows.append(row)
        entries.append({"body": unit.entry("decision.made", f"decision:{ruling.id}", _payload(row))})
        owed.extend(_owed_rows(ruling))
    await unit.connection.execute(decision.insert(), rows)
    if owed:
        await unit.connection.execute(obligation.insert(), owed)
    await unit.connection.execute(audit_entry.insert(), entries)
    unit.entries += len(entries)
    denied = [str(ruling.id) for ruling in rulings if _is_denial(ruling)]
    if denied:
        await unit.enqueue(JOB, {"decisions": denied})
    last = rulings[-1]
    unit.publish(bundles.TOPIC, "decided", id=str(last.id), outcome=last.decided.outcome, count=len(rulings))
    return rulings


async def _restrictions(unit: Unit, subjects: list[str]) -> list[sa.RowMapping]:
    """Those in force now that may concern one of `subjects`."""
    r = restriction.c
    query = (
        sa.select(r.id, r.level, r.subject, r.action_type, r.expires_at, violation.c.ref)
        .outerjoin_from(restriction, violation, violation.c.id == r.violation_id)
        .where(
            r.lifted_at.is_(None),
            r.expires_at > unit.now,
            r.imposed_at <= unit.now,
            r.level != Ladder.LOG_WARNING,
            sa.or_(r.subject.is_(None), r.subject.in_(subjects)),
        )
        .order_by(r.imposed_at, r.id)
    )
    return await unit.rows(query)


def _restricted(bundle: Bundle, draft: _Draft, restrictions: Sequence[sa.RowMapping]) -> Decided:
    """The decision with the restrictions that apply to it, if any do."""
    subject, kind = _subject(draft.asked), type_of(draft.input)
    applying = [
        Restricting(row["id"], Ladder(row["level"]), row["ref"], row["expires_at"])
        for row in restrictions
        if row["subject"] in (None, subject) and row["action_type"] in (None, kind)
    ]
    if not applying:
        return draft.decided
    if _unasked(draft.decided):
        restricted = combine([], {}, applying)
        return msgspec.structs.replace(restricted, reasons=[*restricted.reasons, *draft.decided.reasons])
    return combine(bundle.about(kind), draft.decided.said, applying, under=draft.asked.under)


def _ruling(unit: Unit, bundle: Bundle, draft: _Draft, decided: Decided) -> Ruling:
    binding = draft.asked.mode == DecisionMode.ENFORCE
    owed = [
        Owed(item.id, item.text, item.policy,
             unit.now + timedelta(seconds=item.within_seconds) if binding else None)
        for item in decided.obligations
    ]  # fmt: skip
    return Ruling(
        id=new_id(),
        mode=draft.asked.mode,
        decided=decided,
        obligations=owed,
        matched=_matched(bundle, draft.input, decided),
        revision=bundle.revision,
        latency_us=draft.latency_us,
        made_at=unit.now,
    )


def _matched(bundle: Bundle, input: Input, decided: Decided) -> list[Matched]:
    found = []
    for rule in bundle.about(type_of(input)):
        said = decided.said.get(rule.policy)
        if said is not None:
            word = "error" if said.error else "deny" if said.deny else "allow" if said.allow else "nothing"
            found.append(Matched(rule.policy, rule.version, rule.declared.name, word))
    return found


def _row(unit: Unit, draft: _Draft, ruling: Ruling) -> dict[str, Any]:
    input, salt = _canonical(draft.input), secrets.token_bytes(32)
    due = [item.due_at for item in ruling.obligations if item.due_at]
    return {
        "id": ruling.id,
        "mode": ruling.mode,
        "outcome": ruling.decided.outcome,
        "severity": ruling.decided.severity,
        "action_type": type_of(draft.input),
        "subject": _subject(draft.asked),
        "input": input,
        "salt": salt,
        "input_commitment": commitment(salt, input),
        "revision": ruling.revision,
        "why": to_json(ruling.decided),
        "latency_us": ruling.latency_us,
        "asked_by": unit.actor.id,
        "made_at": unit.now,
        "lapses_at": max(due) if due else None,
    }


def commitment(salt: bytes, input: bytes) -> str:
    """HMAC-SHA256 of the canonical input under a random 32-byte salt, in hex."""
    return hmac.new(salt, input, hashlib.sha256).hexdigest()


def _payload(row: dict[str, Any]) -> dict[str, Any]:
    """What the log keeps: the decision and its reasons by policy, and the input as a commitment."""
    return {
        "decision": str(row["id"]),
        "mode": str(row["mode"]),
        "outcome": str(row["outcome"]),
        "severity": str(row["severity"]),
        "action_type": row["action_type"],
        "input_commitment": row["input_commitment"],
        "bundle": row["revision"],
        "why_sha256": hashlib.sha256(rfc8785.dumps(row["why"])).hexdigest(),
        "reasons": [
            {"code": reason["code"], "policy": reason["policy"] or "", "version": reason["version"] or 0}
            for reason in row["why"]["reasons"]
        ],
    }


def _owed_rows(ruling: Ruling) -> list[dict[str, Any]]:
    return [
        {"id": new_id(), "decision_id": ruling.id, "key": item.id, "text": item.text,
         "policy_ref": item.policy, "due_at": item.due_at}
        for item in ruling.obligations
        if item.due_at
    ]  # fmt: skip


def _subject(asked: Asked) -> str:
    return asked.subject.get("id", "")


def _is_denial(ruling: Ruling) -> bool:
    return ruling.mode == DecisionMode.ENFORCE and ruling.decided.outcome == Outcome.DENY


async def recompute(rulebook: Rulebook, decision_id: UUID) -> tuple[Decided, Decided]:
    """A decision as it was kept, and as it comes out when its rules are asked again about its logged input.

    What was of that moment is taken as it was then: restrictions, and rules that had not answered in time.
    Raises NotFound, Unavailable, Invalid `erased`, `not_asked`.
    """
    async with rulebook.units() as unit:
        row = await unit.row(sa.select(decision).where(decision.c.id == decision_id))
    if row is None:
        raise NotFound(f"There is no decision {decision_id}.", code="no_decision")
    if row["input"] is None:
        raise Invalid("What was asked was erased, so it cannot be asked again.", code="erased")
    kept = msgspec.convert(row["why"], Decided)
    if _unasked(kept):
        raise Invalid(
            "Nothing was allowed because no engine could be asked, so there is nothing to ask again.",
            code="not_asked",
        )
    bundle = await rulebook.load(row["revision"])
    input = msgspec.json.decode(row["input"])
    rules = bundle.about(type_of(input))
    late = {policy: answer for policy, answer in kept.said.items() if answer.error in (TOO_SLOW, LATELY)}
    said = late | await rulebook.again(
        bundle, [rule.policy for rule in rules if rule.policy not in late], input
    )
    return kept, combine(rules, said, kept.restrictions, under=kept.under)


def _unasked(decided: Decided) -> bool:
    """Whether it is a denial because no engine could be asked."""
    return any(reason.code == AWAY for reason in decided.reasons)
