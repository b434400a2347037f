"""Fill an empty database with the demo: every policy goes through the same commands that people use.

Only the clock is borrowed: each command runs at the governance time at which it would have happened. Counts,
hashes, receipts and audit entries are the commands' own, and the anchors are sent to the chain for real.
"""

from __future__ import annotations

import random
import tomllib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from portal.auth.passwords import hash_password
from portal.demo import actions
from portal.demo.people import PASSWORD, PERSONAS, members
from workflows.constitution.document import Constitution
from workflows.constitutional_compliance import gate, overrides, questions, validations
from workflows.constitutional_compliance.analysis import Judge, LocalJudge
from workflows.constitutional_compliance.findings import Subject
from workflows.constitutional_compliance.labels import Labelled
from workflows.constitutional_compliance.reading import read
from workflows.kinds import Choice, Decision, LabelKind
from workflows.policy_creation import ballots, discussion, drafts, implementation, reviews
from workflows.policy_creation.views import PolicyDraft, RuleDraft
from workflows.policy_enforcement import rules
from workflows.policy_enforcement.engines.pool import EnginePool
from workflows.policy_enforcement.rulebook import Rulebook
from workflows.roles import SYSTEM, Actor, Role
from workflows.storage import tables
from workflows.storage.unit import Unit, governance_now, new_id

POLICIES = Path(__file__).with_name("policies")
ORGANISATION = (
    "Open Commons Assembly",
    "A members' association that runs shared data and AI systems, and makes the rules for them together.",
)
READ = "I read it against the principles, clause by clause, and it breaks none of them."
SEED_LOCK = 8008_0001


async def seed(engine: AsyncEngine, constitution: Constitution) -> bool:
    """Load the demo into an empty database, in one transaction. Returns False where there is data already."""
    async with engine.begin() as connection:
        await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(SEED_LOCK)))
        if (await connection.execute(sa.select(sa.func.count()).select_from(tables.person))).scalar_one():
            return False
        now = await governance_now(connection)
        await _organisation(connection)
        people = await _people(connection, constitution, now)
        electorate = [actor for actor in people.values() if Role.MEMBER in actor.roles]
        engines = EnginePool()
        judge = LocalJudge(engine=engines)
        try:
            stories = list(_stories())
            await judge.models.see(_passages(stories))
            for story in stories:
                await _Story(connection, constitution, people, electorate, now, story, engines, judge).play()
            await actions.record(connection, constitution, people["jon"], now, engines)
        finally:
            await judge.close()
            await engines.close()
    return True


def _stories() -> Iterator[dict[str, Any]]:
    """Each file is TOML between two lines of +++ (who did what, when) and the policy's text below."""
    for file in sorted(POLICIES.glob("*.md")):
        _, head, text = file.read_text(encoding="utf-8").split("+++\n", 2)
        yield {**tomllib.loads(head), "text": text.strip() + "\n"}


def _passages(stories: list[dict[str, Any]]) -> list[str]:
    """What of all stories is read when they are judged: a model reads them together much faster than one by one."""
    subjects = (Subject(story["title"], story["text"], story["summary"]) for story in stories)
    return [place.text for subject in subjects for place in read(subject).legible]


async def _organisation(connection: AsyncConnection) -> None:
    name, description = ORGANISATION
    await connection.execute(tables.organisation.insert().values(id=1, name=name, description=description))


async def _people(connection: AsyncConnection, constitution: Constitution, now: datetime) -> dict[str, Actor]:
    joined = now - timedelta(days=400)
    common = {"active": True, "created_at": joined}
    hashed = hash_password(PASSWORD)
    rows = [
        {
            "id": new_id(), "username": p.username, "name": p.name, "roles": list(p.roles), "persona": p.about,
            "expertise": list(p.expertise), "languages": list(p.languages), "password_hash": hashed, **common,
        }
        for p in PERSONAS
    ] + [
        {
            "id": new_id(), "username": username, "name": name, "roles": [Role.MEMBER], "persona": None,
            "expertise": [], "languages": ["en"], "password_hash": None, **common,
        }
        for username, name in members()
    ]  # fmt: skip
    await connection.execute(tables.person.insert(), rows)
    s = tables.audit_subject.c
    named = {row[0]: row[1] for row in await connection.execute(sa.select(s.person_id, s.pseudonym))}
    unit = Unit(connection, joined, constitution.sha256)
    added = [
        unit.entry("person.added", f"person:{named[row['id']]}", {"roles": sorted(row["roles"])})
        for row in rows
    ]
    await connection.execute(tables.audit_entry.insert(), [{"body": body} for body in added])
    return {
        row["username"]: Actor(
            row["id"],
            row["username"],
            row["name"],
            frozenset(row["roles"]),
            frozenset(row["expertise"]),
            pseudonym=str(named[row["id"]]),
        )
        for row in rows
    }


