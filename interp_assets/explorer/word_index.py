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
    spoken = [_words_of(column) for column in columns]
    if not spoken:
        return pa.table({"word": pa.array([], pa.large_string()), "rows": pa.array([], pa.large_list(pa.int32()))})
    encoded = pa.concat_arrays([words for words, _, _ in spoken]).dictionary_encode()
    dictionary, same = encoded.dictionary, encoded.indices.to_numpy().astype(np.int64)
    firsts = np.cumsum([0, *(len(words) for words, _, _ in spoken)])
    codes = [same[first + own] for first, (_, own, _) in zip(firsts[:-1], spoken, strict=True)]
    numbers = [at + number * n for number, (_, _, at) in enumerate(spoken)]
    # A word twice in one explanation counts once; postings in ascending order, words by their text.
    pairs = np.concatenate(codes) * (len(columns) * n or 1) + np.concatenate(numbers)
    pairs.sort()
    pairs = pairs[np.diff(pairs, prepend=-1) != 0]
    word, number = np.divmod(pairs, len(columns) * n or 1)
    offsets = np.concatenate([[0], np.cumsum(np.bincount(word, minlength=len(dictionary)))])
    postings = pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), pa.array(number.astype(np.int32)))
    made = pa.table({"word": dictionary, "rows": postings})
    return made.filter(pc.not_equal(made["word"], "")).sort_by("word").combine_chunks()


def _words_of(column: pa.ChunkedArray) -> tuple[pa.Array, np.ndarray, np.ndarray]:
    """(different words, place int64 among them of every word said, place int64 in the column of the text that says it).

    Texts are cut at white space first, and only what differs is cut at WORD: a million texts share few words.
    """
    texts = pc.utf8_lower(column.combine_chunks().cast(pa.large_string()))
    pieces = pc.utf8_split_whitespace(texts)
    encoded = pc.list_flatten(pieces).dictionary_encode()
    cut = pc.split_pattern_regex(encoded.dictionary, WORD)
    different = pc.list_flatten(cut).dictionary_encode()
    each, firsts = pc.list_value_length(cut).to_numpy(), cut.offsets.to_numpy()[:-1]
    codes = encoded.indices.to_numpy()
    n_words = each[codes]
    within = np.arange(n_words.sum()) - np.repeat(np.cumsum(n_words) - n_words, n_words)
    own = different.indices.to_numpy().astype(np.int64)[np.repeat(firsts[codes], n_words) + within]
    return different.dictionary, own, np.repeat(pc.list_parent_indices(pieces).to_numpy(), n_words)
