"""Templates about records: how long they are kept, when they are erased, what is published, and what follows an incident."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from workflows.kinds import Category, RuleEngine
from workflows.policy_creation.synthesis.goals import Period
from workflows.policy_creation.synthesis.templates.filling import Asked, Template, Values, case

_MADE = datetime(2026, 1, 1, tzinfo=UTC)


def _keep(asked: Asked) -> Values:
    period = asked.period("Kept for", Period(90, "day"), longest=True)
    return {"period": period.text, "hours": period.hours}


def _keep_examples(values: Values) -> list[dict[str, Any]]:
    kept = timedelta(hours=values["hours"])

    def asked(expect: str, after: timedelta, kind: str = "minutes") -> dict[str, Any]:
        action = {"type": "document.delete", "made_at": _written(_MADE), "kind": kind}
        context = {"now": _written(_MADE + after)}
        return {"input": {"action": action, "subject": {"id": "m9"}, "context": context}, "expect": expect}

    return [
        asked("allow", kept),
        asked("deny", kept - timedelta(hours=1)),
        asked("deny", kept * 2, "audit_entry"),
    ]


def _written(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


KEEP = Template(
    key="keep_records",
    title="Records are kept for $period",
    summary="Nothing that documents a decision is deleted before $period have passed.",
    need="How long records are kept",
    category=Category.GOVERNANCE,
    cues=(r"keep|kept|keeping|retain\w*|retention|preserv\w+|archiv\w+|stor(?:e|ed|age)", r"records?|documents?|files?|minutes|logs?|receipts?|letters?|decisions?|invoices?|contracts?|data"),
    serves=("lasting_trail", "openness"),
    values=_keep,
    text="""
## Rule

Whatever documents a decision, such as minutes, contracts, receipts and letters, is kept for at least $period from the day it was made. After that it
may be deleted by the person who is responsible for it, unless somebody still needs it for a case that is open.

## What it does not cover

It is about papers and files, not about the trail, which is added to and never rewritten.

## Personal data

Where a record holds personal data that nobody needs any more, that data is made unreadable and the rest of the record is kept.
""",
    rules={
        RuleEngine.REGO: """
package policies.$name

actions := {"document.delete"}

reasons := {
    "too_early": {"message": "Records are kept for $period.", "severity": "high"},
    "audit_trail": {"message": "The audit trail is kept for good.", "severity": "critical"},
}

default allow := false

age := time.parse_rfc3339_ns(input.context.now) - time.parse_rfc3339_ns(input.action.made_at)

old_enough if age >= $hours * 60 * 60 * 1000000000

of_the_trail if input.action.kind == "audit_entry"

allow if {
    old_enough
    not of_the_trail
}

deny contains "too_early" if not old_enough

deny contains "audit_trail" if of_the_trail
""",
    },
    examples=_keep_examples,
)  # fmt: skip


def _erase(asked: Asked) -> Values:
    period = asked.period("Erased within", Period(30, "day"))
    return {"period": period.text, "iso": period.iso, "seconds": period.hours * 3600}


ERASE = Template(
    key="erase_personal_data",
    title="Personal data is erased $period after its purpose has ended",
    summary="Whoever collects personal data states its purpose and erases it within $period after that has ended.",
    need="When personal data is erased",
    category=Category.SAFETY,
    cues=(r"eras\w+|delet\w+|remov\w+|forget|forgotten|purg\w+", r"personal data|personal information|members?' data|data|privacy|addresses|applications|profiles"),
    serves=("privacy",),
    values=_erase,
    text="""
## Rule

Whoever collects personal data writes down the purpose beforehand, and the day on which it ends or the event that ends it. Within $period after that
the data is erased, with all copies.

## On request

Everyone may ask that data about them be erased. It is done within $period, unless a law or an open case asks that it be kept; then they are told
which, and for how long.

## What it does not cover

The trail names no people, so that nothing in it has to be erased.
""",
    rules={
        RuleEngine.REGO: """
package policies.$name

actions := {"data.collect"}

reasons := {
    "no_purpose": {"message": "Personal data is collected for a purpose that is written down.", "severity": "high"},
    "no_end": {"message": "It is written down when the purpose ends.", "severity": "medium"},
    "erase": {"message": "The data was not erased in time.", "severity": "high"},
}

default allow := false

written(text) if {
    is_string(text)
    text != ""
}

purpose if written(input.action.purpose)

ends if written(input.action.ends)

allow if {
    purpose
    ends
}

deny contains "no_purpose" if not purpose

deny contains "no_end" if not ends
""",
        RuleEngine.DATALOG: """
name("$name"). actions("data.collect").
reason("no_purpose", "Personal data is collected for a purpose that is written down.", "high").
reason("no_end", "It is written down when the purpose ends.", "medium").

purpose :- input("action.purpose", P), P != "".
ends :- input("action.ends", E), E != "".

