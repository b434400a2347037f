"""Serves the gallery of every component through the real frame, static files and WebSocket, for test_design.py and for the eye.

`python -m tests.portal.gallery` serves it on a free loopback port and prints the address.
"""

import asyncio
import socket
import threading
from collections.abc import AsyncGenerator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import uvicorn
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar import Litestar, Request, Response, get, post, websocket_stream
from litestar.params import FromPath, FromQuery
from litestar.static_files import create_static_files_router

from portal.pages import judgement
from portal.pages.filters import FILTERS
from portal.static_files import static_url
from tests.portal import judged
from workflows.constitution.document import load

ROOT = Path(__file__).parents[2]
POLICY = (
    "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
NOW = datetime(2026, 11, 23, 10, 42, tzinfo=UTC)
DIGEST = sha256(b"a policy's text").hexdigest()
KINDS = {
    "policy": "draft in_review returned public_comment voting approved rejected enacted suspended repealed withdrawn",
    "anchor": "queued submitted confirmed finalized failed",
    "workflow": "pending initiated in_progress waiting_approval approved executing completed failed cancelled timeout",
    "check": "pass fail pending absent",
    "tier": "standard enhanced_validation multi_model_consensus human_review",
    "risk": "low medium high critical",
    "priority": "low normal high critical",
    "review": "approve return reject pending void",
    "choice": "for against abstain",
    "outcome": "passed failed no_quorum open",
    "compliance": "compliant requires_review non_compliant",
    "validation": "waiting retrying judged failed called_off",
    "label": "breaks honours neutral",
    "category": "constitutional safety governance financial never_heard_of",
}


def environment() -> Environment:
    env = Environment(
        loader=FileSystemLoader([ROOT / "templates", Path(__file__).parent]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    env.filters |= FILTERS
    env.globals["static_url"] = static_url
    return env


def frame(theme: str = "auto", direction: str = "ltr", signed_in: bool = True) -> dict:
    """What every page gets from the portal's renderer (docs/design.md), with values of a demonstration."""
    people = [
        {"username": "ada", "name": "Ada Lindqvist", "role_text": "member"},
        {"username": "lea", "name": "ليا حداد", "role_text": "member"},
    ]
    return {
        "title": "Gallery",
        "actor": {"id": "1", "name": "Ada Lindqvist", "username": "ada", "roles": ["member", "drafter"]}
        if signed_in
        else None,
        "organisation": {"name": "Open Models Foundation"},
        "demo": {"personas": people, "clock_offset_text": "3 days ahead", "now": NOW},
        "constitution": {"label": DIGEST[:16], "sha256": DIGEST, "matches_chain": True, "problem": None},
        "nav": [
            {"href": "/gallery", "text": "Policies", "current": True},
            *(
                {"href": f"/{t.lower()}", "text": t, "current": False}
                for t in ("Votes", "Reviews", "Constitution", "Transparency", "Chain")
            ),
        ],
        "inbox_count": 2,
        "csrf_token": "token",
        "theme": theme,
        "now": NOW,
        "alerts": [
            {
                "severity": "warning",
                "message": "Anchoring waits: the chain does not answer.",
                "href": "/chain",
            }
        ],
        "flash": [{"kind": "success", "text": "Draft saved."}],
        "locale": "ar" if direction == "rtl" else "en",
        "dir": direction,
    }


def samples() -> dict:
    """Something for every macro, in the shapes docs/design.md gives."""
    past, soon, later = NOW - timedelta(hours=30), NOW + timedelta(hours=6), NOW + timedelta(days=5)
    other = DIGEST[:22] + "00" + DIGEST[24:]
    titles = ["Draft", "Review", "Comment", "Voting", "In force"]
    statuses = ["done", "done", "done", "current", "future"]
    return {
        **judgement.shown(load(), judged.result(), judged.TEXT),
        "curve": [
            {"coverage": share, "risk": share**3 / 12, "low": share**3 / 20, "high": share**3 / 8}
            for share in (0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
        ],
        "weeks": [
            {"since": NOW - timedelta(days=7 * ago), "answered": ago % 3 * 2, "agreed": ago % 3}
            for ago in (3, 2, 1, 0)
        ],
        "past": past,
        "soon": soon,
        "later": later,
        "digest": DIGEST,
        "kinds": {kind: values.split() for kind, values in KINDS.items()},
        "steps": [
            {"title": t, "status": s, "at": past if s == "done" else None}
            for t, s in zip(titles, statuses, strict=True)
        ],
        "events": [
            {
                "title": "Draft submitted",
                "status": "done",
                "at": past,
                "actor": "Chidi Okafor",
                "href": "/gallery",
            },
            {
                "title": "Returned",
                "status": "failed",
                "at": past,
                "actor": "Dana Kim",
                "detail": "Article 2 does not say who publishes.",
            },
            {"title": "Ballot open", "status": "current", "at": NOW},
            {"title": "Ballot closes", "status": "future", "at": soon},
            {"title": "In force and on the chain", "status": "future"},
        ],
        "diff_rows": [
            {"kind": "skip", "count": 4, "old_no": None, "new_no": None, "old": None, "new": None},
            {
                "kind": "same",
                "old_no": 5,
                "new_no": 5,
                "old": [(False, "The operator keeps every record of an evaluation.")],
                "new": [(False, "The operator keeps every record of an evaluation.")],
            },
            {
                "kind": "changed",
                "old_no": 6,
                "new_no": 6,
                "old": [(False, "Records are kept for "), (True, "two"), (False, " years.")],
                "new": [(False, "Records are kept for "), (True, "five"), (False, " years.")],
            },
            {
                "kind": "removed",
                "old_no": 7,
                "new_no": None,
                "old": [(True, "Digests are kept in the archive.")],
                "new": None,
            },
            {
                "kind": "added",
                "old_no": None,
                "new_no": 7,
                "old": None,
                "new": [(True, "Digests are published within ten days.")],
            },
        ],
        "checks": [
            {
                "title": "The text is the text that was voted on",
                "state": "pass",
                "detail": "SHA-256 of the published bytes against the ballot’s.",
                "compared": {
                    "left_label": "Published text",
                    "left": DIGEST,
                    "right_label": "Ballot",
                    "right": DIGEST,
                },
            },
            {
                "title": "The record on the chain names this text",
                "state": "fail",
                "detail": "The account holds another hash.",
                "compared": {
                    "left_label": "Published text",
                    "left": DIGEST,
                    "right_label": "Account on the chain",
                    "right": other,
                },
                "links": [{"href": "https://explorer.solana.com/", "text": "Solana explorer"}],
            },
            {"title": "The tally recounts", "state": "pending", "detail": "The ballot is open."},
            {
                "title": "The executable rule",
                "state": "absent",
                "compared": {
                    "left_label": "Published",
                    "left": None,
                    "right_label": "Chain",
                    "right": DIGEST,
                },
            },
        ],
        "anchor": {
            "state": "confirmed",
            "signature": "5VERv8NMvzbJMEkV8xnrLkEaWRtSz9CosKDYjCJjBRnbJLgp8uirBgmQpjKhoR4tjF3ZpRzrFmBV6UjKdiSZkQUW",
            "slot": 4711,
            "cluster": "localnet",
            "queued_at": past,
            "submitted_at": past,
            "confirmed_at": past,
        },
        "errors": {"title": "Give a title of at least 8 letters.", "category": "Choose a category."},
        "rows": [
            {
                "ref": "POL-2026-0007",
                "title": "Retention of model evaluation records",
                "state": "voting",
                "closes_at": soon,
                "ballots": 29,
            },
            {
                "ref": "POL-2026-0004",
                "title": "حماية بيانات الأعضاء",
                "state": "enacted",
                "closes_at": past,
                "ballots": 182,
            },
            {
                "ref": "POL-2026-0009",
                "title": "Spending above 10,000 needs two signatures",
                "state": "draft",
                "closes_at": None,
                "ballots": 0,
            },
        ],
    }


TEMPLATES = environment()
said: asyncio.Queue  # what the WebSocket is to say next; made with the loop


def page(template: str, **context) -> Response:
    body = TEMPLATES.get_template(template).render(**context)
    return Response(body, media_type="text/html", headers={"Content-Security-Policy": POLICY})


@get("/gallery", sync_to_thread=False)
def gallery(
    request: Request,
    theme: FromQuery[str] = "auto",
    direction: FromQuery[str] = "ltr",
    signed_in: FromQuery[bool] = True,
) -> Response:
    return page("gallery.html", request=request, **frame(theme, direction, signed_in), **samples())


@get("/gallery/error/{status:int}", sync_to_thread=False)
def error(request: Request, status: FromPath[int]) -> Response:
    problem = {
        "status": status,
        "title": "There is no such page",
        "detail": "No policy has the reference POL-2026-9999.",
        "code": "not_found",
        "trace_id": "4bf92f3577b34da6",
    }
    return page("pages/error.html", request=request, error=problem, **frame())


@get("/gallery/fragment", sync_to_thread=False)
def fragment() -> Response:
    macros = TEMPLATES.get_template("components/record.html").module
    anchor = samples()["anchor"] | {"state": "finalized", "finalized_at": NOW}
    inner = macros.chain_progress(anchor, NOW)
    live = '<div id="anchor-7" class="live-region" data-live="anchor:7" hx-get="/gallery/fragment" hx-trigger="live" hx-swap="morph:outerHTML">'
    return Response(f"{live}{inner}</div>", media_type="text/html")


@post("/gallery/conflict", status_code=409, sync_to_thread=False)
def conflict(request: Request) -> Response:
    macros = TEMPLATES.get_template("components/page.html").module
    seen = request.headers.get("x-csrftoken", "")
    return Response(
        macros.problem({"status": 409, "title": "The text has changed", "detail": f"csrf {seen}"}),
        media_type="text/html",
        status_code=409,
    )


@post("/gallery/say", sync_to_thread=False)
def say(topic: FromQuery[str]) -> None:
    said.put_nowait({"topic": topic})


@websocket_stream("/ws", warn_on_data_discard=False)
async def live(topics: FromQuery[str]) -> AsyncGenerator[dict, None]:
    """Says what /gallery/say was told; the topic "close" ends the connection."""
    while (message := await said.get())["topic"] != "close":
        yield message


async def _start() -> None:
    global said
    said = asyncio.Queue()


def application() -> Litestar:
    static = create_static_files_router("/static", directories=[ROOT / "static"])
    return Litestar(
        [gallery, error, fragment, conflict, say, live, static], on_startup=[_start], openapi_config=None
    )


@contextmanager
def serving():
    """The gallery on a free loopback port; yields its address."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(application(), log_level="warning", ws="websockets-sansio"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)


if __name__ == "__main__":
    with serving() as address:
        print(f"{address}/gallery")
        threading.Event().wait()
