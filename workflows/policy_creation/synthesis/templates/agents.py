"""Templates about machines: what an AI agent may do, what follows a refusal by a machine, and how software is released."""

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


def _agent(asked: Asked) -> Values:
    limit = asked.maybe_money("The agent may spend up to") or 0
    tell = asked.period("People are told within", Period(24, "hour"))
    return {
        "limit": limit,
        "limit_text": asked.shown(limit) if limit else "nothing",
        "tell": tell.text,
        "iso": tell.iso,
        "seconds": tell.hours * 3600,
    }


def _agent_examples(values: Values) -> list[dict[str, Any]]:
    limit = values["limit"]
    found = [
        case("conditional_allow", "agent.act", "agent-1", does="draft"),
        case("deny", "agent.act", "agent-1", does="send"),
        case("conditional_allow", "agent.act", "agent-1", does="send", approved_by=["m1"]),
        case("deny", "agent.act", "agent-1", does="send", approved_by=["agent-1"]),
        case("deny", "agent.act", "agent-1", does="spend", amount=limit + 1),
        case("deny", "agent.act", "agent-1", does="change_permissions", approved_by=["m1"]),
    ]
    return found + ([case("conditional_allow", "agent.act", "agent-1", does="spend", amount=limit)] if limit else [])  # fmt: skip


AGENT = Template(
    key="agent_permissions",
    title="What AI agents may do, and what people approve",
    summary="An AI agent reads, summarises and drafts by itself and spends $limit_text; everything else a person approves beforehand.",
    need="What an AI agent may do, and what a person approves",
    category=Category.SAFETY,
    cues=(r"ai|a\.i\.|agents?|bots?|assistants?|language models?|llms?|chatbots?|automated systems?|machines?", r"may|allow\w*|permi\w+|approv\w+|limit\w*|autonom\w+|by (?:itself|themselves)|human|act\w*|spend\w*"),
    serves=("human_control", "lasting_trail"),
    values=_agent,
    text="""
## Rule

An AI agent that works for us may read what it is given, summarise it and write drafts. It may spend $limit_text by itself for one task. Everything
else, such as sending messages, publishing, deleting or paying more, it does only after a person has approved that very act.

## Permissions

Permissions of agents are changed by people only, who say why.

## People look after it

A person is named for each agent. That person is told within $tell what it did, can stop it at any time, and sees to it that what it did wrongly is
undone where that can be done. Messages by an agent say that a machine wrote them.
""",
    rules={
        RuleEngine.REGO: """
package policies.$name

actions := {"agent.act"}

reasons := {
    "not_approved": {"message": "A person approves this act of an agent beforehand.", "severity": "high"},
    "own_permissions": {"message": "Agents do not change permissions; people do.", "severity": "critical"},
    "tell": {"message": "The person who looks after the agent was not told in time.", "severity": "medium"},
}

default allow := false

by_itself := {"read", "summarise", "draft"}

approved if {
    some who in input.action.approved_by
    who != input.subject.id
}

small if {
    input.action.does == "spend"
    is_number(input.action.amount)
    input.action.amount > 0
    input.action.amount <= $limit
}

free if input.action.does in by_itself

free if small

allow if free

allow if approved

deny contains "not_approved" if {
    not free
    not approved
}

deny contains "own_permissions" if input.action.does == "change_permissions"

obligations contains {"id": "tell", "text": "Tell the person who looks after the agent within $tell.", "within": "$iso"}
""",
        RuleEngine.DATALOG: """
name("$name"). actions("agent.act").
reason("not_approved", "A person approves this act of an agent beforehand.", "high").
reason("own_permissions", "Agents do not change permissions; people do.", "critical").
reason("tell", "The person who looks after the agent was not told in time.", "medium").

by_itself("read"). by_itself("summarise"). by_itself("draft").
own(P) :- input("subject.id", P).
approved :- input("action.approved_by", P), not own(P).
free :- input("action.does", D), by_itself(D).
amount(A) :- input("action.amount", A), A > 0.
free :- input("action.does", "spend"), amount(A), A <= $limit.

allow :- free.
allow :- approved.
deny("not_approved") :- not free, not approved.
deny("own_permissions") :- input("action.does", "change_permissions").
oblige("tell", "Tell the person who looks after the agent within $tell.", $seconds) :- own(_).
""",
    },
    examples=_agent_examples,
)  # fmt: skip


def _refusal(asked: Asked) -> Values:
    answer = asked.period("A person answers within", Period(5, "day"))
    return {"answer": answer.text, "iso": answer.iso, "seconds": answer.hours * 3600}


