"""How people and machines agree: what people said of findings and of verdicts, over time."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.constitutional_compliance.people_queries import words
from workflows.constitutional_compliance.views import (
    AccuracyPoint,
    AccuracyView,
    Disagreement,
    PrincipleAgreement,
)
from workflows.kinds import Compliance, LabelKind
from workflows.policy_creation.rows import build, person_columns, person_view
from workflows.policy_creation.views import Page
from workflows.storage import tables as t
from workflows.storage.paging import page_of

# A finding says that a clause breaks a principle; who labels it “breaks” agrees.
_AGREED = sa.func.count().filter(t.compliance_label.c.label == LabelKind.BREAKS)


async def accuracy(connection: AsyncConnection, measured: dict) -> AccuracyView:
    """What was `measured` of the heads in use ({}: nothing), and what people say of what machines found."""
    c = t.compliance_label.c
    labelled = c.validation_id.is_not(None)
    week = sa.func.date_trunc("week", c.made_at, "UTC").label("week")
    weekly = sa.select(week, sa.func.count(), _AGREED).where(labelled).group_by(week).order_by(week)
    points = [
        AccuracyPoint(since=row[0], answered=row[1], agreed=row[2])
        for row in await connection.execute(weekly)
    ]
    each = (
        sa.select(c.principle, sa.func.count(), _AGREED)
        .where(labelled)
        .group_by(c.principle)
        .order_by(c.principle)
    )
    answered, agreed = sum(point.answered for point in points), sum(point.agreed for point in points)
    total = (
        await connection.execute(sa.select(sa.func.count()).select_from(t.compliance_label))
    ).scalar_one()
    return AccuracyView(
        measured=measured,
        points=points,
        answered=answered,
        agreed=agreed,
        percent=100 * agreed / answered if answered else None,
        labels=total,
        by_principle=[
            PrincipleAgreement(principle=row[0], labelled=row[1], agreed=row[2])
            for row in await connection.execute(each)
        ],
    )


async def disagreements(
    connection: AsyncConnection, *, limit: int = 50, cursor: str | None = None
) -> Page[Disagreement]:
    """Where the council overrode a finding, or people who were asked found a breach: newest first.

    A version that people were asked about has no verdict to differ from; that they found a breach is what machines missed.
    """
    v, q = t.validation.c, t.compliance_question.c
    decider = t.person.alias("decider")
    at = sa.func.coalesce(v.overridden_at, q.decided_at)
    query = (
        sa.select(
            v.id,
            v.ref.label("validation"),
            v.verdict,
            v.score,
            t.policy.c.ref.label("policy_ref"),
            t.policy.c.title.label("policy_title"),
            sa.case((v.overridden_at.is_not(None), sa.literal("override")), else_=sa.literal("answer")).label("how"),
            sa.case((v.overridden_at.is_not(None), sa.literal(str(Compliance.COMPLIANT))), else_=q.answer).label("answer"),
            at.label("decided_at"),
            *person_columns(decider, "decider"),
        )
        .join(t.policy, t.policy.c.id == v.policy_id)
        .outerjoin(t.compliance_question, q.validation_id == v.id)
        .outerjoin(decider, decider.c.id == q.decided_by)
        .where(
            sa.or_(
                v.overridden_at.is_not(None),
                sa.and_(q.answer.is_not(None), q.answer != v.verdict, q.answer == Compliance.NON_COMPLIANT),
                sa.and_(q.answer == Compliance.COMPLIANT, v.verdict == Compliance.NON_COMPLIANT),
            )
        )
    )  # fmt: skip
    rows, after, before = await page_of(connection, query, at, v.id, limit=limit, cursor=cursor)
    answers = [row["policy_ref"] for row in rows if row["how"] == "answer"]
    said = await words(connection, "compliance.answered", answers)
    items = [
        build(
            Disagreement,
            row,
            decided_by=person_view(row, "decider") if row["decider_id"] and row["how"] == "answer" else None,
            reason=said.get((row["validation"], "")),
        )
        for row in rows
    ]
    return Page(items=items, next=after, prev=before, limit=limit, has_more=after is not None)
