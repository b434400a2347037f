"""The typed client against the real program on LiteSVM, and what it makes of keys, sizes, errors and foreign bytes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from solders.hash import Hash
from solders.keypair import Keypair
from solders.litesvm import LiteSVM
from solders.pubkey import Pubkey
from solders.transaction_metadata import FailedTransactionMetadata

from chain import explorer, quantumagi
from chain.config import DEFAULT_PROGRAM_ID, ChainConfig, KeypairError, parse_keypair
from chain.inspection import MAINNET_GENESIS
from workflows.kinds import Category, Priority
from workflows.policy_creation import records

PROGRAM = Path(quantumagi.__file__).parent / "program" / "quantumagi.so"
SHA256 = "d1" * 32


def largest_record() -> bytes:
    """As long as ours can get: a reference past 9999, a hundred versions, and a ballot of the whole world."""
    people = 8_000_000_000
    return records.policy_record(
        ref="POL-2026-1000000",
        version=100,
        text_hash=SHA256,
        version_hash=SHA256,
        tally=(people, people, people),
        electorate=people,
        root_hash=SHA256,
        constitution_sha256=SHA256,
    )


def memo_text() -> str:
    return records.policy_memo(
        ref="POL-2026-1000000", version=100, text_hash=SHA256, constitution_sha256=SHA256
    )


class Chain:
    """LiteSVM with the program, a rich authority and a founded constitution."""

    def __init__(self) -> None:
        self.svm, self.key = LiteSVM(), Keypair()
        self.svm.add_program_from_file(DEFAULT_PROGRAM_ID, PROGRAM)
        self.svm.airdrop(self.key.pubkey(), 10**10)
        self.do(quantumagi.initialize(DEFAULT_PROGRAM_ID, self.key.pubkey(), SHA256))

    def do(self, *instructions: quantumagi.Instruction) -> None:
        outcome = self.attempt(*instructions)
        assert not isinstance(outcome, FailedTransactionMetadata), outcome

    def attempt(self, *instructions: quantumagi.Instruction) -> object:
        self.svm.expire_blockhash()
        signed = quantumagi.sign(list(instructions), self.key, self.svm.latest_blockhash())
        return self.svm.send_transaction(signed)

    def policy(self, record: bytes) -> quantumagi.PolicyAccount:
        address = quantumagi.policy_address(DEFAULT_PROGRAM_ID, records.chain_policy_id(record))
        account = self.svm.get_account(address)
        assert account is not None
        return quantumagi.policy_account(bytes(account.data))


@pytest.fixture
def chain() -> Chain:
    return Chain()


def anchor(chain: Chain, record: bytes, category: Category, priority: Priority) -> None:
    chain.do(
        *quantumagi.policy_anchor_instructions(
            DEFAULT_PROGRAM_ID, chain.key.pubkey(), record, category, priority, "a memo"
        )
    )


def test_the_constitution_is_where_the_interface_says() -> None:
    address = quantumagi.constitution_address(DEFAULT_PROGRAM_ID)
    assert str(address) == "FKoKq4ZXY1pVaoPJLFkBXR27ZJEfHB5y2TRRYhJ94iWN"


def test_a_founded_constitution_is_read_back(chain: Chain) -> None:
    address = quantumagi.constitution_address(DEFAULT_PROGRAM_ID)
    found = quantumagi.constitution_account(bytes(chain.svm.get_account(address).data))
    assert found.hash.hex() == SHA256
    assert found.authority == chain.key.pubkey()
    assert (found.version, found.is_active, found.updated_at) == (1, True, None)


@pytest.mark.parametrize("category", Category)
@pytest.mark.parametrize("priority", Priority)
def test_categories_and_priorities_mean_on_chain_what_they_mean_here(
    chain: Chain, category: Category, priority: Priority
) -> None:
    anchor(chain, b"record", category, priority)
    found = chain.policy(b"record")
    expected = {
        "constitutional": "PromptConstitution",
        "safety": "Safety",
        "governance": "Governance",
        "financial": "Financial",
    }
    levels = {"low": "Low", "normal": "Medium", "high": "High", "critical": "Critical"}
    assert (found.category, found.priority) == (expected[category], levels[priority])
    assert found.is_active


def test_the_largest_record_fits_and_costs_what_is_asked_for(chain: Chain) -> None:
    record = largest_record()
    key = chain.key.pubkey()
    before = chain.svm.get_balance(key)
    instructions = quantumagi.policy_anchor_instructions(
        DEFAULT_PROGRAM_ID, key, record, Category.SAFETY, Priority.NORMAL, memo_text()
    )
    size = len(bytes(quantumagi.sign(instructions, chain.key, Hash.default())))
    assert len(record) <= quantumagi.MAX_RULE
    assert size <= quantumagi.MAX_TRANSACTION
    chain.do(*instructions)
    assert chain.policy(record).rule.encode() == record
    assert before - chain.svm.get_balance(key) == quantumagi.policy_cost(len(record))


def test_what_is_too_large_is_refused_before_it_is_signed() -> None:
    key = Keypair().pubkey()
    with pytest.raises(quantumagi.TooLarge, match="1001 bytes"):
        quantumagi.propose_policy(DEFAULT_PROGRAM_ID, key, b"r" * 1001, Category.SAFETY, Priority.LOW)
    with pytest.raises(quantumagi.TooLarge, match="1232"):
        quantumagi.policy_anchor_instructions(
            DEFAULT_PROGRAM_ID, key, largest_record(), Category.SAFETY, Priority.LOW, "m" * 600
        )
    with pytest.raises(quantumagi.TooLarge, match="1232"):
        quantumagi.deactivation_instructions(DEFAULT_PROGRAM_ID, key, key, "m" * 1200)
    with pytest.raises(ValueError, match="32 bytes"):
        quantumagi.initialize(DEFAULT_PROGRAM_ID, key, "d1" * 31)


def test_a_deactivated_policy_is_read_back(chain: Chain) -> None:
    anchor(chain, b"record", Category.GOVERNANCE, Priority.LOW)
    address = quantumagi.policy_address(DEFAULT_PROGRAM_ID, records.chain_policy_id(b"record"))
    chain.do(*quantumagi.deactivation_instructions(DEFAULT_PROGRAM_ID, chain.key.pubkey(), address, "why"))
    found = chain.policy(b"record")
    assert not found.is_active
    assert found.deactivated_at is not None


def test_errors_are_told_by_name(chain: Chain) -> None:
    anchor(chain, b"record", Category.GOVERNANCE, Priority.LOW)
    again = quantumagi.propose_policy(
        DEFAULT_PROGRAM_ID, chain.key.pubkey(), b"record", Category.GOVERNANCE, Priority.LOW
    )
    assert quantumagi.failure(chain.attempt(again).err()).name == "AccountAlreadyInUse"
    nowhere = quantumagi.enact_policy(
        DEFAULT_PROGRAM_ID, chain.key.pubkey(), quantumagi.policy_address(DEFAULT_PROGRAM_ID, 7)
    )
    assert str(quantumagi.failure(chain.attempt(nowhere).err())).startswith("AccountNotInitialized (3012): ")
    stranger = Keypair()
    chain.svm.airdrop(stranger.pubkey(), 10**9)
    chain.key = stranger
    address = quantumagi.policy_address(DEFAULT_PROGRAM_ID, records.chain_policy_id(b"record"))
    theirs = quantumagi.deactivate_policy(DEFAULT_PROGRAM_ID, stranger.pubkey(), address)
    found = quantumagi.failure(chain.attempt(theirs).err())
    assert (found.name, found.code) == ("Unauthorized", 6000)


def test_every_error_of_the_idl_has_its_words() -> None:
    codes = range(6000, 6007)
    assert [quantumagi.error_by_code(code).name for code in codes] == [
        "Unauthorized",
        "ComplianceFailed",
        "PolicyNotActive",
        "ConstitutionInactive",
        "PolicyAlreadyActive",
        "AlreadyVoted",
        "RuleTooLong",
    ]
    assert quantumagi.error_by_code(9999).name == "UnknownError"


@given(st.binary(max_size=200))
def test_foreign_bytes_are_no_account_and_no_instruction(data: bytes) -> None:
    with pytest.raises(quantumagi.NotQuantumagi):
        quantumagi.decode(data)
    with pytest.raises(quantumagi.NotQuantumagi):
        quantumagi.decode_instruction(data)


@given(st.integers(min_value=0, max_value=140))
def test_a_truncated_account_is_refused_or_read_whole(length: int) -> None:
    data = CONSTITUTION_BYTES[:length]
    if length < 8 + 32 + 32 + 4 + 1 + 8 + 1:
        with pytest.raises(quantumagi.NotQuantumagi):
            quantumagi.constitution_account(data)
    else:
        assert quantumagi.constitution_account(data).hash.hex() == SHA256


def _constitution_bytes() -> bytes:
    chain = Chain()
    return bytes(chain.svm.get_account(quantumagi.constitution_address(DEFAULT_PROGRAM_ID)).data)


CONSTITUTION_BYTES = _constitution_bytes()


# The key


def test_a_key_is_read_from_file_json_and_base58(tmp_path: Path) -> None:
    key = Keypair()
    file = tmp_path / "id.json"
    file.write_text(json.dumps(list(bytes(key))))
    assert parse_keypair(str(file)) == parse_keypair(file.read_text()) == parse_keypair(f" {key}\n") == key


@pytest.mark.parametrize(
    "given",
    [
        "",
        "  ",
        "[1, 2]",
        "[300]",
        "[",
        "{}",
        "[1, null]",
        "11" * 32,
        "x" * 5000,
        "/nowhere/id.json",
        "abc",
        "[]",
    ],
)
def test_a_key_that_cannot_be_used_is_named_and_never_quoted(given: str) -> None:
    with pytest.raises(KeypairError) as refused:
        parse_keypair(given)
    assert "ANCHOR_KEYPAIR" in str(refused.value)
    assert not given.strip() or given not in str(refused.value)


def test_a_wrong_half_is_no_keypair_and_stays_secret() -> None:
    secret = [*bytes(Keypair())[:32], *bytes(Keypair())[32:]]
    with pytest.raises(KeypairError) as refused:
        parse_keypair(json.dumps(secret))
    assert str(secret[0:3])[1:-1] not in str(refused.value)


def test_a_config_shows_no_secret() -> None:
    key = Keypair()
    config = ChainConfig(rpc_url="https://user:pass@rpc.example:8443/v2/key?api-key=abc", authority=key)
    assert str(key) not in repr(config)
    assert config.public_rpc_url == "https://rpc.example:8443"
    assert config.authority_address == key.pubkey()
    with pytest.raises(ValueError, match="http"):
        ChainConfig(rpc_url="ftp://somewhere")


# Links


@pytest.mark.parametrize(
    ("cluster", "explorer_rpc", "query"),
    [
        ("devnet", None, "?cluster=devnet"),
        ("testnet", None, "?cluster=testnet"),
        ("mainnet-beta", None, ""),
        ("localnet", None, "?cluster=custom&customUrl=http%3A%2F%2F127.0.0.1%3A8899"),
        ("localnet", "http://localhost:9000", "?cluster=custom&customUrl=http%3A%2F%2Flocalhost%3A9000"),
        ("private", "https://rpc.example", "?cluster=custom&customUrl=https%3A%2F%2Frpc.example"),
    ],
)
def test_links_lead_to_the_right_cluster(cluster: str, explorer_rpc: str | None, query: str) -> None:
    config = ChainConfig(rpc_url="http://127.0.0.1:8899", cluster=cluster, explorer_rpc_url=explorer_rpc)
    assert explorer.transaction_url(config, "sig") == f"https://explorer.solana.com/tx/sig{query}"
    assert explorer.address_url(config, "addr") == f"https://explorer.solana.com/address/addr{query}"


def test_a_private_node_is_never_put_into_a_link() -> None:
    config = ChainConfig(rpc_url="https://rpc.example/secret-key", cluster="private")
    assert explorer.transaction_url(config, "sig") is None


def test_mainnets_genesis_is_an_address_of_32_bytes() -> None:
    assert len(bytes(Pubkey.from_string(MAINNET_GENESIS))) == 32
