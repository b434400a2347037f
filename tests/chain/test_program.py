"""Each instruction of the Quantumagi program does what its page says, to the byte of the account it writes."""

import struct
from hashlib import sha256

import pytest
from solders.instruction import AccountMeta
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.rent import Rent

from tests.chain.program_harness import (
    HASH,
    START,
    Outcome,
    Quantumagi,
    assert_fails,
    error_number,
    with_data,
    with_flags,
)

CATEGORIES = ["PromptConstitution", "Safety", "Governance", "Financial"]
PRIORITIES = ["Critical", "High", "Medium", "Low"]
SOL = 10**9


@pytest.fixture
def chain() -> Quantumagi:
    """A chain with an initialised constitution."""
    chain = Quantumagi()
    chain.succeed(chain.initialize())
    return chain


def discriminator(account: str) -> bytes:
    return sha256(f"account:{account}".encode()).digest()[:8]


def option(layout: str, value: object) -> bytes:
    return b"\0" if value is None else b"\1" + struct.pack(layout, value)


def constitution_bytes(
    authority, hash=HASH, version=1, is_active=True, created_at=START, updated_at=None
) -> bytes:
    body = (
        bytes(authority)
        + hash
        + struct.pack("<I?q", version, is_active, created_at)
        + option("<q", updated_at)
    )
    return (discriminator("Constitution") + body).ljust(94, b"\0")


def policy_bytes(
    proposed_by,
    policy_id=7,
    rule="ALLOW walk",
    category=2,
    priority=2,
    is_active=False,
    enacted_at=None,
    enacted_by=None,
    deactivated_at=None,
    votes=(0, 0),
) -> bytes:
    """The account as Borsh packs it: an absent option is one byte, and what follows moves up."""
    text = rule.encode()
    body = struct.pack("<QI", policy_id, len(text)) + text
    body += struct.pack("<BB?q", category, priority, is_active, START) + bytes(proposed_by)
    body += option("<q", enacted_at) + option("32s", enacted_by and bytes(enacted_by))
    body += option("<q", deactivated_at) + struct.pack("<II", *votes)
    return (discriminator("Policy") + body).ljust(122 + len(text), b"\0")


def rent(size: int) -> int:
    return (size + 128) * 6960


def test_initialize_founds_the_constitution():
    chain = Quantumagi()
    chain.succeed(chain.initialize())
    assert chain.data(chain.constitution) == constitution_bytes(chain.authority.pubkey())
    assert chain.svm.get_balance(chain.constitution) == rent(94)
    assert chain.svm.get_balance(chain.authority.pubkey()) == 1000 * SOL - rent(94)
    decoded = chain.decode(chain.constitution)
    assert (bytes(decoded.hash), decoded.version, decoded.is_active) == (HASH, 1, True)
    assert (decoded.authority, decoded.created_at, decoded.updated_at) == (
        chain.authority.pubkey(),
        START,
        None,
    )


def test_the_constitution_is_founded_once(chain):
    rival = chain.wallet()
    outcome = chain.send(chain.initialize(bytes(32), authority=rival.pubkey()), signers=(rival,))
    assert_already_in_use(outcome)
    assert chain.data(chain.constitution) == constitution_bytes(chain.authority.pubkey())


def assert_already_in_use(outcome: Outcome) -> None:
    """Anchor's `init` leaves it to the system program to refuse a taken address: its error 0."""
    assert error_number(outcome) == 0
    assert any("already in use" in line for line in outcome.meta().logs())


@pytest.mark.parametrize("category", CATEGORIES)
@pytest.mark.parametrize("priority", PRIORITIES)
def test_anyone_proposes_a_policy(chain, category, priority):
    someone = chain.wallet()
    chain.succeed(
        chain.propose(9, "DENY ümlauts", category, priority, authority=someone.pubkey()), signers=(someone,)
    )
    place = (CATEGORIES.index(category), PRIORITIES.index(priority))
    assert chain.data(chain.policy(9)) == policy_bytes(someone.pubkey(), 9, "DENY ümlauts", *place)
    assert chain.svm.get_balance(chain.policy(9)) == rent(122 + len("DENY ümlauts".encode()))
    decoded = chain.decode(chain.policy(9))
    assert (decoded.rule, type(decoded.category).__name__) == ("DENY ümlauts", category)
    assert (decoded.proposed_by, type(decoded.priority).__name__) == (someone.pubkey(), priority)


