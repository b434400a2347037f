"""Who may do what, and every error number the program can end with, its own and Anchor's."""

import struct
from collections.abc import Callable
from contextlib import suppress

import pytest
from solders.instruction import AccountMeta
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from tests.chain.program_harness import (
    SYSTEM_PROGRAM,
    Outcome,
    Quantumagi,
    assert_fails,
    with_data,
    with_flags,
    with_metas,
)


@pytest.fixture
def chain() -> Quantumagi:
    """A chain with a constitution, policy 7 proposed and policy 8 active."""
    chain = Quantumagi()
    chain.succeed(chain.initialize(), chain.propose(7), chain.propose(8), chain.enact(8))
    return chain


# ---- the program's own: 6000 … 6006 (6005 cannot arise: test_program.py) ----

GOVERNING: dict[str, Callable] = {
    "enact": lambda chain, **accounts: chain.enact(7, **accounts),
    "deactivate": lambda chain, **accounts: chain.deactivate(8, **accounts),
    "update": lambda chain, **accounts: chain.update(bytes(32), **accounts),
}


@pytest.mark.parametrize("act", GOVERNING)
def test_6000_only_the_authority_governs(chain, act):
    """Not even the proposer of the policy."""
    stranger = chain.wallet()
    before = [chain.data(address) for address in (chain.constitution, chain.policy(7), chain.policy(8))]
    outcome = chain.send(GOVERNING[act](chain, authority=stranger.pubkey()), signers=(stranger,))
    assert_fails(outcome, 6000)
    assert [
        chain.data(address) for address in (chain.constitution, chain.policy(7), chain.policy(8))
    ] == before


def test_6000_comes_before_6003(chain):
    stranger = chain.wallet()
    make_constitution_inactive(chain)
    assert_fails(chain.send(chain.enact(authority=stranger.pubkey()), signers=(stranger,)), 6000)


def test_6001_an_action_the_rule_does_not_allow(chain):
    logs = assert_fails(chain.send(chain.check("run", 8)), 6001)
    assert "Program log: Not compliant: the rule does not allow the action" in logs


def test_6002_a_policy_that_is_not_active_checks_nothing(chain):
    assert_fails(chain.send(chain.check("walk", 7)), 6002)
    chain.succeed(chain.deactivate(8))
    assert_fails(chain.send(chain.check("walk", 8)), 6002)


def make_constitution_inactive(chain: Quantumagi) -> None:
    """No instruction does it; the flag is the byte after the version."""
    data = bytearray(chain.data(chain.constitution))
    data[8 + 32 + 32 + 4] = 0
    chain.place(chain.constitution, bytes(data))


def test_6003_nothing_is_enacted_under_an_inactive_constitution(chain):
    make_constitution_inactive(chain)
    assert_fails(chain.send(chain.enact()), 6003)
    assert not chain.decode(chain.policy(7)).is_active


def test_6004_no_votes_on_an_active_policy(chain):
    voter = chain.wallet()
    assert_fails(chain.send(chain.vote(voter.pubkey(), policy_id=8), signers=(voter,)), 6004)
    assert chain.svm.get_account(chain.voter_record(8, voter.pubkey())) is None


def test_6006_a_rule_too_long(chain):
    assert_fails(chain.send(chain.propose(9, "x" * 1001)), 6006)


# ---- Anchor's: what is asked ----


@pytest.mark.parametrize("length", range(8))
def test_100_no_instruction(chain, length):
    assert_fails(chain.send(with_data(chain.enact(), bytes(chain.enact().data)[:length])), 100)


@pytest.mark.parametrize("data", [bytes(8), b"\xff" * 8, b"enact_policy", bytes(range(200))])
def test_101_an_instruction_it_does_not_have(chain, data):
    assert_fails(chain.send(with_data(chain.enact(), data)), 101)


