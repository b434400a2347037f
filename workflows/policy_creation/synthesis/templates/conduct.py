"""Templates about conduct: moderation, conflicts of interest, and offices that include others."""

from __future__ import annotations

from workflows.kinds import Category, RuleEngine
from workflows.policy_creation.synthesis.goals import Period
from workflows.policy_creation.synthesis.templates.access import ready_made
from workflows.policy_creation.synthesis.templates.filling import Asked, Template, Values, case
from workflows.policy_enforcement import templates as rules

_RULES = {item.key: item for item in rules.ALL}


def _moderation(asked: Asked) -> Values:
    tell = asked.period("The author is told within", Period(24, "hour"))
    return {"tell": tell.text, "iso": tell.iso, "seconds": tell.hours * 3600}


MODERATION = Template(
    key="moderation",
    title="How contributions are moderated",
    summary="A contribution is taken down only for breaking a rule that is named; its author is told why within $tell, and others look at it again.",
    need="When contributions may be taken down",
    category=Category.GOVERNANCE,
    cues=(r"moderat\w+|harass\w+|spam|abus\w+|take ?downs?|taken down|code of conduct|hate speech|insult\w*|comments?|posts?|forum|content",),
    serves=("due_process", "graduated_response", "equal_respect"),
    values=_moderation,
    text="""
## Rule

A contribution is taken down when it breaks a rule that was written down beforehand, and the rule is named. Disagreement with the assembly or its
offices is no reason. Nobody moderates a dispute in which they take part.

## The author is heard

The author gets a message within $tell that names the contribution and the rule, and may object within seven days. People who had no part in it look at
it again when the author objects. What was taken down wrongly is put back.

## Step by step

A first breach is answered by a warning, a repeated one by a pause from writing that ends by itself. What was taken down is kept until the case is closed.
""",
    rules={
        RuleEngine.REGO: """
package policies.$name

actions := {"content.remove"}

reasons := {
    "no_rule": {"message": "The rule that was broken is named.", "severity": "medium"},
    "own_dispute": {"message": "Nobody moderates a dispute in which they take part.", "severity": "high"},
    "tell": {"message": "The author was not told in time.", "severity": "medium"},
}

default allow := false

named if {
    is_string(input.action.rule)
    input.action.rule != ""
}

involved if input.subject.id in input.action.parties

allow if named

deny contains "no_rule" if not named

deny contains "own_dispute" if involved

obligations contains {"id": "tell", "text": "Tell the author within $tell why, and how to object.", "within": "$iso"} if named
""",
        RuleEngine.DATALOG: """
name("$name"). actions("content.remove").
reason("no_rule", "The rule that was broken is named.", "medium").
reason("own_dispute", "Nobody moderates a dispute in which they take part.", "high").
reason("tell", "The author was not told in time.", "medium").

named :- input("action.rule", R), R != "".
involved :- input("subject.id", P), input("action.parties", P).

allow :- named.
deny("no_rule") :- not named.
deny("own_dispute") :- involved.
oblige("tell", "Tell the author within $tell why, and how to object.", $seconds) :- named.
""",
    },
    examples=lambda values: [
        case("conditional_allow", "content.remove", rule="no insults", parties=["m1", "m2"]),
        case("deny", "content.remove", rule="no insults", parties=["m1", "m9"]),
        case("deny", "content.remove", parties=["m1", "m2"]),
    ],
)  # fmt: skip

CONFLICT = Template(
    key="conflict_of_interest",
    name="interests",
    title="Nobody decides about what they have an interest in",
    summary="Whoever has an interest in a matter says so and takes no part in deciding it; somebody else takes their place.",
    need="Conflicts of interest",
    category=Category.GOVERNANCE,
    cues=(r"conflicts? of interests?|interests?|bias\w*|recus\w+|related to|nepotism|self[- ]dealing|gifts?|impartial\w*",),
    serves=("separation_of_duties", "openness"),
    values=lambda asked: {},
    text="""
## Rule

Nobody decides about a body to which they belong, directly or through one that it owns, nor about a person who is close to them. Whoever has such an
interest says so before the matter is discussed, and leaves the decision to the others.

## Who takes their place

Where too few are left to decide, others are drawn by lot from those who may decide.

## Record

Declared interests are entered with the decision. A decision in which somebody with an interest took part is taken anew.
""",
    rules={
        RuleEngine.DATALOG: ready_made("conflict") + 'interested :- input("subject.id", S), input("action.interested", S).\n',
        RuleEngine.REGO: """
package policies.$name

actions := {"award"}

reasons := {"interest": {"message": "The person has an interest in the body that would get it.", "severity": "critical"}}

default allow := false

interested if input.subject.id in input.action.interested

declared if is_array(input.action.interested)

allow if {
    declared
    not interested
}

deny contains "interest" if interested
""",
    },
    examples=lambda values: [
        case("allow", "award", body="b1", interested=["m1"]),
        case("deny", "award", body="b1", interested=["m9"]),
    ],
    facts=lambda values: _RULES["conflict"].facts if values["engine"] == RuleEngine.DATALOG else {},
)  # fmt: skip

OFFICES = Template(
    key="inherited_offices",
    name="offices",
    title="Offices that include lesser ones",
    summary="Whoever holds an office may do what the lesser offices may that it includes. Which offices those are can be read by everyone.",
    need="What an office may do by including others",
    category=Category.GOVERNANCE,
    cues=(r"offices?|hierarch\w+|inherit\w*|deput\w+|ranks?|seniority", r"includ\w+|inherit\w*|lesser|hierarch\w+|room|book\w*|may do|same as"),
    serves=("openness",),
    values=lambda asked: {},
    text="""
## Rule

Whoever holds an office may do what the offices may that it includes, such as booking a room. Which office includes which is written in a table that
everyone can read.

## Who holds which

Offices are filled as before, and the table of who holds which is open to all.
""",
    rules={RuleEngine.DATALOG: ready_made("inheritance")},
    examples=lambda values: _RULES["inheritance"].rule.examples,
    facts=lambda values: _RULES["inheritance"].facts,
)  # fmt: skip

ALL = (MODERATION, CONFLICT, OFFICES)
