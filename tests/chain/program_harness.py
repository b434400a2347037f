"""The real Quantumagi program in LiteSVM, spoken to through its IDL, for the tests of the program."""

import struct
from dataclasses import dataclass, field
from pathlib import Path

import anchorpy
from anchorpy.error import LangErrorMessage
from solana.rpc.async_api import AsyncClient
from solders.account import Account
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.litesvm import LiteSVM
from solders.message import Message
from solders.pubkey import Pubkey
from solders.system_program import ID as SYSTEM_PROGRAM
from solders.transaction import Transaction
from solders.transaction_metadata import FailedTransactionMetadata, TransactionMetadata
from solders.transaction_status import InstructionErrorCustom, TransactionErrorInstructionError

import chain

FOLDER = Path(chain.__file__).parent
IDL_TEXT = (FOLDER / "idl" / "quantumagi_core.json").read_text()
IDL = anchorpy.Idl.from_json(IDL_TEXT)
PROGRAM_BYTES = (FOLDER / "program" / "quantumagi.so").read_bytes()
DEFAULT_ADDRESS = Pubkey.from_string("8eRUCnQsDxqK7vjp5XsYs7C3NGpdhzzaMW8QQGzfTUV4")

START = 1_800_000_000  # the governance clock of every test, Unix seconds
HASH = bytes(range(32))

# Nothing is ever sent through it: anchorpy wants a provider before it encodes an instruction.
PROVIDER = anchorpy.Provider(AsyncClient("http://127.0.0.1:1"), anchorpy.Wallet(Keypair()))

MESSAGES = {int(code): (code.name, text) for code, text in LangErrorMessage.items()} | {
    error.code: (error.name, error.msg) for error in IDL.errors
}


def snake(name: str) -> str:
    """A name of the IDL as Anchor hashes it and anchorpy calls it."""
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


Outcome = TransactionMetadata | FailedTransactionMetadata


