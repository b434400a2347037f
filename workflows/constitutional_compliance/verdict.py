"""From what was found and how far the analysers agree to a verdict, with its reasons. Pure (Constitution §§ 4.9–4.11).

- not compliant: something is surely broken, by an analyser that may decide, and no other surely says otherwise;
- requires review: the consensus asks for people, or the classifier is not sure enough, or something was found, or
  there is what no analyser judges;
- compliant: everything else.
A constitutional policy changes what it is held against, so that no machine stops it: people say whether § 10 carries it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec

from workflows.constitutional_compliance.consensus import below
from workflows.constitutional_compliance.findings import (
    Analyser,
    Consensus,
    Finding,
    Recommendation,
    Span,
    Subject,
)
from workflows.kinds import Category, Compliance, Severity

DECIDING = ("structural", "classifier", "behaviour")
FACTUAL = ("structural", "behaviour")
# What the classifier's own score must reach, whatever others say. The 0.80 of the consensus is the least there is; by
# cross-validation over whole policies (docs/judging.md) one breaking policy of 19 reached that, and none this.
PASSES = 0.9
SHOWN = 3  # findings that the reasons name
READ_OTHERWISE = "The classifier reads the clause otherwise, so that people decide."
ALONE = "No other analyser bears it out, so that people decide."

Clause = tuple[Span | None, str]  # where, and which principle


def decide(
    subject: Subject, findings: Sequence[Finding], consensus: Consensus, unjudged: Sequence[str]
) -> tuple[Compliance, tuple[str, ...]]:
    """The verdict and its reasons, one sentence each; `unjudged`: what no analyser judges, likewise."""
    broken = [item for item in findings if item.sure and item.analyser in DECIDING]
    if broken and subject.category != Category.CONSTITUTIONAL:
        return Compliance.NON_COMPLIANT, tuple(_named(broken))
    reasons = [*_named(broken)]
    if broken:
        reasons.append("It changes the constitution itself, so that people decide whether § 10 carries it.")
    reasons.extend(consensus.people or _doubts(consensus))
    reasons.extend(_named([item for item in findings if item not in broken and is_grave(item)]))
    reasons.extend(unjudged)
    if reasons:
        return Compliance.REQUIRES_REVIEW, tuple(reasons)
    return Compliance.COMPLIANT, ("Nothing was found that breaks a principle, and the analysers agree.",)


def _doubts(consensus: Consensus) -> list[str]:
    return [
        f"The classifier's score is {below(vote.score, PASSES)}."
        for vote in consensus.votes
        if vote.analyser == "classifier" and vote.score < PASSES
    ]


def is_grave(finding: Finding) -> bool:
    """Whether a finding that is not sure is for people by itself. Below, it has its share in the analyser's score alone.

    What rules and the engine find is there; whether it is meant so, people see. Of likelihoods only high ones are, the
    more so the more the principle weighs: each page has clauses that sound a little like a breach.
    """
    if finding.analyser in FACTUAL:
        return finding.score >= 0.5
    return finding.score >= {Severity.CRITICAL: 0.7, Severity.HIGH: 0.8}.get(finding.severity, 0.9)


def weighed(
    analysers: Sequence[Analyser], *, denied: Collection[Clause], borne_out: Collection[Clause]
) -> tuple[Analyser, ...]:
    """The analysers, with nothing sure that stands alone where it should not.

    `denied`: places where the classifier surely sees no breach, so that people look at what a rule found there.
    `borne_out`: places where neighbours in meaning break the principle, too; elsewhere the classifier does not decide
    by itself, unless a rule found the same.
    """
    ruled = {
        (item.span, item.principle)
        for each in analysers
        if each.name == "structural"
        for item in each.findings
    }
    seen = {*borne_out, *ruled}
    changed = []
    for each in analysers:
        findings = each.findings
        if each.name == "structural":
            findings = tuple(
                _unsure(item, READ_OTHERWISE) if _at(item) in denied else item for item in findings
            )
        elif each.name == "classifier":
            findings = tuple(item if _at(item) in seen else _unsure(item, ALONE) for item in findings)
        changed.append(msgspec.structs.replace(each, findings=findings))
    return tuple(changed)


def _unsure(finding: Finding, why: str) -> Finding:
    if not finding.sure:
        return finding
    return msgspec.structs.replace(finding, sure=False, explanation=f"{finding.explanation} {why}")


def _at(finding: Finding) -> Clause:
    return finding.span, finding.principle


def recommend(verdict: Compliance, reasons: Sequence[str]) -> Recommendation:
    step = {
        Compliance.COMPLIANT: "proceed",
        Compliance.REQUIRES_REVIEW: "ask_people",
        Compliance.NON_COMPLIANT: "stop",
    }[verdict]
    return Recommendation(step, reasons[0])


def _named(findings: Sequence[Finding]) -> list[str]:
    """The gravest few, and how many there are besides."""
    order = list(Severity)
    gravest = sorted(findings, key=lambda item: (-order.index(item.severity), -item.score))
    said = list(dict.fromkeys(item.explanation for item in gravest))
    more = len(said) - SHOWN
    return said[:SHOWN] + (
        [f"{more} more of the kind {'was' if more == 1 else 'were'} found."] if more > 0 else []
    )
