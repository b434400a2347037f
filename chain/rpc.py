"""What we ask of a Solana node, through solana-py: bounded in time, and with two ways to fail instead of many."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeGuard

import httpx
from solana.exceptions import SolanaRpcException
from solana.rpc.async_api import AsyncClient
from solana.rpc.commitment import Commitment, Confirmed, Finalized
from solana.rpc.core import RPCException, RPCNoResultException
from solana.rpc.types import DataSliceOpts, TxOpts
from solders.hash import Hash
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.solders import SerdeJSONError
from solders.transaction import Transaction, VersionedTransaction
from solders.transaction_status import TransactionConfirmationStatus, TransactionErrorType

from chain.config import ChainConfig

ACCOUNTS_PER_QUESTION = 100  # getMultipleAccounts takes no more
STATUSES_PER_QUESTION = 256  # getSignatureStatuses takes no more


class Unreachable(Exception):
    """The node did not answer in time, or not as a Solana node does. The message is fit to be shown."""


class NodeRefused(Exception):
    """The node answered with a JSON-RPC error. `error` is the transaction's error where it was one."""

    def __init__(self, message: str, error: TransactionErrorType | None = None) -> None:
        super().__init__(message)
        self.error = error


@dataclass(frozen=True)
class Account:
    address: Pubkey
    owner: Pubkey
    lamports: int
    executable: bool
    data: bytes


@dataclass(frozen=True)
class Status:
    """Where a transaction is. `level` is processed, confirmed or finalized."""

    slot: int
    level: str
    error: TransactionErrorType | None


@dataclass(frozen=True)
class Landed:
    """A transaction read back from the chain, as its signed bytes and what became of them."""

    signature: str
    raw: bytes
    slot: int
    block_time: int | None  # Unix seconds
    error: TransactionErrorType | None
    fee: int  # lamports
    logs: tuple[str, ...]


@asynccontextmanager
async def connect(config: ChainConfig) -> AsyncIterator[Node]:
    async with AsyncClient(config.rpc_url, timeout=config.timeout) as client:
        yield Node(client, config)


