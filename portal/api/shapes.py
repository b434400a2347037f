"""What programs send, and what they get where that is not a view of the core as it stands."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Meta

from portal.api.bodies import SAID, SHA256, Input
from workflows.constitution.amendments import MOST as MOST_OF_CONSTITUTION
from workflows.kinds import (
    Category,
    Choice,
    Decision,
    PolicyState,
    Priority,
    RuleEngine,
    Strategy,
    WorkflowStatus,
    WorkflowType,
)
from workflows.policy_creation.discussion import LIMIT as COMMENT_LIMIT
from workflows.policy_creation.drafts import EXAMPLES_LIMIT, LIMITS, RULE_LIMIT
from workflows.policy_creation.loading import REASON_LIMIT
from workflows.policy_creation.views import (
    AnchorView,
    BallotView,
    DocumentDraft,
    PolicyDraft,
    Progress,
    ReceiptView,
    ReviewProgress,
    Risk,
    RuleDraft,
    Rules,
    StageView,
    View,
    WorkflowView,
)

_VERSION = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
Sha256 = Annotated[
    str,
    Meta(
        pattern=SHA256,
        description="SHA-256 as 64 lower-case hex digits.",
        examples=[_VERSION],
    ),
]
Reason = Annotated[
    str,
    Meta(
        description="Why; shown publicly.",
        pattern=SAID,
        max_length=REASON_LIMIT,
        examples=["It is clear, and we need it."],
    ),
]


RULE_EXAMPLE = """package policies.grant_decisions

actions := {"grant.decide"}

default allow := false

allow if input.action.published
"""
# Whole bodies for the OpenAPI document; a test sends each.
POLICY_EXAMPLE = {
    "title": "Publish every grant decision",
    "summary": "Who got a grant, how much and why is published within 30 days.",
    "text": "## Scope\n\nEvery grant decision is published within 30 days, with its reasons.\n",
    "category": "financial",
    "priority": "normal",
    "rule": {
        "engine": "rego",
        "source": RULE_EXAMPLE,
        "examples": [
            {"input": {"action": {"type": "grant.decide", "published": True}}, "expect": "allow"},
            {"input": {"action": {"type": "grant.decide"}}, "expect": "deny"},
        ],
    },
}
DECISION_EXAMPLE = {
    "decision": "approve",
    "reason": "It is clear, and we need it.",
    "version_sha256": _VERSION,
}
VOTE_EXAMPLE = {"choice": "for", "version_sha256": _VERSION}
COMMENT_EXAMPLE = {"body": "Please say **who** publishes it."}


class ExampleIn(Input):
    """What a rule must answer to an input."""

    input: Annotated[Any, Meta(description="Any JSON that the rule can be asked about.")]
    expect: Annotated[Any, Meta(description="Its answer.", examples=["allow"])]


class RuleIn(Input):
    """An executable rule with examples of what it allows and denies."""

    engine: RuleEngine
    source: Annotated[
        str,
        Meta(
            description="The rule in the engine's language.",
            pattern=SAID,
            max_length=RULE_LIMIT,
            examples=[RULE_EXAMPLE],
        ),
    ]
    examples: Annotated[
        list[ExampleIn], Meta(description="What the rule must say.", max_length=EXAMPLES_LIMIT)
    ] = msgspec.field(default_factory=list)


class DocumentIn(Input):
    """An amended constitution: the whole document, and which one it was written against."""

    text: Annotated[
        str,
        Meta(
            description="The amended document, whole. Line ends are kept as LF, with one at the end.",
            pattern=SAID,
            max_length=MOST_OF_CONSTITUTION,
        ),
    ]
    base_sha256: Annotated[
        str,
        Meta(
            pattern=SHA256,
            description="SHA-256 of the document in force that it was written against, as /api/v1/constitution says it; "
            "where another one is in force meanwhile, the answer is 409 `constitution_changed`.",
            examples=[_VERSION],
        ),
    ]


class DraftIn(Input):
    """A policy as its author writes it."""

    title: Annotated[
        str,
        Meta(
            description="What it is about, in one line.",
            pattern=SAID,
            max_length=LIMITS["title"],
            examples=["Publish every grant decision"],
        ),
    ]
    summary: Annotated[
        str,
        Meta(
            description="The policy in a sentence or two.",
            pattern=SAID,
            max_length=LIMITS["summary"],
            examples=["Who got a grant, how much and why is published within 30 days."],
        ),
    ]
    text: Annotated[
        str,
        Meta(
            description="The full text, Markdown.",
            pattern=SAID,
            max_length=LIMITS["text"],
            examples=["## Scope\n\nEvery grant decision is published within 30 days, with its reasons."],
        ),
    ]
    category: Category
    priority: Priority = Priority.NORMAL
    risk_strategy: Annotated[
        Strategy | None,
        Meta(description="Ask for a stricter tier than the assessed one; a milder one changes nothing."),
    ] = None
    rule: RuleIn | None = None
    emergency: Annotated[
        bool, Meta(description="Ask for the emergency procedure; only the council may (§ 5.3).")
    ] = False
    change_note: Annotated[
        str, Meta(description="What changed against the version before.", max_length=LIMITS["change_note"])
    ] = ""
    constitution: Annotated[
        DocumentIn | None,
        Meta(description="The amended constitution; only with the category constitutional (§ 10.1)."),
    ] = None

    def draft(self) -> PolicyDraft:
        """As the core takes it."""
        rule = msgspec.convert(msgspec.to_builtins(self.rule), RuleDraft) if self.rule else None
        document = (
            DocumentDraft(text=self.constitution.text, base_sha256=self.constitution.base_sha256)
            if self.constitution
            else None
        )
        names = [name for name in PolicyDraft.__struct_fields__ if name not in ("rule", "constitution")]
        return PolicyDraft(rule=rule, constitution=document, **{name: getattr(self, name) for name in names})


class PolicyIn(DraftIn):
    submit: Annotated[bool, Meta(description="Hand it in for review at once; false keeps it a draft.")] = True
    synthesis: Annotated[
        str,
        Meta(
            description="The token of the synthesised draft that it was begun with, if any.",
            max_length=200_000,
        ),
    ] = ""


class DecisionIn(Input):
    """A reviewer's decision on exactly the version that was read."""

    decision: Decision
    reason: Reason
    version_sha256: Sha256


