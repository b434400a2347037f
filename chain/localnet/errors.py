"""Errors as a Solana node gives them: JSON-RPC codes, and the words for each transaction error.

Codes are those of Agave's `rpc-client-api` (`custom_error.rs`) and of JSON-RPC 2.0; the words are the
`Display` texts of `TransactionError` and `InstructionError`, which clients match on.
"""

import re
from typing import Any


class RpcError(Exception):
    """One JSON-RPC error object: a code, a message and, for some codes, data."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.code, self.message, self.data = code, message, data

    def body(self) -> dict[str, Any]:
        """The `error` member of a response; `data` is left out where there is none, as a node does."""
        body: dict[str, Any] = {"code": self.code, "message": self.message}
        return body if self.data is None else body | {"data": self.data}


class TransactionRejected(Exception):
    """A transaction that cannot land at all; `error` is its `TransactionError` as JSON."""

    def __init__(self, error: Any) -> None:
        super().__init__(describe(error))
        self.error = error


def parse_error() -> RpcError:
    return RpcError(-32700, "Parse error")


def invalid_request(message: str = "Invalid request") -> RpcError:
    return RpcError(-32600, message)


def method_not_found() -> RpcError:
    return RpcError(-32601, "Method not found")


def invalid_params(message: str) -> RpcError:
    return RpcError(-32602, message)


def preflight_failure(error: Any, result: dict[str, Any]) -> RpcError:
    return RpcError(-32002, f"Transaction simulation failed: {describe(error)}", result)


def signature_verification_failure() -> RpcError:
    return RpcError(-32003, "Transaction signature verification failure")


def block_not_available(slot: int) -> RpcError:
    return RpcError(-32004, f"Block not available for slot {slot}")


def slot_skipped(slot: int) -> RpcError:
    return RpcError(-32007, f"Slot {slot} was skipped, or missing due to ledger jump to recent snapshot")


def unsupported_transaction_version(version: int) -> RpcError:
    return RpcError(
        -32015,
        f"Transaction version ({version}) is not supported by the requesting client. Please try the request "
        f'again with the following configuration parameter: "maxSupportedTransactionVersion": {version}',
    )


def min_context_slot_not_reached(slot: int) -> RpcError:
    return RpcError(-32016, "Minimum context slot has not been reached", {"contextSlot": slot})


TRANSACTION_ERRORS = {
    "AccountInUse": "Account in use",
    "AccountLoadedTwice": "Account loaded twice",
    "AccountNotFound": "Attempt to debit an account but found no record of a prior credit.",
    "ProgramAccountNotFound": "Attempt to load a program that does not exist",
    "InsufficientFundsForFee": "Insufficient funds for fee",
    "InvalidAccountForFee": "This account may not be used to pay transaction fees",
    "AlreadyProcessed": "This transaction has already been processed",
    "BlockhashNotFound": "Blockhash not found",
    "CallChainTooDeep": "Loader call chain is too deep",
    "MissingSignatureForFee": "Transaction requires a fee but has no signature present",
    "InvalidAccountIndex": "Transaction contains an invalid account reference",
    "SignatureFailure": "Transaction did not pass signature verification",
    "InvalidProgramForExecution": "This program may not be used for executing instructions",
    "SanitizeFailure": "Transaction failed to sanitize accounts offsets correctly",
    "InvalidWritableAccount": "Transaction loads a writable account that cannot be written",
    "TooManyAccountLocks": "Transaction locked too many accounts",
    "AddressLookupTableNotFound": "Transaction loads an address table account that doesn't exist",
    "InvalidAddressLookupTableOwner": "Transaction loads an address table account with an invalid owner",
    "InvalidAddressLookupTableData": "Transaction loads an address table account with invalid data",
    "InvalidAddressLookupTableIndex": "Transaction address table lookup uses an invalid index",
    "MaxLoadedAccountsDataSizeExceeded": "Transaction exceeded max loaded accounts data size cap",
    "InvalidLoadedAccountsDataSizeLimit": "LoadedAccountsDataSizeLimit set for transaction must be greater than 0.",
    "UnbalancedTransaction": "Sum of account balances before and after transaction do not match",
}

INSTRUCTION_ERRORS = {
    "GenericError": "generic instruction error",
    "InvalidArgument": "invalid program argument",
    "InvalidAccountData": "invalid account data for instruction",
    "AccountDataTooSmall": "account data too small for instruction",
    "InsufficientFunds": "insufficient funds for instruction",
    "IncorrectProgramId": "incorrect program id for instruction",
    "MissingRequiredSignature": "missing required signature for instruction",
    "AccountAlreadyInitialized": "instruction requires an uninitialized account",
    "UninitializedAccount": "instruction requires an initialized account",
    "UnbalancedInstruction": "sum of account balances before and after instruction do not match",
    "ModifiedProgramId": "instruction illegally modified the program id of an account",
    "ExternalAccountLamportSpend": "instruction spent from the balance of an account it does not own",
    "ExternalAccountDataModified": "instruction modified data of an account it does not own",
    "ReadonlyLamportChange": "instruction changed the balance of a read-only account",
    "ReadonlyDataModified": "instruction modified data of a read-only account",
    "NotEnoughAccountKeys": "insufficient account keys for instruction",
    "PrivilegeEscalation": "Cross-program invocation with unauthorized signer or writable account",
    "ProgramEnvironmentSetupFailure": "Failed to create program execution environment",
    "ProgramFailedToComplete": "Program failed to complete",
    "ProgramFailedToCompile": "Program failed to compile",
    "UnsupportedProgramId": "Unsupported program id",
    "CallDepth": "Cross-program invocation call depth too deep",
    "MissingAccount": "An account required by the instruction is missing",
    "ReentrancyNotAllowed": "Cross-program invocation reentrancy not allowed for this instruction",
    "InvalidSeeds": "Provided seeds do not result in a valid address",
    "InvalidRealloc": "Failed to reallocate account data",
    "ComputationalBudgetExceeded": "Computational budget exceeded",
}


def describe(error: Any) -> str:
    """The words for a `TransactionError` given as JSON: a name, or a one-key object."""
    if isinstance(error, str):
        return TRANSACTION_ERRORS.get(error, error)
    ((name, detail),) = error.items()
    if name == "InstructionError":
        return f"Error processing Instruction {detail[0]}: {describe_instruction_error(detail[1])}"
    if name == "InsufficientFundsForRent":
        return (
            f"Transaction results in an account ({detail['account_index']}) with insufficient funds for rent"
        )
    if name == "DuplicateInstruction":
        return f"Transaction contains a duplicate instruction ({detail}) that is not allowed"
    return f"{name} {detail}"


def describe_instruction_error(error: Any) -> str:
    """The words for an `InstructionError` given as JSON."""
    if isinstance(error, dict):
        ((name, detail),) = error.items()
        return f"custom program error: {detail:#x}" if name == "Custom" else f"{name}: {detail}"
    if error in INSTRUCTION_ERRORS:
        return INSTRUCTION_ERRORS[error]
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", error).lower()
