"""Holds the amounts that a clause names against the figures of the constitution: periods, quorum, majorities, restrictions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import msgspec

from workflows.constitution.figures import Figures
from workflows.constitutional_compliance.analysers.quantities import Quantity, quantities
from workflows.constitutional_compliance.analysers.statements import stated
from workflows.kinds import Strategy

TWO_THIRDS = 66.0  # per cent; “two thirds” is how people say 67
NEAR = 45  # characters between what is counted and the amount
DAYS = 24.0

_TIERS = {
    Strategy.ENHANCED_VALIDATION: re.compile(r"\benhanced[ -]validation\b", re.I),
    Strategy.MULTI_MODEL_CONSENSUS: re.compile(r"\bmulti[ -]?model[ -]consensus\b", re.I),
    Strategy.HUMAN_REVIEW: re.compile(r"\bhuman[ -]review\b", re.I),
}
# Ballots that the constitution is not about.
_OTHER_BALLOTS = re.compile(
    r"\b(?:election|elect(?:s|ed|ing)?|candidates?|contest|poll|polls|survey|avatar|straw|advisory|hackathon|jury|juries|"
    r"house meeting|shareholders?|committee|working group|board|wardens?|snapshots?|gauge|readers|users|tenants|class)\b",
    re.I,
)  # fmt: skip
_EMERGENCY = re.compile(r"\bemergenc(?:y|ies)\b|\burgen(?:t|cy)\b", re.I)
_COUNCIL = re.compile(r"\bcouncil\b", re.I)
_PERIOD = re.compile(
    r"\b(?:ballots?|votes?|voting)\b[^.;:,]{0,70}?\b(?:is|are|stays?|remains?|stands?|be|kept|held) open\b[^.;:,]{0,25}$|"
    r"\b(?:ballots?|votes?|voting)\b[^.;:,]{0,60}?\b(?:runs?|lasts?|takes? place over|spans?)\b[^.;:,]{0,25}$|"
    r"\b(?:ballots?|votes?|voting)\b[^.;:,]{0,50}?\bcloses? (?:after|at the end of)\b[^.;:,]{0,12}$|"
    r"\b(?:voting|ballot) (?:period|window|time)\b[^.;:,]{0,40}?\b(?:is|of|lasts?|runs?|to|at|be)\b[^.;:,]{0,15}$",
    re.I,
)  # fmt: skip
_QUORUM = re.compile(
    r"\bquorum\b[^.;]{0,60}$|"
    r"\bballots?\b[^.;]{0,60}\b(?:valid|counts?|effective|binding)\b[^.;]{0,30}\b(?:where|if|when|once|as soon as|provided)\b[^.;]{0,30}$",
    re.I,
)
_BALLOT = re.compile(r"\b(?:ballots?|votes?|voting|entitled to vote)\b", re.I)
_PASSES = re.compile(
    r"\b(?:polic(?:y|ies)|proposals?|motions?|amendments?|ballots?)\b[^.;]{0,60}?"
    r"\b(?:pass(?:es)?|carried|adopted|enacted|accepted)\b[^.;]{0,45}$",
    re.I,
)
_OF_VOTES = re.compile(
    r"^[^.;,]{0,20}\b(?:votes?|those voting|ballots?|in favour|for and against|for or against)\b", re.I
)
_OVERRIDE = re.compile(
    r"\bveto\b[^.;]{0,70}\boverr(?:ide|idden|ode|iding|ule|uled)\b|\boverr(?:ide|idden|iding|ule|uled)\b[^.;]{0,40}\bveto\b",
    re.I,
)
_LODGING = re.compile(
    r"\b(?:may|can|must|shall|to) (?:be )?appeal(?:ed)?\b|\bappeals?\b[^.;]{0,50}\b(?:lodged?|filed?|made|raised?|brought|reach(?:es)?|"
    r"submitted|entered|handed in|sent|received by)\b|\b(?:lodge|file|make|raise|bring|submit|enter|send) (?:an|your|the|his|her|their) appeals?\b",
    re.I,
)  # fmt: skip
_DECIDING = re.compile(
    r"\b(?:appeals?|panel)\b[^.;]{0,50}\b(?:decid(?:e|es|ed)|answer(?:s|ed)?|rules?|determined?|settled?|heard)\b[^.;]{0,20}$",
    re.I,
)
_COMMENT = re.compile(r"\bcomments?\b[^.;]{0,50}$|\bcomment period\b", re.I)
_LOCKDOWN = re.compile(r"\blockdown\b[^.;]{0,50}$", re.I)
_WITHIN = re.compile(
    r"(?:within|in|no later than|not later than|up to|for|the first|first|have|has|get|gets|given|are|only|just|of)\s+(?:(?:the|a|first|next|only|period of)\s+)*$",
    re.I,
)


class Fault(msgspec.Struct, frozen=True):
    """What a clause surely breaks: `explanation` is a sentence for people."""

    principle: str
    articles: tuple[str, ...]
    explanation: str


def faults(clause: str, figures: Figures) -> Iterator[Fault]:
    """What the clause's amounts break. At most one for each amount."""
    for quantity in quantities(clause):
        for rule in _RULES:
            found = rule(clause, quantity, figures)
            if found is not None and stated(clause, quantity.start, quantity.end):
                yield found
                break


