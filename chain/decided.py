"""The steps of a verification that need no chain: text, version, reviews and ballot, recomputed from what is stored."""

from __future__ import annotations

from chain.checks import Check, Step, holds, pending, same, step
from chain.claims import Claims, OpeningClaim, VersionClaim
from workflows.constitution.document import Constitution
from workflows.kinds import BallotState, Choice, Decision, PolicyState
from workflows.policy_creation import records
from workflows.policy_creation.rules import ReviewGiven, applicable, review_progress
from workflows.policy_creation.tally import Counts, decide

DECIDED = (PolicyState.ENACTED, PolicyState.SUSPENDED)
NOT_ENACTED = {
    PolicyState.REJECTED: "The policy was rejected, so there is nothing of it on chain.",
    PolicyState.WITHDRAWN: "The policy was withdrawn, so there is nothing of it on chain.",
}


def text_step(claimed: Claims) -> Step:
    version = claimed.version
    return step(
        "text",
        "The text",
        "The text has the hash that stands beside it.",
        [
            same("SHA-256 of the text", version.text_sha256, records.text_sha256(version.text)),
            *_amended_checks(version),
        ],
        [f"jq -j .text version.json | sha256sum, with version.json from {_version_url(claimed)}"],
    )


def _amended_checks(version: VersionClaim) -> list[Check]:
    amended = version.constitution
    if amended is None:
        return []
    digest = records.text_sha256(amended.text)
    return [same("SHA-256 of the amended constitution", amended.sha256, digest)]


def _version_url(claimed: Claims) -> str:
    return f"/api/v1/policies/{claimed.ref}/versions/{claimed.version.number}"


def version_hash(claimed: Claims) -> str:
    """Recomputed from everything that is approved and voted on."""
    version = claimed.version
    amended = version.constitution
    record = records.version_record(
        ref=claimed.ref,
        number=version.number,
        title=version.title,
        summary=version.summary,
        category=version.category,
        text=version.text,
        rule=version.rule,
        amends=amended and (records.text_sha256(amended.text), amended.base_sha256),
    )
    return records.sha256_hex(record)


def version_step(claimed: Claims) -> Step:
    recomputed = version_hash(claimed)
    checks = [same("SHA-256 of the version", claimed.version.version_sha256, recomputed)]
    for number, given in enumerate(claimed.reviews, 1):
        checks.append(
            same(f"Hash that review {number} is bound to", given.version_sha256, recomputed, "Reviewed")
        )
    if claimed.ballot is not None:
        checks.append(same("Hash the ballot voted on", claimed.ballot.version_sha256, recomputed, "Voted on"))
    return step(
        "version",
        "The version",
        "Title, summary, category, text and rule are those that were reviewed and voted on.",
        checks,
        [
            "Build the canonical JSON (RFC 8785) of kind, ref, version, title, summary, category, text_sha256 and "
            f"rule_sha256 from {_version_url(claimed)}, and hash it with SHA-256."
        ],
    )


def reviews_step(claimed: Claims, constitution: Constitution) -> Step:
    tier = constitution.figures.tier(claimed.version.strategy)
    recomputed = version_hash(claimed)
    bound = [
        ReviewGiven(given.reviewer_id, given.capacity, given.decision)
        for given in claimed.reviews
        if given.version_sha256 == recomputed
    ]
    progress = review_progress(tier, claimed.author_id, bound)
    if not progress.complete and claimed.ballot is None:
        checks = [pending("Approvals", progress.missing or "The review is not complete yet.")]
    else:
        checks = [
            holds(
                "Approvals",
                progress.complete,
                progress.missing
                or f"{progress.approvals + progress.council} of the approvals this tier asks for.",
            ),
            holds(
                "Reviewers",
                all(given.reviewer_id != claimed.author_id for given in claimed.reviews),
                "nobody reviews a policy of their own.",
            ),
            holds(
                "Decisions",
                all(given.decision == Decision.APPROVE for given in claimed.reviews),
                "a version that was returned or rejected is not put to the vote.",
            ),
        ]
    return step(
        "reviews",
        "The reviews",
        f"This very version was approved as its tier asks, by others than its author (§ {tier.article}).",
        checks,
        [f"Count the approvals in /api/v1/policies/{claimed.ref}/reviews that carry the version's hash."],
    )


