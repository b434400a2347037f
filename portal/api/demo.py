"""The demonstration's clock for programs; elsewhere it does not exist."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from litestar import post
from litestar.di import NamedDependency
from litestar.params import JSONBody
from msgspec import Meta

from portal.api.answers import problems
from portal.api.bodies import Input, StrictJSON
from portal.auth.guards import public
from portal.clock import advance, read_duration
from portal.pages.demo import insist_on_demo
from portal.settings import Settings
from workflows.constitution.document import Constitution
from workflows.storage.unit import Unit


class Advance(Input):
    advance: Annotated[str, Meta(description="An ISO 8601 duration.", examples=["P7D"])]


class Clock(msgspec.Struct):
    """Governance time, in which ballots open and close."""

    now: datetime


@post(
    "/api/v1/demo/clock",
    guards=[public],
    dto=StrictJSON,
    status_code=200,
    tags=["Demonstration"],
    summary="Move the clock forward",
    description="For all processes at once, so that a seven-day ballot can be walked in a minute.",
    responses=problems(404, 413, 415, 422),
)
async def clock(
    data: JSONBody[Advance],
    unit: NamedDependency[Unit],
    settings: NamedDependency[Settings],
    constitution: NamedDependency[Constitution],
) -> Clock:
    insist_on_demo(settings)
    await advance(unit, constitution, read_duration(data.advance))
    return Clock(now=unit.now)


routes = [clock]
