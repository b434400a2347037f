"""JSON-RPC 2.0: one request or a batch in, one response or a batch out."""

import inspect
import logging
from collections.abc import Callable
from typing import Any

import msgspec

from chain.localnet.bank import Bank
from chain.localnet.errors import RpcError, invalid_params, invalid_request, method_not_found, parse_error
from chain.localnet.methods import METHODS

log = logging.getLogger(__name__)

Call = Callable[[str, list[Any]], Any]


def answer(body: bytes, call: Call) -> Any:
    """The response to a request body, ready to encode; None when nothing is to be answered (notifications)."""
    try:
        request = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _failure(None, parse_error())
    if not isinstance(request, list):
        return _answer_one(request, call)
    if not request:
        return _failure(None, invalid_request())
    return [response for one in request if (response := _answer_one(one, call)) is not None] or None


def call_method(bank: Bank) -> Call:
    """A function that runs the HTTP methods on a bank."""

    def call(method: str, parameters: list[Any]) -> Any:
        handler = METHODS.get(method)
        if handler is None:
            raise method_not_found()
        return invoke(handler, bank, *parameters)

    return call


def invoke(handler: Callable[..., Any], *parameters: Any) -> Any:
    """Call with the request's parameters; too few or too many are -32602."""
    try:
        inspect.signature(handler).bind(*parameters)
    except TypeError as error:
        raise invalid_params(f"Invalid params: {error}") from error
    return handler(*parameters)


def _answer_one(request: Any, call: Call) -> Any:
    if not isinstance(request, dict):
        return _failure(None, invalid_request())
    identity, method = request.get("id"), request.get("method")
    if isinstance(identity, dict | list | bool | float):
        return _failure(None, invalid_request())
    if request.get("jsonrpc") != "2.0" or not isinstance(method, str):
        return _failure(identity, invalid_request())
    try:
        parameters = request.get("params")
        if not isinstance(parameters, list | None):
            raise invalid_params("Invalid params: parameters are a list.")
        result = call(method, parameters or [])
    except RpcError as error:
        return _failure(identity, error) if "id" in request else None
    except Exception:
        log.exception("%s failed", method)
        return _failure(identity, RpcError(-32603, "Internal error"))
    return {"jsonrpc": "2.0", "result": result, "id": identity} if "id" in request else None


def _failure(identity: Any, error: RpcError) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "error": error.body(), "id": identity}
