"""Whatever bytes and accounts it is given, the program ends with an error it names; it never leaves its memory."""

import struct
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.transaction_metadata import TransactionMetadata
from solders.transaction_status import InstructionErrorCustom, InstructionErrorFieldless

from tests.chain.program_harness import IDL, MESSAGES, SYSTEM_PROGRAM, Outcome, Quantumagi, snake

INSTRUCTIONS = [sha256(f"global:{snake(i.name)}".encode()).digest()[:8] for i in IDL.instructions]
ACCOUNTS = [sha256(f"account:{a.name}".encode()).digest()[:8] for a in IDL.accounts]

# What the runtime itself answers, to the program's call of the system program or to a sum that does not fit.
RUNTIME_ERRORS = [InstructionErrorFieldless.PrivilegeEscalation, InstructionErrorFieldless.ArithmeticOverflow]
SYSTEM_ERRORS = {0, 1}  # AccountAlreadyInUse, ResultWithNegativeLamports


def assert_defined(outcome: Outcome) -> None:
    """Success, or an error that the IDL, Anchor or the system program has a name for."""
    if isinstance(outcome, TransactionMetadata):
        return
    error = outcome.err().err
    if isinstance(error, InstructionErrorCustom):
        assert error.code in MESSAGES.keys() | SYSTEM_ERRORS, outcome
    else:
        assert error in RUNTIME_ERRORS, outcome


@pytest.fixture(scope="module")
def chain() -> Quantumagi:
    chain = Quantumagi()
    chain.succeed(chain.initialize(), chain.propose(7), chain.propose(8), chain.enact(8))
    chain.voter = chain.wallet()
    chain.succeed(chain.vote(chain.voter.pubkey(), policy_id=7), signers=(chain.voter,))
    chain.forged = Keypair().pubkey()
    return chain


LENGTH = st.sampled_from([0, 1, 5, 6, 32, 1000, 1001, 2**31 - 1, 2**31, 2**32 - 1]).map(
    lambda n: struct.pack("<I", n)
)
PIECE = st.binary(max_size=40) | LENGTH | st.sampled_from([b"ALLOW walk", b"\0", b"\1", b"\2", bytes(32)])
BYTES = st.lists(PIECE, max_size=8).map(b"".join)
KEY = st.integers(0, 9)


def known_address(chain: Quantumagi, key: int) -> Pubkey:
    """Places of every kind: ours, made up, missing, programs, signers."""
    return [
        chain.constitution,
        chain.policy(7),
        chain.policy(8),
        chain.policy(9),
        chain.voter_record(7, chain.voter.pubkey()),
        chain.voter_record(8, chain.voter.pubkey()),
        chain.forged,
        SYSTEM_PROGRAM,
        chain.voter.pubkey(),
        chain.authority.pubkey(),
    ][key]


@settings(max_examples=500, deadline=None)
@given(
    start=st.sampled_from(INSTRUCTIONS) | st.binary(max_size=8),
    rest=BYTES,
    forged=st.tuples(st.sampled_from(ACCOUNTS) | st.binary(max_size=8), BYTES),
    accounts=st.lists(st.tuples(KEY, st.booleans(), st.booleans()), max_size=8),
)
def test_random_bytes_and_accounts(chain, start, rest, forged, accounts):
    chain.place(chain.forged, b"".join(forged))
    wallets = {chain.voter.pubkey(), chain.authority.pubkey()}
    metas = []
    for key, signs, writes in accounts:
        address = known_address(chain, key)
        metas.append(AccountMeta(address, signs and address in wallets, writes))
    assert_defined(chain.simulate(Instruction(chain.address, start + rest, metas), signers=(chain.voter,)))


@settings(max_examples=500, deadline=None)
@given(data=st.data(), which=st.integers(0, 6))
def test_good_instructions_with_a_few_bytes_changed(chain, data, which):
    voter = chain.voter.pubkey()
    good = [
        chain.initialize(),
        chain.propose(9, "ALLOW é"),
        chain.vote(voter, policy_id=7),
        chain.check("walk", 8),
        chain.update(bytes(32)),
        chain.enact(7),
        chain.deactivate(8),
    ][which]
    instruction = bytearray(good.data)
    for at in data.draw(st.lists(st.integers(0, len(instruction) - 1), max_size=4)):
        instruction[at] = data.draw(st.integers(0, 255))
    metas = list(good.accounts)
    for at in data.draw(st.lists(st.integers(0, len(metas) - 1), max_size=2)):
        metas[at] = AccountMeta(known_address(chain, data.draw(KEY)), False, metas[at].is_writable)
    assert_defined(
        chain.simulate(Instruction(chain.address, bytes(instruction), metas), signers=(chain.voter,))
    )


@settings(max_examples=300, deadline=None)
@given(body=BYTES, spoil=st.lists(st.tuples(st.integers(0, 131), st.integers(0, 255)), max_size=4))
def test_accounts_of_random_content(chain, body, spoil):
    whole = bytearray(chain.data(chain.policy(8)))
    for at, value in spoil:
        whole[at] = value
    for content in (ACCOUNTS[1] + body, bytes(whole)):
        chain.place(chain.forged, content)
        assert_defined(chain.simulate(chain.check("walk", policy=chain.forged)))
        assert_defined(chain.simulate(chain.enact(policy=chain.forged)))


@given(st.text() | st.binary().map(lambda b: b.decode(errors="surrogateescape")))
@settings(max_examples=300, deadline=None)
def test_text_is_taken_exactly_when_it_is_utf8(chain, text):
    """Python's strict decoder is the judge."""
    raw = text.encode(errors="surrogateescape")
    good = chain.check("", 8)
    instruction = bytes(good.data[:8]) + struct.pack("<I", len(raw)) + raw + bytes(3 + 8 + 8 + 32)
    outcome = chain.simulate(Instruction(chain.address, instruction, good.accounts))
    refused = not isinstance(outcome, TransactionMetadata) and outcome.err().err == InstructionErrorCustom(
        102
    )
    try:
        raw.decode()
    except UnicodeDecodeError:
        assert refused
    else:
        assert not refused
