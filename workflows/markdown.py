"""Turns Markdown that anyone may have written into HTML that is safe to show."""

from __future__ import annotations

import nh3
from markdown_it import MarkdownIt
from markdown_it.token import Token

# A text stands below the page's own h1 and h2, whatever level its author begins with.
TOP_HEADING = 3
TAGS = {
    "a", "blockquote", "br", "code", "del", "em", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p", "pre", "s",
    "strong", "table", "tbody", "td", "th", "thead", "tr", "ul",
}  # fmt: skip
ATTRIBUTES = {
    "a": {"href", "title"},
    "ol": {"start"},
    "table": {"tabindex"},
    "td": {"align"},
    "th": {"align"},
}
SCHEMES = {"http", "https", "mailto"}

_parser = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])


def to_html(markdown: str) -> str:
    """Sanitised HTML of untrusted CommonMark (with tables): headings from h3 on, links `rel="nofollow …"`, no images,
    raw HTML shown as text."""
    tokens = _parser.parse(markdown)
    levels = [int(token.tag[1]) for token in tokens if token.type == "heading_open"]
    shift = TOP_HEADING - min(levels, default=1)
    for token in tokens:
        _fit(token, shift)
    html = _parser.renderer.render(tokens, _parser.options, {})
    return nh3.clean(
        html, tags=TAGS, attributes=ATTRIBUTES, url_schemes=SCHEMES, link_rel="nofollow noopener noreferrer"
    )


def _fit(token: Token, shift: int) -> None:
    if token.type in ("heading_open", "heading_close"):
        token.tag = f"h{min(int(token.tag[1]) + shift, 6)}"
    # A wide table scrolls within itself, and who has no mouse must get there to do it.
    if token.type == "table_open":
        token.attrSet("tabindex", "0")
    # nh3 drops style attributes, so a table's alignment is carried by the attribute it keeps.
    if token.type in ("td_open", "th_open") and (style := token.attrGet("style")):
        token.attrSet("align", str(style).removeprefix("text-align:"))
