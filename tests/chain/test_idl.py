"""The IDL says what the interface page says: names, order, numbers, flags, addresses."""

import json

import anchorpy
import pytest
from anchorpy.coder.instruction import _sighash
from solders.pubkey import Pubkey

from tests.chain.program_harness import DEFAULT_ADDRESS, IDL, IDL_TEXT, MESSAGES, Quantumagi, snake

# instruction → its arguments, and its accounts with w (writable) and s (signer), as the interface page lists them
INSTRUCTIONS = {
    "initialize": ("constitution_hash", "constitution w, authority ws, system_program"),
    "propose_policy": ("policy_id rule category priority", "policy w, authority ws, system_program"),
    "enact_policy": ("", "policy w, constitution, authority s"),
    "vote_on_policy": ("vote", "policy w, voter_record w, voter ws, system_program"),
    "check_compliance": ("action_to_check action_context", "policy"),
    "update_constitution": ("new_hash", "constitution w, authority s"),
    "deactivate_policy": ("", "policy w, constitution, authority s"),
}


def test_every_instruction_with_its_arguments_and_accounts_in_order():
    found = {}
    for instruction in json.loads(IDL_TEXT)["instructions"]:
        accounts = [
            f"{snake(a['name'])} {'w' * a['isMut']}{'s' * a['isSigner']}".strip()
            for a in instruction["accounts"]
        ]
        arguments = " ".join(snake(a["name"]) for a in instruction["args"])
        found[snake(instruction["name"])] = (arguments, ", ".join(accounts))
    assert found == INSTRUCTIONS


@pytest.mark.parametrize("name", INSTRUCTIONS)
def test_anchorpy_builds_each_instruction_with_anchors_discriminator(name):
    chain = Quantumagi()
    voter = chain.authority.pubkey()
    built = {
        "initialize": chain.initialize,
        "propose_policy": chain.propose,
        "enact_policy": chain.enact,
        "vote_on_policy": lambda: chain.vote(voter),
        "check_compliance": lambda: chain.check("walk"),
        "update_constitution": lambda: chain.update(bytes(32)),
        "deactivate_policy": chain.deactivate,
    }[name]()
    assert built.data[:8] == _sighash(name)


def test_errors_count_from_6000_in_the_order_of_the_page():
    names = [
        "Unauthorized",
        "ComplianceFailed",
        "PolicyNotActive",
        "ConstitutionInactive",
        "PolicyAlreadyActive",
        "AlreadyVoted",
        "RuleTooLong",
    ]
    assert [(error.code, error.name) for error in IDL.errors] == list(enumerate(names, start=6000))
    assert all(MESSAGES[error.code][1] for error in IDL.errors)


def test_enums_have_their_variants_in_order():
    variants = {
        t["name"]: [v["name"] for v in t["type"]["variants"]]
        for t in json.loads(IDL_TEXT)["types"]
        if t["type"]["kind"] == "enum"
    }
    assert variants == {
        "PolicyCategory": ["PromptConstitution", "Safety", "Governance", "Financial"],
        "PolicyPriority": ["Critical", "High", "Medium", "Low"],
        "PolicyVote": ["For", "Against"],
    }


def test_the_default_address_and_its_constitution():
    assert anchorpy.Idl.from_json(IDL_TEXT).metadata["address"] == str(DEFAULT_ADDRESS)
    found, bump = Pubkey.find_program_address([b"constitution"], DEFAULT_ADDRESS)
    assert (str(found), bump) == ("FKoKq4ZXY1pVaoPJLFkBXR27ZJEfHB5y2TRRYhJ94iWN", 254)
