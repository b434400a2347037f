"""One transaction on LiteSVM, with the rules of a real bank that LiteSVM leaves out.

LiteSVM executes, meters, logs and charges 5000 lamports a signature. Added here, each as Agave has it:
priority fees, the rent state every writable account must be left in, and the fee that is due when a
program cannot be loaded.
"""

import json
from dataclasses import dataclass
from itertools import chain
from typing import Any

from solders.account import Account
from solders.address_lookup_table_account import AddressLookupTable
from solders.litesvm import LiteSVM
from solders.message import Message, MessageV0
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from chain.localnet.encoding import b58encode, b64encode
from chain.localnet.errors import TransactionRejected

LAMPORTS_PER_SIGNATURE = 5000
MAX_ACCOUNT_LOCKS = 64
MAX_COMPUTE_UNITS = 1_400_000
SYSTEM = Pubkey.from_string("11111111111111111111111111111111")
LOOKUP_TABLES = Pubkey.from_string("AddressLookupTab1e1111111111111111111111111")
COMPUTE_BUDGET = Pubkey.from_string("ComputeBudget111111111111111111111111111111")
BUILTINS = {
    SYSTEM,
    LOOKUP_TABLES,
    COMPUTE_BUDGET,
    Pubkey.from_string("Vote111111111111111111111111111111111111111"),
    Pubkey.from_string("Stake11111111111111111111111111111111111111"),
    Pubkey.from_string("Config1111111111111111111111111111111111111"),
    Pubkey.from_string("BPFLoader1111111111111111111111111111111111"),
    Pubkey.from_string("BPFLoader2111111111111111111111111111111111"),
    Pubkey.from_string("BPFLoaderUpgradeab1e11111111111111111111111"),
}
PRECOMPILES = {
    Pubkey.from_string("Ed25519SigVerify111111111111111111111111111"),
    Pubkey.from_string("KeccakSecp256k11111111111111111111111111111"),
    Pubkey.from_string("Secp256r1SigVerify1111111111111111111111111"),
}
FEES_ONLY = ("ProgramAccountNotFound", "InvalidProgramForExecution", "MaxLoadedAccountsDataSizeExceeded")
"""Errors met while loading: nothing runs, yet the transaction lands and pays (SIMD-0082)."""
ABSENT = Account(0, b"", SYSTEM)

AnyMessage = Message | MessageV0


@dataclass(frozen=True)
class Keys:
    """The accounts of a transaction, in the order its instructions count them."""

    static: list[Pubkey]
    loaded_writable: list[Pubkey]
    loaded_readonly: list[Pubkey]
    writable: list[bool]

    @property
    def all(self) -> list[Pubkey]:
        return [*self.static, *self.loaded_writable, *self.loaded_readonly]

    @property
    def written(self) -> list[Pubkey]:
        return [key for key, writable in zip(self.all, self.writable, strict=True) if writable]


@dataclass(frozen=True)
class Outcome:
    """What a landed (or simulated) transaction did. Balances are lamports in the order of `Keys.all`."""

    keys: Keys
    error: Any
    logs: list[str]
    units: int
    inner: list[dict[str, Any]]
    return_data: dict[str, Any] | None
    before: dict[Pubkey, Account]
    after: dict[Pubkey, Account]
    pre_balances: list[int]
    post_balances: list[int]

    def meta(self) -> dict[str, Any]:
        """The `meta` object of getTransaction. What left the accounts altogether is the fee."""
        meta = {
            "computeUnitsConsumed": self.units,
            "err": self.error,
            "fee": sum(self.pre_balances) - sum(self.post_balances),
            "innerInstructions": self.inner,
            "loadedAddresses": {
                "readonly": [str(key) for key in self.keys.loaded_readonly],
                "writable": [str(key) for key in self.keys.loaded_writable],
            },
            "logMessages": self.logs,
            "postBalances": self.post_balances,
            "postTokenBalances": None,
            "preBalances": self.pre_balances,
            "preTokenBalances": None,
            "rewards": [],
            "status": {"Ok": None} if self.error is None else {"Err": self.error},
        }
        return meta if self.return_data is None else meta | {"returnData": self.return_data}


