"""Every pair of colours the style sheets set against each other keeps WCAG 2.2 AA, in both themes and with more contrast asked for."""

import re
from pathlib import Path

import pytest

SHEET = (Path(__file__).parents[2] / "static/css/tokens.css").read_text()
PAIR = re.compile(r"(--[\w-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\);")
PLAIN, MORE = SHEET.split("@media (prefers-contrast: more)")

SURFACES = ["--paper", "--tint", "--raised"]
TINTS = ["--success", "--warning", "--danger"]
TEXT = [
    *(
        (ink, surface)
        for ink in ("--ink", "--ink-quiet", "--accent", "--accent-strong")
        for surface in SURFACES
    ),
    *((tone, surface) for tone in TINTS for surface in SURFACES),
    *((tone, f"{tone}-tint") for tone in TINTS),
    *(("--ink", f"{tone}-tint") for tone in TINTS),
    ("--ink", "--neutral-tint"),
    ("--ink", "--accent-tint"),
    ("--ink-quiet", "--neutral-tint"),
    ("--ink-quiet", "--danger-tint"),  # hints inside a failed check
    ("--accent", "--danger-tint"),
    ("--accent", "--accent-tint"),
    ("--on-accent", "--accent"),
    ("--on-accent", "--accent-strong"),
    ("--on-accent-tint", "--accent-tint"),
    ("--on-danger", "--danger"),
]
SHAPES = [
    *(
        (shape, surface)
        for shape in ("--line-strong", "--focus", "--for", "--against", "--abstain")
        for surface in SURFACES
    ),
    *((choice, "--pattern") for choice in ("--for", "--against", "--abstain")),
    ("--accent", "--neutral-tint"),  # the turnout bar on its ground
    ("--ink", "--paper"),
    ("--focus", "--danger-tint"),
    ("--focus", "--accent-tint"),
]


def luminance(colour: str) -> float:
    """Relative luminance of "#rrggbb", as WCAG 2.2 defines it."""
    channels = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(a: str, b: str) -> float:
    lighter, darker = sorted((luminance(a), luminance(b)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def tokens(theme: str, more: bool) -> dict[str, str]:
    pairs = PAIR.findall(PLAIN) + (PAIR.findall(MORE) if more else [])
    return {name: light if theme == "light" else dark for name, light, dark in pairs}


def test_the_formula_agrees_with_the_standard():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("more", [False, True], ids=["plain", "more-contrast"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_is_readable(theme, more):
    colours = tokens(theme, more)
    low = {
        pair: round(ratio, 2)
        for pair in TEXT
        if (ratio := contrast(colours[pair[0]], colours[pair[1]])) < 4.5
    }
    assert not low


@pytest.mark.parametrize("more", [False, True], ids=["plain", "more-contrast"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_borders_marks_and_focus_can_be_seen(theme, more):
    colours = tokens(theme, more)
    low = {
        pair: round(ratio, 2)
        for pair in SHAPES
        if (ratio := contrast(colours[pair[0]], colours[pair[1]])) < 3
    }
    assert not low


def test_every_colour_is_measured():
    """A new token has to join a pair above; only the hairline is decoration."""
    named = {name for name, _, _ in PAIR.findall(PLAIN)}
    assert named - {token for pair in TEXT + SHAPES for token in pair} == {"--line"}


def test_no_sheet_names_a_colour_of_its_own():
    for sheet in (Path(__file__).parents[2] / "static/css").glob("*.css"):
        if sheet.name != "tokens.css":
            assert not re.findall(r"#[0-9a-fA-F]{3,8}\b(?=[;\s,)])", sheet.read_text()), sheet.name
