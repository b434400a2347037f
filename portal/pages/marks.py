"""A text with passages marked in it: rendered and cleaned first, then marked between its tags, so that marks add no HTML of anyone else's."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup, escape

from portal.static_files import static_url
from workflows.kinds import Severity
from workflows.markdown import to_html

# Where a passage begins or ends, while the text is rendered. A sign of punctuation that no text of ours is written with:
# beside * and _ it reads as what stands at the edge of a passage anyhow.
CUT = "\N{KHAROSHTHI PUNCTUATION DOT}"
SEVERITIES = list(Severity)
ICONS = {
    Severity.NONE: "minus",
    Severity.LOW: "priority-low",
    Severity.MEDIUM: "priority-normal",
    Severity.HIGH: "priority-high",
    Severity.CRITICAL: "priority-critical",
}
_PARTS = re.compile(r"""(<(?:"[^"]*"|[^">])*>)""")


@dataclass(frozen=True)
class Mark:
    """One finding about `text[start:end]`. `number` is what a reader calls it, `place` the passage it shares with others."""

    number: int
    place: int
    start: int
    end: int
    severity: Severity
    sure: bool
    about: str  # the principle, in words


def marked(text: str, marks: Sequence[Mark]) -> tuple[Markup, set[int]]:
    """The text as HTML with each mark's passage in `<mark id="passage-PLACE">` and a link after it to `#finding-NUMBER`;
    and the places that got their id.

    Where rendered Markdown cannot carry the marks without reading otherwise, the text is shown as it was written.
    """
    text = text.replace(CUT, "\N{REPLACEMENT CHARACTER}")
    marks = [mark for mark in marks if 0 <= mark.start < mark.end <= len(text)]
    bounds = sorted({mark.start for mark in marks} | {mark.end for mark in marks})
    cut = _cut(text, bounds)
    html = to_html(cut)
    parts = _PARTS.split(html)
    kind = "prose"
    if html.replace(CUT, "") != to_html(text) or sum(part.count(CUT) for part in parts[::2]) != len(bounds):
        parts, kind = [str(escape(cut))], "prose prose-source"
    begun: set[int] = set()
    inside = Markup("").join(_pieces(parts, bounds, marks, begun))
    return Markup('<div class="{}" dir="auto">{}</div>').format(kind, inside), begun


def _cut(text: str, bounds: Sequence[int]) -> str:
    edges = [0, *bounds, len(text)]
    return CUT.join(text[start:end] for start, end in pairwise(edges))


def _pieces(
    parts: Sequence[str], bounds: Sequence[int], marks: Sequence[Mark], begun: set[int]
) -> Iterator[Markup]:
    """Tags pass as they are; text between them is marked. Links wait until the writer's own link is closed."""
    reached, in_link = 0, False
    waiting: list[Mark] = []
    for position, part in enumerate(parts):
        if position % 2:
            in_link = part.startswith("<a ") or (in_link and part != "</a>")
            yield Markup(part)  # noqa: S704  a tag that nh3 wrote
        else:
            for number, piece in enumerate(part.split(CUT)):
                if number:
                    reached += 1
                    waiting += [mark for mark in marks if mark.end == bounds[reached - 1]]
                    if not in_link:
                        yield from _links(waiting)
                        waiting = []
                here = [mark for mark in marks if _covers(mark, bounds, reached)]
                yield from _piece(Markup(piece), here, begun)  # noqa: S704  text that nh3 escaped
        if waiting and not in_link:
            yield from _links(waiting)
            waiting = []


def _covers(mark: Mark, bounds: Sequence[int], reached: int) -> bool:
    return 0 < reached < len(bounds) and mark.start <= bounds[reached - 1] < mark.end


def _piece(html: Markup, here: Sequence[Mark], begun: set[int]) -> Iterator[Markup]:
    """The first piece of a passage carries its id."""
    if not here or not html.strip():
        yield html
        return
    places = sorted({mark.place for mark in here} - begun)
    begun.update(places)
    for place in places[1:]:
        yield Markup('<span id="passage-{}"></span>').format(place)
    gravest = max((mark.severity for mark in here), key=SEVERITIES.index)
    id = Markup(' id="passage-{}"').format(places[0]) if places else ""
    yield Markup('<mark class="passage passage-{}"{}>{}</mark>').format(gravest, id, html)


def _links(marks: Sequence[Mark]) -> Iterator[Markup]:
    for mark in sorted(marks, key=lambda mark: mark.number):
        yield Markup(
            '<a class="passage-link passage-link-{severity}{unsure}" href="#finding-{number}">'
            '<svg class="icon" width="20" height="20" focusable="false" aria-hidden="true"><use href="{icons}#{icon}"></use></svg>'
            '<span class="visually-hidden">Finding </span>{number}<span class="visually-hidden">: {about},</span> '
            '<span class="passage-word">{severity}<span class="visually-hidden"> severity</span>{said}</span></a>'
        ).format(
            severity=mark.severity,
            icons=static_url("icons.svg"),
            icon=ICONS[mark.severity],
            number=mark.number,
            about=mark.about,
            unsure="" if mark.sure else " passage-link-unsure",
            said="" if mark.sure else ", unsure",
        )
