"""From rows to views: what several queries share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa

from workflows.kinds import AnchorKind, BallotState
from workflows.policy_creation.views import PersonView, PolicyItem
from workflows.storage.tables import anchor, ballot, person, policy, policy_version

T = TypeVar("T", bound=msgspec.Struct)


def build(view: type[T], row: Mapping[Any, Any], **others: Any) -> T:
    """A view from the columns of `row` that bear its fields' names, and from `others`; enums become enums."""
    fields = {name: row[name] for name in view.__struct_fields__ if name in row}
    return msgspec.convert({**fields, **others}, view)


def person_view(row: Mapping[Any, Any], role: str) -> PersonView:
    """From the columns `<role>_id`, `<role>_username` and `<role>_name`."""
    return PersonView(id=row[f"{role}_id"], username=row[f"{role}_username"], name=row[f"{role}_name"])


def person_columns(table: sa.FromClause, role: str) -> list[sa.ColumnElement[Any]]:
    return [table.c[name].label(f"{role}_{name}") for name in ("id", "username", "name")]


author = person.alias("author")


def item_statement() -> sa.Select:
    """Policies as lists show them, in one statement: with author, open ballot and the policy's own anchor."""
    standing = (policy_version.c.policy_id == policy.c.id) & (
        policy_version.c.number == policy.c.current_version
    )
    open_ballot = (
        (ballot.c.policy_id == policy.c.id)
        & (ballot.c.version == policy.c.current_version)
        & (ballot.c.state == BallotState.OPEN)
    )
    own_anchor = (
        (anchor.c.policy_id == policy.c.id)
        & (anchor.c.version == policy.c.current_version)
        & (anchor.c.kind == AnchorKind.POLICY)
    )
    p = policy.c
    return (
        sa.select(
            *(p.ref, p.title, p.summary, p.category, p.priority, p.state, p.emergency, p.updated_at),
            p.current_version.label("version"),
            policy_version.c.risk_level,
            policy_version.c.strategy,
            *person_columns(author, "author"),
            ballot.c.closes_at.label("ballot_closes_at"),
            anchor.c.state.label("anchor_state"),
        )
        .select_from(policy)
        .join(policy_version, standing)
        .join(author, author.c.id == p.author_id)
        .outerjoin(ballot, open_ballot)
        .outerjoin(anchor, own_anchor)
    )


def policy_item(row: Mapping[Any, Any]) -> PolicyItem:
    return build(PolicyItem, row, author=person_view(row, "author"))