def every_instruction(chain: Quantumagi) -> dict[str, tuple]:
    """One instruction of each kind that would succeed, with who signs it besides the authority."""
    voter = chain.wallet()
    return {
        "initialize": (chain.initialize(), ()),
        "propose_policy": (chain.propose(9, "ALLOW é"), ()),
        "vote_on_policy": (chain.vote(voter.pubkey()), (voter,)),
        "check_compliance": (chain.check("walk", 8), ()),
        "update_constitution": (chain.update(bytes(32)), ()),
        "enact_policy": (chain.enact(), ()),
        "deactivate_policy": (chain.deactivate(8), ()),
    }


WITH_ARGUMENTS = ["initialize", "propose_policy", "vote_on_policy", "check_compliance", "update_constitution"]


@pytest.mark.parametrize("name", WITH_ARGUMENTS)
def test_102_arguments_cut_short_anywhere(chain, name):
    instruction, signers = every_instruction(chain)[name]
    data = bytes(instruction.data)
    for length in range(8, len(data)):
        assert_fails(chain.simulate(with_data(instruction, data[:length]), signers=signers), 102)


def propose_arguments(rule: bytes, category: int = 0, priority: int = 0, length: int | None = None) -> bytes:
    size = len(rule) if length is None else length
    return struct.pack("<QI", 9, size) + rule + bytes([category, priority])


def check_arguments(flags: bytes = bytes(3), action: bytes = b"walk") -> bytes:
    return struct.pack("<I", len(action)) + action + flags + bytes(8 + 8 + 32)


NOT_UTF8 = [
    b"\x80",
    b"a\xbf",
    b"\xc0\x80",  # overlong
    b"\xc1\xbf",
    b"\xe0\x9f\xbf",  # overlong
    b"\xed\xa0\x80",  # a surrogate
    b"\xf0\x8f\xbf\xbf",  # overlong
    b"\xf4\x90\x80\x80",  # above U+10FFFF
    b"\xf5\x80\x80\x80",
    b"\xff",
    b"\xc3",  # ends within a character
    b"\xe2\x82",
    b"\xf0\x9f\x9c",
    b"\xe2\x28\xa1",
    b"\xf0\x9f\x28\x81",
    b"\xf0\x9f\x9c\x28",
]


@pytest.mark.parametrize("text", NOT_UTF8)
def test_102_text_that_is_not_utf8(chain, text):
    propose, check = chain.propose(9), chain.check("walk", 8)
    assert_fails(chain.send(with_data(propose, bytes(propose.data)[:8] + propose_arguments(text))), 102)
    assert_fails(chain.send(with_data(check, bytes(check.data)[:8] + check_arguments(action=text))), 102)


@pytest.mark.parametrize(
    "arguments",
    [
        propose_arguments(b"x", category=4),
        propose_arguments(b"x", category=255),
        propose_arguments(b"x", priority=4),
        propose_arguments(b"x", length=4),
        propose_arguments(b"x", length=2**31),
        propose_arguments(b"x", length=2**32 - 1),
    ],
)
def test_102_a_proposal_outside_its_types(chain, arguments):
    propose = chain.propose(9)
    assert_fails(chain.send(with_data(propose, bytes(propose.data)[:8] + arguments)), 102)


@pytest.mark.parametrize("flags", [b"\2\0\0", b"\0\2\0", b"\0\0\xff"])
def test_102_a_flag_that_is_neither_true_nor_false(chain, flags):
    check = chain.check("walk", 8)
    assert_fails(chain.send(with_data(check, bytes(check.data)[:8] + check_arguments(flags))), 102)


def test_102_a_vote_neither_for_nor_against(chain):
    voter = chain.wallet()
    vote = chain.vote(voter.pubkey())
    assert_fails(chain.send(with_data(vote, bytes(vote.data)[:8] + b"\2"), signers=(voter,)), 102)


# ---- Anchor's: with which accounts ----

