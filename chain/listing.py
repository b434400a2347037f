"""Every checkpoint that our key ever put on a chain, read from there: so that a hidden or a forked one shows."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass

import sqlalchemy as sa
from solana.rpc.commitment import Finalized
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction
from sqlalchemy.ext.asyncio import AsyncConnection

from chain import quantumagi
from chain.config import ChainConfig
from chain.explorer import decode_transaction
from chain.quantumagi import MEMO_PROGRAM, NotQuantumagi
from chain.rpc import Landed, Node, NodeRefused, Unreachable, connect, is_signature
from workflows.audit_transparency import checkpoints, tree
from workflows.audit_transparency.anchors import STANDING
from workflows.audit_transparency.notes import Checkpoint, NoteError, VerifierKey, open_note
from workflows.errors import Invalid, NotFound, Unavailable
from workflows.storage.tables import anchor

SIGNATURES_PER_QUESTION = 1000  # getSignaturesForAddress gives no more
ACTION = re.compile(
    r"audit-checkpoint (\S+) (0|[1-9][0-9]{0,18}) ([A-Za-z0-9+/]{43}=) constitution ([0-9a-f]{64})"
)


@dataclass(frozen=True)
class Written:
    """What one transaction of the authority says about checkpoints.

    `actions` were checked on the audit record, `rules` became records of their own, `memos` stand beside them.
    """

    actions: tuple[str, ...]
    rules: tuple[str, ...]
    memos: tuple[str, ...]

    @property
    def claims(self) -> set[Checkpoint]:
        """All heads it names: one, in an anchor of ours."""
        heads = [_of_action(text) for text in (*self.actions, *self.rules)]
        heads += [_of_note(text) for text in self.memos]
        return {head for head in heads if head is not None}


@dataclass(frozen=True)
class Listed:
    """A transaction on the chain that names a checkpoint, signed by the authority."""

    signature: str
    slot: int
    block_time: int | None  # Unix seconds
    raw: bytes
    written: Written


@dataclass(frozen=True)
class Listing:
    """Newest first. `complete`: it goes back to the authority's first transaction that the node still has."""

    authority: str
    genesis_hash: str
    items: list[Listed]
    last: str | None  # the oldest transaction looked at; go on before it
    first_slot: int  # the stretch of the chain that was looked at, both ends included
    last_slot: int
    complete: bool


@dataclass(frozen=True)
class Disagreement:
    """Something on the chain, or missing there, that our log does not say."""

    signature: str
    what: str


# The chain


async def list_all(
    node: Node, config: ChainConfig, authority: Pubkey, *, limit: int | None = None, before: str | None = None
) -> Listing:
    """All that the authority put on chain about checkpoints, among its newest `limit` transactions before `before`.

    By the authority's address alone: what it did not sign is no anchor, whoever calls the program. Raises Unreachable or
    NodeRefused.
    """
    genesis_hash, last_slot = await node.genesis_hash(), await node.slot(Finalized)
    signatures: list[str] = []
    complete = False
    while not complete and (limit is None or len(signatures) < limit):
        wanted = SIGNATURES_PER_QUESTION if limit is None else min(limit - len(signatures), 1000)
        page = await node.signature_page(authority, wanted, signatures[-1] if signatures else before)
        signatures += page
        complete = len(page) < wanted
    items, slots = [], []
    for signature in signatures:
        landed = await node.transaction(signature, Finalized)
        if landed is None:
            continue  # the node lists it, and no longer has it
        slots.append(landed.slot)
        found = of_transaction(config.program_id, authority, landed)
        if found is not None:
            items.append(Listed(signature, landed.slot, landed.block_time, landed.raw, found))
    return Listing(
        authority=str(authority),
        genesis_hash=genesis_hash,
        items=items,
        last=signatures[-1] if signatures else None,
        # Other transactions of the slots at the ends may lie outside.
        first_slot=0 if complete else min(slots, default=last_slot) + 1,
        last_slot=max(slots, default=0) - 1 if before else last_slot,
        complete=complete,
    )


async def read_newest(config: ChainConfig, limit: int, before: str | None = None) -> Listing:
    """`list_all` for whoever is the constitution's authority. Raises Invalid, NotFound or Unavailable."""
    if before is not None and not is_signature(before):
        raise Invalid("That is not a transaction's signature.")
    try:
        async with connect(config) as node:
            account = await node.account(quantumagi.constitution_address(config.program_id), Finalized)
            if account is None or account.owner != config.program_id:
                raise NotFound("There is no constitution on this chain, and so nobody's anchors.")
            authority = quantumagi.constitution_account(account.data).authority
            return await list_all(node, config, authority, limit=limit, before=before)
    except NotQuantumagi as error:
        raise NotFound("There is no constitution on this chain, and so nobody's anchors.") from error
    except (Unreachable, NodeRefused) as error:
        raise Unavailable(str(error), code="chain_unreachable") from error


def of_transaction(program_id: Pubkey, authority: Pubkey, landed: Landed) -> Written | None:
    """What it says about checkpoints; None for a failed one, one the authority did not sign, or one of something else."""
    if landed.error is not None:
        return None
    found = written(program_id, authority, landed.raw)
    return found if found is not None and found.claims else None


