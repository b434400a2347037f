"""Methods that read accounts."""

from collections.abc import Iterable
from typing import Any

from solders.account import Account
from solders.pubkey import Pubkey

from chain.localnet import arguments
from chain.localnet.bank import Bank, View
from chain.localnet.encoding import account_shape, check_encoding
from chain.localnet.errors import invalid_params

MAX_MULTIPLE_ACCOUNTS = 100
MAX_FILTERS = 4


def get_balance(bank: Bank, address: Any, config: Any = None) -> Any:
    view = arguments.view(bank, arguments.options(config))
    return arguments.with_context(view, view.svm.get_balance(arguments.pubkey(address)) or 0)


def get_account_info(bank: Bank, address: Any, config: Any = None) -> Any:
    config = arguments.options(config)
    view = arguments.view(bank, config)
    return arguments.with_context(view, read_account(view, arguments.pubkey(address), config))


def get_multiple_accounts(bank: Bank, addresses: Any, config: Any = None) -> Any:
    config = arguments.options(config)
    view = arguments.view(bank, config)
    wanted = [arguments.pubkey(item) for item in arguments.items(addresses, MAX_MULTIPLE_ACCOUNTS)]
    config = {"encoding": "base64"} | {key: value for key, value in config.items() if value is not None}
    return arguments.with_context(view, [read_account(view, address, config) for address in wanted])


def get_program_accounts(bank: Bank, program: Any, config: Any = None) -> Any:
    config = arguments.options(config)
    view = arguments.view(bank, config)
    owned = ((address, view.get(address)) for address in view.owned_by(arguments.pubkey(program)))
    found = select(((address, account) for address, account in owned if account is not None), config)
    return arguments.with_context(view, found) if config.get("withContext") else found


def get_minimum_balance_for_rent_exemption(bank: Bank, size: Any, config: Any = None) -> Any:
    view = arguments.view(bank, arguments.options(config))
    return view.svm.minimum_balance_for_rent_exemption(arguments.number(size))


def get_supply(bank: Bank, config: Any = None) -> Any:
    """What the faucet still holds does not circulate."""
    config = arguments.options(config)
    view = arguments.view(bank, config)
    total, held = view.supply(), view.svm.get_balance(bank.faucet.pubkey()) or 0
    listed = [] if config.get("excludeNonCirculatingAccountsList") else [str(bank.faucet.pubkey())]
    return arguments.with_context(
        view,
        {
            "total": total,
            "circulating": total - held,
            "nonCirculating": held,
            "nonCirculatingAccounts": listed,
        },
    )


def read_account(view: View, address: Pubkey, config: dict[str, Any]) -> dict[str, Any] | None:
    """An account in the encoding and slice that `config` asks for; None when there is none."""
    encoding, data_slice = check_encoding(config.get("encoding")), arguments.data_slice(config)
    account = view.get(address)
    return None if account is None else account_shape(address, account, encoding, data_slice)


def select(accounts: Iterable[tuple[Pubkey, Account]], config: dict[str, Any]) -> list[dict[str, Any]]:
    """The accounts that pass the filters of `config`, each as {pubkey, account}."""
    encoding, data_slice = check_encoding(config.get("encoding")), arguments.data_slice(config)
    filters = [_filter(item) for item in arguments.items(config.get("filters") or [], MAX_FILTERS, "filters")]
    return [
        {"pubkey": str(address), "account": account_shape(address, account, encoding, data_slice)}
        for address, account in accounts
        if all(passes(bytes(account.data)) for passes in filters)
    ]


def _filter(item: Any) -> Any:
    """A test of an account's data, from {dataSize} or {memcmp: {offset, bytes}}."""
    item = arguments.options(item)
    if "dataSize" in item:
        size = arguments.number(item["dataSize"])
        return lambda data: len(data) == size
    if "memcmp" in item:
        memcmp = arguments.options(item["memcmp"])
        offset, wanted = arguments.number(memcmp.get("offset")), arguments.memcmp_bytes(memcmp)
        return lambda data: data[offset : offset + len(wanted)] == wanted
    raise invalid_params("Invalid params: a filter is one of `dataSize` and `memcmp`.")


METHODS: dict[str, Any] = {
    "getBalance": get_balance,
    "getAccountInfo": get_account_info,
    "getMultipleAccounts": get_multiple_accounts,
    "getProgramAccounts": get_program_accounts,
    "getMinimumBalanceForRentExemption": get_minimum_balance_for_rent_exemption,
    "getSupply": get_supply,
}