ACCOUNT_NAMES = {
    # None where Anchor's log names no account: `init` takes it without opening it
    "initialize": [None, "authority", "system_program"],
    "propose_policy": [None, "authority", "system_program"],
    "vote_on_policy": ["policy", None, "voter", "system_program"],
    "check_compliance": ["policy"],
    "update_constitution": ["constitution", "authority"],
    "enact_policy": ["policy", "constitution", "authority"],
    "deactivate_policy": ["policy", "constitution", "authority"],
}


@pytest.mark.parametrize("name", ACCOUNT_NAMES)
def test_3005_too_few_accounts(chain, name):
    instruction, signers = every_instruction(chain)[name]
    for given, missing in enumerate(ACCOUNT_NAMES[name]):
        fewer = with_metas(instruction, *instruction.accounts[:given])
        assert_fails(chain.simulate(fewer, signers=signers), 3005, missing)


SIGNERS = [
    (name, names.index(who))
    for name, names in ACCOUNT_NAMES.items()
    for who in ("authority", "voter")
    if who in names
]


@pytest.mark.parametrize(("name", "position"), SIGNERS)
def test_3010_who_must_sign(chain, name, position):
    instruction, signers = every_instruction(chain)[name]
    unsigned = with_flags(instruction, position, signer=False, writable=True)
    assert_fails(chain.simulate(unsigned, signers=signers), 3010, ACCOUNT_NAMES[name][position])


@pytest.mark.parametrize("name", ["initialize", "propose_policy", "vote_on_policy"])
def test_3008_another_program_in_the_system_programs_place(chain, name):
    instruction, signers = every_instruction(chain)[name]
    metas = [*instruction.accounts[:-1], AccountMeta(chain.address, False, False)]
    logs = assert_fails(
        chain.simulate(with_metas(instruction, *metas), signers=signers), 3008, "system_program"
    )
    assert_compared(logs, chain.address, SYSTEM_PROGRAM)


def assert_compared(logs: list[str], left: Pubkey, right: Pubkey) -> None:
    at = logs.index("Program log: Left:")
    keys = [f"Program log: {left}", "Program log: Right:", f"Program log: {right}"]
    assert logs[at + 1 : at + 4] == keys


@pytest.mark.parametrize("name", ["initialize", "propose_policy", "vote_on_policy"])
def test_2006_another_address_than_the_seeds_give(chain, name):
    voter = chain.wallet()
    elsewhere = Keypair()
    instruction, account, right = {
        "initialize": (chain.initialize(constitution=elsewhere.pubkey()), "constitution", chain.constitution),
        "propose_policy": (chain.propose(9, policy=elsewhere.pubkey()), "policy", chain.policy(9)),
        "vote_on_policy": (
            chain.vote(voter.pubkey(), voter_record=elsewhere.pubkey()),
            "voter_record",
            chain.voter_record(7, voter.pubkey()),
        ),
    }[name]
    for signer in (False, True):  # its own signature does not make it the right place
        place = [meta.pubkey for meta in instruction.accounts].index(elsewhere.pubkey())
        tried = with_flags(instruction, place, signer=signer, writable=True)
        outcome = chain.simulate(tried, signers=(voter, elsewhere))
        assert_compared(assert_fails(outcome, 2006, account), elsewhere.pubkey(), right)


def test_2006_an_address_with_a_bump_that_is_not_the_canonical_one(chain):
    assert_fails(chain.send(chain.propose(9, policy=second_address(chain, 9))), 2006, "policy")


def second_address(chain: Quantumagi, policy_id: int) -> Pubkey:
    """The next valid address below the canonical one."""
    seeds = [b"policy", struct.pack("<Q", policy_id)]
    _, canonical_bump = Pubkey.find_program_address(seeds, chain.address)
    for bump in range(canonical_bump - 1, -1, -1):
        with suppress(Exception):  # solders' PubkeyError, for a point on the curve, cannot be imported
            return Pubkey.create_program_address([*seeds, bytes([bump])], chain.address)
    raise AssertionError("no other address")


