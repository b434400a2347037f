"""The constitution that this process governs by: the document last adopted, read anew as soon as another one is."""

from __future__ import annotations

import asyncio

import sqlalchemy as sa
import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from portal.live import Live
from workflows.constitution import amendments
from workflows.constitution.document import Constitution
from workflows.errors import GovernanceError
from workflows.storage.tables import amendment

log = structlog.get_logger(__name__)

AGAIN = 5.0  # seconds after a failure


class Governing:
    """`current` is what pages show and rules apply. Units are told by the database when they begin (`at`), so that
    nothing is decided under a document that is no longer in force, whatever this process has heard.
    """

    def __init__(self, configured: Constitution) -> None:
        self.configured = configured
        self.current = configured

    async def at(self, connection: AsyncConnection, adopted_sha256: str | None) -> Constitution:
        """The document in force, where the last one adopted has that hash."""
        unasked = (
            self.current is self.configured
        )  # whether the adopted documents lead from the configured one
        if adopted_sha256 is not None and (unasked or adopted_sha256 != self.current.sha256):
            self.current = await amendments.in_force(connection, self.configured)
            log.info("constitution_in_force", sha256=self.current.sha256, problem=self.current.problem)
        return self.current

    async def look(self, engine: AsyncEngine) -> None:
        """Raises what the database raises."""
        last = sa.select(amendment.c.sha256).order_by(amendment.c.number.desc()).limit(1)
        async with engine.connect() as connection:
            await self.at(connection, (await connection.execute(last)).scalar_one_or_none())

    async def follow(self, engine: AsyncEngine, live: Live) -> None:
        """For as long as the process lives: look when an adoption is told of, and now and then, as telling may be lost."""
        while True:
            try:
                async with live.listening([amendments.TOPIC], None) as events:
                    await self.look(engine)
                    async for _ in events:
                        await self.look(engine)
                return  # live ends with the process
            except (SQLAlchemyError, GovernanceError, OSError) as error:
                log.warning("constitution_not_looked_at", error=repr(error))
                await asyncio.sleep(AGAIN)
