"""`python -m portal` as these tests run it: `python -m tests.reliability.mortal`.

The supervisor is the portal's own. It starts a worker that dies on order, a local chain that is final within a
second, and whatever dies without growing pauses (they have a test of their own, on the portal as it is); and an empty
database gets a small assembly instead of the demonstration.
"""

from __future__ import annotations

import sys
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from portal import supervisor
from portal.__main__ import main
from portal.auth import sessions
from portal.demo.people import PERSONAS, members
from portal.settings import Settings
from tests.conftest import arranged
from workflows.constitution.document import Constitution
from workflows.roles import Role
from workflows.storage.tables import organisation, person
from workflows.storage.unit import new_id

MEMBERS = 40
FAST = ["--slot-ms", "50", "--finality-slots", "6"]
children = supervisor._children


class Spry(supervisor.Child):
    def tend(self) -> None:
        self.deaths = 0
        super().tend()


def spry_children(settings: Settings) -> list[supervisor.Child]:
    found = children(settings)
    for child in found:
        if child.arguments[0] == "chain.localnet":
            child.arguments += FAST
        if child.arguments == ["portal", "worker"]:
            child.arguments = ["tests.reliability.mortal_worker", str(settings.data_dir / "orders")]
    return found


async def gather(engine: AsyncEngine, _: Constitution) -> bool:
    """The personas and forty members, each with a session; False where there are people already."""
    async with engine.begin() as connection:
        if (await connection.execute(sa.select(sa.func.count()).select_from(person))).scalar_one():
            return False
        await arranged(connection)
        await connection.execute(
            organisation.insert().values(id=1, name="Mortal Assembly", description="For tests.")
        )
        people = [(p.username, p.name, p.roles, p.expertise, p.about) for p in PERSONAS]
        people += [(username, name, (Role.MEMBER,), (), None) for username, name in members()[:MEMBERS]]
        for username, name, roles, expertise, about in people:
            id = new_id()
            await connection.execute(
                person.insert().values(
                    id=id,
                    username=username,
                    name=name,
                    roles=list(roles),
                    expertise=list(expertise),
                    persona=about,
                    created_at=sa.func.clock_timestamp(),
                )
            )
            await sessions.create(connection, id, "bearer", timedelta(days=1))
    return True


if __name__ == "__main__":
    supervisor.Child, supervisor._children, supervisor.seed = Spry, spry_children, gather  # type: ignore[assignment, misc]
    main(sys.argv[1:])