def test_2006_a_record_of_another_voter_or_policy(chain):
    ann, bob = chain.wallet(), chain.wallet()
    for record in (chain.voter_record(7, bob.pubkey()), chain.voter_record(8, ann.pubkey())):
        outcome = chain.send(chain.vote(ann.pubkey(), voter_record=record), signers=(ann,))
        assert_fails(outcome, 2006, "voter_record")


OPENED = [
    (name, position)
    for name, names in ACCOUNT_NAMES.items()
    for position, account in enumerate(names)
    if account in ("policy", "constitution")
]


def opened_elsewhere(chain: Quantumagi, name: str, position: int, address: Pubkey) -> Outcome:
    """The instruction with another account in the place of the policy or the constitution."""
    instruction, signers = every_instruction(chain)[name]
    metas = list(instruction.accounts)
    metas[position] = AccountMeta(address, False, metas[position].is_writable)
    return chain.simulate(with_metas(instruction, *metas), signers=signers)


@pytest.mark.parametrize(("name", "position"), OPENED)
def test_3012_an_account_that_does_not_exist(chain, name, position):
    outcome = opened_elsewhere(chain, name, position, Keypair().pubkey())
    assert_fails(outcome, 3012, ACCOUNT_NAMES[name][position])


@pytest.mark.parametrize(("name", "position"), OPENED)
@pytest.mark.parametrize(
    "owner", [SYSTEM_PROGRAM, Pubkey.from_string("MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr")]
)
def test_3007_an_account_of_another_program(chain, name, position, owner):
    """Byte for byte what the program would have written itself."""
    kind = ACCOUNT_NAMES[name][position]
    data = chain.data(chain.policy(8) if kind == "policy" else chain.constitution)
    forged = chain.place(Keypair().pubkey(), data, owner=owner)
    logs = assert_fails(opened_elsewhere(chain, name, position, forged), 3007, kind)
    assert_compared(logs, owner, chain.address)


@pytest.mark.parametrize(("name", "position"), OPENED)
def test_3001_an_account_without_a_discriminator(chain, name, position):
    for length in range(8):
        short = chain.place(Keypair().pubkey(), chain.data(chain.policy(8))[:length])
        assert_fails(opened_elsewhere(chain, name, position, short), 3001, ACCOUNT_NAMES[name][position])


@pytest.mark.parametrize(("name", "position"), OPENED)
def test_3002_an_account_of_another_kind(chain, name, position):
    kind = ACCOUNT_NAMES[name][position]
    voter = chain.wallet()
    chain.succeed(chain.vote(voter.pubkey()), signers=(voter,))
    others = [
        chain.voter_record(7, voter.pubkey()),
        chain.constitution if kind == "policy" else chain.policy(8),
    ]
    others.append(chain.place(Keypair().pubkey(), bytes(200)))
    for other in others:
        assert_fails(opened_elsewhere(chain, name, position, other), 3002, kind)


@pytest.mark.parametrize(("name", "position"), OPENED)
def test_3003_an_account_cut_short_anywhere(chain, name, position):
    kind = ACCOUNT_NAMES[name][position]
    whole = chain.data(chain.policy(7) if kind == "policy" else chain.constitution)
    used = len(whole) - (9 + 33 + 9 - 3 if kind == "policy" else 8)  # less the options that are absent
    for length in range(8, used):
        short = chain.place(Keypair().pubkey(), whole[:length])
        assert_fails(opened_elsewhere(chain, name, position, short), 3003, kind)


def spoiled(data: bytes, at: int, value: bytes) -> bytes:
    return data[:at] + value + data[at + len(value) :]


