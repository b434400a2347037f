"""Keeps the audit log: orders what was committed, signs each new tree head, and has witnesses cosign it.

Any number of workers may run this. One of them orders, by a lock inside the transaction that does it; signing goes
through the second place, which takes one next checkpoint; a witness takes one next checkpoint too.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import sqlalchemy as sa
import structlog
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from portal.database import SEQUENCER, create_engine
from portal.keys import log_key
from portal.services import Services
from portal.settings import Settings
from portal.static_files import STATIC
from workflows.alerts import raise_alert, resolve_alert
from workflows.audit_transparency import checkpoints, tree
from workflows.audit_transparency.checkpoints import Fork, SecondPlace, SignedCheckpoint
from workflows.audit_transparency.notes import NoteError, Signer, VerifierKey, open_note
from workflows.audit_transparency.sequencer import sequence
from workflows.storage.tables import alert, audit_cosignature, audit_entry
from workflows.storage.unit import Event, Unit

log = structlog.get_logger(__name__)

BUSY, IDLE = 0.02, 0.2  # seconds between looks for entries: while there are some, and when there were none
SIGN_EVERY = 1.0  # seconds
AFTER_TROUBLE = 5.0
FORK_ALERT = "log.fork"
DAMAGE_ALERT = "log.damaged"
WITNESS_ALERT = "log.witness"
AWAY_FOR_LONG = 8  # attempts with growing pauses: about four minutes
REFUSED = 2  # attempts: between a first one and its answer another worker may have been quicker
ONE_PUBLISHES = 0x41434753_56455249  # an advisory lock, "ACGSVERI"
VERIFIERS = (STATIC / "verify" / "acgs_verify.py", STATIC / "verify" / "acgs-verify.html")
Units = Callable[[], AbstractAsyncContextManager[Unit]]


async def keep_log(units: Units, held: Services) -> None:
    """Until cancelled."""
    engine = create_engine(held.settings.database_url or "", pool_size=2, role=SEQUENCER)
    try:
        await _forget_alerts_of_witnesses(units)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(keep_sequencing(units, engine))
            tasks.create_task(keep_signing(units, held, engine))
            for key, address in held.settings.log_witnesses:
                tasks.create_task(keep_witnessed(units, held, VerifierKey.parse(key), address))
    finally:
        await engine.dispose()


async def keep_sequencing(units: Units, engine: AsyncEngine) -> None:
    alarmed = True  # perhaps by the worker before this one
    while True:
        try:
            added = await sequence(engine)
            pause = BUSY if added else IDLE
            if alarmed and added:
                async with units() as unit:
                    await resolve_alert(unit, DAMAGE_ALERT)
                alarmed = False
        except tree.Damaged as error:
            alarmed = True
            log.error("log_damaged", error=str(error))
            async with units() as unit:
                message = f"The log’s tree contradicts itself, and nothing is added to it: {error}."
                await raise_alert(unit, DAMAGE_ALERT, "critical", message, "/audit")
            pause = AFTER_TROUBLE
        except Exception as error:  # the next round starts from the database again
            log.exception("sequencing_failed", error=repr(error))
            pause = AFTER_TROUBLE
        await asyncio.sleep(pause)


# Signing


async def keep_signing(units: Units, held: Services, engine: AsyncEngine) -> None:
    signer = await log_signer(held.settings, engine)
    place = SecondPlace(held.settings.log_checkpoint_file or held.settings.data_dir / "checkpoint")
    alarmed = True  # perhaps by the worker before this one
    while True:
        pause = SIGN_EVERY
        try:
            signed = await checkpoints.sign(engine, signer, signer.name, place)
            if alarmed:
                async with units() as unit:
                    await resolve_alert(unit, FORK_ALERT)
                alarmed = False
            if signed is not None:
                await _tell(held, signed)
        except Fork as error:
            alarmed, pause = True, AFTER_TROUBLE
            log.error("log_fork", error=str(error))
            async with units() as unit:
                await raise_alert(unit, FORK_ALERT, "critical", f"The log is not signed: {error}", "/audit")
        except Exception as error:
            log.exception("signing_failed", error=repr(error))
            pause = AFTER_TROUBLE
        await asyncio.sleep(pause)


async def log_signer(settings: Settings, engine: AsyncEngine) -> Signer:
    """The log's signer, under the origin it was founded with, or is to be founded with."""
    seed = log_key(settings)
    async with engine.connect() as connection:
        founded = await checkpoints.identity(connection)
    origin = settings.log_origin or (founded.origin if founded else _first_origin(settings, seed))
    return Signer(origin, seed)


def _first_origin(settings: Settings, seed: bytes) -> str:
    """The portal's address without its scheme, as C2SP tlog-checkpoint recommends; without one, a name from the key."""
    if settings.base_url:
        parts = urlsplit(settings.base_url)
        return f"{parts.netloc}{parts.path.rstrip('/')}/audit"
    return f"localhost/acgs-{hashlib.sha256(Signer('localhost', seed).verifier_key.key).hexdigest()[:12]}"


async def _tell(held: Services, signed: SignedCheckpoint) -> None:
    """To pages that show the log; that it is lost harms nobody."""
    try:
        await held.live.publish(
            [Event("log", "checkpoint", {"size": signed.size, "root": signed.root.hex()})]
        )
    except Exception as error:
        log.warning("events_not_published", error=repr(error))


# Witnesses


