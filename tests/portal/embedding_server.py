"""A real server that speaks OpenAI's embeddings, with the packaged embedder behind it, to be made slow, wrong or away."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from workflows.constitutional_compliance.embedding import packaged


class EmbeddingServer:
    """`answers` is how it behaves: well, failing, slow, nonsense, short, nan, zero; `texts` counts what it was asked."""

    def __init__(self) -> None:
        self.answers, self.texts, self.keys = "well", 0, []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.texts += len(asked["input"])
                outer.keys.append(self.headers.get("Authorization"))
                status, body = outer.answer(self.path, asked)
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, path: str, asked: dict) -> tuple[int, bytes]:
        if path != "/v1/embeddings":
            return 404, b"{}"
        if self.answers == "failing":
            return 500, b"{}"
        if self.answers == "nonsense":
            return 200, b"<html>"
        if self.answers == "slow":
            time.sleep(3)
        rows = (packaged().embed(asked["input"]) * 3).tolist()  # not of length one: that is for who asks
        if self.answers == "short":
            rows = rows[:-1]
        if self.answers == "zero":
            rows = [[0.0] * len(row) for row in rows]
        data = [{"object": "embedding", "index": place, "embedding": row} for place, row in enumerate(rows)]
        body = json.dumps({"object": "list", "model": asked["model"], "data": data[::-1]})
        return 200, (body.replace("0.", "NaN, 0.", 1) if self.answers == "nan" else body).encode()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
