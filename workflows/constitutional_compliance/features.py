"""What a clause looks like to a linear model: its words, the letters in them, and how rare they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from scipy import sparse
    from sklearn.feature_extraction.text import CountVectorizer

ANALYSERS = {
    # Punctuation is a token: “members, who …” and “members who …” are not the same people.
    "word": {"ngram_range": (1, 3), "token_pattern": r"(?u)\b\w+\b|[^\w\s]"},
    "char_wb": {"ngram_range": (3, 5)},
}
SEEN_AT_LEAST = 2  # clauses; a gram of one clause says nothing about others


class Grams(msgspec.Struct, frozen=True):
    """The n-grams of one kind that are looked for, and how rare each is."""

    analyser: str
    grams: list[str]
    rarity: bytes  # float32

    def counter(self) -> CountVectorizer:
        """Counts them in texts. Made once, for it takes its time."""
        return _counter(self.analyser, vocabulary={gram: place for place, gram in enumerate(self.grams)})

    def rows(self, counter: CountVectorizer, texts: Sequence[str]) -> sparse.csr_matrix:
        return weigh(counter.transform(texts), np.frombuffer(self.rarity, "<f4"))


class Counts(msgspec.Struct, frozen=True):
    """How often each n-gram of some kind occurs in each of some texts."""

    analyser: str
    grams: npt.NDArray[np.object_]
    counts: sparse.csr_matrix

    @classmethod
    def of(cls, analyser: str, texts: Sequence[str]) -> Counts:
        counter = _counter(analyser, min_df=SEEN_AT_LEAST)
        counts = counter.fit_transform(texts)
        return cls(analyser, counter.get_feature_names_out(), counts)

    def learn(self, chosen: npt.NDArray[np.bool_]) -> tuple[Grams, npt.NDArray[np.int64]]:
        """What the chosen texts alone say of n-grams and their rarity, and the columns that those stand in."""
        texts_with = np.asarray((self.counts[chosen] > 0).sum(axis=0))[0]
        columns = np.flatnonzero(texts_with >= SEEN_AT_LEAST)
        rarity = np.log((1 + chosen.sum()) / (1 + texts_with[columns])) + 1
        return Grams(self.analyser, list(self.grams[columns]), rarity.astype("<f4").tobytes()), columns


def weigh(counts: sparse.csr_matrix, rarity: npt.NDArray[np.float32]) -> sparse.csr_matrix:
    """TF-IDF with damped counts, in rows of length one: the product of two rows is the likeness of their texts."""
    from sklearn.preprocessing import normalize

    rows = counts.astype(np.float64)
    rows.data = 1.0 + np.log(rows.data)
    return normalize(rows.multiply(rarity).tocsr())


def _counter(analyser: str, **options: object) -> CountVectorizer:
    # Takes seconds to import, which most processes of a portal need not wait for: they judge nothing.
    from sklearn.feature_extraction.text import CountVectorizer

    return CountVectorizer(analyzer=analyser, **ANALYSERS[analyser], **options)