def _before(clause: str, quantity: Quantity) -> str:
    """What stands before the amount, without the words of its bound."""
    return re.sub(
        r"(?:\b(?:for|after|at|of|by|with|only|just|a total of|exactly|at least|at most|no more than|no less than|not less than|"
        r"not more than|no fewer than|no longer than|a minimum of|a maximum of|up to|less than|more than|fewer than|within|"
        r"under|over|minimum|maximum)\s*)+$",
        "",
        clause[: quantity.start],
        flags=re.I,
    )  # fmt: skip


def _voting_days(clause: str, quantity: Quantity, figures: Figures) -> Fault | None:
    if not _PERIOD.search(_before(clause, quantity)) or _OTHER_BALLOTS.search(clause):
        return None
    if quantity.unit == "hours":
        days = quantity.value / DAYS
    elif quantity.unit == "working_days":
        days = quantity.value * 7 / 5
    else:
        return None
    emergency = _EMERGENCY.search(clause)
    figure = figures.emergency_voting_days if emergency else figures.voting_days
    if days >= figure.value or quantity.said.lower().startswith("a day"):
        return None
    explanation = f"It has a ballot open for {quantity.said}; the constitution says {figure.value} days (§ {figure.article})."
    return Fault("fair_ballot", (figure.article,), explanation)


def _quorum(clause: str, quantity: Quantity, figures: Figures) -> Fault | None:
    figure = figures.quorum_percent
    if quantity.unit != "percent" or quantity.value >= figure.value or _OTHER_BALLOTS.search(clause):
        return None
    if not _QUORUM.search(_before(clause, quantity)) or not _BALLOT.search(clause):
        return None
    explanation = f"Its quorum is {quantity.said}; the constitution asks for {figure.value} per cent (§ {figure.article})."
    return Fault("fair_ballot", (figure.article,), explanation)


def _threshold(clause: str, quantity: Quantity, figures: Figures) -> Fault | None:
    if (
        quantity.unit != "percent"
        or not _PASSES.search(_before(clause, quantity))
        or _OTHER_BALLOTS.search(clause)
    ):
        return None
    named = next((figures.tier(tier) for tier, name in _TIERS.items() if name.search(clause)), None)
    tier = named or figures.tier(Strategy.STANDARD)
    if named is None and not _OF_VOTES.search(clause[quantity.end :]):
        return None
    enough = quantity.value >= min(tier.threshold_percent, TWO_THIRDS)
    if enough and not (quantity.value == tier.threshold_percent == 50 and _is_tie(clause, quantity)):
        return None
    needed = (
        f"more than {tier.threshold_percent}" if tier.threshold_percent == 50 else str(tier.threshold_percent)
    )
    explanation = f"It lets a policy pass with {quantity.said}; the constitution asks for {needed} per cent (§ 5.5, § 5.7)."
    return Fault("fair_ballot", ("5.5", "5.7"), explanation)


