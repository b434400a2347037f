"""Reads what a form sent."""

from __future__ import annotations

from litestar import Request

from workflows.errors import FieldError, Invalid


async def form(request: Request) -> dict[str, str]:
    """The form's fields as text, stripped, line ends as one newline; of a repeated field the last value.

    Raises Invalid for text that cannot be stored (NUL).
    """
    sent = await request.form()
    fields = {}
    for name, value in sent.multi_items():
        if isinstance(value, str):
            if "\0" in value or "\0" in name:
                raise Invalid(
                    "The form holds a character that cannot be kept.", errors=(FieldError(f"/{name}", "NUL"),)
                )
            fields[name] = value.replace("\r\n", "\n").strip()
    return fields


def safe_next(target: str | None, default: str = "/") -> str:
    """`target` if it leads to a page of ours, else `default`: an address from outside could lead anywhere."""
    local = bool(target) and target.startswith("/") and not target.startswith(("//", "/\\"))
    if not local or any(ord(c) < 33 or c == "\\" for c in target):
        return default
    return target
