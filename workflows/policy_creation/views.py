"""What policy creation answers with: one set of structs for pages and API alike."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, Literal, TypeVar
from uuid import UUID

import msgspec

from workflows.kinds import (
    AnchorKind,
    AnchorState,
    BallotMode,
    BallotState,
    Category,
    Choice,
    Decision,
    PolicyState,
    Priority,
    RiskLevel,
    RuleEngine,
    StageStatus,
    Strategy,
    WorkflowStatus,
    WorkflowType,
)
from workflows.policy_creation.tally import Why

T = TypeVar("T")


class View(msgspec.Struct, frozen=True, kw_only=True):
    """Base only for the shared struct options."""


class PersonView(View):
    id: UUID
    username: str
    name: str


class RuleDraft(View):
    """An executable rule: its source, and examples of what it allows and denies as [{input, expect}]."""

    engine: RuleEngine
    source: str
    examples: list[dict[str, Any]] = []


class DocumentDraft(View):
    """The whole amended constitution, and the SHA-256 of the document in force that it was written against."""

    text: str
    base_sha256: str


class PolicyDraft(View):
    """What an author enters. Checked by `drafts.check`, which names every fault at once."""

    title: str
    summary: str
    text: str
    category: Category
    priority: Priority = Priority.NORMAL
    risk_strategy: Strategy | None = None
    rule: RuleDraft | None = None
    emergency: bool = False
    change_note: str = ""
    constitution: DocumentDraft | None = None  # of an amendment


class Evidence(View):
    """Why a risk is as it is. `start`/`end` are character offsets of `quote` in `field`; -1 where there is no text.

    `constitution`: as the policy amends it.
    """

    kind: str
    level: RiskLevel
    explanation: str
    field: Literal["title", "summary", "text", "category", "rule", "emergency", "constitution"]
    quote: str = ""
    start: int = -1
    end: int = -1


class Risk(View):
    level: RiskLevel
    assessed: Strategy  # from the evidence
    requested: Strategy | None  # by the proposer
    strategy: Strategy  # the stricter of both: it applies
    evidence: list[Evidence]


class Requirement(View):
    """One figure that applies to this policy and the article of the constitution it stands in."""

    value: int
    unit: str  # reviewers, days, percent
    article: str
    text: str  # as a person reads it: "2 reviewers, one of them with legal expertise, and 1 council member"


class Rules(View):
    reviewers: Requirement
    comment_days: Requirement
    voting_days: Requirement
    quorum: Requirement
    threshold: Requirement


class Preview(View):
    """What will apply to a draft, before it is submitted."""

    risk: Risk
    rules: Rules
    text_sha256: str


class AmendedDocument(View):
    """The constitution that an amendment yields: its text, and the hashes of it and of what it was written against."""

    text: str
    sha256: str
    base_sha256: str


class VersionView(View):
    number: int
    title: str
    summary: str
    category: Category
    text: str
    text_sha256: str
    version_sha256: str
    rule: RuleDraft | None
    rule_sha256: str | None
    risk_level: RiskLevel
    strategy: Strategy
    change_note: str
    author: PersonView
    created_at: datetime
    constitution: AmendedDocument | None = None  # of an amendment


class DiffPart(View):
    kind: Literal["same", "removed", "added"]
    text: str


class DiffLine(View):
    """One line of a diff: numbers in the old and new text (None where it is not there) and its changed words."""

    kind: Literal["same", "removed", "added"]
    old: int | None
    new: int | None
    parts: list[DiffPart]


class FieldDiff(View):
    field: Literal["title", "summary", "category", "text", "rule", "constitution"]
    changed: bool
    lines: list[DiffLine]


class Diff(View):
    ref: str
    from_version: int
    to_version: int
    fields: list[FieldDiff]
    lines_added: int
    lines_removed: int


class ReviewView(View):
    reviewer: PersonView
    capacity: list[str]
    decision: Decision
    reason: str
    version: int
    version_sha256: str
    void: bool  # about an earlier version
    created_at: datetime


class ReviewProgress(View):
    """How far the review of the current version is. `missing` says in words what is still needed."""

    approvals: int
    needed: int
    legal: int
    legal_needed: int
    council: int
    council_needed: int
    complete: bool
    missing: str


class CommentView(View):
    id: UUID
    author: PersonView
    version: int
    reply_to: UUID | None
    body: str
    body_html: str
    created_at: datetime


class Eligibility(View):
    can_vote: bool
    reason_code: str
    why: str


class ReceiptView(View):
    """A cast vote's receipt. The choice is only there for the voter, and only on request."""

    code: str
    ref: str
    title: str
    version: int
    commitment: str
    cast_at: datetime
    counting: bool  # false: replaced by a later vote of the same person
    ballot_state: BallotState
    closes_at: datetime
    in_root: bool | None  # after the close: whether the commitment is among those under the ballot root
    mine: bool = False
    choice: Choice | None = None
    salt: str | None = None  # hex; for the voter
    leaf_index: int | None = None  # after the close: its place among the sorted commitments under the root
    log_index: int | None = None  # its leaf in the audit log; none in the moment before it was given one


class BallotView(View):
    ref: str
    version: int
    version_sha256: str
    mode: BallotMode
    state: BallotState
    opens_at: datetime
    closes_at: datetime
    closed_at: datetime | None
    electorate: int
    quorum_percent: int
    threshold_percent: int
    eligible: Eligibility
    your_receipt: ReceiptView | None