allow :- purpose, ends.
deny("no_purpose") :- not purpose.
deny("no_end") :- not ends.
""",
    },
    examples=lambda values: [
        case("allow", "data.collect", purpose="newsletter", ends="when it is cancelled"),
        case("deny", "data.collect", purpose="newsletter"),
        case("deny", "data.collect", purpose="", ends="2027-01-01"),
    ],
)  # fmt: skip

PUBLISHED = {
    "grant decision": r"grants?",
    "minutes": r"minutes|meeting notes|meetings?",
    "report": r"reports?",
    "contract": r"contracts?",
    "decision": r"decisions?|decid\w+|votes?|results?|policies|policy",
}
_ACTIONS = {"grant decision": "grant.decide", "minutes": "meeting.close", "report": "report.accept",
            "contract": "contract.sign", "decision": "decision.take"}  # fmt: skip
_PLURALS = {"minutes": "minutes"}


def _publish(asked: Asked) -> Values:
    what = asked.choice("What is published", PUBLISHED, "decision")
    period = asked.period("Published within", Period(14, "day"))
    return {
        "what": what,
        "things": _PLURALS.get(what, f"{what}s"),
        "Things": _PLURALS.get(what, f"{what}s").capitalize(),
        "action": _ACTIONS[what],
        "period": period.text,
        "iso": period.iso,
        "seconds": period.hours * 3600,
    }


PUBLISH = Template(
    key="publication_duty",
    title="$things are published within $period",
    summary="$things are published within $period, with their reasons and without personal data.",
    need="What has to be published, and by when",
    category=Category.GOVERNANCE,
    cues=(r"publish\w*|publication|public|disclos\w+|transparen\w+|open to all|announc\w+", r"within|decisions?|minutes|meetings?|reports?|grants?|contracts?|results?|notes|deadline|days?|weeks?"),
    serves=("openness", "privacy"),
    values=_publish,
    text="""
## Rule

$Things are published within $period, where everyone can read them free of charge, with the reasons and with who took part by office. What was put
off is named, with the day on which it will be published.

## What is left out

Personal data is left out. Where something else has to stay back, such as a trade secret of somebody else, it is said what kind of thing was left out,
why, and who decided that.

## Corrections

A mistake is corrected in a new version; the earlier one stays readable.
""",
    rules={
        RuleEngine.REGO: """
package policies.$name

actions := {"$action"}

reasons := {
    "no_reasons": {"message": "The reasons are written down.", "severity": "medium"},
    "publish": {"message": "It was not published in time.", "severity": "medium"},
}

default allow := false

reasoned if {
    is_string(input.action.reasons)
    input.action.reasons != ""
}

allow if reasoned

deny contains "no_reasons" if not reasoned

obligations contains {"id": "publish", "text": "Publish it within $period, without personal data.", "within": "$iso"} if reasoned
""",
        RuleEngine.DATALOG: """
name("$name"). actions("$action").
reason("no_reasons", "The reasons are written down.", "medium").
reason("publish", "It was not published in time.", "medium").

reasoned :- input("action.reasons", R), R != "".

allow :- reasoned.
deny("no_reasons") :- not reasoned.
oblige("publish", "Publish it within $period, without personal data.", $seconds) :- reasoned.
""",
    },
    examples=lambda values: [
        case("conditional_allow", values["action"], reasons="It helps the most people."),
        case("deny", values["action"], reasons=""),
        case("deny", values["action"]),
    ],
)  # fmt: skip


def _incident(asked: Asked) -> Values:
    tell = asked.period("Those affected are told within", Period(72, "hour"))
    report = asked.period("A report follows within", Period(max(30, tell.hours // 24), "day"))
    return {
        "tell": tell.text,
        "report": report.text,
        "tell_iso": tell.iso,
        "report_iso": report.iso,
        "tell_seconds": tell.hours * 3600,
        "report_seconds": report.hours * 3600,
    }


INCIDENT = Template(
    key="incident_report",
    title="Incidents are told within $tell and reported within $report",
    summary="Whoever is affected by an incident is told within $tell; a public report without blame follows within $report.",
    need="What follows an incident",
    category=Category.SAFETY,
    cues=(r"incidents?|breach\w*|outages?|leaks?|accidents?|vulnerabilit\w+|near miss\w*|emergenc\w+", r"report\w*|notif\w+|tell|told|inform\w*|disclos\w+|within|learn\w*|respon\w+|handl\w+"),
    serves=("openness", "due_process"),
    values=_incident,
    text="""
## Rule

When people, data or systems came to harm, or nearly did, whoever notices it tells the person on duty at once. Those who are affected are told within
$tell what happened, what it means for them, and what they can do.

## Report

Within $report a report is published: what happened, why, what was done, and what will be done so that it does not happen again. It looks for causes, not for
somebody to blame. It holds no personal data.

## Nobody is punished for telling

Whoever tells of an incident in good faith, their own mistake included, has nothing to fear for having told.
""",
    rules={
        RuleEngine.REGO: """
package policies.$name

actions := {"incident.open"}

reasons := {
    "nobody": {"message": "Somebody is named who looks after the incident.", "severity": "medium"},
    "tell": {"message": "Those affected were not told in time.", "severity": "high"},
    "report": {"message": "The report was not published in time.", "severity": "medium"},
}

default allow := false

named if {
    is_string(input.action.lead)
    input.action.lead != ""
}

allow if named

deny contains "nobody" if not named

obligations contains {"id": "tell", "text": "Tell those who are affected within $tell.", "within": "$tell_iso"} if named

obligations contains {"id": "report", "text": "Publish the report within $report.", "within": "$report_iso"} if named
""",
        RuleEngine.DATALOG: """
name("$name"). actions("incident.open").
reason("nobody", "Somebody is named who looks after the incident.", "medium").
reason("tell", "Those affected were not told in time.", "high").
reason("report", "The report was not published in time.", "medium").

named :- input("action.lead", L), L != "".

allow :- named.
deny("nobody") :- not named.
oblige("tell", "Tell those who are affected within $tell.", $tell_seconds) :- named.
oblige("report", "Publish the report within $report.", $report_seconds) :- named.
""",
    },
    examples=lambda values: [
        case("conditional_allow", "incident.open", lead="m1"),
        case("deny", "incident.open", lead=""),
        case("deny", "incident.open"),
    ],
)  # fmt: skip

ALL = (KEEP, ERASE, PUBLISH, INCIDENT)
