"""`python -m chain.localnet`: open the ledger, begin the slots, serve both ports until told to stop."""

import argparse
import asyncio
import contextlib
import logging
import signal
import socket
import sys
from pathlib import Path

import uvicorn
from solders.pubkey import Pubkey

from chain.localnet.bank import Bank, found
from chain.localnet.ledger import Ledger, LedgerError
from chain.localnet.server import application
from chain.localnet.subscriptions import Subscriptions

PROGRAM = Path(__file__).parent.parent / "program" / "quantumagi.so"
PROGRAM_ID = "8eRUCnQsDxqK7vjp5XsYs7C3NGpdhzzaMW8QQGzfTUV4"


def main() -> None:
    arguments = parse_arguments()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    # uvicorn raises the signal that stopped it once more when it is done; that must end in a clean exit.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    try:
        ledger = Ledger(arguments.ledger)
        if ledger.is_new:
            found(ledger, {arguments.program_id: arguments.program.read_bytes()})
        rpc = listen(arguments.host, arguments.port)
        pubsub = listen(arguments.host, arguments.ws_port or rpc.getsockname()[1] + 1)
    except (LedgerError, OSError) as error:
        sys.exit(f"localnet: {error}")
    bank = Bank(ledger, slot_ms=arguments.slot_ms, finality_slots=arguments.finality_slots)
    compare_program(bank, arguments.program_id, arguments.program)
    try:
        asyncio.run(serve(bank, [rpc, pubsub]))
    finally:
        bank.close()


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="chain.localnet", description=__doc__)
    parser.add_argument("--ledger", type=Path, required=True, help="directory the chain is kept in")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8899, help="JSON-RPC (and WebSocket)")
    parser.add_argument("--ws-port", type=int, help="WebSocket (and JSON-RPC); default: port + 1")
    parser.add_argument("--program-id", type=Pubkey.from_string, default=Pubkey.from_string(PROGRAM_ID))
    parser.add_argument(
        "--program", type=Path, default=PROGRAM, help="the ELF put there when a chain is founded"
    )
    parser.add_argument("--slot-ms", type=int, default=400, help="length of a slot")
    parser.add_argument("--finality-slots", type=int, default=32, help="slots until a block is final")
    arguments = parser.parse_args()
    if arguments.slot_ms < 1 or arguments.finality_slots < 1:
        parser.error("--slot-ms and --finality-slots are at least 1")
    return arguments


def compare_program(bank: Bank, address: Pubkey, elf: Path) -> None:
    """Say so when this chain was founded with another program than the one on the disk now."""
    held = bank.views["finalized"].get(address)
    if not elf.exists():
        return
    if held is None or bytes(held.data) != elf.read_bytes():
        print(
            f"localnet: the program at {address} in this ledger is not {elf.name} as it is now; a chain keeps the"
            " program it was founded with (move the ledger directory away to found a new chain)",
            file=sys.stderr,
        )


def listen(host: str, port: int) -> socket.socket:
    """A bound socket. Raises OSError that names the address when it is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # with the protocol named, asyncio sets TCP_NODELAY; without it every answer waits 40 ms for an ACK
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        raise OSError(f"cannot listen on {host}:{port}: {error.strerror}") from error
    return bound


class Announcing(uvicorn.Server):
    """Prints one line on standard output once requests are answered."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        rpc, pubsub = (":".join(map(str, one.getsockname()[:2])) for one in sockets or [])
        print(f"localnet ready: http://{rpc} ws://{pubsub}", flush=True)


async def serve(bank: Bank, sockets: list[socket.socket]) -> None:
    """Run slots and server together; whichever ends first ends both."""
    subscriptions = Subscriptions(bank)
    bank.listener = subscriptions
    config = uvicorn.Config(
        application(bank, subscriptions),
        http="httptools",
        ws="websockets-sansio",
        lifespan="off",
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=2,
        ws_max_size=64 * 1024,
    )
    server = Announcing(config)
    slots = asyncio.create_task(bank.run())
    slots.add_done_callback(lambda _: setattr(server, "should_exit", True))
    await server.serve(sockets)
    slots.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await slots


if __name__ == "__main__":
    main()
