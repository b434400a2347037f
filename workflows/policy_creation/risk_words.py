"""The words by which the risk assessor knows acts, what they are done to, and what makes them worse."""

from __future__ import annotations

from workflows.kinds import RiskLevel

LOW, MEDIUM, HIGH, CRITICAL = RiskLevel


def _forms(lemma: str) -> set[str]:
    """A regular verb's forms, British and American; irregular ones are listed with the verb."""
    stem = lemma[:-1] if lemma.endswith("e") else lemma
    forms = {lemma, f"{lemma}s", f"{stem}ed", f"{stem}ing"}
    if lemma.endswith(("s", "sh", "ch", "x", "z")):
        forms.add(f"{lemma}es")
    if lemma.endswith("y") and lemma[-2] not in "aeiou":
        forms |= {f"{lemma[:-1]}ies", f"{lemma[:-1]}ied"}
    if lemma[-1] not in "aeiouwxy" and lemma[-2] in "aeiou" and lemma[-3:-2] not in tuple("aeiou"):
        forms |= {f"{lemma}{lemma[-1]}ed", f"{lemma}{lemma[-1]}ing"}
    return forms


# class of act → its verbs; after a slash the forms and nouns that no rule gives.
_VERBS = {
    "destroy": "delete/deletion erase/erasure destroy/destruction purge wipe remove/removal discard shred expunge "
    "overwrite/overwritten/overwrote scrub eliminate/elimination clear dispose/disposal",
    "alter": "alter/alteration change falsify/falsification rewrite/rewritten/rewrote modify/modification amend/amendment "
    "tamper manipulate/manipulation backdate forge edit revise adjust",
    "disable": "disable deactivate/deactivation skip bypass circumvent ignore override/overrode/overridden overrule waive "
    "suspend/suspension halt stop cease abolish/abolition revoke/revocation lift dissolve/dissolution disband "
    "drop annul void disregard lose/lost cancel/cancellation deny/denial forfeit withhold/withheld repeal "
    "invalidate strip",
    "weaken": "lower reduce/reduction shorten weaken fall/fell/fallen limit restrict/restriction decrease loosen relax "
    "cut curtail shrink/shrunk",
    "exempt": "exempt/exemption exclude/exclusion excuse",
    "disclose": "publish/publication share reveal disclose/disclosure sell/sold expose leak forward hand post release "
    "send/sent give/given/gave transfer/transferred show/shown broadcast note",
    "collect": "collect/collection track monitor record profile store gather scan harvest analyse analyze",
    "empower": "grant give/given/gave authorise/authorize/authorised/authorized empower entrust delegate vest confer "
    "appoint",
    "spend": "spend/spent pay/paid transfer/transferred withdraw/withdrew/withdrawn move invest lend/lent donate borrow "
    "disburse allocate/allocation",
    "raise": "raise increase rise/rose/risen expand double triple",
    "expel": "expel/expulsion exclude/exclusion ban dismiss/dismissal remove/removal sack terminate/termination evict",
    "protect": "keep/kept log record retain encrypt check review test audit protect accept hear/heard stop verify "
    "preserve count respect store inspect",
}
ACTS: dict[str, set[str]] = {}  # form → classes of act
for _kind, _listed in _VERBS.items():
    for _entry in _listed.split():
        _lemma, *_others = _entry.split("/")
        for _form in _forms(_lemma) | set(_others):
            ACTS.setdefault(_form, set()).add(_kind)
# “turned off”, “switch the alarm off”: a verb and, soon after it, its particle.
PARTICLE_VERBS = {form for verb in ("turn", "switch", "shut", "power") for form in _forms(verb)} | {
    "shutting"
}
PARTICLES = {"off", "down"}

