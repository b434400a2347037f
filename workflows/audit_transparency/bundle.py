"""A policy's bundle: one ZIP from which a stranger can verify it with nothing else at hand (docs/audit.md).

The same state gives the same bytes. Nothing is in it that the newest checkpoint does not cover, but for anchors, which
carry their own proof.
"""

from __future__ import annotations

import base64
import io
import json
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import rfc8785
import sqlalchemy as sa
from anyio.to_thread import run_sync
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.audit_transparency import checkpoints, tree
from workflows.audit_transparency.anchors import CheckpointAnchor, newest_final
from workflows.constitution.document import Constitution
from workflows.errors import Conflict, NotFound
from workflows.kinds import AnchorKind, AnchorState
from workflows.policy_creation import queries, records
from workflows.storage.tables import (
    anchor,
    audit_entry,
    audit_leaf,
    constitution_document,
    policy,
    policy_version,
)
from workflows.storage.unit import rfc3339

SCHEMA = "acgs.bundle/1"
FIXED_TIME = (
    1980,
    1,
    1,
    0,
    0,
    0,
)  # the earliest that ZIP can say: no time of ours says anything about the content
LEVEL = 6


@dataclass(frozen=True)
class ChainIdentity:
    """Where anchors stand, as far as it is known: base58 addresses, and which cluster it is."""

    program_id: str
    authority: str | None
    cluster: str
    genesis_hash: str | None


async def policy_bundle(
    connection: AsyncConnection, ref: str, constitution: Constitution, chain: ChainIdentity
) -> bytes:
    """The ZIP of one policy against the newest checkpoint, of about a dozen statements however much is in it.

    The transaction must see one state throughout. Raises NotFound `no_policy`, or `no_checkpoint` before the first.
    """
    policy_id = (
        await connection.execute(sa.select(policy.c.id).where(policy.c.ref == ref))
    ).scalar_one_or_none()
    if policy_id is None:
        raise NotFound(f"There is no policy {ref}.", code="no_policy")
    log, newest = await checkpoints.identity(connection), await checkpoints.latest(connection)
    if log is None or newest is None:
        raise NotFound(
            "There is no checkpoint yet that a bundle could be held against.", code="no_checkpoint"
        )
    size = newest.size
    entries = await _entries(connection, ref, size)
    votes, openings = await _ballot(connection, ref, size, entries)
    entries |= votes
    anchors = await _policy_anchors(connection, policy_id)
    covering = await newest_final(connection, max(entries, default=0) + 1)
    enacting = anchors.get(AnchorKind.POLICY)
    under = await _constitution(connection, constitution, enacting and enacting["constitution_sha256"])
    files: dict[str, bytes] = {"constitution.md": under}
    files |= await _versions(connection, policy_id, ref, entries.values())
    if openings is not None:
        files["ballot/openings.json"] = openings
        index_of = {_payload(body)["commitment"]: index for index, body in votes.items()}
        listed = [{"commitment": made, "index": index} for made, index in sorted(index_of.items())]
        files["ballot/votes.json"] = rfc8785.dumps(listed)
    files |= {f"entries/{index:012}.json": entries[index] for index in sorted(entries)}
    proven = await tree.inclusion_proofs(connection, sorted(entries), size)
    files |= {f"proofs/{index:012}.txt": hash_lines(path) for index, path in proven.items()}
    files["checkpoint.txt"] = (await checkpoints.note(connection, size)).encode()
    for kind, name in (
        (AnchorKind.POLICY, "policy_anchor"),
        (AnchorKind.DEACTIVATION, "deactivation_anchor"),
        (AnchorKind.CONSTITUTION, "constitution_anchor"),
    ):
        if kind in anchors:
            files[f"{name}.json"] = rfc8785.dumps({"record": _text(anchors[kind]), **landed(anchors[kind])})
    if covering is not None:
        files["log_anchor.json"] = rfc8785.dumps(log_anchor(covering))
        between = await tree.consistency_proof(connection, covering.size, size)
        files["consistency.txt"] = hash_lines(between)
    about = {
        **about_log(
            SCHEMA,
            log,
            size,
            records.sha256_hex(under),
            _where(chain, enacting or (vars(covering) if covering else None)),
        ),
        "ref": ref,
        "files": {name: records.sha256_hex(content) for name, content in files.items()},
    }
    return await run_sync(_zipped, {"bundle.json": rfc8785.dumps(about), **files})


# What is about the policy


async def _entries(connection: AsyncConnection, ref: str, size: int) -> dict[int, bytes]:
    """Bodies by leaf index. Votes are not among them: which are this ballot's is told after its close, by `_ballot`."""
    query = (
        sa.select(audit_leaf.c.index, audit_entry.c.body)
        .join(audit_leaf, audit_leaf.c.entry == audit_entry.c.number)
        .where(audit_entry.c.subject == ref, audit_entry.c.type != "vote.cast", audit_leaf.c.index < size)
    )
    return {index: bytes(body) for index, body in await connection.execute(query)}