async def _no_job(connection: AsyncConnection, job: str, payload: bytes, delay: timedelta) -> None:
    """The worker's sweep finds what is due; jobs dated in the past would only wake it for nothing."""


def _labels(result: dict[str, Any], said: dict[str, str]) -> list[Labelled]:
    """What a story says of passages, as what is said of the findings about them."""
    return [
        Labelled(number, LabelKind(label))
        for number, finding in enumerate(result["findings"])
        for part, label in said.items()
        if finding["span"] and part in finding["span"]["quote"]
    ]


class _Story:
    """One policy's history: `play` walks it as far as its story goes."""

    def __init__(
        self,
        connection: AsyncConnection,
        constitution: Constitution,
        people: dict[str, Actor],
        electorate: list[Actor],
        now: datetime,
        story: dict[str, Any],
        engines: EnginePool,
        judge: Judge,
    ) -> None:
        self.judge = judge
        self.connection, self.constitution, self.people = connection, constitution, people
        self.electorate, self.now, self.story = electorate, now, story
        self.figures = constitution.figures
        self.clock = now - timedelta(days=story["days_ago"], minutes=90)
        self.chance = random.Random(story["title"])  # noqa: S311  the demo's own dice, the same each time
        self.ref = ""
        self.rulebook = Rulebook(engines, self._units)

    @asynccontextmanager
    async def _units(self) -> AsyncIterator[Unit]:
        """The seed is one transaction, in which engines and the judge are asked as well: nobody waits for it."""
        yield self.unit(SYSTEM)

    def unit(self, who: str | Actor, **later: float) -> Unit:
        """A unit for `who`, so much later than the last one, never in the future."""
        self.clock = min(self.clock + timedelta(**later), self.now)
        actor = self.people[who] if isinstance(who, str) else who
        return Unit(
            connection=self.connection,
            now=self.clock,
            constitution_sha256=self.constitution.sha256,
            actor=actor,
            request_id="demo",
            enqueue_job=_no_job,
        )

    def draft(self, **changed: Any) -> PolicyDraft:
        s = self.story
        fields = {
            "title": s["title"],
            "summary": s["summary"],
            "text": s["text"],
            "category": s["category"],
            "priority": s["priority"],
            "risk_strategy": s.get("risk_strategy"),
            "rule": RuleDraft(**s["rule"]) if "rule" in s else None,
        }
        return PolicyDraft(**{**fields, **changed})

    async def play(self) -> None:
        s, end = self.story, self.story["story"]
        author = s["author"]
        self.ref = await drafts.create(self.unit(author), self.figures, self.draft(), submit=end != "draft")
        await self._judge()
        for comment in s["comments"]:
            await discussion.comment(self.unit(comment["by"], minutes=7), self.ref, comment["text"])
        for review in s["reviews"]:
            await self._review(review)
        if "rule" in s:
            await rules.judge_waiting(self.rulebook)
        if end == "in_review_amended":
            await self._amend()
        elif end == "withdrawn":
            await drafts.withdraw(self.unit(author, hours=5), self.ref, s["withdraw"])
        if "votes" in s:
            await self._vote()
        if end == "suspended":
            suspend = s["suspend"]
            await implementation.suspend(self.unit(suspend["by"], days=3), self.ref, suspend["reason"])

    async def _review(self, review: dict[str, str]) -> None:
        await reviews.decide(
            self.unit(review["by"], minutes=11),
            self.figures,
            self.ref,
            Decision(review.get("decision", "approve")),
            review["reason"],
            (await self._version())["version_sha256"],
        )

    async def _amend(self) -> None:
        amended = self.story["amended"]
        text = self.story["text"].replace(*amended["replace"])
        draft = self.draft(text=text, change_note=amended["note"])
        await drafts.amend(self.unit(self.story["author"], hours=20), self.figures, self.ref, draft)
        await self._judge()

    async def _judge(self) -> None:
        """What was handed in is held against the constitution; where people are asked, one who was decides.

        A story says under `compliance` what, why, and what passages do (by a part of them); a version that is to stay
        undecided has `compliance = "open"`. Under `overrides` members of the council say what they do of what was stopped.
        """
        await validations.assess_waiting(self._units, self.judge, self.constitution)
        said = self.story.get("compliance", {"answer": "compliant", "reason": READ})
        for question in await self._questions() if said != "open" else []:
            by = next(actor for actor in self.people.values() if actor.id == question["person_id"])
            given = _labels(question["result"], said.get("labels", {}))
            await questions.answer(
                self.unit(by, minutes=25), question["id"], said["answer"], said["reason"], given
            )
            await validations.assess_waiting(self._units, self.judge, self.constitution)
        for each in self.story.get("overrides", []):
            stopped = (await gate.stands(self.unit(SYSTEM), self.ref)).validation
            unit = self.unit(each["by"], hours=3)
            await overrides.vote(unit, self.figures, str(stopped), each["support"], each["reason"])

    async def _questions(self) -> list[sa.RowMapping]:
        """Those about this policy that are open, each with the first of those who were asked."""
        q, a, v = tables.compliance_question.c, tables.compliance_asked.c, tables.validation.c
        first = sa.select(a.person_id).where(a.question_id == q.id).order_by(a.person_id).limit(1)
        statement = (
            sa.select(q.id, v.result, first.scalar_subquery().label("person_id"))
            .join(tables.validation, v.id == q.validation_id)
            .join(tables.policy, tables.policy.c.id == v.policy_id)
            .where(tables.policy.c.ref == self.ref, q.decided_at.is_(None))
        )
        return list((await self.connection.execute(statement)).mappings())

    async def _version(self) -> sa.RowMapping:
        version, policy = tables.policy_version, tables.policy
        statement = (
            sa.select(version)
            .join(
                policy, (policy.c.id == version.c.policy_id) & (policy.c.current_version == version.c.number)
            )
            .where(policy.c.ref == self.ref)
        )
        return (await self.connection.execute(statement)).mappings().one()

    async def _ballot(self) -> sa.RowMapping | None:
        statement = (
            sa.select(tables.ballot)
            .join(tables.policy, tables.policy.c.id == tables.ballot.c.policy_id)
            .where(tables.policy.c.ref == self.ref)
        )
        return (await self.connection.execute(statement)).mappings().one_or_none()

    async def _vote(self) -> None:
        """Open the ballot when its time has come, cast the votes evenly over it, close it if it is over."""
        if (ballot := await self._ballot()) is None:
            self.clock = max(self.clock, (await self._policy())["comment_ends_at"] + timedelta(seconds=1))
            await ballots.open_due(self.unit(SYSTEM), self.figures)
            ballot = await self._ballot()
        assert ballot is not None, f"the ballot of {self.ref} did not open"
        choices = self._choices(ballot["electorate"], ballot["quorum_percent"])
        until = min(ballot["closes_at"], self.now) - timedelta(minutes=5)
        step = (until - self.clock) / max(len(choices), 1)
        for voter, choice in choices:
            await ballots.cast(
                self.unit(voter, seconds=step.total_seconds()), self.ref, choice, ballot["version_sha256"]
            )
        if ballot["closes_at"] <= self.now:
            self.clock = ballot["closes_at"]
            await ballots.close_due(self.unit(SYSTEM, seconds=1), self.figures)

    async def _policy(self) -> sa.RowMapping:
        statement = sa.select(tables.policy).where(tables.policy.c.ref == self.ref)
        return (await self.connection.execute(statement)).mappings().one()

    def _choices(self, electorate: int, quorum_percent: int) -> list[tuple[Actor, Choice]]:
        """Who votes what. Only members without a persona: a newcomer's persona has its vote left to cast."""
        votes: Any = self.story["votes"]
        if votes == "one_short_of_quorum":
            needed = -(-quorum_percent * electorate // 100)
            votes = {"for": needed - 4, "abstain": 3, "against": 6}
        voters = [actor for actor in self.electorate if actor.username.startswith("member")]
        wanted = [Choice(choice) for choice, count in votes.items() for _ in range(count)]
        self.chance.shuffle(wanted)
        return list(zip(self.chance.sample(voters, len(wanted)), wanted, strict=True))
