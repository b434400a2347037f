"""Whether a clause states what a pattern found in it, or denies it, asks about it or tells of it. In doubt it does not state it."""

from __future__ import annotations

import re

# Negations inside bounds and idioms forbid nothing.
_IDIOMS = re.compile(
    r"\b(?:no|not) (?:less|more|fewer|later|longer|shorter|earlier|sooner) than\b|\bnot (?:only|exceeding|least)\b|"
    r"\bno (?:matter|doubt)\b|\bwhether or not\b|\bno longer\b(?= than)",
    re.I,
)  # fmt: skip
_DENIES = re.compile(
    r"\b(?:no|not|never|nobody|none|nor|neither|nothing|nowhere|without|cannot|hardly|\w+n[’']t)\b|\bno one\b|"
    r"\b(?:forbid|forbids|forbidden|prohibit|prohibits|prohibited|prevent|prevents|avoid|avoids|refrain|ceases?|"
    r"void|invalid|null|unconstitutional|unlawful|illegal|contrary|breach|breaches|violates?|violation|misconduct|"
    r"rejects?|rejected|refuses?|refused|declines?|declined|dismiss(?:es|ed)?|withdrawn|withdrew|voted down|failed|fails|"
    r"undo|undone|revert(?:s|ed)?|roll(?:s|ed)? back|restores?|abolish(?:es|ed)?|repeals?|repealed|struck|strikes?|"
    r"reversed|corrects?|corrected|report (?:it|this|that)|alarm|alert|incident|attempts?|tampering)\b",
    re.I,
)  # fmt: skip
_TELLS = re.compile(
    r"\b(?:whether|asked|asks|would|could|might|should (?:anyone|anybody|someone|somebody)|wondered|suggest(?:s|ed|ion)?|"
    r"propos(?:es|ed) (?:that|to)|request(?:s|ed)?|claims?|claimed|alleg\w+|used to|formerly|previously|until now|in the past|"
    r"for example|for instance|e\.g\.|imagine|suppose|story|game|simulation|exercise|drill|training|quiz|mock|rehearsal|"
    r"sandbox|staging|test (?:data|environment|ballot)s?|demo|instead of|rather than|unlike|as if|pretend\w*|"
    r"other (?:organisations?|associations?|clubs?)|elsewhere|partner[’']s own|their own rules)\b|\?",
    re.I,
)  # fmt: skip


def stated(clause: str, start: int, end: int) -> bool:
    """Whether `clause[start:end]`, which a pattern found, is what the clause rules. The pattern's own negations do not count."""
    around = f"{clause[:start]} … {clause[end:]}"
    around = _IDIOMS.sub(" ", around)
    return not _DENIES.search(around) and not _TELLS.search(clause)