# class of object → its phrases in the singular; the longest phrase that fits wins.
OBJECTS = {
    "trail": "audit trail|audit log|audit logging|audit record|audit entry|audit database|audit history|access log|"
    "system log|log|logging|trail|record|minutes of the council",
    "votes": "vote|ballot|tally|election|referendum|voting|vote count|result of a ballot|result of the vote",
    "terms": "quorum|threshold|majority|electorate|voting period|comment period|review period",
    "secrecy": "how each member voted|how every member voted|how member voted|choice of every voter|"
    "choice of each voter|choice of voter|individual vote|who voted|secret ballot|show of hand|secrecy of the ballot",
    "rights": "right|voting right|appeal|hearing|objection|complaint|due process|remedy|petition",
    "funds": "fund|treasury|budget|money|reserve|spending|spending limit|payment|expense|wallet|account balance|loan",
    "personal": "personal data|personal information|personal detail|private data|private message|member data|"
    "data of member|member record|medical record|medical data|health record|health data|patient record|"
    "location data|biometric data|email address|home address|phone number|identity|browsing history|"
    "page a member opens|participant data|user data",
    "keys": "private key|signing key|private signing key|secret key|encryption key|api key|password|credential|"
    "seed phrase|access token|keypair",
    "safety": "safety check|safety measure|safety limit|safety rule|safety test|safety feature|safety mechanism|"
    "safety system|safeguard|kill switch|emergency stop|guardrail|human oversight|human review|human operator|"
    "human control|content filter|rate limit|oversight|alarm|encryption|authentication|firewall|backup|monitoring",
    "oversight": "audit|inspection|rule|review|supervision|conflict of interest|control",
    "power": "power|authority|control|veto|immunity|privilege|access",
    "office": "ombudsperson|ombudsman|auditor|council|board|panel|court|assembly|office of the ombudsperson",
    "people": "member|participant|user|volunteer|person|voter|author|employee|staff|anyone|everyone",
    "constitution": "constitution|charter|bylaw|statute",
    # What is about the words of a text, not about what they rule.
    "editorial": "typo|spelling|wording|grammar|punctuation|formatting|format|layout|heading|broken link|word|"
    "sentence|phrase|introduction|style guide|translation|comma|capitalisation|font",
}
PHRASES: dict[tuple[str, ...], str] = {
    tuple(phrase.split()): kind for kind, phrases in OBJECTS.items() for phrase in phrases.split("|")
}
LONGEST_PHRASE = max(map(len, PHRASES))
IRREGULAR_PLURALS = {"entries": "entry", "identities": "identity", "authorities": "authority", "people": "person",
                     "majorities": "majority", "remedies": "remedy", "hands": "hand"}  # fmt: skip

# (class of act, class of object) → how grave that is, before anything makes it worse.
GRAVITY: dict[tuple[str, str], RiskLevel] = {
    ("destroy", "trail"): HIGH, ("destroy", "votes"): HIGH, ("destroy", "rights"): HIGH, ("destroy", "terms"): HIGH,
    ("destroy", "personal"): MEDIUM, ("destroy", "safety"): HIGH, ("destroy", "keys"): MEDIUM,
    ("destroy", "constitution"): HIGH, ("destroy", "secrecy"): HIGH, ("destroy", "office"): MEDIUM,
    ("alter", "trail"): HIGH, ("alter", "votes"): HIGH, ("alter", "terms"): HIGH, ("alter", "rights"): MEDIUM,
    ("alter", "constitution"): HIGH, ("alter", "safety"): MEDIUM,
    ("disable", "trail"): HIGH, ("disable", "votes"): HIGH, ("disable", "terms"): HIGH, ("disable", "rights"): HIGH,
    ("disable", "safety"): HIGH, ("disable", "constitution"): HIGH, ("disable", "secrecy"): HIGH,
    ("disable", "office"): HIGH, ("disable", "oversight"): MEDIUM,
    ("weaken", "trail"): HIGH, ("weaken", "terms"): HIGH, ("weaken", "rights"): HIGH, ("weaken", "safety"): HIGH,
    ("weaken", "votes"): HIGH,
    ("exempt", "oversight"): MEDIUM, ("exempt", "trail"): HIGH, ("exempt", "constitution"): HIGH,
    ("exempt", "safety"): HIGH, ("exempt", "votes"): HIGH,
    ("disclose", "personal"): HIGH, ("disclose", "secrecy"): HIGH, ("disclose", "keys"): CRITICAL,
    ("collect", "personal"): MEDIUM,
    ("empower", "power"): MEDIUM, ("empower", "keys"): HIGH,
    ("spend", "funds"): MEDIUM, ("raise", "funds"): MEDIUM, ("raise", "terms"): MEDIUM,
    ("expel", "people"): MEDIUM,
}  # fmt: skip
# A protecting act that is negated: “appeals are no longer heard”, “logs are not kept”.
GRAVITY_UNPROTECTED: dict[str, RiskLevel] = {
    "trail": HIGH, "votes": HIGH, "rights": HIGH, "safety": HIGH, "personal": MEDIUM,
}  # fmt: skip

