"""What changed between two versions, line by line and, within a changed line, word by word. Pure.

The parts recompose both texts: `same` and `removed` give the old one, `same` and `added` the new one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from typing import Literal

from workflows.policy_creation.views import Diff, DiffLine, DiffPart, FieldDiff, RuleDraft, VersionView

_WORDS = re.compile(r"\s+|\w+|[^\w\s]")
# Lines less alike than this are shown as a removal and an addition, not as an edit.
ALIKE = 0.4
# Comparing takes quadratic time at worst, so there are bounds to how fine it is done.
MOST_LINES = 6_000  # of both texts; beyond, the whole text is shown as replaced
MOST_WORK = 20_000_000  # word by word, in products of two lines' lengths; beyond, whole lines are shown


FieldName = Literal["title", "summary", "category", "text", "rule", "constitution"]


def compare(ref: str, old: VersionView, new: VersionView) -> Diff:
    """All fields that are voted on, each as lines."""
    fields = [
        _field("title", old.title, new.title),
        _field("summary", old.summary, new.summary),
        _field("category", old.category, new.category),
        _field("text", old.text, new.text),
        _field("rule", rule_text(old.rule), rule_text(new.rule)),
    ]
    if old.constitution or new.constitution:
        fields.append(
            _field(
                "constitution", *(each.constitution.text if each.constitution else "" for each in (old, new))
            )
        )
    kinds = [line.kind for field in fields for line in field.lines]
    return Diff(
        ref=ref,
        from_version=old.number,
        to_version=new.number,
        fields=fields,
        lines_added=kinds.count("added"),
        lines_removed=kinds.count("removed"),
    )


def rule_text(rule: RuleDraft | None) -> str:
    """A rule as a person compares it: engine, source, examples."""
    if rule is None:
        return ""
    examples = [json.dumps(example, ensure_ascii=False, sort_keys=True) for example in rule.examples]
    return "\n".join([f"engine: {rule.engine}", rule.source, *examples])


def _field(name: FieldName, old: str, new: str) -> FieldDiff:
    return FieldDiff(field=name, changed=old != new, lines=list(lines(old, new)))


def lines(old: str, new: str) -> Iterator[DiffLine]:
    """The lines of both texts in reading order; removed ones before added ones. An empty text has no line."""
    before, after = _lines(old), _lines(new)
    blocks: Sequence[tuple[str, int, int, int, int]] = [("replace", 0, len(before), 0, len(after))]
    if len(before) + len(after) <= MOST_LINES:
        blocks = SequenceMatcher(None, before, after).get_opcodes()
    pairs = [pair for kind, *span in blocks if kind == "replace" for pair in _pairs(before, after, *span)]
    by_word = sum(len(was) * len(now) + MOST_WORK // 2_000 for was, now in pairs) <= MOST_WORK
    for kind, i1, i2, j1, j2 in blocks:
        if kind == "equal":
            for i, j in zip(range(i1, i2), range(j1, j2), strict=True):
                yield DiffLine(
                    kind="same", old=i + 1, new=j + 1, parts=[DiffPart(kind="same", text=before[i])]
                )
        else:
            yield from _replaced(before, after, (i1, i2), (j1, j2), by_word)


def _lines(text: str) -> list[str]:
    return text.split("\n") if text else []


def _pairs(
    before: list[str], after: list[str], i1: int, i2: int, j1: int, j2: int
) -> Iterator[tuple[str, str]]:
    """The lines of a changed block that are compared word by word: the n-th with the n-th."""
    return zip(before[i1:i2], after[j1:j2], strict=False)


def _replaced(
    before: list[str], after: list[str], old: tuple[int, int], new: tuple[int, int], by_word: bool
) -> Iterator[DiffLine]:
    """A block of old lines that became a block of new ones: the n-th with the n-th."""
    removed, added = [], []
    for offset in range(max(old[1] - old[0], new[1] - new[0])):
        i, j = old[0] + offset, new[0] + offset
        was = before[i] if i < old[1] else None
        now = after[j] if j < new[1] else None
        was_parts, now_parts = _words(was, now, by_word)
        if was is not None:
            removed.append(DiffLine(kind="removed", old=i + 1, new=None, parts=was_parts))
        if now is not None:
            added.append(DiffLine(kind="added", old=None, new=j + 1, parts=now_parts))
    yield from removed
    yield from added


def _words(was: str | None, now: str | None, by_word: bool) -> tuple[list[DiffPart], list[DiffPart]]:
    """What of an old line was removed and what of its new one added."""
    whole = (
        [DiffPart(kind="removed", text=was)] if was else [],
        [DiffPart(kind="added", text=now)] if now else [],
    )
    if not was or not now or not by_word:
        return whole
    old, new = _WORDS.findall(was), _WORDS.findall(now)
    matcher = SequenceMatcher(None, old, new, autojunk=False)
    if matcher.ratio() < ALIKE:
        return whole
    removed, added = [], []
    for kind, i1, i2, j1, j2 in matcher.get_opcodes():
        gone, come = "".join(old[i1:i2]), "".join(new[j1:j2])
        if kind == "equal":
            removed.append(DiffPart(kind="same", text=gone))
            added.append(DiffPart(kind="same", text=come))
            continue
        if gone:
            removed.append(DiffPart(kind="removed", text=gone))
        if come:
            added.append(DiffPart(kind="added", text=come))
    return removed, added