class Node:
    """One connection to a node. Every method raises Unreachable or NodeRefused."""

    def __init__(self, client: AsyncClient, config: ChainConfig) -> None:
        self._client = client
        self._timeout = config.timeout
        self._name = config.public_rpc_url

    async def _answer(self, question: Awaitable[Any]) -> Any:
        return (await self._response(question)).value

    async def _response(self, question: Awaitable[Any]) -> Any:
        try:
            async with asyncio.timeout(self._timeout):
                answer = await question
        except RPCException as error:
            raise _refusal(error.args[0] if error.args else error) from error
        except RPCNoResultException as error:
            raise NodeRefused(str(error)) from error
        except SolanaRpcException as error:
            raise Unreachable(f"{self._name} {_http_trouble(error.__cause__)}.") from error
        except TimeoutError as error:
            raise Unreachable(f"{self._name} did not answer within {self._timeout:g} s.") from error
        except SerdeJSONError as error:
            raise Unreachable(f"{self._name} did not answer as a Solana node does.") from error
        # For error codes it does not know, solders hands out the bare number instead of a response.
        if isinstance(answer, int):
            raise NodeRefused(f"The node answered with error {answer}.")
        return answer

    async def genesis_hash(self) -> str:
        return str(await self._answer(self._client.get_genesis_hash()))

    async def version(self) -> str:
        return (await self._answer(self._client.get_version())).solana_core

    async def slot(self, commitment: Commitment = Confirmed) -> int:
        return await self._answer(self._client.get_slot(commitment))

    async def block_height(self, commitment: Commitment = Finalized) -> int:
        return await self._answer(self._client.get_block_height(commitment))

    async def block_time(self, slot: int) -> int | None:
        return await self._answer(self._client.get_block_time(slot))

    async def latest_blockhash(self, commitment: Commitment = Confirmed) -> tuple[Hash, int]:
        """A blockhash to sign with, and the last block height at which it is good."""
        latest = await self._answer(self._client.get_latest_blockhash(commitment))
        return latest.blockhash, latest.last_valid_block_height

    async def accounts(
        self, addresses: Sequence[Pubkey], commitment: Commitment = Confirmed, *, with_data: bool = True
    ) -> list[Account | None]:
        """The accounts in the order asked for; None where there is none. Any number of them."""
        found: list[Account | None] = []
        only = None if with_data else DataSliceOpts(offset=0, length=0)
        for start in range(0, len(addresses), ACCOUNTS_PER_QUESTION):
            part = list(addresses[start : start + ACCOUNTS_PER_QUESTION])
            answer = await self._answer(self._client.get_multiple_accounts(part, commitment, data_slice=only))
            found += [
                account
                and Account(address, account.owner, account.lamports, account.executable, bytes(account.data))
                for address, account in zip(part, answer, strict=True)
            ]
        return found

    async def account(self, address: Pubkey, commitment: Commitment = Confirmed) -> Account | None:
        return (await self.accounts([address], commitment))[0]

    async def statuses(self, signatures: Sequence[str]) -> list[Status | None]:
        """How far each transaction has come; None for one that the node has not seen."""
        found: list[Status | None] = []
        for start in range(0, len(signatures), STATUSES_PER_QUESTION):
            part = [Signature.from_string(text) for text in signatures[start : start + STATUSES_PER_QUESTION]]
            answer = await self._answer(
                self._client.get_signature_statuses(part, search_transaction_history=True)
            )
            found += [
                status and Status(status.slot, _level(status.confirmation_status), status.err)
                for status in answer
            ]
        return found

    async def transaction(self, signature: str, commitment: Commitment = Confirmed) -> Landed | None:
        """A landed transaction; None when the node does not know it, or no longer."""
        answer = await self._answer(
            self._client.get_transaction(
                Signature.from_string(signature), "base64", commitment, max_supported_transaction_version=0
            )
        )
        if answer is None:
            return None
        meta, transaction = answer.transaction.meta, answer.transaction.transaction
        if not isinstance(transaction, VersionedTransaction):
            raise Unreachable(f"{self._name} did not give the transaction's bytes.")
        return Landed(
            signature=signature,
            raw=bytes(transaction),
            slot=answer.slot,
            block_time=answer.block_time,
            error=meta.err if meta else None,
            fee=meta.fee if meta else 0,
            logs=tuple((meta and meta.log_messages) or ()),
        )

    async def signatures_for(self, address: Pubkey, limit: int = 100) -> list[str]:
        """Signatures of successful transactions that touched the address, newest first."""
        answer = await self._answer(
            self._client.get_signatures_for_address(address, limit=limit, commitment=Confirmed)
        )
        return [str(item.signature) for item in answer if item.err is None]

    async def signature_page(self, address: Pubkey, limit: int, before: str | None = None) -> list[str]:
        """Signatures of finalized transactions on the address, failed ones too, newest first; the next page is before the last."""
        answer = await self._answer(
            self._client.get_signatures_for_address(
                address,
                before=Signature.from_string(before) if before else None,
                limit=limit,
                commitment=Finalized,
            )
        )
        return [str(item.signature) for item in answer]

    async def send(self, transaction: bytes) -> None:
        """Hand in signed bytes. Raises NodeRefused when the node's preflight says they would fail."""
        options = TxOpts(skip_confirmation=True, preflight_commitment=Confirmed)
        await self._answer(self._client.send_raw_transaction(transaction, options))

    async def simulate(self, unsigned: Transaction) -> tuple[int, TransactionErrorType | None]:
        """Run a transaction on the finalized state and keep nothing: the slot, and the error if it would fail."""
        answer = await self._response(self._client.simulate_transaction(unsigned, False, Finalized))
        return answer.context.slot, answer.value.err

    async def airdrop(self, address: Pubkey, lamports: int) -> str:
        return str(await self._answer(self._client.request_airdrop(address, lamports)))


def _level(status: TransactionConfirmationStatus | None) -> str:
    if status == TransactionConfirmationStatus.Finalized:
        return "finalized"
    return "confirmed" if status == TransactionConfirmationStatus.Confirmed else "processed"


def is_signature(text: str | None) -> TypeGuard[str]:
    """Whether this is a transaction's signature in base58, so that a node can be asked for it."""
    if text is None:
        return False
    try:
        Signature.from_string(text)
    except ValueError:
        return False
    return True


def _refusal(answer: Any) -> NodeRefused:
    message = getattr(answer, "message", None) or str(answer)
    data = getattr(answer, "data", None)
    return NodeRefused(message, getattr(data, "err", None))


def _http_trouble(cause: BaseException | None) -> str:
    if isinstance(cause, httpx.HTTPStatusError):
        return f"answered {cause.response.status_code} {cause.response.reason_phrase}"
    if isinstance(cause, httpx.TimeoutException):
        return "did not answer in time"
    return "cannot be reached"
