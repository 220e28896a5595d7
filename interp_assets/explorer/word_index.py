"""Search by words: an inverted index over the explanations of a dictionary, kept beside its columns as one sorted Arrow table.

A row of the index is a word and the explanations that hold it. An explanation is numbered by method and place: method · n + place.
"""

import contextlib
import math
import re
from bisect import bisect_left
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from interp_assets.explorer.arrow_files import keep_table, kept_table

WORD = r"[^\p{L}\p{N}]+"
MOST_WORDS = 12
"""Words of a query that count; further words are left out."""

MOST_PREFIXED = 256
"""Words that begin like the last word of a query, which a reader may still be typing, and are looked for too."""


@dataclass(frozen=True)
class WordIndex:
    """Words in ascending order with their postings; `methods` number the explanations, `n` features each."""

    table: pa.Table
    methods: tuple[str, ...]
    n: int

    def found(self, query: str) -> tuple[np.ndarray, np.ndarray]:
        """(numbers int64 of explanations that hold all words, weights float64), the heaviest first: Σ log(1 + N / n) over words, of which n
        of N explanations hold one. The last word may be the beginning of a word."""
        words = [word for word in re.split(r"[\W_]+", query.lower()) if word][:MOST_WORDS]
        if not words:
            return np.zeros(0, dtype=np.int64), np.zeros(0)
        total = self.n * len(self.methods)
        exact, begun = self._marks(words[-1], prefix=True)
        weight = math.log1p(total / max(1, int(begun.sum())))
        alike = 0.0
        for word in dict.fromkeys(words[:-1]):
            own, _ = self._marks(word, prefix=False)
            exact, begun = exact & own, begun & own
            alike += math.log1p(total / max(1, int(own.sum())))
        whole, part = np.flatnonzero(exact), np.flatnonzero(begun & ~exact)
        weights = np.concatenate([np.full(len(whole), alike + weight), np.full(len(part), alike + 0.6 * weight)])
        return np.concatenate([whole, part]), weights

    def _marks(self, word: str, prefix: bool) -> tuple[np.ndarray, np.ndarray]:
        """bool [methods · n] twice: explanations that hold the word, and those that hold it or, with `prefix`, a word that begins with
        it."""
        words = self.table["word"]
        first = bisect_left(range(len(words)), word, key=lambda place: words[place].as_py())
        exact = np.zeros(self.n * len(self.methods), dtype=bool)
        begun = np.zeros_like(exact)
        for place in range(first, min(first + (MOST_PREFIXED if prefix else 1), len(words))):
            here = words[place].as_py()
            if here == word:
                exact[self._rows(place)] = True
            elif prefix and here.startswith(word):
                begun[self._rows(place)] = True
            else:
                break
        return exact, begun | exact

    def _rows(self, place: int) -> np.ndarray:
        return self.table["rows"][place].values.to_numpy()


def word_index(texts: dict[str, pa.ChunkedArray], place: Path) -> WordIndex:
    """The index of the explanations of a dictionary by method, from its file or made and kept there."""
    n = max((len(column) for column in texts.values()), default=0)
    table = kept_table(place)
    if table is None:
        table = _made(list(texts.values()), n)
        with contextlib.suppress(OSError):
            keep_table(place, table)
            table = kept_table(place) or table
    return WordIndex(table, tuple(texts), n)


def _made(columns: list[pa.ChunkedArray], n: int) -> pa.Table:
    words, rows = [], []
    for number, column in enumerate(columns):
        split = pc.split_pattern_regex(pc.utf8_lower(column.combine_chunks().cast(pa.large_string())), WORD)
        words.append(pc.list_flatten(split).dictionary_encode())
        rows.append(pc.list_parent_indices(split).to_numpy() + number * n)
    if not words:
        return pa.table({"word": pa.array([], pa.large_string()), "rows": pa.array([], pa.large_list(pa.int32()))})
    encoded = pa.chunked_array(words).unify_dictionaries()
    dictionary = encoded.chunk(0).dictionary
    codes = np.concatenate([chunk.indices.to_numpy() for chunk in encoded.chunks]).astype(np.int64)
    # A word twice in one explanation counts once; postings in ascending order, words by their text.
    pairs = np.unique(codes * (len(columns) * n or 1) + np.concatenate(rows))
    codes, numbers = np.divmod(pairs, len(columns) * n or 1)
    counts = np.bincount(codes, minlength=len(dictionary))
    offsets = np.concatenate([[0], np.cumsum(counts)])
    postings = pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), pa.array(numbers.astype(np.int32)))
    made = pa.table({"word": dictionary, "rows": postings})
    return made.filter(pc.not_equal(made["word"], "")).sort_by("word").combine_chunks()
