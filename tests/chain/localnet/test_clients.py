"""solana-py and anchorpy, as the portal uses them, against the localnet: requests and WebSocket."""

import asyncio
import hashlib

import pytest
from anchorpy import Context, Idl, Program, Provider, Wallet
from anchorpy.error import ProgramError
from solana.rpc.async_api import AsyncClient
from solana.rpc.commitment import Confirmed, Finalized, Processed
from solana.rpc.core import RPCException, TransactionExpiredBlockheightExceededError
from solana.rpc.types import MemcmpOpts, TxOpts
from solana.rpc.websocket_api import connect
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.rpc.config import RpcTransactionLogsFilterMentions
from solders.rpc.errors import SendTransactionPreflightFailureMessage
from solders.rpc.responses import SubscriptionResult
from solders.signature import Signature
from solders.system_program import ID as SYSTEM_PROGRAM
from solders.transaction_status import TransactionConfirmationStatus

from tests.chain.localnet.node import PROGRAM_ID, ROOT, SOL, Node, memo, pay

IDL = Idl.from_json((ROOT / "chain/idl/quantumagi_core.json").read_text())
HASH = list(hashlib.sha256(b"a constitution").digest())


@pytest.fixture
async def client(node: Node):
    async with AsyncClient(node.url, Confirmed) as client:
        yield client


async def test_airdrop_pay_and_look_up(node: Node, client: AsyncClient) -> None:
    payer, target = Keypair(), Keypair().pubkey()
    drop = (await client.request_airdrop(payer.pubkey(), 2 * SOL)).value
    await client.confirm_transaction(drop, Confirmed, sleep_seconds=0.05)
    transaction = node.signed(payer, pay(payer, target, SOL), memo("from Python"))
    sent = (await client.send_transaction(transaction, TxOpts(preflight_commitment=Processed))).value
    await client.confirm_transaction(sent, Finalized, sleep_seconds=0.05)
    assert (await client.get_balance(target, Finalized)).value == SOL
    status = (await client.get_signature_statuses([sent])).value[0]
    assert status.confirmation_status == TransactionConfirmationStatus.Finalized
    found = (await client.get_transaction(sent, max_supported_transaction_version=0)).value
    assert found.transaction.meta.fee == 5000
    assert found.transaction.transaction.message.recent_blockhash == transaction.message.recent_blockhash
    parsed = (await client.get_transaction(sent, "jsonParsed", max_supported_transaction_version=0)).value
    assert parsed.transaction.transaction.message.instructions[1].parsed == "from Python"
    history = (await client.get_signatures_for_address(payer.pubkey(), limit=1)).value
    assert (history[0].signature, history[0].memo) == (sent, "[11] from Python")
    block = (await client.get_block(found.slot, max_supported_transaction_version=0)).value
    assert block.block_time == found.block_time


async def test_every_read_is_understood(client: AsyncClient) -> None:
    """solders parses each answer strictly; what it accepts has a node's shape."""
    assert await client.is_connected()
    assert (await client.get_version()).value.solana_core
    assert (await client.get_genesis_hash()).value
    assert (await client.get_block_height()).value >= 0
    assert (await client.get_epoch_info()).value.slots_in_epoch == 432_000
    assert (await client.get_epoch_schedule()).value.slots_per_epoch == 432_000
    assert (await client.get_latest_blockhash()).value.last_valid_block_height >= 150
    assert (await client.get_minimum_balance_for_rent_exemption(0)).value == 890_880
    assert (await client.get_supply()).value.total > 0
    assert (await client.get_vote_accounts()).value.current == []
    assert (await client.get_cluster_nodes()).value
    assert (await client.get_slot_leader()).value
    assert (await client.get_identity()).value.identity
    assert (await client.get_first_available_block()).value == 0
    assert (await client.get_transaction_count()).value >= 0
    assert (await client.get_account_info(PROGRAM_ID)).value.executable
    assert (await client.get_multiple_accounts([PROGRAM_ID, Pubkey.new_unique()])).value[1] is None
    assert (await client.get_blocks(0, 1)).value == [0, 1]
    filters = [113, MemcmpOpts(offset=0, bytes="1")]
    assert (await client.get_program_accounts(PROGRAM_ID, filters=filters)).value == []


async def test_a_preflight_error_is_a_typed_error(node: Node, client: AsyncClient) -> None:
    payer = node.rich(SOL)
    with pytest.raises(RPCException) as failure:
        await client.send_transaction(
            node.signed(payer, pay(payer, Keypair().pubkey(), 9 * SOL)),
            TxOpts(preflight_commitment=Processed),
        )
    message = failure.value.args[0]
    assert isinstance(message, SendTransactionPreflightFailureMessage)
    assert message.data.units_consumed == 150
    assert any("insufficient lamports" in line for line in message.data.logs)