def resolve(svm: LiteSVM, message: AnyMessage) -> Keys:
    """The accounts of a message, address lookup tables read. Raises TransactionRejected."""
    static, writable = list(message.account_keys), writable_flags(message)
    loaded_writable: list[Pubkey] = []
    loaded_readonly: list[Pubkey] = []
    for lookup in message.address_table_lookups if isinstance(message, MessageV0) else []:
        addresses = _lookup_table(svm, lookup.account_key)
        try:
            loaded_writable += [addresses[at] for at in bytes(lookup.writable_indexes)]
            loaded_readonly += [addresses[at] for at in bytes(lookup.readonly_indexes)]
        except IndexError:
            raise TransactionRejected("InvalidAddressLookupTableIndex") from None
    writable += [True] * len(loaded_writable) + [False] * len(loaded_readonly)
    keys = Keys(static, loaded_writable, loaded_readonly, writable)
    if len(set(keys.all)) != len(keys.all):
        raise TransactionRejected("AccountLoadedTwice")
    if len(keys.all) > MAX_ACCOUNT_LOCKS:
        raise TransactionRejected("TooManyAccountLocks")
    return keys


def writable_flags(message: AnyMessage) -> list[bool]:
    """Whether each account named in the message itself may be written; a program that is called may not."""
    header, count = message.header, len(message.account_keys)
    programs = {instruction.program_id_index for instruction in message.instructions}
    first_readonly_signer = header.num_required_signatures - header.num_readonly_signed_accounts
    first_readonly = count - header.num_readonly_unsigned_accounts
    return [
        at not in programs
        and at < (first_readonly_signer if at < header.num_required_signatures else first_readonly)
        for at in range(count)
    ]


def _lookup_table(svm: LiteSVM, address: Pubkey) -> list[Pubkey]:
    account = svm.get_account(address)
    if account is None or account.lamports == 0:
        raise TransactionRejected("AddressLookupTableNotFound")
    if account.owner != LOOKUP_TABLES:
        raise TransactionRejected("InvalidAddressLookupTableOwner")
    try:
        return list(AddressLookupTable.deserialize(bytes(account.data)).addresses)
    except Exception as error:
        raise TransactionRejected("InvalidAddressLookupTableData") from error


def compute_budget(message: AnyMessage) -> tuple[int, int]:
    """(micro-lamports a compute unit, compute units) that a message asks for, or the defaults."""
    price, limit, default = 0, None, 0
    for instruction in message.instructions:
        program = message.account_keys[instruction.program_id_index]
        default += 3_000 if program in BUILTINS else 0 if program in PRECOMPILES else 200_000
        data = bytes(instruction.data)
        if program == COMPUTE_BUDGET and data[:1] == b"\x02":
            limit = int.from_bytes(data[1:5], "little")
        elif program == COMPUTE_BUDGET and data[:1] == b"\x03":
            price = int.from_bytes(data[1:9], "little")
    return price, min(default if limit is None else limit, MAX_COMPUTE_UNITS)


