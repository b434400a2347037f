"""The start page and the inbox."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get
from litestar.di import NamedDependency
from sqlalchemy.ext.asyncio import AsyncConnection

from portal.auth.guards import public, signed_in
from portal.live import MOST_TOPICS
from portal.pages.render import fragment, page
from portal.services import services
from workflows.kinds import PolicyState
from workflows.policy_creation import queries
from workflows.policy_creation.views import InboxItem
from workflows.roles import Actor, may_propose
from workflows.storage.unit import governance_time

SHOWN = 6
WAITS = {
    "review": {"word": "Review", "glyph": "eye", "tab": "/review", "verb": "Comments end"},
    "vote": {"word": "Vote", "glyph": "ballot", "tab": "/ballot", "verb": "The ballot closes"},
    "returned": {"word": "Mend", "glyph": "return", "tab": "/edit", "verb": "Due"},
    "compliance": {"word": "Decide", "glyph": "scales", "tab": "/compliance", "verb": "To be decided"},
    "stopped": {"word": "Mend", "glyph": "ban", "tab": "/compliance", "verb": "Due"},
    "override": {"word": "Decide", "glyph": "scales", "tab": "/compliance", "verb": "To be decided"},
    "violation": {"word": "Answer", "glyph": "warning", "tab": "", "verb": "Due"},
    "restricted": {"word": "Restricted", "glyph": "lock", "tab": "", "verb": "It ends"},
    "appeal": {"word": "Judge", "glyph": "scales", "tab": "", "verb": "Due"},
}


@get("/", guards=[public])
async def home(
    request: Request, reader: NamedDependency[AsyncConnection], actor: NamedDependency[Actor | None]
) -> Response:
    counts = await queries.figures_counts(reader)
    voting = await queries.policies(reader, state=PolicyState.VOTING, limit=SHOWN)
    enacted = await queries.policies(reader, state=PolicyState.ENACTED, limit=SHOWN)
    return page(
        request,
        "pages/home.html",
        title="Start",
        figures=_figures(counts),
        open_ballots=voting.items,
        enacted=enacted.items,
        **(await _waiting(request, reader, actor) if actor else {}),
        may_propose=may_propose(actor),
    )


@get("/inbox", guards=[signed_in])
async def inbox(
    request: Request, reader: NamedDependency[AsyncConnection], actor: NamedDependency[Actor]
) -> Response:
    waiting = await _waiting(request, reader, actor)
    if request.headers.get("HX-Target") == "inbox":
        return fragment(request, "fragments/inbox.html", **waiting)
    return page(request, "pages/inbox.html", title="Inbox", **waiting)


async def _waiting(request: Request, reader: AsyncConnection, actor: Actor) -> dict[str, Any]:
    """What waits for `actor`, and the topics whose events change that."""
    constitution = services(request).constitution
    items = await queries.inbox(reader, actor, constitution.sha256, governance_time())
    topics = sorted({"clock", *(_about(item) for item in items[: MOST_TOPICS - 1])})
    return {"waiting": [_worded(item) for item in items], "topics": " ".join(topics)}


def _about(item: InboxItem) -> str:
    """The topic that speaks when something about the item changes."""
    return f"{'violation' if item.ref.startswith('VIO-') else 'policy'}:{item.ref}"


def _worded(item: InboxItem) -> dict[str, Any]:
    words = WAITS[item.kind]
    return {
        **words,
        "href": f"/{'violations' if item.ref.startswith('VIO-') else 'policies'}/{item.ref}{words['tab']}",
        "ref": item.ref,
        "title": item.title,
        "text": item.text,
        "due": item.due,
    }


def _figures(counts: dict[str, Any]) -> list[dict[str, Any]]:
    """Only what leads to the very rows that were counted."""
    states = counts["policies"]
    return [
        {"value": states["enacted"], "label": "policies in force", "href": "/policies?state=enacted"},
        {"value": states["in_review"], "label": "under review", "href": "/policies?state=in_review"},
        {"value": counts["open_ballots"], "label": "open ballots", "href": "/policies?state=voting"},
        {"value": states["rejected"], "label": "rejected", "href": "/policies?state=rejected"},
        {"value": counts["anchored"], "label": "records final on Solana", "href": "/chain"},
    ]


routes: list = [home, inbox]
