"""How templates write values: the Jinja filters."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from markupsafe import Markup


def absolute(moment: datetime | None) -> str:
    """23 Nov 2026, 10:56 UTC."""
    if moment is None:
        return "–"
    at = moment.astimezone(UTC)
    return f"{at.day} {at:%b %Y, %H:%M} UTC"


def iso(moment: datetime) -> str:
    """RFC 3339 in UTC, for `datetime` attributes."""
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def in_words(span: timedelta) -> str:
    """A length of time in its one or two largest units: 3 days 4 hours."""
    seconds = int(abs(span).total_seconds())
    parts = []
    for name, size in (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1)):
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count} {name}{'' if count == 1 else 's'}")
        elif parts:
            break
    return " ".join(parts[:2]) or "0 seconds"


def relative(moment: datetime | None, now: datetime) -> str:
    """in 3 days 4 hours; 5 minutes ago; now."""
    if moment is None:
        return "–"
    span = moment - now
    if abs(span) < timedelta(seconds=45):
        return "now"
    rounded = timedelta(minutes=round(span.total_seconds() / 60))
    return f"in {in_words(rounded)}" if span > timedelta() else f"{in_words(rounded)} ago"


def markdown(text: str) -> Markup:
    """Sanitised HTML of Markdown that anyone may have written."""
    from workflows.markdown import to_html

    return Markup(to_html(text))  # noqa: S704 – sanitised there


def short(digest: str | None, digits: int = 16) -> str:
    return (digest or "")[:digits]


def percent(share: float | None, places: int = 1) -> str:
    """0.1234 as 12.3 %."""
    if share is None:
        return "–"
    text = f"{share * 100:.{places}f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text) + "\N{NO-BREAK SPACE}%"


def words(value: Any) -> str:
    """in_review as In review."""
    text = str(value).replace("_", " ")
    return text[:1].upper() + text[1:]


def article_href(article: str) -> str:
    """§ 5.4 as its place in the constitution; the programme's own figures stand in none."""
    number = article.removeprefix("§").strip()
    return f"/constitution#art-{number.replace('.', '-')}" if number[:1].isdigit() else "/constitution"


FILTERS = {
    f.__name__: f for f in (absolute, iso, in_words, relative, markdown, short, percent, words, article_href)
}
