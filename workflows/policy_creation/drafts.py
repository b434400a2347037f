"""Drafting: what an author enters is checked, previewed, kept, submitted, amended and withdrawn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import rfc8785
import sqlalchemy as sa

from workflows.constitution import amendments
from workflows.constitution.figures import Figures
from workflows.constitutional_compliance import asking as validations
from workflows.errors import FieldError, Invalid
from workflows.kinds import (
    Category,
    CreationStage,
    PolicyState,
    Priority,
    RuleEngine,
    Strategy,
    ValidationCause,
    WorkflowStatus,
    WorkflowType,
)
from workflows.orchestrator import stages
from workflows.policy_creation import records, risk
from workflows.policy_creation.lifecycle import after_amendment, insist_takes
from workflows.policy_creation.loading import check_reason, lock_policy, storable, update_policy
from workflows.policy_creation.rules import applicable, comment_end
from workflows.policy_creation.views import DocumentDraft, PolicyDraft, Preview, Risk, RuleDraft
from workflows.roles import insist, may_declare_emergency, may_edit, may_propose
from workflows.storage.references import next_reference
from workflows.storage.tables import policy, policy_version, workflow
from workflows.storage.unit import Unit, new_id

# In characters; the record on chain has hashes only, so these are for people and storage.
LIMITS = {"title": 200, "summary": 1_000, "text": 100_000, "change_note": 1_000}
RULE_LIMIT, EXAMPLES_LIMIT, EXAMPLES_BYTES = 20_000, 100, 100_000


def check(draft: PolicyDraft) -> None:
    """Raise Invalid with every FieldError at once (pointers as `/title`, `/rule/examples/2`).

    A rule is checked for its shape only: nothing here compiles or runs it.
    """
    errors = []
    for field, limit in LIMITS.items():
        value = getattr(draft, field)
        if not value.strip() and field != "change_note":
            errors.append(FieldError(f"/{field}", f"A {field} is needed."))
        elif len(value) > limit:
            errors.append(FieldError(f"/{field}", f"At most {limit:,} characters; these are {len(value):,}."))
        elif not storable(value):
            errors.append(FieldError(f"/{field}", "It holds a character that is not text."))
        elif field == "title" and "\n" in value.strip():
            errors.append(FieldError("/title", "A title is one line."))
    choices = {"category": Category, "priority": Priority, "risk_strategy": Strategy}
    for field, kinds in choices.items():
        chosen = getattr(draft, field)
        if chosen not in list(kinds) and not (field == "risk_strategy" and chosen is None):
            errors.append(FieldError(f"/{field}", f"Choose one of {', '.join(kinds)}."))
    if draft.rule is not None:
        errors.extend(_check_rule(draft.rule))
    if draft.constitution is not None:
        errors.extend(_check_document(draft.constitution, draft.category))
    if errors:
        raise Invalid("The draft cannot be kept like this.", errors=tuple(errors))


def _check_rule(rule: RuleDraft) -> list[FieldError]:
    errors = []
    if rule.engine not in list(RuleEngine):
        errors.append(FieldError("/rule/engine", f"Choose one of {', '.join(RuleEngine)}."))
    if not rule.source.strip():
        errors.append(FieldError("/rule/source", "The rule is empty; write one, or leave the rule out."))
    elif len(rule.source) > RULE_LIMIT or not storable(rule.source):
        errors.append(FieldError("/rule/source", f"At most {RULE_LIMIT:,} characters of plain text."))
    if len(rule.examples) > EXAMPLES_LIMIT:
        errors.append(FieldError("/rule/examples", f"At most {EXAMPLES_LIMIT} examples."))
    for position, example in enumerate(rule.examples):
        if set(example) != {"input", "expect"}:
            errors.append(
                FieldError(f"/rule/examples/{position}", "An example is {input, expect} and nothing else.")
            )
    if not _keeps_its_hash(rule.examples):
        message = f"At most {EXAMPLES_BYTES:,} bytes of JSON, numbers below 2^53, no NUL."
        errors.append(FieldError("/rule/examples", message))
    return errors


def _check_document(given: DocumentDraft, category: Category) -> list[FieldError]:
    """An amendment must be one, and its document such that the body can be governed by it."""
    here = "/constitution/text"
    if category != Category.CONSTITUTIONAL:
        message = "Only a policy of the category constitutional may amend the constitution (§ 3.4)."
        return [FieldError("/constitution", message)]
    if len(given.text) > amendments.MOST or not storable(given.text):
        return [FieldError(here, f"At most {amendments.MOST:,} characters of plain text.")]
    text = amendments.normalised(given.text)
    if amendments.sha256_of(text) == given.base_sha256:
        return [FieldError(here, "Nothing is different from the document in force.")]
    return [FieldError(here, fault) for fault in amendments.faults(text)]


def _keeps_its_hash(examples: list[dict[str, Any]]) -> bool:
    """Whether the examples come back from the database as the same canonical JSON."""
    try:
        canonical = rfc8785.dumps(examples)
    except (rfc8785.CanonicalizationError, RecursionError, UnicodeError):
        return False
    if len(canonical) > EXAMPLES_BYTES or b"\\u0000" in canonical:
        return False
    # PostgreSQL gives a large float back as an integer, which canonical JSON refuses beyond 2^53.
    return not any(abs(number) >= 2**53 for number in _floats(examples))


def _floats(value: Any) -> Iterator[float]:
    if isinstance(value, float):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _floats(item)
    elif isinstance(value, list):
        for item in value:
            yield from _floats(item)


def normalised(draft: PolicyDraft) -> PolicyDraft:
    """The draft as it is kept and hashed: line ends LF, whoever typed it; no blanks around title and summary."""

    def lf(text: str) -> str:
        return text.replace("\r\n", "\n").replace("\r", "\n")

    rule = draft.rule and msgspec.structs.replace(draft.rule, source=lf(draft.rule.source))
    document = draft.constitution and msgspec.structs.replace(
        draft.constitution, text=amendments.normalised(draft.constitution.text)
    )
    return msgspec.structs.replace(
        draft,
        title=draft.title.strip(),
        summary=lf(draft.summary).strip(),
        text=lf(draft.text),
        change_note=lf(draft.change_note).strip(),
        risk_strategy=Strategy(draft.risk_strategy) if draft.risk_strategy in list(Strategy) else None,
        rule=rule,
        constitution=document,
    )


def preview(draft: PolicyDraft, figures: Figures) -> Preview:
    """What will apply to `draft`, complete or not: risk with its evidence, and the rules with their articles."""
    kept = normalised(draft)
    assessed = risk.assess(kept)
    return Preview(
        risk=assessed,
        rules=applicable(figures, assessed.strategy, kept.emergency),
        text_sha256=records.text_sha256(kept.text),
    )


async def create(unit: Unit, figures: Figures, draft: PolicyDraft, *, submit: bool) -> str:
    """Keep a new policy, and submit it for review at once if asked to. Answers with its reference."""
    insist(may_propose(unit.actor))
    kept = await _accepted(unit, draft)
    ref = await next_reference(unit, "POL")
    workflow_id = await stages.start(
        unit, WorkflowType.POLICY_CREATION, kept.priority, ref, list(CreationStage)
    )
    policy_id = new_id()
    await unit.connection.execute(
        policy.insert().values(
            id=policy_id,
            ref=ref,
            state=PolicyState.DRAFT,
            author_id=unit.actor.id,
            workflow_id=workflow_id,
            current_version=1,
            created_at=unit.now,
            updated_at=unit.now,
            **_headline(kept),
        )
    )
    version = _version_values(ref, 1, kept)
    await unit.connection.execute(
        policy_version.insert().values(
            policy_id=policy_id, number=1, author_id=unit.actor.id, created_at=unit.now, **version
        )
    )
    await unit.record("policy.drafted", ref, **_fingerprint(1, version))
    if submit:
        await _to_review(unit, figures, {**_headline(kept), **version, "id": policy_id, "ref": ref,
                                          "workflow_id": workflow_id, "current_version": 1})  # fmt: skip
    return ref


async def amend(
    unit: Unit, figures: Figures, ref: str, draft: PolicyDraft, *, revision: int | None = None
) -> int:
    """Change the text; answers with the number of the version that stands now.

    A draft is rewritten in place. Once submitted, the next immutable version is made: it starts its review anew, and with
    no approvals. Raises Conflict `stale_revision`, `wrong_state`, Invalid `unchanged`.
    """
    row = await lock_policy(unit, ref, revision=revision)
    insist(may_edit(unit.actor, row["author_id"]))
    insist_takes(row["state"], "amend")
    kept = await _accepted(unit, draft)
    state = after_amendment(row["state"])
    number = row["current_version"] + (state != PolicyState.DRAFT)
    version = _version_values(ref, number, kept)
    if state == PolicyState.DRAFT:
        await unit.connection.execute(
            policy_version.update()
            .where(policy_version.c.policy_id == row["id"], policy_version.c.number == number)
            .values(created_at=unit.now, **version)
        )
        await update_policy(unit, row, **_headline(kept))
        await unit.record("policy.edited", ref, **_fingerprint(number, version))
        unit.publish(f"policy:{ref}", "edited", version=number)
    else:
        _insist_changed(row, kept)
        await unit.connection.execute(
            policy_version.insert().values(
                policy_id=row["id"], number=number, author_id=unit.actor.id, created_at=unit.now, **version
            )
        )
        await _to_review(
            unit, figures, {**row, **_headline(kept), **version, "current_version": number}, amended=True
        )
    await unit.connection.execute(
        workflow.update().where(workflow.c.id == row["workflow_id"]).values(priority=kept.priority)
    )
    return number


async def submit(unit: Unit, figures: Figures, ref: str, *, revision: int | None = None) -> None:
    """Hand a draft in for review. From now on its text does not change."""
    row = await lock_policy(unit, ref, revision=revision)
    insist(may_edit(unit.actor, row["author_id"]))
    insist_takes(row["state"], "submit")
    if row["emergency"]:
        insist(may_declare_emergency(unit.actor))
    await _to_review(unit, figures, row)


async def withdraw(unit: Unit, ref: str, reason: str) -> None:
    """Take a policy back before it comes to a ballot."""
    row = await lock_policy(unit, ref)
    insist(may_edit(unit.actor, row["author_id"]))
    insist_takes(row["state"], "withdraw")
    said = check_reason(reason)
    await update_policy(unit, row, state=PolicyState.WITHDRAWN, state_reason=said, decided_at=unit.now)
    await stages.cancel(unit, row["workflow_id"])
    await unit.record("policy.withdrawn", ref, version=row["current_version"], personal={"reason": said})
    unit.publish(f"policy:{ref}", "withdrawn")


async def _accepted(unit: Unit, draft: PolicyDraft) -> PolicyDraft:
    check(draft)
    if draft.emergency:
        insist(may_declare_emergency(unit.actor))
    if draft.constitution:
        amendments.insist_current(unit, draft.constitution.base_sha256)
        await amendments.keep(unit)
    return normalised(draft)


async def _to_review(unit: Unit, figures: Figures, row: dict[str, Any], *, amended: bool = False) -> None:
    """Into review with the version that `row` names; the comment period runs from here, beside it (§ 4.8)."""
    if row["constitution_base_sha256"]:
        amendments.insist_current(unit, row["constitution_base_sha256"])
    ends_at = comment_end(unit.now, figures, row["strategy"], row["emergency"])
    headline = {key: row[key] for key in ("title", "summary", "category", "priority", "emergency",
                                          "requested_strategy", "current_version")}  # fmt: skip
    submitted = {} if amended else {"submitted_at": unit.now}
    await update_policy(
        unit,
        row,
        state=PolicyState.IN_REVIEW,
        state_reason=None,
        comment_ends_at=ends_at,
        **headline,
        **submitted,
    )
    await stages.enter(
        unit, row["workflow_id"], CreationStage.STAKEHOLDER_REVIEW, WorkflowStatus.WAITING_APPROVAL
    )
    done = "amended" if amended else "submitted"
    await unit.record(f"policy.{done}", row["ref"], **_fingerprint(row["current_version"], row))
    await validations.ask(unit, row, ValidationCause.SUBMITTED)
    unit.publish(f"policy:{row['ref']}", done, version=row["current_version"])


def rule_record(rule: RuleDraft | None) -> dict[str, Any] | None:
    """The rule as it is hashed."""
    return msgspec.to_builtins(rule) if rule else None


def _headline(kept: PolicyDraft) -> dict[str, Any]:
    """What of a draft stands on the policy itself."""
    return {
        "title": kept.title,
        "summary": kept.summary,
        "category": kept.category,
        "priority": kept.priority,
        "emergency": kept.emergency,
        "requested_strategy": kept.risk_strategy,
    }


def _version_values(ref: str, number: int, kept: PolicyDraft) -> dict[str, Any]:
    assessed: Risk = risk.assess(kept)
    rule = rule_record(kept.rule)
    document = kept.constitution
    return {
        "title": kept.title,
        "summary": kept.summary,
        "category": kept.category,
        "text": kept.text,
        "text_sha256": records.text_sha256(kept.text),
        "version_sha256": _version_sha256(ref, number, kept),
        "rule_engine": rule["engine"] if rule else None,
        "rule_source": rule["source"] if rule else None,
        "rule_examples": rule["examples"] if rule else sa.null(),
        "risk_level": assessed.level,
        "strategy": assessed.strategy,
        "risk_evidence": msgspec.to_builtins(assessed.evidence),
        "change_note": kept.change_note,
        "constitution_text": document.text if document else None,
        "constitution_sha256": amendments.sha256_of(document.text) if document else None,
        "constitution_base_sha256": document.base_sha256 if document else None,
    }


def _version_sha256(ref: str, number: int, kept: PolicyDraft) -> str:
    record = records.version_record(
        ref=ref,
        number=number,
        title=kept.title,
        summary=kept.summary,
        category=kept.category,
        text=kept.text,
        rule=rule_record(kept.rule),
        amends=kept.constitution
        and (amendments.sha256_of(kept.constitution.text), kept.constitution.base_sha256),
    )
    return records.sha256_hex(record)


def _insist_changed(row: dict[str, Any], kept: PolicyDraft) -> None:
    same_text = row["version_sha256"] == _version_sha256(row["ref"], row["current_version"], kept)
    if same_text and all(row[key] == value for key, value in _headline(kept).items()):
        raise Invalid("Nothing is different from the version that stands.", code="unchanged")


def _fingerprint(number: int, version: dict[str, Any]) -> dict[str, Any]:
    """What the audit trail keeps of a version: hashes, not the text."""
    return {
        "version": number,
        "text_sha256": version["text_sha256"],
        "version_sha256": version["version_sha256"],
        "strategy": str(version["strategy"]),
    }
