"""What programs get of the audit log."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec

from workflows.policy_creation.views import View

_HEX = "292d060cc9d2870e5763f3b6ad3230a30ee1d0a6eba02e2b7a629249b16b243e"
_HASH = "KS0GDMnShw5XY/O2rTIwow7h0KbroC4remKSSbFrJD4="
_NOTE = f"portal.example/audit\n1204\n{_HASH}\n\n— portal.example/audit i49+IKnS…\n"
Hex = Annotated[str, msgspec.Meta(description="64 hex digits.", examples=[_HEX])]
Hashes = Annotated[list[str], msgspec.Meta(description="Base64, from the leaves up.", examples=[[_HASH]])]
Note = Annotated[str, msgspec.Meta(description="A C2SP checkpoint.", examples=[_NOTE])]


class EntryItem(View):
    """One entry. `body` is what was hashed, decoded; `words` and names stand outside the log, and go with an erasure."""

    index: int
    type: str
    subject: str
    actor: Annotated[str, msgspec.Meta(description="A pseudonym, or system, visitor, voter.")]
    actor_name: str
    at: datetime
    text: Annotated[
        str,
        msgspec.Meta(
            description="What happened, in a sentence.", examples=["The policy was submitted for review."]
        ),
    ]
    words: Annotated[
        dict[str, str | None],
        msgspec.Meta(description="What the actor wrote, by name; null where it was erased."),
    ]
    body: dict[str, Any]
    leaf_sha256: Annotated[
        str, msgspec.Meta(description="SHA-256(0x00 ‖ body), 64 hex digits.", examples=[_HEX])
    ]
    links: dict[str, str]


class CheckpointView(View):
    """A signed tree head. `note` is the C2SP checkpoint; read alone, it carries its witnesses' cosignatures as well."""

    size: int
    root: Hex
    signed_at: datetime
    note: Note


class LogAnchor(View):
    """Where a checkpoint stands on chain."""

    size: int
    signature: str | None
    slot: int | None
    cluster: str | None
    genesis_hash: str | None
    block_time: datetime | None
    finalized_at: datetime | None


class Unanchored(View):
    """The entry that has waited longest for a final anchor, and how long by the wall clock. `index` is null before it
    has its place."""

    index: int | None
    at: datetime
    age_seconds: float


class WitnessView(View):
    """A witness that is asked to cosign, and the newest checkpoint it did cosign; none among the recent ones: null."""

    name: str
    verifier_key: str
    size: int | None
    received_at: datetime | None


class LogView(View):
    """How the log stands. Origin and key are null before its first checkpoint."""

    origin: str | None
    verifier_key: str | None
    founded_at: datetime | None
    size: Annotated[int, msgspec.Meta(description="Entries in the tree.")]
    pending: Annotated[int, msgspec.Meta(description="Entries that are committed and in no tree yet.")]
    checkpoint: CheckpointView | None
    anchor: LogAnchor | None
    oldest_unanchored: Unanchored | None
    witnesses: list[WitnessView]
    links: dict[str, str]


class InclusionProof(View):
    """RFC 6962, 2.1.1. `checkpoint`: of exactly that size, where one was signed."""

    index: int
    size: int
    leaf_sha256: Annotated[
        str, msgspec.Meta(description="SHA-256(0x00 ‖ body), 64 hex digits.", examples=[_HEX])
    ]
    root: Hex
    hashes: Hashes
    checkpoint: Note | None


class ConsistencyProof(View):
    """RFC 6962, 2.1.2: the log of `from` entries is the beginning of the log of `to`."""

    from_: int = msgspec.field(name="from")
    to: int
    from_root: Hex
    to_root: Hex
    hashes: Hashes
    from_checkpoint: Note | None
    to_checkpoint: Note | None
