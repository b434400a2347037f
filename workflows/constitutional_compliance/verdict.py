"""From what was found and how far the analysers agree to a verdict, with its reasons. Pure (Constitution §§ 4.9–4.11).

- not compliant: something is surely broken, by an analyser that may decide, and no other surely says otherwise;
- requires review: the consensus asks for people, or something was found, or a passage could not be read;
- compliant: everything else.
A constitutional policy changes what it is held against, so that no machine stops it: people say whether § 10 carries it.
"""

from __future__ import annotations

from collections.abc import Sequence

from workflows.constitutional_compliance.findings import Consensus, Finding, Recommendation, Subject
from workflows.kinds import Category, Compliance, Severity

DECIDING = ("structural", "classifier", "behaviour")
SHOWN = 3  # findings that the reasons name


def decide(
    subject: Subject, findings: Sequence[Finding], consensus: Consensus, illegible: int
) -> tuple[Compliance, tuple[str, ...]]:
    """The verdict and its reasons, one sentence each."""
    broken = [item for item in findings if item.sure and item.analyser in DECIDING]
    if broken and subject.category != Category.CONSTITUTIONAL:
        return Compliance.NON_COMPLIANT, tuple(_named(broken))
    reasons = [*_named(broken)]
    if broken:
        reasons.append("It changes the constitution itself, so that people decide whether § 10 carries it.")
    reasons.extend(consensus.people)
    reasons.extend(_named([item for item in findings if item not in broken and is_grave(item)]))
    if illegible:
        reasons.append(f"{_passages(illegible)} in a language that the analysers do not read.")
    if reasons:
        return Compliance.REQUIRES_REVIEW, tuple(reasons)
    return Compliance.COMPLIANT, ("Nothing was found that breaks a principle, and the analysers agree.",)


def is_grave(finding: Finding) -> bool:
    """Whether a finding that is not sure is for people: it is as likely as not, or what it breaks weighs much."""
    likely = {Severity.CRITICAL: 0.3, Severity.HIGH: 0.4}.get(finding.severity, 0.5)
    return finding.score >= likely


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


def _passages(count: int) -> str:
    return "One passage is" if count == 1 else f"{count} passages are"
