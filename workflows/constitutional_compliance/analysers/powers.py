"""Finds clauses that hand out a power the constitution withholds, or take away what it grants: one pattern for each, few but sure.

What a pattern finds must be what the clause states (`statements`): a clause that forbids the very same is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from workflows.constitutional_compliance.analysers.figures import Fault
from workflows.constitutional_compliance.analysers.statements import stated


class _Rule(msgspec.Struct, frozen=True):
    """`unless`: where the clause also says this, the rule keeps silent. `denies`: the pattern has negations of its own."""

    principle: str
    articles: tuple[str, ...]
    says: str
    pattern: re.Pattern[str]
    unless: re.Pattern[str] | None = None
    denies: bool = False


def _rule(
    principle: str, articles: str, says: str, pattern: str, unless: str = "", *, denies: bool = False
) -> _Rule:
    return _Rule(
        principle,
        tuple(articles.split()),
        says,
        re.compile(pattern, re.I | re.X),
        re.compile(unless, re.I) if unless else None,
        denies,
    )


_OFFICES = r"""(?:council\ members?|councillors?|members?\ of\ the\ (?:council|board)|board\ members?|operators?|administrators?|reviewers?|
    auditors?|drafters?|founders?|founding\ members?|chairs?|chairperson|president|directors?|treasurers?|sponsors?|donors?|
    partners?|shareholders?|maintainers?|officers?|coordinators?|patrons?|stewards?)"""
_MANY = r"(?:two|three|four|five|six|ten|\d+|several|double|additional|extra|more|a\ second|an\ additional|an\ extra|as\ many)"
_OWN = r"(?:their|his|her|its|your|one['’]s|his\ or\ her|our)\ own"
_TRAIL = r"(?:audit\ (?:trail|log|record|entr|database)\w*|(?:public\ )?trail(?!\w)|(?:decision|governance)\ logs?)"
_CONSTITUTION = r"(?:(?:this|the|our)\ constitution(?:['’]s\ \w+)?|constitution)"
_POLICY = r"(?:polic(?:y|ies)|proposals?|drafts?|amendments?)"
_MACHINES = r"""(?:operators?|administrators?|admins?|agents?|systems?|gateways?|bots?|machines?|commander|lead|chair\w*|director|officer|
    board|moderators?|engineers?|sysadmins?|wardens?|manager|coordinator|supervisor|staff|secretariat|on-call|president)"""

_RULES = (
    _rule(
        "equal_vote", "2.1 2.4", "It gives an office more votes than one.",
        rf"\b{_OFFICES}\b (?:\s\w+)? \s (?:has|have|holds?|casts?|gets?|receives?|is\ given|are\ given|carr(?:y|ies)) \s {_MANY} \s (?:further\ )?votes?\b",
        r"of the votes|at most|in favour|election|committee",
    ),
    _rule(
        "equal_vote", "2.1", "It makes some votes weigh more than others.",
        r"\bvotes? \b [^.;,]{0,60} \b (?:counts?|weighs?|are\ (?:counted|weighed)|is\ (?:counted|weighed)|be\ counted) \s (?:for\ |as\ )?"
        r"(?:double|twice|triple|threefold|\w+\s+times|one\ and\ a\ half|half\b|two\b|three\b|more\ than|less\ than)",
        r"count(?:ed|s)? (?:half|twice) (?:a|an) (?:hour|year)|more than (?:half|\d+|fifty|sixty)|jury|election|by hand",
    ),
    _rule(
        "equal_vote", "2.1", "It makes a vote weigh by stake, payment or seniority.",
        r"""\bvot(?:es?|ing(?:\ power|\ weight|\ rights?)?)\b [^.;]{0,40} \b (?:is|are|be|get|gets)?\s?(?:weighted|proportional|in\ proportion|multiplied|scaled|
        allocated|distributed)\b [^.;]{0,25} \b(?:by|to|with|according\ to)\b [^.;]{0,30} \b(?:stakes?|tokens?|shares?|contributions?|dues|payments?|
        donations?|seniority|years|hours|holdings?|balance|reputation|turnover|revenue)\b
        | \b one\ vote\ (?:per|for\ each|for\ every)\ (?:share|token|euro|dollar|hundred|thousand|\d|year|hour|unit)\w*""",
        r"grant vote|gauge|jury",
    ),
    _rule(
        "separation_of_duties", "2.3", "It lets people review what is their own.",
        rf"\b(?:may|can|shall|must|will|are\ allowed\ to|is\ allowed\ to|reviews?|approves?)\b (?:\s\w+){{0,3}}? \s? \b(?:reviews?|approves?|judges?)? \s? {_OWN}\s {_POLICY}\b",
        r"\b(?:propose|withdraw|amend|mend|write|draft|submit|publish|present|explain|translate|read|edit|defend)\w* (?:\w+ )?(?:their|his|her|its|your|our) own",
    ),
    _rule(
        "separation_of_duties", "2.3", "It lets authors review what they wrote.",
        rf"\b(?:authors?|drafters?|proposers?|writers?)\b [^.;,]{{0,40}} \b(?:may|can|shall|will)\s (?:also\ )?(?:review|approve|sign\ off)\b [^.;]{{0,20}} \b(?:it|them|{_POLICY}|the\ (?:text|version))\b",
        r"\b(?:another|others|else|comments?|changes|before)\b",
    ),
    _rule(
        "graduated_response", "8.4", "It lets somebody other than the council order a lockdown.",
        rf"\b{_MACHINES}\b [^.;,]{{0,40}} \b(?:orders?|declares?|imposes?|triggers?|invokes?|starts?|calls?|initiates?|activates?)\s (?:an?\ |the\ )?(?:full\ |immediate\ )?(?:emergency\ )?lockdown\b",
        r"\bcouncil\b",
    ),
    _rule(
        "graduated_response", "8.3", "It restricts people without an end.",
        r"""\b(?:permanent|indefinite|lifelong|lifetime|life-long|unlimited|never-ending|perpetual)\s (?:\w+\s)? (?:bans?|suspensions?|restrictions?|exclusions?|
        lockdowns?|expulsions?|revocations?)\b
        | \b(?:banned|suspended|restricted|excluded|barred|locked\ out|expelled|blocked)\b (?:\s\w+){0,3} \s (?:permanently|indefinitely|for\ life|forever|for\ good|for\ ever|
        for\ an\ unlimited\ time|until\ further\ notice|without\ (?:a\ )?(?:time\ )?limit|without\ end)\b
        | \b(?:restrictions?|suspensions?|bans?|blocks?)\b (?:\s\w+){0,4} \s (?:has|have|with)\ (?:no|neither)\ (?:end\ date|expiry(?:\ date)?|end|time\ limit)\b
        | \b(?:restrictions?|suspensions?|bans?)\b [^.;,]{0,30} \b(?:does|do)\ not\ (?:expire|end|lapse)\b""",
        r"\b(?:plot|building|road|disk|storage|spam|domain|address|device|vendor|supplier|machine|key)s?\b",
        denies=True,
    ),
    _rule(
        "due_process", "7.2 8.3", "It takes away the right to appeal.",
        r"""\b(?:may|can|shall|must)\ not\ (?:be\ appealed|appeal)\b | \bcannot\ (?:be\ appealed|appeal)\b | \bnot\ (?:subject|open)\ to\ (?:an\ |any\ )?appeal\b
        | \bno\ (?:right\ (?:of|to)\ )?appeals?\ (?:is|are|lies|lie|shall|may|will)\ (?:be\ )?(?:possible|available|admissible|admitted|allowed|open|accepted|heard|given|
        granted|provided|lie|made|raised|lodged|against|from)?
        | \b(?:decisions?|rulings?|restrictions?|suspensions?)\b [^.;]{0,60} \b(?:is|are|be|become)\ final\ and\ (?:without|not\ subject\ to|not\ open\ to)\ (?:an\ |any\ )?appeal
        | \bappeals?\b (?:\s\w+){0,6} \s (?:is|are)\ (?:not|no\ longer)\ (?:possible|admitted|admissible|heard|accepted|available|allowed|provided|taken)\b
        | \bappeals?\b (?:\s\w+){0,5} \s (?:is|are|shall\ be)\ (?:excluded|ruled\ out|abolished|waived|suspended)\b""",
        r"\b(?:second|twice|third|again|panel['’]s|of the panel|supplier|tender|bids?|scores?|referee|match|prize|game)\b|\bheard by (?:the|an?|those|people|whoever)\b",
        denies=True,
    ),
    _rule(
        "open_participation", "3.1", "It keeps stakeholders from proposing.",
        rf"\b(?:only|solely|exclusively)\b [^.;,]{{0,50}} \b(?:may|can|shall|are\ (?:allowed|entitled|permitted)\ to|is\ (?:allowed|entitled|permitted)\ to|have\ the\ right\ to)\s (?:propose|submit|introduce|table|bring\ forward)\b [^.;]{{0,25}} \b{_POLICY}\b"
        rf"| \b{_POLICY}\b [^.;,]{{0,30}} \b(?:may|can|shall)\ (?:only|solely)\ be\ (?:proposed|submitted|introduced|tabled)\ by\b"
        rf"| \b{_POLICY}\b [^.;,]{{0,30}} \b(?:may|can|shall|are\ to|is\ to)\ be\ (?:proposed|submitted|introduced|tabled)\ (?:only|solely|exclusively)\ by\b",
        r"\b(?:in writing|online|grants?|budget|project|through|form|stakeholders?|papers?)\b",
    ),
    _rule(
        "lasting_trail", "9.1", "It lets entries of the trail be removed or rewritten.",
        rf"\b(?:delet|eras|purg|wip|overwrit|rewrit|backdat|alter|remov|shred|prun|expung|edit|destroy|amend|truncat)(?:e|es|ed|en|ing|s)?\b [^.;,]{{0,50}} \b{_TRAIL}"
        rf"| \b{_TRAIL} [^.;,]{{0,50}} \b(?:is|are|be|get|gets)\ (?:\w+ly\ )?(?:deleted|erased|purged|wiped|overwritten|rewritten|backdated|altered|removed|shredded|pruned|expunged|edited|destroyed|truncated)\b",
        r"\b(?:appended|entered|written to|personal|copies|copy|cache|mirror|duplicate|local|printout|debug|woodland|hiking|footpath|nature)\b|\bexport",
    ),
    _rule(
        "lasting_trail", "9.1", "It lets acts go unrecorded.",
        r"\b(?:audit\ )?logging\b [^.;,]{0,40} \b(?:is|are|be)\ (?:paused|suspended|switched\ off|turned\ off|disabled|stopped)\b"
        r"| \b(?:pause|pauses|disable|disables|suspend|suspends|switch(?:es)?\ off|turns?\ off|stops?|stop)\b \s (?:the\ )?(?:audit\ (?:logging|log|trail)|trail)\b",
        r"\b(?:debug|verbose|telemetry|crash)\b",
    ),
    _rule(
        "secret_ballot", "5.9", "It makes known how members voted.",
        r"""\b(?:publish|disclos|reveal|announc|print|display|list|post|shar|read\ out|pass)\w* \b [^.;]{0,40} \bhow\ (?:each|every|any|a|the|all)?\s?(?:\w+\s)?(?:members?|persons?|voters?|people|participants?)\ (?:has\ |have\ |had\ )?voted\b
        | \bhow\ (?:each|every|any|a|the|all)?\s?(?:\w+\s)?(?:members?|persons?|voters?|people|participants?)\ (?:has\ |have\ )?voted\ (?:is|are|shall\ be|will\ be|may\ be|gets)\ (?:published|disclosed|shown|public|announced|listed|displayed|shared|made\ public)\b
        | \bnames?\ and\ (?:the\ )?(?:choices?|votes?)\ of\ (?:each|every|all|the)\ (?:voters?|members?)\b [^.;]{0,40} \b(?:published|shown|listed|displayed|announced|posted|read\ out)\b""",
        r"\b(?:representatives?|delegates?|council member|board|jury|number of)\b",
    ),
    _rule(
        "secret_ballot", "5.8", "It shows counts before the close.",
        r"\b(?:interim|running|provisional|live|partial|current)\ (?:counts?|tall(?:y|ies)|results?|totals?|standings?)\b [^.;]{0,50} \b(?:ballots?|votes?|voting)\b [^.;]{0,40} \b(?:shown|published|displayed|posted|announced|visible|available|sent|shared)\b"
        r"| \b(?:show|publish|display|post|announce)(?:s|es|ed)?\b [^.;]{0,40} \b(?:interim|running|provisional|live|partial)\ (?:counts?|tall(?:y|ies)|results?|totals?)\b [^.;]{0,40} \b(?:ballots?|votes?|voting)\b",
        r"\b(?:contest|poll|avatar|prize|game|rank|turnout|hack|quiz|election)\w*\b",
    ),
    _rule(
        "secret_ballot", "5.8", "It makes a vote final before the close.",
        r"\bvotes?\b [^.;]{0,40} \b(?:cannot|may\ not|can\ not|must\ not|shall\ not)\ (?:be\ )?(?:changed?|altered|revised|withdrawn|corrected)\b"
        r"| \ba\ vote\ (?:once\ )?cast\ (?:is|shall\ be)\ (?:final|irrevocable|binding)\b",
        r"\bafter (?:the )?(?:close|ballot|end)|once (?:the )?(?:ballot|voting) (?:has |is )?(?:closed|over)|by (?:anyone|others|operators?|administrators?|anybody)|panel|committee|jury|board|minutes",
        denies=True,
    ),
    _rule(
        "constitution_first", "1.2", "It sets itself above the constitution.",
        rf"\b(?:prevails?|takes?\ precedence|ha(?:s|ve)\ precedence|ha(?:s|ve)\ priority|stands?|ranks?)\ (?:over|above)\ {_CONSTITUTION}"
        rf"| \bnotwithstanding\ (?:anything\ (?:to\ the\ contrary\ )?in\ )?{_CONSTITUTION}"
        rf"| \b(?:even\ (?:if|where|when)|although)\ {_CONSTITUTION}\ (?:says|provides|requires|demands|prescribes)\ otherwise\b"
        rf"| \b(?:exempt(?:ed)?|excluded|released|excused|free)\ from\ {_CONSTITUTION}"
        rf"| \b{_CONSTITUTION}\ (?:does|do|shall|will)\ not\ (?:apply|bind|govern|hold)\b"
        rf"| \b(?:suspends?|disregards?|ignores?|set\ aside|sets\ aside|waives?|overrides?|bypass(?:es)?)\ (?:\w+\ )?(?:of\ )?{_CONSTITUTION}\b",
        r"\b(?:statute|italian|german|french|national|state|country|medical|body|bodily)\b|\b(?:that|which) (?:breaks?|contradicts?|goes against)\b",
        denies=True,
    ),
    _rule(
        "fair_ballot", "5.6", "It lets a tie pass.",
        r"\b(?:ties?|tied\ (?:vote|ballot)|equal(?:ity\ of)?\ (?:number\ of\ )?votes)\b [^.;]{0,50} \b(?:is|are|counts?\ as|shall\ be|is\ deemed|deemed)\ (?:\w+\ )?(?:passed|adopted|carried|approved|a\ pass|accepted|decided\ in\ favour)\b"
        r"| \b(?:ties?|tied\ (?:vote|ballot))\b (?:\s\w+){0,6} \s (?:passes|carries)\b",
        r"\b(?:tender|lot|applicants?|candidates?|contest|prize|bids?|projects?)\b",
    ),
    _rule(
        "fair_ballot", "5.4", "It does without the quorum.",
        r"\b(?:no\ quorum|without\ (?:a\ |any\ )?quorum|quorum\ (?:is|are)\ (?:not\ required|waived|suspended|abolished|dispensed)|regardless\ of\ (?:the\ )?(?:quorum|turnout)|(?:irrespective|independent)\ of\ (?:the\ )?quorum)\b",
        r"\b(?:committee|working group|meeting|board|panel|club|snapshots?|informal|poll|fails?|invalid|short of)\b",
        denies=True,
    ),
    _rule(
        "human_control", "8.1", "It allows what no rule allows.",
        r"\b(?:what|anything|everything|whatever|actions?|requests?)\b [^.;]{0,40} \bno\ (?:rule|policy)\ (?:covers|mentions|forbids|prohibits|addresses|speaks\ of|applies)\b [^.;]{0,40} \b(?:is|are)\ (?:\w+\ )?(?:allowed|permitted|granted|approved)\b"
        r"| \bdefault\ allow\s*:?=\s*true\b | \ballow(?:ed|s)?\ by\ default\b | \bdefaults?\ to\ allow\b",
        r"\b(?:cookies|comments|firewall outbound|css)\b",
        denies=True,
    ),
)  # fmt: skip


def faults(clause: str) -> Iterator[Fault]:
    for rule in _RULES:
        match = rule.pattern.search(clause)
        if match is None or (rule.unless and rule.unless.search(clause)):
            continue
        own = match.span() if rule.denies else (match.end(), match.end())
        if stated(clause, *own):
            yield Fault(rule.principle, rule.articles, rule.says)