def _is_tie(clause: str, quantity: Quantity) -> bool:
    """“At least half” lets a tie pass; “more than half” does not."""
    return bool(re.search(r"\b(?:at least|not less than|no less than)\s*$", clause[: quantity.start], re.I))


def _override(clause: str, quantity: Quantity, figures: Figures) -> Fault | None:
    figure = figures.veto_override_percent
    if (
        quantity.unit != "percent"
        or quantity.value >= min(figure.value, TWO_THIRDS)
        or not _OVERRIDE.search(clause)
    ):
        return None
    explanation = f"It lets {quantity.said} override a veto; the constitution asks for {figure.value} per cent (§ {figure.article})."
    return Fault("fair_ballot", (figure.article,), explanation)


def _appeal_hours(clause: str, quantity: Quantity, figures: Figures) -> Fault | None:
    figure = figures.appeal_hours
    if quantity.unit != "hours" or quantity.value >= figure.value or quantity.bound == "at_least":
        return None
    lodging = _LODGING.search(clause)
    if lodging is None or not _WITHIN.search(clause[: quantity.start]):
        return None
    between = clause[min(lodging.end(), quantity.end) : max(lodging.start(), quantity.start)]
    if len(between) > NEAR or re.search(
        r"[.;:,]|\b(?:answer|decid|acknowledg|repl|confirm|publish|panel)", between, re.I
    ):
        return None
    explanation = f"It leaves {quantity.said} for an appeal; the constitution says {figure.value} hours (§ {figure.article})."
    return Fault("due_process", (figure.article,), explanation)


def _appeal_decision(clause: str, quantity: Quantity, figures: Figures) -> Fault | None:
    figure = figures.appeal_decision_working_days
    if quantity.unit == "working_days":
        late = quantity.value > figure.value
    else:
        late = quantity.unit == "hours" and quantity.value / DAYS > figure.value * 2
    if not late or quantity.bound == "at_least" or not re.search(r"\bappeal", clause, re.I):
        return None
    if not _DECIDING.search(_before(clause, quantity)):
        return None
    explanation = f"It gives {quantity.said} for deciding an appeal; the constitution says {figure.value} working days (§ {figure.article})."
    return Fault("due_process", (figure.article,), explanation)


def _comment_days(clause: str, quantity: Quantity, figures: Figures) -> Fault | None:
    named = next((figures.tier(tier) for tier, name in _TIERS.items() if name.search(clause)), None)
    if named is None or quantity.unit != "hours" or quantity.value / DAYS >= named.comment_days:
        return None
    if not _COMMENT.search(_before(clause, quantity)):
        return None
    explanation = f"It leaves {quantity.said} for comments; the constitution says at least {named.comment_days} days (§ {named.article})."
    return Fault("sound_review", (named.article,), explanation)


def _lockdown_hours(clause: str, quantity: Quantity, figures: Figures) -> Fault | None:
    figure = figures.lockdown_hours
    if (
        quantity.unit != "hours"
        or quantity.value <= figure.value
        or not _LOCKDOWN.search(_before(clause, quantity))
    ):
        return None
    if not re.search(
        r"\b(?:lasts?|ends?|expires?|holds?|stays?|remains?|runs?|for|after)\b",
        clause[: quantity.start],
        re.I,
    ):
        return None
    explanation = f"Its lockdown lasts {quantity.said}; the constitution says {figure.value} hours (§ {figure.article})."
    return Fault("graduated_response", ("8.4",), explanation)


_RULES: tuple[Callable[[str, Quantity, Figures], Fault | None], ...] = (
    _voting_days,
    _quorum,
    _override,
    _threshold,
    _comment_days,
    _appeal_hours,
    _appeal_decision,
    _lockdown_hours,
)
