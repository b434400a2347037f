"""Policy synthesis for pages and API: who drafts, how many at once, and how a candidate travels to where a person takes it."""

from __future__ import annotations

import asyncio

import msgspec

from portal.auth.tokens import seal, unseal
from workflows.errors import FieldError, Invalid, Unavailable
from workflows.policy_creation.synthesis import keeping, making
from workflows.policy_creation.synthesis.keeping import Taken
from workflows.policy_creation.synthesis.making import Parts
from workflows.policy_creation.synthesis.shapes import Synthesis, View, Wish
from workflows.roles import Actor
from workflows.storage.unit import Unit

AT_ONCE = 4  # in this process; each may have language models and engines at work
PURPOSE = "synthesis"
_room = asyncio.Semaphore(AT_ONCE)


class _Carried(View):
    """What is sealed: only whom it was made for can take it."""

    by: str
    taken: Taken


async def synthesise(wish: Wish, parts: Parts, secret: str, actor: Actor) -> Synthesis:
    """Candidates, each with a token by which this person can take it. Raises Invalid, Unavailable."""
    if _room.locked():
        raise Unavailable(
            "Several policies are being drafted just now. Try it again in a moment.", code="synthesis_busy"
        )
    async with _room:
        found = await making.synthesise(wish, parts)
    sealed = [
        msgspec.structs.replace(item, token=_sealed(secret, actor, Taken(wish=wish, candidate=item)))
        for item in found.candidates
    ]
    return msgspec.structs.replace(found, candidates=sealed)


def _sealed(secret: str, actor: Actor, taken: Taken) -> str:
    return seal(secret, PURPOSE, msgspec.json.encode(_Carried(by=str(actor.id), taken=taken)).decode())


def opened(secret: str, actor: Actor, token: str) -> Taken:
    """What a token of this person's carries. Raises Invalid for any other."""
    text = unseal(secret, PURPOSE, token) if token.isascii() else None
    carried = msgspec.json.decode(text, type=_Carried) if text is not None else None
    if carried is None or carried.by != str(actor.id):
        message = "This is no draft that was made for you here."
        raise Invalid(message, errors=(FieldError("/synthesis", message),))
    return carried.taken


async def take(unit: Unit, secret: str, ref: str, token: str) -> None:
    """Note that the policy was begun with what the token carries; nothing where there is none."""
    if token:
        await keeping.take(unit, ref, opened(secret, unit.actor, token))
