"""Diffs recompose both texts, Markdown is safe to show, and the Merkle tree is RFC 6962's."""

from __future__ import annotations

import time

import pytest
from html5lib import parseFragment
from hypothesis import given, settings
from hypothesis import strategies as st

from workflows.audit_transparency.merkle import root
from workflows.markdown import to_html
from workflows.policy_creation.diff import lines

words = st.sampled_from(["may", "must", "not", "publish", "notes,", "log.", "ä", " ", ""])
texts = st.lists(st.lists(words, max_size=8).map(" ".join), max_size=12).map("\n".join)


@given(texts, texts)
@settings(max_examples=150, deadline=None)
def test_a_diff_recomposes_both_texts(old: str, new: str) -> None:
    found = list(lines(old, new))
    before = [line for line in found if line.kind in ("same", "removed")]
    after = [line for line in found if line.kind in ("same", "added")]
    assert "\n".join("".join(p.text for p in line.parts if p.kind != "added") for line in before) == old
    assert "\n".join("".join(p.text for p in line.parts if p.kind != "removed") for line in after) == new
    assert [line.old for line in before] == list(range(1, len(before) + 1))
    assert [line.new for line in after] == list(range(1, len(after) + 1))


def test_a_changed_word_is_marked_as_a_word() -> None:
    removed, added = lines("Notes appear within three days.", "Notes appear within two days.")
    assert [p.text for p in removed.parts if p.kind == "removed"] == ["three"]
    assert [p.text for p in added.parts if p.kind == "added"] == ["two"]


@pytest.mark.parametrize("unit", ["a\n", "a b " * 200 + "\n"])
def test_a_hostile_text_does_not_hold_the_portal_up(unit: str) -> None:
    old, new = unit * (100_000 // len(unit)), ("b" + unit) * (90_000 // len(unit))
    started = time.process_time()
    assert list(lines(old, new))
    assert time.process_time() - started < 10, "quadratic growth would take minutes"


@pytest.mark.parametrize(
    "hostile",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "[x](javascript:alert(1))",
        "[x](data:text/html;base64,AAAA)",
        "![x](http://tracker.example/pixel.png)",
        "<a href='javascript:alert(1)'>x</a>",
        '[x](https://example.org "t" onclick=alert(1))',
        "<svg/onload=alert(1)>",
        "<style>*{display:none}</style>",
    ],
)
def test_markdown_of_strangers_is_harmless(hostile: str) -> None:
    for node in parseFragment(to_html(hostile), namespaceHTMLElements=False).iter():
        assert node.tag not in {"script", "img", "svg", "style", "iframe"}
        assert not [name for name in node.attrib if str(name).startswith("on")]
        assert not node.attrib.get("href", "https:").startswith(("javascript:", "data:"))


@given(st.text(max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_markdown_yields_only_known_tags(text: str) -> None:
    allowed = {"DOCUMENT_FRAGMENT", "a", "blockquote", "br", "code", "em", "h3", "h4", "h5", "h6", "hr", "li", "ol",
               "p", "pre", "s", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul", "del"}  # fmt: skip
    assert {node.tag for node in parseFragment(to_html(text), namespaceHTMLElements=False).iter()} <= allowed


def test_headings_stand_below_the_pages_own() -> None:
    assert to_html("# One\n\n#### Four") == "<h3>One</h3>\n<h6>Four</h6>\n"
    assert 'rel="nofollow' in to_html("[x](https://example.org)")


# The tree of the certificate-transparency test vectors (RFC 6962 reference implementation).
LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


@pytest.mark.parametrize("size", range(9))
def test_merkle_roots_are_those_of_rfc_6962(size: int) -> None:
    assert root([bytes.fromhex(leaf) for leaf in LEAVES[:size]]).hex() == ROOTS[size]