def written(program_id: Pubkey, authority: Pubkey, raw: bytes) -> Written | None:
    """What signed bytes say about checkpoints; None where the authority has not validly signed them."""
    try:
        transaction = VersionedTransaction.from_bytes(raw)
    except ValueError:
        return None
    signers = transaction.message.account_keys[: transaction.message.header.num_required_signatures]
    if authority not in signers or not all(transaction.verify_with_results()):
        return None
    audit = str(quantumagi.audit_address(program_id))
    actions, rules, memos = [], [], []
    for item in decode_transaction(program_id, transaction):
        if item["program_id"] == str(MEMO_PROGRAM):
            memos.append(bytes.fromhex(item["data"]).decode("utf-8", errors="replace"))
        elif item["instruction"] == "check_compliance" and item["accounts"][0]["address"] == audit:
            actions.append(item["args"]["action_to_check"])
        elif item["instruction"] == "propose_policy" and item["args"]["rule"].startswith("audit-checkpoint "):
            rules.append(item["args"]["rule"])
    return Written(tuple(actions), tuple(rules), tuple(memos))


def _of_action(text: str) -> Checkpoint | None:
    found = ACTION.fullmatch(text)
    if found is None:
        return None
    try:
        return Checkpoint(found[1], int(found[2]), base64.b64decode(found[3], validate=True))
    except (NoteError, binascii.Error):
        return None


def _of_note(text: str) -> Checkpoint | None:
    """The head in a memo that has the form of a signed checkpoint, whoever signed it."""
    try:
        return Checkpoint.parse(text.rpartition("\n\n")[0] + "\n")
    except NoteError:
        return None


# Against our log


async def compare(connection: AsyncConnection, listing: Listing) -> list[Disagreement]:
    """Hold what is on chain against our tree and our anchors, in both directions. Empty: they agree."""
    log = await checkpoints.identity(connection)
    key = VerifierKey.parse(log.verifier_key) if log else None
    found = [
        Disagreement(item.signature, what)
        for item in listing.items
        for what in [*_form(item.written, key), *[await _against(connection, head) for head in _sorted(item)]]
        if what
    ]
    found += _forks(listing)
    return found + await _missing(connection, listing)


def _sorted(item: Listed) -> list[Checkpoint]:
    return sorted(item.written.claims, key=lambda head: (head.size, head.root, head.origin))


def _form(said: Written, key: VerifierKey | None) -> list[str]:
    """Whether it is an anchor as we write them: one head, checked on the audit record, with our signed note."""
    wrong = []
    if len(said.claims) > 1:
        wrong.append("It names more than one checkpoint.")
    if len(said.actions) != 1:
        wrong.append("It is not checked exactly once on the audit record of this program.")
    notes = [memo for memo in said.memos if _of_note(memo)]
    if len(notes) != 1:
        wrong.append("It does not carry exactly one signed checkpoint.")
    for memo in notes:
        try:
            if key is None:
                raise NoteError("there is no log here")
            open_note(memo, [key])
        except NoteError as error:
            wrong.append(f"The log's key did not sign its checkpoint: {error}.")
    return wrong


async def _against(connection: AsyncConnection, head: Checkpoint) -> str | None:
    log = await checkpoints.identity(connection)
    if log is None or head.origin != log.origin:
        return f"It is of another log: {head.origin}."
    try:
        root = await tree.root_at(connection, head.size)
    except NotFound:
        return f"It is of {head.size} entries, more than our log has: entries are missing here."
    if root != head.root:
        return f"At {head.size} entries it has another root than our log: history differs."
    return None


def _forks(listing: Listing) -> list[Disagreement]:
    """Two roots for one size on the chain itself: no log can hold both."""
    roots: dict[int, bytes] = {}
    found = []
    for item in listing.items:
        for head in _sorted(item):
            if roots.setdefault(head.size, head.root) != head.root:
                what = f"The chain has two different roots for {head.size} entries: the log was forked."
                found.append(Disagreement(item.signature, what))
    return found


async def _missing(connection: AsyncConnection, listing: Listing) -> list[Disagreement]:
    """Anchors we call final that the chain, in the stretch that was looked at, does not have."""
    statement = sa.select(anchor.c.signature).where(
        *STANDING,
        anchor.c.genesis_hash == listing.genesis_hash,
        anchor.c.slot.between(listing.first_slot, listing.last_slot),
    )
    ours = set((await connection.execute(statement)).scalars())
    there = {item.signature for item in listing.items}
    return [
        Disagreement(signature, "We call it final, and the chain does not list it.")
        for signature in sorted(ours - there)
    ]


async def unknown(connection: AsyncConnection, listing: Listing) -> set[str]:
    """Signatures on chain that none of our anchors has: hidden, or sent by a worker that died before it could store so."""
    there = {item.signature for item in listing.items}
    statement = sa.select(anchor.c.signature).where(anchor.c.signature.in_(there))
    return there - set((await connection.execute(statement)).scalars())
