"""JSON bodies, read strictly: every fault at once, each with the pointer to it, and nothing coerced.

Litestar's own reading turns "true" into true and stops at the first fault of a body. `dto=StrictJSON` on a
handler reads its `data: JSONBody[...]` with `decode` instead; the OpenAPI document is made from the same type.
"""

from __future__ import annotations

import re
import types
from collections.abc import Iterator
from enum import StrEnum
from typing import Any, TypeVar, Union, get_args, get_origin

import msgspec
from litestar.dto import AbstractDTO

from portal.errors import HttpError
from workflows.errors import FieldError, Invalid

T = TypeVar("T")

# What RFC 7493 lets every JSON program read alike; the canonical JSON that we hash refuses more.
LARGEST_INTEGER = 2**53 - 1
DEEPEST = 32  # nesting; far above any example of a rule, far below where recursion ends

SAID = r"\S"  # something is there besides blanks
SHA256 = "^[0-9a-f]{64}$"
PATTERN_WORDS = {
    SAID: "Something must be written here.",
    SHA256: "Must be a SHA-256 as 64 lower-case hex digits.",
}
TYPE_WORDS = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "object": "an object",
    "array": "a list",
    "null": "null",
}


class Input(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all request bodies: an unknown field is a fault, not a silent loss."""


class StrictJSON(AbstractDTO[Any]):
    """Reads `data` with `decode`; leaves what the handler returns alone."""

    def decode_bytes(self, value: bytes) -> Any:
        media_type = self.asgi_connection.headers.get("content-type", "").partition(";")[0].strip().lower()
        if value and media_type != "application/json" and not media_type.endswith("+json"):
            raise HttpError(415, "Send the body as application/json.")
        return decode(
            value, self.asgi_connection.route_handler.parsed_fn_signature.parameters["data"].annotation
        )

    @classmethod
    def create_for_field_definition(cls, *args: Any, **kwargs: Any) -> None:
        """No transfer model is needed."""

    @classmethod
    def is_supported_model_type_field(cls, field_definition: Any) -> bool:
        return False

    @classmethod
    def create_openapi_schema(cls, field_definition: Any, handler_id: str, schema_creator: Any) -> Any:
        return schema_creator.for_field_definition(field_definition)


def decode(body: bytes, kind: type[T]) -> T:
    """`body` as a `kind`. Raises HttpError 400 for what is no JSON, Invalid (422) naming every fault."""
    try:
        value = msgspec.json.decode(body or b"{}")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise HttpError(400, f"The body cannot be read as JSON: {error}.") from error
    errors = tuple(_faults(value, kind))
    if errors:
        raise Invalid(
            " ".join(f"{error.pointer or 'Body'}: {error.message}" for error in errors[:3]), errors=errors
        )
    return msgspec.convert(value, kind)


def _faults(value: Any, kind: type) -> Iterator[FieldError]:
    if not isinstance(value, dict):
        yield FieldError("", "The body must be a JSON object.")
        return
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    for name in value.keys() - fields.keys():
        yield FieldError(f"/{_escaped(name)}", "There is no such field.")
    for name, field in fields.items():
        if name in value:
            yield from _field_faults(value[name], field.type, f"/{name}")
        elif field.required:
            yield FieldError(f"/{name}", "This field is required.")


def _field_faults(value: Any, kind: Any, pointer: str) -> Iterator[FieldError]:
    unsafe = list(_unsafe(value, pointer))
    if unsafe:
        yield from unsafe
        return
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        yield _field_error(str(error), kind, pointer)


def _unsafe(value: Any, pointer: str, depth: int = 0) -> Iterator[FieldError]:
    """What fits the type but not PostgreSQL or canonical JSON: NUL in a text, numbers without exact form."""
    if depth > DEEPEST:
        yield FieldError(pointer, f"Nested more than {DEEPEST} deep.")
    elif isinstance(value, str):
        if "\x00" in value:
            yield FieldError(pointer, "The character U+0000 is not allowed.")
    elif isinstance(value, float):
        if value in (float("inf"), float("-inf")):
            yield FieldError(pointer, "This number is too large.")
    elif isinstance(value, int):
        if abs(value) > LARGEST_INTEGER:
            yield FieldError(pointer, "A whole number must lie between -(2^53-1) and 2^53-1.")
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _unsafe(key, pointer, depth)
            yield from _unsafe(item, f"{pointer}/{_escaped(key)}", depth + 1)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _unsafe(item, f"{pointer}/{index}", depth + 1)


def _field_error(message: str, kind: Any, pointer: str) -> FieldError:
    """msgspec's message, in plain words and with its path as a JSON pointer."""
    what, _, path = message.partition(" - at `$")
    pointer += "".join(f"/{a or b}" for a, b in re.findall(r"\.([^.\[\]`]+)|\[(\d+)\]", path))
    if found := re.fullmatch(r"Object (missing required|contains unknown) field `(.*)`", what):
        said = "This field is required." if found[1].startswith("missing") else "There is no such field."
        return FieldError(f"{pointer}/{_escaped(found[2])}", said)
    if what.startswith("Invalid enum value") and (values := _enum_values(kind, path)):
        return FieldError(pointer, f"Must be one of: {', '.join(values)}.")
    if found := re.fullmatch(r"Expected `(.*)`, got `(.*)`", what):
        wanted = " or ".join(TYPE_WORDS.get(word, word) for word in found[1].split(" | "))
        return FieldError(pointer, f"Must be {wanted}, not {TYPE_WORDS.get(found[2], found[2])}.")
    if found := re.fullmatch(r"Expected `(str|array)` of length ([<>])= (\d+)", what):
        unit = "character" if found[1] == "str" else "item"
        bound = "At most" if found[2] == "<" else "At least"
        return FieldError(pointer, f"{bound} {found[3]} {unit}{'' if found[3] == '1' else 's'}.")
    if found := re.fullmatch(r"Expected `str` matching regex '(.*)'", what):
        return FieldError(
            pointer, PATTERN_WORDS.get(found[1].replace("\\\\", "\\"), "Has another form than is asked for.")
        )
    return FieldError(pointer, f"{what}.")


def _enum_values(kind: Any, path: str) -> list[str]:
    """The words allowed where `path` leads from `kind`: the field itself, or a field of the struct it takes."""
    for part in get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,):
        if isinstance(part, type) and issubclass(part, StrEnum):
            return [str(value) for value in part]
        if isinstance(part, type) and issubclass(part, msgspec.Struct):
            name = re.match(r"\.(\w+)", path)
            inner = {field.encode_name: field.type for field in msgspec.structs.fields(part)}
            if name and name[1] in inner:
                return _enum_values(inner[name[1]], "")
    return []


def _escaped(key: str) -> str:
    """A key as a reference token of a JSON pointer (RFC 6901)."""
    return key.replace("~", "~0").replace("/", "~1")