async def keep_witnessed(units: Units, held: Services, witness: VerifierKey, address: str) -> None:
    """Have one witness cosign each newest checkpoint. One that is away holds up nothing; one that refuses is heard."""
    code = f"{WITNESS_ALERT}.{witness.name}"
    trouble, alarmed = 0, False
    async with httpx.AsyncClient(timeout=10, follow_redirects=False) as client:
        while True:
            try:
                await submit(held.engine, client, witness, address)
                trouble = 0
                if alarmed:
                    async with units() as unit:
                        await resolve_alert(unit, code)
                    alarmed = False
            except Exception as error:
                trouble += 1
                log.warning("witness_does_not_cosign", witness=witness.name, error=repr(error))
                if trouble >= (REFUSED if isinstance(error, WitnessRefused) else AWAY_FOR_LONG):
                    alarmed = True
                    await _tell_of_witness(units, code, witness, error)
            await asyncio.sleep(min(SIGN_EVERY * 2**trouble, 300.0))


async def _tell_of_witness(units: Units, code: str, witness: VerifierKey, error: Exception) -> None:
    """Raise the alert: a refusal may mean that somebody was shown another history under our name."""
    refused = isinstance(error, WitnessRefused)
    why = str(error) if refused else f"It does not answer ({type(error).__name__})."
    with contextlib.suppress(
        Exception
    ):  # with the database away there is nobody to tell; the next round does
        async with units() as unit:
            message = f"The witness {witness.name} does not cosign the log. {why}"
            await raise_alert(unit, code, "critical" if refused else "warning", message, "/audit")


async def _forget_alerts_of_witnesses(units: Units) -> None:
    """One that is no longer asked will never resolve its own; the others are raised again."""
    told = sa.select(alert.c.code).where(
        alert.c.resolved_at.is_(None), alert.c.code.like(f"{WITNESS_ALERT}.%")
    )
    async with units() as unit:
        for code in (await unit.connection.execute(told)).scalars().all():
            await resolve_alert(unit, code)


class WitnessRefused(RuntimeError):
    """A witness gave no cosignature that holds; the message says what it gave."""


async def submit(engine: AsyncEngine, client: httpx.AsyncClient, witness: VerifierKey, address: str) -> bool:
    """Send the newest checkpoint to a witness and keep its cosignature; False when it has cosigned it already.

    C2SP tlog-witness. Raises WitnessRefused, or httpx.HTTPError where it does not answer.
    """
    name = str(witness)
    async with engine.connect() as connection:
        newest = await checkpoints.latest(connection)
        mine = sa.select(sa.func.max(audit_cosignature.c.size)).where(audit_cosignature.c.witness == name)
        seen = (await connection.execute(mine)).scalar_one() or 0
    if newest is None or seen >= newest.size:
        return False
    answer = await _add(engine, client, address, seen, newest)
    if answer.status_code == 409 and answer.headers.get("content-type", "").startswith("text/x.tlog.size"):
        answer = await _add(engine, client, address, _size(answer.text, newest.size), newest)
    if answer.status_code == 429 or answer.status_code >= 500:
        answer.raise_for_status()  # no judgement on the checkpoint
    if answer.status_code != 200:
        raise WitnessRefused(f"{address} answers {answer.status_code}: {answer.text[:200].strip()}")
    line = _cosignature(newest, witness, answer.text)
    async with engine.begin() as connection:
        await connection.execute(
            insert(audit_cosignature)
            .values(size=newest.size, witness=name, line=line, received_at=sa.func.clock_timestamp())
            .on_conflict_do_nothing()
        )
    return True


async def _add(
    engine: AsyncEngine, client: httpx.AsyncClient, address: str, old: int, newest: SignedCheckpoint
) -> httpx.Response:
    async with engine.connect() as connection:
        proof = await tree.consistency_proof(connection, old, newest.size) if 0 < old < newest.size else []
    lines = [f"old {old}", *(base64.b64encode(item).decode() for item in proof), "", newest.note]
    return await client.post(f"{address.rstrip('/')}/add-checkpoint", content="\n".join(lines).encode())


def _size(text: str, largest: int) -> int:
    """The size a witness says it has. One that has more than we ever signed was shown another log under our name."""
    if not text.strip().isdecimal() or int(text.strip()[:20]) > largest:
        raise WitnessRefused(
            f"The witness holds a checkpoint of size {text.strip()[:40]}, which is not ours."
        )
    return int(text.strip())


def _cosignature(newest: SignedCheckpoint, witness: VerifierKey, answer: str) -> str:
    """The line by that witness among those it answered, if its signature holds."""
    for line in answer.splitlines():
        try:
            _, signatures = open_note(newest.note.partition("\n\n")[0] + "\n\n" + line + "\n", [witness])
        except NoteError:
            continue
        if signatures:
            return line
    raise WitnessRefused("The witness answered with no signature of its key that holds.")


# The verifiers' digests


async def publish_verifiers(units: Units, files: tuple[Path, ...] = VERIFIERS) -> list[str]:
    """Enter the digest of each verifier file in the log, where it is not what was entered last. Names of the new ones."""
    published = []
    for file in files:
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        async with units() as unit:
            await unit.connection.execute(sa.select(sa.func.pg_advisory_xact_lock(ONE_PUBLISHES)))
            payload = sa.func.convert_from(audit_entry.c.body, "UTF8").cast(sa.JSON)["payload"]
            newest = (
                sa.select(payload["sha256"].as_string())
                .where(audit_entry.c.type == "verifier.published", payload["file"].as_string() == file.name)
                .order_by(audit_entry.c.number.desc())
                .limit(1)
            )
            if (await unit.connection.execute(newest)).scalar_one_or_none() != digest:
                await unit.record("verifier.published", "log", file=file.name, sha256=digest)
                published.append(file.name)
    return published
