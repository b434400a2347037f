"""A server on this machine that speaks chat completions and answers what a test has it answer: for tests only."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Answer:
    """One answer: `text` as a model's, or `body` as it stands; after `wait` seconds, `drip` seconds between its bytes."""

    text: str = ""
    status: int = 200
    body: bytes | None = None
    wait: float = 0.0
    drip: float = 0.0

    def bytes(self) -> bytes:
        completion = {"choices": [{"index": 0, "message": {"role": "assistant", "content": self.text}}]}
        return json.dumps(completion).encode() if self.body is None else self.body


@dataclass
class Server:
    """`script` is answered in order, and its last answer again and again. `asked` holds what came."""

    url: str
    script: list[Answer]
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    def next(self) -> Answer:
        return self.script.pop(0) if len(self.script) > 1 else self.script[0]


@contextmanager
def answering(*script: Answer | str) -> Iterator[Server]:
    """A server with its script; a string is an answer's text."""
    server = Server("", [Answer(item) if isinstance(item, str) else item for item in script])

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            server.headers.append(dict(self.headers))
            server.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            if self.path != "/v1/chat/completions":
                self.send_error(404)
                return
            answer = server.next()
            time.sleep(answer.wait)
            body = answer.bytes()
            self.send_response(answer.status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            try:
                for part in [body] if not answer.drip else [bytes([byte]) for byte in body]:
                    self.wfile.write(part)
                    self.wfile.flush()
                    time.sleep(answer.drip)
            except OSError:
                pass  # who asked has hung up

        def log_message(self, *_: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    threading.Thread(target=http.serve_forever, daemon=True).start()
    server.url = f"http://127.0.0.1:{http.server_address[1]}/v1"
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
