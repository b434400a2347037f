"""The unit of work: one transaction in which state, audit entry and follow-up job commit together.

Everything that changes something takes a `Unit`. The portal opens one per request or job, commits it, and
only then publishes the live events collected in it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import rfc8785
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection
from uuid_utils.compat import uuid7

from workflows.audit_transparency import personal as personal_words
from workflows.constitution.document import Constitution
from workflows.roles import SYSTEM, Actor
from workflows.storage.tables import audit_entry, governance_clock

__all__ = ["Event", "Unit", "governance_ground", "governance_now", "governance_time", "new_id"]

ENTRY_SCHEMA = "acgs.audit.entry/2"


def new_id() -> UUID:
    """A UUIDv7 (RFC 9562)."""
    return uuid7()


@dataclass(frozen=True)
class Event:
    """Something a page may want to show at once. Published after the commit, lost if nobody listens."""

    topic: str  # policy:POL-2026-0007, anchor:<id>, ballot:POL-…, chain, workflow:<id>
    type: str
    data: dict[str, Any] = field(default_factory=dict)


@dataclass
class Unit:
    """One transaction on `connection`, done for `actor` at governance time `now`."""

    connection: AsyncConnection
    now: datetime
    constitution_sha256: str
    actor: Actor = SYSTEM
    request_id: str = ""
    idempotency_key: str = ""  # as the client sent it
    # Enqueues a PgQueuer job inside this very transaction: (entrypoint, payload, wall-clock delay).
    enqueue_job: Callable[[AsyncConnection, str, bytes, timedelta], Awaitable[None]] | None = None
    constitution: Constitution | None = None  # the document of that hash; the portal's units have it
    events: list[Event] = field(default_factory=list)
    entries: int = 0

    def entry(
        self,
        type: str,
        subject: str,
        payload: dict[str, Any],
        *,
        secret: bool = False,
        id: UUID | None = None,
        personal: dict[str, str] | None = None,
    ) -> bytes:
        """The body of one audit entry, RFC 8785 canonical JSON (docs/audit.md). The payload must be plain JSON.

        `secret` is for a ballot: the entry names neither the voter nor the request they came by. `personal` holds
        commitments to words that are kept outside the log.
        """
        key = self.idempotency_key
        return rfc8785.dumps(
            {
                "schema": ENTRY_SCHEMA,
                "id": str(id or new_id()),
                "type": type,
                "subject": subject,
                "actor": "voter" if secret else self._pseudonym(),
                "at": rfc3339(self.now),
                "constitution_sha256": self.constitution_sha256,
                "request_id": "" if secret else self.request_id,
                "idempotency_key_sha256": ""
                if secret or not key
                else hashlib.sha256(key.encode()).hexdigest(),
                "payload": payload,
                "personal": personal or {},
            }
        )

    def _pseudonym(self) -> str:
        if self.actor.id is None:
            return self.actor.username  # system or visitor
        if not self.actor.pseudonym:
            raise RuntimeError("an actor comes with the pseudonym by which the audit trail names them")
        return self.actor.pseudonym

    async def record(
        self, type: str, subject: str, *, personal: dict[str, str] | None = None, **payload: Any
    ) -> None:
        """Append one audit entry: `type` as `policy.submitted`, `subject` as a human reference.

        `personal` are words of the actor's own. They are kept outside the log, which holds only a commitment to each.
        """
        id = new_id()
        committed = await personal_words.keep(self.connection, self.actor, id, personal) if personal else {}
        await self.connection.execute(
            audit_entry.insert().values(body=self.entry(type, subject, payload, id=id, personal=committed))
        )
        self.entries += 1

    async def enqueue(self, job: str, payload: dict[str, Any], *, due: datetime | None = None) -> None:
        """Have `job` run after this transaction commits, or at governance time `due`; at least once."""
        if self.enqueue_job is None:
            raise RuntimeError("this unit was opened without a job queue")
        delay = max(due - self.now, timedelta()) if due else timedelta()
        await self.enqueue_job(self.connection, job, json.dumps(payload).encode(), delay)

    def publish(self, topic: str, type: str, **data: Any) -> None:
        self.events.append(Event(topic, type, data))

    async def rows(self, statement: sa.Executable, **values: Any) -> list[sa.RowMapping]:
        return list((await self.connection.execute(statement, values or None)).mappings())

    async def row(self, statement: sa.Executable, **values: Any) -> sa.RowMapping | None:
        return (await self.connection.execute(statement, values or None)).mappings().one_or_none()


def rfc3339(moment: datetime) -> str:
    """UTC with microseconds and Z (RFC 3339)."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def governance_time() -> sa.ColumnElement[datetime]:
    """The governance clock in SQL: the database's wall clock plus what the demo has jumped ahead."""
    ahead = sa.select(governance_clock.c.ahead).where(governance_clock.c.id == 1).scalar_subquery()
    return sa.func.clock_timestamp() + sa.func.coalesce(ahead, timedelta())


async def governance_now(connection: AsyncConnection) -> datetime:
    return (await connection.execute(sa.select(governance_time()))).scalar_one()


async def governance_ground(connection: AsyncConnection) -> tuple[datetime, str | None]:
    """The governance time, and the SHA-256 of the document last adopted; None while none was.

    Until the transaction ends no other one is adopted: whoever adopts waits for it.
    """
    row = (await connection.execute(_GROUND)).one()
    return row.at, row.constitution_sha256


_GROUND = sa.text("SELECT at, constitution_sha256 FROM governance_ground()")