async def _ballot(
    connection: AsyncConnection, ref: str, size: int, entries: dict[int, bytes]
) -> tuple[dict[int, bytes], bytes | None]:
    """The votes' entries by leaf index, and the openings' bytes; None before the close is in the checkpoint."""
    try:
        openings = await queries.openings_document(connection, ref)
    except (NotFound, Conflict):
        return {}, None  # no ballot, or one that is open
    closed = [json.loads(body) for body in entries.values() if b'"ballot.closed"' in body]
    ballot_id = json.loads(openings)["ballot"]
    if not any(each["type"] == "ballot.closed" and each["payload"]["ballot"] == ballot_id for each in closed):
        return {}, None
    found = await queries.leaves(connection, ref)
    return {
        leaf.index: bytes(leaf.body)
        for leaf in found
        if leaf.index is not None and leaf.body is not None and leaf.index < size
    }, openings


async def _versions(
    connection: AsyncConnection, policy_id: Any, ref: str, covered: Iterable[bytes]
) -> dict[str, bytes]:
    """Those of which the entries speak; a draft may have been rewritten since the checkpoint."""
    said = {_payload(body).get("version_sha256") for body in covered}
    query = (
        sa.select(policy_version)
        .where(policy_version.c.policy_id == policy_id)
        .order_by(policy_version.c.number)
    )
    files = {}
    for row in (await connection.execute(query)).mappings():
        if row["version_sha256"] not in said:
            continue
        rule = None
        if row["rule_engine"] is not None:
            rule = {
                "engine": str(row["rule_engine"]),
                "source": row["rule_source"],
                "examples": row["rule_examples"] or [],
            }
        record = records.version_record(
            ref=ref,
            number=row["number"],
            title=row["title"],
            summary=row["summary"],
            category=str(row["category"]),
            text=row["text"],
            rule=rule,
            amends=(row["constitution_sha256"], row["constitution_base_sha256"])
            if row["constitution_text"] is not None
            else None,
        )
        content = {"record": json.loads(record), "text": row["text"], "rule": rule}
        if row["constitution_text"] is not None:
            content["constitution"] = row["constitution_text"]
        files[f"versions/{row['number']}.json"] = rfc8785.dumps(content)
    return files


async def _policy_anchors(connection: AsyncConnection, policy_id: Any) -> dict[AnchorKind, sa.RowMapping]:
    """The final ones by kind; where a cluster was reset, what stands on the present one."""
    query = (
        sa.select(anchor)
        .where(anchor.c.policy_id == policy_id, anchor.c.state == AnchorState.FINALIZED)
        .order_by(anchor.c.lost_at.is_(None), anchor.c.finalized_at)
    )
    return {AnchorKind(row["kind"]): row for row in (await connection.execute(query)).mappings()}


async def _constitution(connection: AsyncConnection, current: Constitution, sha256: str | None) -> bytes:
    """The document a policy was enacted under, or else the one in force."""
    if sha256 in (None, current.sha256):
        return current.body
    query = sa.select(constitution_document.c.body).where(constitution_document.c.sha256 == sha256)
    # One that is kept nowhere cannot be handed out; the digest then differs, and a verifier says so.
    return (await connection.execute(query)).scalar_one_or_none() or current.body


# The parts, as they stand in the files of this ZIP and of the whole log's


def about_log(
    schema: str, log: checkpoints.Log, size: int, constitution_sha256: str, chain: ChainIdentity
) -> dict[str, Any]:
    """What `bundle.json` and `log.json` have in common, without `files`."""
    return {
        "schema": schema,
        "origin": log.origin,
        "verifier_key": log.verifier_key,
        "checkpoint_size": size,
        "constitution_sha256": constitution_sha256,
        **asdict(chain),
    }


def log_anchor(item: CheckpointAnchor) -> dict[str, Any]:
    """An anchor of a checkpoint; the root in base64, as in the action and in the checkpoint."""
    return {
        "size": item.size,
        "root": base64.b64encode(item.root).decode(),
        "action": item.action,
        "durable": item.durable,
        **landed(vars(item)),
    }


def landed(row: Mapping[str, Any]) -> dict[str, Any]:
    """What the chain took, or was given: null where it is not known yet."""
    transaction, block_time = row["transaction"], row["block_time"]
    return {
        "memo": row["memo"],
        "signature": row["signature"],
        "transaction": base64.b64encode(transaction).decode() if transaction else None,
        "slot": row["slot"],
        "block_time": rfc3339(block_time) if block_time else None,
        "account": row["account"],
    }


def hash_lines(hashes: Sequence[bytes]) -> bytes:
    """One base64 hash a line."""
    return b"".join(base64.b64encode(item) + b"\n" for item in hashes)


def member(name: str) -> zipfile.ZipInfo:
    """How a file stands in our ZIPs: nothing in it depends on when or where it was made."""
    info = zipfile.ZipInfo(name, FIXED_TIME)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.create_system = 3  # Unix, wherever this runs
    info.external_attr = 0o644 << 16
    return info


def _zipped(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in files.items():
            archive.writestr(member(name), content, compresslevel=LEVEL)
    return out.getvalue()


def _where(chain: ChainIdentity, stands: Mapping[Any, Any] | None) -> ChainIdentity:
    """The cluster on which the anchors of this bundle stand, where there are any."""
    if stands is None or stands["genesis_hash"] is None:
        return chain
    return ChainIdentity(
        program_id=stands["program_id"] or chain.program_id,
        authority=chain.authority,
        cluster=stands["cluster"] or chain.cluster,
        genesis_hash=stands["genesis_hash"],
    )


def _text(row: Mapping[Any, Any]) -> str:
    return bytes(row["record"]).decode()


def _payload(body: bytes) -> dict[str, Any]:
    return json.loads(body)["payload"]