@dataclass
class Quantumagi:
    """One LiteSVM with the program at `address`, and a payer who signs for the fees of every transaction."""

    address: Pubkey = DEFAULT_ADDRESS
    svm: LiteSVM = field(default_factory=LiteSVM)
    payer: Keypair = field(default_factory=Keypair)
    authority: Keypair = field(default_factory=Keypair)

    def __post_init__(self) -> None:
        self.svm.add_program(self.address, PROGRAM_BYTES)
        self.set_time(START)
        self.fund(self.payer.pubkey())
        self.fund(self.authority.pubkey())
        self.program = anchorpy.Program(IDL, self.address, PROVIDER)

    def fund(self, address: Pubkey, lamports: int = 10**12) -> None:
        assert isinstance(self.svm.airdrop(address, lamports), TransactionMetadata)

    def wallet(self) -> Keypair:
        """A new key with SOL."""
        key = Keypair()
        self.fund(key.pubkey())
        return key

    def set_time(self, seconds: int) -> None:
        clock = self.svm.get_clock()
        clock.unix_timestamp = seconds
        self.svm.set_clock(clock)

    # ---- addresses ----

    @property
    def constitution(self) -> Pubkey:
        return Pubkey.find_program_address([b"constitution"], self.address)[0]

    def policy(self, policy_id: int) -> Pubkey:
        return Pubkey.find_program_address([b"policy", struct.pack("<Q", policy_id)], self.address)[0]

    def voter_record(self, policy_id: int, voter: Pubkey) -> Pubkey:
        seeds = [b"vote", struct.pack("<Q", policy_id), bytes(voter)]
        return Pubkey.find_program_address(seeds, self.address)[0]

    # ---- instructions, all encoded by anchorpy from the IDL ----

    def variant(self, enum: str, name: str) -> object:
        """A value of an enum of the IDL."""
        return getattr(self.program.type[enum], name)()

    def instruction(self, name: str, *arguments: object, **accounts: Pubkey) -> Instruction:
        if name in ("initialize", "propose_policy", "vote_on_policy"):
            accounts = {"system_program": SYSTEM_PROGRAM} | accounts
        return self.program.instruction[name](*arguments, ctx=anchorpy.Context(accounts=accounts))

    def initialize(self, hash: bytes = HASH, **accounts: Pubkey) -> Instruction:
        accounts = {"constitution": self.constitution, "authority": self.authority.pubkey()} | accounts
        return self.instruction("initialize", list(hash), **accounts)

    def propose(
        self,
        policy_id: int = 7,
        rule: str = "ALLOW walk",
        category: str = "Governance",
        priority: str = "Medium",
        **accounts: Pubkey,
    ) -> Instruction:
        accounts = {"policy": self.policy(policy_id), "authority": self.authority.pubkey()} | accounts
        category, priority = (
            self.variant("PolicyCategory", category),
            self.variant("PolicyPriority", priority),
        )
        return self.instruction("propose_policy", policy_id, rule, category, priority, **accounts)

    def enact(self, policy_id: int = 7, **accounts: Pubkey) -> Instruction:
        return self.instruction("enact_policy", **self._governing(policy_id) | accounts)

    def deactivate(self, policy_id: int = 7, **accounts: Pubkey) -> Instruction:
        return self.instruction("deactivate_policy", **self._governing(policy_id) | accounts)

    def _governing(self, policy_id: int) -> dict[str, Pubkey]:
        return {
            "policy": self.policy(policy_id),
            "constitution": self.constitution,
            "authority": self.authority.pubkey(),
        }

    def update(self, hash: bytes, **accounts: Pubkey) -> Instruction:
        accounts = {"constitution": self.constitution, "authority": self.authority.pubkey()} | accounts
        return self.instruction("update_constitution", list(hash), **accounts)

    def vote(self, voter: Pubkey, vote: str = "For", policy_id: int = 7, **accounts: Pubkey) -> Instruction:
        own = {
            "policy": self.policy(policy_id),
            "voter_record": self.voter_record(policy_id, voter),
            "voter": voter,
        }
        return self.instruction("vote_on_policy", self.variant("PolicyVote", vote), **own | accounts)

    def check(
        self, action: str, policy_id: int = 7, policy: Pubkey | None = None, **context: object
    ) -> Instruction:
        fields = {
            "requires_governance": False,
            "has_governance_approval": False,
            "involves_funds": False,
            "amount": 0,
            "authorized_limit": 0,
            "caller": self.payer.pubkey(),
        } | context
        # A dict, for anchorpy cannot encode a dataclass with a public key in it (it deep-copies the key).
        return self.instruction("check_compliance", action, fields, policy=policy or self.policy(policy_id))

    # ---- transactions ----

    def send(self, *instructions: Instruction, signers: tuple[Keypair, ...] = ()) -> Outcome:
        """Send one transaction signed by the payer, the authority where it must, and `signers`."""
        return self.svm.send_transaction(self._signed(instructions, signers))

    def simulate(self, *instructions: Instruction, signers: tuple[Keypair, ...] = ()) -> Outcome:
        """The outcome of a transaction that leaves no trace."""
        outcome = self.svm.simulate_transaction(self._signed(instructions, signers))
        return outcome if isinstance(outcome, FailedTransactionMetadata) else outcome.meta()

    def _signed(self, instructions: tuple[Instruction, ...], signers: tuple[Keypair, ...]) -> Transaction:
        self.svm.expire_blockhash()  # so that the same instruction twice is not the same transaction
        blockhash = self.svm.latest_blockhash()
        keys = {key.pubkey(): key for key in (self.payer, self.authority, *signers)}
        needed = {m.pubkey for i in instructions for m in i.accounts if m.is_signer} | {self.payer.pubkey()}
        message = Message.new_with_blockhash(instructions, self.payer.pubkey(), blockhash)
        return Transaction([keys[address] for address in needed], message, blockhash)

    def succeed(self, *instructions: Instruction, signers: tuple[Keypair, ...] = ()) -> TransactionMetadata:
        outcome = self.send(*instructions, signers=signers)
        assert isinstance(outcome, TransactionMetadata), outcome
        return outcome

    # ---- accounts ----

    def data(self, address: Pubkey) -> bytes:
        account = self.svm.get_account(address)
        assert account is not None
        assert account.owner == self.address
        return bytes(account.data)

    def decode(self, address: Pubkey) -> object:
        """The account as anchorpy decodes it by the IDL."""
        return self.program.coder.accounts.decode(self.data(address))

    def place(
        self, address: Pubkey, data: bytes, owner: Pubkey | None = None, lamports: int = 10**9
    ) -> Pubkey:
        """Put an account where no instruction could."""
        self.svm.set_account(address, Account(lamports, data, owner or self.address))
        return address


def with_metas(instruction: Instruction, *metas: AccountMeta) -> Instruction:
    """The same instruction with other accounts."""
    return Instruction(instruction.program_id, instruction.data, list(metas))


def with_flags(instruction: Instruction, position: int, *, signer: bool, writable: bool) -> Instruction:
    """The same instruction with one account's flags other than the IDL says."""
    metas = list(instruction.accounts)
    metas[position] = AccountMeta(metas[position].pubkey, signer, writable)
    return with_metas(instruction, *metas)


def with_data(instruction: Instruction, data: bytes) -> Instruction:
    """The same instruction with other bytes."""
    return Instruction(instruction.program_id, data, instruction.accounts)


def error_number(outcome: Outcome) -> int | None:
    """The custom error a transaction ended with; None when it succeeded. Any other failure is a bug of the program."""
    if isinstance(outcome, TransactionMetadata):
        return None
    error = outcome.err()
    assert isinstance(error, TransactionErrorInstructionError), error
    assert isinstance(error.err, InstructionErrorCustom), (error, outcome.meta().logs())
    return error.err.code


def assert_fails(outcome: Outcome, number: int, account: str | None = None) -> list[str]:
    """Assert the error, and that it is logged as Anchor's clients read it; returns the log."""
    assert error_number(outcome) == number, outcome
    logs = outcome.meta().logs()
    name, message = MESSAGES[number]
    where = f"caused by account: {account}" if account else "occurred"
    line = f"Program log: AnchorError {where}. Error Code: {name}. Error Number: {number}. Error Message: {message}."
    assert line in logs, logs
    return logs
