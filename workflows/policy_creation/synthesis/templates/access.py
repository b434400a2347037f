"""Templates about access: to systems, to personal data, and to mandates that are passed on."""

from __future__ import annotations

from typing import Any

from workflows.kinds import Category, RuleEngine
from workflows.policy_creation.synthesis.goals import Period
from workflows.policy_creation.synthesis.templates.filling import Asked, Template, Values, case
from workflows.policy_enforcement import templates as rules

_RULES = {item.key: item for item in rules.ALL}


def _access(asked: Asked) -> Values:
    longest = asked.period("Access ends after", Period(90, "day"), longest=True)
    return {"longest": longest.text, "days": max(longest.hours // 24, 1)}


def _access_examples(values: Values) -> list[dict[str, Any]]:
    days = values["days"]
    asked = {"reason": "support", "second_factor": True, "approved_by": ["m1"]}
    return [
        case("allow", "access.grant", **asked, days=days),
        case("deny", "access.grant", **asked, days=days + 1),
        case("deny", "access.grant", **asked | {"approved_by": ["m9"]}, days=days),
        case("deny", "access.grant", **asked | {"second_factor": False}, days=days),
        case("deny", "access.grant", **asked | {"reason": ""}, days=days),
    ]


SYSTEMS = Template(
    key="system_access",
    title="Access to our systems for a task and a time",
    summary="Access to a system is given for a stated task, by somebody else than who gets it, and ends by itself after at most $longest.",
    need="Who gets access to systems, and for how long",
    category=Category.SAFETY,
    cues=(r"access\w*|log ?ins?|credentials?|passwords?|permissions?|accounts?", r"systems?|servers?|production|database|admin\w*|infrastructure|machines?|tools?|expir\w+|revok\w+|second factor|temporar\w+"),
    serves=("separation_of_duties", "privacy", "lasting_trail"),
    values=_access,
    text="""
## Rule

Access to a system is given for a task that is named, with no more rights than the task needs, and for at most $longest. It ends by itself
then, and can be asked for anew.

## Who gives it

The person who is responsible for the system gives it. Nobody gives access to themselves. Signing in takes a second factor.

## Record

Each access is entered with the task, who has it, who gave it and when it ends. Whoever has it can read the entry about themselves.
""",
    rules={
        RuleEngine.REGO: """
package policies.$name

actions := {"access.grant"}

reasons := {
    "own": {"message": "Nobody gives access to themselves.", "severity": "high"},
    "too_long": {"message": "Access ends after at most $days days.", "severity": "medium"},
    "no_second_factor": {"message": "Access takes a second factor.", "severity": "high"},
    "no_task": {"message": "Access is given for a task that is named.", "severity": "low"},
}

default allow := false

approved if {
    some who in input.action.approved_by
    who != input.subject.id
}

named if {
    is_string(input.action.reason)
    input.action.reason != ""
}

short if {
    is_number(input.action.days)
    input.action.days <= $days
}

allow if {
    approved
    named
    short
    input.action.second_factor == true
}

deny contains "own" if not approved

deny contains "too_long" if not short

deny contains "no_second_factor" if not input.action.second_factor

deny contains "no_task" if not named
""",
        RuleEngine.DATALOG: """
name("$name"). actions("access.grant").
reason("own", "Nobody gives access to themselves.", "high").
reason("too_long", "Access ends after at most $days days.", "medium").
reason("no_second_factor", "Access takes a second factor.", "high").
reason("no_task", "Access is given for a task that is named.", "low").

own(P) :- input("subject.id", P).
approved :- input("action.approved_by", P), not own(P).
task :- input("action.reason", R), R != "".
short :- input("action.days", D), D <= $days.
factor :- input("action.second_factor", "true").

allow :- approved, task, short, factor.
deny("own") :- not approved.
deny("too_long") :- not short.
deny("no_second_factor") :- not factor.
deny("no_task") :- not task.
""",
    },
    examples=_access_examples,
)  # fmt: skip


def _export(asked: Asked) -> Values:
    role = asked.role("Who exports", "data steward")
    erase = asked.period("Copies erased within", Period(30, "day"))
    return {
        "role": role,
        "slug": role.replace(" ", "_"),
        "erase": erase.text,
        "iso": erase.iso,
        "seconds": erase.hours * 3600,
    }


def _export_examples(values: Values) -> list[dict[str, Any]]:
    return [
        case("allow", "data.export", personal=False),
        case("deny", "data.export", personal=True, purpose="report", approved_by=["m1"]),
        case("deny", "data.export", personal=True),
    ]


EXPORT = Template(
    key="data_export",
    title="Export of personal data by a $role only",
    summary="Personal data leaves our systems only through a $role, for a stated purpose, and copies are erased within $erase.",
    need="Who may export data",
    category=Category.SAFETY,
    cues=(r"export\w*|download\w*|copy|copies|extract\w*|leave our systems|hand(?:ed)? out|shar(?:e|ed|ing)", r"data|records?|lists?|databases?|members?|information"),
    serves=("privacy", "separation_of_duties"),
    values=_export,
    text="""
## Rule

Personal data is exported by a $role only, for a purpose that is written down, and after a second person has agreed to it. An export holds no
more than the purpose needs. Data that is about nobody may be exported by any member.

## Afterwards

Whoever holds a copy erases it within $erase, or as soon as the purpose has ended, and confirms it.

## Those whom it is about

People whose data was exported can learn what it was, for which purpose, and who has it.
""",
    rules={
        RuleEngine.REGO: """
package policies.$name

actions := {"data.export"}

reasons := {
    "not_entitled": {"message": "Only a $role exports personal data.", "severity": "critical"},
    "no_purpose": {"message": "An export of personal data has a purpose that is written down.", "severity": "high"},
    "alone": {"message": "A second person agrees to an export of personal data.", "severity": "high"},
    "erase": {"message": "The copy was not erased in time.", "severity": "high"},
}

default allow := false

entitled if "$slug" in data.facts.roles[input.subject.id]

impersonal if input.action.personal == false

purpose if {
    is_string(input.action.purpose)
    input.action.purpose != ""
}

agreed if {
    some who in input.action.approved_by
    who != input.subject.id
}

allow if impersonal

allow if {
    entitled
    purpose
    agreed
}

deny contains "not_entitled" if {
    not impersonal
    not entitled
}

deny contains "no_purpose" if {
    not impersonal
    not purpose
}

deny contains "alone" if {
    not impersonal
    not agreed
}

obligations contains {"id": "erase", "text": "Erase the copy within $erase and confirm it.", "within": "$iso"} if not impersonal
""",
        RuleEngine.DATALOG: """
name("$name"). actions("data.export").
reason("not_entitled", "Only a $role exports personal data.", "critical").
reason("no_purpose", "An export of personal data has a purpose that is written down.", "high").
reason("alone", "A second person agrees to an export of personal data.", "high").
reason("erase", "The copy was not erased in time.", "high").

own(P) :- input("subject.id", P).
entitled :- own(P), roles(P, "$slug").
impersonal :- input("action.personal", "false").
purpose :- input("action.purpose", R), R != "".
agreed :- input("action.approved_by", P), not own(P).

allow :- impersonal.
allow :- entitled, purpose, agreed.
deny("not_entitled") :- not impersonal, not entitled.
deny("no_purpose") :- not impersonal, not purpose.
deny("alone") :- not impersonal, not agreed.
oblige("erase", "Erase the copy within $erase and confirm it.", $seconds) :- not impersonal.
""",
    },
    examples=_export_examples,
    facts=lambda values: {"roles": {"ada": [values["slug"]]}},
)  # fmt: skip

PURPOSE = Template(
    key="purpose_limitation",
    title="Personal data is used for what it was given for",
    summary="Personal data is used only for the purposes for which it was given; another use needs the consent of whom it is about.",
    need="What personal data may be used for",
    category=Category.SAFETY,
    cues=(r"personal data|personal information|privacy|members?' data|data of (?:members|people|users)|consent", r"use|used|using|uses|process\w*|consent\w*|analys\w+|train\w*|profil\w+|protect\w*|privacy"),
    serves=("privacy", "equal_respect"),
    values=lambda asked: {},
    text="""
## Rule

Personal data is used for the purposes for which it was given, and for no other. A use for another purpose takes the consent of the person it is
about, given beforehand and for that purpose. Consent can be taken back at any time, as easily as it was given.

## Little, and not for long

Only what the purpose needs is asked for. When the purpose has ended, the data is erased.

## Those whom it is about

Everyone can see what is kept about them, have it corrected, and have it erased where no law asks that it be kept.
""",
    rules={
        RuleEngine.REGO: """
package policies.$name

actions := {"data.use"}

reasons := {"other_purpose": {"message": "Personal data is used only for what it was given for, or with consent.", "severity": "high"}}

default allow := false

given if input.action.purpose in input.action.given_for

consented if input.action.purpose in input.action.consented_to

allow if given

allow if consented

deny contains "other_purpose" if {
    not given
    not consented
}
""",
        RuleEngine.DATALOG: """
name("$name"). actions("data.use").
reason("other_purpose", "Personal data is used only for what it was given for, or with consent.", "high").

covered :- input("action.purpose", P), input("action.given_for", P).
covered :- input("action.purpose", P), input("action.consented_to", P).

allow :- covered.
deny("other_purpose") :- not covered.
""",
    },
    examples=lambda values: [
        case("allow", "data.use", purpose="newsletter", given_for=["newsletter"]),
        case("allow", "data.use", purpose="survey", given_for=["newsletter"], consented_to=["survey"]),
        case("deny", "data.use", purpose="advertising", given_for=["newsletter"], consented_to=["survey"]),
        case("deny", "data.use", given_for=["newsletter"]),
    ],
)  # fmt: skip


def ready_made(key: str) -> str:
    """A rule that is handed out as a beginning (policy_enforcement.templates), under whatever name is free."""
    rule = _RULES[key].rule
    first, _, rest = rule.source.partition("\n")
    _, _, actions = first.partition("). ")
    return f'name("$name"). {actions}\n{rest}'


DELEGATION = Template(
    key="delegation",
    name="mandates",
    title="Mandates and how they are passed on",
    summary="Whoever holds a mandate to sign may pass it on to a person who is named; it can be taken back at any time.",
    need="Who may act for others",
    category=Category.GOVERNANCE,
    cues=(r"delegat\w+|mandates?|proxy|proxies|on behalf|stand(?:s|ing)? in for|deput\w+|represent\w*|power of attorney",),
    serves=("separation_of_duties", "openness"),
    values=lambda asked: {},
    text="""
## Rule

Whoever holds a mandate to sign for the assembly may pass it on to a member who is named, in writing, for as long as they say. Whoever got it may
act by it as they could. A mandate to sign is no mandate to vote.

## Taking it back

A mandate can be taken back at any time by whoever gave it. It ends with the office from which it comes.

## Record

A public list shows who holds which mandate, and from whom.
""",
    rules={RuleEngine.DATALOG: ready_made("delegation")},
    examples=lambda values: _RULES["delegation"].rule.examples,
    facts=lambda values: _RULES["delegation"].facts,
)  # fmt: skip

ALL = (SYSTEMS, EXPORT, PURPOSE, DELEGATION)
