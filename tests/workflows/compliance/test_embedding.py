"""The packaged embedder, and the pieces it reads."""

from __future__ import annotations

import numpy as np
import pytest

from workflows.constitutional_compliance import wordpiece
from workflows.constitutional_compliance.embedding import (
    AT_ONCE,
    REMEMBERED,
    STEP,
    MiniLM,
    _of_a_length,
    packaged,
)

# As the reference implementation (Hugging Face tokenizers, BertTokenizer, uncased) cuts them.
REFERENCE = [
    (
        "Members' votes weigh the same (§ 2.1).",
        [101, 2372, 1005, 4494, 17042, 1996, 2168, 1006, 1073, 1016, 1012, 1015, 1007, 1012, 102],
    ),
    (
        "Crème brûlée — “12.5 %” naïve İstanbul",
        [101, 13675, 21382, 7987, 9307, 2063, 1517, 1523, 2260, 1012, 1019, 1003, 1524, 15743, 9960, 102],
    ),
    (
        "中文字 and 한국어",
        [101, 1746, 1861, 100, 1998, 1469, 30006, 30021, 29991, 30014, 30020, 29999, 30008, 102],
    ),
    ("a\u200bb\xadc\t\nd 😀", [101, 5925, 1040, 100, 102]),
    (
        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx unaffordability e.g.",
        [101, 100, 14477, 4246, 8551, 8010, 1041, 1012, 1043, 1012, 102],
    ),
    ("", [101, 102]),
]


@pytest.mark.parametrize(("text", "pieces"), REFERENCE)
def test_texts_are_cut_as_the_model_learnt_them(text: str, pieces: list[int]):
    assert wordpiece.encode(text, 256) == pieces


def test_long_texts_are_cut_off_with_their_end_mark():
    pieces = wordpiece.encode("policy " * 1000, 256)
    assert len(pieces) == 256
    assert (pieces[0], pieces[-1]) == (wordpiece.START, wordpiece.END)


def test_vectors_have_length_one_and_do_not_depend_on_their_neighbours():
    texts = [
        f"The log{' of grants' * extra} is public in case {case}."
        for case in range(12)
        for extra in (0, 1, 2)
    ]
    texts += ["", "Nobody may delete an entry of the trail, whoever asks for it.", "word " * 400]
    together = MiniLM().embed(texts)  # remembers nothing yet
    assert together.shape == (len(texts), MiniLM.dimension)
    assert together.dtype == np.float32
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    alone, backwards = MiniLM(), MiniLM()
    assert np.allclose(np.vstack([alone.embed([text]) for text in texts]), together, atol=1e-6)
    assert np.allclose(backwards.embed(texts[::-1])[::-1], together, atol=1e-6)
    assert alone.embed([]).shape == (0, MiniLM.dimension)


def test_texts_of_one_pass_are_of_nearly_one_length_and_few():
    pieces = {f"{length} {number}": [0] * length for length in (2, 3, 9, 200) for number in range(10)}
    groups = list(_of_a_length(pieces))
    assert sorted(text for group in groups for text in group) == sorted(pieces)
    for group in groups:
        lengths = [len(pieces[text]) for text in group]
        assert len(group) <= AT_ONCE and max(lengths) - min(lengths) < STEP
    assert len(groups) == 3 + 2 + 2


def test_each_text_is_read_once_and_what_was_read_long_ago_again(monkeypatch: pytest.MonkeyPatch):
    model, read = MiniLM(), []

    def passes(texts: list[list[int]]) -> list[tuple[np.ndarray, np.ndarray]]:
        read.extend(texts)
        return [
            (np.full(384, len(text), np.float32), np.zeros((len(text), 384), np.float32)) for text in texts
        ]

    monkeypatch.setattr(model, "_pass", passes)
    texts = [f"Rule {number}." for number in range(REMEMBERED + 50)]
    vectors = model.embed([*texts, texts[-1]])
    assert len(read) == len(texts) and len(vectors) == len(texts) + 1
    assert [len(half) for half in model.halfway(texts[-2:])] == [5, 5] and len(read) == len(texts)
    model.embed(texts[:1])
    assert len(read) == len(texts) + 1


def test_what_means_the_same_lies_closer():
    one, alike, other = packaged().embed(
        ["Anyone may appeal.", "Every person has the right to appeal.", "Bring your own cup to the kitchen."]
    )
    assert one @ alike > one @ other + 0.3
