"""The closed sets of words that the whole system uses, in the database, the API and on pages."""

from __future__ import annotations

from enum import StrEnum


class WorkflowType(StrEnum):
    POLICY_CREATION = "policy_creation"
    CONSTITUTIONAL_COMPLIANCE = "constitutional_compliance"
    POLICY_ENFORCEMENT = "policy_enforcement"
    WINA_OVERSIGHT = "wina_oversight"
    AUDIT_TRANSPARENCY = "audit_transparency"


class WorkflowStatus(StrEnum):
    PENDING = "pending"
    INITIATED = "initiated"
    IN_PROGRESS = "in_progress"
    WAITING_APPROVAL = "waiting_approval"
    APPROVED = "approved"
    EXECUTING = "executing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMEOUT = "timeout"


class StageStatus(StrEnum):
    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class CreationStage(StrEnum):
    """The steps of policy creation, in order."""

    DRAFT_CREATION = "draft_creation"
    STAKEHOLDER_REVIEW = "stakeholder_review"
    PUBLIC_COMMENT = "public_comment"
    VOTING = "voting"
    IMPLEMENTATION = "implementation"


class AuditStage(StrEnum):
    """The steps of audit and transparency, in order."""

    DATA_COLLECTION = "data_collection"
    AUDIT_ANALYSIS = "audit_analysis"
    TRANSPARENCY_ASSESSMENT = "transparency_assessment"
    PUBLIC_REPORTING = "public_reporting"


class EnforcementStage(StrEnum):
    """The steps of policy enforcement, in order: each violation goes through them."""

    MONITORING_SETUP = "monitoring_setup"
    VIOLATION_DETECTION = "violation_detection"
    IMPACT_ASSESSMENT = "impact_assessment"
    REMEDIATION_ACTION = "remediation_action"


class ComplianceStage(StrEnum):
    """The steps of constitutional compliance, in order."""

    VALIDATION_INITIATION = "validation_initiation"
    CONSTITUTIONAL_ANALYSIS = "constitutional_analysis"
    COMPLIANCE_ASSESSMENT = "compliance_assessment"
    ENFORCEMENT_RECOMMENDATION = "enforcement_recommendation"


class Compliance(StrEnum):
    """What a text is found to be."""

    COMPLIANT = "compliant"
    REQUIRES_REVIEW = "requires_review"
    NON_COMPLIANT = "non_compliant"


class ConsensusStrategy(StrEnum):
    """How the scores of several analysers become one."""

    WEIGHTED_AVERAGE = "weighted_average"
    MAJORITY_VOTE = "majority_vote"
    CONFIDENCE_BASED = "confidence_based"
    EMBEDDING_PRIORITY = "embedding_priority"
    LLM_PRIORITY = "llm_priority"


class ValidationCause(StrEnum):
    """Why a text was held against the constitution."""

    REQUESTED = "requested"
    SUBMITTED = "submitted"
    TIER_RAISED = "tier_raised"
    CONSTITUTION_CHANGED = "constitution_changed"
    MODELS_CHANGED = "models_changed"


class LabelKind(StrEnum):
    """What a clause does to a principle, as people say."""

    BREAKS = "breaks"
    HONOURS = "honours"
    NEUTRAL = "neutral"


class Outcome(StrEnum):
    """What a machine is told."""

    ALLOW = "allow"
    CONDITIONAL_ALLOW = "conditional_allow"
    DENY = "deny"


class DecisionMode(StrEnum):
    """Whether a decision binds, or only says what it would be."""

    ENFORCE = "enforce"
    DRY_RUN = "dry_run"


class Severity(StrEnum):
    """How grave a violation is, mildest first."""

    NONE = "none"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


class Ladder(StrEnum):
    """The answers to a violation, mildest first (Constitution § 8.2)."""

    LOG_WARNING = "log_warning"
    TEMPORARY_RESTRICTION = "temporary_restriction"
    IMMEDIATE_BLOCK = "immediate_block"
    EMERGENCY_LOCKDOWN = "emergency_lockdown"


class ViolationKind(StrEnum):
    DENIED_ATTEMPT = "denied_attempt"
    OBLIGATION_MISSED = "obligation_missed"
    GRANT_LAPSED = "grant_lapsed"
    REPEATED_DENIALS = "repeated_denials"
    BURST = "burst"
    DRIFT = "drift"


class ViolationState(StrEnum):
    OPEN = "open"
    CLOSED = "closed"


class Priority(StrEnum):
    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"
    CRITICAL = "critical"


class Category(StrEnum):
    CONSTITUTIONAL = "constitutional"
    SAFETY = "safety"
    GOVERNANCE = "governance"
    FINANCIAL = "financial"


class RiskLevel(StrEnum):
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


class Strategy(StrEnum):
    """The four tiers, mildest first."""

    STANDARD = "standard"
    ENHANCED_VALIDATION = "enhanced_validation"
    MULTI_MODEL_CONSENSUS = "multi_model_consensus"
    HUMAN_REVIEW = "human_review"


class RuleEngine(StrEnum):
    REGO = "rego"
    DATALOG = "datalog"


class PolicyState(StrEnum):
    """Where a policy stands.

    `public_comment`: reviews are complete, the comment period is not over. There is no state between a passed
    ballot and `enacted`: the close of the ballot enacts; that the chain has it is the anchor's state.
    """

    DRAFT = "draft"
    IN_REVIEW = "in_review"
    RETURNED = "returned"
    PUBLIC_COMMENT = "public_comment"
    VOTING = "voting"
    REJECTED = "rejected"
    ENACTED = "enacted"
    SUSPENDED = "suspended"
    WITHDRAWN = "withdrawn"


class Decision(StrEnum):
    """What a reviewer decides."""

    APPROVE = "approve"
    RETURN = "return"
    REJECT = "reject"


class Choice(StrEnum):
    FOR = "for"
    AGAINST = "against"
    ABSTAIN = "abstain"


class BallotState(StrEnum):
    OPEN = "open"
    CLOSED = "closed"


class BallotMode(StrEnum):
    """What is published at the close: each choice without its voter, or with."""

    SEALED = "sealed"
    OPEN = "open"


class AnchorKind(StrEnum):
    POLICY = "policy"
    DEACTIVATION = "deactivation"
    CHECKPOINT = "checkpoint"
    CONSTITUTION = "constitution"  # an amended document's hash


class AnchorState(StrEnum):
    QUEUED = "queued"
    SUBMITTED = "submitted"
    CONFIRMED = "confirmed"
    FINALIZED = "finalized"
    FAILED = "failed"