def test_a_policy_needs_no_constitution():
    chain = Quantumagi()
    chain.succeed(chain.propose())
    assert chain.data(chain.policy(7)) == policy_bytes(chain.authority.pubkey())


def test_a_policy_id_is_taken_for_good(chain):
    chain.succeed(chain.propose(rule="first"))
    assert_already_in_use(chain.send(chain.propose(rule="second")))
    assert chain.decode(chain.policy(7)).rule == "first"


@pytest.mark.parametrize("policy_id", [0, 1, 2**32, 2**63, 2**64 - 1])
def test_every_u64_is_a_policy_id(chain, policy_id):
    chain.succeed(chain.propose(policy_id))
    assert chain.decode(chain.policy(policy_id)).id == policy_id


@pytest.mark.parametrize("rule", ["", "x", "ALLOW", "x" * 999, "x" * 1000, "é" * 500, "🜁" * 250])
def test_a_rule_of_up_to_1000_bytes(chain, rule):
    chain.succeed(chain.propose(rule=rule))
    assert chain.data(chain.policy(7)) == policy_bytes(chain.authority.pubkey(), rule=rule)


@pytest.mark.parametrize("rule", ["x" * 1001, "é" * 500 + "x", "x" * 5000])
def test_a_rule_over_1000_bytes_is_refused(chain, rule):
    assert_fails(chain.send(chain.propose(rule=rule)), 6006)
    assert chain.svm.get_account(chain.policy(7)) is None


def test_the_authority_enacts(chain):
    proposer = chain.wallet()
    chain.succeed(chain.propose(authority=proposer.pubkey()), signers=(proposer,))
    chain.set_time(START + 60)
    chain.succeed(chain.enact())
    authority = chain.authority.pubkey()
    assert chain.data(chain.policy(7)) == policy_bytes(
        proposer.pubkey(), is_active=True, enacted_at=START + 60, enacted_by=authority
    )
    assert chain.data(chain.constitution) == constitution_bytes(authority)


def test_proposing_and_enacting_in_one_transaction(chain):
    chain.succeed(chain.propose(), chain.enact())
    assert chain.decode(chain.policy(7)).is_active


def test_enacting_again_renews_the_date(chain):
    chain.succeed(chain.propose(), chain.enact())
    chain.set_time(START + 5)
    chain.succeed(chain.enact())
    assert chain.decode(chain.policy(7)).enacted_at == START + 5


def test_enacting_does_not_look_at_the_votes(chain):
    chain.succeed(chain.propose())
    opponent = chain.wallet()
    chain.succeed(chain.vote(opponent.pubkey(), "Against"), signers=(opponent,))
    chain.succeed(chain.enact())
    assert chain.decode(chain.policy(7)).is_active


def test_deactivating_keeps_the_history(chain):
    chain.succeed(chain.propose(), chain.enact())
    chain.set_time(START + 90)
    chain.succeed(chain.deactivate())
    authority = chain.authority.pubkey()
    suspended = policy_bytes(authority, enacted_at=START, enacted_by=authority, deactivated_at=START + 90)
    assert chain.data(chain.policy(7)) == suspended
    chain.succeed(chain.enact())
    revived = chain.decode(chain.policy(7))
    assert (revived.is_active, revived.enacted_at, revived.deactivated_at) == (True, START + 90, START + 90)


def test_a_policy_that_was_never_active_can_be_deactivated(chain):
    chain.succeed(chain.propose(), chain.deactivate())
    assert chain.data(chain.policy(7)) == policy_bytes(chain.authority.pubkey(), deactivated_at=START)


def test_deactivating_does_not_need_an_active_constitution(chain):
    chain.succeed(chain.propose(), chain.enact())
    chain.place(chain.constitution, constitution_bytes(chain.authority.pubkey(), is_active=False))
    chain.succeed(chain.deactivate())
    assert not chain.decode(chain.policy(7)).is_active


def test_votes_are_counted_one_each(chain):
    chain.succeed(chain.propose())
    for choice in ["For", "Against", "For"]:
        voter = chain.wallet()
        chain.set_time(START + 3)
        chain.succeed(chain.vote(voter.pubkey(), choice), signers=(voter,))
        record = chain.voter_record(7, voter.pubkey())
        assert chain.data(record) == b"".join(
            [
                discriminator("VoterRecord"),
                bytes(32),  # the voter and the policy's id stay zero: the deployed program's quirk
                struct.pack("<Q?Bq", 0, True, choice == "Against", START + 3),
            ]
        )
        assert chain.svm.get_balance(record) == rent(58)
    assert chain.data(chain.policy(7)) == policy_bytes(chain.authority.pubkey(), votes=(2, 1))


