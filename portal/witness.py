"""A witness: cosigns a log's checkpoints, one history only, so that nobody can be shown another. For others to run.

`python -m portal.witness --name example.org/witness --log VKEY --state DIR [--port 8010]`

C2SP tlog-witness: `POST /add-checkpoint` takes the size it last saw, a consistency proof from there, and the new
checkpoint. It signs only what extends what it signed before, and has that on disk before it answers. It needs neither
database nor chain, and is only worth something on a machine that is not the operator's.
"""

from __future__ import annotations

import argparse
import base64
import fcntl
import os
import secrets
import sys
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock

from workflows.audit_transparency.merkle import EMPTY, ProofError, verify_consistency
from workflows.audit_transparency.notes import Checkpoint, NoteError, Signer, VerifierKey, open_note

LARGEST_BODY = 64_000  # bytes; a proof has at most 63 hashes
LONGEST_PROOF = 63


class Refused(Exception):
    """A checkpoint that is not cosigned: the HTTP status, and what is said with it."""

    def __init__(self, status: int, said: str, content_type: str = "text/plain; charset=utf-8") -> None:
        self.status, self.said, self.content_type = status, said, content_type
        super().__init__(said)


@dataclass(frozen=True)
class Request:
    """What `add-checkpoint` takes: the size the log thinks we have, the proof from there, and the signed note."""

    old: int
    proof: list[bytes]
    note: str

    @classmethod
    def parse(cls, body: bytes) -> Request:
        """Raises Refused 400 for anything that is not one."""
        try:
            head, separator, note = body.decode().partition("\n\n")
            first, *proof = head.split("\n")
            word, _, number = first.partition(" ")
            hashes = [base64.b64decode(line, validate=True) for line in proof]
        except ValueError as error:
            raise Refused(400, f"The request cannot be read: {error}\n") from None
        canonical = number.isdecimal() and number.isascii() and str(int(number[:20])) == number
        if word != "old" or not separator or not canonical:
            raise Refused(400, "The request begins with “old” and a size, the proof, and an empty line.\n")
        if len(hashes) > LONGEST_PROOF or any(len(item) != 32 for item in hashes):
            raise Refused(400, "A proof is at most 63 hashes of 32 bytes.\n")
        return cls(int(number), hashes, note)


class Witness:
    """What it signed last of each log it knows, in one file a log, and the rule by which it signs the next."""

    def __init__(self, state: Path, name: str, logs: list[VerifierKey]) -> None:
        state.mkdir(parents=True, exist_ok=True)
        self.lock_file = (state / "lock").open("a+")
        try:
            fcntl.flock(self.lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise SystemExit(f"Another witness runs on {state}.") from None
        self.state = state
        self.signer = Signer(name, self._seed())
        self.logs = {log.name: log for log in logs}
        self.lock = Lock()

    @property
    def verifier_key(self) -> VerifierKey:
        return self.signer.cosigner_key

    def add(self, request: Request) -> str:
        """The cosignature line for a checkpoint that extends what we have. Raises Refused."""
        origin = request.note.partition("\n")[0]
        if origin not in self.logs:
            raise Refused(404, "This witness does not know that log.\n")
        try:
            text, _ = open_note(request.note, [self.logs[origin]])
            new = Checkpoint.parse(text)
        except NoteError as error:
            raise Refused(403, f"The log's signature does not hold: {error}\n") from None
        with self.lock:
            self._insist_extends(request, new)
            line = self.signer.cosign(text, int(time.time()))
            self._keep(origin, text)
        return line

    def _insist_extends(self, request: Request, new: Checkpoint) -> None:
        seen = self.seen(new.origin)
        if request.old > new.size:
            raise Refused(400, "The old size is larger than the checkpoint's.\n")
        conflict = Refused(409, f"{seen.size}\n", "text/x.tlog.size")
        if request.old != seen.size or (new.size == seen.size and new.root != seen.root):
            raise conflict
        if seen.size == 0:
            # Everything extends the empty tree, and there is nothing to prove.
            if request.proof or (new.size == 0 and new.root != EMPTY):
                raise Refused(422, "From an empty tree there is nothing to prove.\n")
            return
        try:
            verify_consistency(seen.size, new.size, seen.root, new.root, request.proof)
        except ProofError as error:
            raise Refused(
                422, f"The checkpoint does not extend the one that was cosigned: {error}\n"
            ) from None

    def seen(self, origin: str) -> Checkpoint:
        """The newest checkpoint cosigned of a log; of size 0 before the first."""
        file = self._file(origin)
        return Checkpoint.parse(file.read_text("utf-8")) if file.exists() else Checkpoint(origin, 0, EMPTY)

    def _file(self, origin: str) -> Path:
        return self.state / f"{origin.encode().hex()[:180]}.checkpoint"

    def _keep(self, origin: str, text: str) -> None:
        _write_whole(self._file(origin), text)

    def _seed(self) -> bytes:
        file = self.state / "witness.key"
        if not file.exists():
            _write_whole(file, base64.b64encode(secrets.token_bytes(32)).decode())
        return base64.b64decode(file.read_text("ascii"))


def _write_whole(file: Path, text: str) -> None:
    """On disk, whole or not at all, before this returns."""
    draft = file.with_name(f".{file.name}")
    with os.fdopen(
        os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8"
    ) as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    draft.replace(file)
    directory = os.open(file.parent, os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)


def handler(witness: Witness) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_POST(self) -> None:
            try:
                if self.path != "/add-checkpoint":
                    raise Refused(404, "There is only /add-checkpoint.\n")
                length = self.headers.get("content-length", "")
                if not length.isdecimal() or int(length[:9]) > LARGEST_BODY:
                    raise Refused(413, "A request says its length, at most 64,000 bytes.\n")
                line = witness.add(Request.parse(self.rfile.read(int(length))))
            except Refused as refusal:
                self._answer(refusal.status, refusal.said, refusal.content_type)
            else:
                self._answer(200, line if line.endswith("\n") else line + "\n", "text/plain; charset=utf-8")

        def _answer(self, status: int, said: str, content_type: str) -> None:
            body = said.encode()
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m portal.witness", description=__doc__.partition("\n")[0])
    parser.add_argument("--name", required=True, help="under which it signs, best a host and path of its own")
    parser.add_argument(
        "--log", action="append", default=[], help="verifier key of a log it serves; the page /audit shows it"
    )
    parser.add_argument(
        "--state", type=Path, required=True, help="directory for its key and what it has signed"
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8010)
    parser.add_argument("--show-key", action="store_true", help="print the witness's verifier key and end")
    given = parser.parse_args(arguments)
    try:
        logs = [VerifierKey.parse(text) for text in given.log]
    except NoteError as error:
        parser.error(f"--log: {error}")
    witness = Witness(given.state, given.name, logs)
    print(witness.verifier_key, flush=True)
    if given.show_key:
        return
    with ThreadingHTTPServer((given.host, given.port), handler(witness)) as server:
        print(f"Listening on {given.host}:{server.server_port}", file=sys.stderr, flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1:])
