"""The ASGI application: JSON-RPC by POST, subscriptions by WebSocket, GET /health, CORS for browsers."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import msgspec

from chain.localnet.bank import Bank
from chain.localnet.errors import method_not_found
from chain.localnet.rpc import answer, call_method, invoke
from chain.localnet.subscriptions import Connection, Subscriptions

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

MAX_BODY = 50 * 1024
"""A node's limit for a request body."""
CORS = [
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-methods", b"POST, GET, OPTIONS"),
    (b"access-control-allow-headers", b"content-type, solana-client"),
    (b"access-control-max-age", b"86400"),
    (b"access-control-allow-private-network", b"true"),  # a public explorer may ask this loopback node
]


def application(
    bank: Bank, subscriptions: Subscriptions
) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    """Serve a bank. No answer leaves before what it speaks of is on disk."""
    call = call_method(bank)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await _websocket(bank, subscriptions, receive, send)
        elif scope["type"] == "http":
            status, content_type, body = await respond(scope, receive)
            headers = [(b"content-type", content_type), *CORS]
            headers.append((b"content-length", str(len(body)).encode()))
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": body})

    async def respond(scope: Scope, receive: Receive) -> tuple[int, bytes, bytes]:
        text = b"text/plain; charset=utf-8"
        if scope["method"] == "OPTIONS":
            return 204, text, b""
        if scope["method"] in ("GET", "HEAD") and scope["path"] == "/health":
            return 200, text, b"ok"
        if scope["method"] != "POST":
            return 405, text, b"Used HTTP Method is not allowed. POST or OPTIONS is required\n"
        if not dict(scope["headers"]).get(b"content-type", b"").startswith(b"application/json"):
            return (
                415,
                text,
                b"Supplied content type is not allowed. Content-Type: application/json is required\n",
            )
        body = await _read(receive)
        if body is None:
            return 413, text, b"Payload too large\n"
        response = answer(body, call)
        await bank.settled()
        encoded = b"" if response is None else msgspec.json.encode(response)
        return 200, b"application/json; charset=utf-8", encoded

    return app


async def _read(receive: Receive) -> bytes | None:
    """The request's body, None when it is above the limit."""
    body = bytearray()
    while True:
        event = await receive()
        body += event.get("body", b"")
        if len(body) > MAX_BODY:
            return None
        if not event.get("more_body"):
            return bytes(body)


async def _websocket(bank: Bank, subscriptions: Subscriptions, receive: Receive, send: Send) -> None:
    """One client: requests are answered in order, notifications flow beside them."""
    await receive()
    await send({"type": "websocket.accept"})
    connection = Connection()
    fresh: list[int] = []

    def call(method: str, parameters: list[Any]) -> Any:
        if not method.endswith("ubscribe"):
            raise method_not_found()
        try:
            result = invoke(subscriptions.call, method, connection, parameters)
        except KeyError:
            raise method_not_found() from None
        if method.endswith("Subscribe"):
            fresh.append(result)
        return result

    writer = asyncio.create_task(_write(connection, send))
    try:
        while True:
            event = await receive()
            if event["type"] == "websocket.disconnect":
                break
            message = event.get("bytes") or (event.get("text") or "").encode()
            response = answer(message, call)
            await bank.settled()
            if response is not None:
                connection.send(response)
            while fresh:
                subscriptions.greet(fresh.pop())
    finally:
        subscriptions.drop(connection)
        writer.cancel()


async def _write(connection: Connection, send: Send) -> None:
    while True:
        message = await connection.outbox.get()
        if message is None:
            await send({"type": "websocket.close", "code": 1013})
            return
        await send({"type": "websocket.send", "text": message.decode()})
