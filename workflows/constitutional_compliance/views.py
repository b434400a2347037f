"""What compliance answers with: one set of structs for pages and API alike."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from workflows.constitutional_compliance.findings import Result
from workflows.constitutional_compliance.gate import Standing
from workflows.kinds import Compliance, LabelKind, Strategy, ValidationCause
from workflows.policy_creation.views import PersonView, View


class QuestionView(View):
    """What was put to named people (§ 4.10). `reason`: why they decided so, or that these words were erased."""

    id: UUID
    validation: str
    policy_ref: str
    policy_title: str
    version: int
    asked: list[PersonView]
    asked_at: datetime
    due_at: datetime
    overdue: bool
    council_asked: bool
    decided_at: datetime | None
    decided_by: PersonView | None
    answer: Compliance | None
    reason: str | None
    findings: int


class OverrideVote(View):
    person: PersonView
    support: bool
    reason: str | None
    made_at: datetime


class OverrideView(View):
    """How far the council is with overriding a finding (§ 4.11): `needed` of `members` (its author not counted)."""

    percent: int
    article: str
    members: int
    needed: int
    supporting: int
    against: int
    votes: list[OverrideVote]
    passed_at: datetime | None


class ChainView(View):
    """What the program on chain last said of the record of a policy in force. `why`: why it was not asked."""

    checked: bool
    passed: bool | None = None
    code: str = ""
    says: str = ""
    slot: int | None = None
    at: datetime | None = None
    why: str = ""


class ValidationItem(View):
    """A validation in a list. `state`: waiting, retrying, judged, failed, called_off. `effective` has people's word in it."""

    id: UUID
    ref: str
    cause: ValidationCause
    level: Strategy
    policy_ref: str | None
    policy_title: str | None
    version: int | None
    state: str
    verdict: Compliance | None
    effective: Compliance | None
    score: float | None
    confidence: float | None
    findings: int
    created_at: datetime
    made_at: datetime | None


class ValidationView(ValidationItem):
    """One validation. `text` and `result` of a text that is not public are there for who had it judged, and auditors."""

    workflow_id: UUID
    text: str | None
    text_sha256: str | None
    constitution_sha256: str
    in_force: bool
    asked_by: PersonView | None
    batch_id: UUID | None
    position: int | None
    error: str | None
    attempts: int
    retry_at: datetime | None
    result: Result | None
    question: QuestionView | None
    override: OverrideView | None
    chain: ChainView | None


class PolicyCompliance(View):
    """How a policy's standing version stands with the constitution, and all validations that counted for it."""

    ref: str
    version: int
    standing: Standing
    newest: ValidationView | None
    decided_by: str | None
    history: list[ValidationItem]
    question: QuestionView | None
    override: OverrideView | None
    may_answer: bool
    may_override: bool
    why_not: str


class Queue(View):
    """What is under way and what waits for people. `counts` are of all; the lists hold the first of each."""

    waiting: list[ValidationItem]
    failed: list[ValidationItem]
    questions: list[QuestionView]
    blocked: list[ValidationItem]
    counts: dict[str, int]


class Disagreement(View):
    """People decided otherwise than machines had found. `how`: answer, override."""

    validation: str
    policy_ref: str
    policy_title: str
    verdict: Compliance
    answer: Compliance
    score: float
    decided_at: datetime
    decided_by: PersonView | None
    reason: str | None
    how: str


class AccuracyPoint(View):
    """A week of governance time: findings that people labelled, and those of them that they agreed with."""

    since: datetime
    answered: int
    agreed: int


class PrincipleAgreement(View):
    principle: str
    labelled: int
    agreed: int


class AccuracyView(View):
    """`measured`: on texts that no fitting saw, {} where that was not measured for what is in use. The rest: what people
    say of single findings; `percent` is None while nobody said anything.
    """

    measured: dict[str, Any]
    points: list[AccuracyPoint]
    answered: int
    agreed: int
    percent: float | None
    labels: int
    by_principle: list[PrincipleAgreement]


class BatchItem(View):
    """One of a batch: its validation, or the problem it has."""

    position: int
    validation: ValidationView | None
    problem: dict[str, Any] | None


class BatchView(View):
    id: UUID
    total: int
    made: int
    failed: int
    waiting: int
    problems: int
    created_at: datetime
    items: list[BatchItem]


class LabelView(View):
    """What somebody says a clause does to a principle."""

    id: UUID
    principle: str
    text: str
    label: LabelKind
    policy_ref: str
    validation: str | None
    labelled_by: PersonView | None
    made_at: datetime


class ClassifierView(View):
    """A classifier that was fitted here, with people's labels; `measured` on texts that no fitting saw."""

    sha256: str
    embedder: str
    corpus_sha256: str
    labels: int
    measured: dict[str, Any]
    fitted_at: datetime
    active: bool