class VoteIn(Input):
    """A vote on exactly the version that was read. It may be changed until the ballot closes."""

    choice: Choice
    version_sha256: Sha256
    reason: Annotated[
        str, Meta(description="A note with your vote; never published.", max_length=REASON_LIMIT)
    ] = ""


class CommentIn(Input):
    body: Annotated[
        str,
        Meta(
            description="Markdown.",
            pattern=SAID,
            max_length=COMMENT_LIMIT,
            examples=["Please say who publishes it."],
        ),
    ]
    reply_to: Annotated[UUID | None, Meta(description="The comment this answers.")] = None


class ReasonIn(Input):
    reason: Reason


class BallotAnswer(BallotView):
    """A ballot; `quorum` and `threshold` are percentages, as their longer names say."""

    quorum: int
    threshold: int

    @classmethod
    def of(cls, view: BallotView) -> BallotAnswer:
        fields = {name: getattr(view, name) for name in BallotView.__struct_fields__}
        return cls(quorum=view.quorum_percent, threshold=view.threshold_percent, **fields)


class PolicyIdentity(View):
    """Which policy and version, and what it hashes to."""

    ref: str
    title: str
    state: PolicyState
    version: int
    text_sha256: str
    version_sha256: str
    revision: int


class CreationView(View):
    """A policy-creation workflow with its policy, risk, rules, review, ballot and anchors."""

    id: UUID
    workflow_id: UUID
    workflow_type: WorkflowType
    status: WorkflowStatus
    priority: Priority
    current_stage: str
    stages: list[StageView]
    progress: Progress
    error: str | None
    created_at: datetime
    updated_at: datetime
    constitution: dict[str, str]
    policy: PolicyIdentity
    risk: Risk
    rules: Rules
    review: ReviewProgress
    ballot: BallotAnswer | None
    anchors: list[AnchorView]
    links: dict[str, str]


class AnyWorkflow(WorkflowView):
    """Any workflow, with links to what it is about."""

    links: dict[str, str]


class Receipt(View):
    """A vote's receipt. `salt` and the choice open its commitment: keep them if you want to prove your vote."""

    receipt: ReceiptView