NEGATORS = {"not", "never", "no", "nobody", "none", "neither", "nor", "nothing", "cannot", "forbidden", "prohibited",
            "forbid", "forbids", "prohibit", "prohibits", "prevent", "prevents", "prevented", "refrain", "avoid",
            "nowhere", "impossible", "illegal", "unlawful"}  # fmt: skip
# After the act: “deleting a log is forbidden”, “… is not allowed”.
AFTERWARDS = {"forbidden", "prohibited", "impossible", "illegal", "unlawful", "disallowed"}
PERMISSION = {"allowed", "permitted", "possible", "acceptable"}
NO_NEGATION = {("not", "only"), ("no", "later"), ("not", "later"), ("no", "more"), ("no", "less"), ("no", "fewer"),
               ("no", "matter"), ("no", "doubt")}  # fmt: skip

# What a check on power is called; “without …” or “no … is needed” makes things worse.
CHECKS = {"approval", "consent", "review", "vote", "hearing", "notice", "limit", "oversight", "signature", "permission",
          "authorisation", "authorization", "reason", "warrant", "supervision", "appeal", "discussion", "consultation",
          "ceiling", "cap", "explanation"}  # fmt: skip
EXTREMES = {"permanently", "forever", "irreversibly", "irrevocably", "unlimited", "unrestricted", "irreversible",
            "irrevocable", "indefinitely", "unilaterally", "secretly", "absolute", "unconditional",
            "retroactively", "discretion"}  # fmt: skip
WHOLE = {"all", "every", "any", "entire", "whole", "everything", "complete"}
NUMBERS = {
    "one": 1,
    "two": 2,
    "three": 3,
    "four": 4,
    "five": 5,
    "six": 6,
    "seven": 7,
    "a": 1,
    "an": 1,
    "few": 3,
}
HOURS = {"minute": 1 / 60, "hour": 1.0, "day": 24.0, "evening": 24.0, "night": 24.0, "week": 168.0}
SHORT_RETENTION_HOURS = 7 * 24.0
CURRENCIES = {"euro", "dollar", "pound", "eur", "usd", "gbp", "chf", "sol", "franc", "€", "$", "£"}
LARGE_AMOUNT = 10_000

# Words by which English is told from a language the assessor cannot read.
ENGLISH = {"the", "a", "an", "of", "and", "to", "in", "is", "are", "for", "by", "with", "on", "that", "be", "it", "as",
           "may", "must", "not", "or", "who", "which", "at", "from", "has", "have", "this", "we", "our", "every", "each",
           "when", "no", "all", "any", "after", "before", "how", "what", "their", "they", "than", "per", "into", "does",
           "do", "can", "will", "shall", "if", "so", "its", "up", "only", "us", "you", "was", "were", "more"}  # fmt: skip

ACT_WORDS = {
    "destroy": "destroys", "alter": "changes", "disable": "takes away", "weaken": "weakens", "exempt": "exempts from",
    "disclose": "discloses", "collect": "collects", "empower": "hands out", "spend": "moves", "raise": "raises",
    "expel": "excludes", "protect": "stops protecting",
}  # fmt: skip
OBJECT_WORDS = {
    "trail": "the record of what happened", "votes": "votes or ballots", "terms": "the terms of voting",
    "secrecy": "how members vote", "rights": "rights or appeals", "funds": "common funds",
    "personal": "personal data", "keys": "keys or secrets", "safety": "a safety measure",
    "oversight": "rules or oversight", "power": "powers", "office": "an office that checks others",
    "people": "people", "constitution": "the constitution",
}  # fmt: skip