def test_a_vote_belongs_to_one_policy(chain):
    voter = chain.wallet()
    for policy_id in (7, 8):
        chain.succeed(chain.propose(policy_id))
        chain.succeed(chain.vote(voter.pubkey(), policy_id=policy_id), signers=(voter,))
        assert chain.decode(chain.policy(policy_id)).votes_for == 1


def test_a_second_vote_is_refused_by_the_system_program(chain):
    """AlreadyVoted, 6005, cannot arise: `init` makes the record anew, and the taken address is refused before."""
    chain.succeed(chain.propose())
    voter = chain.wallet()
    chain.succeed(chain.vote(voter.pubkey(), "For"), signers=(voter,))
    before = chain.data(chain.policy(7)), chain.data(chain.voter_record(7, voter.pubkey()))
    for choice in ("For", "Against"):
        assert_already_in_use(chain.send(chain.vote(voter.pubkey(), choice), signers=(voter,)))
    assert (chain.data(chain.policy(7)), chain.data(chain.voter_record(7, voter.pubkey()))) == before


def test_a_vote_after_a_suspension(chain):
    chain.succeed(chain.propose(), chain.enact(), chain.deactivate())
    voter = chain.wallet()
    chain.succeed(chain.vote(voter.pubkey()), signers=(voter,))
    assert chain.decode(chain.policy(7)).votes_for == 1


def test_the_last_countable_vote(chain):
    proposer = chain.authority.pubkey()
    chain.succeed(chain.propose())
    chain.place(chain.policy(7), policy_bytes(proposer, votes=(2**32 - 2, 5)))
    first, second = chain.wallet(), chain.wallet()
    chain.succeed(chain.vote(first.pubkey()), signers=(first,))
    assert chain.decode(chain.policy(7)).votes_for == 2**32 - 1
    outcome = chain.send(chain.vote(second.pubkey()), signers=(second,))
    assert "ArithmeticOverflow" in str(outcome.err())
    assert chain.data(chain.policy(7)) == policy_bytes(proposer, votes=(2**32 - 1, 5))


def test_amending_the_constitution(chain):
    authority = chain.authority.pubkey()
    for version in (2, 3):
        chain.set_time(START + version)
        chain.succeed(chain.update(bytes([version]) * 32))
        assert chain.data(chain.constitution) == constitution_bytes(
            authority, bytes([version]) * 32, version, updated_at=START + version
        )


def test_an_inactive_constitution_can_be_amended_and_stays_inactive(chain):
    authority = chain.authority.pubkey()
    chain.place(chain.constitution, constitution_bytes(authority, is_active=False))
    chain.succeed(chain.update(bytes(32)))
    assert not chain.decode(chain.constitution).is_active


def test_the_version_does_not_wrap(chain):
    chain.place(chain.constitution, constitution_bytes(chain.authority.pubkey(), version=2**32 - 1))
    assert "ArithmeticOverflow" in str(chain.send(chain.update(bytes(32))).err())


def test_times_before_1970(chain):
    chain.set_time(-5)
    chain.succeed(chain.update(bytes(32)))
    assert chain.decode(chain.constitution).updated_at == -5


@pytest.mark.parametrize("held", [1, rent(132) - 1, rent(132), rent(132) + 1])
def test_an_address_that_was_sent_lamports_first_is_still_created(chain, held):
    """Otherwise anyone could keep a record off the chain for the price of one lamport."""
    before = chain.svm.get_balance(chain.authority.pubkey())
    chain.place(chain.policy(7), b"", owner=Pubkey.default(), lamports=held)
    chain.succeed(chain.propose())
    assert chain.data(chain.policy(7)) == policy_bytes(chain.authority.pubkey())
    assert chain.svm.get_balance(chain.policy(7)) == max(held, rent(132))
    assert before - chain.svm.get_balance(chain.authority.pubkey()) == max(rent(132) - held, 0)