def ballot_step(claimed: Claims, constitution: Constitution) -> Step:
    ballot = claimed.ballot
    checks: list[Check]
    if ballot is None:
        checks = [pending("Ballot", NOT_ENACTED.get(claimed.state, "There has been no ballot yet."))]
    elif ballot.state == BallotState.OPEN or ballot.counts is None:
        checks = [pending("Ballot", "The ballot is open; it can be recounted when it is closed.")]
    else:
        rules = applicable(constitution.figures, claimed.version.strategy, claimed.emergency)
        terms = ballot.electorate, ballot.quorum_percent, ballot.threshold_percent
        counted = recount(ballot.openings)
        checks = [
            *_commitments(claimed),
            same("Votes for, against, abstaining", ballot.counts, counted, actual_label="Recounted"),
            same("Ballot root", ballot.root, _root(claimed)),
            same("Electorate", ballot.electorate, ballot.electors, actual_label="On the roll"),
            same("Quorum in percent", rules.quorum.value, ballot.quorum_percent, "Constitution", "Ballot"),
            same(
                "Threshold in percent",
                rules.threshold.value,
                ballot.threshold_percent,
                "Constitution",
                "Ballot",
            ),
            same("Outcome", _word(ballot.passed), _outcome(counted, *terms)),
        ]
        if claimed.state in DECIDED:
            checks.append(holds("Consequence", ballot.passed is True, "only what has passed is in force."))
    return step(
        "ballot",
        "The ballot",
        "Every vote opens its commitment, the recount gives the published counts and root, and the outcome follows.",
        checks,
        [
            f"Take /api/v1/policies/{claimed.ref}/openings: each commitment is HMAC-SHA256 with the salt as key over "
            "the canonical JSON of {ballot, choice}; the RFC 6962 Merkle root over the sorted commitments is the "
            "ballot root. Count the choices and compare with the published results."
        ],
    )


def _commitments(claimed: Claims) -> list[Check]:
    """One check for all openings, or one for each that does not open."""
    ballot = claimed.ballot
    assert ballot is not None
    wrong = []
    for number, item in enumerate(ballot.openings, 1):
        opened = records.commitment(_salt(item), ballot.id, item.choice)
        if opened != item.commitment:
            wrong.append(same(f"Commitment of vote {number}", item.commitment, opened, "Published"))
    return wrong or [holds("Commitments", True, f"all {len(ballot.openings)} open as published.")]


def _salt(item: OpeningClaim) -> bytes:
    try:
        return bytes.fromhex(item.salt)
    except ValueError:
        return b""


def recount(openings: tuple[OpeningClaim, ...]) -> tuple[int, int, int]:
    chosen = [item.choice for item in openings]
    return chosen.count(Choice.FOR), chosen.count(Choice.AGAINST), chosen.count(Choice.ABSTAIN)


def _root(claimed: Claims) -> str:
    """Over the commitments as the openings give them."""
    ballot = claimed.ballot
    assert ballot is not None
    return records.ballot_root(
        [records.commitment(_salt(item), ballot.id, item.choice) for item in ballot.openings]
    )


def _outcome(counts: tuple[int, int, int], electorate: int, quorum: int, threshold: int) -> str:
    try:
        why = decide(
            Counts(*counts), electorate=electorate, quorum_percent=quorum, threshold_percent=threshold
        )
    except ValueError:
        return "more votes than electors"
    return _word(why.passed)


def _word(passed: bool | None) -> str:
    return {True: "passed", False: "failed", None: "none"}[passed]


def rebuilt_record(claimed: Claims, constitution_sha256: str) -> bytes:
    """The record that should be on chain, from the evidence of all steps before. There must be a closed ballot."""
    ballot = claimed.ballot
    assert ballot is not None
    return records.policy_record(
        ref=claimed.ref,
        version=claimed.version.number,
        text_hash=records.text_sha256(claimed.version.text),
        version_hash=version_hash(claimed),
        tally=recount(ballot.openings),
        electorate=ballot.electorate,
        root_hash=_root(claimed),
        constitution_sha256=constitution_sha256,
    )