class Results(View):
    """A closed ballot. `turnout` is votes / electorate; `why` re-evaluates to `outcome`."""

    ref: str
    ballot_id: UUID  # goes into every commitment, so one needs it to recount
    mode: BallotMode
    version: int
    version_sha256: str
    counts: dict[Literal["for", "against", "abstain"], int]
    electorate: int  # how many could vote
    base: int
    turnout: float
    quorum_met: bool
    quorum_percent: int
    threshold: int
    outcome: Literal["passed", "failed"]
    why: Why
    ballot_root: str
    opened_at: datetime
    closed_at: datetime


class Opening(View):
    """One counting vote without its voter: HMAC(salt, {ballot, choice}) is its commitment."""

    choice: Choice
    salt: str  # hex
    commitment: str


class Superseded(View):
    """A vote that its voter replaced: its commitment, and that of the later one."""

    commitment: str
    by: str


class Openings(View):
    """What is published of a ballot at its close."""

    ballot: UUID
    mode: BallotMode
    openings: list[Opening]
    superseded: list[Superseded]


class OpeningName(View):
    """Who cast a counting vote of an open ballot, beside what is hashed: it goes with an erasure."""

    name: str
    choice: Choice
    commitment: str


@dataclass(frozen=True)
class VoteLeaf:
    """A vote's place in the log: leaf `index` (none where it has none) with the entry's body."""

    commitment: str
    index: int | None
    body: bytes | None


class AnchorView(View, kw_only=True):
    id: UUID
    kind: AnchorKind
    state: AnchorState
    ref: (
        str | None
    )  # of a policy, with its version; else it is of a checkpoint of the log, with size and root
    version: int | None
    checkpoint_size: int | None = None
    checkpoint_root: str | None = None  # hex
    durable: bool = False  # of a checkpoint: whether it is an account of its own as well
    record: str  # the canonical JSON, or a checkpoint's action, as text
    record_sha256: str
    chain_policy_id: str  # u64 as decimal string
    memo: str
    cluster: str | None
    genesis_hash: str | None
    program: str | None
    account: str | None
    signature: str | None
    slot: int | None
    block_time: datetime | None
    attempts: int
    error: str | None
    queued_at: datetime
    submitted_at: datetime | None
    confirmed_at: datetime | None
    finalized_at: datetime | None
    lost_at: datetime | None = None  # when a reset of the cluster was found to have taken it away
    # Filled in by the portal, which knows the chain:
    explorer_url: str | None = None
    cost_lamports: int | None = None  # fee, and the rent of its own record where it has one


class InboxItem(View):
    """Something that waits for one person: a policy to review, a ballot to vote in, an own text to mend, a question whether a
    text complies, and for those in office a violation to answer or an appeal to judge; a restriction that concerns them.
    """

    kind: Literal["review", "vote", "returned", "compliance", "violation", "appeal", "restricted"]
    ref: str
    title: str
    text: str
    due: datetime | None


class TimelineItem(View):
    """`at` is None for a step that has not come; then `text` says what will happen."""

    key: str
    text: str
    at: datetime | None
    due: datetime | None = None
    actor: str | None = None
    detail: str = ""
    entry: int | None = None  # number of the audit entry


class StageView(View):
    key: str
    status: StageStatus
    started_at: datetime | None
    completed_at: datetime | None
    duration_ms: int | None
    attempts: int
    error: str | None


class Progress(View):
    percent: int
    completed: int
    total: int


class WorkflowView(View):
    id: UUID
    workflow_type: WorkflowType
    status: WorkflowStatus
    priority: Priority
    current_stage: str
    stages: list[StageView]
    progress: Progress
    subject: str
    error: str | None
    created_at: datetime
    updated_at: datetime
    constitution: dict[str, str]  # {sha256, label}


class PolicyItem(View):
    """A policy in a list."""

    ref: str
    title: str
    summary: str
    category: Category
    priority: Priority
    state: PolicyState
    emergency: bool
    risk_level: RiskLevel
    strategy: Strategy
    version: int
    author: PersonView
    ballot_closes_at: datetime | None
    anchor_state: AnchorState | None
    updated_at: datetime


class BallotSummary(View):
    """When a policy's ballot is open; no count, so it may be shown at any time."""

    version: int
    state: BallotState
    opens_at: datetime
    closes_at: datetime
    closed_at: datetime | None


class PolicyView(View):
    """A policy with its current version and all that a page or program needs around it."""

    id: UUID
    ref: str
    state: PolicyState
    category: Category
    priority: Priority
    emergency: bool
    author: PersonView
    version: VersionView
    versions: int
    risk: Risk
    rules: Rules
    review: ReviewProgress
    stopped: bool  # found not to comply with the constitution (§ 4.11)
    workflow_id: UUID
    revision: int
    state_reason: str | None
    comment_ends_at: datetime | None
    created_at: datetime
    updated_at: datetime
    submitted_at: datetime | None
    decided_at: datetime | None
    enacted_at: datetime | None
    suspended_at: datetime | None
    anchors: list[AnchorView]
    ballot: BallotSummary | None = None  # none: it has not come to a ballot


class Page(View, Generic[T]):
    """A cursor page; `next`/`prev` are opaque cursors."""

    items: list[T]
    next: str | None
    prev: str | None
    limit: int
    has_more: bool