REFUSAL = Template(
    key="second_look",
    title="A person looks again at what a machine refused",
    summary="Whoever is refused something by a machine is told why, and a person looks at it again within $answer when asked.",
    need="What follows when a machine refuses somebody",
    category=Category.SAFETY,
    cues=(r"automat\w+|machines?|algorithm\w*|ai|software|bots?|models?", r"refus\w+|deni\w+|deny|reject\w*|decision\w*|second opinion|look(?:s|ed)? again|appeal\w*|explain\w*|reasons?|human review"),
    serves=("due_process", "human_control"),
    values=_refusal,
    text="""
## Rule

A machine refuses somebody something only with a reason in plain words, and with the address of a person who can look at it again. Whoever asks gets
an answer from that person within $answer. The person had no part in the first decision, and may decide otherwise.

## How people learn of it

Each refusal says in its first lines that a machine made it, and how to have it looked at again.

## What follows

When the person decides otherwise, that stands, and the case becomes one of those by which the machine is tested.
""",
    rules={
        RuleEngine.REGO: """
package policies.$name

actions := {"refusal.automatic"}

reasons := {
    "no_reason": {"message": "A refusal by a machine gives its reason.", "severity": "medium"},
    "nobody_to_ask": {"message": "A refusal by a machine names a person who can look again.", "severity": "high"},
    "answer": {"message": "Nobody looked again in time.", "severity": "medium"},
}

default allow := false

given(text) if {
    is_string(text)
    text != ""
}

reasoned if given(input.action.reason)

named if given(input.action.contact)

allow if {
    reasoned
    named
}

deny contains "no_reason" if not reasoned

deny contains "nobody_to_ask" if not named

obligations contains {"id": "answer", "text": "Have a person answer within $answer, if asked to look again.", "within": "$iso"} if named
""",
        RuleEngine.DATALOG: """
name("$name"). actions("refusal.automatic").
reason("no_reason", "A refusal by a machine gives its reason.", "medium").
reason("nobody_to_ask", "A refusal by a machine names a person who can look again.", "high").
reason("answer", "Nobody looked again in time.", "medium").

reasoned :- input("action.reason", R), R != "".
named :- input("action.contact", C), C != "".

allow :- reasoned, named.
deny("no_reason") :- not reasoned.
deny("nobody_to_ask") :- not named.
oblige("answer", "Have a person answer within $answer, if asked to look again.", $seconds) :- named.
""",
    },
    examples=lambda values: [
        case("conditional_allow", "refusal.automatic", reason="Outside the period.", contact="help desk"),
        case("deny", "refusal.automatic", reason="Outside the period."),
        case("deny", "refusal.automatic", contact="help desk", reason=""),
    ],
)  # fmt: skip


def _release(asked: Asked) -> Values:
    reviewers = asked.people("How many review it", 2, most=5)
    return {
        "reviewers": reviewers,
        "people": f"{spelled(reviewers)} other {'person' if reviewers == 1 else 'people'}",
        "enough": distinct("other", reviewers),
    }


def _release_examples(values: Values) -> list[dict[str, Any]]:
    others = [f"m{number}" for number in range(1, values["reviewers"] + 1)]
    return [
        case("allow", "release", tests_passed=True, approved_by=others),
        case("deny", "release", tests_passed=False, approved_by=others),
        case("deny", "release", tests_passed=True, approved_by=[*others[1:], "m9"]),
        case("deny", "release", approved_by=others),
    ]


RELEASE = Template(
    key="release_review",
    title="Software is released after tests and review",
    summary="Software is released when its tests have passed and $people have read the change. Nobody approves their own.",
    need="When software may be released",
    category=Category.SAFETY,
    cues=(r"releas\w+|deploy\w*|merg\w+|ship\w*|software|code|versions?", r"review\w*|approv\w+|test\w*|four[- ]eyes|two[- ]person|sign\w*|releas\w+|deploy\w*"),
    serves=("sound_review", "separation_of_duties"),
    values=_release,
    text="""
## Rule

Software that others use is released when its tests have passed and $people have read the change and approved it. Who wrote a change never counts
among those who approve it.

## When something breaks

A release that does harm is taken back first, and looked into afterwards, without blame. What was learnt is written down for everyone.

## Record

Each release is listed with what changed, which tests ran, and who approved it.
""",
    rules={
        RuleEngine.REGO: """
package policies.$name

actions := {"release"}

reasons := {
    "untested": {"message": "The tests have to pass before a release.", "severity": "high"},
    "too_few": {"message": "A release needs the approval of $people.", "severity": "high"},
}

default allow := false

others := {who | some who in input.action.approved_by; who != input.subject.id}

enough if count(others) >= $reviewers

tested if input.action.tests_passed == true

allow if {
    enough
    tested
}

deny contains "untested" if not tested

deny contains "too_few" if not enough
""",
        RuleEngine.DATALOG: """
name("$name"). actions("release").
reason("untested", "The tests have to pass before a release.", "high").
reason("too_few", "A release needs the approval of $people.", "high").

own(P) :- input("subject.id", P).
other(P) :- input("action.approved_by", P), not own(P).
enough :- $enough.
tested :- input("action.tests_passed", "true").

allow :- enough, tested.
deny("untested") :- not tested.
deny("too_few") :- not enough.
""",
    },
    examples=_release_examples,
)  # fmt: skip

ALL = (AGENT, REFUSAL, RELEASE)
