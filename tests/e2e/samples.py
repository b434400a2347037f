"""Every page there is, as addresses into the demonstration: which persona to see it as, and where."""

from __future__ import annotations

from typing import Any

import httpx

from tests.e2e.running import Portal

# Addresses people do not read as pages, though they are asked for by GET.
NOT_PAGES = (
    "/api/v1/",
    "/static/",
    "/healthz",
    "/readyz",
    "/metrics",
    "/constitution/document",
    "/policies/{ref:str}/results/openings.json",
    "/audit/checkpoint",
    "/audit/key",
    "/audit/tile/",
    "/audit/log.zip",
    "/audit/feed.atom",
)
PAGES_AMONG_THOSE = ("/api/v1/docs",)

# A policy's key here → a part of its title in the demonstration.
TITLES = {
    "enacted": "Plain language",
    "ruled": "model card for every model",
    "arabic": "ملخصات",
    "suspended": "A bot that answers",
    "failed": "Count the energy",
    "tie": "Meetings on Saturdays",
    "no_quorum": "A colour for our letterhead",
    "deciding": "Small grants",
    "voting": "What we build is free",
    "voted": "A second opinion",
    "commenting": "Two signatures",
    "reviewed": "How long we keep",
    "new": "A mentor for every",
    "returned": "Music in the waiting",
    "rejected": "Publish how each member",
    "withdrawn": "One newsletter",
    "amended": "Four years are enough",
    "draft": "Lending library",
    "stopped": "Who keeps the servers",
    "asked": "How the shared forum",
    "denied": "Close a ballot when",
}

# (persona or None for a visitor, address with the names that `names_in` gives)
SAMPLES: list[tuple[str | None, str]] = [
    (None, "/"),
    ("ada", "/"),
    (None, "/login"),
    (None, "/policies"),
    ("chidi", "/policies?q=nothing+is+called+so"),
    ("chidi", "/policies/new"),
    ("chidi", "/policies/begin"),
    (None, "/policies/{enacted}"),
    (None, "/policies/{ruled}"),
    (None, "/policies/{arabic}"),
    ("chidi", "/policies/{draft}"),
    (None, "/policies/{withdrawn}"),
    (None, "/policies/{rejected}"),
    ("chidi", "/policies/{draft}/edit"),
    ("chidi", "/policies/{amended}/edit"),
    (None, "/policies/{amended}/changes"),
    (None, "/policies/{enacted}/changes"),
    (None, "/policies/{amended}/versions/1"),
    (None, "/enforcement"),
    ("ada", "/enforcement?outcome=deny"),
    (None, "/enforcement/decisions/{decision}"),
    ("hal", "/enforcement/decisions/{decision}"),
    (None, "/enforcement/bundles"),
    (None, "/enforcement/templates"),
    (None, "/violations"),
    (None, "/violations/{violation}"),
    ("farah", "/violations/{violation}"),
    (None, "/policies/{deciding}/enforcement"),
    (None, "/policies/{voting}/impact"),
    (None, "/compliance"),
    ("dana", "/compliance"),
    (None, "/compliance/validations?verdict=compliant"),
    (None, "/compliance/validations/{validation}"),
    (None, "/compliance/disagreements"),
    ("hal", "/compliance/labels"),
    (None, "/compliance/try"),
    ("ada", "/compliance/try"),
    ("ada", "/compliance/batches/{batch}"),
    (None, "/policies/{enacted}/compliance"),
    ("ada", "/policies/{asked}/compliance"),
    ("dana", "/policies/{asked}/compliance"),
    ("gita", "/policies/{stopped}/compliance"),
    (None, "/policies/{denied}/compliance"),
    (None, "/policies/{voting}/discussion"),
    ("ada", "/policies/{voting}/discussion"),
    ("dana", "/policies/{new}/review"),
    ("dana", "/policies/{amended}/review"),
    (None, "/policies/{returned}/review"),
    (None, "/policies/{voting}/ballot"),
    ("ben", "/policies/{voting}/ballot"),
    ("ada", "/policies/{voted}/ballot"),
    ("hal", "/policies/{voted}/ballot"),
    (None, "/policies/{enacted}/ballot"),
    (None, "/policies/{enacted}/results?recount=1"),
    (None, "/policies/{tie}/results"),
    (None, "/policies/{no_quorum}/results"),
    (None, "/policies/{voting}/results"),
    ("farah", "/policies/{enacted}/implementation"),
    (None, "/policies/{suspended}/implementation"),
    (None, "/policies/{voting}/timeline"),
    (None, "/policies/{suspended}/timeline"),
    (None, "/policies/{enacted}/verify"),
    (None, "/policies/{suspended}/verify"),
    (None, "/policies/{failed}/verify"),
    (None, "/policies/{commenting}/verify"),
    ("dana", "/reviews"),
    (None, "/votes"),
    ("ada", "/votes"),
    (None, "/receipts/{receipt}"),
    ("ada", "/receipts/{receipt}?show=choice"),
    ("dana", "/inbox"),
    ("ben", "/inbox"),
    ("chidi", "/me"),
    (None, "/constitution"),
    (None, "/constitution/principles"),
    (None, "/constitution/conformance"),
    (None, "/chain"),
    (None, "/chain/accounts/{account}"),
    (None, "/chain/transactions/{signature}"),
    (None, "/workflows/{workflow}"),
    ("chidi", "/me/erase"),
    (None, "/chain/checkpoints"),
    (None, "/audit"),
    (None, "/audit?subject={enacted}"),
    (None, "/audit?q=nothing+is+called+so"),
    (None, "/audit/entries/0"),
    (None, "/audit/checkpoints"),
    (None, "/audit/checkpoints/{checkpoint}"),
    (None, "/audit/consistency?from=2"),
    (None, "/audit/anchors"),
    (None, "/audit/verify"),
    (None, "/audit/rehearsal"),
    (None, "/transparency"),
    ("hal", "/transparency"),
    (None, "/transparency/reports/REP-{year}-0001"),
    (None, "/api/v1/docs"),
]
REFUSED = [(None, "/nothing-here", 404), (None, "/inbox", 401), ("hal", "/policies/new", 403)]