def test_every_kind_of_account_can_be_funded_before():
    chain = Quantumagi()
    voter = chain.wallet()
    for address in (chain.constitution, chain.policy(7), chain.voter_record(7, voter.pubkey())):
        chain.place(address, b"", owner=Pubkey.default(), lamports=5_000)
    chain.succeed(chain.initialize(), chain.propose())
    chain.succeed(chain.vote(voter.pubkey()), signers=(voter,))
    assert chain.svm.get_balance(chain.constitution) == rent(94)
    assert chain.svm.get_balance(chain.voter_record(7, voter.pubkey())) == rent(58)


def test_a_payer_without_enough_lamports(chain):
    poor = Keypair()
    chain.fund(poor.pubkey(), rent(132) - 1)
    outcome = chain.send(chain.propose(authority=poor.pubkey()), signers=(poor,))
    assert outcome.err().err.code == 1  # the system program's ResultWithNegativeLamports
    assert chain.svm.get_account(chain.policy(7)) is None


@pytest.mark.parametrize(
    ("per_byte_year", "threshold"), [(3480, 2.0), (6960, 1.0), (1, 1.5), (999, 2.25), (3480, 0.5)]
)
def test_rent_is_what_the_sysvar_says(per_byte_year, threshold):
    chain = Quantumagi()
    chain.svm.set_rent(Rent(per_byte_year, threshold, 50))
    chain.succeed(chain.initialize())
    assert chain.svm.get_balance(chain.constitution) == int((94 + 128) * per_byte_year * threshold)


def test_the_program_runs_at_any_address():
    chain = Quantumagi(address=Keypair().pubkey())
    chain.succeed(chain.initialize(), chain.propose(), chain.enact())
    chain.succeed(chain.check("walk"))
    voter = chain.wallet()
    chain.succeed(chain.propose(8))
    chain.succeed(chain.vote(voter.pubkey(), policy_id=8), signers=(voter,))
    chain.succeed(chain.deactivate(), chain.update(bytes(32)))
    assert chain.decode(chain.constitution).version == 2


def test_additional_accounts_are_passed_over(chain):
    instruction = chain.propose()
    extras = [AccountMeta(Keypair().pubkey(), False, False) for _ in range(20)]
    again = [instruction.accounts[0], extras[3], instruction.accounts[2]]
    instruction.accounts = [*instruction.accounts, *extras, *again]
    chain.succeed(instruction)
    assert chain.data(chain.policy(7)) == policy_bytes(chain.authority.pubkey())


def test_one_key_as_payer_authority_and_voter(chain):
    """The runtime then writes the account once, and only its place the second time."""
    chain.authority, chain.payer = chain.payer, chain.payer
    chain.succeed(chain.propose())
    chain.succeed(chain.vote(chain.payer.pubkey()))
    assert chain.decode(chain.policy(7)).votes_for == 1


def test_bytes_after_the_arguments_are_passed_over(chain):
    """As Anchor does: it reads what it needs."""
    instruction = chain.propose()
    chain.succeed(with_data(instruction, bytes(instruction.data) + b"more"))
    assert chain.data(chain.policy(7)) == policy_bytes(chain.authority.pubkey())


def test_flags_beyond_the_idl_do_no_harm(chain):
    chain.succeed(chain.propose(), chain.enact())
    chain.succeed(with_flags(chain.check("walk"), 0, signer=False, writable=True))


def test_compute_units_stay_small(chain):
    """Limits are about twice what was measured, so that a change that makes the program dear is seen."""
    voter = Keypair.from_seed(bytes(32))  # a fixed key: how long an address takes to find depends on it
    chain.fund(voter.pubkey())
    fresh = Quantumagi()
    steps = [
        ("initialize", 12_000, lambda: fresh.succeed(fresh.initialize())),
        ("propose", 9_000, lambda: chain.succeed(chain.propose())),
        ("propose, longest rule", 30_000, lambda: chain.succeed(chain.propose(9, "x" * 1000))),
        ("vote", 12_000, lambda: chain.succeed(chain.vote(voter.pubkey()), signers=(voter,))),
        ("enact", 5_000, lambda: chain.succeed(chain.enact())),
        ("check", 4_000, lambda: chain.succeed(chain.check("walk"))),
        ("update", 4_000, lambda: chain.succeed(chain.update(bytes(32)))),
        ("deactivate", 5_000, lambda: chain.succeed(chain.deactivate())),
    ]
    used = {name: (step().compute_units_consumed(), limit) for name, limit, step in steps}
    print(used)
    assert all(units <= limit for units, limit in used.values()), used
