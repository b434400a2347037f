"""How many transactions a second the localnet takes: `python -m tests.chain.localnet.measure [CLIENTS] [EACH]`.

Every client has a payer and a connection of its own and waits for each answer, so each transaction was
verified, simulated, executed and fsynced when it is counted. Signing is done beforehand.
"""

import asyncio
import itertools
import sys
import tempfile
import time
from pathlib import Path

import msgspec
from solders.hash import Hash
from solders.keypair import Keypair
from solders.message import Message
from solders.transaction import VersionedTransaction

from tests.chain.localnet.node import SOL, Node, pay, wire


def request(payer: Keypair, number: int, blockhash: Hash) -> bytes:
    message = Message.new_with_blockhash([pay(payer, payer.pubkey(), number)], payer.pubkey(), blockhash)
    transaction = wire(VersionedTransaction(message, [payer]))
    config = {"encoding": "base64", "preflightCommitment": "processed"}
    call = {"jsonrpc": "2.0", "id": 1, "method": "sendTransaction", "params": [transaction, config]}
    body = msgspec.json.encode(call)
    head = (
        f"POST / HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def client(port: int, requests: list[bytes]) -> list[float]:
    """Send one after the other; seconds each took."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    taken = []
    for one in requests:
        began = time.perf_counter()
        writer.write(one)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
        assert b'"result"' in await reader.readexactly(length)
        taken.append(time.perf_counter() - began)
    writer.close()
    return taken


async def measure(clients: int, each: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        node = Node(Path(folder), slot_ms=400, finality_slots=32)
        payers = [node.rich(SOL) for _ in range(clients)]
        blockhash = node.blockhash()
        work = [[request(payer, number, blockhash) for number in range(each)] for payer in payers]
        began = time.perf_counter()
        answered = await asyncio.gather(*(client(node.port, one) for one in work))
        taken = sorted(itertools.chain.from_iterable(answered))
        rate = len(taken) / (time.perf_counter() - began)
        node.end()
    p50, p95 = taken[len(taken) // 2] * 1000, taken[len(taken) * 95 // 100] * 1000
    print(f"{clients} clients, {len(taken)} transactions: {rate:.0f}/s, p50 {p50:.1f} ms, p95 {p95:.1f} ms")


if __name__ == "__main__":
    asyncio.run(measure(*(int(given) for given in sys.argv[1:] or ("16", "200"))))