def priority_fee(message: AnyMessage) -> int:
    """Lamports on top of the signatures' fee."""
    price, limit = compute_budget(message)
    return -(-price * limit // 1_000_000)


def signature_fee(message: AnyMessage) -> int:
    """5000 lamports for each signature, those checked by a precompile included."""
    checked = sum(
        next(iter(bytes(instruction.data)), 0)
        for instruction in message.instructions
        if message.account_keys[instruction.program_id_index] in PRECOMPILES
    )
    return LAMPORTS_PER_SIGNATURE * (message.header.num_required_signatures + checked)


def execute(svm: LiteSVM, transaction: VersionedTransaction, keys: Keys) -> Outcome:
    """Run a transaction on the accounts of `svm`, which then hold its effects (or only its fee, if it failed).

    The signatures, the blockhash and whether it is a duplicate are the caller's to check. Raises
    TransactionRejected, with every account as it was, when the transaction cannot land.
    """
    message = transaction.message
    payer = keys.static[0]
    before = {key: svm.get_account(key) or ABSENT for key in keys.written}
    pre_balances = [svm.get_balance(key) or 0 for key in keys.all]
    _charge(svm, payer, priority_fee(message))
    charged = svm.get_balance(payer) or 0
    result = json.loads(svm.send_transaction(transaction).to_json())
    error = _named(result.get("err"), svm, keys, message)
    if error is None:
        error = _rent_error(svm, keys, before)
        if error is not None:
            restore(svm, before)
            _charge(svm, payer, priority_fee(message) + signature_fee(message))
    elif (svm.get_balance(payer) or 0) == charged:
        restore(svm, before)
        if error not in FEES_ONLY:
            raise TransactionRejected(error)
        _charge(svm, payer, priority_fee(message) + signature_fee(message))
    details = result.get("meta", result)
    return Outcome(
        keys=keys,
        error=error,
        logs=details["logs"],
        units=details["compute_units_consumed"],
        inner=[] if error in FEES_ONLY else _inner(details["inner_instructions"]),
        return_data=_return_data(details["return_data"]),
        before=before,
        after={key: svm.get_account(key) or ABSENT for key in before},
        pre_balances=pre_balances,
        post_balances=[svm.get_balance(key) or 0 for key in keys.all],
    )


def restore(svm: LiteSVM, accounts: dict[Pubkey, Account]) -> None:
    for key, account in accounts.items():
        svm.set_account(key, account)


def _charge(svm: LiteSVM, payer: Pubkey, lamports: int) -> None:
    if lamports == 0:
        return
    account = svm.get_account(payer) or ABSENT
    if account.lamports == 0:
        raise TransactionRejected("AccountNotFound")
    if account.lamports < lamports:
        raise TransactionRejected("InsufficientFundsForFee")
    left = account.lamports - lamports
    svm.set_account(payer, Account(left, account.data, account.owner, account.executable, account.rent_epoch))


def _named(error: Any, svm: LiteSVM, keys: Keys, message: AnyMessage) -> Any:
    """LiteSVM says InvalidProgramForExecution of a program that is not there; a node tells the two apart."""
    if error == "InvalidProgramForExecution":
        programs = [keys.static[instruction.program_id_index] for instruction in message.instructions]
        if not all(svm.get_balance(program) for program in programs):
            return "ProgramAccountNotFound"
    return error


def _rent_error(svm: LiteSVM, keys: Keys, before: dict[Pubkey, Account]) -> Any:
    """The error when an account is left with lamports, but too few to be exempt from rent.

    An account that already paid rent may stay so, at the same size and without being topped up.
    """
    for index, key in enumerate(keys.all):
        if key not in before:
            continue
        account, old = svm.get_account(key) or ABSENT, before[key]
        size = len(account.data)
        if account.lamports == 0 or account.lamports >= svm.minimum_balance_for_rent_exemption(size):
            continue
        paid_before = 0 < old.lamports < svm.minimum_balance_for_rent_exemption(len(old.data))
        if not (paid_before and len(old.data) == size and account.lamports <= old.lamports):
            return {"InsufficientFundsForRent": {"account_index": index}}
    return None


def _inner(groups: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Inner instructions as getTransaction has them; LiteSVM's JSON heads each short vector with its length."""
    return [
        {
            "index": index,
            "instructions": [
                {
                    "programIdIndex": entry["instruction"]["programIdIndex"],
                    "accounts": entry["instruction"]["accounts"][1:],
                    "data": b58encode(bytes(entry["instruction"]["data"][1:])),
                    "stackHeight": entry["stackHeight"],
                }
                for entry in group
            ],
        }
        for index, group in enumerate(groups)
        if group
    ]


def _return_data(raw: dict[str, Any]) -> dict[str, Any] | None:
    if not raw["data"]:
        return None
    return {
        "programId": b58encode(bytes(raw["program_id"])),
        "data": [b64encode(bytes(raw["data"])), "base64"],
    }


def all_mentioned(keys: Keys) -> set[Pubkey]:
    """Every account a transaction names: what getSignaturesForAddress and logsSubscribe find it by."""
    return set(chain(keys.static, keys.loaded_writable, keys.loaded_readonly))
