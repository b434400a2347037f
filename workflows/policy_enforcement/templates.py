"""Rules to begin with: common ones, whole, with examples that hold. Whoever writes a policy copies and changes them."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from workflows.policy_creation.views import RuleDraft


class Template(msgspec.Struct, frozen=True):
    """A rule for a common need. `facts`: data documents it reads, with a row as an example."""

    key: str
    title: str
    need: str
    rule: RuleDraft
    facts: dict[str, Any] = {}

    @property
    def examples(self) -> str:
        """One JSON object a line, as the form takes them."""
        return "\n".join(json.dumps(each, ensure_ascii=False) for each in self.rule.examples)


def _asked(kind: str, who: str = "m9", **action: Any) -> dict[str, Any]:
    return {"action": {"type": kind, **action}, "subject": {"id": who}, "context": {}}


def _case(expect: str, kind: str, who: str = "m9", **action: Any) -> dict[str, Any]:
    return {"input": _asked(kind, who, **action), "expect": expect}


ALL = (
    Template(
        "limit",
        "A limit",
        "Up to an amount it is allowed; a report is due above half of it.",
        RuleDraft(
            "rego",
            """package policies.spending_limit

actions := {"spend"}

reasons := {"too_much": {"message": "More than the limit of 2,000.", "severity": "medium"}}

default allow := false

allow if input.action.amount <= 2000

deny contains "too_much" if input.action.amount > 2000

obligations contains {"id": "report", "text": "Report what it was spent on.", "within": "P30D"} if {
    input.action.amount > 1000
}
""",
            [
                _case("allow", "spend", amount=500),
                _case("conditional_allow", "spend", amount=1500),
                _case("deny", "spend", amount=2500),
            ],
        ),
    ),
    Template(
        "four_eyes",
        "Four eyes",
        "Somebody else has to approve, and nobody approves their own.",
        RuleDraft(
            "rego",
            """package policies.four_eyes

actions := {"release"}

reasons := {"own": {"message": "Nobody approves their own release.", "severity": "high"}}

default allow := false

allow if {
    some approver in input.action.approved_by
    approver != input.subject.id
}

deny contains "own" if {
    input.action.approved_by == [input.subject.id]
}
""",
            [
                _case("allow", "release", approved_by=["m1"]),
                _case("deny", "release", approved_by=["m9"]),
                _case("deny", "release", approved_by=[]),
            ],
        ),
    ),
    Template(
        "roles",
        "By role",
        "Only who holds a role may do it; who holds which role is data that operators keep.",
        RuleDraft(
            "rego",
            """package policies.data_export

actions := {"data.export"}

reasons := {"not_steward": {"message": "Only data stewards export personal data.", "severity": "critical"}}

default allow := false

steward if "steward" in data.facts.roles[input.subject.id]

allow if not input.action.personal

allow if steward

deny contains "not_steward" if {
    input.action.personal
    not steward
}
""",
            [
                _case("allow", "data.export", personal=False),
                _case("deny", "data.export", personal=True),
            ],
        ),
        {"roles": {"ada": ["steward"]}},
    ),
    Template(
        "retention",
        "A period",
        "Nothing is deleted before a time has passed since it was made.",
        RuleDraft(
            "rego",
            """package policies.retention

actions := {"delete"}

reasons := {"too_early": {"message": "Records are kept for 90 days.", "severity": "high"}}

default allow := false

age_ns := time.parse_rfc3339_ns(input.context.now) - time.parse_rfc3339_ns(input.action.made_at)

old_enough if age_ns >= 90 * 24 * 60 * 60 * 1000000000

allow if old_enough

deny contains "too_early" if not old_enough
""",
            [
                {
                    "input": {
                        "action": {"type": "delete", "made_at": "2026-01-01T00:00:00Z"},
                        "context": {"now": now},
                    },
                    "expect": expect,
                }
                for now, expect in (("2026-06-01T00:00:00Z", "allow"), ("2026-02-01T00:00:00Z", "deny"))
            ],
        ),
    ),
    Template(
        "delegation",
        "Delegation",
        "Who holds a mandate may pass it on, and who got it may act; a blocked person may not, wherever they stand.",
        RuleDraft(
            "datalog",
            """name("delegation"). actions("sign").
reason("no_mandate", "Neither mandate nor delegation reaches this person.", "medium").
reason("blocked", "This person may not sign at present.", "high").

acts(S) :- input("subject.id", S).
may(P) :- holder(P).
may(Q) :- may(P), delegates(P, Q).

allow :- acts(S), may(S), not blocked(S).
deny("blocked") :- acts(S), blocked(S).
deny("no_mandate") :- acts(S), not may(S).
""",
            [_case("deny", "sign")],
        ),
        {"holder": ["ada"], "delegates": [["ada", "ben"]], "blocked": ["eve"]},
    ),
    Template(
        "inheritance",
        "Inherited offices",
        "Whoever holds an office holds the lesser ones that it includes, and may do what those may.",
        RuleDraft(
            "datalog",
            """name("inherited_offices"). actions("room.book").
reason("no_office", "It takes an office that may book rooms.", "low").

holds(S, O) :- input("subject.id", S), office(S, O).
holds(S, Q) :- holds(S, O), includes(O, Q).

allow :- holds(_, O), may_book(O).
deny("no_office") :- not allow.
""",
            [_case("deny", "room.book")],
        ),
        {"office": [["ada", "chair"]], "includes": [["chair", "member"]], "may_book": ["member"]},
    ),
    Template(
        "conflict",
        "Conflict of interest",
        "Nobody decides about a body they belong to, directly or through one that it owns.",
        RuleDraft(
            "datalog",
            """name("conflict_of_interest"). actions("award").
reason("interest", "The person has an interest in the body that would get it.", "critical").

acts(S) :- input("subject.id", S).
about(B) :- input("action.body", B).
part(B, B) :- about(B).
part(B, C) :- part(B, A), owns(A, C).

allow :- acts(S), about(B), not interested.
interested :- acts(S), about(B), part(B, C), belongs(S, C).
deny("interest") :- interested.
""",
            [_case("allow", "award", body="b1")],
        ),
        {"owns": [["b1", "b2"]], "belongs": [["ada", "b2"]]},
    ),
)