def names_in(portal: Portal) -> dict[str, str]:
    """What the addresses above name: references by title, and what belongs to one enacted policy and one vote."""
    # Drafts are listed only for those who ask for them.
    lists = [
        portal.get("/api/v1/policies", limit=200, **asked)["items"] for asked in ({}, {"state": "draft"})
    ]
    names = {
        key: next(item["ref"] for items in lists for item in items if part in item["title"])
        for key, part in TITLES.items()
    }
    policy = portal.get(f"/api/v1/policies/{names['enacted']}")
    anchor = policy["anchors"][0]
    names |= {
        "workflow": policy["workflow_id"],
        "account": anchor["account"],
        "signature": anchor["signature"],
        "checkpoint": str(portal.get("/api/v1/audit/checkpoints", limit=1)["items"][0]["size"]),
        "year": portal.get("/api/v1/workflows/audit-transparency/reports")["items"][0]["ref"][4:8],
        "decision": portal.get("/api/v1/enforcement/decisions", outcome="deny", limit=1)["items"][0]["id"],
        "violation": portal.get("/api/v1/violations", severity="high", limit=1)["items"][0]["ref"],
        "receipt": Program(portal, "ada").vote(names["voted"], "for"),
        "validation": portal.get("/api/v1/compliance/validations", limit=1)["items"][0]["ref"],
        "batch": Program(portal, "ada").batch(["Notes are published.", "The chair has two votes.", ""]),
    }
    return names


class Program:
    """A program that speaks the JSON API over HTTP with a persona's bearer token."""

    def __init__(self, portal: Portal, username: str) -> None:
        self.http = httpx.Client(base_url=portal.url, timeout=15)
        signed_in = self.post("/api/v1/auth/token", username=username, password="demo")
        self.http.headers["Authorization"] = f"Bearer {signed_in['access_token']}"

    def get(self, path: str, **params: Any) -> Any:
        return self.http.get(path, params=params).raise_for_status().json()

    def post(self, path: str, **body: Any) -> Any:
        answer = self.http.post(path, json=body)
        assert answer.is_success, answer.text
        return answer.json()

    def vote(self, ref: str, choice: str) -> str:
        """The receipt's code."""
        text = self.get(f"/api/v1/policies/{ref}/ballot")["version_sha256"]
        cast = self.post(f"/api/v1/policies/{ref}/ballot/votes", choice=choice, version_sha256=text)
        return cast["receipt"]["code"]

    def batch(self, texts: list[str]) -> str:
        """The id of a batch of texts, held against the constitution."""
        items = [{"text": text} for text in texts]
        return self.post("/api/v1/workflows/constitutional-compliance/batch", items=items)["batch_id"]
