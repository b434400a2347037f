"""Templates about money: what one person may spend, who has to agree, and how offers are compared."""

from __future__ import annotations

from typing import Any

from workflows.kinds import Category, RuleEngine
from workflows.policy_creation.synthesis.goals import Period
from workflows.policy_creation.synthesis.templates.filling import (
    Asked,
    Template,
    Values,
    case,
    distinct,
    spelled,
)

SPENDING = {
    "travel": r"travel\w*|trips?|journeys?",
    "grant": r"grants?",
    "purchase": r"purchas\w+|buy\w*|procure\w*|(?<!in )order(?:s|ed|ing)?",
    "payment": r"pay|pays|payments?|paid|transfers?|invoices?|treasury",
    "expense": r"spend\w*|spent|expens\w+|reimburs\w+|cost\w*|budget\w*|money",
}
_MONEY = r"(?<!in )order(?:s|ed|ing)?|spend\w*|spent|expens\w+|reimburs\w+|pay\w*|paid|purchas\w+|buy\w*|grants?|budget\w*|money|travel\w*|costs?|invoices?|treasury|transfers?"  # fmt: skip
WORDS = {"travel": "travel costs", "grant": "grants", "purchase": "purchases", "payment": "payments", "expense": "expenses"}  # fmt: skip


def _limit(asked: Asked) -> Values:
    kind = asked.choice("What it is about", SPENDING, "expense")
    limit = asked.money("The limit", 1_000)
    report = asked.money("Reported above", max(limit // 2, 1))
    period = asked.period("Reported within", Period(30, "day"))
    return {
        "kind": kind,
        "things": WORDS[kind],
        "limit": limit,
        "limit_text": asked.shown(limit),
        "report": report,
        "report_text": asked.shown(report),
        "period": period.text,
        "iso": period.iso,
        "seconds": period.hours * 3600,
    }


def _limit_examples(values: Values) -> list[dict[str, Any]]:
    kind, limit, report = values["kind"], values["limit"], values["report"]
    found = [
        case("allow", kind, amount=report),
        case("deny", kind, amount=limit + 1),
        case("deny", kind),
    ]
    return found + ([case("conditional_allow", kind, amount=limit)] if limit > report else [])


LIMIT = Template(
    key="spending_limit",
    title="$things of up to $limit_text",
    summary="A member may decide alone on $things of up to $limit_text, and reports within $period what was spent above $report_text.",
    need="A limit on what one person may spend",
    category=Category.FINANCIAL,
    cues=(_MONEY, r"limit\w*|cap\w*|up to|at most|no more than|maximum|ceiling|alone|by (?:themselves|oneself)|small|without asking"),
    serves=("openness", "due_process"),
    values=_limit,
    text="""
## Rule

A member may decide alone on $things of up to $limit_text, when they serve the purposes of the assembly and the budget has room for
them. Whatever costs more is decided by the people whom the budget names for it.

## Report

Whoever spends more than $report_text reports within $period what it was spent on, with the receipt. The reports are open to all members.

## Splitting

What belongs together counts together: one purchase in several parts is one purchase.
""",
    rules={
        RuleEngine.REGO: """
package policies.$name

actions := {"$kind"}

reasons := {
    "too_much": {"message": "More than the limit of $limit_text.", "severity": "medium"},
    "report": {"message": "The report on the spending is missing.", "severity": "low"},
}

default allow := false

allow if {
    input.action.amount > 0
    input.action.amount <= $limit
}

deny contains "too_much" if input.action.amount > $limit

obligations contains {"id": "report", "text": "Report within $period what it was spent on.", "within": "$iso"} if {
    input.action.amount > $report
    input.action.amount <= $limit
}
""",
        RuleEngine.DATALOG: """
name("$name"). actions("$kind").
reason("too_much", "More than the limit of $limit_text.", "medium").
reason("report", "The report on the spending is missing.", "low").

amount(A) :- input("action.amount", A), A > 0.
above(A) :- amount(A), A > $report.

allow :- amount(A), A <= $limit.
deny("too_much") :- amount(A), A > $limit.
oblige("report", "Report within $period what it was spent on.", $seconds) :- above(A), A <= $limit.
""",
    },
    examples=_limit_examples,
)  # fmt: skip


def _two(asked: Asked) -> Values:
    kind = asked.choice("What it is about", SPENDING, "payment")
    needed = asked.people("How many approve", 2, most=5)
    above = asked.money("Needed above", 1_000, smallest=True)
    return {
        "kind": kind,
        "things": WORDS[kind],
        "Things": WORDS[kind].capitalize(),
        "needed": needed,
        "people": f"{spelled(needed)} other {'person' if needed == 1 else 'people'}",
        "approve": "approves" if needed == 1 else "approve",
        "above": above,
        "above_text": asked.shown(above),
        "enough": distinct("other", needed),
    }


def _two_examples(values: Values) -> list[dict[str, Any]]:
    kind, above, needed = values["kind"], values["above"], values["needed"]
    others = [f"m{number}" for number in range(1, needed + 1)]
    return [
        case("allow", kind, amount=above, approved_by=[]),
        case("allow", kind, amount=above + 1, approved_by=others),
        case("deny", kind, amount=above + 1, approved_by=others[1:]),
        case("deny", kind, amount=above + 1, approved_by=[*others[1:], "m9"]),
    ]


TWO_PEOPLE = Template(
    key="joint_approval",
    title="$people $approve $things above $above_text",
    summary="$things above $above_text need the approval of $people. Nobody approves their own.",
    need="Nobody pays alone: others approve above an amount",
    category=Category.FINANCIAL,
    cues=(_MONEY, r"approv\w+|sign\w*|agree\w*|consent\w*|second person|four[- ]eyes|two[- ]person|jointly|countersign\w*|both"),
    serves=("separation_of_duties", "lasting_trail"),
    values=_two,
    text="""
## Rule

$Things above $above_text are made only when $people $approve them beforehand. Up to that amount whoever is responsible for the budget
decides alone.

## Who approves

Whoever asks for it never counts among those who approve, and neither does anyone who would gain by it. Each person who approves sees the
whole request, and says so under their own name.

## Record

Each of these $things is listed with the amount, its purpose and who approved it, in an account that all members can read.
""",
    rules={
        RuleEngine.REGO: """
package policies.$name

actions := {"$kind"}

reasons := {"too_few": {"message": "Above $above_text it needs the approval of $people.", "severity": "high"}}

default allow := false

others := {who | some who in input.action.approved_by; who != input.subject.id}

small if {
    input.action.amount > 0
    input.action.amount <= $above
}

enough if {
    input.action.amount > $above
    count(others) >= $needed
}

allow if small

allow if enough

deny contains "too_few" if {
    input.action.amount > $above
    not enough
}
""",
        RuleEngine.DATALOG: """
name("$name"). actions("$kind").
reason("too_few", "Above $above_text it needs the approval of $people.", "high").

amount(A) :- input("action.amount", A), A > 0.
own(P) :- input("subject.id", P).
other(P) :- input("action.approved_by", P), not own(P).
enough :- $enough.

allow :- amount(A), A <= $above.
allow :- amount(A), A > $above, enough.
deny("too_few") :- amount(A), A > $above, not enough.
""",
    },
    examples=_two_examples,
)  # fmt: skip


def _offers(asked: Asked) -> Values:
    above = asked.money("Offers needed above", 5_000, smallest=True)
    offers = asked.people("How many offers", 3, most=9)
    return {
        "above": above,
        "above_text": asked.shown(above),
        "offers": offers,
        "offers_text": f"{spelled(offers)} {'offer' if offers == 1 else 'offers'}",
    }


def _offers_examples(values: Values) -> list[dict[str, Any]]:
    above, offers = values["above"], values["offers"]
    return [
        case("allow", "purchase.decide", amount=above, offers=0, related=[]),
        case("allow", "purchase.decide", amount=above + 1, offers=offers, related=["m1"]),
        case("deny", "purchase.decide", amount=above + 1, offers=offers - 1, related=[]),
        case("deny", "purchase.decide", amount=above, offers=offers, related=["m9"]),
    ]


OFFERS = Template(
    key="offers_compared",
    title="$offers_text before a purchase above $above_text",
    summary="Before anything above $above_text is bought, $offers_text are compared, by people who have no interest in a supplier.",
    need="Compare offers before buying",
    category=Category.FINANCIAL,
    cues=(r"offers?|quotes?|quotations?|bids?|tenders?|procure\w*|suppliers?|vendors?", r"purchas\w+|buy\w*|procure\w*|spend\w*|above|over|compar\w+|suppliers?|vendors?|contracts?"),
    serves=("separation_of_duties", "openness"),
    values=_offers,
    text="""
## Rule

Before anything above $above_text is bought, at least $offers_text are asked for and compared by price, quality and fairness to those who
make it. Who decides writes down in a few sentences why one was chosen.

## No interest in it

Nobody decides on a purchase from a supplier to whom they are related, for whom they work, or from whom they have received a gift.

## Record

The offers and the reasons for the choice are kept with the account, and members may read them.
""",
    rules={
        RuleEngine.REGO: """
package policies.$name

actions := {"purchase.decide"}

reasons := {
    "too_few_offers": {"message": "Above $above_text it needs at least $offers_text.", "severity": "medium"},
    "interest": {"message": "Nobody decides on a purchase from a supplier to whom they are related.", "severity": "high"},
}

default allow := false

allow if {
    input.action.amount > 0
    input.action.amount <= $above
}

compared if {
    is_number(input.action.offers)
    input.action.offers >= $offers
}

allow if {
    input.action.amount > $above
    compared
}

deny contains "too_few_offers" if {
    input.action.amount > $above
    not compared
}

deny contains "interest" if input.subject.id in input.action.related
""",
        RuleEngine.DATALOG: """
name("$name"). actions("purchase.decide").
reason("too_few_offers", "Above $above_text it needs at least $offers_text.", "medium").
reason("interest", "Nobody decides on a purchase from a supplier to whom they are related.", "high").

amount(A) :- input("action.amount", A), A > 0.
compared :- input("action.offers", N), N >= $offers.

allow :- amount(A), A <= $above.
allow :- amount(A), A > $above, compared.
deny("too_few_offers") :- amount(A), A > $above, not compared.
deny("interest") :- input("subject.id", P), input("action.related", P).
""",
    },
    examples=_offers_examples,
)  # fmt: skip

ALL = (LIMIT, TWO_PEOPLE, OFFERS)
