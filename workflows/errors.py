"""Every way the core says no: one tree, turned into a page, a fragment or a problem at the edge."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FieldError:
    """One thing wrong with the input: `pointer` is a JSON pointer into it (RFC 6901)."""

    pointer: str
    message: str


class GovernanceError(Exception):
    """Base of all refusals. `status` is the HTTP status it becomes, `code` is stable for programs."""

    status = 500
    code = "internal_error"
    title = "Something went wrong"

    def __init__(
        self,
        detail: str,
        *,
        code: str | None = None,
        errors: tuple[FieldError, ...] = (),
        links: dict[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code or self.code
        self.errors = errors
        self.links = links or {}


class Unauthenticated(GovernanceError):
    status, code, title = 401, "unauthenticated", "Please sign in"


class Refused(GovernanceError):
    """The person is known and may not do this; `detail` says why."""

    status, code, title = 403, "refused", "You may not do this"


class NotFound(GovernanceError):
    status, code, title = 404, "not_found", "Not found"


class Conflict(GovernanceError):
    """The thing has changed, or is not in a state that takes this."""

    status, code, title = 409, "conflict", "This has changed in the meantime"


class Invalid(GovernanceError):
    status, code, title = 422, "invalid", "Please check what you entered"


class Unavailable(GovernanceError):
    """Something outside (database, chain, Redis) is away; trying again later can help."""

    status, code, title = 503, "unavailable", "Temporarily unavailable"