RULE_END = 8 + 8 + 4 + len("ALLOW walk")


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (16, struct.pack("<I", 2**32 - 1)),  # the rule's length
        (16, struct.pack("<I", 500)),
        (20, b"\xff"),  # not UTF-8
        (RULE_END, b"\4"),  # category
        (RULE_END + 1, b"\4"),  # priority
        (RULE_END + 2, b"\2"),  # is_active
        (RULE_END + 3 + 8 + 32, b"\2"),  # enacted_at is neither there nor not
    ],
)
def test_3003_a_policy_outside_its_types(chain, at, value):
    chain.place(chain.policy(8), spoiled(chain.data(chain.policy(8)), at, value))
    assert_fails(chain.send(chain.check("walk", 8)), 3003, "policy")
    assert_fails(chain.send(chain.enact(8)), 3003, "policy")


@pytest.mark.parametrize(("at", "value"), [(76, b"\2"), (85, b"\2")])
def test_3003_a_constitution_outside_its_types(chain, at, value):
    chain.place(chain.constitution, spoiled(chain.data(chain.constitution), at, value))
    assert_fails(chain.send(chain.update(bytes(32))), 3003, "constitution")


def test_3004_an_account_too_small_for_what_is_to_be_written(chain):
    """Read it can be, but the option that becomes present has no room."""
    policy, constitution = chain.data(chain.policy(7)), chain.data(chain.constitution)
    chain.place(chain.policy(7), policy[: len(policy) - (9 + 33 + 9 - 3)])
    assert_fails(chain.send(chain.enact(7)), 3004, "policy")
    chain.place(chain.constitution, constitution[: 94 - 8])
    assert_fails(chain.send(chain.update(bytes(32))), 3004, "constitution")


WRITTEN = [("vote_on_policy", 0), ("update_constitution", 0), ("enact_policy", 0), ("deactivate_policy", 0)]


@pytest.mark.parametrize(("name", "position"), WRITTEN)
def test_2000_an_account_to_write_that_was_given_to_read(chain, name, position):
    instruction, signers = every_instruction(chain)[name]
    outcome = chain.simulate(with_flags(instruction, position, signer=False, writable=False), signers=signers)
    assert_fails(outcome, 2000, ACCOUNT_NAMES[name][position])


@pytest.mark.parametrize("name", ["initialize", "propose_policy", "vote_on_policy"])
def test_2000_a_payer_given_to_read(name):
    """Seen when there is nothing to pay; else the system program is refused the privilege before."""
    chain = Quantumagi()
    chain.succeed(chain.propose(7))
    instruction, signers = (
        every_instruction(chain)[name] if name != "initialize" else (chain.initialize(), ())
    )
    payer = ACCOUNT_NAMES[name].index("voter" if name == "vote_on_policy" else "authority")
    created = ACCOUNT_NAMES[name].index(None)
    reading = with_flags(instruction, payer, signer=True, writable=False)

    assert "PrivilegeEscalation" in str(chain.simulate(reading, signers=signers).err())
    chain.place(instruction.accounts[created].pubkey, b"", owner=SYSTEM_PROGRAM)
    assert_fails(chain.simulate(reading, signers=signers), 2000, ACCOUNT_NAMES[name][payer])


@pytest.mark.parametrize("name", ["propose_policy", "vote_on_policy"])
def test_an_account_to_create_that_was_given_to_read(chain, name):
    instruction, signers = every_instruction(chain)[name]
    created = ACCOUNT_NAMES[name].index(None)
    outcome = chain.simulate(with_flags(instruction, created, signer=False, writable=False), signers=signers)
    assert "PrivilegeEscalation" in str(outcome.err())


def test_one_account_in_two_places(chain):
    assert_fails(chain.send(chain.enact(7, constitution=chain.policy(7))), 3002, "constitution")
    voter = chain.wallet()
    assert_fails(
        chain.send(chain.vote(voter.pubkey(), voter_record=chain.policy(7)), signers=(voter,)),
        2006,
        "voter_record",
    )
