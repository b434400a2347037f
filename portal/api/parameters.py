"""The parameters that many routes share, each described once."""

from __future__ import annotations

from typing import Annotated

from litestar.params import PathParameter, QueryParameter

NO_NUL = r"^[^\x00]*$"  # PostgreSQL keeps no NUL in a text

Ref = Annotated[
    str, PathParameter(description="The policy's reference, as POL-2026-0007.", max_length=40, pattern=NO_NUL)
]
VersionNumber = Annotated[int, PathParameter(description="The version's number, from 1.", ge=1, le=2**31 - 1)]
Limit = Annotated[int, QueryParameter(description="How many items at most, 1 to 200.", ge=1, le=200)]
Cursor = Annotated[
    str | None,
    QueryParameter(
        description="`next` or `prev` of another page.", max_length=500, pattern="^[A-Za-z0-9_=-]+$"
    ),
]
Query = Annotated[
    str,
    QueryParameter(
        description="Words that reference, title, summary or text must hold.", max_length=200, pattern=NO_NUL
    ),
]
Author = Annotated[
    str | None, QueryParameter(description="Their author's username.", max_length=100, pattern=NO_NUL)
]