async def test_an_expired_blockhash_is_told_apart(node: Node, client: AsyncClient) -> None:
    never = Signature.from_bytes(bytes(Keypair().sign_message(b"never sent")))
    with pytest.raises(TransactionExpiredBlockheightExceededError):
        await client.confirm_transaction(never, Confirmed, sleep_seconds=0.05, last_valid_block_height=1)


async def test_subscriptions(node: Node) -> None:
    """signature, account, logs, program, slot and root, parsed by solders; and their end."""
    payer, target = node.rich(), Keypair().pubkey()
    transaction = node.signed(payer, pay(payer, target, SOL), memo("heard"))
    signature = transaction.signatures[0]
    async with connect(node.ws) as socket:
        await socket.signature_subscribe(signature, Confirmed)
        await socket.account_subscribe(target, Processed, "base64")
        await socket.logs_subscribe(RpcTransactionLogsFilterMentions(target), Finalized)
        await socket.program_subscribe(SYSTEM_PROGRAM, Processed, "base64", filters=[0])
        await socket.slot_subscribe()
        await socket.root_subscribe()
        answers: list[SubscriptionResult] = []
        while len(answers) < 6:  # slots are announced meanwhile
            answers += [one for one in await socket.recv() if isinstance(one, SubscriptionResult)]
        ids = [answer.result for answer in answers]
        assert len(set(ids)) == 6
        node.send(transaction)
        heard: dict[str, list] = {}
        while len(heard) < 6:
            for message in await asyncio.wait_for(socket.recv(), 10):
                heard.setdefault(type(message).__name__, []).append(message)
        assert set(heard) == {
            "SignatureNotification",
            "AccountNotification",
            "LogsNotification",
            "ProgramNotification",
            "SlotNotification",
            "RootNotification",
        }
        assert heard["SignatureNotification"][0].result.value.err is None
        assert heard["AccountNotification"][0].result.value.lamports == SOL
        logs = heard["LogsNotification"][0].result.value
        assert logs.signature == signature
        assert any("heard" in line for line in logs.logs)
        touched = {message.result.value.pubkey for message in heard["ProgramNotification"]}
        assert {payer.pubkey(), target} <= touched
        slot = heard["SlotNotification"][0].result
        assert slot.parent == slot.slot - 1
        assert slot.root < slot.slot
        await socket.slot_unsubscribe(ids[4])


async def test_a_signature_that_landed_before_is_heard_at_once(node: Node) -> None:
    signature = Signature.from_string(node.send(node.signed(node.rich(), memo("earlier"))))
    node.reach(str(signature), "confirmed")
    async with connect(node.ws) as socket:
        await socket.signature_subscribe(signature, Confirmed)
        await socket.recv()
        message = (await asyncio.wait_for(socket.recv(), 5))[0]
        assert message.result.value.err is None


async def test_anchorpy_walks_the_program(node: Node, client: AsyncClient) -> None:
    """propose → enact → read → refuse, with our IDL as it is."""
    authority = node.rich()
    provider = Provider(client, Wallet(authority), TxOpts(preflight_commitment=Processed))
    program = Program(IDL, PROGRAM_ID, provider)
    constitution = Pubkey.find_program_address([b"constitution"], PROGRAM_ID)[0]
    assert str(constitution) == "FKoKq4ZXY1pVaoPJLFkBXR27ZJEfHB5y2TRRYhJ94iWN"
    policy_id = 7
    policy = Pubkey.find_program_address([b"policy", policy_id.to_bytes(8, "little")], PROGRAM_ID)[0]
    kinds = program.type
    await program.rpc["propose_policy"](
        policy_id,
        "ALLOW from Python",
        kinds["PolicyCategory"].Governance(),
        kinds["PolicyPriority"].High(),
        ctx=Context(
            accounts={"policy": policy, "authority": authority.pubkey(), "system_program": SYSTEM_PROGRAM}
        ),
    )
    found = await program.account["Policy"].fetch(policy, Processed)
    assert (found.id, found.rule, found.is_active) == (policy_id, "ALLOW from Python", False)
    assert found.proposed_by == authority.pubkey()
    with pytest.raises(ProgramError) as failure:
        await program.rpc["enact_policy"](
            ctx=Context(
                accounts={"policy": policy, "constitution": constitution, "authority": authority.pubkey()}
            )
        )
    assert failure.value.code == 3012, "AccountNotInitialized: no constitution on this chain"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
