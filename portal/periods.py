"""Times as people and programs give them in addresses: a date, or RFC 3339."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from workflows.errors import FieldError, Invalid


def moment(text: str, pointer: str) -> datetime:
    """A date as its first moment in UTC, or RFC 3339 with an offset. Raises Invalid, which names `pointer`."""
    try:
        given = datetime.fromisoformat(text)
        if given.tzinfo is None and "T" in text:
            raise ValueError("a time without an offset")
        # The calendar's first and last days have none beside them.
        if not 1900 < given.year < 9999:
            raise ValueError("out of range")
    except ValueError:
        fault = FieldError(pointer, "Give a date as 2026-11-23, or a time as 2026-11-23T10:00:00Z.")
        raise Invalid("This is no time that we can read.", errors=(fault,)) from None
    return given if given.tzinfo else given.replace(tzinfo=UTC)


def span(since: str | None, until: str | None) -> tuple[datetime | None, datetime | None]:
    """From when (included) and until when (not); a date as `until` includes that day. Raises Invalid."""
    begin = moment(since, "/from") if since else None
    if not until:
        return begin, None
    end = moment(until, "/to")
    return begin, end if "T" in until else end + timedelta(days=1)
