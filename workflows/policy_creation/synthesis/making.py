"""From a wish to candidates: drafted by every means there is, and none shown whose rule or text did not stand.

A rule has to run, its examples have to hold, alone and among the rules in force; the text is held against the constitution.
A language model that fails is told what is wrong, twice at most. What fails is left out, and it is said why.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec

from workflows.constitution.document import Constitution
from workflows.constitutional_compliance.analysis import Enacted, Judge
from workflows.constitutional_compliance.analysis import Problem as NotJudged
from workflows.constitutional_compliance.findings import Result, Subject
from workflows.errors import FieldError, Invalid, Unavailable
from workflows.kinds import Compliance, Strategy
from workflows.policy_creation.synthesis import surroundings
from workflows.policy_creation.synthesis.drafting import Synthesiser
from workflows.policy_creation.synthesis.shapes import (
    LIMITS,
    SHOWN,
    Candidate,
    Drafted,
    Left,
    Setting,
    Synthesis,
    Validation,
    Wish,
    Written,
)
from workflows.policy_enforcement import rules
from workflows.policy_enforcement.bundle import Bundle
from workflows.policy_enforcement.rulebook import Rulebook

MENDS = 2
LONGEST = 60.0  # seconds, after which nothing is mended any more


@dataclass(frozen=True)
class Parts:
    """What it takes: who drafts, what runs rules, what judges texts, and the constitution in force."""

    synthesiser: Synthesiser
    rulebook: Rulebook
    judge: Judge
    constitution: Constitution


@dataclass(frozen=True)
class _Try:
    """A draft on its way. `errors`: what is wrong with it; none: it stands."""

    drafted: Drafted | None
    written: Written | None = None  # by a language model, which can mend it
    errors: tuple[str, ...] = ()
    report: rules.Report | None = None
    mended: int = 0


async def synthesise(wish: Wish, parts: Parts) -> Synthesis:
    """The best first. Raises Invalid for a wish that cannot be read, Unavailable when drafts cannot be made or validated."""
    check(wish, parts.constitution)
    until = time.monotonic() + LONGEST
    setting = await surroundings.look(parts.rulebook.units, parts.constitution, wish)
    drafts = await parts.synthesiser.draft(wish, setting)
    bundle = await parts.rulebook.load(await parts.rulebook.look())
    waiting = [_Try(item.drafted, item, _wrong(item)) for item in drafts.written]
    waiting += [_Try(item) for item in drafts.drafted]
    candidates: list[Candidate] = []
    left = list(drafts.left)
    for mended in range(MENDS + 1):
        tried = [await _tried(parts.rulebook, bundle, item) for item in waiting]
        judged = await _judged(parts, setting, tried, bundle)
        candidates += [item for item in judged if isinstance(item, Candidate)]
        failed = [item for item in judged if isinstance(item, _Try)]
        mendable = [item for item in failed if item.written] if time.monotonic() < until else []
        left += [_left(item, mended) for item in failed if item not in mendable or mended == MENDS]
        if mended == MENDS or not mendable:
            break
        waiting = []
        for item in mendable:
            again = await _mended(parts.synthesiser, wish, setting, item)
            left.append(again) if isinstance(again, Left) else waiting.append(again)
    return Synthesis(candidates=_best(candidates), left=left, means=drafts.means)


def check(wish: Wish, constitution: Constitution) -> None:
    """Raises Invalid with every fault of a wish."""
    errors = []
    if not wish.goal.strip():
        errors.append(FieldError("/goal", "Say what the policy is to reach."))
    elif len(wish.goal) > LIMITS["goal"]:
        message = f"At most {LIMITS['goal']:,} characters; these are {len(wish.goal):,}."
        errors.append(FieldError("/goal", message))
    known = {item.key for item in constitution.principles}
    errors += [
        FieldError(f"/principles/{position}", f"The constitution has no principle “{key[:60]}”.")
        for position, key in enumerate(wish.principles)
        if key not in known
    ]
    if errors:
        raise Invalid("The wish cannot be read like this.", errors=tuple(errors))


def _wrong(written: Written) -> tuple[str, ...]:
    return (written.wrong,) if written.drafted is None else ()


async def _tried(rulebook: Rulebook, bundle: Bundle, item: _Try) -> _Try:
    """With what the engine says of its rule."""
    if item.errors or item.drafted is None or item.drafted.rule is None:
        return item
    others = await rules.examples_in_force(rulebook.units, bundle)
    report = await rules.examine(rulebook.engine, item.drafted.rule, bundle, others)
    if report.passed:
        return replace(item, report=report, drafted=_with_data(item.drafted, report, bundle))
    if item.drafted.source.kind == "policy" and not report.problems:
        note = f"Its rule was left out: {report.summary()}"
        text_only = msgspec.structs.replace(item.drafted, rule=None, notes=(*item.drafted.notes, note))
        return replace(item, drafted=text_only)
    return replace(item, errors=tuple(_faults(report)))


def _with_data(drafted: Drafted, report: rules.Report, bundle: Bundle) -> Drafted:
    """Noting which data documents its rule reads that nobody has entered yet."""
    missing = [name for name in report.declared.facts if name not in bundle.facts] if report.declared else []
    notes = tuple(
        f"Its rule reads the data “{name}”, which operators still have to enter." for name in missing
    )
    return msgspec.structs.replace(drafted, notes=(*drafted.notes, *notes))


def _faults(report: rules.Report) -> list[str]:
    """Everything that is wrong with a rule, one sentence each."""
    said = [f"{f'Line {item.line}: ' if item.line else ''}{item.message}" for item in report.problems]
    said += [
        f"Example {item.number} should give {item.expect} and gives {item.got}. {item.why}".strip()
        for item in report.examples
        if not item.passed
    ]
    return said + [item.text for item in report.conflicts]


async def _judged(
    parts: Parts, setting: Setting, tried: Sequence[_Try], bundle: Bundle
) -> list[Candidate | _Try]:
    """Those that stand as candidates, the others with what is wrong with them, in order."""
    sound = [item for item in tried if not item.errors and item.drafted]
    subjects = [subject(item.drafted) for item in sound if item.drafted]
    results = (
        await parts.judge.judge(
            parts.constitution, subjects, enacted=_enacted(setting), level=Strategy.ENHANCED_VALIDATION
        )
        if subjects
        else []
    )
    verdicts = iter(zip(sound, results, strict=True))
    return [_verdict(*next(verdicts), bundle) if item in sound else item for item in tried]


def _verdict(item: _Try, result: Result | NotJudged, bundle: Bundle) -> Candidate | _Try:
    assert item.drafted is not None
    if isinstance(result, NotJudged):
        return replace(item, errors=(f"It could not be held against the constitution: {result.detail}",))
    if result.verdict == Compliance.NON_COMPLIANT:
        return replace(item, errors=result.why)
    judged = any(analyser.present for analyser in result.analysers)
    validation = Validation(
        rule="passed" if item.drafted.rule else "none",
        examples=len(item.report.examples) if item.report else 0,
        revision=bundle.revision,
        compliance=result.verdict if judged else None,
        score=result.score if judged else None,
        why=list(result.why) if judged else ["No analyser is there to hold it against the constitution."],
        basis_sha256=result.basis_sha256,
        mended=item.mended,
    )
    return Candidate(drafted=item.drafted, validation=validation)


def subject(drafted: Drafted) -> Subject:
    """A draft as the judge takes it."""
    rule = drafted.rule
    return Subject(
        title=drafted.title,
        text=drafted.text,
        summary=drafted.summary,
        category=drafted.category,
        rule_engine=rule.engine if rule else None,
        rule_source=rule.source if rule else "",
        rule_examples=rule.examples if rule else [],
    )


def _enacted(setting: Setting) -> list[Enacted]:
    return [
        Enacted(
            item.ref,
            item.title,
            item.text,
            item.category,
            item.rule.engine if item.rule else None,
            item.rule.source if item.rule else "",
        )
        for item in setting.standing
    ]


async def _mended(synthesiser: Synthesiser, wish: Wish, setting: Setting, item: _Try) -> _Try | Left:
    assert item.written is not None
    try:
        again = await synthesiser.mend(wish, setting, item.written.model, item.written.answer, item.errors)
    except Unavailable as refusal:
        return _left(replace(item, errors=(*item.errors, refusal.detail)), item.mended)
    return _Try(again.drafted, again, _wrong(again), mended=item.mended + 1)


def _left(item: _Try, mended: int) -> Left:
    why = " ".join(item.errors[:3])
    if item.written and mended:
        why = f"After being told {'twice' if mended == MENDS else 'once'} what is wrong: {why}"
    if item.drafted is None:
        model = item.written.model if item.written else ""
        return Left(kind="language_model", key=model, title=model, why=why)
    source = item.drafted.source
    href = f"/policies/{source.key}" if source.kind == "policy" else ""
    return Left(kind=source.kind, key=source.key, title=source.title, why=why, href=href)


def _best(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Those that comply first, each text once."""
    order = [Compliance.COMPLIANT, Compliance.REQUIRES_REVIEW, None]
    ranked = sorted(candidates, key=lambda item: order.index(item.validation.compliance))
    return list({(item.drafted.title, item.drafted.text): item for item in reversed(ranked)}.values())[::-1][
        :SHOWN
    ]
